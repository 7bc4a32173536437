"""Make a picture of every state that a cockpit may be in: both themes, three widths.

Run it in ``tests``: ``python -m browser.states FOLDER [NAME...]``. It needs what the browser tests need;
the names are those of functions below. Nothing is judged here: somebody looks at the pictures.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from . import cells
from .driver import expect
from .lab import Notebook, line_of, lone_notebook, panel_in, widen

if TYPE_CHECKING:
    from playwright.sync_api import Locator

WIDTHS = (1100, 700, 480)
THEMES = ("Light", "Dark")
KERNELS = "@jupyterlab/apputils-extension:kernels-settings"
Shown = Iterator["Locator"]

_GRAY_SCOTT = """
import tempfile, warnings
from pathlib import Path
import ringnb as rn
warnings.simplefilter("ignore")
store = Path(tempfile.mkdtemp()) / "patterns.zarr"
config = rn.CheckpointConfig(interval=2.0, enabled={enabled}, max_snapshots=12, storage_path=store)
patterns = rn.actors.GrayScott((192, 192))
session = rn.Session(patterns, actors=2, config=config, max_steps_per_second=500)
"""
_PATTERNS = """
stored = []
for _ in range(6):
    session.run_steps(0, 700)
    stored.append(session.snapshot(0))
"""
_HOST = """
import os, platform, signal, tempfile
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp()
from ringnb import cluster
platform.node = lambda: "this-machine"  # of the notebook: no picture tells whose it was
address = cluster.start(1)
config = rn.CheckpointConfig(interval=2.0, max_snapshots=12, storage_path=store)
session = cluster.launch(rn.actors.GrayScott((192, 192)), "patterns", address=address, config=config)
session.set_pace(500)
"""

_LOOP = """
import numpy as np, ringnb as rn, tempfile
config = rn.CheckpointConfig(storage_path=tempfile.mkdtemp() + "/plate.zarr")
rec = rn.Recorder(config, name="plate")
u = np.zeros((96, 96)); u[30:50, 40:70] = 1
for step in range(1, 400):
    u += 0.2 * sum(np.roll(u, by, axis) for by in (1, -1) for axis in (0, 1)) - 0.8 * u
    if step % 80 == 1:
        rec.save(step, u=u)
"""


def opened(notebook: Notebook, *before: str, enabled: bool = False) -> Locator:
    """Open a cockpit over patterns, after these cells."""
    made = [_GRAY_SCOTT.format(enabled=enabled), *before]
    notebook.open([*made, "session.panel()"])
    notebook.run_all()
    notebook.command("application:toggle-left-area")
    cockpit = panel_in(notebook.output(len(made)), "cockpit")
    expect(cockpit.locator(".rn-state")).to_be_visible()
    return cockpit


def stored(notebook: Notebook, step: int = 4200) -> Locator:
    """Open a cockpit with six checkpoints."""
    cockpit = opened(notebook, _PATTERNS)
    expect(cockpit.locator(".rn-pic .rn-box")).to_have_attribute(
        "data-name", f"checkpoint_0_step_{step}"
    )
    return cockpit


def tab(cockpit: Locator, name: str) -> None:
    """Choose a tab."""
    cockpit.get_by_role("tab", name=name).click()


def nothing_stored(notebook: Notebook) -> Shown:
    """Nothing is stored yet, and the first checkpoint is not due for long."""
    cockpit = opened(notebook)
    notebook.python("session.resume(0)")
    expect(cockpit.locator(".rn-state")).to_have_text("Running")
    for name in ("Explore", "Keep", "Learn"):
        tab(cockpit, name)
        yield cockpit


def following(notebook: Notebook) -> Shown:
    """It runs, and the newest checkpoint is followed: each tab."""
    cockpit = opened(notebook, _PATTERNS, enabled=True)
    notebook.python("session.resume(0)")
    expect(cockpit.locator(".rn-state")).to_have_text("Running")
    notebook.page.wait_for_timeout(5000)
    for name in ("Explore", "Keep", "Learn"):
        tab(cockpit, name)
        yield cockpit


def looking_back(notebook: Notebook) -> Shown:
    """It looks back, at a checkpoint and between two; with history, all actors, swipe, larger."""
    cockpit = stored(notebook)
    playhead = cockpit.get_by_role("slider", name="Playhead")
    playhead.press("Home")
    playhead.press("PageDown")
    yield cockpit
    cockpit.get_by_role("button", name="Restore here").click()
    expect(line_of(cockpit)).to_contain_text("Actor 0 continues")
    notebook.python("session.set_params(0, feed=0.03)")
    notebook.python("for _ in range(3): session.run_steps(0, 500); session.snapshot(0)")
    playhead.press("ArrowLeft")
    yield cockpit
    line_of(cockpit).get_by_role("button", name="History").click()
    yield cockpit
    cockpit.get_by_role("button", name="All actors").click()
    yield cockpit
    playhead.press("Escape")
    playhead.press("PageDown")
    notebook.python("session.panel('compare').how = 'swipe'")
    yield cockpit
    cockpit.get_by_role("button", name="Larger picture").click()
    yield cockpit


def a_cell_runs(notebook: Notebook) -> Shown:
    """A cell runs, there are no subshells, and a button was pressed."""
    notebook.server.set(KERNELS, commsOverSubshells="disabled")
    made = [_GRAY_SCOTT.format(enabled=False), _PATTERNS, "session.panel()"]
    notebook.open([*made, cells.BUSY])
    for at in range(len(made)):
        notebook.run(at)
    notebook.command("application:toggle-left-area")
    cockpit = panel_in(notebook.output(2), "cockpit")
    expect(cockpit.locator(".rn-pic .rn-box")).to_have_attribute("data-name", re.compile("step"))
    notebook.start(3)
    cockpit.locator(".rn-deck").get_by_role("button", name="Run", exact=True).click()
    expect(line_of(cockpit)).to_contain_text("Not heard yet")
    yield cockpit
    notebook.end_busy(3)
    notebook.server.reset_settings()


def crank(notebook: Notebook) -> Shown:
    """The crank has stopped the actor."""
    made = _GRAY_SCOTT.replace("max_steps_per_second=500", "service=False")
    notebook.open([made.format(enabled=True), "session.run_steps(0, 50)", "session.panel()"])
    notebook.run_all()
    notebook.command("application:toggle-left-area")
    cockpit = panel_in(notebook.output(2), "cockpit")
    tab(cockpit, "Learn")
    hand = cockpit.get_by_role("region", name="Hand crank")
    for turn in ("Request", "Send", "Capture"):
        hand.get_by_role("button", name=f"Turn: {turn}").click()
    expect(cockpit.locator(".rn-state")).to_have_text("Stopped by the crank")
    yield cockpit
    tab(cockpit, "Explore")
    yield cockpit


def guard(notebook: Notebook) -> Shown:
    """The guard has paused the actor."""
    cockpit = stored(notebook)
    notebook.python(
        "session.manager.reconfigure(guard='pause')\n"
        "session.inject(0, at=(90, 60), amplitude=1e39); session.run_steps(0, 8)\n"
        "session.resume(0); session.snapshot(0)"
    )
    expect(line_of(cockpit)).to_contain_text("Guard paused")
    yield cockpit
    tab(cockpit, "Keep")
    yield cockpit


def disk_full(notebook: Notebook) -> Shown:
    """There is no room on the disk."""
    cockpit = opened(notebook, _PATTERNS, enabled=True)
    notebook.python("session.resume(0); session.faults.fill_disk()")
    expect(line_of(cockpit)).to_contain_text("No space left")
    yield cockpit
    tab(cockpit, "Keep")
    yield cockpit


def killed(notebook: Notebook) -> Shown:
    """The kernel is dead: each tab."""
    cockpit = stored(notebook)
    notebook.python("session.resume(0); session.faults.kill_kernel()")
    expect(cockpit.locator(".rn-state")).to_have_text("Ended")
    for name in ("Explore", "Keep", "Learn"):
        tab(cockpit, name)
        yield cockpit


def silent(notebook: Notebook) -> Shown:
    """The notebook's kernel was restarted."""
    cockpit = stored(notebook)
    notebook.restart_kernel()
    expect(line_of(cockpit)).to_contain_text("No sign of life")
    yield cockpit


def remote(notebook: Notebook) -> Shown:
    """The session is another process's, and then that does not answer."""
    cockpit = opened(notebook, _HOST, _PATTERNS)
    notebook.python("session.resume(0)")
    expect(cockpit.locator(".rn-place")).to_contain_text("within")
    expect(cockpit.locator(".rn-pic .rn-box")).to_have_attribute("data-name", re.compile("step"))
    yield cockpit
    notebook.python(
        "from ringnb.cluster.connection import connected\n"
        "with connected(address) as client: pid = client.run(os.getpid)[session.record().worker]\n"
        "os.kill(pid, signal.SIGSTOP)"
    )
    try:
        expect(cockpit.locator(".rn-place")).to_contain_text("no answer")
        yield cockpit
    finally:
        notebook.python("os.kill(pid, signal.SIGCONT); cluster.stop(address)")


def retired(notebook: Notebook) -> Shown:
    """What is looked at was retired."""
    cockpit = stored(notebook)
    playhead = cockpit.get_by_role("slider", name="Playhead")
    playhead.press("Home")
    playhead.press("PageDown")
    expect(cockpit.locator(".rn-what")).to_contain_text("step_1400")
    notebook.python("session.manager.discard(stored[1].name)")
    expect(cockpit.locator(".rn-what")).to_contain_text("step_700")
    yield cockpit


def saved(notebook: Notebook) -> Shown:
    """A saved notebook, opened without a kernel."""
    stored(notebook)
    notebook.save()
    notebook.server.end_sessions()
    notebook.page.goto("about:blank")
    notebook.show(kernel=False)
    notebook.command("application:toggle-left-area")
    expect(notebook.page.locator(".ringnb-summary")).to_contain_text("as it was when it was saved")
    yield notebook.page.locator(".jp-Notebook .jp-Cell").nth(2)


def recorder(notebook: Notebook) -> Shown:
    """A loop of one's own."""
    notebook.open(
        [
            _LOOP,
            "rec.panel()",
        ]
    )
    notebook.run_all()
    notebook.command("application:toggle-left-area")
    cockpit = panel_in(notebook.output(1), "cockpit")
    for name in ("Explore", "Keep", "Learn"):
        tab(cockpit, name)
        yield cockpit


STATES: dict[str, Callable[[Notebook], Shown]] = {
    one.__name__: one
    for one in (
        nothing_stored, following, looking_back, a_cell_runs, crank, guard, disk_full, killed, silent,
        remote, retired, saved, recorder,
    )
}  # fmt: skip  # one name a line would say no more


def main() -> None:
    """Make the pictures of the states that are named, or of all."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with lone_notebook(["1"], 1300, 1900) as notebook:
        for name in sys.argv[2:] or STATES:
            notebook.theme("JupyterLab Light")
            notebook.page.unroute_all()  # one state lets no kernel start
            notebook.page.goto("about:blank")  # so that it is loaded anew
            for at, shown in enumerate(STATES[name](notebook)):
                for theme in THEMES:
                    notebook.theme(f"JupyterLab {theme}")
                    for width in WIDTHS:
                        widen(shown, width)
                        target = folder / f"{name}-{at}-{theme}-{width}.png".lower()
                        shown.screenshot(path=target)
                        print(target, flush=True)
                widen(shown, WIDTHS[0])  # in which the next one is prepared
            notebook.server.end_sessions()


if __name__ == "__main__":
    main()
