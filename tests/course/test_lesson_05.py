"""Lesson 5: a writer that is killed, and the search for the newest whole checkpoint."""

from __future__ import annotations

import contextlib
import itertools
import shutil

import numpy as np
import pytest
import zarr
from lessons import lesson, refuse

import ringnb as rn
from ringnb import course
from ringnb.course import lesson_05
from ringnb.course.processes.cranked import turn_to


def whole(storage, name):
    try:
        storage.load(name).verify()
    except rn.CheckpointCorrupt:
        return False
    return True


def newest_of_the_last(count):
    def search(storage):
        return next((n for n in storage.list()[: -count - 1 : -1] if whole(storage, n)), None)

    return search


def load_outside(storage):
    for name in reversed(storage.list()):
        checkpoint = storage.load(name)
        try:
            checkpoint.verify()
        except rn.CheckpointCorrupt:
            continue
        return name
    return None


def load_only(storage):
    for name in reversed(storage.list()):
        try:
            storage.load(name)
        except rn.CheckpointCorrupt:
            continue
        return name
    return None


def until_the_first_damage(storage):
    names = list(itertools.takewhile(lambda name: whole(storage, name), storage.list()))
    return names[-1] if names else None


def never_none(storage):
    names = [name for name in storage.list() if whole(storage, name)]
    return names[-1] if storage.list() and names else (storage.list() or [None])[0]


WRONG = [
    (lambda storage: (storage.list() or [None])[-1], "is damaged: 'checkpoint_0_step_"),
    (lambda storage: storage.list()[-1], "storage.list() of an empty store"),
    (lambda storage: (storage.list() or [None])[0], "the writer was killed"),
    (lambda storage: next((n for n in storage.list() if whole(storage, n)), None), "was killed"),
    (newest_of_the_last(1), "is damaged"),
    (newest_of_the_last(2), "has lost a chunk as well"),
    (newest_of_the_last(4), "four are damaged"),
    (load_outside, "your code raised CheckpointCorrupt"),
    (load_only, "is damaged"),
    (until_the_first_damage, "an older one"),
    (never_none, "all of them are damaged"),
    (lambda storage: storage.load(storage.list()[-1]) if storage.list() else None, "was killed"),
]


def newest_by_number(storage):
    def number(name):
        try:
            return storage.load(name).sequence
        except rn.CheckpointCorrupt:
            return -1

    return max((n for n in storage.list() if whole(storage, n)), key=number, default=None)


def newest_by_reading(storage):
    for name in storage.list()[::-1]:
        with contextlib.suppress(rn.CheckpointError):
            storage.load(name).numpy()  # which looks at every byte, too
            return name
    return None


RIGHT = [
    newest_by_number,
    newest_by_reading,
    lambda storage: next((n for n in reversed(storage.list()) if whole(storage, n)), None),
]


@pytest.fixture(scope="module")
def wreck(tmp_path_factory):
    """What a kill has left, once for all answers."""
    store = tmp_path_factory.mktemp("wreck") / "wreck.zarr"
    return store, course.kill_while_writing(store, commits=5, side=1536)


@pytest.fixture
def one_kill(wreck, monkeypatch):
    """Let each check copy that wreck, and kill nothing."""
    killed, left = wreck

    def kill_while_writing(store, **_):
        shutil.copytree(killed, store)
        return left

    monkeypatch.setattr(lesson_05, "kill_while_writing", kill_while_writing)


@pytest.mark.usefixtures("one_kill")
@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_a_wrong_search_is_told_what_is_wrong(answer, fact):
    refuse(course.check_05, answer, fact=fact)


@pytest.mark.usefixtures("one_kill")
@pytest.mark.parametrize("answer", RIGHT)
def test_an_unusual_search_passes(answer):
    assert "five checkpoints damaged" in course.check_05(answer)


def test_a_killed_writer_leaves_chunks_and_no_name(tmp_path):
    store = tmp_path / "w.zarr"
    wreck = course.kill_while_writing(store, commits=1, side=2048)
    assert wreck.status == -9
    assert any("/c." in name for name in wreck.staged)
    with rn.ZarrStorage(store) as storage:
        assert wreck.writing not in storage.list()
        assert set(wreck.committed) <= set(storage.list())


@pytest.mark.slow
@pytest.mark.parametrize(("position", "found"), [("written", [10]), ("committed", [10, 20])])
def test_a_kill_between_two_stages_leaves_the_checkpoint_or_nothing(tmp_path, position, found):
    names = course.kill_between(tmp_path / "s.zarr", position)
    assert names == [f"checkpoint_0_step_{step}" for step in found]


def test_the_process_that_is_killed_stands_where_it_was_told(tmp_path):
    with turn_to(str(tmp_path / "s.zarr"), "on the H2K ring") as session:
        assert session.statistics().kernel.h2k_depth == (1,)
        assert [session.storage.load(n).step for n in session.storage.list()] == [10]
    with pytest.raises(ValueError, match="position must be one of idle, requested"):
        course.kill_between(tmp_path / "s.zarr", "nowhere")


def test_plain_zarr_reads_zeros_where_the_document_came_first(tmp_path):
    state = np.arange(1.0, 65.0).reshape(8, 8)
    for _ in range(2):  # a cell may be run again
        course.write_and_crash(tmp_path / "first", state, (2, 8), 3, document="first")
    read = zarr.open_array(tmp_path / "first", mode="r")[:]
    assert np.array_equal(read[:6], state[:6])
    assert not read[6:].any()
    course.write_and_crash(tmp_path / "last", state, (2, 8), 3, document="last")
    assert sorted(course.files_of(tmp_path / "last")) == ["c/0/0", "c/1/0", "c/2/0"]
    with pytest.raises(FileNotFoundError):
        zarr.open_array(tmp_path / "last", mode="r")
    with pytest.raises(ValueError, match="'first' or 'last'"):
        course.write_and_crash(tmp_path / "none", state, (2, 8), 3, document="never")


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
