"""Measure the cockpit in a real JupyterLab: how soon it reacts and opens, what it takes from the actor.

Run it in ``tests``, while the machine does nothing else: ``python -m browser.figures [NAME...]``, about
four minutes for all. It needs what the browser tests need, prints what it measures, and keeps it as JSON
beside the benchmark's results; what is not named keeps its figures.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ringnb.cli.bench.report import machine

from .cells import BEGUN, many
from .driver import expect
from .lab import Notebook, lone_notebook, panel_in
from .loads import MANY_CHECKPOINTS, NOISE, Traffic, drag, moves_and_pans, open_cell, rate

RESULT = Path(__file__).parents[2] / "ringnb" / "cli" / "bench" / "results" / "browser.json"
CLICKS = 60
OPENINGS = 5
TIMES = 3
ACTORS = 100_000
_CLOSE = "from ringnb.panels import close_panels; close_panels(session)"
_FREE = [
    """import ringnb as rn, tempfile
store = tempfile.mkdtemp() + "/waves.zarr"
config = rn.CheckpointConfig(interval=1.0, max_snapshots=6, storage_path=store)
session = rn.Session(rn.actors.Wave2D((512, 512)), actors=2, lanes=1, config=config)
session.inject(0, at=(96, 60)); session.resume()
session.panel()""",
    """import threading, time
seen = []
def watch():
    was = session.counters(0).running
    while not session.closed:
        now = session.counters(0).running
        if now != was:
            seen.append(time.time() * 1e3)
            was = now
        time.sleep(0.0005)
threading.Thread(target=watch, daemon=True).start()""",
    f"""from pathlib import Path
Path({BEGUN!r}).touch()  # `Notebook.start` waits for it
while not time.sleep(0.1) and len(seen) < {CLICKS}: pass""",
]
_WATCH = """() => {
  const bar = document.querySelector("[data-ringnb-panel='cockpit'] [data-ringnb-panel='timeline']");
  window.clicked = []; window.shown = [];
  const button = bar.querySelector("[data-do='live.run']");
  button.addEventListener("click", () => window.clicked.push(Date.now()), true);
  new MutationObserver(() => window.shown.push(Date.now())).observe(button, {
    attributes: true, attributeFilter: ["data-running"],
  });
}"""


def summary(values: list[float], **more: float) -> dict[str, float]:
    """Return what is told of some measurements."""
    return {
        "median": round(float(np.median(values)), 3),
        **more,
        "min": round(float(min(values)), 3),
        "max": round(float(max(values)), 3),
    }


def times(values: list[float]) -> dict[str, float]:
    """Return what is told of many times."""
    return summary(values, p99=round(float(np.percentile(values, 99)), 1))


def reaction() -> dict[str, Any]:
    """Click, and see when the actor and the page have changed, while everything else goes on.

    Two actors of 512 x 512 run without a pause and are checkpointed every second, the whole cockpit is
    open, and the notebook's main thread is busy with a cell.
    """
    with lone_notebook(_FREE, 1280, 900) as notebook:
        page = notebook.page
        notebook.run(0)
        panel = page.locator("[data-ringnb-panel='cockpit'] [data-ringnb-panel='timeline']")
        panel.locator("[data-do='live.run'][data-running='true']").wait_for()
        notebook.run(1)
        page.evaluate(_WATCH)
        notebook.start(2)
        for i in range(CLICKS):
            panel.locator("[data-do='live.run']").click()
            page.wait_for_function(f"() => window.shown.length === {i + 1}")
            page.wait_for_timeout(150)
        notebook.wait_end(2)
        clicked, shown = page.evaluate("() => [window.clicked, window.shown]")
        acted = json.loads(notebook.python("import json; print(json.dumps(seen))"))
        made = int(notebook.python("print(session.statistics().completed)"))
    assert len(clicked) == len(shown) == len(acted) == CLICKS
    return {
        "clicks": CLICKS,
        "checkpoints_meanwhile": made,
        "click_to_actor_ms": times([a - c for a, c in zip(acted, clicked, strict=True)]),
        "click_to_page_ms": times([s - c for s, c in zip(shown, clicked, strict=True)]),
    }


def actors() -> dict[str, Any]:
    """Open a cockpit of very many actors, and their map."""
    with lone_notebook([many(ACTORS, bad=98_765), "session.panel()"], 1280, 900) as notebook:
        notebook.run(0)
        traffic = Traffic(notebook.page)
        notebook.python("pass")  # so that the socket is known
        opened, received = [], []
        for _ in range(OPENINGS):
            notebook.python(_CLOSE)
            traffic.begin()
            opened.append(open_cell(notebook, 1, ".rn-state[data-words='Standing']"))
            notebook.page.wait_for_timeout(1000)
            received.append(notebook.page.evaluate("() => window.received[0]") / 1000)
        panel_in(notebook.output(1), "cockpit").get_by_role("button", name="Map").click()
        notebook.python(f"for slot in range(0, {ACTORS}, 997): session.resume(slot)")
        notebook.page.wait_for_timeout(3000)
        ((map_kb, _),) = traffic.over(30)
    return {
        "actors": ACTORS,
        "opened_ms": summary(opened),
        "opened_kB": summary(received),
        "map_kB_per_s": map_kb,
    }


def checkpoints() -> dict[str, Any]:
    """Open the line of an actor that has ten thousand checkpoints; move along it."""
    with lone_notebook([MANY_CHECKPOINTS, 'session.panel("timeline")'], 1280, 900) as notebook:
        notebook.run(0)
        opened = []
        for _ in range(OPENINGS):
            notebook.python(_CLOSE)
            opened.append(open_cell(notebook, 1, ".rn-line .rn-bar"))
        moved = moves_and_pans(panel_in(notebook.output(1), "timeline"))
    return {"checkpoints": 10_000, "opened_ms": summary(opened), **moved}


def _leave_a_core(notebook: Notebook) -> None:
    """Leave a core to the thread of the notebook's kernel, by keeping all else of this to the others."""
    lanes = json.loads(
        notebook.python(
            "import json, threading; print(json.dumps([thread.native_id for thread in "
            "threading.enumerate() if thread.name.startswith('ringnb-lane')]))"
        )
    )
    assert len(lanes) == 1
    core, *others = sorted(os.sched_getaffinity(0))
    here = psutil.Process()
    for process in (here, *here.children(recursive=True)):
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {core} if thread.id in lanes else others)


def scrubbing() -> dict[str, Any]:
    """Drag the playhead over pictures of noise; another actor runs at a pace, and without one.

    Without one it takes what the machine has, and two cores are less than it wants together with the
    drag; so at last it has a core for itself, as on a machine with more of them.
    """
    found: dict[str, Any] = {}
    for what, pace in (("paced", "1000"), ("free", "None"), ("free, with a core", "None")):
        made = NOISE.format(pace=pace).replace("actors=2", "actors=2, lanes=1, width=1")
        with lone_notebook([made, "session.panel()"], 1280, 1000) as notebook:
            notebook.run(0)
            notebook.run(1)
            cockpit = panel_in(notebook.output(1), "cockpit")
            box = cockpit.locator(".rn-pic .rn-box")
            expect(box).to_have_attribute("data-name", "checkpoint_0_step_200")
            if what.endswith("core"):
                _leave_a_core(notebook)
            rate(notebook, 1)
            kept, all_of = [], []
            for _ in range(TIMES):
                alone = rate(notebook, 3)
                all_of.append(drag(notebook, cockpit, 5))
                kept.append(all_of[-1]["steps_per_s"] / alone)
        found[what] = {
            "kept": summary(kept),
            "pictures_per_s": summary([one["pictures_per_s"] for one in all_of]),
            "kB_per_s": summary([one["kB_per_s"] for one in all_of]),
        }
    return found


MEASURED: dict[str, Callable[[], dict[str, Any]]] = {
    one.__name__: one for one in (reaction, actors, checkpoints, scrubbing)
}


def main() -> None:
    """Measure what is named, or all."""
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in sys.argv[1:] or MEASURED:
        found = {
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            **MEASURED[name](),
        }
        result[name] = found
        print(name, json.dumps(found, indent=1), flush=True)
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
