"""The cockpit as one screen: sizes, one message, keys, panels that agree, kernels that are gone."""

from __future__ import annotations

import itertools
import re

import pytest
from waiting import until

from . import cells
from .audit import overflow, violations
from .driver import expect, needs_subshells
from .lab import line_of, listen_to, panel_in, screenshot, widen

TABS = ("Explore", "Keep", "Learn")
_PLACES = """(root) => {
  const at = (selector) => {
    const node = [...root.querySelectorAll(selector)].find((one) => one.checkVisibility());
    return node ? node.getBoundingClientRect().top - root.getBoundingClientRect().top : null;
  };
  return {
    height: root.getBoundingClientRect().height, line: at('.rn-say'), deck: at('.rn-deck'),
    picture: at('.rn-stage canvas'),
  };
}"""
# By element, so that each is compared with itself; a name tells which.
_TOPS = """(root) => Object.fromEntries([...root.querySelectorAll(
    '.rn-head > :not(.rn-sr), .rn-stage canvas, .rn-beside, .rn-beside > *, .rn-say, .rn-deck,'
    + '.rn-dialbox button'
  )].filter((one) => one.checkVisibility()).map((one) => {
    one.rnNumber ??= window.rnNumbers = (window.rnNumbers ?? 0) + 1;
    const name = `${one.rnNumber} ${one.localName}.${one.classList[0]}`;
    return [name, Math.round(one.getBoundingClientRect().top)];
  }))
"""
# What of the head is cut off when its texts are as long as they become; they are put back.
_CUT = """(root) => {
  const head = root.querySelector('.rn-head'), frame = head.querySelector('.rn-steps');
  const inner = ['.rn-state', '.rn-step', '.rn-rate'].map((one) => head.querySelector(one));
  const texts = inner.map((one) => one.lastChild), before = texts.map((one) => one.data);
  const long = ['No contact', '1,234,567,890', '12,345,678 steps/s'];
  texts.forEach((one, i) => { one.data = long[i]; });
  const outside = (box) => (node) => {
    const [a, b] = [node, box].map((one) => one.getBoundingClientRect());
    return a.top < b.top - 1 || a.bottom > b.bottom + 1 || a.right > b.right + 1;
  };
  const parts = [...head.children].filter((one) => one.checkVisibility());
  const cut = [...inner.filter(outside(frame)), ...parts.filter(outside(head))];
  texts.forEach((one, i) => { one.data = before[i]; });
  return cut.filter((one) => !one.matches('.rn-sr')).map((one) => one.className);
}"""
_ORDER = """(root) => {
  const all = [...root.querySelectorAll('.rn-stage canvas, .rn-deck svg, .rn-side input')];
  const first = (selector) => all.findIndex((node) => node.closest(selector));
  return [first('.rn-stage'), first('.rn-deck'), first('.rn-side')];
}"""


@pytest.fixture
def cockpit(notebook):
    notebook.open([cells.session(enabled=False), cells.STORED, "session.panel()"])
    notebook.run_all()
    notebook.command("application:toggle-left-area")
    panel = panel_in(notebook.output(2), "cockpit")
    expect(panel.locator(".rn-stage canvas").first).to_be_visible()
    return panel


# How far the deck is indented beside the stage, and how far Movie lies below Download.
_APART = """(root) => {
  const box = (what) => root.querySelector(what).getBoundingClientRect();
  const [deck, stage] = [box('.rn-transport .rn-from .rn-b'), box('.rn-tag')];
  const beside = root.clientWidth < 500 ? deck.left - stage.left : 0;
  return [beside, box('[data-do="moment.movie"]').top - box('[data-do="moment.download"]').top];
}"""
# Of the first two headings of the controls, which are side by side: where they are, and their size.
_HEADINGS = """(root) => {
  const shown = [...root.querySelectorAll('.rn-side h3')].filter((one) => one.checkVisibility());
  return shown.slice(0, 2).map((one) => {
    const { top, bottom } = one.getBoundingClientRect();
    return [Math.round((top + bottom) / 2), getComputedStyle(one).fontSize];
  });
}"""
_SCROLLED = "side => side.scrollHeight - side.clientHeight"


# What a finger would miss: by their names, the controls that are lower than 34 pixels.
_LOW = """(root) => [...root.querySelectorAll(
    'button:not(.rn-switch), select, input:not([type=checkbox], [type=range])')]
  .filter((one) => one.checkVisibility() && one.offsetHeight && one.offsetHeight < 34)
  .map((one) => [one.offsetHeight, one.getAttribute('aria-label') ?? one.textContent])"""


# Whether a list has room for what is chosen.
_TEXT_FITS = """(select) => {
  const pen = document.createElement('canvas').getContext('2d'), style = getComputedStyle(select);
  pen.font = style.font;
  const padding = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
  return pen.measureText(select.selectedOptions[0].text).width + padding <= select.clientWidth;
}"""


def test_one_screen_whose_tabs_move_nothing(notebook, cockpit):
    notebook.page.set_viewport_size({"width": 1300, "height": 1000})
    for width in (1100, 700, 480):
        widen(cockpit, width)
        seen = []
        for tab in TABS:
            cockpit.get_by_role("tab", name=tab).click()
            notebook.page.wait_for_timeout(200)
            screenshot(cockpit, f"one-screen-{width}-{tab}".lower())
            assert overflow(cockpit) == [], (width, tab)
            seen.append(cockpit.evaluate(_PLACES))
            if width == 700:
                one, other = cockpit.evaluate(_HEADINGS)
                assert abs(one[0] - other[0]) <= 1, (tab, one, other)
                assert one[1] == other[1], tab
            if width == 480:
                assert cockpit.evaluate(_LOW) == [], tab
            if tab == "Explore":
                against = cockpit.get_by_label("Against: compare with")
                assert against.is_hidden() or against.evaluate(_TEXT_FITS), width
                assert cockpit.evaluate(_APART) == [0, 0], width
            elif width == 1100:
                assert cockpit.locator(".rn-side").evaluate(_SCROLLED) <= 1, tab
        if width == 1100:
            assert max(place["height"] for place in seen) <= 760
            for part in ("line", "deck"):
                tops = [place[part] for place in seen]
                assert max(tops) - min(tops) <= 2, (part, tops)
        assert seen[0]["picture"] <= 260, width
    stage, deck, side = cockpit.evaluate(_ORDER)
    assert -1 < stage < deck < side  # picture and line come before any parameter


def test_nothing_moves_for_a_swipe_for_disturbing_or_for_more_digits(notebook, cockpit):
    notebook.page.set_viewport_size({"width": 1300, "height": 1500})
    swipe = cockpit.get_by_label("Swipe: how much")
    disturb = cockpit.get_by_role("button", name="Disturb a cell", exact=True)

    def moved(seen):
        now = cockpit.evaluate(_TOPS)
        return {one: (top, now[one]) for one, top in seen.items() if now.get(one, top) != top}

    for width in (1100, 700, 480):
        widen(cockpit, width)
        cockpit.get_by_label("by how much").scroll_into_view_if_needed()
        seen = cockpit.evaluate(_TOPS)
        assert len(seen) > 10, seen
        if width > 480:  # where the other picture is behind a button
            notebook.python("session.panel('compare').how = 'swipe'")
            expect(swipe).to_be_visible()
            assert moved(seen) == {}, width
            assert any(one.endswith("input.rn-swiper") for one in cockpit.evaluate(_TOPS))
            notebook.python("session.panel('compare').how = 'difference'")
            expect(swipe).to_be_hidden()
        disturb.click()
        expect(cockpit.get_by_role("button", name="Stop disturbing")).to_be_visible()
        assert moved(seen) == {}, width
        cockpit.get_by_role("button", name="Stop disturbing").click()
        notebook.python("session.set_pace(None); session.run_steps(0, 123_456 - 300)")
        expect(cockpit.locator(".rn-step")).to_have_text("123,456")
        assert moved(seen) == {}, width
        notebook.python("session.restore(0, stored[-1].name)")
        expect(cockpit.locator(".rn-step")).to_have_text("300")


def test_of_the_head_nothing_but_the_time_is_cut_off(notebook, cockpit):
    notebook.page.set_viewport_size({"width": 1300, "height": 1000})
    for width in (1100, 985, 700, 480):
        widen(cockpit, width)
        assert cockpit.evaluate(_CUT) == [], width


# What is shown, in as many words and digits as it comes to.
_LONG = """(what) => {
  const before = [...what.childNodes], bar = what.closest('.rn-bar'), height = bar.offsetHeight;
  what.textContent = 'checkpoint_0_step_1290843 · newest, 203,613 steps ago · t\\xa0=\\xa021.79\\xa0ms';
  const cut = what.scrollHeight > what.clientHeight + 1 || what.scrollWidth > what.clientWidth;
  const grown = bar.offsetHeight - height;
  what.replaceChildren(...before);
  return [cut, grown];
}"""


# How much higher the message line gets for a long message, and how much of that is cut off.
_LONG_LINE = """(line) => {
  const text = line.querySelector('.rn-text'), words = text.firstChild, height = line.offsetHeight;
  const before = words.textContent;
  words.textContent = 'Actor 0 continues from step 4,500 (checkpoint_0_step_4500) as run 3. '
    + 'Its state before is kept: checkpoint_0_step_8000.2';
  const found = [line.offsetHeight - height, text.scrollWidth - text.clientWidth];
  words.textContent = before;
  return found;
}"""


def test_what_picture_and_line_say_is_said_whole(notebook, cockpit):
    notebook.page.set_viewport_size({"width": 1300, "height": 1000})
    for width in (1100, 700, 480):
        widen(cockpit, width)
        if width > 480:
            assert cockpit.locator(".rn-what").evaluate(_LONG) == [False, 0], width
        assert line_of(cockpit).evaluate(_LONG_LINE) == [0, 0], width


# What of the stage is to be seen left or right of the actors' cards.
_BESIDE = """(cards) => {
  const { left, right } = cards.getBoundingClientRect();
  return [...cards.closest('.rn-stage').querySelectorAll('.rn-tab-explore *')]
    .filter((one) => one.checkVisibility() && one.offsetWidth)
    .filter((one) => {
      const box = one.getBoundingClientRect();
      return box.left < left || box.right > right;
    }).map((one) => one.className);
}"""


def test_the_cards_of_all_actors_cover_the_stage(notebook, cockpit):
    notebook.page.set_viewport_size({"width": 1300, "height": 1000})
    cockpit.get_by_role("button", name="All actors").click()
    cards = cockpit.get_by_role("dialog", name="All actors")
    expect(cards.get_by_role("button", name=re.compile("1: "))).to_contain_text("Nothing stored")
    expect(cards.get_by_text("Nothing stored")).to_have_count(2)  # one of them hidden
    expect(cards.get_by_text("Nothing stored").first).to_be_hidden()
    for width in (1100, 700, 480):
        widen(cockpit, width)
        assert cards.evaluate(_BESIDE) == [], width


def test_a_wide_font_makes_nothing_wider_than_the_panel(notebook, cockpit):
    notebook.page.set_viewport_size({"width": 1300, "height": 1000})
    style = ".rn-cockpit, .rn-cockpit * { font-family: 'DejaVu Sans' !important; }"
    added = notebook.page.add_style_tag(content=style)
    for width in (1100, 700, 480):
        widen(cockpit, width)
        for tab in TABS:
            cockpit.get_by_role("tab", name=tab).click()
            assert overflow(cockpit) == [], (width, tab)
    added.evaluate("node => node.remove()")


# Of the message line the height, and the buttons that are not in the row of its kind, for each age.
_BROKEN = """(line) => ['now', '59 min ago'].map((words) => {
  const age = line.querySelector('.rn-age'), before = age.textContent;
  const middle = (one) => {
    const { top, bottom } = one.getBoundingClientRect();
    return (top + bottom) / 2;
  };
  age.textContent = words;
  const row = middle(line.querySelector('.rn-kind'));
  const buttons = [...line.querySelectorAll(':scope > button')];
  const own = buttons.filter((one) => Math.abs(middle(one) - row) > 2);
  const height = line.offsetHeight;
  age.textContent = before;
  return [height, own.length];
})"""


def test_a_killed_kernel_is_one_problem_with_its_remedy_and_forgotten_after_the_restart(
    notebook, cockpit
):
    cockpit.get_by_role("button", name="Disturb a cell", exact=True).click()
    expect(cockpit.locator(".rn-aim")).to_have_count(1)
    notebook.python("session.faults.kill_kernel()")
    line = line_of(cockpit)
    expect(line).to_have_attribute("data-kind", "problem")
    expect(line).to_contain_text("All 3 committed checkpoints are still there")
    expect(cockpit.locator(".rn-state")).to_have_text("Ended")
    expect(cockpit.locator(".rn-aim")).to_have_count(0)  # no click would reach it
    widen(cockpit, 480)
    young, old = line.evaluate(_BROKEN)
    assert young == old, (young, old)
    assert young[1] == 0
    widen(cockpit, 1100)
    cockpit.get_by_role("tab", name="Learn").click()
    expect(cockpit.locator(".rn-learn .rn-map")).to_contain_text("actor 0 ended at step")
    prediction = cockpit.get_by_label("Prediction (µs)")
    cockpit.get_by_role("tab", name="Keep").click()
    automatic, mode = cockpit.get_by_label("Automatic"), cockpit.get_by_label("By", exact=True)
    for control in (prediction, automatic, mode):
        expect(control).to_have_attribute("aria-disabled", "true")
    automatic.click(force=True)
    expect(automatic).not_to_be_checked()
    expect(line).to_contain_text("Automatic: The kernel does not run")
    mode.focus()
    mode.press("ArrowDown")
    expect(mode).to_have_value("seconds")
    expect(mode).to_be_focused()
    dot = cockpit.locator(".rn-live .rn-dot")
    expect(dot).to_have_css("fill", "none")
    cockpit.get_by_role("tab", name="Explore").click()
    run = cockpit.locator(".rn-deck").get_by_role("button", name="Run", exact=True)
    expect(run).to_have_attribute("aria-disabled", "true")
    run.click(force=True)
    expect(line).to_contain_text("Run: The kernel does not run")  # and then the problem again
    expect(line).to_contain_text("committed checkpoints are still there")
    dial = cockpit.get_by_role("slider", name="courant2", exact=True)
    expect(dial).to_have_attribute("aria-disabled", "true")
    dial.press("ArrowRight")
    expect(line).to_contain_text("courant2: The kernel does not run")
    expect(dial).to_have_js_property("value", "0.25")
    expect(line).to_contain_text("committed checkpoints are still there")
    # What is stored is still so, in full colour, and can be looked at.
    expect(cockpit).not_to_have_attribute("data-old", "")
    for key, step in (("Home", 100), ("PageDown", 200)):
        cockpit.get_by_role("slider", name="Playhead").press(key)
        expect(cockpit.locator(".rn-pic .rn-box")).to_have_attribute(
            "data-name", f"checkpoint_0_step_{step}"
        )
        expect(cockpit.locator(".rn-tag")).to_have_text("Stored")
    notebook.page.wait_for_timeout(1700)  # what was spoken is gone
    text = cockpit.evaluate("node => node.textContent")
    assert text.count("3 committed checkpoints are still there") == 1
    line.get_by_role("button", name="Restart from the newest checkpoints").click()
    expect(line).to_contain_text("A new session runs: actor 0 from step 300")
    expect(cockpit.locator(".rn-state")).to_have_text("Standing")
    for tab in TABS:
        cockpit.get_by_role("tab", name=tab).click()
        notebook.page.wait_for_timeout(300)
        assert "does not run" not in cockpit.evaluate("node => node.textContent"), tab
    line.get_by_role("button", name="History").click()
    history = cockpit.get_by_role("dialog", name="History of messages and events")
    expect(history).to_contain_text(re.compile(r"settled at [\d:]+ by the new session"))


def test_a_silent_kernel_makes_the_picture_old_and_a_rerun_brings_it_back(notebook, cockpit):
    notebook.restart_kernel()
    expect(line_of(cockpit)).to_contain_text("No sign of life for")
    expect(cockpit.locator(".rn-state")).to_have_text("No contact")
    expect(cockpit).to_have_attribute("data-old", "")
    expect(cockpit.locator(".rn-rate")).to_be_empty()  # a session elsewhere may go on
    # The colours beside a picture are those in it.
    expect(cockpit.locator(".rn-cbar canvas")).to_have_css("filter", "grayscale(0.75)")
    run = cockpit.locator(".rn-deck").get_by_role("button", name=re.compile("^(Run|Pause)$"))
    expect(run).to_have_attribute("aria-disabled", "true")
    # The live edge is as grey as the rest that is old, its line too.
    edge = [("line", "stroke"), ("dot", "fill"), ("word", "fill")]
    inks = {
        cockpit.locator(f".rn-live-{part}").evaluate(f"node => getComputedStyle(node).{ink}")
        for part, ink in edge
    }
    assert len(inks) == 1, inks
    cockpit.get_by_role("tab", name="Keep").click()  # what the page holds can be looked at
    expect(panel_in(cockpit, "retention").first).to_be_visible()
    notebook.run_all()
    again = panel_in(notebook.output(2), "cockpit")
    expect(again.locator(".rn-state")).to_have_text(re.compile("Standing|Running"))
    expect(line_of(again)).not_to_contain_text("No sign of life")


@needs_subshells
def test_two_cockpits_agree_on_actor_playhead_and_messages(notebook):
    view = "session.panel()"
    notebook.open(
        [cells.session(interval=30.0), cells.STORED, view, view, 'session.panel("actor")']
    )
    notebook.run_all()
    one, two = (panel_in(notebook.output(i), "cockpit") for i in (2, 3))
    one.get_by_label("Actor", exact=True).select_option("1")
    expect(two.get_by_label("Actor", exact=True)).to_have_value("1")
    two.get_by_label("Actor", exact=True).select_option("0")
    expect(one.get_by_label("Actor", exact=True)).to_have_value("0")
    playheads = [panel.get_by_role("slider", name="Playhead") for panel in (one, two)]
    for moved, seen in (playheads, playheads[::-1]):
        for key, step in (("Home", "0"), ("PageDown", "100")):
            moved.press(key)
            expect(seen).to_have_attribute("aria-valuenow", step)
    expect(one.get_by_label("Step to look at")).to_have_value("100")
    two.get_by_role("tab", name="Keep").click()
    expect(one.get_by_role("tab", name="Explore")).to_have_attribute("aria-selected", "true")
    one.locator(".rn-deck").get_by_role("button", name="Run", exact=True).click()
    for panel in (one, two, panel_in(notebook.output(4), "actor")):
        expect(line_of(panel)).to_contain_text("Actor 0 runs")
    expect(two.locator(".rn-state")).to_have_text("Running")
    notebook.python("session.pause()")
    for panel in (one, two):
        expect(panel.locator(".rn-state")).to_have_text("Standing")
    # What Escape does in one panel concerns no other.
    one.get_by_role("button", name="Larger picture").press("Enter")
    smaller = one.get_by_role("button", name="Smaller picture")
    actor = panel_in(notebook.output(4), "actor")
    line_of(actor).get_by_role("button", name="History").press("Escape")
    expect(notebook.page.locator(".jp-Notebook .jp-Cell").nth(4)).to_be_focused()
    expect(smaller).to_be_visible()
    smaller.press("Escape")
    expect(smaller).to_have_count(0)


def test_keys_alone_reach_tabs_history_actors_sheet_branch_and_names(notebook, cockpit):
    keys, count = notebook.page.keyboard, notebook.cell_count
    cockpit.get_by_role("tab", name="Explore").focus()
    keys.press("ArrowRight")
    expect(cockpit.get_by_role("tab", name="Keep")).to_be_focused()
    expect(cockpit).to_have_attribute("data-tab", "keep")
    keys.press("End")
    expect(cockpit.get_by_role("tab", name="Learn")).to_be_focused()
    keys.press("Home")
    keys.press("Tab")
    expect(cockpit.get_by_label("Actor", exact=True)).to_be_focused()
    keys.press("Tab")
    keys.press("Enter")
    dialog = cockpit.get_by_role("dialog", name="All actors")
    expect(dialog.get_by_role("button", name=re.compile("^0: "))).to_be_focused()  # the chosen one
    stop = dialog.get_by_role("button", name="Stop kernel…")
    stop.press("Enter")
    expect(dialog.get_by_role("button", name="Keep it running")).to_be_focused()
    keys.press("Escape")  # the question, and not what it lies in
    expect(stop).to_be_focused()
    dialog.get_by_role("button", name=re.compile("^0: ")).focus()
    card = dialog.get_by_role("button", name="1: fdtd_2d_1")
    expect(card).to_contain_text("standing")
    card.focus()
    notebook.page.wait_for_timeout(1500)  # it is filled anew, and keeps the focus
    expect(card).to_be_focused()
    keys.press("ArrowLeft")
    expect(dialog.get_by_role("button", name=re.compile("^0: "))).to_be_focused()
    keys.press("ArrowRight")
    keys.press("Enter")
    expect(dialog).to_be_hidden()
    expect(cockpit.get_by_role("button", name="All actors")).to_be_focused()
    expect(cockpit.get_by_label("Actor", exact=True)).to_have_value("1")
    line_of(cockpit).get_by_role("button", name="History").focus()
    keys.press("Enter")
    history = cockpit.get_by_role("dialog", name="History of messages and events")
    expect(history.get_by_role("button", name="Everything")).to_be_focused()
    for key in ("b", "d", "d"):
        keys.press(key)
    keys.press("Escape")
    expect(history).to_be_hidden()
    expect(line_of(cockpit).get_by_role("button", name="History")).to_be_focused()
    outline = "node => getComputedStyle(node).outlineStyle"
    assert line_of(cockpit).get_by_role("button", name="History").evaluate(outline) != "none"
    # All actors take the place of the history; Escape closes either wherever the focus is.
    keys.press("Enter")
    expect(history).to_be_visible()
    cockpit.get_by_role("button", name="All actors").press("Enter")
    expect(history).to_be_hidden()
    expect(dialog).to_be_visible()
    cockpit.get_by_role("slider", name="Playhead").press("Escape")
    expect(dialog).to_be_hidden()
    expect(cockpit.get_by_role("button", name="All actors")).to_be_focused()
    # What a tab shows is not hidden by them.
    cockpit.get_by_role("button", name="All actors").press("Enter")
    expect(dialog).to_be_visible()
    cockpit.get_by_role("tab", name="Keep").click()
    expect(dialog).to_be_hidden()
    expect(cockpit.get_by_role("tab", name="Keep")).to_be_focused()
    cockpit.get_by_role("tab", name="Explore").click()
    # Into which actor to branch: the box takes the focus, and gives it back.
    branch = cockpit.get_by_role("button", name="Branch…")
    box = cockpit.get_by_role("dialog", name="Branch into another actor")
    slot = box.get_by_role("spinbutton", name="Branch into actor")
    cockpit.get_by_label("Actor", exact=True).select_option("0")
    expect(branch).to_have_attribute("aria-disabled", "false")
    arrows = "node => getComputedStyle(node.closest('[role=toolbar]'), '::after').content"
    for leave in (["Escape"], ["Tab", "Tab", "Enter"]):  # the second by Cancel
        branch.press("Enter")
        expect(slot).to_be_focused()
        for key in leave:
            if key == "Enter":
                assert branch.evaluate(arrows) == "none"  # they do nothing there
            keys.press(key)
        expect(box).to_be_hidden()
        expect(branch).to_be_focused()
        assert branch.evaluate(arrows) != "none"
    # Beyond the box Escape closes it, too; a key that is held opens it once.
    branch.focus()
    for _ in range(4):
        keys.down("Enter")
    keys.up("Enter")
    expect(slot).to_be_focused()
    cockpit.get_by_role("slider", name="Playhead").press("Escape")
    expect(box).to_be_hidden()
    expect(branch).to_be_focused()
    branch.press("Enter")
    keys.press("ArrowUp")  # there is no actor 2
    expect(slot).to_have_value("1")
    keys.press("Enter")
    expect(line_of(cockpit)).to_contain_text("Actor 1 continues from step 300")
    expect(branch).to_be_focused()
    # The name of a run, from the line and from the moment.
    playhead = cockpit.get_by_role("slider", name="Playhead")
    playhead.press("F2")
    naming = cockpit.get_by_role("textbox", name="Name of run 1")
    expect(naming).to_be_focused()
    keys.type("calm d")
    keys.press("Enter")
    expect(cockpit.locator(".rn-line [data-run='1']")).to_contain_text("calm d")
    expect(playhead).to_be_focused()
    expect(playhead).to_have_attribute(
        "aria-valuetext", re.compile(r"^step 300 of run 1 \(calm d\)")
    )
    name = cockpit.get_by_role("button", name="Name the run…")
    name.press("Enter")
    keys.type("wild")
    keys.press("Escape")
    expect(name).to_be_focused()
    expect(cockpit.locator(".rn-line [data-run='1']")).to_contain_text("calm d")
    name.press("Enter")
    keys.type("wild")
    keys.press("Enter")
    expect(naming).to_be_hidden()
    expect(name).to_be_focused()
    expect(cockpit.locator(".rn-line [data-run='1']")).to_contain_text("wild")
    # The sheet is one stop; arrows go through it, and the playhead with them.
    cockpit.get_by_role("tab", name="Keep").press("Enter")
    tiles = cockpit.get_by_role("listbox", name="Checkpoints, newest first").get_by_role("option")
    expect(tiles).to_have_count(3)
    tiles.nth(0).focus()
    for key, at in (("End", 2), ("ArrowLeft", 1), ("Home", 0), ("ArrowRight", 1), ("Enter", 1)):
        keys.press(key)
        expect(tiles.nth(at)).to_be_focused()
        expect(playhead).to_have_attribute("aria-valuenow", str(300 - 100 * at))
    # A question is put aside by Escape, and nothing is done; the next one leaves the panel for its cell.
    delete, spoken = cockpit.get_by_role("button", name="Delete…"), listen_to(cockpit)
    notebook.page.wait_for_timeout(2000)  # else nothing would be spoken in any case
    delete.press("Enter")
    keep = line_of(cockpit).get_by_role("button", name="Keep it")
    expect(
        keep
    ).to_be_focused()  # and what is asked is read with it, whatever was spoken just before
    expect(keep).to_have_accessible_description(re.compile("^Delete checkpoint_0_step_"))
    keys.press("Escape")
    expect(line_of(cockpit)).to_contain_text("Keep it: nothing is changed")
    expect(delete).to_be_focused()
    until(lambda: any("nothing is changed" in text for _, text in spoken()))
    assert not [text for _, text in spoken() if ": Delete checkpoint" in text]  # it was read there
    expect(tiles).to_have_count(3)
    keys.press("Escape")
    expect(notebook.page.locator(".jp-Notebook .jp-Cell").nth(2)).to_be_focused()
    for _ in range(30):  # what JupyterLab has on the way
        keys.press("Tab")
        if cockpit.evaluate("root => root.contains(document.activeElement)"):
            break
    expect(cockpit.get_by_role("tab", name="Keep")).to_be_focused()
    assert notebook.cell_count == count


def test_what_is_spoken_is_one_message_in_two_seconds_each_once_with_what_it_offers(
    notebook, cockpit
):
    spoken = listen_to(cockpit)

    def heard(words):
        return [text for _, text in spoken() if words in text]

    # A commit is spoken to who has asked for it, and not as each comes.
    snapshot = cockpit.locator(".rn-deck").get_by_role("button", name="Snapshot now")
    notebook.python("session.resume()")
    names = []
    for _ in range(2):  # what a page has when it is opened is not spoken in any case
        names.append(notebook.python("print(session.snapshot(0).name)").strip())
        expect(line_of(cockpit)).to_contain_text(f"Committed {names[-1]}")
    for _ in range(30):
        snapshot.press("Enter")
        notebook.page.wait_for_timeout(100)
    until(lambda: len(heard("Committed")) >= 2)
    assert not [name for name in names if heard(f"Committed {name}:")]
    notebook.python("session.pause()")
    cockpit.get_by_role("button", name="Restore here").press("Enter")
    until(lambda: heard("continues from step"))
    assert heard("continues from step")[0].endswith(". Offered at F6: Undo")
    answers = line_of(cockpit).get_by_role("group", name="For this message")
    expect(answers).to_have_attribute("aria-keyshortcuts", "F6")
    restore = cockpit.get_by_role("button", name="Restore here")
    for place in (line_of(cockpit).get_by_role("button", name="Undo"), restore):
        notebook.page.keyboard.press("F6")
        expect(place).to_be_focused()
    notebook.python("session.faults.fill_disk()")
    snapshot.press("Enter")
    until(lambda: heard("Problem: Snapshot"))
    # What it has covered comes back, and is not spoken once more.
    line_of(cockpit).get_by_role("button", name="Dismiss this message").press("Enter")
    expect(line_of(cockpit)).to_contain_text("continues from step")
    # It could be by now: two seconds after the last that was spoken, and the line looks each second.
    until(lambda: notebook.page.evaluate("performance.now()") - spoken()[-1][0] > 3500)
    commits = len(heard("Committed"))
    notebook.python("session.faults.clear()")
    snapshot.press("Enter")
    until(lambda: len(heard("Committed")) > commits)
    assert len(heard("continues from step")) == len(heard("Problem: Snapshot")) == 1
    assert min(b - a for (a, _), (b, _) in itertools.pairwise(spoken())) >= 1990


def test_of_many_actors_the_next_with_trouble_is_found_on_the_map(notebook):
    notebook.open([cells.many(600, bad=417), "session.panel()"])
    notebook.run_all()
    cockpit = panel_in(notebook.output(1), "cockpit")
    cockpit.get_by_role("button", name="Map").click()
    field, keys = cockpit.get_by_role("spinbutton", name="arrows move"), notebook.page.keyboard
    expect(field).to_be_focused()
    chosen = cockpit.get_by_label("Actor, 0 to 599")
    expect(cockpit.get_by_role("button", name="Actor 417, not good")).to_be_visible()
    cockpit.get_by_role("button", name="Next with trouble").click()
    expect(chosen).to_have_value("417")
    expect(cockpit.get_by_role("button", name="Not finite")).to_be_visible()
    expect(field).to_have_attribute("aria-valuetext", re.compile("actor 417: .*not good"))
    field.focus()
    keys.press("ArrowRight")
    expect(field).to_have_attribute("aria-valuenow", "418")
    keys.press("ArrowUp")
    expect(field).to_have_attribute("aria-valuenow", "393")  # 25 in a row
    keys.press("Enter")
    expect(chosen).to_have_value("393")
    keys.press("End")
    expect(field).to_have_attribute("aria-valuenow", "599")
    keys.press("Home")
    expect(field).to_have_attribute("aria-valuetext", re.compile("^actor 0: about 3 steps behind"))
    shown = cockpit.locator(".rn-map select")
    shown.select_option("largest")
    expect(field).to_have_attribute("aria-valuetext", "actor 0: not read yet, or nothing stored")
    notebook.python(
        "session.snapshot(0); session.inject(5, at=(3, 3), amplitude=7); session.snapshot(5)"
    )
    expect(cockpit.locator(".rn-dotscale")).to_have_text(
        re.compile(r"^light: 6\.\d+ · dark: 0\.\d+, or not known")
    )
    for key in ("ArrowRight",) * 5:
        keys.press(key)
    expect(field).to_have_attribute("aria-valuetext", re.compile("^actor 5: at most about 6"))
    notebook.theme("JupyterLab Dark")
    for width in (700, 480):
        widen(cockpit, width)
        screenshot(cockpit, f"many-actors-{width}")
        assert overflow(cockpit) == [], width
        assert violations(cockpit) == [], width
    field.focus()
    keys.press("Escape")
    expect(cockpit.get_by_role("button", name="Map")).to_be_focused()


def test_keys_alone_disturb_a_cell_enlarge_the_picture_and_take_a_step_back(notebook, cockpit):
    keys = notebook.page.keyboard
    disturb = cockpit.get_by_role("button", name="Disturb a cell")
    disturb.press("Enter")
    picture = cockpit.locator(".rn-pic canvas.rn-pixels")
    expect(picture).to_be_focused()
    for key in ("ArrowRight", "Enter"):
        keys.press(key)
    expect(line_of(cockpit)).to_contain_text("Disturbed cell")
    expect(cockpit.locator(".rn-read")).not_to_be_empty()
    keys.press("Escape")
    expect(disturb).to_be_focused()
    expect(cockpit.locator(".rn-read")).to_be_empty()  # it is for the countdown again
    cockpit.get_by_role("button", name="Larger picture").press("Enter")
    smaller = cockpit.get_by_role("button", name="Smaller picture")
    expect(smaller).to_be_visible()
    keys.press("Escape")
    expect(smaller).to_have_count(0)
    where = cockpit.get_by_role("spinbutton", name="Step to look at")
    before = where.input_value()
    where.fill("3")
    where.press("Escape")
    where.press("Tab")
    expect(where).to_have_value(before)
    # A slider says its value, not its place; what is opened out of sight takes the focus along.
    pace = cockpit.get_by_role("slider", name="pace")
    expect(pace).to_have_attribute("aria-valuetext", "2000 steps/s")
    pace.press("End")
    expect(pace).to_have_attribute("aria-valuetext", "no limit")
    widen(cockpit, 480)
    cockpit.get_by_role("button", name="Compare").press("Enter")
    against = cockpit.get_by_role("combobox", name="Against: compare with")
    expect(against).to_be_focused()
    expect(against).to_be_in_viewport()


def test_the_name_of_a_run_ends_before_its_line_begins(notebook, cockpit):
    run = cockpit.locator(".rn-line [data-run='1']")
    for width in (1100, 500):
        widen(cockpit, width)
        for name in ("worms", "a rather long name", "WWWWWWWWWWWW"):
            cockpit.get_by_role("slider", name="Playhead").press("F2")
            cockpit.get_by_role("textbox", name="Name of run 1").fill(name)
            notebook.page.keyboard.press("Enter")
            expect(run).to_contain_text(name[:3])
            ends = run.evaluate("text => text.getBBox().x + text.getBBox().width")
            # As far as the clip of what is drawn along the steps.
            assert ends < float(cockpit.locator(".rn-line clipPath rect").get_attribute("x")), name
