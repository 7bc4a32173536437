"""Keep in a page: what is crossed out is what goes, or nothing does; a full disk is told once."""

from __future__ import annotations

import json

from . import cells
from .driver import expect
from .lab import panel_in, said_once, screenshot, widen

SIX = """
for _ in range(6):
    session.run_steps(0, 50)
    session.snapshot(0)
"""
_GOING = "nodes => nodes.filter(n => n.dataset.fate === 'goes').map(n => n.dataset.name)"


def opened(notebook):
    """A cockpit whose tab Keep is seen; six checkpoints are stored."""
    notebook.page.set_viewport_size({"width": 1500, "height": 1800})
    made = cells.session(enabled=False).replace("max_snapshots=8", "max_snapshots=0")
    notebook.open([made, SIX, "session.panel()"])
    notebook.run_all()
    cockpit = panel_in(notebook.output(2), "cockpit")
    cockpit.get_by_role("tab", name="Keep").click()
    return cockpit


def stored(notebook):
    return json.loads(notebook.python("import json; print(json.dumps(session.storage.list()))"))


def test_what_is_crossed_out_is_what_goes_and_after_a_commit_nothing_does(notebook):
    cockpit = opened(notebook)
    tiles = cockpit.get_by_role("listbox", name="Checkpoints, newest first").get_by_role("option")
    expect(tiles).to_have_count(6)
    expect(cockpit.locator(".rn-line .rn-going")).to_have_count(0)
    cockpit.get_by_role("combobox", name="Keep").select_option("the newest N")
    number = cockpit.get_by_role("spinbutton", name="N", exact=True)
    number.fill("2")  # what it would do is shown while it is typed
    adopt = cockpit.get_by_role("button", name="Adopt, delete 4")
    expect(adopt).to_be_visible()
    preview = cockpit.locator(".rn-preview")
    expect(preview).to_have_attribute("aria-live", "polite")
    number.fill("")
    number.press_sequentially("-5")
    expect(number).to_have_value("2")
    line = cockpit.locator(".rn-say").locator("visible=true")
    expect(line).to_contain_text("N: -5 is refused, write 1 to 1,000,000,000; it stays 2")
    expect(adopt).to_be_visible()
    expected = json.loads(
        notebook.python(
            "import json; print(json.dumps([e.name for e in session.manager.preview_retention("
            "rn.retention.keep_last(2)).delete]))"
        )
    )
    expect(cockpit.locator(".rn-tile[data-fate='goes']")).to_have_count(4)
    assert sorted(tiles.evaluate_all(_GOING)) == sorted(expected)
    expect(cockpit.locator(".rn-line .rn-going")).to_have_count(4)
    screenshot(cockpit, "keep")
    # A commit that the page has not heard of: what is shown is not what would go any more.
    cockpit.get_by_role("tab", name="Explore").click()
    expect(cockpit.locator(".rn-line .rn-going")).to_have_count(0)
    cockpit.get_by_role("tab", name="Keep").click()
    notebook.python("panel = session.panel('retention'); late = panel.stays.preview['id']")
    notebook.python("session.run_steps(0, 50); session.snapshot(0); session.snapshot(0)")
    all_names = stored(notebook)
    notebook.python("panel._controller.do('retention.adopt', shown=late)")
    told = cockpit.get_by_text("Adopt: 2 checkpoints came since; nothing was deleted: look again")
    expect(told.first).to_be_visible()  # it is spoken, too
    assert stored(notebook) == all_names
    adopt = cockpit.get_by_role("button", name="Adopt, delete 6")
    expect(adopt).to_be_visible()
    expect(preview).to_have_attribute("aria-live", "off")  # a commit has changed it, no choice
    adopt.click()
    expect(cockpit.get_by_text("keep_last(2) holds from now on; deleted 6").first).to_be_visible()
    expect(tiles).to_have_count(2)
    assert set(stored(notebook)) < set(all_names) - set(expected)
    # A click on a tile moves the playhead there; arrows go on.
    tiles.nth(1).click()
    expect(tiles.nth(1)).to_have_attribute("aria-selected", "true")
    notebook.page.keyboard.press("ArrowLeft")
    expect(tiles.nth(0)).to_have_attribute("aria-selected", "true")
    expect(tiles.nth(0)).to_be_focused()


IN_TWO_SECONDS = """
import datetime, time
made = session.snapshot(0).created_at
while datetime.datetime.now(datetime.UTC) < made.replace(microsecond=0) + datetime.timedelta(seconds=1):
    time.sleep(0.02)
session.snapshot(0), session.snapshot(0), session.snapshot(0)
"""
_CUT = """nodes => nodes.filter((n) => n.scrollWidth > n.clientWidth).map((n) => n.textContent)"""


def test_several_checkpoints_of_one_step_are_told_apart_and_no_step_is_cut(notebook):
    cockpit = opened(notebook)
    notebook.python("session.set_pace(None); session.run_steps(0, 1_234_567 - 300)")
    notebook.python(IN_TWO_SECONDS)
    tiles = cockpit.get_by_role("listbox").get_by_role("option")
    expect(tiles).to_have_count(10)
    names = [tile.get_attribute("aria-label") for tile in tiles.all()]
    assert len(set(names)) == 10
    assert all(" UTC" in name for name in names[:4])
    assert len({tile.inner_text() for tile in tiles.all()}) == 10
    for width in (1100, 700, 480):
        widen(cockpit, width)
        assert tiles.locator("b").evaluate_all(_CUT) == [], width
        screenshot(cockpit, f"keep-twins-{width}")


def test_a_question_takes_the_focus_from_the_button_that_asks_and_gives_it_back(notebook):
    cockpit = opened(notebook)
    tiles = cockpit.get_by_role("listbox").get_by_role("option")
    tiles.nth(1).click()  # the newest one is always kept
    expect(tiles.nth(1)).to_have_attribute("aria-selected", "true")
    delete = cockpit.get_by_role("button", name="Delete…")
    keep, do = (cockpit.get_by_role("button", name=f"{what} it") for what in ("Keep", "Delete"))
    for answer in (keep, do):
        delete.focus()
        notebook.page.keyboard.press("Enter")
        expect(keep).to_be_focused()  # Enter, held for too long, deletes nothing
        answer.focus()
        notebook.page.keyboard.press("Enter")
        expect(answer).to_be_hidden()
        expect(delete).to_be_focused()
    expect(tiles).to_have_count(5)


def test_a_full_disk_is_one_problem_with_a_count_that_the_next_commit_settles(notebook):
    cockpit = opened(notebook)
    notebook.python("session.faults.fill_disk(True)")
    snapshot = cockpit.get_by_role("button", name="Snapshot now")
    line = cockpit.locator(".rn-say").locator("visible=true")
    for n in (1, 2):
        snapshot.click()
        expect(line).to_contain_text("no space left", ignore_case=True)
        if n > 1:
            expect(line).to_contain_text("\N{MULTIPLICATION SIGN}")
    said_once(cockpit)
    cockpit.get_by_role("tab", name="Learn").click()
    full = cockpit.get_by_role("switch", name="Full disk")
    expect(full).to_have_attribute("aria-checked", "true")
    cockpit.get_by_role("button", name="All clear").click()
    expect(full).to_have_attribute("aria-checked", "false")
    snapshot.click()
    expect(line).to_contain_text("Committed")
    cockpit.get_by_role("button", name="History").click()
    expect(cockpit.locator(".rn-log")).to_contain_text("settled at")


def test_a_reason_that_is_typed_stays_while_checkpoints_come_and_enter_pins_with_it(notebook):
    cockpit = opened(notebook)
    side = cockpit.get_by_role("region", name="One checkpoint")
    reason = side.get_by_role("textbox", name="Label of the pin")
    reason.fill("why not")
    notebook.python("session.run_steps(0, 50); session.snapshot(0)")
    expect(side).to_contain_text("checkpoint_0_step_350")
    expect(reason).to_have_value("why not")
    reason.press("Enter")
    expect(side.get_by_role("button", name="Unpin")).to_be_visible()
    assert (
        notebook.python("print(session.storage.load('checkpoint_0_step_350').pinned)") == "why not"
    )


def test_a_press_on_a_damaged_checkpoint_asks_whether_to_delete_it(notebook):
    cockpit = opened(notebook)
    notebook.python("session.faults.corrupt('checkpoint_0_step_100')")
    cockpit.get_by_role("button", name="Check all").click()
    cockpit.locator(".rn-tile[data-fate='damaged']").click()
    delete = cockpit.get_by_role("button", name="Delete it")
    expect(delete).to_be_visible()
    delete.click()
    expect(cockpit.locator(".rn-tile[data-fate='damaged']")).to_have_count(0)
    assert "checkpoint_0_step_100" not in stored(notebook)


def test_nothing_of_the_choice_of_what_is_kept_is_cut_or_squeezed(notebook):
    cockpit = opened(notebook)
    notebook.python("session.manager.reconfigure(enabled=True, interval=3600)")
    cockpit.get_by_role("combobox", name="Keep").select_option("one per N steps and the newest")
    forecast = cockpit.locator(".rn-forecast")
    expect(forecast).to_contain_text("one per")
    inside = """root => [...root.querySelectorAll('text')].every((text) =>
      text.getBBox().x + text.getBBox().width <= root.viewBox.baseVal.width)"""
    assert forecast.evaluate(inside)
    unit = cockpit.get_by_role("combobox", name="By")
    wide = unit.bounding_box()["width"]
    unit.select_option("simulated time")
    expect(cockpit.get_by_role("spinbutton", name="Every (simulated s)")).to_be_visible()
    assert unit.bounding_box()["width"] > 0.7 * wide
