"""The interface between manager and storage: the manager knows this class and no other.

`ZarrStorage` implements it for a local directory and for any zarr ``Store``; `ringnb.testing` ships a
contract test class that checks an implementation.
"""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from typing import Any, Self

import numpy.typing as npt

from ringnb.checkpoint.storage.catalogue import Catalogue
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.cut_record import with_parts
from ringnb.checkpoint.storage.records import CheckpointInfo, SaveReceipt, Snapshot, code_label
from ringnb.errors import CheckpointCorrupt, CheckpointError, CheckpointNotFound

__all__ = ["CheckpointStorage", "check_storage", "try_each"]

_METHODS = ("save", "load", "list", "delete", "exists", "close", "catalogue", "history")


def try_each(function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> builtins.list[Any]:
    """Call a function with the arguments of each call; return what it gave, or the Exception."""
    results: list[Any] = []
    for arguments in calls:
        try:
            results.append(function(*arguments))
        except Exception as error:  # noqa: BLE001 - returned: the others go on
            results.append(error)
    return results


class CheckpointStorage(ABC):
    """The interface of a storage of checkpoints.

    Notes
    -----
    Every method may be called from any thread. `save` must be atomic: until it returns normally the
    name must not be visible to `list`, `exists` or `load`, and after an exception nothing of the
    attempt may be.
    """

    @abstractmethod
    def save(self, name: str, snapshot: Snapshot) -> SaveReceipt | None:
        """Commit a snapshot under a name, and give it the next sequence number.

        Parameters
        ----------
        name : str
            A name that `exists` denies.
        snapshot : Snapshot
            What to store. Its arrays are not used after the return.

        Returns
        -------
        SaveReceipt or None
            Stamps of the commit, if the storage takes them.

        Raises
        ------
        CheckpointError
            If the name is taken or the storage fails.
        ValueError
            If the name could leave the store.
        """

    @property
    def group_bytes(self) -> int:
        """Bytes of the largest snapshot that gains by `save_many`; 0 if none does."""
        return 0

    def save_many(
        self, snapshots: Iterable[tuple[str, Snapshot]]
    ) -> builtins.list[SaveReceipt | Exception | None]:
        """Commit several snapshots, in order; what becomes of one is independent of the others.

        Parameters
        ----------
        snapshots : iterable of (str, Snapshot)
            Names, and what to store under them, as for `save`.

        Returns
        -------
        list of SaveReceipt, Exception or None
            For each what `save` would return, or the exception that it would raise. This default calls
            it; a storage that makes many durable at once overrides it.

        Raises
        ------
        CheckpointError, OSError
            If the storage cannot be written at all: none was saved then.
        """
        return try_each(self.save, snapshots)

    @abstractmethod
    def load(self, name: str) -> Checkpoint:
        """Open a checkpoint; its metadata is checked, its arrays are read when asked for.

        Parameters
        ----------
        name : str
            The checkpoint's name.

        Returns
        -------
        Checkpoint
            A view of what is stored.

        Raises
        ------
        CheckpointNotFound
            If there is no checkpoint of that name.
        CheckpointCorrupt
            If its metadata does not match its digest.
        """

    @abstractmethod
    def list(self) -> list[str]:
        """Return all names, oldest commit first.

        One with damaged metadata stands where it seems to have stood; first, if that is unknown.

        Returns
        -------
        list of str
            Names that are taken.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete one checkpoint; afterwards its name is free.

        Parameters
        ----------
        name : str
            The checkpoint's name.

        Raises
        ------
        CheckpointNotFound
            If there is no checkpoint of that name.
        CheckpointError
            If it is pinned, not recognisably a checkpoint that ringnb wrote, or the storage fails.
        """

    def delete_many(self, names: Iterable[str]) -> builtins.list[Exception | None]:
        """Delete several checkpoints; one that cannot be deleted does not keep the others from it.

        Parameters
        ----------
        names : iterable of str
            The checkpoints, each once.

        Returns
        -------
        list of Exception or None
            For each the exception that `delete` would raise, or None. This default calls it; a storage
            that deletes many at once overrides it.

        Raises
        ------
        CheckpointError, OSError
            If the storage cannot be written: `exists` says what is still there.
        """
        return try_each(self.delete, zip(names, strict=True))

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Return whether a name is taken.

        Parameters
        ----------
        name : str
            The name.

        Returns
        -------
        bool
            True for every name in `list`.
        """

    @abstractmethod
    def close(self) -> None:
        """Give up locks and handles. Idempotent; reading may go on."""

    def __enter__(self) -> Self:
        """Return the storage itself."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close it."""
        self.close()

    def catalogue(self) -> builtins.list[CheckpointInfo]:
        """Return one `CheckpointInfo` per name, in the order of `list`.

        Returns
        -------
        list of CheckpointInfo
            A copy. This default opens every checkpoint; override it where that is slow.
        """
        entries = []
        for name in self.list():
            try:
                c = self.load(name)
            except CheckpointNotFound:
                continue  # retired by another manager since the listing
            except CheckpointCorrupt:
                entries.append(CheckpointInfo(name, damaged=True))
                continue
            info = CheckpointInfo(
                *(name, c.name_prefix, c.kernel_id, c.kernel_type),
                *(c.actor_slot, c.step, c.sequence),
                created_at=c.created_at,
                nbytes=c.nbytes,
                pin=c.pinned,
                id=c.id,
                run=c.run,
                parent=c.parent,
                parent_id=c.parent_id,
                good=c.good,
                code=code_label(c.code),
                params=tuple(c.params.items()),
                time=c.time,
            )
            entries.append(with_parts(name, c.document.record, info))
        marked = {entry.name: entry for entry in Catalogue(entries).entries()}
        return [marked[entry.name] for entry in entries]

    def history(self, name_prefix: str, kernel_id: str) -> builtins.list[CheckpointInfo]:
        """Return one actor's checkpoints, oldest commit first, without those that are damaged.

        Parameters
        ----------
        name_prefix, kernel_id : str
            The actor's prefix and identity.

        Returns
        -------
        list of CheckpointInfo
            A copy. This default filters the whole catalogue; override it where that is slow.
        """
        return Catalogue(self.catalogue()).history(name_prefix, kernel_id)

    def parts(self, name_prefix: str, kernel_id: str) -> builtins.list[CheckpointInfo]:
        """Return one actor's parts of cuts, oldest commit first, without what is damaged.

        Parameters
        ----------
        name_prefix, kernel_id : str
            The actor's prefix and identity.

        Returns
        -------
        list of CheckpointInfo
            A copy. This default filters the whole catalogue; override it where that is slow.
        """
        return Catalogue(self.catalogue()).parts(name_prefix, kernel_id)

    def history_after(
        self,
        receipt: SaveReceipt,  # noqa: ARG002 - for a storage that can do better
        name_prefix: str,
        kernel_id: str,
    ) -> builtins.list[CheckpointInfo]:
        """Return one actor's checkpoints right after one of its commits, for retention.

        Parameters
        ----------
        receipt : SaveReceipt
            What `save` has returned just now, for this actor.
        name_prefix, kernel_id : str
            The actor's prefix and identity.

        Returns
        -------
        list of CheckpointInfo
            As `history`, which this default calls. A storage whose commit reads all it holds may leave
            out the names that were others' then, so that a commit does not read everything twice.
        """
        return self.history(name_prefix, kernel_id)

    def pin(self, name: str, label: str) -> None:
        """Keep a checkpoint whatever retention says, until it is unpinned.

        Parameters
        ----------
        name : str
            The checkpoint's name.
        label : str
            Why, in up to 200 characters. It replaces the label of an earlier pin.

        Raises
        ------
        CheckpointNotFound, CheckpointCorrupt
            As `load`.
        CheckpointError
            If the storage knows no pins.
        """
        raise self._no_pins(name, label)

    def unpin(self, name: str) -> None:
        """Leave a checkpoint to retention again; one that is not pinned stays as it is.

        Parameters
        ----------
        name : str
            The checkpoint's name.

        Raises
        ------
        CheckpointNotFound, CheckpointCorrupt, CheckpointError
            As `pin`.
        """
        raise self._no_pins(name)

    def _no_pins(self, name: str, label: str = "") -> CheckpointError:
        return CheckpointError(
            f"{self!r} knows no pins{f' ({label!r})' if label else ''}, so {name!r} is as it was: "
            "use a ZarrStorage"
        )

    def read_arrays(self, checkpoint: Checkpoint) -> dict[str, npt.NDArray[Any]]:
        """Read the read-only arrays that a checkpoint was computed with.

        Parameters
        ----------
        checkpoint : Checkpoint
            One of this storage.

        Returns
        -------
        dict of str to array
            By name; empty if there were none.

        Raises
        ------
        CheckpointNotFound
            If they are not kept here; this default keeps none.
        CheckpointCorrupt
            If one is not what the checkpoint records.
        """
        names = checkpoint.code.get("arrays")
        if names:
            msg = f"{self!r} keeps no arrays, so those of {checkpoint.name!r} are not there"
            raise CheckpointNotFound(msg)
        return {}

    def sweep_arrays(self) -> builtins.list[str]:
        """Remove the read-only arrays that no checkpoint names any more; `prune_runs` calls it.

        Returns
        -------
        list of str
            What was removed; nothing by this default.

        Raises
        ------
        CheckpointError, OSError
            If the storage cannot be written. Nothing that a checkpoint names is gone.
        """
        return []

    def why_unwritable(self) -> str | None:
        """Return why nothing can be saved here, as far as can be seen without writing.

        Returns
        -------
        str or None
            A sentence with the remedy; None if nothing is known to be in the way, as in this default.
        """
        return None

    def freed_by(self, names: Collection[str]) -> int:
        """Return how many bytes the deletion of some checkpoints would free.

        Parameters
        ----------
        names : collection of str
            Those that would go.

        Returns
        -------
        int
            Bytes; what other checkpoints share with them is not counted. This default takes nothing
            to be shared.
        """
        return sum(e.nbytes for e in self.catalogue() if e.name in names)


def check_storage(storage: CheckpointStorage) -> CheckpointStorage:
    """Return a storage, or raise TypeError if it is none."""
    missing = [m for m in _METHODS if not callable(getattr(storage, m, None))]
    if missing:
        msg = (
            f"storage must be a CheckpointStorage, but {storage!r} lacks {', '.join(missing)}: "
            "wrap a path or a zarr store in ZarrStorage(...)"
        )
        raise TypeError(msg)
    return storage
