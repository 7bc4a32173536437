"""Failures are shown in the panel that they concern."""

from __future__ import annotations

from . import cells
from .driver import expect
from .lab import panel_in, screenshot


def test_restarted_kernel_shows_the_panel_as_dead(notebook):
    notebook.open([cells.session(), 'session.panel("actor")'])
    notebook.run_all()
    panel = panel_in(notebook.output(1), "actor")
    banner = panel.locator(".ringnb-banner")
    expect(panel.locator("tbody tr").first).to_be_visible()
    expect(banner).to_be_hidden()
    notebook.restart_kernel()
    expect(banner).to_contain_text("Nothing received for", timeout=8000)
    assert banner.get_attribute("role") == "alert"
    screenshot(panel, "actor-dead")


def test_busy_cell_does_not_look_dead(notebook):
    notebook.open([cells.session(), 'session.panel("actor")', cells.BUSY])
    notebook.run(0)
    notebook.run(1)
    banner = panel_in(notebook.output(1), "actor").locator(".ringnb-banner")
    expect(banner).to_be_attached()
    notebook.start(2)
    notebook.page.wait_for_timeout(4500)
    assert notebook.runs(2)
    expect(banner).to_be_hidden()


def test_error_of_the_writer_reaches_the_alert(notebook):
    """A full disk: every automatic snapshot fails from then on, until there is room again."""
    notebook.open([cells.session(interval=0.2), 'session.panel("checkpoint")', "session.panel()"])
    notebook.run_all()
    panel = panel_in(notebook.output(1), "checkpoint")
    alert = panel.locator(".ringnb-background")
    expect(panel).to_be_visible()
    notebook.python("session.resume(); session.faults.fill_disk()")
    expect(alert).to_contain_text("No space left")
    assert alert.get_attribute("role") == "alert"
    screenshot(panel, "checkpoint-disk-full")
    in_cockpit = panel_in(notebook.output(2), "cockpit").locator(".ringnb-background")
    expect(in_cockpit.first).to_contain_text("No space left")
    assert in_cockpit.count() > 10
    expect(in_cockpit.locator("visible=true")).to_have_count(1)  # said once for all its panels
    notebook.python("session.faults.clear()")
    expect(alert).to_be_hidden()


def test_closed_session_says_so(notebook):
    notebook.open([cells.session(), 'session.panel("actor")'])
    notebook.run_all()
    panel = panel_in(notebook.output(1), "actor")
    expect(panel.locator("tbody tr").first).to_be_visible()
    notebook.python("session.close()")
    expect(panel.locator(".ringnb-banner")).to_contain_text("closed")
