"""Failures are said once, in the message line, and are gone when they are mended."""

from __future__ import annotations

import re

from . import cells
from .driver import expect
from .lab import line_of, panel_in, said_once, screenshot


def texts(panel, pattern):
    """How often a text is in a panel."""
    return len(re.findall(pattern, panel.evaluate("node => node.textContent")))


# What the caption has said, and at which step the playhead was then.
_WATCH = """() => {
  const [what, at] = ['.rn-what', 'input.rn-where'].map((one) => document.querySelector(one));
  window.said = [];
  const note = () => window.said.push([what.textContent, at.value]);
  new MutationObserver(note).observe(what, { childList: true });
}"""


def test_states_of_a_session_that_runs(notebook):
    """Nothing stored, following, looking back, retired, an answer lost, not finite, no room."""
    notebook.page.set_viewport_size({"width": 1300, "height": 1000})
    notebook.open([cells.session(enabled=False), "session.panel()"])
    notebook.run_all()
    cockpit = panel_in(notebook.output(1), "cockpit")
    line, state = line_of(cockpit), cockpit.locator(".rn-state")
    tag, what = cockpit.locator(".rn-tag"), cockpit.locator(".rn-what")
    side = cockpit.locator(".rn-side")

    def button(name, where=cockpit.locator(".rn-deck")):
        return where.get_by_role("button", name=name, exact=True)

    # Nothing is stored yet.
    expect(state).to_have_text("Standing")
    expect(tag).to_have_text("Nothing stored")
    expect(button("Snapshot now", cockpit.locator(".rn-empty"))).to_be_visible()
    expect(line).to_contain_text("Nothing is stored yet: checkpoints are made only when asked for")
    for name in ("Restore here", "Branch…", "Earlier mark", "Play back"):
        expect(button(name)).to_have_attribute("aria-disabled", "true")
        button(name).click(force=True)
        expect(line).to_contain_text(
            re.compile(f"{name}: (Nothing is stored yet|There is no sound)")
        )
    # A number that is refused goes back to what was used before.
    steps = cockpit.get_by_label("How many steps")
    steps.fill("-5")
    button("Step").click()
    expect(line).to_contain_text("Step: -5 is refused, write beside it how many steps, 1 or more")
    expect(steps).to_have_value("100")
    # When the first one is due is counted down where its picture will be.
    first = cockpit.locator(".rn-empty span").first
    expect(first).to_have_text("Checkpoints are made only when asked for")
    notebook.python(
        "session.manager.reconfigure(enabled=True, interval=3600)\n"
        "while len(session.storage.catalogue()) < 2: pass\n"
        "for one in session.storage.catalogue(): session.storage.delete(one.name)\n"
        "session.inject(0, at=(4, 4), amplitude=0.0)"
    )
    expect(first).to_have_text(re.compile(r"^The first checkpoint is due in 3[56]\d\d s$"))
    said = first.text_content()
    expect(first).not_to_have_text(said)
    notebook.python("session.manager.reconfigure(enabled=False)")
    # It follows the newest, and then it looks back.
    notebook.python(cells.STORED)
    notebook.python("session.resume(0)")
    expect(state).to_have_text("Running")
    expect(tag).to_have_text("Stored")
    expect(what).to_contain_text(re.compile(r"checkpoint_0_step_300\s· newest, [\d,]+ steps ago"))
    below = cockpit.locator(".rn-read").first
    expect(below).to_have_text("Checkpoints are made only when asked for")
    notebook.python("session.manager.reconfigure(enabled=True, interval=3600)")
    expect(below).to_have_text(re.compile(r"^The next checkpoint is due in 3[56]\d\d s$"))
    notebook.python("session.manager.reconfigure(enabled=False)")
    # A picture is called the newest only as long as it is.
    notebook.page.evaluate(_WATCH)
    step = notebook.python("print(session.snapshot(0).step)")
    expect(what).to_contain_text(f"checkpoint_0_step_{step} · newest")
    said = notebook.page.evaluate("() => window.said")
    wrong = [
        text for text, at in said if "newest" in text and not re.search(rf"_step_{at}\s", text)
    ]
    assert wrong == []
    assert any("newest" not in text for text, _ in said)  # until the newer picture came
    hint = side.get_by_text("You look at the past; this acts on the live actor")
    expect(hint).to_be_hidden()
    notebook.python("session.pause()")
    cockpit.get_by_role("slider", name="Playhead").press("Home")
    expect(hint).to_be_visible()
    expect(what).to_contain_text("checkpoint_0_step_100")
    expect(tag).to_have_text("Stored")
    expect(button("Restore here")).to_have_attribute("aria-disabled", "false")
    # What is looked at is retired: the nearest that is left takes its place, and says so.
    notebook.python("session.manager.discard(stored[0].name)")
    expect(what).to_contain_text("checkpoint_0_step_200")
    expect(side.locator(".rn-moment")).to_contain_text("the checkpoint 100 steps after it is shown")
    button("Newest").click()
    expect(what).to_contain_text(f"checkpoint_0_step_{step}")
    # An answer is lost: a warning, and the actor steps on.
    notebook.python(
        "session.manager.reconfigure(request_timeout=0.3); session.faults.lose_answers()"
    )
    button("Snapshot now").click()
    expect(line).to_have_attribute("data-kind", "warning")
    expect(line).to_contain_text("Snapshot of actor 0 timed out")
    said_once(cockpit)
    notebook.python("session.manager.reconfigure(request_timeout=30.0); session.snapshot(0)")
    expect(line).to_have_attribute("data-kind", "done")
    # The guard pauses the actor.
    notebook.python(
        "session.manager.reconfigure(guard='pause')\n"
        "session.inject(0, at=(40, 40), amplitude=1e39); session.run_steps(0, 3)\n"
        "import warnings\n"
        "with warnings.catch_warnings():\n"
        "    warnings.simplefilter('ignore'); session.resume(0); session.snapshot(0)"
    )
    expect(line).to_contain_text(re.compile("Guard paused actor 0 .* not finite.* between step"))
    expect(state).to_have_text("Standing")
    expect(button("Not finite", cockpit.locator(".rn-head"))).to_be_visible()
    expect(cockpit.locator(".rn-box .rn-note")).to_contain_text("values are not finite (striped)")
    octagon, head = (cockpit.locator(f".rn-line .rn-{one}") for one in ("octagon", "head"))
    expect(octagon).to_have_count(1)
    seen, line_x = octagon.bounding_box(), head.bounding_box()["x"]
    assert 0 < line_x - (seen["x"] + seen["width"]) < 20  # not behind the playhead, but near
    said_once(cockpit)
    screenshot(cockpit, "state-guard")
    button("Show it", line).click()
    expect(hint).to_be_visible()
    button("Restore the last good", line).click()
    expect(line).to_contain_text("Actor 0 continues from step")
    notebook.python("session.snapshot(0)")
    expect(button("All finite", cockpit.locator(".rn-head"))).to_be_visible()
    # There is no room on the disk: a problem that leads to Keep.
    notebook.python("session.faults.fill_disk()")
    button("Snapshot now").click()
    expect(line).to_contain_text("No space left")
    said_once(cockpit)
    button("Make room", line).click()
    expect(cockpit.get_by_role("tab", name="Keep")).to_be_focused()
    expect(cockpit).to_have_attribute("data-tab", "keep")
    expect(line).to_contain_text("It is not tried again by itself")
    notebook.python(
        "session.run_steps(0, 5); session.manager.reconfigure(enabled=True, interval=3600)"
    )
    button("Try now", line).click()
    expect(line).to_contain_text(re.compile(r"It is tried again (in \d+ s|within 1 s|now)"))
    # Nothing may be tried by itself between the two: it would settle what the button belongs to.
    notebook.python(
        "import contextlib\n"
        "session.manager.reconfigure(enabled=False)\n"
        "with contextlib.suppress(OSError):\n"
        "    session.snapshot(0)"  # whatever was on its way has failed before it
    )
    expect(line).to_contain_text("It is not tried again by itself")
    notebook.python("session.faults.clear()")
    button("Try now", line).click()
    expect(line).to_have_attribute("data-kind", "done")


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
    expect(line_of(panel)).to_contain_text("No sign of life for")
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
    notebook.end_busy(2)


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
    counts_down = line_of(cockpit).locator(".rn-again")  # it may begin a row
    assert counts_down.evaluate("node => node.textContent === node.textContent.trim()")
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
