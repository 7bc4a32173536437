"""Lesson 5: a writer that is killed, and the search for the newest whole checkpoint."""

from __future__ import annotations

import contextlib
import itertools
import shutil

import pytest
from lessons import lesson, refuse

import ringnb as rn
from ringnb import course
from ringnb.course import lesson_05


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
