"""For those who cannot see well or use a mouse: axe, a screen reader, keys, colours, large text."""

from __future__ import annotations

import itertools
import re

from waiting import until

from ringnb.panels.cockpit import PANELS

from . import cells
from .audit import overflow, violations
from .driver import expect
from .lab import line_of, listen_to, panel_in, screenshot, widen

TABS = ("Explore", "Keep", "Learn")
THEMES = ("JupyterLab Light", "JupyterLab Dark")


def opened(notebook, *more, height=1000, view="session.panel()"):
    """A notebook with a cockpit of two actors, after these cells."""
    notebook.page.set_viewport_size({"width": 1300, "height": height})
    notebook.open([cells.session(enabled=False), *more, view])
    notebook.run_all()
    notebook.command("application:toggle-left-area")
    return panel_in(notebook.output(1 + len(more)), "cockpit")


def choose(cockpit, tab):
    cockpit.get_by_role("tab", name=tab).click()
    cockpit.page.wait_for_timeout(300)


def test_axe_finds_nothing_in_any_state(notebook):
    cockpit = opened(notebook)
    line, found, order = line_of(cockpit), [], list(THEMES)

    def look(state, *widths, themes=THEMES):
        """Look at it 1,100 pixels wide, in dark in these widths if there are any, which is slow."""
        for theme in [one for one in order if one in themes]:
            notebook.theme(theme)
            for width in widths if widths and theme == THEMES[1] else (1100,):
                widen(cockpit, width)
                where = f"{state} {theme.split()[1]} {width}"
                screenshot(cockpit, f"access-{where}".lower().replace(" ", "-"))
                found.extend(f"{where}: {one}" for one in violations(cockpit))
        order.sort(key=lambda one: one != theme)  # a switch is dear: the next state begins with it

    expect(cockpit.get_by_text("Nothing stored yet").first).to_be_visible()
    look("empty store", 1100, 480)
    assert cockpit.evaluate(_COVERED) == []
    notebook.python(cells.STORED)
    expect(cockpit.locator("[data-mark] .rn-square")).to_have_count(3)
    for tab in TABS:
        choose(cockpit, tab)
        look(tab, 700, 480)
    choose(cockpit, "Explore")
    cockpit.get_by_role("slider", name="Playhead").press("Home")
    look("looking back")
    line.get_by_role("button", name="History").click()
    look("history", 480)
    notebook.page.keyboard.press("Escape")
    cockpit.get_by_role("button", name="All actors").click()
    look("all actors", 700, 480)
    notebook.page.keyboard.press("Escape")
    cockpit.get_by_role("button", name="Branch…").click()
    look("branch", 700, 480)
    notebook.page.keyboard.press("Escape")
    notebook.python("session.faults.fill_disk()")
    cockpit.get_by_role("button", name="Snapshot now", exact=True).first.click()
    expect(line).to_have_attribute("data-kind", "problem")
    look("disk full", 480)
    notebook.python("session.faults.clear(); session.faults.kill_kernel()")
    expect(cockpit.locator(".rn-state")).to_have_text("Ended")
    for tab, themes in zip(TABS, (THEMES, THEMES[1:], THEMES[1:]), strict=True):
        choose(cockpit, tab)
        look(f"killed {tab}", themes=themes)
    assert not found, "\n".join(found)


_REACHED = """(root) => {
  const name = (node) => node.getAttribute('aria-label') || node.labels?.[0]?.textContent
    || node.textContent || node.title;
  const all = [...root.querySelectorAll('*')];
  const node = document.activeElement;
  return root.contains(node) ? [all.indexOf(node), name(node).trim(), node.matches(':focus-visible')
    && getComputedStyle(node).outlineStyle !== 'none'] : null;
}"""
# Section by section what Tab reaches, or arrows within a group of buttons, which is one stop of Tab.
EXPLORE = """Explore; Actor; All actors; Field; Colours; one range; Larger picture; Against: compare
with; Hold;
Difference; That one; Swipe; History; Run; Step; How many steps; Snapshot now; Earlier mark; One step
back; Step to look at; One step on; Later mark; Play back; Newest; Restore here; Branch…; Playhead; Zoom
in at the playhead; Zoom out; pace; pace, number; Disturb a cell; by how much; Label of the pin; Pin;
Check again; Download; Movie; Name the run…"""
KEEP = "Keep; History; Run; Playhead; Snapshot now; Adopt; Earlier runs…; Pin; Delete…"
LEARN = (
    "Learn; History; Run; Playhead; Reveal; As a table; Lose an answer; Full disk; Kill the kernel"
)


_IN_GROUP = """() => document.activeElement.matches(
  '[role=toolbar] button, .rn-seg:not([role=tablist]) button')"""
STOPS = {
    "Explore": 32,
    "Keep": 26,
    "Learn": 23,
}  # at most; of what can be pressed there is half as much again


def tabbed(notebook, cockpit):
    """Return what Tab goes through from the chosen tab on: place in the DOM, name, is the focus seen.

    And what arrows go through from there, in groups.
    """
    cockpit.locator("[role=tab][aria-selected=true]").focus()
    keys, stops, within = notebook.page.keyboard, [], []
    keys.press("Shift+Tab")
    for _ in range(150):
        keys.press("Tab")
        at = cockpit.evaluate(_REACHED)
        if at is None:
            return stops, within
        stops.append(at)
        if not notebook.page.evaluate(_IN_GROUP):
            continue
        for _ in range(20):  # around, to where it began
            keys.press("ArrowRight")
            other = cockpit.evaluate(_REACHED)
            if other[0] == at[0]:
                break
            within.append(other)
        chosen = cockpit.locator(".rn-seg :focus")
        if chosen.count():  # arrows have chosen each in turn: the last is shown before Tab goes on
            expect(chosen).to_have_attribute("aria-pressed", "true")
    raise AssertionError(stops)


def test_tab_goes_through_everything_in_the_order_of_the_page(notebook):
    cockpit = opened(notebook, cells.STORED)
    expect(cockpit.locator(".rn-pic .rn-box[data-name]")).to_be_visible()
    for tab, wanted in (("Explore", EXPLORE), ("Keep", KEEP), ("Learn", LEARN)):
        choose(cockpit, tab)
        stops, within = tabbed(notebook, cockpit)
        places, names = [at for at, _, _ in stops], [name for _, name, _ in stops + within]
        assert places == sorted(places), names
        assert len(stops) <= STOPS[tab], names
        assert [name for _, name, seen in stops + within if not seen] == [], tab
        missing = {" ".join(one.split()) for one in wanted.split(";")} - set(names)
        assert not missing, f"{tab}: {missing}, reached only {' | '.join(names)}"


def test_an_update_takes_no_focus(notebook):
    cockpit = opened(notebook)
    page = notebook.page
    snapshot = cockpit.locator(".rn-empty").get_by_role("button", name="Snapshot now")
    expect(cockpit.locator("canvas.rn-pixels[tabindex='0']")).to_have_count(0)  # there is none yet
    snapshot.press("Enter")
    expect(snapshot).to_be_hidden()  # the picture has come
    expect(cockpit.locator("canvas.rn-pixels[tabindex='0']")).to_be_focused()
    cockpit.get_by_role("button", name="Pin", exact=True).press("Enter")
    unpin = cockpit.get_by_role("button", name="Unpin", exact=True)
    expect(unpin).to_be_focused()
    unpin.press("Enter")
    expect(cockpit.get_by_role("button", name="Pin", exact=True)).to_be_focused()
    notebook.python("session.faults.fill_disk()")
    snapshot = cockpit.locator(".rn-deck").get_by_role("button", name="Snapshot now")
    snapshot.press("Enter")
    line = line_of(cockpit)
    expect(line).to_have_attribute("data-kind", "problem")
    expect(snapshot).to_be_focused()
    line.get_by_role("button", name="Dismiss this message").focus()
    notebook.python("session.faults.clear(); session.snapshot(0)")
    expect(line).to_have_attribute("data-kind", "done")
    expect(line.get_by_role("button", name="History")).to_be_focused()
    # A run, and what comes with it, leaves the focus wherever it was.
    places = cockpit.locator(
        "button:visible, input:visible, select:visible, [tabindex='0']:visible"
    )
    notebook.python("session.resume()")
    for at in range(0, places.count(), 6):
        place = places.nth(at).element_handle()
        place.focus()
        notebook.python("session.snapshot(0)")
        page.wait_for_timeout(250)
        assert place.evaluate("node => document.activeElement === node"), place.evaluate(
            "node => node.outerHTML.slice(0, 200)"
        )


LINE = """
- toolbar "Live actor":
  - button "Run"
  - button "Step"
  - spinbutton "How many steps": "100"
  - button "Snapshot now"
- toolbar "Playhead":
  - button "Earlier mark"
  - button "One step back"
  - spinbutton "Step to look at": "{step}"
  - button "One step on"
  - button "Later mark"
  - button "Play back"
  - button "Newest"
- toolbar "From here":
  - button "Restore here"
  - button "Branch…"
- slider "Playhead"
- toolbar "Zoom of the line":
  - button "Zoom in at the playhead"
  - button "Zoom out" [disabled]
"""


def test_what_a_screen_reader_is_given_of_the_line(notebook):
    cockpit = opened(notebook, cells.STORED)
    timeline = panel_in(cockpit, "timeline").first
    playhead = timeline.get_by_role("slider", name="Playhead")
    expect(timeline.locator("[data-mark] .rn-square")).to_have_count(3)
    for key, step, words in (
        ("Home", 100, "step 100 of run 1, stored as checkpoint_0_step_100"),
        ("PageDown", 200, "step 200 of run 1, stored as checkpoint_0_step_200"),
        ("ArrowRight", 201, "step 201 of run 1, not stored: the nearest is checkpoint_0_step_200"),
    ):
        playhead.press(key)
        expect(playhead).to_have_attribute("aria-valuetext", words)
        expect(timeline).to_match_aria_snapshot(LINE.format(step=step))
    playhead.press("End")
    expect(timeline.get_by_role("button", name="Newest", pressed=True)).to_be_visible()
    # What a button of the playhead does is heard there, and not again when something comes.
    spoken = listen_to(timeline)

    def heard():
        return [words[:8] for _, words in spoken() if words.startswith("step ")]

    for name, words in (("Earlier mark", ["step 200"]), ("Newest", ["step 200", "step 300"])):
        timeline.get_by_role("button", name=name).press("Enter")
        until(lambda words=words: heard() == words)
    notebook.python("session.run_steps(0, 50); session.snapshot(0)")
    expect(playhead).to_have_attribute("aria-valuetext", re.compile("^step 350"))
    timeline.get_by_role("button", name="Earlier mark").press("Enter")
    until(lambda: len(heard()) > 2)
    assert heard() == ["step 200", "step 300", "step 300"]
    assert min(b - a for (a, _), (b, _) in itertools.pairwise(spoken())) >= 1990  # one at a time
    expect(timeline.get_by_role("status")).to_have_text("")  # it is gone again


# Twice the size of every text, and of nothing else, as a browser does that enlarges texts alone: also of
# texts that are drawn later, since what is doubled are the sizes in style sheets.
_TWICE = """() => {
  const twice = (rules) => {
    for (const rule of rules) {
      for (const name of rule.style ?? []) {
        const value = rule.style.getPropertyValue(name).trim();
        const priority = rule.style.getPropertyPriority(name);
        const [, before, size, after] = value.match(/^(calc\\()?([0-9.]+)px(.*)$/) ?? [];
        if (size && /font-size/.test(name))
          rule.style.setProperty(name, `${before ?? ''}${2 * size}px${after}`, priority);
      }
      if (rule.cssRules) twice(rule.cssRules);
    }
  };
  for (const sheet of document.styleSheets) twice(sheet.cssRules);
}"""
_CUT = """(root) => [...root.querySelectorAll('button, input[type=number], select')].filter((node) =>
  node.checkVisibility() && (node.scrollWidth > node.clientWidth + 1
    || (node.tagName === 'BUTTON' && node.scrollHeight > node.clientHeight + 1))
).map((node) => node.getAttribute('aria-label') || node.textContent)"""
# Texts of drawings that lie on each other, or outside.
_COVERED = """(root) => {
  const found = [];
  for (const svg of root.querySelectorAll('svg')) {
    if (!svg.checkVisibility()) continue;
    const around = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text:not(.rn-hidden)')]
      .map((node) => [node.textContent.trim(), node.getBoundingClientRect()])
      .filter(([text, box]) => text && box.width);
    texts.forEach(([text, a], i) => {
      if (a.left < around.left - 2 || a.right > around.right + 2) found.push(`${text} is cut`);
      for (const [other, b] of texts.slice(i + 1))
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
          && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
          found.push(`${text} and ${other}`);
    });
  }
  return found;
}"""


def test_text_at_200_percent(notebook):
    cockpit = opened(notebook, cells.STORED, height=1800)
    expect(cockpit.locator("[data-mark] .rn-square")).to_have_count(3)
    height = "root => root.querySelector('.rn-line .rn-label').getBoundingClientRect().height"
    once = cockpit.evaluate(height)
    notebook.page.evaluate(_TWICE)
    notebook.spoilt = True
    expect(cockpit.locator(".rn-timeline")).to_have_class(re.compile("rn-narrow"))
    assert cockpit.evaluate(height) > 1.8 * once
    for width in (1300, 1100, 700):
        notebook.page.set_viewport_size({"width": 2 * width, "height": 2400})
        widen(cockpit, width)
        for tab in TABS:
            choose(cockpit, tab)
            if tab == "Learn":  # chips that are on their way pass over texts
                expect(cockpit.locator(".rn-chip:not([data-end=''])")).to_have_count(3)
                notebook.page.wait_for_timeout(600)
            screenshot(cockpit, f"access-twice-{width}-{tab.lower()}")
            assert overflow(cockpit) == [], (width, tab)
            assert cockpit.evaluate(_CUT) == [], (width, tab)
            assert cockpit.evaluate(_COVERED) == [], (width, tab)


def test_forced_colours_and_reduced_motion(notebook):
    cockpit = opened(notebook, cells.STORED)
    notebook.page.emulate_media(forced_colors="active", reduced_motion="reduce")
    notebook.python("session.resume()")
    expect(cockpit.locator(".rn-state")).to_have_text("Running")
    cockpit.evaluate(
        "root => root.addEventListener('transitionrun', () => { window.moved = true; })"
    )
    for tab in TABS:
        choose(cockpit, tab)
        notebook.python("session.snapshot(0)")
        screenshot(cockpit, f"access-forced-{tab.lower()}")
        # One that runs for ever would have the page painted sixty times a second.
        assert notebook.page.evaluate("() => document.getAnimations().length") == 0, tab
        assert violations(cockpit) == [], tab
        chosen = cockpit.locator("[role=tab][aria-selected=true]")
        assert chosen.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    assert not notebook.page.evaluate("() => window.moved")
    notebook.page.emulate_media(forced_colors="none", reduced_motion="no-preference")

    def moved():
        """Whether anything moves for a commit; on a busy machine one may be drawn with the next."""
        notebook.python("session.snapshot(0)")
        return notebook.page.evaluate("() => Boolean(window.moved)")

    until(moved)  # otherwise this would prove nothing
    choose(cockpit, TABS[0])
    assert notebook.page.evaluate("() => document.getAnimations().length") == 0
    notebook.page.emulate_media(forced_colors="null", reduced_motion="null")  # the browser's own


def test_each_panel_alone_works_and_shares_playhead_and_messages(notebook):
    notebook.page.set_viewport_size({"width": 1300, "height": 6000})  # what is seen is fed
    alone = f"display(*map(session.panel, {PANELS!r}))"
    notebook.open([cells.session(enabled=False), cells.STORED, alone])
    notebook.run_all()
    panels = {name: panel_in(notebook.output(2), name) for name in PANELS}
    field = panels["field"].locator(".rn-pic .rn-box")
    expect(field).to_have_attribute("data-name", "checkpoint_0_step_300")
    panels["timeline"].get_by_role("slider", name="Playhead").press("Home")
    expect(field).to_have_attribute("data-name", "checkpoint_0_step_100")
    panels["actor"].get_by_role("button", name="Snapshot now").click()
    for name, panel in panels.items():
        assert panel.get_attribute("role") == "region", name
        expect(line_of(panel)).to_have_count(1)
        expect(line_of(panel)).to_contain_text("Committed checkpoint_0_step_300.2")
        screenshot(panel, f"alone-{name}")
        assert violations(panel) == [], name
        assert overflow(panel) == [], name


ENSEMBLE = """
import tempfile
from pathlib import Path
import ringnb as rn
members = {f"m{n}": rn.actors.Life((16, 16)) for n in range(3)}
ensemble = rn.cluster.Ensemble(members, Path(tempfile.mkdtemp()) / "e", steps=2, every=1)
ensemble.panel()
"""


def test_an_ensemble_has_a_title_a_heading_and_nothing_that_axe_finds(notebook):
    notebook.open([ENSEMBLE])
    notebook.run_all()
    panel = panel_in(notebook.output(0), "ensemble")
    expect(panel.get_by_role("heading", name="Ensemble e", level=2)).to_be_visible()
    expect(panel.get_by_role("heading", name="3 members", level=3)).to_be_visible()
    screenshot(panel, "access-ensemble")
    assert violations(panel) == []
