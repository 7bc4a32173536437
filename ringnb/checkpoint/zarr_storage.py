"""`ZarrStorage`: checkpoints as Zarr v3 groups, in a local directory or in any zarr ``Store``.

The format is that of `ringnb.checkpoint.format` and `ringnb.checkpoint.document`, the place a `Shelf`'s;
this module joins them. Chunks are encoded here and written directly: the format is simple enough that
writing it is a matter of handing memory to the operating system, and zarr, xarray and other readers
are what the tests judge it by.
"""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import final

from zarr.abc.store import Store
from zarr.storage import LocalStore

from ringnb.checkpoint.checkpoint import Checkpoint
from ringnb.checkpoint.directory import DirectoryShelf
from ringnb.checkpoint.document import MAX_DOCUMENT_BYTES, parse_document, render_document
from ringnb.checkpoint.format import (
    DOCUMENT,
    check_checkpoint_name,
    dump,
    layout_fields,
    looks_like_checkpoint,
)
from ringnb.checkpoint.object_store import StoreShelf
from ringnb.checkpoint.shelf import Commit, Shelf
from ringnb.checkpoint.storage import CheckpointInfo, CheckpointStorage, SaveReceipt, Snapshot
from ringnb.errors import CheckpointCorrupt, CheckpointError, CheckpointNotFound
from ringnb.messages import normalise_fields

__all__ = ["ZarrStorage"]

_VERSION = "0.1.0"


@final
class ZarrStorage(CheckpointStorage):
    """Keeps checkpoints as Zarr groups.

    Parameters
    ----------
    path_or_zarr_store : str, os.PathLike or zarr.abc.store.Store
        A directory, which is created at the first save, or a zarr store (memory, object store, …).
    durable : bool, default True
        Wait for the disk (fsync of files and directories) before a name becomes visible. Local
        directories only: other stores are as durable as they are.

    Raises
    ------
    TypeError
        If it is neither path nor store.
    ValueError
        If the path is empty or a URL.

    Notes
    -----
    Any thread. Several storages of a process may share a store. A second process may read at any
    time; if it writes while this one does, it gets `StoreLocked`. The write lock is taken at the
    first save or delete and given up by `close`. Anything found at the path that is no ringnb store
    is refused at first use with a `CheckpointError`, and left alone.
    """

    def __init__(
        self, path_or_zarr_store: str | os.PathLike[str] | Store, *, durable: bool = True
    ) -> None:
        if not isinstance(durable, bool):
            msg = f"durable must be a bool, got {durable!r}"
            raise TypeError(msg)
        place = path_or_zarr_store
        if isinstance(place, LocalStore) and not place.read_only:
            place = place.root
        self._shelf: Shelf
        if isinstance(place, Store):
            self._shelf = StoreShelf(place)
        elif isinstance(place, str | os.PathLike):
            path = os.fspath(place)
            if not isinstance(path, str) or not path or "\0" in path or "://" in path:
                msg = f"{path!r} is no directory path; for an object store pass a zarr Store"
                raise ValueError(msg)
            self._shelf = DirectoryShelf(Path(os.path.expanduser(path)), durable=durable)
        else:
            msg = (
                f"path_or_zarr_store must be a path or a zarr Store, got {place!r} "
                f"({type(place).__name__})"
            )
            raise TypeError(msg)

    def save(self, name: str, snapshot: Snapshot) -> SaveReceipt:
        """Commit a snapshot; see `CheckpointStorage.save`.

        Parameters
        ----------
        name : str
            A free name.
        snapshot : Snapshot
            What to store.

        Returns
        -------
        SaveReceipt
            Stamps and size.

        Raises
        ------
        CheckpointError
            If the name is taken, or the place is no ringnb store.
        StoreLocked
            If another process writes the store.
        OSError
            If the file system fails; nothing of the attempt is visible then.
        """
        check_checkpoint_name(name)
        if not isinstance(snapshot, Snapshot):
            msg = f"snapshot must be a Snapshot, got {snapshot!r} ({type(snapshot).__name__})"
            raise TypeError(msg)
        fields = normalise_fields(snapshot.fields)
        layouts = layout_fields(fields, snapshot.field_attrs)
        documents = {layout.name: dump(layout.document()) for layout in layouts}

        def seal(crcs: Mapping[str, builtins.list[int]], sequence: int) -> bytes:
            """Render the group's document."""
            return render_document(snapshot, layouts, crcs, sequence, _VERSION)

        seal({layout.name: [] for layout in layouts}, 0)  # refuse bad metadata before writing
        with self._shelf.writing():
            if self._shelf.occupied(name):
                msg = f"checkpoint name {name!r} is taken in {self._shelf.url}: choose another"
                raise CheckpointError(msg)
            written_ns = self._shelf.put(Commit(name, layouts, fields, documents, seal))
        return SaveReceipt(written_ns, time.monotonic_ns(), sum(one.nbytes for one in layouts))

    def load(self, name: str) -> Checkpoint:
        """Open a checkpoint; see `CheckpointStorage.load`."""
        check_checkpoint_name(name)
        try:
            return Checkpoint.from_source(name, self._shelf.source(name))
        except CheckpointNotFound:
            if looks_like_checkpoint(name) and self._shelf.occupied(name):
                msg = (
                    f"checkpoint {name!r} is damaged: its zarr.json is missing; restore an older "
                    "one, or a copy of it"
                )
                raise CheckpointCorrupt(msg) from None
            raise

    def list(self) -> builtins.list[str]:
        """Return all names, oldest commit first; see `CheckpointStorage.list`."""
        return [entry.name for entry in self._shelf.catalogue()]

    def catalogue(self) -> builtins.list[CheckpointInfo]:
        """Return a line per checkpoint; see `CheckpointStorage.catalogue`."""
        return self._shelf.catalogue()

    def exists(self, name: str) -> bool:
        """Return whether a name is taken; see `CheckpointStorage.exists`."""
        return self._shelf.occupied(check_checkpoint_name(name))

    def delete(self, name: str) -> None:
        """Delete a checkpoint; see `CheckpointStorage.delete`."""
        check_checkpoint_name(name)
        with self._shelf.writing():
            raw = self._shelf.source(name).read(DOCUMENT, MAX_DOCUMENT_BYTES)
            if raw is None and not (looks_like_checkpoint(name) and self._shelf.occupied(name)):
                msg = f"no checkpoint {name!r} in {self._shelf.url}: see list()"
                raise CheckpointNotFound(msg)
            try:
                # Damaged arrays, and their documents, do not stand in the way of retention: the
                # group's document says which files are ours.
                keys = parse_document(name, raw or b"").keys()
            except CheckpointCorrupt as error:
                msg = (
                    f"checkpoint {name!r} was not deleted: its metadata is damaged, so nothing shows "
                    "that ringnb wrote it. Move it out of the store by hand"
                )
                raise CheckpointCorrupt(msg) from error
            self._shelf.remove(name, keys)

    def close(self) -> None:
        """Give up the write lock. Idempotent; reading, and writing anew, may go on."""
        self._shelf.close()

    def __repr__(self) -> str:
        """Name the place."""
        return f"ZarrStorage({self._shelf.url!r})"
