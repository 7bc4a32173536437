"""A notebook cell that is run again: its earlier session is closed, and its subscribers are told."""

from __future__ import annotations

import pytest

import ringnb as rn


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """Return a function that makes a session as the n-th execution of one cell."""
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    made = []

    def run(n):
        monkeypatch.setattr("ringnb.session.session.current_run", lambda: ("cell-1", n))
        made.append(rn.Session(rn.actors.Life((8, 8)), config=config))
        return made[-1]

    yield run
    for session in made:
        session.close()


def test_a_displaced_session_tells_its_subscribers_once_and_after_it_is_closed(cell):
    told = []
    first = cell(1)

    def note(session):
        told.append((session, session.closed))

    first.on_displaced(note)
    first.on_displaced(note)
    cell(1)  # the same run: meant so
    assert told == []
    first = cell(2)
    first.on_displaced(note)
    cell(3)
    assert told == [(first, True)]
    first.tell_displaced()
    assert told == [(first, True)]


def test_subscribers_of_the_successor_are_told_as_well(cell, monkeypatch):
    told = []
    first = cell(1)
    monkeypatch.setattr("ringnb.session.session.current_run", lambda: ("cell-2", 2))
    successor = first.remake()
    successor.on_displaced(told.append)
    cell(3)
    assert told == [successor]
    assert successor.closed


def test_a_callback_that_fails_keeps_neither_the_others_nor_the_cell_from_going_on(cell, caplog):
    told = []
    first = cell(1)
    first.on_displaced(lambda _: 1 / 0)
    first.on_displaced(told.append)
    assert not cell(2).closed
    assert told == [first]
    assert "ZeroDivisionError" in caplog.text


def test_a_session_that_is_only_closed_displaces_nothing(cell):
    told = []
    first = cell(1)
    first.on_displaced(told.append)
    first.close()
    assert told == []
