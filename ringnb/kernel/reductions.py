"""How a number is reduced from all cells: one source for all kernels, and so the same bits on all.

Rows along x are reduced one by one, each with eight accumulators, to partial results in memory; then one
thread joins these in the order of the rows. Which thread took which row cannot be seen in the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ringnb.actors.base import Actor

__all__ = ["body", "joined", "partial_count", "start_of"]

_LANES = 8
_OVER_ROWS = {
    1: ("1", "if first <= 0 < last:", ""),
    2: ("ny", "for line in range(first, last, stride):", "y = line"),
    3: (
        "nz * ny",
        "for line in range(first, last, stride):",
        "z = line // ny\n            y = line - z * ny",
    ),
}
_LEADS = {1: "", 2: "y, ", 3: "z, y, "}


def _add(a: Any, b: Any) -> Any:
    return a + b


# A value that is no number stays, as in a sum.
def _least(a: Any, b: Any) -> Any:
    return a if a < b or math.isnan(a) else b


def _greatest(a: Any, b: Any) -> Any:
    return a if a > b or math.isnan(a) else b


joined: dict[str, Callable[..., Any]] = {"sum": _add, "min": _least, "max": _greatest}
_STARTS = {"sum": 0.0, "min": math.inf, "max": -math.inf}


def start_of(operation: str) -> float:
    """Return what joined with a value leaves that value."""
    return _STARTS[operation]


def partial_count(actor: Actor) -> int:
    """Return how many partial results an actor's reductions need."""
    return len(actor.reductions) * math.prod(actor.shape[:-1])


def body(ndim: int, number: int, slot: int, more: str) -> str:
    """Return the source between a function's views of memory and its end.

    It reads `now`, `params`, `step` and the lengths, and writes rows `first`, `first` + `stride`, ...
    below `last` of `partials`; if `first` is negative, it joins all rows into ``params[slot]`` instead.
    `more` is what follows the cell in a call, `number` that of the reduction.
    """
    lines, loop, place = _OVER_ROWS[ndim]
    lead = _LEADS[ndim]
    value = f"float64(value(now, params, step, {lead}{{}}{more}))"
    accumulators = [f"a{k}" for k in range(_LANES)]
    inner = "\n".join(
        f"                {a} = join({a}, {value.format(f'x + {k}')})"
        for k, a in enumerate(accumulators)
    )
    tree = accumulators
    while len(tree) > 1:
        tree = [f"join({a}, {b})" for a, b in zip(tree[::2], tree[1::2], strict=True)]
    return f"""
    lines = {lines}
    mine = {number} * lines
    if first < 0:
        total = partials[mine]
        for i in range(1, lines):
            total = join(total, partials[mine + i])
        params[{slot}] = total
    else:
        {loop}
            {place or "line = 0"}
            {" = ".join(accumulators)} = initial
            whole = nx - nx % {_LANES}
            for x in range(0, whole, {_LANES}):
{inner}
            for x in range(whole, nx):
                a0 = join(a0, {value.format("x")})
            partials[mine + line] = {tree[0]}
"""
