"""A recorder's panels while the cell with the loop runs: they follow, and their buttons are heard."""

from __future__ import annotations

from . import cells
from .driver import expect, needs_subshells
from .lab import panel_in, screenshot

_RECORDER = """
import tempfile
import time
from pathlib import Path
import numpy as np
import ringnb as rn
config = rn.CheckpointConfig(interval=3600.0, storage_path=Path(tempfile.mkdtemp()) / "heat.zarr")
rec = rn.Recorder(config, name="plate", kernel_type="heat", params={"dx": 0.5})
rec.panel()
"""

_LOOP = f"""
step, u = 0, np.zeros((96, 96))
u[30:50, 40:70] = 1.0
Path({cells.BEGUN!r}).touch()
while not Path({cells.END!r}).exists():
    u += 0.2 * sum(np.roll(u, by, axis) for by in (1, -1) for axis in (0, 1)) - 0.8 * u
    step += 1
    time.sleep(0.002)
    if rec.due(step):
        rec.save(step, time=step / 8, u=u, heat=np.float64(u.sum()))
"""


@needs_subshells
def test_a_recorder_is_followed_and_asked_while_its_loop_runs(notebook):
    notebook.page.set_viewport_size({"width": 1300, "height": 1500})
    notebook.open([_RECORDER, _LOOP])
    notebook.run(0)
    cockpit = panel_in(notebook.output(0), "cockpit")
    expect(cockpit.get_by_text("No contact")).to_have_count(0)
    notebook.start(1)
    # The first step was due: nothing was stored.
    expect(cockpit.locator(".rn-what").first).to_contain_text("checkpoint_0_step_1")
    expect(cockpit.locator(".rn-state")).to_have_text("Running")
    first = cockpit.locator(".rn-step").inner_text()
    expect(cockpit.locator(".rn-step")).not_to_have_text(first)
    cockpit.get_by_role("button", name="Snapshot now").click()
    expect(cockpit.locator(".rn-timeline [aria-valuetext]").first).not_to_have_attribute(
        "aria-valuetext", "step 1 of run 1, stored as checkpoint_0_step_1"
    )
    assert notebook.runs(1)
    step = cockpit.get_by_role("button", name="Step", exact=True)
    expect(step).to_have_attribute("aria-disabled", "true")
    step.click(force=True)
    expect(cockpit.locator(".rn-say")).to_contain_text("Your own loop computes the steps")
    screenshot(cockpit, "recorder_light")
    cockpit.get_by_role("tab", name="Learn").click()
    expect(cockpit.get_by_text("This tab follows a snapshot")).to_be_visible()
    cockpit.get_by_role("tab", name="Keep").click()
    expect(cockpit.get_by_text("Guard: stop the loop when a value is not finite")).to_be_visible()
    notebook.end_busy(1)
    notebook.theme("JupyterLab Dark")
    cockpit.get_by_role("tab", name="Explore").click()
    notebook.page.set_viewport_size({"width": 760, "height": 1900})
    screenshot(cockpit, "recorder_dark_narrow")
    cockpit.get_by_role("tab", name="Learn").click()
    side = cockpit.locator(".rn-side")  # there is nothing in it
    assert side.evaluate("node => node.offsetHeight") == 0
