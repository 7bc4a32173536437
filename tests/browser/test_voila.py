"""The cockpit as a page of Voila, where no cell and no Python of the user's is at hand."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from .audit import overflow, pale_texts, unnamed_controls, violations
from .driver import PATIENCE_MS, expect
from .lab import line_of, panel_in, screenshot, widen

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "cockpit.ipynb"
TABS = ("Explore", "Keep", "Learn")
_COLOURS = """(canvas) => new Set(
  canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size"""
_TOPS = """(root) => ['.rn-say', '.rn-deck'].map((selector) => {
  const node = [...root.querySelectorAll(selector)].find((one) => one.checkVisibility());
  return node.getBoundingClientRect().top - root.getBoundingClientRect().top;
})"""


@pytest.fixture
def opened(voila_server, page):
    """Open the page in a theme; the kernels end with the test."""
    nbformat.write(nbformat.read(NOTEBOOK, as_version=4), voila_server.root / "cockpit.ipynb")

    def open_page(theme="light"):
        page.set_viewport_size({"width": 1300, "height": 1000})
        page.goto(
            f"{voila_server.url}/voila/render/cockpit.ipynb?theme={theme}", timeout=PATIENCE_MS
        )
        cockpit = panel_in(page, "cockpit")
        expect(cockpit.locator(".rn-state")).to_have_text("Standing")
        return cockpit

    yield open_page
    page.goto("about:blank")
    voila_server.kill_kernels()


def button(where, name):
    return where.get_by_role("button", name=name, exact=True)


def test_run_look_disturb_restore_and_undo(opened):
    cockpit = opened()
    page, line, deck = cockpit.page, line_of(cockpit), cockpit.locator(".rn-deck")
    box, state = cockpit.locator(".rn-pic .rn-box"), cockpit.locator(".rn-state")
    button(deck, "Run").click()
    expect(state).to_have_text("Running")
    expect(box).to_have_attribute("data-name", re.compile("^checkpoint_0_step_"))  # as it is due
    button(deck, "Pause").click()
    expect(state).to_have_text("Standing")
    assert box.locator("canvas.rn-pixels").evaluate(_COLOURS) > 10
    button(cockpit, "Disturb a cell").click()
    box.click(position={"x": 50, "y": 60})
    expect(line).to_contain_text(re.compile(r"Disturbed cell y \d+, x \d+ of actor 0"))
    page.keyboard.press("Escape")
    button(deck, "Snapshot now").click()
    playhead = cockpit.get_by_role("slider", name="Playhead")
    newest = cockpit.locator(".rn-step").inner_text().replace(",", "")
    expect(playhead).to_have_attribute("aria-valuenow", newest)
    playhead.press("Home")
    expect(playhead).not_to_have_attribute("aria-valuenow", newest)
    first = playhead.get_attribute("aria-valuenow")
    # Of several at that step, the newest.
    expect(box).to_have_attribute("data-name", re.compile(rf"^checkpoint_0_step_{first}(\.\d+)?$"))
    button(deck, "Restore here").click()
    expect(line).to_contain_text(f"Actor 0 continues from step {int(first):,}")
    expect(cockpit.locator(".rn-line .rn-label", has_text="run 2")).to_have_count(1)
    button(line, "Undo").click()
    expect(line).to_contain_text(f"Actor 0 continues from step {int(newest):,}")
    assert unnamed_controls(cockpit) == []


def test_a_full_disk_what_stays_and_a_dead_kernel(opened):
    cockpit = opened()
    line, deck = line_of(cockpit), cockpit.locator(".rn-deck")
    cockpit.get_by_role("tab", name="Keep").click()
    cockpit.get_by_role("checkbox", name="Automatic").uncheck()
    expect(line).to_contain_text("only when asked for")
    button(deck, "Step").click()
    button(deck, "Snapshot now").click()
    expect(cockpit.get_by_role("slider", name="Playhead")).to_have_attribute("aria-valuenow", "100")
    cockpit.get_by_role("tab", name="Learn").click()
    full = cockpit.get_by_role("switch", name="Full disk")
    full.click()
    expect(full).to_have_attribute("aria-checked", "true")
    button(deck, "Snapshot now").click()
    expect(line).to_contain_text("No space left")
    button(cockpit, "All clear").click()
    expect(full).to_have_attribute("aria-checked", "false")
    button(deck, "Snapshot now").click()
    expect(line).to_contain_text("Committed")
    cockpit.get_by_role("tab", name="Keep").click()
    tiles = cockpit.get_by_role("listbox", name="Checkpoints, newest first").get_by_role("option")
    number = cockpit.get_by_role("spinbutton", name="N", exact=True)
    number.fill("1")
    number.press("Enter")
    cockpit.get_by_role("button", name=re.compile("Adopt, delete [1-9]")).click()
    expect(tiles).to_have_count(1)
    cockpit.get_by_role("tab", name="Learn").click()
    button(cockpit, "Kill the kernel").click()
    expect(cockpit.locator(".rn-state")).to_have_text("Ended")
    button(line, "Restart from the newest checkpoints").click()
    expect(line).to_contain_text("A new session runs: actor 0 from step")
    expect(cockpit.locator(".rn-state")).to_have_text("Standing")


def test_a_notebook_kernel_that_has_died_is_told(opened, voila_server):
    cockpit = opened()
    expect(cockpit.locator(".rn-tag")).to_have_text("Stored")  # it was due by itself
    voila_server.kill_kernels()
    expect(line_of(cockpit)).to_contain_text("No sign of life for")
    expect(cockpit.locator(".rn-state")).to_have_text("No contact")
    expect(cockpit.locator(".rn-tag")).to_have_text("Old picture")
    run = button(cockpit.locator(".rn-deck"), "Run")
    expect(run).to_have_attribute("aria-disabled", "true")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_sizes_contrast_and_names(opened, theme):
    cockpit = opened(theme)
    expect(cockpit.locator(".rn-tag")).to_have_text("Stored")  # it was due by itself
    for width in (1100, 700, 480):
        widen(cockpit, width)
        tops = []
        for tab in TABS:
            cockpit.get_by_role("tab", name=tab).click()
            where = f"voila-{theme}-{width}-{tab}".lower()
            screenshot(cockpit, where)
            assert pale_texts(cockpit) == [], where
            assert overflow(cockpit) == [], where
            if width == 1100:
                assert violations(cockpit) == [], where
                assert cockpit.bounding_box()["height"] <= 760, where
                tops.append(cockpit.evaluate(_TOPS))
        assert all(abs(a - b) <= 2 for top in tops for a, b in zip(top, tops[0], strict=True)), tops
