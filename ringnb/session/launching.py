"""From what a user hands to a session to actors, identities and a kernel; each check returns, or raises.

Messages say the fact, the value and the remedy. Compiled code is imported when a kernel is made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ringnb._support.checks import check_int, check_number
from ringnb.actors.base import Actor
from ringnb.kernel.base import AbstractKernel
from ringnb.kernel.cuda.availability import notice_fallback

__all__ = [
    "check_cell",
    "check_pace",
    "kernel_ids_of",
    "make_kernel",
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


def make_kernel(
    backend: object,
    population: list[Actor],
    lanes: int | None,
    width: int | None,
    threads: int | None,
    capacity: int,
) -> AbstractKernel:
    """Make a kernel of the backend asked for.

    Parameters
    ----------
    backend : str
        "auto", "cpu", "cuda" or "cudasim".
    population : list of Actor
        The actor of every slot.
    lanes, width, threads : int or None
        Lanes, threads (on a GPU: blocks) of a lane, threads of a block; None leaves it to the kernel.
    capacity : int
        Slots of each ring.

    Returns
    -------
    AbstractKernel
        Not launched.

    Raises
    ------
    BackendUnavailable
        If it cannot run here.
    ValueError
        If there is no such backend, or a number is out of range.
    """
    if backend not in ("auto", "cpu", "cuda", "cudasim"):
        msg = f"backend must be 'auto', 'cpu', 'cuda' or 'cudasim', got {backend!r}"
        raise ValueError(msg)
    if backend in ("cuda", "cudasim"):
        from ringnb.kernel.cuda.kernel import CudaKernel  # noqa: PLC0415

        return CudaKernel(
            population,
            lanes=lanes,
            width=width,
            threads=threads,
            capacity=capacity,
            simulate=backend == "cudasim",
        )
    if threads is not None:
        msg = f"threads={threads!r} are those of a block, which the CPU has none of: use width"
        raise ValueError(msg)
    if backend == "auto":
        notice_fallback()
    from ringnb.kernel.cpu.kernel import CpuKernel  # noqa: PLC0415 - compiled code, loaded when needed

    return CpuKernel(population, lanes=lanes, width=width, capacity=capacity)
