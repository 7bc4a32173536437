"""A click acts at once: idle, and while the kernel's main thread is busy with a cell."""

from __future__ import annotations

import json

import pytest

from . import cells
from .driver import expect, needs_subshells
from .lab import panel_in, screenshot

AT_ONCE_MS = 10_000  # where nothing else runs it takes some tens, as the benchmark's page says
_CLOCK = """() => {
  if (!window.clicked)
    document.addEventListener('click', () => window.clicked.push(Date.now()), true);
  window.clicked = [];
}"""


def click(panel, *labels):
    for label in labels:
        panel.get_by_role("button", name=label, exact=True).click()
        panel.page.wait_for_timeout(250)


def reactions(notebook):
    """Return (milliseconds from each click until the actor ran or was paused, when, whether it ran)."""
    seen = json.loads(notebook.python("import json; print(json.dumps(seen))"))[1:]
    clicked = notebook.page.evaluate("() => window.clicked")
    assert len(seen) == len(clicked), f"{len(clicked)} clicks changed the actor {len(seen)} times"
    return [(at - click, at, ran) for click, (at, ran) in zip(clicked, seen, strict=True)]


def prepare(notebook, *more, comms="perCommTarget"):
    notebook.open([cells.session(), 'session.panel("actor")', cells.WATCH, *more])
    notebook.serve_comms(comms)
    for index in range(3):
        notebook.run(index)
    notebook.page.evaluate(_CLOCK)
    panel = panel_in(notebook.output(1), "actor")
    expect(panel.get_by_role("button", name="Run", exact=True)).to_be_visible()
    return panel


def test_idle(notebook, record_property):
    panel = prepare(notebook)
    click(panel, "Run", "Pause", "Run", "Pause")
    found = reactions(notebook)
    assert [ran for _, _, ran in found] == [True, False, True, False]
    record_property("reaction_ms", [round(ms, 1) for ms, _, _ in found])
    assert max(ms for ms, _, _ in found) < AT_ONCE_MS


@needs_subshells
@pytest.mark.parametrize("setting", ["perCommTarget", "perComm"])  # the first is the default
def test_first_and_second_click_in_a_busy_cell(notebook, record_property, setting):
    panel = prepare(notebook, cells.BUSY, comms=setting)
    notebook.python("session.resume(1)")  # the other actor runs, and both are checkpointed
    notebook.start(3)
    click(panel, "Run", "Pause", "Run", "Pause")
    assert notebook.runs(3)
    expect(panel.get_by_role("button", name="Run", exact=True)).to_be_visible()  # it is paused
    notebook.end_busy(3)
    found = reactions(notebook)
    ended = float(notebook.python("print(ended)"))
    assert [ran for _, _, ran in found] == [True, False, True, False]
    assert max(at for _, at, _ in found) < ended
    record_property("reaction_ms", [round(ms, 1) for ms, _, _ in found])
    assert max(ms for ms, _, _ in found) < AT_ONCE_MS


@needs_subshells
def test_run_all_with_a_busy_cell_behind(notebook):
    """The panel appears when the kernel is busy already, so nothing it sends at first is served."""
    notebook.open([cells.session(), 'session.panel("actor")', cells.WATCH, cells.BUSY])
    notebook.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
    panel = panel_in(notebook.output(1), "actor")
    expect(panel.get_by_role("button", name="Run", exact=True)).to_be_visible()
    notebook.page.evaluate(_CLOCK)
    click(panel, "Run", "Pause")
    assert notebook.runs(3)
    notebook.end_busy(3)
    found = reactions(notebook)
    assert max(at for _, at, _ in found) < float(notebook.python("print(ended)"))


def test_without_subshells_a_click_waits_and_is_not_lost(notebook):
    panel = prepare(notebook, cells.BUSY, comms="disabled")
    click(panel, "Run", "Pause")
    notebook.start(3)
    click(panel, "Run")
    # Not what is spoken of it, which may still be there.
    note = panel.locator(
        ".rn-text", has_text="Not heard yet: controls apply after the running cell"
    )
    expect(note).to_be_visible()
    screenshot(panel, "actor-without-subshells")
    notebook.end_busy(3)
    expect(note).to_have_count(0)
    expect(panel.get_by_role("button", name="Pause", exact=True)).to_be_visible()  # it runs
    found = reactions(notebook)
    ended = float(notebook.python("print(ended)"))
    assert [at > ended for _, at, _ in found] == [False, False, True]
