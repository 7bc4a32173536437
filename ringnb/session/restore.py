"""Restoring: which checkpoint, with what, and its verified bytes into the buffer of a live actor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, NamedTuple

from ringnb.actors.base import Actor
from ringnb.checkpoint.cutting import cut_key
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound
from ringnb.kernel.base import AbstractKernel
from ringnb.session.compatibility import (
    copies_of,
    differences_to_tell,
    if_renamed,
    newest_of_another_name,
    params_to_load,
)

if TYPE_CHECKING:  # which imports this module
    from ringnb.session.session import Session

__all__ = ["Restore", "fill_buffers", "find_newest_cut", "prepare_restore", "restore_together"]


class Restore(NamedTuple):
    """A checkpoint that fits an actor, and how the actor goes on from it."""

    checkpoint: Checkpoint
    params: dict[str, float]
    is_newest: bool  # whether the actor will be in the state of the newest of its history
    remarks: list[str]  # what the user should know


def prepare_restore(
    manager: CheckpointManager,
    slot: int,
    actor: Actor,
    checkpoint: object,
    params: object,
    present: Callable[[int], dict[str, float]],
    newest: CheckpointInfo | None = None,
) -> Restore:
    """Find a checkpoint and the parameters to go on with; nothing of the actor changes.

    `params` is ``"stored"`` or ``"current"``; `present` returns those that a slot's actor has now;
    `newest` is the newest of its history, if that is known. Raises as ``Session.restore``.
    """
    ckpt = _find(manager, slot, checkpoint, actor)
    _check_fits(ckpt, actor, slot)
    now = present(slot)
    loaded = params_to_load(params, ckpt, actor, slot, now)
    registered = manager.registered.get(slot)
    code = {} if registered is None else registered.code
    remarks = differences_to_tell(ckpt, actor, slot, code, loaded, now)
    last = manager.history(slot)[-1:] if newest is None else [newest]
    # With other parameters it is a state that no checkpoint has.
    is_newest = loaded == ckpt.params and any(
        (e.name, e.sequence) == (ckpt.name, ckpt.sequence) for e in last
    )
    return Restore(ckpt, loaded, is_newest, remarks)


def restore_together(
    session: Session, group: Sequence[int], *, good: bool, tell: Callable[[str], None]
) -> bool:
    """Restore linked actors from their newest common cut: what each has alone is of other steps.

    With `good` from the newest whose state is. `tell` is told of one that is passed over; returns
    whether there was one. The first is loaded after all were read and checked, and fit: when
    CheckpointCorrupt, as none verifies, or ValueError is raised, all are untouched.
    """
    manager = session.manager
    slots = {manager.registered[slot].kernel_id: slot for slot in group}
    cut, damaged = find_newest_cut(manager, slots.keys(), good=good)
    for name, error in damaged.items():
        tell(f"cut {name!r} is passed over: {error}")
    if cut is not None:
        there = {e["kernel_id"]: e["actor_slot"] for e in cut.document.record["cut"]["parts"]}
        parts = {slot: cut.part(there[kernel_id]) for kernel_id, slot in slots.items()}
        for slot, part in parts.items():
            actor = session.kernel.actors[slot]
            prepare_restore(manager, slot, actor, part, "stored", session.params)
        for slot, part in parts.items():
            session.restore(slot, part)
        return True
    if damaged:  # to begin anew would commit that as the newest, and retire what may be mended
        msg = (
            f"no cut of the linked actors {sorted(slots)} verifies ({', '.join(damaged)}): look with "
            "ringnb verify, and restore each of them from a checkpoint of one step"
        )
        raise CheckpointCorrupt(msg)
    return False


def find_newest_cut(
    manager: CheckpointManager, kernel_ids: AbstractSet[str], *, good: bool = False
) -> tuple[Checkpoint | None, dict[str, Exception]]:
    """Return the newest cut of these actors, maybe with others, with all its bytes in memory.

    With `good` the newest whose state is. Also what was passed over, by name, as it does not verify.
    """
    damaged: dict[str, Exception] = {}
    for info in reversed(manager.storage.history(*cut_key(manager.config.name_prefix))):
        if not kernel_ids <= {part.kernel_id for part in info.parts} or (good and not info.good):
            continue
        try:
            cut = manager.storage.load(info.name)
            cut.read_parts()
        except (CheckpointCorrupt, CheckpointNotFound) as error:
            damaged[info.name] = error
        else:
            return cut, damaged
    return None, damaged


def _find(manager: CheckpointManager, slot: int, checkpoint: object, actor: Actor) -> Checkpoint:
    """Return one that is given as such, by its name, or as ``"latest"`` or ``"latest-good"``.

    Raises TypeError if it is neither, CheckpointNotFound and CheckpointCorrupt as the manager does.
    """
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    if not isinstance(checkpoint, str):
        msg = (
            f"checkpoint must be a Checkpoint, a name, 'latest' or 'latest-good', got {checkpoint!r} "
            f"({type(checkpoint).__name__})"
        )
        raise TypeError(msg)
    if checkpoint not in ("latest", "latest-good"):
        return manager.storage.load(checkpoint)
    good = checkpoint == "latest-good"
    latest = manager.load_latest(slot, fits=lambda c: _why_not(c, actor, slot), good=good)
    if latest is None:
        kernel_id = manager.registered[slot].kernel_id
        of = " of a good state" if good else ""
        msg = (
            f"actor {slot}, {kernel_id!r}, has no checkpoint{of} in {manager.storage!r}: "
            "take one with snapshot(), or check storage_path and name_prefix"
            f"{copies_of(manager, slot)}{newest_of_another_name(manager, slot, actor)}"
        )
        raise CheckpointNotFound(msg)
    return latest


def _check_fits(ckpt: Checkpoint, actor: Actor, slot: int) -> None:
    """Raise ValueError, naming both sides, if a checkpoint is not a state of this actor."""
    why = _why_not(ckpt, actor, slot)
    if why is not None:
        remedy = "" if ckpt.kernel_type == actor.kernel_type else f": {if_renamed(ckpt, actor)}"
        msg = f"checkpoint {ckpt.name!r} cannot be restored: {why}{remedy}"
        raise ValueError(msg)


def _why_not(ckpt: Checkpoint, actor: Actor, slot: int) -> str | None:
    """Say why a checkpoint cannot be a state of this actor, naming both sides; None if it can."""
    here = f"actor {slot} runs {actor.kernel_type!r}"
    if ckpt.kernel_type != actor.kernel_type:
        return f"it is of type {ckpt.kernel_type!r}, but {here}"
    if set(ckpt.fields) != set(actor.stored_fields):
        return (
            f"it holds fields {sorted(ckpt.fields)}, but {here} with fields "
            f"{sorted(actor.stored_fields)}"
        )
    dtypes = actor.dtypes * actor.levels
    for name, dtype in zip(actor.stored_fields, dtypes, strict=True):
        array = ckpt[name]
        if tuple(array.shape) != actor.shape or array.dtype != dtype:
            return (
                f"its field {name!r} has shape {tuple(array.shape)} and dtype {array.dtype}, but {here} "
                f"with shape {actor.shape} and dtype {dtype}"
            )
    return None


def fill_buffers(
    kernel: AbstractKernel, slot: int, ckpt: Checkpoint, params: dict[str, float]
) -> None:
    """Read a checkpoint that fits an actor, and checked parameters, to where RESTORE takes them from.

    Within `KernelClient.load`. Raises CheckpointCorrupt or CheckpointNotFound if a byte
    does not match its digest or is gone; the actor itself is untouched in any case.
    """
    actor = kernel.actors[slot]
    state = kernel.restore_buffer(slot)
    n = len(actor.fields)
    for i, name in enumerate(actor.stored_fields):
        ckpt.read_into(name, state[i // n, i % n])
    target = kernel.params_buffer(slot)
    target[:] = 0
    target[: len(params)] = list(params.values())
