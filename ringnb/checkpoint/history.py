"""Which checkpoints in a store are an actor's, and which one to trust.

The manager calls these functions without its lock, because each reads the store. Nothing is
remembered between calls: the store is the only truth, so a restarted manager, and a second one on
the same store, see what the first one sees. This module knows no schedule.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ringnb.errors import CheckpointCorrupt, CheckpointNotFound

if TYPE_CHECKING:
    from ringnb.checkpoint.storage.base import CheckpointStorage
    from ringnb.checkpoint.storage.checkpoint import Checkpoint
    from ringnb.checkpoint.storage.records import CheckpointInfo

__all__ = ["newest_verified", "read_history", "shown"]

_REREADS = 5
# No more than a step and a suffix: "sim_1_2_step_5" is of prefix "sim_1", not of "sim".
_STEP = re.compile(r"[0-9]+(\.[0-9]+)?")


def read_history(
    storage: CheckpointStorage, name_prefix: str, actor_slot: int, kernel_id: str | None
) -> list[CheckpointInfo]:
    """Read an actor's history from a store.

    Parameters
    ----------
    storage : CheckpointStorage
        The store.
    name_prefix : str
        The manager's prefix; one that merely begins alike is another.
    actor_slot : int
        The slot asked about.
    kernel_id : str or None
        The identity registered there, which alone decides; None if there is none, and then whatever
        was recorded under the slot counts.

    Returns
    -------
    list of CheckpointInfo
        Oldest commit first, without what is damaged; empty for a store that does not exist yet.
    """
    if kernel_id is not None:
        return storage.history(name_prefix, kernel_id)
    return _of_actor(storage.catalogue(), name_prefix, actor_slot, None)


def _of_actor(
    catalogue: list[CheckpointInfo], name_prefix: str, actor_slot: int, kernel_id: str | None
) -> list[CheckpointInfo]:
    entries = (
        e
        for e in catalogue
        if not e.damaged
        and e.name_prefix == name_prefix
        and (e.actor_slot == actor_slot if kernel_id is None else e.kernel_id == kernel_id)
    )
    return sorted(entries, key=lambda e: e.sequence)


def _damaged(catalogue: list[CheckpointInfo], name_prefix: str, actor_slot: int) -> list[str]:
    """Return the names that must have been a slot's, of which nothing else can be known."""
    stem = f"{name_prefix}_{actor_slot}_step_"
    return [
        e.name
        for e in catalogue
        if e.damaged and e.name.startswith(stem) and _STEP.fullmatch(e.name, len(stem))
    ]


def newest_verified(
    storage: CheckpointStorage, name_prefix: str, actor_slot: int, kernel_id: str | None
) -> tuple[Checkpoint | None, list[str]]:
    """Find the newest checkpoint of an actor whose every byte verifies.

    Parameters
    ----------
    storage : CheckpointStorage
        As all of these, as for `read_history`.
    name_prefix : str
        The manager's prefix.
    actor_slot : int
        The slot.
    kernel_id : str or None
        The identity, None for whoever sat in the slot.

    Returns
    -------
    tuple of Checkpoint or None, and list of str
        The checkpoint, None if there is none at all, and the names passed over as damaged, newest
        first, with those whose place in the order is unknown at the end.

    Raises
    ------
    CheckpointCorrupt
        If there are some and none verifies.
    CheckpointNotFound
        If checkpoints were deleted faster than they could be read, several times over.
    """
    for attempt in range(_REREADS):
        catalogue = storage.catalogue()
        history = _of_actor(catalogue, name_prefix, actor_slot, kernel_id)
        damaged = _damaged(catalogue, name_prefix, actor_slot)
        corrupt: list[str] = []
        vanished: CheckpointNotFound | None = None
        for info in reversed(history):
            try:
                checkpoint = storage.load(info.name)
                checkpoint.verify()
            except CheckpointNotFound as gone:
                vanished = gone  # retired by another manager since the catalogue was read
            except CheckpointCorrupt:
                corrupt.append(info.name)
            else:
                return checkpoint, corrupt + damaged
        corrupt += damaged
        if vanished is None:
            break
        # Whoever retired what we saw has committed something newer first: look again.
        if attempt == _REREADS - 1:
            raise vanished
    if corrupt:
        whose = f"actor {kernel_id!r}" if kernel_id is not None else f"slot {actor_slot}"
        msg = (
            f"none of the {len(corrupt)} checkpoints of {whose} verifies ({shown(corrupt)}): "
            "their bytes do not match their digests; restore the store from a backup, or delete "
            "them to start afresh"
        )
        raise CheckpointCorrupt(msg)
    return None, []


def shown(names: list[str], most: int = 10) -> str:
    """Put names into a sentence.

    Parameters
    ----------
    names : list of str
        The names.
    most : int, default 10
        How many are spelled out.

    Returns
    -------
    str
        The names quoted, and how many more there are.
    """
    more = len(names) - most
    return ", ".join(map(repr, names[:most])) + (f" and {more} more" if more > 0 else "")
