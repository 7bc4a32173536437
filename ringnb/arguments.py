"""Checks of what a user hands to a session: each returns the value in its plain form, or raises.

Messages state the fact, the value and the remedy. Nothing here knows a kernel or a store.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ringnb._support.checks import check_int, check_number
from ringnb.actors.base import Actor

__all__ = [
    "check_cell",
    "check_pace",
    "kernel_ids_of",
    "population_of",
]


def population_of(actor: Actor | Sequence[Actor], actors: int | None) -> list[Actor]:
    """Return the actor of every slot, from what a session was given."""
    if isinstance(actor, Actor):
        return [actor] * check_int(1 if actors is None else actors, "actors", 1, 100_000)
    population = list(actor) if isinstance(actor, Sequence) else None
    if not population or not all(isinstance(a, Actor) for a in population):
        msg = f"actor must be an Actor or a non-empty sequence of them, got {actor!r}"
        raise TypeError(msg)
    if actors is not None and actors != len(population):
        msg = f"actors={actors!r} contradicts the {len(population)} actors given; leave it out"
        raise ValueError(msg)
    return population


def kernel_ids_of(population: list[Actor], given: Sequence[str] | None) -> list[str]:
    """Return the identity of every slot."""
    if given is None:
        return [f"{a.kernel_type}_{slot}" for slot, a in enumerate(population)]
    if isinstance(given, str) or len(given) != len(population):
        msg = f"kernel_ids must name each of the {len(population)} slots, got {given!r}"
        raise ValueError(msg)
    return list(given)


def check_cell(at: object, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return a cell as (z, y, x), zero on axes that the grid does not have."""
    if isinstance(at, int | np.integer) and not isinstance(at, bool):
        at = (at,)
    if (
        not isinstance(at, Sequence | np.ndarray)
        or isinstance(at, str)
        or len(at) != len(shape)
        or any(isinstance(i, bool) or not isinstance(i, int | np.integer) for i in at)
    ):
        msg = f"at must be {len(shape)} integers, one per grid axis of shape {shape}, got {at!r}"
        raise TypeError(msg)
    for i, n in zip(at, shape, strict=True):
        if not 0 <= i < n:
            msg = f"at={tuple(int(i) for i in at)} lies outside the grid of shape {shape}"
            raise ValueError(msg)
    z, y, x = (*((0,) * (3 - len(shape))), *(int(i) for i in at))
    return z, y, x


def check_pace(steps_per_second: object) -> int:
    """Return nanoseconds per step for a rate, 0 for no limit."""
    if steps_per_second is None:
        return 0
    rate = check_number(steps_per_second, "max_steps_per_second")
    if not 1e-6 <= rate <= 1e9:
        msg = f"max_steps_per_second must lie in 1e-6..1e9 (or be None), got {rate:g}"
        raise ValueError(msg)
    return max(1, round(1e9 / rate))
