"""Sums, least and greatest values over the grid: what a model asks for with ``reduce``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ringnb._support.checks import check_name

__all__ = ["MAX_REDUCTIONS", "OPERATIONS", "Reduction", "check_reductions"]

MAX_REDUCTIONS = 4
OPERATIONS = ("sum", "min", "max")


class Reduction(NamedTuple):
    """A number that a kernel computes from all cells before each step.

    Attributes
    ----------
    operation : {"sum", "min", "max"}
        How the values of the cells become one.
    value : callable
        The value of a cell, ``value(now, params, step, y, x)``, and then the read-only arrays.
    """

    operation: str
    value: Callable[..., Any]


def check_reductions(
    reduce: object, params: Mapping[str, float], most_params: int
) -> dict[str, Reduction]:
    """Return reductions by name, as `CellActor` is given them; else `TypeError`, `ValueError`."""
    if reduce is None:
        return {}
    if not isinstance(reduce, Mapping):
        msg = f"reduce must map names to functions, such as {{'energy': f}}, got {reduce!r}"
        raise TypeError(msg)
    if len(reduce) > MAX_REDUCTIONS or len(reduce) + len(params) > most_params:
        msg = (
            f"{len(reduce)} reductions and {len(params)} parameters are too many: an actor has at most "
            f"{MAX_REDUCTIONS} reductions, and {most_params} of both"
        )
        raise ValueError(msg)
    found = {}
    for name, given in reduce.items():
        check_name(name, "name of a reduction")
        if name in params:
            msg = f"{name!r} is the name of a parameter: give the reduction another"
            raise ValueError(msg)
        pair = given if isinstance(given, tuple) else ("sum", given)
        if len(pair) != 2 or pair[0] not in OPERATIONS:
            msg = (
                f"reduce[{name!r}] must be a function, or a pair such as ('max', f) with one of "
                f"{', '.join(OPERATIONS)}, got {given!r}"
            )
            raise ValueError(msg)
        found[name] = Reduction(*pair)
    return found
