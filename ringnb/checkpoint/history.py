"""Which checkpoints in a store are an actor's, and which one to trust.

The manager calls these functions without its lock, because each reads the store. Nothing is
remembered between calls: the store is the only truth, so a restarted manager, and a second one on
the same store, see what the first one sees. This module knows no schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TypeAlias

from ringnb._support.off_main import warn_caller
from ringnb._support.text import quote_names
from ringnb.checkpoint.naming import damaged_name, expand_prefix
from ringnb.checkpoint.registration import RegisteredActor
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.catalogue import Catalogue
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.cut_record import CUT
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound, CheckpointWarning

__all__ = [
    "Fits",
    "find_latest",
    "fits_type",
    "history_with_cuts",
    "newest_of",
    "newest_sound",
    "newest_verified",
    "of_actor",
    "read_history",
]

Fits: TypeAlias = Callable[[Checkpoint], str | None]  # why it does not fit, None if it does
_MAX_READS = 5
_FEW = 32  # actors, for whose histories one after the other is asked


def read_history(
    storage: CheckpointStorage, name_prefix: str, actor_slot: int, kernel_id: str | None
) -> list[CheckpointInfo]:
    """Read an actor's history, oldest commit first, without what is damaged.

    The identity alone decides; without one, all checkpoints recorded under the slot count.
    """
    if kernel_id is not None:
        return history_with_cuts(storage, expand_prefix(name_prefix, kernel_id), kernel_id)
    return of_actor(storage.catalogue(), name_prefix, actor_slot, None)


def history_with_cuts(
    storage: CheckpointStorage, name_prefix: str, kernel_id: str
) -> list[CheckpointInfo]:
    """Read an actor's history, its parts of cuts included; the prefix is the expanded one."""
    own = storage.history(name_prefix, kernel_id)
    # One that only looks like a `CheckpointStorage` may lack the method.
    find = getattr(storage, "parts", None) or Catalogue(storage.catalogue()).parts
    parts = find(name_prefix, kernel_id)
    return sorted([*own, *parts], key=attrgetter("sequence")) if parts else own


def newest_of(
    storage: CheckpointStorage, actors: Sequence[RegisteredActor]
) -> list[CheckpointInfo | None]:
    """Return each actor's newest checkpoint that is not damaged; of many, the store is read once."""
    keys = [(a.name_prefix, a.kernel_id) for a in actors]
    if len(actors) <= _FEW:
        ends = [history_with_cuts(storage, *key) for key in keys]
    else:
        known = Catalogue(storage.catalogue())
        ends = [[*known.history(*key)[-1:], *known.parts(*key)[-1:]] for key in keys]
    return [max(e, key=attrgetter("sequence"), default=None) for e in ends]


def of_actor(
    catalogue: list[CheckpointInfo], name_prefix: str, actor_slot: int, kernel_id: str | None
) -> list[CheckpointInfo]:
    """Return an actor's checkpoints of a catalogue, oldest commit first; as `read_history`."""
    entries = [
        e
        for whole in catalogue
        for e in (whole.parts if whole.parts and kernel_id != CUT else (whole,))
        if not e.damaged
        and e.copy is None
        and (e.actor_slot == actor_slot if kernel_id is None else e.kernel_id == kernel_id)
        and e.name_prefix == expand_prefix(name_prefix, e.kernel_id)
    ]
    return sorted(entries, key=attrgetter("sequence"))


def _damaged(
    catalogue: list[CheckpointInfo], name_prefix: str, actor_slot: int, kernel_id: str | None
) -> list[str]:
    """Return the names that must have been a slot's, of which nothing else can be known."""
    its = damaged_name(name_prefix, actor_slot, kernel_id)
    return [e.name for e in catalogue if e.damaged and its.fullmatch(e.name)]


def newest_verified(
    storage: CheckpointStorage,
    name_prefix: str,
    actor_slot: int,
    kernel_id: str | None,
    fits: Fits = lambda _: None,
    *,
    good: bool = False,
) -> tuple[Checkpoint | None, list[str], dict[str, str]]:
    """Find an actor's newest checkpoint that fits and verifies, every byte; None if there is none.

    What was passed over comes with it: the names of those damaged, newest first, then those whose place
    in the order is unknown; and the names of those that do not fit, each with the reason. Raises
    CheckpointCorrupt if there are checkpoints and none verifies, CheckpointNotFound if they are deleted
    faster than they can be read.
    """
    for attempt in range(_MAX_READS):
        catalogue = storage.catalogue()
        damaged = _damaged(catalogue, name_prefix, actor_slot, kernel_id)
        corrupt: list[str] = []
        misfits: dict[str, str] = {}
        vanished: CheckpointNotFound | None = None
        for info in reversed(of_actor(catalogue, name_prefix, actor_slot, kernel_id)):
            if good and not info.good:
                continue
            try:
                checkpoint = storage.load(info.name)
                if (why := fits(checkpoint)) is not None:
                    misfits[info.name] = why
                    continue
                checkpoint.verify()
            except CheckpointNotFound as error:
                vanished = error  # retired by another manager since the catalogue was read
            except CheckpointCorrupt:
                corrupt.append(info.name)
            else:
                return checkpoint, corrupt + damaged, misfits
        corrupt += damaged
        if vanished is None:
            break
        # The manager that retired it has committed something newer before: look again.
        if attempt == _MAX_READS - 1:
            raise vanished
    if corrupt and not misfits:
        of = f"actor {kernel_id!r}" if kernel_id is not None else f"slot {actor_slot}"
        msg = (
            f"none of the {len(corrupt)} checkpoints of {of} verifies ({quote_names(corrupt)}): "
            "their bytes do not match their digests; restore the store from a backup, or delete "
            "them to start afresh"
        )
        raise CheckpointCorrupt(msg)
    return None, corrupt, misfits


def newest_sound(
    storage: CheckpointStorage, name_prefix: str, actor_slot: int, kernel_id: str | None
) -> list[str]:
    """Return the name of an actor's newest checkpoint that verifies, in a list; [] if none does."""
    try:
        found, _, _ = newest_verified(storage, name_prefix, actor_slot, kernel_id)
    except CheckpointCorrupt:
        return []
    return [] if found is None else [found.name]


def fits_type(kernel_type: str | None) -> Fits:
    """Return what asks a checkpoint for the type of its actor; None: any will do."""

    def fits(checkpoint: Checkpoint) -> str | None:
        """Compare the types."""
        if kernel_type in (None, checkpoint.kernel_type):
            return None
        return f"it is of type {checkpoint.kernel_type!r}, the actor of type {kernel_type!r}"

    return fits


def find_latest(
    storage: CheckpointStorage,
    name_prefix: str,
    actor_slot: int,
    kernel_id: str | None,
    fits: Fits,
    *,
    good: bool,
) -> Checkpoint | None:
    """Find it as `newest_verified`; warn of what was passed over, CheckpointNotFound if none fits."""
    found, damaged, misfits = newest_verified(
        storage, name_prefix, actor_slot, kernel_id, fits, good=good
    )
    name, why = next(iter(misfits.items()), ("", ""))
    if found is None and misfits:
        msg = (
            f"none of the {len(misfits) + len(damaged)} checkpoints of actor {actor_slot} fits it "
            f"(the newest, {name!r}: {why}): restore with an actor of that kind, or start afresh"
        )
        raise CheckpointNotFound(msg)
    if found is not None and damaged:
        warn_caller(
            f"{len(damaged)} damaged checkpoint(s) passed over: {quote_names(damaged)}; "
            f"using {found.name!r}. Move the damaged into quarantine with `ringnb verify --repair`",
            CheckpointWarning,
        )
    if found is not None and misfits:
        warn_caller(
            f"{len(misfits)} checkpoint(s) passed over that do not fit the actor: "
            f"{quote_names(list(misfits))} ({why}); using {found.name!r}",
            CheckpointWarning,
        )
    return found
