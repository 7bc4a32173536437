"""Retention policies are pure functions from a history to what goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringnb.checkpoint.retention import keep_last
from ringnb.checkpoint.storage import CheckpointInfo


def info(sequence: int, *, damaged: bool = False) -> CheckpointInfo:
    return CheckpointInfo(f"c{sequence}", sequence=sequence, damaged=damaged)


def test_the_oldest_by_sequence_go_whatever_the_order_given():
    history = [info(30), info(4), info(200)]
    assert [e.name for e in keep_last(history, 1)] == ["c4", "c30"]


def test_zero_keeps_all():
    assert keep_last([info(i) for i in range(9)], 0) == []


def test_fewer_than_the_count_stay():
    assert keep_last([info(1), info(2)], 2) == []


def test_a_protected_name_stays_however_old():
    assert [e.name for e in keep_last([info(1), info(2), info(3)], 1, protect=("c1",))] == ["c2"]


def test_damaged_entries_are_neither_counted_nor_chosen():
    history = [CheckpointInfo("broken", damaged=True), info(1), info(2)]
    assert keep_last(history, 2) == []
    assert [e.name for e in keep_last(history, 1)] == ["c1"]


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="count=-1"):
        keep_last([], -1)


@given(st.lists(st.integers(0, 1000), unique=True), st.integers(1, 20))
def test_exactly_the_newest_stay(sequences, count):
    history = [info(s) for s in sequences]
    gone = {e.sequence for e in keep_last(history, count)}
    kept = set(sequences) - gone
    assert kept == set(sorted(sequences)[-count:])
