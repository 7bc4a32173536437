"""The line in a page: damage, restore and branch, looking back, ten thousand checkpoints."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from . import cells
from .driver import expect
from .lab import line_of, panel_in, screenshot, widen
from .loads import MANY_CHECKPOINTS, moves_and_pans, open_cell

SHOW = 'display(session.panel("timeline"), session.panel("field"))'
FIVE = cells.STORED.replace("range(3)", "range(5)")
SLOWER = 5  # times that a machine may be which other tests share


def opened(notebook, stored=FIVE, *, count=5, **session):
    """A notebook with timeline and field; the line is drawn."""
    # High enough for both panels: what is not seen is not fed.
    notebook.page.set_viewport_size({"width": 1280, "height": 1500})
    notebook.open([cells.session(enabled=False, **session), stored, SHOW])
    notebook.run_all()
    timeline, field = (panel_in(notebook.output(2), name) for name in ("timeline", "field"))
    expect(timeline.locator("[data-mark] .rn-square")).to_have_count(count)
    return timeline, field


def shown(field, step):
    """See that the field panel shows the checkpoint of a step."""
    expect(field.locator(".rn-pic .rn-box")).to_have_attribute(
        "data-name", f"checkpoint_0_step_{step}"
    )


def at(timeline, step, words=""):
    slider = timeline.get_by_role("slider", name="Playhead")
    expect(slider).to_have_attribute("aria-valuenow", str(step))
    if words:
        expect(slider).to_have_attribute("aria-valuetext", words)


def drag(timeline, *steps):
    """Drag the playhead to these steps, one after the other, by the ruler's scale."""
    line = timeline.locator("svg.rn-line")
    box = line.bounding_box()
    # The places of two marks whose steps are known.
    first, last = (
        timeline.locator("[data-mark]:has(.rn-square)").nth(i).bounding_box() for i in (0, -1)
    )
    mouse = timeline.page.mouse
    centre = {100: first["x"] + first["width"] / 2, 500: last["x"] + last["width"] / 2}
    per_step = (centre[500] - centre[100]) / 400

    def place(step):
        return centre[100] + (step - 100) * per_step, first["y"] + first["height"] / 2

    assert box["x"] < centre[100]
    mouse.move(*place(steps[0]))
    mouse.down()
    for step in steps[1:]:
        mouse.move(*place(step), steps=4)
        timeline.page.wait_for_timeout(200)
    mouse.up()


# The right edge of the names of runs, and the left one of all that is on their lanes.
_EDGES = """(line) => {
  const edges = (selector, side) => [...line.querySelectorAll(selector)]
    .map((one) => one.getBoundingClientRect()[side]);
  const beside = '[data-mark], .rn-head, .rn-head-dot, .rn-base';
  return [Math.max(...edges('.rn-label', 'right')), Math.min(...edges(beside, 'left'))];
}"""


def test_words_on_the_line_touch_nothing_else(notebook):
    notebook.page.set_viewport_size({"width": 1280, "height": 900})
    notebook.open([cells.session(enabled=False), 'session.panel("timeline")'])
    notebook.run_all()
    timeline = panel_in(notebook.output(1), "timeline")
    line = timeline.locator("svg.rn-line")
    for width, words in ((700, "Checkpoints will stand"), (480, "Nothing stored yet")):
        widen(timeline, width)
        hint = line.get_by_text(words).bounding_box()
        live = line.locator(".rn-live-line").bounding_box()
        assert hint["y"] >= live["y"] + live["height"], width
    notebook.python("for _ in range(2): session.snapshot(0); session.run_steps(0, 100)")
    expect(line.locator("[data-mark] .rn-square")).to_have_count(2)
    for key in ("Home", "ArrowRight"):  # on the first mark, and so that there is a ring around it
        line.press(key)
        at(timeline, 1 if key == "ArrowRight" else 0)
        name, first = line.evaluate(_EDGES)
        assert name + 4 <= first, key


def test_a_damaged_checkpoint_is_passed_over_without_a_problem(notebook):
    timeline, field = opened(notebook)
    notebook.python("session.faults.corrupt(stored[2].name)")
    timeline.get_by_role("slider").press("Home")
    at(timeline, 100)
    shown(field, 100)
    drag(timeline, 110, 250, 330)
    shown(field, 200)
    expect(timeline.locator("[data-mark] .rn-damaged")).to_have_count(1)
    expect(timeline.locator("[data-mark] .rn-square")).to_have_count(4)
    expect(timeline.locator(".rn-moment")).to_contain_text("steps before it is shown")
    timeline.get_by_role("slider").press("PageDown")
    at(timeline, 400)
    timeline.get_by_role("slider").press("PageUp")  # the damaged one is no place to rest on
    at(timeline, 200, "step 200 of run 1, stored as checkpoint_0_step_200")
    shown(field, 200)
    screenshot(timeline, "deck-damaged")
    said = json.loads(
        notebook.python(
            "import json; print(json.dumps([(m['kind'], m['text']) for m in "
            "session.panel('timeline').deck.board.messages]))"
        )
    )
    assert [kind for kind, _ in said if kind in ("problem", "warning")] == ["warning"]
    assert any("Passed over: checkpoint 'checkpoint_0_step_300'" in text for _, text in said)


TWO_OF_A_STEP = (
    FIVE
    + """
session.inject(0, at=(9, 9))
stored.append(session.snapshot(0))
"""
)


def test_of_two_checkpoints_of_one_step_a_click_or_a_key_shows_each(notebook):
    timeline, field = opened(notebook, TWO_OF_A_STEP, count=6)
    slider, box = timeline.get_by_role("slider"), field.locator(".rn-pic .rn-box")
    before, after = "checkpoint_0_step_500", "checkpoint_0_step_500.2"
    expect(box).to_have_attribute("data-name", after)
    for key, name in (("PageUp", before), ("PageUp", "checkpoint_0_step_400")):
        slider.press(key)
        expect(box).to_have_attribute("data-name", name)
    for name in (before, after):
        slider.press("PageDown")
        expect(box).to_have_attribute("data-name", name)
    at(timeline, 500, f"step 500 of run 1, stored as {after}")
    for i, name in ((-2, before), (-1, after), (-2, before)):
        square = timeline.locator("[data-mark]:has(.rn-square)").nth(i).bounding_box()
        aside = 3 if i == -2 else square["width"] - 3  # they overlap
        mouse, (x, y) = (
            timeline.page.mouse,
            (square["x"] + aside, square["y"] + square["height"] / 2),
        )
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + 1, y)  # as a hand does: it is a click all the same
        mouse.up()
        expect(box).to_have_attribute("data-name", name)
        at(timeline, 500)
    timeline.get_by_role("button", name="Restore here").click()
    expect(line_of(timeline)).to_contain_text(f"Actor 0 continues from step 500 ({before})")


def test_restore_begins_a_run_and_undo_brings_back_the_same_bits(notebook):
    timeline, _ = opened(notebook, pace=200)
    notebook.python("session.run_steps(0, 20); before = session.state(0).numpy()")
    slider = timeline.get_by_role("slider")
    slider.press("Home")
    slider.press("PageDown")
    at(timeline, 200)
    timeline.get_by_role("button", name="Restore here").click()
    line = line_of(timeline)
    expect(line).to_contain_text("Actor 0 continues from step 200 (checkpoint_0_step_200) as run 2")
    expect(timeline.locator(".rn-label", has_text="run 2")).to_have_count(1)
    expect(timeline.locator("[data-mark] .rn-square")).to_have_count(6)  # the state before is kept
    assert notebook.python("print(session.current_step(0))").strip() == "200"
    screenshot(timeline, "deck-restored")
    notebook.python("session.snapshot(1)")  # what comes by itself does not take the way back
    timeline.page.wait_for_timeout(4500)
    line.get_by_role("button", name="Undo").click()
    expect(line).to_contain_text("continues from step 520")
    same = "all((before[k] == v).all() for k, v in session.state(0).numpy().items())"
    assert notebook.python(f"print({same})").strip() == "True"


def test_a_branch_leaves_the_live_actor_alone(notebook):
    timeline, _ = opened(notebook, pace=200)
    notebook.python("session.resume(0)")
    timeline.get_by_role("slider").press("Home")
    at(timeline, 100)
    timeline.get_by_role("button", name="Branch…").click()
    box = timeline.get_by_role("dialog", name="Branch into another actor")
    into = box.get_by_role("spinbutton")
    expect(into).to_be_focused()
    for text in ("2", "-1", "0.5", ""):
        into.fill(text)
        box.get_by_role("button", name="Branch", exact=True).click()
        expect(line_of(timeline)).to_contain_text(f"there is no actor {text}")
        expect(into).to_be_focused()
        expect(into).to_have_value("1")
    rate = (
        "import time; a, t = session.current_step(0), time.monotonic(); time.sleep(1.5); "
        "print((session.current_step(0) - a) / (time.monotonic() - t))"
    )
    before = float(notebook.python(rate))
    box.get_by_role("button", name="Branch", exact=True).click()
    expect(box).to_be_hidden()
    expect(line_of(timeline)).to_contain_text("Actor 1 continues from step 100")
    after = float(notebook.python(rate))
    assert 0.7 < after / before < 1.4
    assert notebook.python("print(session.current_step(1))").strip() == "100"
    # A checkpoint that comes while the box is read is not the one that it was opened for.
    notebook.python("session.pause(0)")
    timeline.get_by_role("button", name="Newest").click()
    at(timeline, 500)
    timeline.get_by_role("button", name="Branch…").click()
    expect(box).to_contain_text("From checkpoint_0_step_500")
    newer = notebook.python("print(session.snapshot(0).step)")
    at(timeline, int(newer))
    box.get_by_role("button", name="Branch", exact=True).click()
    expect(line_of(timeline)).to_contain_text("Actor 1 continues from step 500 ")


def test_commits_do_not_move_a_playhead_that_looks_back_and_newest_follows_again(notebook):
    timeline, field = opened(notebook)
    slider = timeline.get_by_role("slider")
    shown(field, 500)
    slider.press("Home")
    slider.press("PageDown")
    shown(field, 200)
    notebook.python("session.run_steps(0, 100); session.snapshot(0)")
    expect(timeline.locator("[data-mark] .rn-square")).to_have_count(6)
    timeline.page.wait_for_timeout(500)
    at(timeline, 200)
    shown(field, 200)
    newest = timeline.get_by_role("button", name="Newest")
    expect(newest).to_have_attribute("aria-pressed", "false")
    newest.click()
    at(timeline, 600)
    shown(field, 600)
    notebook.python("session.run_steps(0, 100); session.snapshot(0)")
    at(timeline, 700)
    expect(newest).to_have_attribute("aria-pressed", "true")
    # A step between two checkpoints is none to look at: the one before is shown, and that is said.
    slider.press("ArrowLeft")
    at(timeline, 699, "step 699 of run 1, not stored: the nearest is checkpoint_0_step_600")
    shown(field, 600)
    expect(line_of(timeline)).to_contain_text(
        "Steps between checkpoints are not replayed: the squares on the line are stored"
    )
    # A line that is taken out of the page while it is dragged is not dragged on when it is back.
    line, mouse = timeline.locator("svg.rn-line"), timeline.page.mouse
    place = line.bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    mouse.move(x, y)
    mouse.down()
    line.evaluate(
        "line => { const box = line.parentNode; window.back = () => box.prepend(line); line.remove(); }"
    )
    mouse.up()
    timeline.page.evaluate("() => window.back()")
    expect(slider).not_to_have_attribute("aria-valuenow", "699")
    step = slider.get_attribute("aria-valuenow")
    mouse.move(x + 90, y, steps=3)
    timeline.page.wait_for_timeout(300)  # in which it would be spoken
    assert slider.get_attribute("aria-valuenow") == step


def saved_movie(timeline):
    """Press the button; return the saved file's name, and how many pictures are in it."""
    with timeline.page.expect_download() as waiting:
        timeline.get_by_role("button", name="Movie").click()
    with Image.open(waiting.value.path()) as movie:
        return waiting.value.suggested_filename, movie.n_frames


def test_a_movie_of_what_the_line_shows_is_saved(notebook):
    timeline, field = opened(notebook)
    shown(field, 500)
    assert saved_movie(timeline) == ("checkpoint_0_step_100.gif", 5)
    for _ in range(20):
        timeline.get_by_role("button", name="Zoom in at the playhead").click()
    assert saved_movie(timeline) == ("checkpoint_0_step_500.gif", 1)
    expect(line_of(timeline)).to_contain_text("Movie of 1 checkpoint sent")


@pytest.mark.slow
def test_ten_thousand_checkpoints(notebook, record_property):
    notebook.open([MANY_CHECKPOINTS, 'session.panel("timeline")'])
    notebook.run(0)
    opened_ms = open_cell(notebook, 1, ".rn-line .rn-bar")
    timeline = panel_in(notebook.output(1), "timeline")
    counts = timeline.locator("svg .rn-count").all_text_contents()
    assert sum(int(text.replace(",", "")) for text in counts) == 10_000
    screenshot(timeline, "deck-ten-thousand")
    found = {"opened_ms": opened_ms, **moves_and_pans(timeline)}
    assert timeline.get_by_role("button", name="Zoom out").get_attribute("aria-disabled") == "false"
    record_property("ten_thousand", json.dumps(found))
    print(found)
    assert opened_ms < 1000 * SLOWER
    assert found["move_ms"] < 16 * SLOWER
    assert found["frame_ms"] < 17 * SLOWER
