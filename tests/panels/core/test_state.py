"""The state of a session with very many actors: only what is looked at is read."""

from __future__ import annotations

import pytest

import ringnb as rn
from ringnb.panels.core.state import StateReader


@pytest.fixture
def crowd(tmp_path, monkeypatch):
    monkeypatch.setattr("ringnb.panels.core.state.MOST_READ", 10)
    monkeypatch.setattr("ringnb.panels.core.histories.MOST_READ", 10)
    monkeypatch.setattr("ringnb.panels.core.state._FIRST", 4)
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
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
