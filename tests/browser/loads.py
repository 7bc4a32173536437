"""What is measured in a page: by tests, which allow a slow machine much, and by `figures`."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any

from .driver import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from .lab import Notebook

__all__ = [
    "MANY_CHECKPOINTS",
    "NOISE",
    "Traffic",
    "drag",
    "moves_and_pans",
    "open_cell",
    "rate",
    "settle",
]

# The socket is known from the first message on that the page sends by it.
_COUNT = """() => {
  if (window.received) return;
  window.received = [0, 0];
  const seen = new WeakSet();
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (...what) {
    if (!seen.has(this)) {
      seen.add(this);
      this.addEventListener('message', ({data}) => {
        window.received[0] += data.size ?? data.byteLength ?? data.length;
        window.received[1] += 1;
      });
    }
    return send.apply(this, what);
  };
}"""
# From the command to run a cell until what it shows is there; what an earlier run has shown is none.
_OPEN = """async ([index, selector]) => {
  for (const node of document.querySelectorAll(selector)) node.dataset.before = '';
  const panel = jupyterapp.shell.currentWidget;
  panel.content.activeCellIndex = index;
  panel.content.deselectAll();
  const began = performance.now();
  jupyterapp.commands.execute('notebook:run-cell');
  while (!document.querySelector(`${selector}:not([data-before])`))
    await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""
# Pictures of noise, the largest that there are.
NOISE = """
import json, tempfile, time
import numpy as np
import ringnb as rn
store = tempfile.mkdtemp() + "/noise.zarr"
config = rn.CheckpointConfig(enabled=False, max_snapshots=0, storage_path=store)
noise = np.random.default_rng(1).random((512, 512))
session = rn.Session(rn.actors.Wave2D((512, 512), start=noise), actors=2, config=config)
for _ in range(20):
    session.run_steps(0, 10)
    session.snapshot(0)
session.set_pace({pace})
session.resume(1)
"""
# What is told of them: sent, and come; once all that is shown before was sent a second time.
_NOTE = """
if "told" not in globals():
    told = []
    for panel in (session.panel("field"), session.panel("compare")):
        def sent(c, key=panel.key):
            if "n" in c["new"]:  # else there is none
                told.append((key, c["new"]["n"], time.time()))
        panel.picture.observe(sent, "info")
    def note(_, content, __):
        if "came" in content:
            told.append(("came", content["came"], time.time()))
    session.panel().line.hand.on_msg(note)
display, late = session.panel("field")._controller.display, time.monotonic() + 30
while not display.settled and time.monotonic() < late:
    time.sleep(0.05)
told.clear()
"""
_STEP = "print(json.dumps([time.time(), session.current_step(1)]))"
MANY_CHECKPOINTS = """
import tempfile, numpy as np, ringnb as rn, ringnb.panels
from ringnb.testing.storages import make_snapshot
path = tempfile.mkdtemp() + "/many.zarr"
storage, before = rn.ZarrStorage(path, durable=False), None
for i in range(10_000):
    made = make_snapshot(
        step=100 * i, kernel_id="life_0", kernel_type="life", actor_slot=0, run="a" * 16,
        name_prefix="checkpoint", parent_id=before, fields={"alive": np.zeros((8, 8), np.uint8)},
    )
    storage.save(f"checkpoint_0_step_{100 * i}", made)
    before = made.id
storage.close()
config = rn.CheckpointConfig(storage_path=path, enabled=False, max_snapshots=0)
session = rn.Session(rn.actors.Life((8, 8)), config=config)
"""
_MOVES = """(svg) => {
  const took = [];
  for (let i = 0; i < 60; i++) {
    const began = performance.now();
    svg.dispatchEvent(new KeyboardEvent("keydown", { key: i % 3 ? "PageUp" : "ArrowLeft" }));
    took.push(performance.now() - began);
  }
  return took.sort((a, b) => a - b);
}"""
_PANS = """async (svg) => {
  const box = svg.getBoundingClientRect(), frames = [];
  const zoom = { deltaY: -1, ctrlKey: true, clientX: box.x + box.width / 2, cancelable: true };
  for (let i = 0; i < 8; i++) svg.dispatchEvent(new WheelEvent("wheel", zoom));
  let before = 0;
  for (let i = 0; i < 60; i++) {
    const now = await new Promise(requestAnimationFrame);
    if (before) frames.push(now - before);
    before = now;
    svg.dispatchEvent(new WheelEvent("wheel", { deltaX: 5, clientX: box.x, cancelable: true }));
  }
  return frames.sort((a, b) => a - b);
}"""


class Traffic:
    """Counts what pages receive by their websockets: all of them over the same time."""

    def __init__(self, *pages: Page) -> None:
        self._pages = pages
        for page in pages:
            page.evaluate(_COUNT)

    def begin(self) -> None:
        """Count from now on."""
        for page in self._pages:
            page.evaluate("() => { window.received = [0, 0]; }")
        self._began = time.monotonic()

    def end(self) -> list[tuple[float, float]]:
        """Return kB and messages per second since `begin`, of each page."""
        counts = [page.evaluate("() => window.received") for page in self._pages]
        seconds = time.monotonic() - self._began
        return [(round(a / seconds / 1000, 2), round(b / seconds, 2)) for a, b in counts]

    def over(self, seconds: float) -> list[tuple[float, float]]:
        """Return what comes within so many seconds."""
        self.begin()
        self._pages[0].wait_for_timeout(1000 * seconds)
        return self.end()


def open_cell(notebook: Notebook, index: int, selector: str) -> float:
    """Run a cell, and return the milliseconds until what it shows is on the page."""
    return float(notebook.page.evaluate(_OPEN, [index, selector]))


def rate(notebook: Notebook, seconds: float) -> float:
    """Return how many steps per second the other actor of `NOISE` takes."""
    began, before = _step(notebook)
    notebook.page.wait_for_timeout(1000 * seconds)
    ended, after = _step(notebook)
    return (after - before) / (ended - began)


def _step(notebook: Notebook) -> tuple[float, int]:
    at, step = json.loads(notebook.python(_STEP))
    return at, step


def drag(notebook: Notebook, cockpit: Locator, seconds: float) -> dict[str, Any]:
    """Drag the playhead to and fro over all marks, then rest on the ninth of twenty.

    Return what came of it: sizes, rates, and what was ``told`` of pictures.
    """
    page, mouse = notebook.page, notebook.page.mouse
    traffic = Traffic(page)
    cockpit.locator("svg.rn-line").scroll_into_view_if_needed()
    notebook.python(_NOTE)
    squares = cockpit.locator("[data-mark]:has(.rn-square)")
    expect(squares).to_have_count(20)
    first, last = (squares.nth(i).bounding_box() for i in (0, -1))
    left, right = first["x"] + 3, last["x"] + 3
    y = first["y"] + first["height"] / 2
    before = _step(notebook)
    mouse.move(right, y)
    mouse.down()
    traffic.begin()
    began = time.monotonic()
    for turn in itertools.count():
        at = abs((turn % 80) / 40 - 1)
        mouse.move(left + at * (right - left), y)
        page.wait_for_timeout(10)
        if time.monotonic() - began > seconds:
            break
    mouse.move(left + 0.45 * (right - left), y)
    ((size, messages),) = traffic.end()
    took_s = time.monotonic() - began
    mouse.up()
    after = _step(notebook)
    slider = cockpit.get_by_role("slider", name="Playhead")
    told = settle(notebook)
    sent = [at for key, _, at in told if key != "came"]
    return {
        "kB_per_s": size,
        "messages_per_s": messages,
        "pictures_per_s": sum(at < sent[0] + took_s for at in sent) / took_s,
        "steps_per_s": (after[1] - before[1]) / (after[0] - before[0]),
        "rests_at": slider.get_attribute("aria-valuenow"),
        "told": told,
    }


def settle(notebook: Notebook) -> list[Any]:
    """Wait until pictures have stopped coming, and return what was told of them."""
    told, newer = None, []
    while told != newer:
        told = newer
        notebook.page.wait_for_timeout(1500)
        newer = json.loads(notebook.python("print(json.dumps(told))"))
    return newer


def moves_and_pans(timeline: Locator) -> dict[str, float]:
    """Return the milliseconds of a move of the playhead, and of a frame while panning."""
    line = timeline.locator("svg.rn-line")
    moves_ms, frames_ms = line.evaluate(_MOVES), line.evaluate(_PANS)
    return {
        "move_ms": round(moves_ms[len(moves_ms) // 2], 2),
        "frame_ms": round(frames_ms[len(frames_ms) // 2], 1),
    }
