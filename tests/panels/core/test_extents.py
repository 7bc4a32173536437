"""The ends of a field over the checkpoints that were read and are stored."""

from __future__ import annotations

from ringnb.checkpoint import CheckpointInfo
from ringnb.panels.core.extents import Extents


def test_ends_are_those_of_what_is_stored_of_a_run_and_each_field_s_own():
    first, second, other, bad = (
        CheckpointInfo(name, sequence=i, run=run)
        for i, (name, run) in enumerate([("a", "r"), ("b", "r"), ("c", "s"), ("d", "s")])
    )
    history = first, second, other, bad
    extents = Extents()
    assert extents.of(history, "u", "r") is None
    extents.note(first, "u", 1.0, 2.0)
    assert extents.of(history, "u", "r") == (1.0, 2.0)
    extents.note(second, "u", -1.0, 1.5)
    extents.note(second, "u", 0.0, 1.0)  # a plane of it
    extents.note(first, "v", 5.0, 5.0)
    extents.note(other, "u", 7.0, 9.0)
    extents.note(bad, "u", float("nan"), float("nan"))
    extents.note(bad, "v", None, None)
    assert extents.of(history, "u", "r") == (-1.0, 2.0)
    assert extents.of(history, "u", "s") == (7.0, 9.0)
    assert extents.of(history, "v", "r") == (5.0, 5.0)
    assert extents.of(history, "v", "s") is None
    assert extents.of((second, other, bad), "u", "r") == (-1.0, 1.5)  # the first was retired
