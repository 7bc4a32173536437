"""Restoring: a checkpoint's bytes, verified, into the buffer that a live actor is loaded from."""

from __future__ import annotations

from contextlib import AbstractContextManager

from ringnb.actors.base import Actor
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import CheckpointNotFound
from ringnb.kernel.client import KernelClient
from ringnb.messages.commands import Command, Reply

__all__ = ["check_fits", "resolve", "restore_into"]


def resolve(manager: CheckpointManager, slot: int, checkpoint: object) -> Checkpoint:
    """Find the checkpoint that is meant.

    Parameters
    ----------
    manager : CheckpointManager
        Where to look.
    slot : int
        The actor.
    checkpoint : Checkpoint or str
        A checkpoint, its name, or ``"latest"`` for the newest of this actor that verifies.

    Returns
    -------
    Checkpoint
        It exists.

    Raises
    ------
    TypeError
        If it is neither.
    CheckpointNotFound, CheckpointCorrupt
        If there is none, or none that verifies.
    """
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    if not isinstance(checkpoint, str):
        msg = (
            f"checkpoint must be a Checkpoint, a name or 'latest', got {checkpoint!r} "
            f"({type(checkpoint).__name__})"
        )
        raise TypeError(msg)
    if checkpoint != "latest":
        return manager.storage.load(checkpoint)
    latest = manager.load_latest(slot)
    if latest is None:
        kernel_id = manager.registered[slot].kernel_id
        msg = (
            f"actor {kernel_id!r} (slot {slot}) has no checkpoint in {manager.storage!r}: "
            "take one with snapshot(), or check storage_path and name_prefix"
        )
        raise CheckpointNotFound(msg)
    return latest


def check_fits(ckpt: Checkpoint, actor: Actor, slot: int) -> None:
    """Refuse a checkpoint that is not a state of this actor, naming both sides."""
    here = f"slot {slot} runs {actor.kernel_type!r}"
    if ckpt.kernel_type != actor.kernel_type:
        msg = (
            f"checkpoint {ckpt.name!r} is of type {ckpt.kernel_type!r}, but {here}: "
            "restore it into an actor of its own type"
        )
        raise ValueError(msg)
    if set(ckpt.fields) != set(actor.stored_fields):
        msg = (
            f"checkpoint {ckpt.name!r} holds fields {sorted(ckpt.fields)}, but {here} with fields "
            f"{sorted(actor.stored_fields)}"
        )
        raise ValueError(msg)
    for name in actor.stored_fields:
        array = ckpt[name]
        if tuple(array.shape) != actor.shape or array.dtype != actor.dtype:
            msg = (
                f"field {name!r} of checkpoint {ckpt.name!r} has shape {tuple(array.shape)} and "
                f"dtype {array.dtype}, but {here} with shape {actor.shape} and dtype {actor.dtype}"
            )
            raise ValueError(msg)


def restore_into(
    client: KernelClient,
    slot: int,
    ckpt: Checkpoint,
    params: dict[str, float],
    turn: AbstractContextManager[None],
) -> Reply:
    """Load a live actor from a checkpoint that fits it.

    Parameters
    ----------
    client : KernelClient
        The kernel.
    slot : int
        The actor.
    ckpt : Checkpoint
        What to load; see `check_fits`.
    params : dict of str to float
        The parameters to go with it, checked.
    turn : context manager
        Entered when all is verified, left when the kernel has taken it.

    Returns
    -------
    Reply
        The kernel's answer.

    Raises
    ------
    CheckpointCorrupt, CheckpointNotFound
        If a byte does not match its digest, or is gone. The actor is untouched.

    Notes
    -----
    Chunks are read straight into the lane's restore buffer; only after all of them have been verified
    is the kernel told to take it, between two steps.
    """
    kernel = client.kernel
    actor = kernel.actors[slot]
    with client.loading(kernel.lane_of(slot)) as load:
        state = kernel.restore_buffer(slot)
        n = len(actor.fields)
        for i, name in enumerate(actor.stored_fields):
            ckpt.read_into(name, state[i // n, i % n])
        target = kernel.params_buffer(slot)
        target[:] = 0
        target[: len(params)] = list(params.values())
        with turn:
            return load(slot, Command.RESTORE, (ckpt.step,))
