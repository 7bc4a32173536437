"""The panel of an ensemble: what it shows of each member, of the cluster, and of very many members."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import waiting
from front_end import do, levels_of, told, troubles
from javascript import needs_node, printed

import ringnb as rn
from ringnb import cluster
from ringnb.cluster.ensemble_files import EnsembleFiles
from ringnb.cluster.ensemble_members import EnsembleMembers
from ringnb.cluster.run_info import RunInfo
from ringnb.errors import ClusterUnavailable
from ringnb.panels import members as panels_members
from ringnb.panels import open_panel
from ringnb.panels.core.display_loop import DisplayLoop
from ringnb.panels.members import EnsemblePanel
from ringnb.testing import ManualClock

COMMON = Path(panels_members.__file__).parent / "core" / "static" / "common.js"
NAMES = ["a", "b", "c"]


def info(state="running", losses=(), why=""):
    return RunInfo("run", state, "tcp://w", "s.zarr", 0.0, losses, why)


class Connections:
    """The clients that were made in place of Dask's."""

    def __init__(self):
        self.made, self.open, self.making = 0, 0, lambda: None

    def connect(self, _address, _timeout):
        self.making()
        self.made, self.open = self.made + 1, self.open + 1
        return self

    def close(self):
        self.open -= 1


class Looked:
    """An ensemble of three members and three steps, as one task has stored it, and its cluster."""

    def __init__(self, root, connections):
        self.connections, self.asked, self.asking = connections, 0, lambda: None
        self.files = EnsembleFiles(root)
        self.files.write_about({"steps": 3, "every": 1, "tasks": [NAMES]})
        config = rn.CheckpointConfig(
            storage_path=self.files.store(0), enabled=False, on_close=False
        )
        self.session = rn.Session([rn.actors.Life((16, 16))] * 3, config=config, kernel_ids=NAMES)
        self.run, self.error = info("waiting", why="all 1 places are taken"), None
        self.members = EnsembleMembers(
            "Ensemble e", self.files, [NAMES], 3, self.runs, lambda: "tcp://cluster:1"
        )

    def runs(self, _client, _timeout):
        self.asked += 1
        self.asking()
        if self.error:
            raise self.error
        return {0: self.run}

    def step(self):
        for slot in range(3):
            self.session.run_steps(slot, 1)
        self.session.snapshot_all()


@pytest.fixture
def looked(tmp_path, monkeypatch):
    connections = Connections()
    monkeypatch.setattr("ringnb.cluster.ensemble_members.connect", connections.connect)
    looked = Looked(tmp_path / "e", connections)
    with looked.session:
        yield looked


@contextlib.contextmanager
def shown(members, **options):
    panel = EnsemblePanel(members, **options) if options else open_panel(members)
    try:
        yield panel, panel._view
    finally:
        panel.close()


def looks_again(looked, panel):
    """Wait for a whole look that begins from now on."""
    for _ in range(2):
        asked = looked.asked
        panel.resume()
        waiting.until(lambda asked=asked: looked.asked > asked)


def over(panel):
    return panel.line.board.life.startswith("The ensemble has ended")


def pictures(view):
    """Return what is painted for each slot."""
    found = [one.picture for one in view.pictures if one.picture]
    return {picture["slot"]: picture["packed"] for picture in found}


def states(view):
    return [card["state"] for card in view.cards]


def test_states_steps_and_pictures_of_all_members_until_all_have_ended(looked):
    with shown(looked.members) as (panel, view):
        waiting.until(lambda: states(view) == ["waiting: all 1 places are taken"] * 3)
        assert view.words == "0 of 3 at step 3"
        looked.run = info()
        looked.session.snapshot_all()
        looked.step()
        waiting.until(lambda: [c["step"] for c in view.cards] == [1, 1, 1])
        waiting.until(lambda: sorted(pictures(view)) == [0, 1, 2])
        assert states(view) == ["running"] * 3
        assert view.part == pytest.approx(1 / 3)
        first = pictures(view)
        looked.run = info(losses=("tcp://lost",))
        waiting.until(
            lambda: told(panel, "tcp://lost was lost with 3 members, which go on from step 1")
        )
        looked.files.fail("b", "it was bad")
        looked.step()
        looked.step()
        waiting.until(lambda: states(view) == ["done", "failed: it was bad", "done"])
        assert [c["bad"] for c in view.cards] == [False, True, False]
        waiting.until(lambda: all(pictures(view)[s] != p for s, p in first.items()))
        waiting.until(lambda: told(panel, "Every member has ended: 3 of 3 at step 3, 1 failed"))
        waiting.until(lambda: over(panel))
        assert "3 of 3 at step 3, 1 failed" in panel._repr_mimebundle_()["text/plain"]


def test_a_new_picture_is_sent_and_those_of_others_are_not(looked):
    looked.run = info()
    looked.session.snapshot_all()
    with shown(looked.members) as (panel, view):
        waiting.until(lambda: sorted(pictures(view)) == [0, 1, 2])
        waiting.until(lambda: panel._display.settled)
        sent = []
        for slot, one in enumerate(view.pictures):
            one.observe(lambda _, slot=slot: sent.append(slot), "picture")
        before = pictures(view)
        looked.session.run_steps(1, 1)
        looked.session.snapshot(1)
        waiting.until(lambda: pictures(view)[1] != before[1])
        looks_again(looked, panel)
        assert sent == [1]
        assert [pictures(view)[slot] for slot in (0, 2)] == [before[0], before[2]]


def test_a_cluster_that_does_not_answer_is_told_and_the_stores_are_still_shown(looked):
    looked.error = ClusterUnavailable("it is gone")
    with shown(looked.members) as (panel, view):
        waiting.until(lambda: any("has not answered since" in t for t in troubles(panel)))
        looked.session.snapshot_all()
        waiting.until(lambda: [c["step"] for c in view.cards] == [0, 0, 0])
        assert states(view) == ["on its way"] * 3
        looked.error = None
        waiting.until(lambda: not troubles(panel))


def test_of_many_members_a_map_is_shown_and_the_card_of_the_chosen_one(tmp_path, monkeypatch):
    names = [f"m{n}" for n in range(30)]
    files = EnsembleFiles(tmp_path / "e")
    files.write_about({"steps": 2, "every": 1, "tasks": [names]})
    config = rn.CheckpointConfig(storage_path=files.store(0), enabled=False, on_close=False)
    with rn.Session([rn.actors.Life((8, 8))] * 30, config=config, kernel_ids=names) as session:
        session.run_steps(7, 2)
        session.snapshot_all()
    files.fail("m3", "it was bad")
    # The last ones are of a task that has failed before it had a checkpoint.
    files.write_about({"steps": 2, "every": 1, "tasks": [names, ["late"]]})
    runs = {0: info(), 1: info("failed", why="no memory")}
    members = EnsembleMembers(
        "Ensemble e",
        files,
        [names, ["late"]],
        2,
        lambda *_: runs,
        lambda: "tcp://cluster:1",
    )
    monkeypatch.setattr("ringnb.cluster.ensemble_members.connect", lambda *_: Connections())
    with shown(members) as (panel, view):
        waiting.until(lambda: view.dots and view.dots["troubles"] == [3, 30])
        assert view.dots["bad"] == 2
        assert [card["name"] for card in view.cards] == ["m0"]
        level = levels_of(view.dots, 31)
        # The fastest, the failed ones, the others.
        assert [level[7], level[3], level[30], level[0]] == [255, 0, 0, 1]
        do(panel, "members.choose", slot=7)
        waiting.until(lambda: [card["name"] for card in view.cards] == ["m7"])
        waiting.until(lambda: list(pictures(view)) == [7])
        assert panel.line.board.actor == {"slot": 7}
        do(panel, "members.show", shown="state")
        waiting.until(lambda: view.dots["shown"] == "state")


def test_a_look_that_fails_is_told_once_and_the_next_one_settles_it(looked):
    with shown(looked.members) as (panel, view):
        waiting.until(lambda: states(view) == ["waiting: all 1 places are taken"] * 3)

        def unmounted(*_):
            raise OSError("the disk is gone")

        looked.members.look = unmounted
        waiting.until(lambda: troubles(panel))
        (text,) = troubles(panel)
        assert "(OSError: the disk is gone)" in text
        looks_again(looked, panel)
        assert [m.count for m in panel._switchboard.messages.newest() if m.key == "look"] == [1]
        del looked.members.look
        waiting.until(lambda: not troubles(panel))
        looked.error = RuntimeError("no event loop")  # what the cluster is asked may raise, too
        waiting.until(lambda: any("no event loop" in text for text in troubles(panel)))
        looked.error, looked.run = None, info()
        waiting.until(lambda: not troubles(panel) and states(view) == ["running"] * 3)


def test_losses_of_before_are_not_told_as_news_and_those_that_ended_do_not_go_on(looked):
    looked.run = info(losses=("tcp://old",))
    with shown(looked.members) as (panel, view):
        waiting.until(lambda: states(view) == ["running"] * 3)
        looks_again(looked, panel)
        looked.run = info("waiting", losses=("tcp://old", "tcp://lost"))
        waiting.until(lambda: told(panel, "tcp://lost was lost with 3 members, which go on from"))
        # Launched again: all that it has lost is news.
        looked.run = info(losses=("tcp://newer",))
        waiting.until(lambda: told(panel, "tcp://newer was lost with 3 members, which go on from"))
        looked.run = info("failed", ("tcp://newer", "tcp://last"), "it lost too many")
        waiting.until(lambda: told(panel, "tcp://last was lost with 3 members, which do not go on"))
        assert not [m for m in panel._switchboard.messages.newest() if "tcp://old" in m.text]


@pytest.mark.parametrize(
    ("state", "shows", "bad", "words"),
    [
        ("failed", "failed: it lost too many", True, "0 of 3 at step 3, 3 failed"),
        ("ended", "stopped", False, "0 of 3 at step 3, 3 stopped"),
    ],
)
def test_an_ensemble_whose_tasks_have_ended_is_over_until_it_is_launched_again(
    looked, state, shows, bad, words
):
    looked.session.snapshot_all()
    looked.run = info(state, why="it lost too many" if bad else "")
    with shown(looked.members) as (panel, view):
        waiting.until(lambda: over(panel) and len(pictures(view)) == 3)
        assert states(view) == [shows] * 3
        assert [card["bad"] for card in view.cards] == [bad] * 3
        assert told(panel, f"Every member has ended: {words}")
        waiting.until(lambda: looked.connections.open == 0)
        asked = looked.asked
        looked.step()
        do(panel, "members.show", shown="state")  # has the stores looked at, not the cluster
        waiting.until(lambda: [card["step"] for card in view.cards] == [1, 1, 1])
        assert looked.asked == asked
        assert looked.connections.open == 0
        looked.run = info()
        panel.resume()
        waiting.until(lambda: panel.line.board.life == "running")
        waiting.until(lambda: states(view) == ["running"] * 3)
        assert looked.connections.open == 1


def test_a_panel_that_is_closed_ends_its_threads_and_its_connection(looked):
    with shown(looked.members) as (panel, view):
        waiting.until(lambda: looked.asked)
        threads = [panel._looker._thread, panel._display._thread]
        assert [thread.is_alive() for thread in threads] == [True, True]
        panel.close()
        waiting.until(lambda: not any(thread.is_alive() for thread in threads))
        assert looked.connections.open == 0
        widgets = [panel, view, panel.line, panel.layout, panel.line.board, panel.line.hand]
        widgets += view.pictures
        assert [widget.comm for widget in widgets] == [None] * 9


def test_an_ensemble_makes_another_panel_when_one_was_closed(tmp_path):
    members = {"a": rn.actors.Life((8, 8))}
    ensemble = cluster.Ensemble(members, tmp_path / "e", steps=1, every=1)
    panel = ensemble.panel()
    assert ensemble.panel() is panel
    panel.close()
    other = ensemble.panel()
    try:
        assert other is not panel
        waiting.until(lambda: [card["name"] for card in other._view.cards] == ["a"])
    finally:
        other.close()


def test_one_that_cannot_be_looked_at_leaves_nothing_behind(looked, monkeypatch):
    def unmounted(*_):
        raise OSError("the disk is gone")

    monkeypatch.setattr(EnsembleMembers, "look", unmounted)
    with pytest.raises(OSError, match="the disk is gone"):
        open_panel(looked.members)
    assert looked.connections.made == 0


def test_only_the_question_is_said_to_be_slow_not_what_comes_before(looked):
    clock = ManualClock()
    looked.connections.making = lambda: clock.advance(1.0)
    with shown(looked.members, clock=clock) as (panel, view):
        waiting.until(lambda: states(view) == ["waiting: all 1 places are taken"] * 3)
        assert looked.connections.made == 1
        assert not troubles(panel)
        looked.asking = lambda: clock.advance(0.5)
        waiting.until(lambda: troubles(panel) == ["The cluster answers slowly: within 0.5 s"])
        looked.asking = lambda: None
        waiting.until(lambda: not troubles(panel))


def test_what_is_saved_with_the_notebook_does_not_wait_for_the_display(looked, monkeypatch):
    monkeypatch.setattr(DisplayLoop, "start", lambda _self: None)
    with shown(looked.members) as (panel, _):
        assert "0 of 3 at step 3" in panel._repr_mimebundle_()["text/plain"]


@needs_node
def test_a_page_expects_no_sign_of_life_from_an_ensemble_that_has_ended():
    script = f"""{COMMON.read_text(encoding="utf-8")}
const heard = {{ rnBeat: 1, rnHeardAt: performance.now() - 60000 }};
const board = (life) => ({{ ...heard, get: (name) => name === "beat" ? 1 : life }});
const lives = {json.dumps(["running", panels_members._OVER])};
console.log(JSON.stringify(lives.map((life) => silence(board(life)))));"""
    running, ended = printed(script)
    assert running >= 60
    assert ended == 0
