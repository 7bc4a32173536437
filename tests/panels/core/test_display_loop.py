"""The display loop: the newest value wins, and what changed is sent once more."""

from __future__ import annotations

from collections import Counter

import pytest

from ringnb.panels.core.display_loop import DisplayLoop
from ringnb.panels.core.widgets import Board, Hand
from ringnb.panels.keep.widgets import Sheet, WhatStays
from ringnb.testing import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


def sends_of(widget):
    """Return how often a widget sends each trait, from now on."""
    sent = Counter()
    widget.send_state = lambda names: sent.update({names} if isinstance(names, str) else names)
    return sent


def test_the_display_loop_shows_the_newest_of_a_flood_and_says_it_once():
    sent = []
    board = Board()
    board.observe(lambda change: sent.append(change["new"]), "life")
    loop = DisplayLoop(lambda: True, 0.01)
    for i in range(5000):
        loop.put(board, life=str(i))
    loop.flush()
    assert sent == ["4999"]


def test_a_change_is_sent_once_more_however_often_the_widget_changes_otherwise(clock):
    board, loop = Board(), DisplayLoop(lambda: True, 0.01, quiet_s=2.0, clock=clock)
    sent = sends_of(board)
    loop.put(board, due_at=7.0)
    for beat in range(6):  # of a kernel at rest, each second
        loop.put(board, beat=float(beat))
        loop.flush()
        clock.advance(1.0)
    assert sent == {"due_at": 2, "beat": 5}  # it was 0 before
    assert loop.settled  # so that the loop of a closed session comes to rest


def test_what_no_page_shows_is_sent_once_more_when_one_does(clock):
    board, loop = Board(), DisplayLoop(lambda: True, 0.01, quiet_s=2.0, clock=clock)
    sent = sends_of(board)
    loop.put(board, due_at=7.0)
    loop.flush()
    loop.seen = False
    clock.advance(10.0)
    loop.flush()
    assert sent == {"due_at": 1}
    assert loop.settled
    loop.seen = True
    assert not loop.settled
    loop.flush()
    assert sent == {"due_at": 2}


@pytest.mark.parametrize(("make", "name"), [(Sheet, "forecast"), (WhatStays, "disk")])
def test_what_a_store_at_rest_says_last_is_sent_once_more(clock, make, name):
    widget = make(board=Board(), hand=Hand())
    loop = DisplayLoop(lambda: True, 0.01, quiet_s=2.0, clock=clock)
    sent = sends_of(widget)
    for _ in range(5):  # equal values
        loop.put(widget, **{name: {"words": "as it was"}})
        loop.flush()
        clock.advance(1.0)
    assert sent == {name: 2}


def test_what_is_heavy_is_sent_once(clock):
    sheet, loop = (
        Sheet(board=Board(), hand=Hand()),
        DisplayLoop(lambda: True, 0.01, quiet_s=2.0, clock=clock),
    )
    sent = sends_of(sheet)
    loop.put(sheet, film={"v": 1}, count=3)
    for _ in range(5):
        loop.flush()
        clock.advance(1.0)
    assert sent == {"film": 1, "count": 2}
