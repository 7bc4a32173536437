"""What a cockpit sends, counted at the websocket: followed, scrubbed, tab by tab, and not looked at."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from . import cells
from .driver import expect
from .lab import panel_in, screenshot
from .loads import NOISE, Traffic, drag, open_cell, rate

# kB/s, and messages a second. Keep sends next to nothing of its own: the rest is what all tabs get, the
# running actor's state, 4 times a second or once, 0.9 kB each. Where nothing is looked at, only the beat
# is sent.
BUDGETS = {
    "default": {
        "followed": 75,
        "keep": 3.8,
        "learn": 16,
        "unseen": 0.9,
        "scrubbing": 550,
        "map": 100,
    },
    "binder": {"followed": 8, "keep": 1, "learn": 4, "unseen": 0.9, "scrubbing": 62},
}
MESSAGES = {"default": 20, "binder": 5}
INTERVAL_S = {
    "default": 1.0,
    "binder": 5.0,
}  # the second is that of the notebook which Binder opens
COUNTED_S = 12
ENDS = 4 / COUNTED_S  # messages per second more: of what comes once a second, at either end
ONE_MORE = 1 + 2 / COUNTED_S  # of what comes every second or so

# How often a panel looks for what has no name yet, within two seconds; and whether its step goes on.
_LOOKS = """async (root) => {
  let looks = 0;
  root.querySelectorAll = (what) => {
    looks += 1;
    return Element.prototype.querySelectorAll.call(root, what);
  };
  const step = root.querySelector('.rn-step').textContent;
  await new Promise((done) => setTimeout(done, 2000));
  delete root.querySelectorAll;
  return [looks, root.querySelector('.rn-step').textContent !== step];
}"""
SLOWER = 20  # times that a machine may be which much else shares

each_profile = pytest.mark.parametrize("profile", BUDGETS)

_BELOW = "from IPython.display import HTML; HTML('<div style=\"height: 3000px\">below</div>')"


def choose_profile(name):
    return f"import os; os.environ['RINGNB_PROFILE'] = {name!r}\n"


@pytest.fixture(scope="class")
def notebooks(lend):
    with lend(len(BUDGETS)) as lent:
        found = dict(zip(BUDGETS, lent, strict=True))
        for profile, notebook in found.items():
            notebook.page.set_viewport_size({"width": 1280, "height": 1400})
            made = cells.session(interval=INTERVAL_S[profile], pace=100)
            notebook.open([choose_profile(profile) + made, "session.panel()", _BELOW])
            notebook.run_all()
        yield found


@pytest.fixture
def counted(notebooks, record_property):
    """Show a tab, do something in the kernels, and count; nothing is said of the change itself."""
    traffic = Traffic(*(notebook.page for notebook in notebooks.values()))

    def count(what, tab, code, seconds=COUNTED_S):
        for notebook in notebooks.values():
            cockpit = panel_in(notebook.output(1), "cockpit")
            cockpit.scroll_into_view_if_needed()
            cockpit.get_by_role("tab", name=tab).click()
            notebook.python(code)
            if what == "unseen":
                notebook.output(2).get_by_text("below").scroll_into_view_if_needed()
                notebook.page.mouse.move(600, 700)
                notebook.page.mouse.wheel(0, 3000)
        traffic.over(3 if what in ("followed", "learn", "unseen") else 8)  # all is sent once more
        found = dict(zip(notebooks, traffic.over(seconds), strict=True))
        record_property(f"{what}: kB and messages per s", json.dumps(found))
        print(what, found)
        return found

    return count


class TestOverSomeSeconds:
    """One cockpit for each profile, counted over the same seconds; each test sets what is shown."""

    @pytest.mark.parametrize(
        ("what", "tab", "commits"),
        [
            ("followed", "Explore", True),
            ("learn", "Learn", True),
            ("keep", "Keep", False),
            ("unseen", "Explore", True),
        ],
    )
    def test_while_it_runs(self, counted, what, tab, commits):
        found = counted(
            what, tab, f"session.manager.reconfigure(enabled={commits}); session.resume(0)"
        )
        for profile, (kb, messages) in found.items():
            assert 0.2 < kb <= BUDGETS[profile][what] * ONE_MORE, profile
            assert messages <= MESSAGES[profile] + ENDS, profile

    def test_numbers_that_change_have_nothing_named_again(self, notebooks):
        notebook = notebooks["default"]
        notebook.python("session.manager.reconfigure(enabled=False); session.resume(0)")
        cockpit = panel_in(notebook.output(1), "cockpit")
        cockpit.scroll_into_view_if_needed()
        cockpit.get_by_role("tab", name="Explore").click()
        notebook.page.wait_for_timeout(1000)
        looks, goes_on = cockpit.evaluate(_LOOKS)
        assert goes_on
        assert looks <= 6

    def test_at_rest(self, counted):
        stop = "session.pause(); session.manager.reconfigure(enabled=False)"
        found = counted("at rest", "Explore", stop, 6)
        assert max(kb for kb, _ in found.values()) <= 2


@each_profile
def test_of_a_drag_one_picture_is_on_its_way_and_the_last_one_is_where_it_rests(
    notebook, record_property, profile
):
    notebook.page.set_viewport_size({"width": 1280, "height": 1000})
    notebook.open([choose_profile(profile) + NOISE.format(pace=200), "session.panel()"])
    notebook.run_all()
    cockpit = panel_in(notebook.output(1), "cockpit")
    box = cockpit.locator(".rn-pic .rn-box")
    expect(box).to_have_attribute("data-name", "checkpoint_0_step_200")
    alone = rate(notebook, 2)
    found = drag(notebook, cockpit, 5)
    told = found.pop("told")
    expect(box).to_have_attribute("data-name", "checkpoint_0_step_90")
    found["kept"] = found["steps_per_s"] / alone
    record_property("scrubbing", json.dumps(found))
    print(profile, found, [key for key, *_ in told])
    assert re.fullmatch("9.", found["rests_at"])
    sent = [(n, at) for key, n, at in told if key != "came"]
    came = {n: at for key, n, at in told if key == "came"}
    for (n, before), (later, at) in itertools.pairwise(sent):
        assert n < later  # one that is asked for again has a new number
        # So long it waits for one that is lost.
        assert came.get(n, at + 1) <= at or at - before >= 1, n
    assert len(sent) >= {"default": 10, "binder": 5}[profile]
    assert found["pictures_per_s"] <= {"default": 8.2, "binder": 2.2}[profile]
    # The first and the last are both in these five seconds, as for their number.
    assert found["kB_per_s"] <= 1.1 * BUDGETS[profile]["scrubbing"]
    assert found["messages_per_s"] <= MESSAGES[profile]
    assert found["kept"] >= 0.9


@pytest.mark.slow
def test_a_hundred_thousand_actors_open_soon_and_the_one_in_trouble_is_found(
    notebook, record_property
):
    page = notebook.page
    notebook.open([cells.many(100_000, bad=98_765), "session.panel()"])
    notebook.run(0)
    traffic = Traffic(page)
    notebook.python("pass")  # so that the socket is known
    traffic.begin()
    opened_ms = open_cell(notebook, 1, ".rn-state[data-words='Standing']")
    page.wait_for_timeout(1000)
    opened_kb = page.evaluate("() => window.received[0]") / 1000
    cockpit = panel_in(notebook.output(1), "cockpit")
    cockpit.get_by_role("button", name="Map").click()
    expect(cockpit.get_by_role("button", name="Actor 98,765, not good")).to_be_visible()
    cockpit.get_by_role("button", name="Next with trouble").click()
    expect(cockpit.get_by_label("Actor, 0 to 99,999")).to_have_value("98765")
    expect(cockpit.get_by_role("button", name="Not finite")).to_be_visible()
    screenshot(cockpit, "hundred-thousand")
    # Not all of them: each is a command, for which those that run already are interrupted.
    notebook.python("for slot in range(0, 100_000, 997): session.resume(slot)")
    page.wait_for_timeout(2000)
    ((map_kb, messages),) = traffic.over(6)
    found = {"opened_ms": opened_ms, "opened_kb": opened_kb, "map": map_kb, "messages": messages}
    record_property("hundred_thousand", json.dumps(found))
    print(found)
    assert opened_ms < 2000 * SLOWER
    assert opened_kb < 300
    assert map_kb <= BUDGETS["default"]["map"]
    assert messages <= MESSAGES["default"]
