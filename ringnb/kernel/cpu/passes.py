"""Several steps in one pass over an actor's rows, where its update reads no farther than a few rows.

A grid that is larger than the caches is stepped no faster than memory is read, if each step goes over
all of it. So a rank takes a few of its rows at a time, a *tile*, which fits the cache, through several
steps before it goes on. A row can be stepped where its neighbours are as far as it is; so each step of
a tile lies `reach` rows before the last, and the tiles move over the grid as slanted strips::

    step 3   e e 2 2 3 3 3 e e      a column: a row of the grid; a digit: the tile that computes it
    step 2   e 1 2 2 2 3 3 3 e      e: an edge, computed when all ranks are done with their tiles
    step 1   1 1 1 2 2 2 3 3 3

Between the rows of two ranks, and between the last row of the grid and the first, which are neighbours
on a torus, there remain rows that need those of both. These edges follow after a barrier. Every row then
has taken all steps of the pass.

Nothing is kept aside: who reads the value that a row's next one overwrites is its neighbours' step
before, which that next value needs as well.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from numba import carray

from ringnb.actors.base import Actor
from ringnb.kernel import layout
from ringnb.kernel.atomics import call_step, words_at
from ringnb.kernel.caching import inner
from ringnb.kernel.cpu.answers import answer_meanwhile

__all__ = ["Pass", "call_rows", "pass_of", "slice_of", "step_edges", "step_tiles", "steps_of_pass"]

_CACHE_BYTES = 1 << 19  # of both levels of a tile in all steps of a pass: a part of a core's cache
_DEEPEST = 8  # beyond that, a core computes more slowly than its memory brings rows
_LONGEST_NS = 8_000_000  # a command that changes an actor waits for the end of a pass
_RAISED = 0xBFF0000000000000  # the float -1.0: it raised, and nobody knows at which cell


class Pass(NamedTuple):
    """How an actor's rows are gone over."""

    reach: int  # rows that a step needs on either side
    depth: int  # steps of a pass, at most
    tile: int  # rows


def pass_of(actor: Actor) -> Pass:
    """Return how to go over an actor's rows; one step at a time where each needs the whole grid."""
    row_bytes = math.prod(actor.shape[1:]) * sum(dtype.itemsize for dtype in actor.dtypes)
    rows = max(1, _CACHE_BYTES // (2 * row_bytes))
    reach, depth = actor.reach or 0, 1
    whole = len(actor.stages) > 1 or actor.reductions or actor.boundscheck
    if actor.reach is not None and not whole:
        depth = max(1, min(_DEEPEST, rows // (2 * reach))) if reach else _DEEPEST
    return Pass(reach, depth, max(1, rows - reach * depth))


def slice_of(table: Any, row: int, slice_ns: int) -> Any:
    """Return how long a slice is to be, nanoseconds: long enough for a pass, if that is not too long."""
    depth, step_ns = table[row, layout.C_DEPTH], table[row, layout.C_STEP_NS]
    if depth <= 1 or table[row, layout.C_ROWS] <= table[row, layout.C_TILE]:
        return slice_ns  # where all rows stay in the cache, a pass gains too little to wait for
    # One step more than fits: in a longer pass each may cost less, and the next slice knows.
    return max(slice_ns, min(depth * step_ns, max(_LONGEST_NS, step_ns) + step_ns))


def steps_of_pass(table: Any, actor: int, size: int, left: int) -> Any:
    """Return how many of the steps that are left a team of `size` takes in its next pass."""
    depth, reach = table[actor, layout.C_DEPTH], table[actor, layout.C_REACH]
    rows = table[actor, layout.C_ROWS]
    if size == 1 and rows <= table[actor, layout.C_TILE]:
        depth = 1  # it stays in the cache, and there is no barrier to save
    elif reach > 0:
        depth = min(depth, rows // size // (2 * reach) + 1)  # the edges of a rank do not meet
    return max(1, min(depth, left))


@inner
def call_rows(
    table: Any, actor: int, function: int, now: int, following: int, step: int, rows: Any
) -> None:
    """Call a compiled function for rows of the grid; note if it raised."""
    done = call_step(
        table[actor, function],
        now,
        following,
        table[actor, layout.C_PARAMS],
        step,
        table[actor, layout.C_NF],
        table[actor, layout.C_NZ],
        table[actor, layout.C_NY],
        table[actor, layout.C_NX],
        rows[0],
        rows[1],
    )
    if done == 0:
        params = carray(words_at(table[actor, layout.C_PARAMS]), (layout.P_FAULT_STEP,))
        params[layout.P_FAULT_CELL] = _RAISED


@inner
def step_tiles(
    link: Any,
    scratch: Any,
    table: Any,
    actor: int,
    function: int,
    now: int,
    following: int,
    step: int,
    span: Any,
    steps: int,
    rank: int,
) -> None:
    """Take a rank's rows through `steps` steps, but for its edges."""
    reach = table[actor, layout.C_REACH]
    first, last = span[0], span[1]
    begin = first
    while begin < last:
        end = min(begin + table[actor, layout.C_TILE], last)
        for k in range(steps):
            rows = (max(begin - reach * k, first + reach * k), end - reach * k)
            if rows[0] >= rows[1]:
                continue
            source, target = (now, following) if k % 2 == 0 else (following, now)
            call_rows(table, actor, function, source, target, step + k, rows)
        begin = end
        if rank == 0:
            answer_meanwhile(link, table, scratch)


@inner
def step_edges(
    table: Any,
    actor: int,
    function: int,
    now: int,
    following: int,
    step: int,
    last: int,
    steps: int,
) -> None:
    """Take the rows about a rank's end, `last`, through what `step_tiles` has left of its steps."""
    reach, rows = table[actor, layout.C_REACH], table[actor, layout.C_ROWS]
    for k in range(1, steps):
        source, target = (now, following) if k % 2 == 0 else (following, now)
        low, high = last - reach * k, last + reach * k
        call_rows(table, actor, function, source, target, step + k, (low, min(high, rows)))
        if high > rows:
            call_rows(table, actor, function, source, target, step + k, (0, high - rows))
