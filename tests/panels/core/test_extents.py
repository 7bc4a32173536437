"""The ends of a field over all checkpoints that were read."""

from __future__ import annotations

from ringnb.panels.core.extents import Extents


def test_ends_grow_and_are_each_field_s_own():
    extents = Extents()
    assert extents.of("a_0", "u") is None
    extents.note("a_0", "u", 1.0, 2.0)
    extents.note("a_0", "u", -1.0, 1.5)
    extents.note("a_0", "v", 5.0, 5.0)
    extents.note("a_1", "u", float("nan"), float("nan"))
    extents.note("a_1", "u", None, None)
    assert extents.of("a_0", "u") == (-1.0, 2.0)
    assert extents.of("a_0", "v") == (5.0, 5.0)
    assert extents.of("a_1", "u") is None
