"""The panel of an ensemble: what it shows of each member, of the cluster, and of very many members."""

from __future__ import annotations

import contextlib
import zlib

import numpy as np
import pytest
import waiting
from front_end import do, told, troubles

import ringnb as rn
from ringnb.cluster.ensemble_files import EnsembleFiles
from ringnb.cluster.ensemble_members import EnsembleMembers
from ringnb.cluster.run_info import RunInfo
from ringnb.errors import ClusterUnavailable
from ringnb.panels import open_panel

NAMES = ["a", "b", "c"]


def info(state="running", losses=(), why=""):
    return RunInfo("run", state, "tcp://w", "s.zarr", 0.0, losses, why)


class Looked:
    """An ensemble of three members and three steps, as one task has stored it, and its cluster."""

    def __init__(self, root):
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
        self.members._connected = lambda _address, _timeout: None

    def runs(self, _client, _timeout):
        if self.error:
            raise self.error
        return {0: self.run}

    def step(self):
        for slot in range(3):
            self.session.run_steps(slot, 1)
        self.session.snapshot_all()


@pytest.fixture
def looked(tmp_path):
    looked = Looked(tmp_path / "e")
    with looked.session:
        yield looked


@contextlib.contextmanager
def shown(members):
    panel = open_panel(members)
    try:
        yield panel, panel._view
    finally:
        panel.stop()


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
        waiting.until(lambda: sorted(view.pictures) == ["0", "1", "2"])
        assert states(view) == ["running"] * 3
        assert view.part == pytest.approx(1 / 3)
        first = {slot: picture["packed"] for slot, picture in view.pictures.items()}
        looked.run = info(losses=("tcp://lost",))
        waiting.until(
            lambda: told(panel, "tcp://lost was lost with 3 members, which go on from step 1")
        )
        looked.files.fail("b", "it was bad")
        looked.step()
        looked.step()
        waiting.until(lambda: states(view) == ["done", "failed: it was bad", "done"])
        assert [c["bad"] for c in view.cards] == [False, True, False]
        waiting.until(lambda: all(view.pictures[s]["packed"] != p for s, p in first.items()))
        waiting.until(lambda: told(panel, "Every member has ended: 3 of 3 at step 3, 1 failed"))
        waiting.until(lambda: panel.line.board.life.startswith("The session is closed"))
        assert "3 of 3 at step 3" in panel._repr_mimebundle_()["text/plain"]


def test_a_cluster_that_does_not_answer_is_told_and_the_stores_are_still_shown(looked):
    looked.error = ClusterUnavailable("it is gone")
    with shown(looked.members) as (panel, view):
        waiting.until(lambda: any("does not answer since" in t for t in troubles(panel)))
        looked.session.snapshot_all()
        waiting.until(lambda: [c["step"] for c in view.cards] == [0, 0, 0])
        assert states(view) == ["on its way"] * 3
        looked.error = None
        waiting.until(lambda: not troubles(panel))


def test_of_many_members_a_map_is_shown_and_the_card_of_the_chosen_one(tmp_path):
    names = [f"m{n}" for n in range(30)]
    files = EnsembleFiles(tmp_path / "e")
    files.write_about({"steps": 2, "every": 1, "tasks": [names]})
    config = rn.CheckpointConfig(storage_path=files.store(0), enabled=False, on_close=False)
    with rn.Session([rn.actors.Life((8, 8))] * 30, config=config, kernel_ids=names) as session:
        session.run_steps(7, 2)
        session.snapshot_all()
    files.fail("m3", "it was bad")
    members = EnsembleMembers("Ensemble e", files, [names], 2, lambda *_: {}, lambda: None)
    with shown(members) as (panel, view):
        waiting.until(lambda: view.dots and view.dots["troubles"] == [3])
        assert [card["name"] for card in view.cards] == ["m0"]
        rows, columns = view.dots["rows"], view.dots["columns"]
        change = np.frombuffer(zlib.decompress(view.dots["packed"]), np.uint8).reshape(
            rows, columns
        )
        grid = np.cumsum(np.cumsum(change, axis=1, dtype=np.uint8), axis=0, dtype=np.uint8)[::-1]
        level = grid.ravel()[:30]
        assert [level[7], level[3], level[0]] == [
            255,
            0,
            1,
        ]  # the fastest, a failed one, the others
        do(panel, "members.choose", slot=7)
        waiting.until(lambda: [card["name"] for card in view.cards] == ["m7"])
        waiting.until(lambda: list(view.pictures) == ["7"])
        assert panel.line.board.actor == {"slot": 7}
        do(panel, "members.show", shown="state")
        waiting.until(lambda: view.dots["shown"] == "state")
