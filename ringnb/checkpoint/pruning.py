"""Delete by hand: whole runs, those that an actor has left behind, or one checkpoint.

Retention works within a run, so the runs of earlier starts stay until a user deletes them. A preview
and the deletion are the same function, so that both say the same.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import final

from ringnb._support.checks import check_int
from ringnb._support.text import counted, format_bytes
from ringnb.checkpoint.history import newest_verified
from ringnb.checkpoint.runs import Run, RunInfo, describe_run, group_runs, run_ids
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.cut_record import split_name
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt, CheckpointError, CheckpointNotFound

__all__ = ["PrunedRun", "check_discard", "find_by_name", "prune_runs"]

logger = logging.getLogger("ringnb.checkpoint")


@final
@dataclass(frozen=True, slots=True)
class PrunedRun:
    """What `prune_runs` deletes of one run.

    Attributes
    ----------
    name_prefix, kernel_id : str
        The actor's prefix and identity.
    run : RunInfo
        The run as it was before.
    delete : tuple of CheckpointInfo
        What was deleted, or would be, oldest first.
    keep : tuple of (CheckpointInfo, str)
        What stays of it, each with the reason.
    """

    name_prefix: str
    kernel_id: str
    run: RunInfo
    delete: tuple[CheckpointInfo, ...]
    keep: tuple[tuple[CheckpointInfo, str], ...]

    def __repr__(self) -> str:
        """Say how much of the run goes."""
        size = format_bytes(sum(e.nbytes for e in self.delete))
        return (
            f"<PrunedRun {self.run.id[:8]} of {self.kernel_id!r}: {len(self.delete)} of "
            f"{counted(self.run.count, 'checkpoint')}, {size}>"
        )


def prune_runs(
    storage: CheckpointStorage,
    keep_runs: int = 1,
    *,
    dry_run: bool = False,
    actors: Collection[tuple[str, str]] | None = None,
    stay: Collection[str] = (),
    only: Collection[str] | None = None,
) -> list[PrunedRun]:
    """Delete whole runs, but the newest of each actor, and the read-only arrays that only they name.

    Pinned checkpoints stay, those from which a run that stays branches, and the newest of each actor
    that verifies, also the newest such of a good state. Copies, what is damaged, and what ringnb did
    not write are not touched. An actor of which no checkpoint verifies keeps all.

    Parameters
    ----------
    storage : CheckpointStorage
        The store.
    keep_runs : int, default 1
        How many runs of each actor stay, those with the newest commits.
    dry_run : bool, default False
        Only say what would go.
    actors : collection of (str, str), optional
        Prefix and identity of the actors; by default all.
    stay : collection of str, optional
        Ids of runs, and names of checkpoints, that stay besides.
    only : collection of str, optional
        Ids of the checkpoints that may go: those of a preview that was shown. By default all may.

    Returns
    -------
    list of PrunedRun
        The runs of which something goes, each actor's oldest first.

    Raises
    ------
    TypeError, ValueError
        If `keep_runs` is not an integer >= 1.
    StoreLocked, CheckpointError, OSError
        If the storage cannot be written. What is deleted already stays deleted, the oldest first.
    """
    keep_runs = check_int(keep_runs, "keep_runs", 1)
    catalogue = storage.catalogue()
    runs, known = group_runs(catalogue), run_ids(catalogue)
    going = {
        key: [run for run in found[:-keep_runs] if run[0].run not in stay]
        for key, found in runs.items()
        if actors is None or key in actors
    }
    gone = {(key, run[0].run) for key, found in going.items() for run in found}
    parents = {
        one.parent_id
        for key, found in runs.items()
        for run in found
        if (key, run[0].run) not in gone
        for e in run
        for one in (e, *e.parts)
    }
    pruned = []
    for key, found in going.items():
        newest = _newest(storage, key) if found else []
        # A cut is also a checkpoint of each of its actors.
        for actor_key in {
            (p.name_prefix, p.kernel_id) for run in found for e in run for p in e.parts
        }:
            its = _newest(storage, actor_key)
            newest = None if newest is None or its is None else [*newest, *its]
        if newest is None:
            continue
        for run in found:
            reasons = [_why_kept(e, parents, newest, stay) for e in run]
            delete = [
                e
                for e, why in zip(run, reasons, strict=True)
                if why is None and (only is None or e.id in only)
            ]
            keep = [(e, why) for e, why in zip(run, reasons, strict=True) if why is not None]
            if not dry_run:
                delete = _delete(storage, delete)
            if delete:
                pruned.append(PrunedRun(*key, describe_run(run, known), tuple(delete), tuple(keep)))
    if pruned and not dry_run:
        _sweep_arrays(storage)  # last: no checkpoint that is there may lack what it names
    return pruned


def _sweep_arrays(storage: CheckpointStorage) -> None:
    try:
        storage.sweep_arrays()
    except Exception:
        logger.warning(
            "read-only arrays that no checkpoint names were not removed; the next time that runs are "
            "pruned they are looked for again",
            exc_info=True,
        )


def _newest(storage: CheckpointStorage, key: tuple[str, str]) -> list[str] | None:
    """Return the names of an actor's newest that verify: of any state, and of a good one."""
    prefix, kernel_id = key
    names = []
    try:
        for good in (False, True):
            found, _, _ = newest_verified(storage, prefix, 0, kernel_id, good=good)
            if found is None:
                break
            names.append(split_name(found.name)[0])
            if found.good:
                break
    except CheckpointCorrupt:
        return None
    return names


def _why_kept(
    e: CheckpointInfo,
    parents: Collection[str | None],
    newest: Collection[str],
    stay: Collection[str],
) -> str | None:
    if e.pin is not None:
        return f"it is pinned: {e.pin}"
    if any(one.id in parents for one in (e, *e.parts)):
        return "a run that stays continues from it"
    if e.name in newest:
        return "it is the newest of its actor that verifies"
    return "the live state continues from it" if e.name in stay else None


def _delete(storage: CheckpointStorage, to_delete: Sequence[CheckpointInfo]) -> Run:
    """Delete checkpoints, and return those that were; raise the first failure after that."""
    errors = storage.delete_many([e.name for e in to_delete]) if to_delete else []
    for error in errors:
        if error is not None and not isinstance(error, CheckpointNotFound):
            raise error
    return [e for e, error in zip(to_delete, errors, strict=True) if error is None]


def find_by_name(
    name: str, histories: Iterable[tuple[int, Iterable[CheckpointInfo]]]
) -> tuple[int, CheckpointInfo]:
    """Find a checkpoint in the histories of slots, and return the slot too; CheckpointNotFound."""
    for slot, history in histories:
        for info in history:
            if info.name == name:
                return slot, info
    msg = f"no registered actor has a checkpoint {name!r}: see list_checkpoints()"
    raise CheckpointNotFound(msg)


def check_discard(info: CheckpointInfo, newest: Collection[str]) -> None:
    """Raise CheckpointError if a checkpoint must not be deleted by hand: pinned, or in `newest`."""
    cut, slot = split_name(info.name)
    if slot is not None:
        msg = f"{info.name!r} is a part of a cut, which is deleted as a whole: discard {cut!r}"
        raise CheckpointError(msg)
    if info.pin is not None:
        msg = f"checkpoint {info.name!r} is pinned ({info.pin!r}): unpin it first"
        raise CheckpointError(msg)
    if info.name in {split_name(name)[0] for name in newest}:
        msg = (
            f"checkpoint {info.name!r} is the newest sound one of actor {info.kernel_id!r}, which is "
            "always kept: take another snapshot first"
        )
        raise CheckpointError(msg)
