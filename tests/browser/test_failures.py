"""Failures are said once, in the message line, and are gone when they are mended."""

from __future__ import annotations

import re

from . import cells
from .driver import expect
from .lab import line_of, panel_in, screenshot


def texts(panel, pattern):
    """How often a text is in a panel."""
    return len(re.findall(pattern, panel.evaluate("node => node.textContent")))


def test_restarted_kernel_shows_the_panel_as_dead(notebook):
    notebook.open([cells.session(), 'session.panel("actor")'])
    notebook.run_all()
    panel = panel_in(notebook.output(1), "actor")
    expect(panel.locator("tbody tr").first).to_be_visible()
    expect(line_of(panel)).not_to_contain_text("No sign of life")
    # What is spoken stands for 1.5 s, in which a busy machine may not look.
    panel.get_by_role("alert").evaluate(
        """alert => {
          window.spoken = [];
          new MutationObserver(() => {
            if (alert.textContent) window.spoken.push(alert.textContent);
          }).observe(alert, { childList: true, characterData: true, subtree: true });
        }"""
    )
    notebook.restart_kernel()
    expect(line_of(panel)).to_contain_text("No sign of life for", timeout=8000)
    spoken = notebook.page.wait_for_function("() => window.spoken.length && window.spoken")
    assert [text[:24] for text in spoken.json_value()] == ["Problem: No sign of life"]
    screenshot(panel, "actor-dead")


def test_busy_cell_does_not_look_dead(notebook):
    notebook.open([cells.session(), 'session.panel("actor")', cells.BUSY])
    notebook.run(0)
    notebook.run(1)
    line = line_of(panel_in(notebook.output(1), "actor"))
    expect(line).to_be_visible()
    notebook.start(2)
    notebook.page.wait_for_timeout(4500)
    assert notebook.runs(2)
    expect(line).not_to_contain_text("No sign of life")


def test_a_full_disk_is_one_problem_that_the_next_commit_settles(notebook):
    notebook.open([cells.session(interval=0.2), 'session.panel("checkpoint")', "session.panel()"])
    notebook.run_all()
    panel, cockpit = (
        panel_in(notebook.output(i), name) for i, name in ((1, "checkpoint"), (2, "cockpit"))
    )
    expect(panel).to_be_visible()
    notebook.python("session.pause(1); session.resume(0); session.faults.fill_disk()")
    for where in (panel, cockpit):
        expect(line_of(where)).to_have_count(1)  # one for all panels in it
        expect(line_of(where)).to_have_attribute("data-kind", "problem")
        expect(line_of(where)).to_contain_text(re.compile(r"Problem \u00d7[2-9].*No space left"))
    notebook.page.wait_for_timeout(1600)  # what was spoken is gone
    assert texts(cockpit, "actor 0 failed") == 1
    screenshot(panel, "checkpoint-disk-full")
    notebook.python("session.faults.clear()")
    expect(line_of(panel)).to_contain_text("Committed checkpoint_0")
    assert texts(cockpit, "actor 0 failed") == 0
    line_of(panel).get_by_role("button", name="History").click()
    history = panel.get_by_role("dialog", name="History of messages and events")
    history.get_by_role("button", name="Problems").click()
    expect(history).to_contain_text(re.compile(r"settled at \d\d:\d\d:\d\d by checkpoint_0_step_"))
    history.press("Escape")
    expect(history).to_be_hidden()
    expect(line_of(panel).get_by_role("button", name="History")).to_be_focused()


def test_closed_session_says_so(notebook):
    notebook.open([cells.session(), 'session.panel("actor")'])
    notebook.run_all()
    panel = panel_in(notebook.output(1), "actor")
    expect(panel.locator("tbody tr").first).to_be_visible()
    notebook.python("session.close()")
    expect(line_of(panel)).to_contain_text("The session is closed")
