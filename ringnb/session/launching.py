"""Checks the arguments of a session and of its calls; makes its kernel and registers its actors."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb._support.checks import check_int, check_number, is_integer
from ringnb._support.environment import environment, git_commit
from ringnb.actors.base import Actor
from ringnb.actors.fingerprint import code_of
from ringnb.actors.link import Link
from ringnb.actors.region import Place, Region
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.notices import warn
from ringnb.checkpoint.registration import RegisteredActor
from ringnb.checkpoint.storage.arrays import array_digest
from ringnb.errors import BackendUnavailable
from ringnb.kernel.base import AbstractKernel
from ringnb.kernel.caching import plain
from ringnb.kernel.cuda.availability import gpu_for_auto, notice_fallback
from ringnb.kernel.stepper import Stepper
from ringnb.session.change_tracking import ChangeTracker, StateVersion

__all__ = [
    "check_cell",
    "check_region",
    "check_values",
    "kernel_ids_of",
    "make_kernel",
    "period_ns_of",
    "population_of",
    "register_population",
    "say_that_it_starts_fresh",
    "warn_if_nothing_can_be_saved",
]

logger = logging.getLogger("ringnb.session")


def population_of(actor: Actor | Sequence[Actor], actors: int | None) -> list[Actor]:
    """Return the actor of every slot."""
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
    if is_integer(at):
        at = (at,)
    if (
        not isinstance(at, Sequence | np.ndarray)
        or isinstance(at, str)
        or len(at) != len(shape)
        or not all(map(is_integer, at))
    ):
        msg = f"at must be {len(shape)} integers, one per grid axis of shape {shape}, got {at!r}"
        raise TypeError(msg)
    for i, n in zip(at, shape, strict=True):
        if not 0 <= i < n:
            msg = f"at={tuple(int(i) for i in at)} lies outside the grid of shape {shape}"
            raise ValueError(msg)
    z, y, x = (*((0,) * (3 - len(shape))), *(int(i) for i in at))
    return z, y, x


def check_region(region: object, actor: Actor) -> Place:
    """Return where a region lies in an actor's state; TypeError or ValueError if it is none of it."""
    if not isinstance(region, Region):
        msg = f"region must be a Region, such as Region('u', slice(0, 2)), got {region!r}"
        raise TypeError(msg)
    return region.place_in(actor)


def check_values(values: npt.ArrayLike, place: Place) -> npt.NDArray[Any]:
    """Return values for a region, of its shape and dtype; TypeError or ValueError if they do not fit."""
    if isinstance(values, np.ma.MaskedArray):
        msg = "values must be a plain array, the mask of a masked one would be lost: use filled()"
        raise TypeError(msg)
    given = np.asarray(values)
    if given.dtype.kind not in "biufc":
        msg = f"values must be numbers, got an array of {given.dtype}"
        raise TypeError(msg)
    try:
        given = np.broadcast_to(given, place.shape)
    except ValueError:
        msg = f"values of shape {given.shape} do not fit a region of {place.shape} cells"
        raise ValueError(msg) from None
    with np.errstate(invalid="ignore", over="ignore"):  # told below
        cast = given.astype(place.dtype)
    is_exact = place.dtype.kind in "biu" or not np.can_cast(given.dtype, place.dtype, "same_kind")
    if is_exact and not np.array_equal(cast, given):
        msg = f"values of {given.dtype} do not fit a field of {place.dtype}: convert them first"
        raise TypeError(msg)
    if not is_exact and not np.array_equal(np.isfinite(cast), np.isfinite(given)):
        msg = f"values up to {np.abs(given).max():g} are beyond what a field of {place.dtype} holds"
        raise ValueError(msg)
    return cast


def period_ns_of(steps_per_second: object) -> int:
    """Return the nanoseconds per step of a rate; 0 for None, which is no limit."""
    if steps_per_second is None:
        return 0
    rate = check_number(steps_per_second, "max_steps_per_second")
    if not 1e-6 <= rate <= 1e9:
        msg = f"max_steps_per_second must lie in 1e-6..1e9 (or be None), got {rate:g}"
        raise ValueError(msg)
    return max(1, round(1e9 / rate))


def register_population(
    manager: CheckpointManager, kernel: AbstractKernel, ids: Sequence[str], changes: ChangeTracker
) -> set[int]:
    """Register the actors of a kernel that starts fresh; return the slots of those with a history."""
    with_history: set[int] = set()
    # As it is now, just compiled: what a function refers to may change at any time.
    code = {_kind(actor): _describe(actor, kernel) for actor in _one_of_each(kernel.actors)}
    prefix = manager.config.name_prefix
    checked: dict[int, RegisteredActor] = {}  # by the id of an actor that is in several slots
    registered = []
    for slot, (actor, kernel_id) in enumerate(zip(kernel.actors, ids, strict=True)):
        params = actor.start_params(slot)
        if id(actor) not in checked:
            checked[id(actor)] = RegisteredActor.make(
                slot,
                kernel_id,
                actor.kernel_type,
                params=params,
                backend=kernel.name,
                fields=actor.field_attrs,
                code=code[_kind(actor)],
                arrays=actor.arrays,
                name_prefix=prefix,
            )
        registered.append(checked[id(actor)].like_this(slot, kernel_id, params, prefix))
    manager.register_all(registered)
    for slot, actor in enumerate(kernel.actors):
        # The state is new: it continues from no checkpoint. An actor with a history keeps that until it
        # changes: its start counts as saved.
        if manager.note_restored(slot, None) is not None:
            changes.mark_saved(slot, StateVersion(actor.start_step, 0, 0))
            with_history.add(slot)
    return with_history


def _kind(actor: Actor) -> Hashable:
    """Return what actors have in common that run the same code with the same arrays."""
    own = tuple(actor.reductions.items())
    return actor.stages, actor.replayable, own, *map(id, actor.arrays.values())


def _one_of_each(actors: Sequence[Actor]) -> Iterable[Actor]:
    """Return an actor of each kind."""
    return {_kind(actor): actor for actor in actors}.values()


def _describe(actor: Actor, kernel: AbstractKernel) -> dict[str, Any]:
    """Return what a checkpoint records of the code that runs."""
    code = {
        **code_of(*actor.stages, arrays=actor.arrays, reductions=actor.reductions),
        **environment(),
        "backend": kernel.name,
    }
    if commit := git_commit(plain(actor.update).__code__.co_filename):
        code["git"] = commit
    if actor.arrays:
        code["arrays"] = {name: array_digest(array) for name, array in actor.arrays.items()}
    if not actor.replayable:
        code["replayable"] = False
    return code


def say_that_it_starts_fresh(
    manager: CheckpointManager, slot: int, more: int, remedy: str = ""
) -> None:
    """Tell in one line of the log what the store holds of an actor, and how to go on from it.

    `more` is the number of others of which the same is true; `remedy` is a session's by default.
    """
    runs = manager.runs(slot)
    if not runs:
        return  # deleted by another process meanwhile
    run = runs[-1]
    others = f" (and {more} more)" if more else ""
    logger.warning(
        "actor %r%s starts a new run: %r holds %d checkpoint(s) of its run %s, up to step %d. "
        "To go on from there: %s",
        manager.registered[slot].kernel_id,
        others,
        manager.storage,
        run.count,
        run.id,
        run.last_step,
        remedy or f'session.restore({slot}, "latest")',
    )


def make_kernel(
    backend: object,
    population: list[Actor],
    links: Sequence[Link],
    lanes: int | None,
    width: int | None,
    ring_capacity: int,
    **on_gpu: int | None,
) -> AbstractKernel:
    """Return a kernel that is not launched yet; it chooses the numbers that are None.

    `on_gpu` are those that only a `CudaKernel` takes, by name.

    Raises BackendUnavailable if it cannot run here, ValueError if there is no such backend, or a number
    is out of range. A `Stepper` as `backend` takes the steps of the only actor, elsewhere.
    """
    if isinstance(backend, Stepper):
        from ringnb.kernel.cpu.kernel import CpuKernel  # noqa: PLC0415 - loaded when needed

        return CpuKernel(population, links=links, capacity=ring_capacity, stepper=backend)
    if backend not in ("auto", "cpu", "cuda", "cudasim"):
        msg = f"backend must be 'auto', 'cpu', 'cuda' or 'cudasim', got {backend!r}"
        raise ValueError(msg)
    given = {name: number for name, number in on_gpu.items() if number is not None}
    if backend in ("cuda", "cudasim") or (
        backend == "auto" and gpu_for_auto(check_int(given.get("device", 0), "device", 0))
    ):
        from ringnb.kernel.cuda.kernel import CudaKernel  # noqa: PLC0415 - loaded when needed

        try:
            return CudaKernel(
                population,
                links=links,
                lanes=lanes,
                width=width,
                capacity=ring_capacity,
                simulate=backend == "cudasim",
                **given,
            )
        except (BackendUnavailable, ValueError, MemoryError) as error:
            if backend != "auto":
                raise
            # These actors are not for this card; a number that is out of range is refused below as well.
            notice_fallback(str(error))
    if given and backend == "cpu":
        name, number = next(iter(given.items()))
        msg = f"{name}={number!r} is for GPUs: on the CPU there are lanes and width"
        raise ValueError(msg)
    from ringnb.kernel.cpu.kernel import CpuKernel  # noqa: PLC0415 - compiled code, loaded when needed

    return CpuKernel(population, links=links, lanes=lanes, width=width, capacity=ring_capacity)


def warn_if_nothing_can_be_saved(manager: CheckpointManager) -> None:
    """Warn when a session begins, and not when hours are lost; unless it is to save nothing."""
    if not (manager.config.enabled or manager.config.on_close):
        return
    why = getattr(manager.storage, "why_unwritable", lambda: None)()  # not every storage has it
    if why is not None:
        warn(
            f"this session can save no checkpoint: {why}. It runs all the same; one that only restores "
            "and shows needs no rights: CheckpointConfig(enabled=False, on_close=False)"
        )
