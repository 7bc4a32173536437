"""Accessibility: names, contrast, a narrow page, JupyterLab's shortcuts that must not act."""

from __future__ import annotations

import pytest

from . import cells
from .audit import overflow, pale_texts, unnamed_controls
from .driver import expect
from .lab import line_of, panel_in, screenshot

_FOCUSABLE = "button:visible, input:visible, select:visible, [tabindex='0']:visible"
PLAIN = 'import ipywidgets; ipywidgets.Button(description="plain")'


@pytest.fixture
def cockpit(notebook):
    notebook.open([cells.session(interval=5.0), cells.STORED, "session.panel()", PLAIN])
    notebook.run_all()
    panel = panel_in(notebook.output(2), "cockpit")
    expect(panel.locator(".rn-pic .rn-box[data-name]").first).to_be_visible()
    return panel


def test_shortcuts_do_not_act(notebook, cockpit):
    count = notebook.cell_count
    keys = notebook.page.keyboard
    tried = 0
    for tab in ("Learn", "Keep", "Explore"):
        cockpit.get_by_role("tab", name=tab).click()
        for place in cockpit.locator(_FOCUSABLE).element_handles():
            if not place.evaluate("n => n.isConnected"):
                continue  # what can be undone, say, goes by itself while the others are tried
            place.evaluate("n => n.focus()")
            for key in ("b", "d", "d", "x"):
                keys.press(key)
            tried += 1
            assert notebook.cell_count == count, place.evaluate("n => n.outerHTML.slice(0, 200)")
    assert tried > 60
    # The same keys act elsewhere; otherwise this test would prove nothing.
    notebook.output(3).get_by_role("button", name="plain").focus()
    keys.press("b")
    notebook.page.wait_for_function(
        "count => jupyterapp.shell.currentWidget.content.model.cells.length > count", arg=count
    )


def test_names_contrast_and_narrow_page(notebook, cockpit):
    assert unnamed_controls(cockpit) == []
    # The result of a click, or why there is none, is said in the one message line.
    cockpit.get_by_role("button", name="Check again", exact=True).click()
    expect(line_of(cockpit)).to_contain_text("verified, every byte")
    cockpit.get_by_role("button", name="Zoom out", exact=True).click(force=True)
    expect(line_of(cockpit)).to_contain_text("Zoom out: all of it is shown")
    notebook.command("application:toggle-left-area")  # the list of files, half of a narrow page
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        notebook.theme(theme)
        for width in (1280, 480):
            notebook.page.set_viewport_size({"width": width, "height": 900})
            for tab in ("Explore", "Keep", "Learn"):
                cockpit.get_by_role("tab", name=tab).click()
                where = (theme, width, tab)
                screenshot(
                    cockpit, "-".join(["cockpit", theme.split()[1], str(width), tab]).lower()
                )
                assert pale_texts(cockpit) == [], where
                assert overflow(cockpit) == [], where
                heights = cockpit.locator("select:not([size]):visible").evaluate_all(
                    "nodes => nodes.map((node) => node.getBoundingClientRect().height)"
                )
                assert min(heights) >= 28, where  # as high as a button
