"""Lesson 5: a writer that is killed, and the search for the newest whole checkpoint."""

from __future__ import annotations

import pytest
from lessons import lesson, refuse

import ringnb as rn
from ringnb import course

WRONG = [
    (lambda storage: (storage.list() or [None])[-1], "is damaged: 'checkpoint_0_step_"),
    (lambda storage: storage.list()[-1], "storage.list() of an empty store"),
]


@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_a_wrong_search_is_told_what_is_wrong(answer, fact):
    refuse(course.check_05, answer, fact=fact)


def test_a_killed_writer_leaves_chunks_and_no_name(tmp_path):
    store = tmp_path / "w.zarr"
    wreck = course.kill_while_writing(store, commits=1, side=2048)
    assert wreck.status == -9
    assert any("/c." in name for name in wreck.staged)
    with rn.ZarrStorage(store) as storage:
        assert wreck.writing not in storage.list()
        assert set(wreck.committed) <= set(storage.list())


def test_a_writer_that_fails_is_told_with_its_error(tmp_path):
    with pytest.raises(rn.RingnbError, match=r"(?s)the writer ended by itself: .*ValueError"):
        course.kill_while_writing(tmp_path / "w.zarr", side=0)


def test_the_cell_that_damages_a_checkpoint_may_be_run_again(tmp_path, capsys):
    (cell,) = [c.source for c in lesson(5).cells if "faults.corrupt(" in c.source]
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Heat2D((32, 32)), config=config) as session:
        for _ in range(2):
            session.run_steps(0, 10)
            session.snapshot(0)
        for _ in range(3):
            exec(cell, {"rn": rn, "session": session})
            assert "restores step 10 instead\n" in capsys.readouterr().out
