"""The state of a session with very many actors: only what is looked at is read."""

from __future__ import annotations

import time
from unittest import mock

import pytest
from waiting import until

import ringnb as rn
from ringnb.panels import close_panels
from ringnb.panels.core.state import StateReader


@pytest.fixture
def crowd(tmp_path, monkeypatch):
    monkeypatch.setattr("ringnb.panels.core.state.MOST_READ", 10)
    monkeypatch.setattr("ringnb.panels.core.histories.MOST_READ", 10)
    monkeypatch.setattr("ringnb.panels.core.state._FIRST", 4)
    monkeypatch.setattr("ringnb.panels.core.panel._MOST_NAMED", 4)
    monkeypatch.setattr("ringnb.panels.core.actor_picker.MOST_LISTED", 10)
    monkeypatch.setattr("ringnb.panels.cockpit.MOST_LISTED", 10)
    config = rn.CheckpointConfig(
        enabled=False, storage_path=tmp_path / "s.zarr", on_close_timeout=60.0
    )
    with rn.Session(rn.actors.Life((8, 8)), actors=40, config=config, lanes=1) as session:
        yield session


def test_of_very_many_actors_the_first_and_the_selected_one_are_read(crowd, monkeypatch):
    crowd.run_steps(30, 7)
    crowd.snapshot(30)
    read = []
    glance = crowd.glance
    monkeypatch.setattr(crowd, "glance", lambda slots: read.append(list(slots)) or glance(slots))
    state = StateReader().read(crowd, selected=30)
    assert read == [[0, 1, 2, 3, 30]]
    assert len(state.actors) == len(state.histories) == 40
    assert state.actors[30].step == 7
    assert [e.step for e in state.histories[30]] == [7]
    assert [[e.step for e in h] for h in state.histories] == [[7]]
    assert len(read) == 1
    assert state.actors[39].kernel_id == "life_39"  # another one when it is asked for
    assert [a.slot for a in state.actors[-2:]] == [38, 39]
    assert read[1:] == [[39], [38]]
    assert not state.any_running
    crowd.resume(30)
    assert StateReader().read(crowd, selected=30).any_running


def test_a_damaged_checkpoint_is_found_in_its_slots_history(crowd, tmp_path):
    name = crowd.snapshot(3).name
    (tmp_path / "s.zarr" / name / "zarr.json").write_text("{")
    state = StateReader().read(crowd)
    assert [e.damaged for e in state.histories[3]] == [True]
    assert state.histories[4] == ()


def test_a_store_that_is_away_for_hours_is_still_tried_twice_a_minute(crowd, monkeypatch):
    monkeypatch.setattr(crowd.storage, "catalogue", mock.Mock(side_effect=OSError("away")))
    reader = StateReader()
    for _ in range(1100):
        reader.forget_store()
        trouble = reader.read(crowd).store_trouble
    assert trouble.again_at - time.monotonic() <= 30


def test_opening_a_cockpit_asks_no_actor_but_those_that_are_looked_at(crowd, monkeypatch):
    crowd.snapshot(30)
    asked = set()
    glance, registered = crowd.glance, crowd.manager.registered

    class Spy(dict):
        """What is registered; it cannot be gone through."""

        def get(self, slot, default=None):
            asked.add(slot)
            return registered.get(slot, default)

        __iter__ = keys = items = values = None

    monkeypatch.setattr(crowd, "glance", lambda slots: asked.update(slots) or glance(slots))
    monkeypatch.setattr(type(crowd.manager), "registered", property(lambda _: spy))
    spy = Spy()
    cockpit = crowd.panel()
    until(lambda: cockpit.line.board.actor.get("slot") == 0)
    until(lambda: cockpit.line.board.messages)
    close_panels(crowd)
    assert asked == {0, 1, 2, 3, 30}  # the last one by its checkpoint


def test_the_histories_stay_the_same_while_the_store_does(crowd):
    reader = StateReader()
    before = reader.read(crowd).histories
    reader.forget_store()
    assert reader.read(crowd).histories is before
    crowd.snapshot(2)
    after = reader.read(crowd).histories
    assert after is not before
    assert len(after[2]) == 1
    crowd.manager.register_actor(2, "another", "life")
    reader.forget_store()
    assert reader.read(crowd).histories[2] == ()
