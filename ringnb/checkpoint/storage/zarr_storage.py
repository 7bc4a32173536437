"""`ZarrStorage`: checkpoints as Zarr v3 groups, in a local directory or in any zarr ``Store``.

It joins the format (`ringnb.checkpoint.storage.format`, `ringnb.checkpoint.storage.document`) with a
`Backend`, which knows the place. Chunks are written without zarr: the format is simple enough that
writing it is a matter of handing memory to the operating system, and the tests have zarr, xarray and
other readers read it.
"""

from __future__ import annotations

import builtins
import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, final

import numpy.typing as npt
from zarr.abc.store import Store

from ringnb._support.checks import check_bool, check_int, check_label
from ringnb._support.off_main import warn_caller
from ringnb._support.text import quote_names
from ringnb._support.version import VERSION
from ringnb.checkpoint.storage.arrays import array_files, array_keys, arrays_to_keep, read_array
from ringnb.checkpoint.storage.backend import Commit, number_below
from ringnb.checkpoint.storage.base import CheckpointStorage, try_each
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.cut_record import split_name
from ringnb.checkpoint.storage.document import (
    MAX_DOCUMENT_BYTES,
    parse_document,
    parse_info,
    render_document,
    revise_document,
)
from ringnb.checkpoint.storage.format import (
    DOCUMENT,
    check_checkpoint_name,
    layout_fields,
    looks_like_checkpoint,
)
from ringnb.checkpoint.storage.locations import open_backend
from ringnb.checkpoint.storage.records import CheckpointInfo, SaveReceipt, Snapshot, new_id
from ringnb.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointNotFound,
    CheckpointWarning,
)

__all__ = ["ZarrStorage", "load_arrays"]

# A chunk is shared whole or not at all: smaller ones find more that did not change.
_INCREMENTAL_CHUNK_BYTES = 1 << 20


@final
class ZarrStorage(CheckpointStorage):
    """Keeps checkpoints as Zarr groups.

    Parameters
    ----------
    path_or_zarr_store : str, os.PathLike or zarr.abc.store.Store
        A directory, which is created at the first save (a relative path is made absolute at once, so
        that a later ``os.chdir`` changes nothing); a URL, ``file:///path``, ``memory://name``
        (shared by the storages of this process) or ``s3://bucket/prefix``; or a zarr store.
    durable : bool, default True
        Wait for the disk (fsync of files and directories) before a name becomes visible. Local
        directories only: other stores are as durable as they are.
    incremental : bool, default False
        Do not write a chunk again that the actor's previous checkpoint holds already, but link it
        (local directories; other stores hold no links, so they write it in full). Every checkpoint
        stays complete.
    chunk_bytes : int, optional
        Aim for chunks of this size, 1024 to 2**30. By default 4 MiB, 16 MiB from 512 MiB of state
        up, and 1 MiB if incremental.

    Raises
    ------
    TypeError
        If it is neither path nor store.
    ValueError
        If the path is empty, the URL of no kind that is known, or `chunk_bytes` out of range.
    ImportError
        If ``s3://`` needs a package that is not installed.

    Notes
    -----
    Any thread. Several storages of a process may share a store. A second process may read at any
    time; if it writes while this one does, it gets `StoreLocked`. The write lock is taken at the
    first save or delete and given up by `close`; after that every write takes it for itself. Anything
    found at the path that is not a ringnb store is refused at first use with a `CheckpointError`, and
    left alone. Hidden files, ``lost+found`` and what file browsers leave do not count: a store may begin
    in a directory that holds nothing else. What a user puts into a store is passed over, and never
    deleted; see `foreign`.
    """

    def __init__(
        self,
        path_or_zarr_store: str | os.PathLike[str] | Store,
        *,
        durable: bool = True,
        incremental: bool = False,
        chunk_bytes: int | None = None,
    ) -> None:
        durable = check_bool(durable, "durable")
        incremental = check_bool(incremental, "incremental")
        if chunk_bytes is None and incremental:
            chunk_bytes = _INCREMENTAL_CHUNK_BYTES
        self._chunk_bytes = (
            None if chunk_bytes is None else check_int(chunk_bytes, "chunk_bytes", 1024, 1 << 30)
        )
        self._backend = open_backend(path_or_zarr_store, durable=durable, incremental=incremental)
        self._closed = False

    @property
    def is_created(self) -> bool:
        """Whether there is a store; the first save creates one. Something else is an error."""
        return self._backend.created()

    @property
    def id(self) -> str | None:
        """The store's id, 16 hexadecimal digits; None if there is no store, or one that has none."""
        return self._backend.store_id if self._backend.created() else None

    @property
    def folders(self) -> tuple[Path, ...]:
        """The local directories in which it writes, the store itself first; none elsewhere."""
        return self._backend.folders

    @property
    def group_bytes(self) -> int:
        """Bytes of the largest snapshot that gains by `save_many`; 0 if none does."""
        return self._backend.group_bytes

    def set_fence(self, fence: Callable[[], None]) -> None:
        """Have a function say before each commit that this writer may still write. Object stores only.

        Parameters
        ----------
        fence : callable
            Called when all but the checkpoint's document is written, on the thread that commits. If it
            raises, that is what the commit raises, and nothing of the checkpoint can be seen.

        Notes
        -----
        For several processes of which somebody knows the one that is to write. In a directory, the lock
        keeps others out, and nothing is called. Between the answer and the document lies one request:
        who loses the right to write meanwhile still commits what was under way.
        """
        self._backend.fence = fence

    def why_unwritable(self) -> str | None:
        """Return why nothing can be saved; see `CheckpointStorage.why_unwritable`."""
        return self._backend.why_unwritable()

    def save(self, name: str, snapshot: Snapshot) -> SaveReceipt:
        """Commit a snapshot; see `CheckpointStorage.save`.

        A field may also be anything with a shape, a dtype and slices (a memory map, an array of zarr or
        h5py): it is read chunk by chunk, from several threads. `StoreLocked` if another process writes
        the store; OSError if the file system fails: nothing of the attempt is visible then.
        """
        commit = self._commit_of(name, snapshot)
        with self._writing():
            return self._put(commit)

    def _put(self, commit: Commit) -> SaveReceipt:
        """Commit, the arrays that it names first; within `_writing`."""
        self._keep(commit.arrays)
        receipt = self._backend.put(commit)
        if not self._backend.arrays.one_writer:
            # Another process may have looked for what is named before this was, and removed them since.
            self._keep(commit.arrays)
        return receipt

    def _keep(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep the read-only arrays that are not there yet."""
        for key, array in arrays.items():
            if self._backend.arrays.source(key).size(DOCUMENT) is None:
                self._backend.arrays.put(key, array_files(key[:-17], array))

    def save_many(
        self, snapshots: Iterable[tuple[str, Snapshot]]
    ) -> builtins.list[SaveReceipt | Exception | None]:
        """Commit several snapshots; see `CheckpointStorage.save_many`.

        In a local directory small ones (up to 1 MiB) that follow each other are one group: one barrier
        makes all its files durable, one sync of the directory all its names. Errors as `save`.
        """
        commits = try_each(self._commit_of, snapshots)
        good = [commit for commit in commits if isinstance(commit, Commit)]
        if not good:
            return [error for error in commits if isinstance(error, Exception)]
        with self._writing():
            kept = try_each(lambda commit: self._keep(commit.arrays), zip(good, strict=True))
            ready = [commit for commit, why in zip(good, kept, strict=True) if why is None]
            done = iter(self._backend.put_many(ready) if ready else [])
            if not self._backend.arrays.one_writer:
                for commit in ready:
                    self._keep(commit.arrays)  # see `_put`
        saved = iter([next(done) if why is None else why for why in kept])
        return [next(saved) if isinstance(commit, Commit) else commit for commit in commits]

    def _commit_of(self, name: str, snapshot: Snapshot) -> Commit:
        check_checkpoint_name(name)
        if not isinstance(snapshot, Snapshot):
            msg = f"snapshot must be a Snapshot, got {snapshot!r} ({type(snapshot).__name__})"
            raise TypeError(msg)
        layouts = layout_fields(snapshot.fields, snapshot.field_attrs, self._chunk_bytes)

        def render(
            crcs: Mapping[str, builtins.list[int]], sequence: int, store: str | None
        ) -> tuple[bytes, CheckpointInfo]:
            """Render the document once all checksums are known."""
            return render_document(
                *(snapshot, layouts, crcs, sequence),
                name=name,
                store=store,
                version=VERSION,
                bad=commit.found_bad(),
            )

        actor_key = (snapshot.name_prefix, snapshot.kernel_id)
        commit = Commit(
            *(name, layouts, snapshot.fields, render, actor_key),
            nonfinite=[] if snapshot.examine else None,
            bad=snapshot.bad,
            arrays=arrays_to_keep(snapshot),
        )
        return commit

    def copy_from(
        self,
        checkpoint: Checkpoint,
        *,
        name: str | None = None,
        place: int = 0,
        as_copy: bool = False,
        arrays: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> SaveReceipt:
        """Commit a copy of a checkpoint of another store, checked on the way, in bounded memory.

        Everything is kept but its number and its place: it comes before all that this store holds, so
        that the latest stays what it was, and retention leaves it alone. Errors as `save`, and
        `CheckpointCorrupt` or `CheckpointNotFound` if the original is damaged or gone.

        Parameters
        ----------
        checkpoint : Checkpoint
            The original.
        name : str, optional
            The name that it gets; by default the original's.
        place : int, default 0
            If it is 1 or more, the number that it gets in a store that holds none yet, and which goes
            on from there: then it counts as if it had been committed here.
        as_copy : bool, default False
            Leave it the user's copy that the original is in its own store: no part of any history.
        arrays : mapping of str to array, optional
            The read-only arrays that it names, by their keys, to be kept first.
        """
        document = checkpoint.document
        cut, slot = split_name(checkpoint.name)
        if slot is not None:
            msg = (
                f"{checkpoint.name!r} is a part of a cut, which is copied as a whole: take {cut!r}"
            )
            raise ValueError(msg)
        name = check_checkpoint_name(checkpoint.name if name is None else name)

        def render(
            crcs: Mapping[str, builtins.list[int]], sequence: int, store: str | None
        ) -> tuple[bytes, CheckpointInfo]:
            """Keep the original's document but for its number and its place."""
            if crcs != document.crcs:
                msg = f"checkpoint {name!r} changed while it was copied: try again"
                raise CheckpointCorrupt(msg)
            here = {} if as_copy else {"name": name, "store": store}
            raw = revise_document(document.raw, sequence=sequence, **here)
            return raw, parse_info(name, raw, store)

        layouts = tuple(document.fields.values())
        fields = {field: checkpoint[field] for field in checkpoint.fields}
        actor_key = (checkpoint.name_prefix, checkpoint.kernel_id)
        commit = Commit(*(name, layouts, fields, render, actor_key, place), arrays=arrays or {})
        with self._writing():
            return self._put(commit)

    def load(self, name: str) -> Checkpoint:
        """Open a checkpoint; see `CheckpointStorage.load`."""
        part, name = name, split_name(name)[0]
        check_checkpoint_name(name)
        self._backend.created()
        try:
            return Checkpoint.from_source(part, self._backend.source(name), storage=self)
        except (CheckpointNotFound, CheckpointCorrupt) as error:
            lost = part == name or self._backend.source(name).size(DOCUMENT) is None
            lost = lost and self._backend.lost_document(name)
            if isinstance(error, CheckpointNotFound) and lost:
                msg = (
                    f"checkpoint {name!r} is damaged: its zarr.json is missing; restore an older "
                    "one, or a copy of it"
                )
                raise CheckpointCorrupt(msg) from None
            # What bears the name of a checkpoint is taken for a damaged one.
            if not looks_like_checkpoint(name) and self._backend.occupied(name):
                for other, what in self._backend.foreign():
                    if other == name:
                        msg = (
                            f"{name!r} in {self._backend.url} is not a checkpoint, but {what}: list() "
                            "and `ringnb ls` show the checkpoints"
                        )
                        raise CheckpointNotFound(msg) from None
            raise

    def list(self) -> builtins.list[str]:
        """Return all names, oldest commit first; see `CheckpointStorage.list`."""
        return [entry.name for entry in self._backend.catalogue()]

    def catalogue(self) -> builtins.list[CheckpointInfo]:
        """Return a line per checkpoint; see `CheckpointStorage.catalogue`."""
        return self._backend.catalogue()

    def history(self, name_prefix: str, kernel_id: str) -> builtins.list[CheckpointInfo]:
        """Return one actor's checkpoints; see `CheckpointStorage.history`."""
        return self._backend.history(name_prefix, kernel_id)

    def parts(self, name_prefix: str, kernel_id: str) -> builtins.list[CheckpointInfo]:
        """Return one actor's parts of cuts; see `CheckpointStorage.parts`."""
        return self._backend.parts(name_prefix, kernel_id)

    def history_after(
        self, receipt: SaveReceipt, name_prefix: str, kernel_id: str
    ) -> builtins.list[CheckpointInfo]:
        """Leave out what was of other actors during the commit; see `CheckpointStorage.history_after`.

        The actor's own documents are read again: since the commit read them a pin may have been set, or
        a name freed and given anew, and retention would go by what is no longer so.
        A name that was another actor's may be this one's by now only if another process has deleted
        that checkpoint, put this actor into the same slot and committed it, all during one commit: then
        one too many stays until the next.
        """
        return self._backend.history(name_prefix, kernel_id, receipt.others)

    def foreign(self) -> builtins.list[tuple[str, str]]:
        """Return what lies in the store and is not ringnb's: each name, and why it is passed over."""
        return self._backend.foreign()

    def freed_by(self, names: Collection[str]) -> int:
        """Return what a deletion would free; see `CheckpointStorage.freed_by`."""
        return self._backend.freed_by(names)

    def exists(self, name: str) -> bool:
        """Return whether a name is taken; see `CheckpointStorage.exists`."""
        return self._backend.occupied(check_checkpoint_name(split_name(name)[0]))

    def delete(self, name: str) -> None:
        """Delete a checkpoint; see `CheckpointStorage.delete`."""
        with self._writing():
            self._backend.remove(name, self._keys_to_delete(name))

    def delete_many(self, names: Iterable[str]) -> builtins.list[Exception | None]:
        """Delete several checkpoints; see `CheckpointStorage.delete_many`.

        In a local directory one sync makes all deletions durable, before the first file is removed.
        """
        names = list(names)
        results: dict[str, Exception | None] = {}
        keys: dict[str, set[str]] = {}
        with self._writing():
            for name in names:
                try:
                    keys[name] = self._keys_to_delete(name)
                except Exception as error:  # noqa: BLE001 - returned: the others go on
                    results[name] = error
            results.update(zip(keys, self._backend.remove_many(keys), strict=True))
        return [results[name] for name in names]

    def _keys_to_delete(self, name: str) -> set[str]:
        """Return which files of a checkpoint are ringnb's; an error if it must not be deleted."""
        check_checkpoint_name(name)
        raw = self._backend.source(name).read(DOCUMENT, MAX_DOCUMENT_BYTES)
        if raw is None and not self._backend.lost_document(name):
            msg = f"no checkpoint {name!r} in {self._backend.url}: see list()"
            raise CheckpointNotFound(msg)
        try:
            # Damaged arrays, and their documents, do not keep a checkpoint from being deleted: the
            # group's document says which files are ours.
            document = parse_document(name, raw or b"")
        except CheckpointCorrupt as error:
            msg = (
                f"checkpoint {name!r} was not deleted: its metadata is damaged, so nothing shows "
                "that ringnb wrote it. Move it into quarantine with `ringnb verify --repair`"
            )
            raise CheckpointCorrupt(msg) from error
        if document.pin is not None:
            msg = (
                f"checkpoint {name!r} was not deleted: it is pinned ({document.pin!r}). Unpin it "
                "first"
            )
            raise CheckpointError(msg)
        return document.keys()

    def pin(self, name: str, label: str) -> None:
        """Keep a checkpoint whatever retention says; see `CheckpointStorage.pin`.

        The pin lies in the checkpoint's own document, which is exchanged at once: it goes where the
        checkpoint goes.
        """
        name = check_checkpoint_name(split_name(name)[0])
        check_label(label)
        self._revise(name, pin={"label": label, "at": datetime.now(UTC).isoformat()})

    def unpin(self, name: str) -> None:
        """Leave a checkpoint to retention again; see `CheckpointStorage.unpin`."""
        self._revise(check_checkpoint_name(split_name(name)[0]), pin=None)

    def adopt(self, names: Collection[str]) -> builtins.list[str]:
        """Make the user's copies checkpoints of this store: of their actors' histories, as any other.

        A copy keeps its run and what it continues from; and its id, unless a checkpoint of this store
        has that. It keeps its number if it is of this store and the number is free; otherwise it comes
        before all that this store holds, and retention leaves it alone. Only its document changes, at
        once; every byte of it is checked before.

        Parameters
        ----------
        names : collection of str
            The copies. What is a checkpoint of this store already stays as it is.

        Returns
        -------
        list of str
            What was adopted, oldest first.

        Raises
        ------
        CheckpointNotFound, CheckpointCorrupt
            If one is not there, or damaged. Nothing is adopted then.
        TypeError, ValueError
            If `names` is a str, or one of them is not a name.
        StoreLocked, OSError
            As `save`. Those that are adopted already stay so.
        """
        if isinstance(names, str):
            msg = f"names must be a collection of names, got the str {names!r}: write [{names!r}]"
            raise TypeError(msg)
        wanted = {check_checkpoint_name(name) for name in names}
        with self._writing():
            for name in sorted(wanted):
                self.load(name).verify()
            catalogue = self._backend.catalogue()
            ours = [e for e in catalogue if not e.damaged and e.copy is None]
            ids, numbers = {e.id for e in ours}, {e.sequence for e in ours}
            lowest = min((e.sequence for e in catalogue if not e.damaged), default=None)
            adopted: builtins.list[str] = []
            # The newest first, since each goes below the lowest number.
            copies = [e for e in catalogue if e.name in wanted and e.copy is not None]
            for entry in sorted(
                copies, key=attrgetter("created_at", "sequence", "name"), reverse=True
            ):
                document = self.load(entry.name).document
                store, sequence = self._backend.store_id, entry.sequence
                if document.record.get("store") != store or sequence in numbers:
                    sequence = lowest = number_below(lowest)
                new = new_id() if entry.id in ids else entry.id
                here = {"name": entry.name, "store": store, "sequence": sequence, "id": new}
                raw = revise_document(document.raw, **here)
                self._backend.replace_document(entry.name, raw)
                ids.add(new)
                numbers.add(sequence)
                adopted.append(entry.name)
            self.adopt_arrays(adopted)
        return adopted[::-1]

    def _revise(self, name: str, **changes: Any) -> None:
        with self._writing():
            document = self.load(name).document
            if {key: document.record.get(key) for key in changes} != changes:
                self._backend.replace_document(name, revise_document(document.raw, **changes))

    # -- the read-only arrays of models ------------------------------------------------------------

    def read_arrays(self, checkpoint: Checkpoint) -> dict[str, npt.NDArray[Any]]:
        """Read what a checkpoint was computed with; see `CheckpointStorage.read_arrays`."""
        keys = array_keys(checkpoint.code)
        return {name: self.read_array(key) for name, key in keys.items()}

    def read_array(self, key: str) -> npt.NDArray[Any]:
        """Read one read-only array, and check every byte.

        Parameters
        ----------
        key : str
            Its key, as `arrays.array_keys` gives it.

        Returns
        -------
        array
            Read-only.

        Raises
        ------
        CheckpointNotFound
            If it is not kept here.
        CheckpointCorrupt
            If it is not what its key says.
        """
        return read_array(key, self._backend.arrays.source(key))[0]

    def sweep_arrays(self) -> builtins.list[str]:
        """Remove the arrays that nothing names any more; see `CheckpointStorage.sweep_arrays`.

        All stay while metadata is damaged, or where another store keeps its arrays in the same place:
        they may name some.
        """
        shelf = self._backend.arrays
        if shelf.shared or not shelf.keys():
            return []
        with self._writing():
            unused = self._unnamed(shelf.keys())
            parts = {}
            if not shelf.one_writer:
                for key in unused:
                    with contextlib.suppress(CheckpointNotFound, CheckpointCorrupt):
                        parts[key] = read_array(key, shelf.source(key))[1]
            shelf.remove(unused)
            # Another process may have committed between the look and the removal.
            for key in set(parts) - set(self._unnamed(parts)) if parts else ():
                shelf.put(key, parts[key])
        return unused

    def _unnamed(self, keys: Iterable[str]) -> builtins.list[str]:
        """Return those of some arrays whose digests no document in the store holds."""
        catalogue = self._backend.catalogue()
        if any(e.damaged for e in catalogue):
            return []
        left = set(keys)
        for name in [e.name for e in catalogue] + [name for name, _ in self._backend.foreign()]:
            if not left:
                break
            with contextlib.suppress(CheckpointCorrupt):  # a foreign one that cannot be read
                raw = self._backend.source(name).read(DOCUMENT, MAX_DOCUMENT_BYTES) or b""
                left = {key for key in left if key[-16:].encode() not in raw}
        return sorted(left)

    def adopt_arrays(self, names: Iterable[str]) -> None:
        """Keep the read-only arrays of checkpoints that a user has copied into the store with them.

        Parameters
        ----------
        names : iterable of str
            The checkpoints. The arrays are looked for in directories ``*.arrays.zarr``.

        Warns
        -----
        CheckpointWarning
            If some are neither kept already nor there.
        """
        with self._writing():
            keys = {
                key: name for name in names for key in array_keys(self.load(name).code).values()
            }
            missing = []
            for key in keys:
                if self._backend.arrays.source(key).size(DOCUMENT) is not None:
                    continue
                loose = self._backend.arrays.loose(key)
                if loose is None:
                    missing.append(key)
                else:
                    self._backend.arrays.put(key, read_array(key, loose)[1])
        if missing:
            text = (
                f"checkpoint {keys[missing[0]]!r} was computed with arrays that are not there "
                f"({quote_names(missing)}): copy the directory *.arrays.zarr of its store into this one "
                "before you adopt, or beside it under this store's name"
            )
            warn_caller(text, CheckpointWarning)

    def quarantine(self, name: str) -> str:
        """Move what lies under a name out of the store, undeleted, and return where it is now.

        Parameters
        ----------
        name : str
            What to move.

        Raises
        ------
        CheckpointNotFound
            If there is nothing of that name.
        """
        check_checkpoint_name(name)
        with self._writing():
            return self._backend.quarantine(name)

    def close(self) -> None:
        """Give up the write lock. Idempotent; reading, and writing anew, may go on."""
        self._closed = True
        self._backend.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Be the only writer; once closed, the storage holds the lock for this write only."""
        try:
            with self._backend.writing():
                yield
        finally:
            if self._closed:
                self._backend.close()

    def __repr__(self) -> str:
        """Name the place."""
        return f"ZarrStorage({self._backend.url!r})"


def load_arrays(
    store: str | os.PathLike[str] | Store, checkpoint: Checkpoint
) -> dict[str, npt.NDArray[Any]]:
    """Read the read-only arrays that a checkpoint was computed with; see `Checkpoint.arrays`.

    Parameters
    ----------
    store : str, os.PathLike or zarr.abc.store.Store
        The store of the checkpoint, as for `ZarrStorage`.
    checkpoint : Checkpoint
        The checkpoint.

    Returns
    -------
    dict of str to array
        By name, as `CellActor` takes them; empty if there were none.

    Raises
    ------
    CheckpointNotFound
        If they are not kept with the store.
    CheckpointCorrupt
        If one is not what the checkpoint records.
    """
    return ZarrStorage(store).read_arrays(checkpoint)
