"""How a grid is divided along its first axis: parts with halos, and what goes from one to another."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ringnb.actors.base import Actor, Halos
from ringnb.actors.checks import state_of
from ringnb.actors.locality import Locality
from ringnb.errors import NotDecomposable

__all__ = [
    "MAX_HALO",
    "Slab",
    "best_halo",
    "divide",
    "fields_of",
    "largest_halo",
    "part_of",
    "stretches",
]

_FEWEST_ROWS = 3  # of a grid, along any axis
MAX_HALO = 64  # steps that parts take from one exchange to the next


class Slab(NamedTuple):
    """The rows of a part: its own, and halos that are copies of its neighbours' rows."""

    first: int  # own row in the whole grid
    rows: int  # own
    above: int  # rows of the halo before the own ones
    below: int
    steps: int  # that the own rows are right for after an exchange

    @property
    def held(self) -> int:
        """Rows that the part has in its memory."""
        return self.above + self.rows + self.below


def largest_halo(rows: int, parts: int, reach: int) -> int:
    """Return for how many steps halos can be at most; 0 if so many parts are too many."""
    fewest = rows // parts
    if parts == 1:
        return MAX_HALO
    if fewest < _FEWEST_ROWS:
        return 0
    return min(MAX_HALO, fewest // reach) if reach else MAX_HALO


def best_halo(rows: int, parts: int, reach: int, exchange_s: float, step_s: float) -> int:
    """Return for how many steps halos are best, with what an exchange and a step of a part take.

    Halos of k steps cost an exchange every k steps, and from 2 (k - 1) `reach` rows more down to none
    in each step: together that is least where both are about the same.
    """
    most = largest_halo(rows, parts, reach)
    row_s = step_s / max(1, rows // parts)
    if not reach or row_s <= 0:
        return most
    return min(most, max(1, round(math.sqrt(exchange_s / (reach * row_s)))))


def divide(actor: Actor, locality: Locality, parts: int, halo: int) -> list[Slab]:
    """Return the rows of each part, with halos for so many steps; NotDecomposable if they do not fit."""
    rows, margin = actor.shape[0], halo * locality.reach
    most = largest_halo(rows, parts, locality.reach)
    if halo > most:
        msg = (
            f"{actor.kernel_type} of {rows} rows cannot be divided into {parts} parts with halos for "
            f"{halo} steps of {locality.reach} rows: a part has {rows // parts} rows, and its halos "
            f"come from its neighbours alone. {'halo=' + str(most) if most else 'Fewer parts'} may do"
        )
        raise NotDecomposable(msg)
    cuts = [rows * i // parts for i in range(parts + 1)]
    slabs = []
    for i, (first, end) in enumerate(itertools.pairwise(cuts)):
        inner = margin if parts > 1 else 0
        above = inner if i > 0 or locality.joined else 0
        below = inner if i < parts - 1 or locality.joined else 0
        slabs.append(Slab(first, end - first, above, below, halo))
    return slabs


def part_of(actor: Actor, slab: Slab, reaches: Sequence[int]) -> Actor:
    """Return an actor of these rows of this one, with zeros to start from.

    Of the halos' rows it computes those whose neighbours are right, and no others: an update that stops,
    or that reads an array at an index of the state, would do there what it does in no row of the whole.
    """
    part = copy.copy(actor)
    if slab.above or slab.below:
        vars(part)["_halos"] = Halos(slab.above > 0, slab.below > 0, tuple(reaches))
    vars(part)["_shape"] = (slab.held, *actor.shape[1:])
    rows, params = actor.shape[0], actor.start_params()
    first = (slab.first - slab.above) % rows
    vars(part)["_cell_of"] = lambda at: ((at[0] + first) % rows, *at[1:])
    if actor._rows_of_part is not None:
        params = {**params, "first_row": float(first), "all_rows": float(rows)}
        vars(part)["rows"] = actor._rows_of_part
        vars(part)["_params"] = MappingProxyType(params)
    vars(part)["start"] = lambda _slot=0: state_of(part, np.zeros)
    vars(part)["start_params"] = lambda _slot=0: dict(params)
    return part


def stretches(first: int, count: int, rows: int) -> list[tuple[int, int]]:
    """Return rows that may lie across the edge of a grid as (first, last + 1) of each stretch."""
    first %= rows
    if first + count <= rows:
        return [(first, first + count)]
    return [(first, rows), (0, first + count - rows)]


def fields_of(levels: Sequence[Any]) -> list[Any]:
    """Return the arrays ``(*grid)`` of all fields, level by level."""
    return [field for level in levels for field in level]
