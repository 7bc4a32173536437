"""Checkpoints in a local directory: staged beside it, made durable, then renamed into place.

Layout::

    <store>/zarr.json               marks the store
    <store>/<name>/...              one group per checkpoint, nothing else
    .<store>.ringnb/lock            who writes
    .<store>.ringnb/staging/<id>    a commit under way
    .<store>.ringnb/trash/<id>      a checkpoint being removed
    .<store>.ringnb/damaged/<name>  what `ringnb verify --repair` moved aside; ringnb never empties it

Where a side directory cannot lie beside the store it lies inside, as ``<store>/.ringnb/``:
`ringnb.checkpoint.storage.directory.work_area`.

Commit: chunks and documents are written to a staging directory and synced, with its directories; one
``rename`` makes the name visible; the store's directory is synced. A kill, or a power cut, at any
moment leaves the name either absent or complete. Removal goes the other way: the rename out of the
store is made durable before the first file is unlinked.

What a killed process left in staging or trash is removed by the next writer when it takes the lock,
after a sync of the store's directory: a rename that was seen but not yet durable must be durable
before anything is built on it. Nothing is ever removed whose name ringnb did not give.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, final

from ringnb._support.machine import available_cores
from ringnb.checkpoint.storage.backend import Backend, Commit, Put, encode_chunk, free_name
from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.directory.dedup import Dedup
from ringnb.checkpoint.storage.directory.lock import lock_of
from ringnb.checkpoint.storage.directory.work_area import WORK_AREA, WorkArea
from ringnb.checkpoint.storage.document import parse_info
from ringnb.checkpoint.storage.format import DOCUMENT, Chunk, FieldLayout, root_document
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.checkpoint.storage.source import DirectorySource
from ringnb.errors import CheckpointNotFound, CheckpointWarning

__all__ = ["DirectoryBackend"]

# More writers finish a commit no sooner and take the cores from whoever steps (two cores, 128 MiB:
# 8 writers left 0.77 of the stepping rate, 3 leave 0.93).
_WORKERS = min(8, available_cores() + 1)


@final
class DirectoryBackend(Backend):
    """A shelf in a directory.

    Parameters
    ----------
    path : pathlib.Path
        The store; it need not exist.
    durable : bool
        Whether to fsync before a name becomes visible.
    incremental : bool, default False
        Whether a chunk that the actor's previous checkpoint holds as well is linked, not written.

    Notes
    -----
    Any thread. Listing and reading take no lock of the store; a name that vanishes on the way is
    passed over.
    """

    def __init__(self, path: Path, *, durable: bool, incremental: bool = False) -> None:
        self._path = Path(os.path.realpath(path))
        self._durable = durable
        self._incremental = incremental
        self._lock = lock_of(self._path)
        self._listing = self._lock.listing
        self._checked_root: tuple[int, int] | None = None
        self._side = WorkArea(self._path)

    @property
    def url(self) -> str:
        """The store's path."""
        return str(self._path)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The store and its side directory."""
        return self._path, self._side.path

    # -- the store itself ------------------------------------------------------------------------

    def created(self) -> bool:
        """Return whether the store exists; refuse what is none of ringnb's."""
        marker = self._path / DOCUMENT
        try:
            stat = marker.stat()
        except (FileNotFoundError, NotADirectoryError):
            if self._path.exists() and not self._path.is_dir():
                raise self.refused("it is a file") from None
            with contextlib.suppress(FileNotFoundError):  # removed between two looks
                if self._path.is_dir() and set(os.listdir(self._path)) - {WORK_AREA}:
                    if marker.exists():  # made by its writer since the first look
                        return self.created()
                    raise self.refused(
                        f"it is a directory without {DOCUMENT} that is not empty"
                    ) from None
            return False
        seen = (stat.st_ino, stat.st_mtime_ns)
        if seen != self._checked_root:
            self.check_marker(marker.read_bytes())
            self._checked_root = seen
        return True

    # -- reading ---------------------------------------------------------------------------------

    def source(self, name: str) -> DirectorySource:
        """Return the files of a checkpoint."""
        self.created()
        return DirectorySource(self._path / name)

    def occupied(self, name: str) -> bool:
        """Return whether anything lies under a name."""
        return self.created() and os.path.lexists(self._path / name)

    def catalogue(self) -> list[CheckpointInfo]:
        """List the store; documents are read when they are new."""
        self.created()
        return self._listing.entries(exclusive=self._lock.held)

    def history(
        self,
        name_prefix: str,
        kernel_id: str,
        others: Collection[str] = (),  # noqa: ARG002 - the listing finds an actor by itself
    ) -> list[CheckpointInfo]:
        """List an actor's checkpoints; the rest of the store is not looked at."""
        self.created()
        return self._listing.history(name_prefix, kernel_id, exclusive=self._lock.held)

    def freed_by(self, names: Collection[str]) -> int:
        """Add up the files of which no name would be left."""
        links: Counter[tuple[int, int, int]] = Counter()
        for name in names:
            for folder, _, found in os.walk(self._path / name):
                for file in found:
                    with contextlib.suppress(FileNotFoundError):  # retired meanwhile
                        stat = os.lstat(f"{folder}/{file}")
                        links[stat.st_ino, stat.st_nlink, stat.st_size] += 1
        return sum(size for (_, nlink, size), seen in links.items() if seen == nlink)

    # -- writing ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store's lock; take it from the system at the first time."""
        with self._lock.mutex:
            self.created()
            if not self._lock.held or not self._side.path.is_dir():
                self._make_side()
            if self._lock.acquire(self._side.path / "lock", self):
                try:
                    self._settle()
                    self._side.sweep()
                    last = self._listing.last_sequence()
                except BaseException:
                    # Without the store's highest number we must not write: ask for it again.
                    self._lock.release(self)
                    raise
                self._lock.sequence = max(self._lock.sequence, last)
            elif self._side.littered:
                self._side.sweep()
            yield

    def _make_side(self) -> None:
        parent = self._path.parent
        if parent.exists() and not parent.is_dir():
            raise self.refused(f"{str(parent)!r} is a file")
        self._side.make()

    def _settle(self) -> None:
        """Make durable what a killed writer may have renamed and not synced."""
        if self._path.is_dir():
            files.sync_directory(self._path)
            with contextlib.suppress(PermissionError):  # it may be passed through, but not read
                files.sync_directory(self._path.parent)

    def _make_root(self) -> None:
        if (self._path / DOCUMENT).exists():
            return
        seen, self._checked_root = self._checked_root, None
        if seen is not None:
            warnings.warn(
                f"the store {str(self._path)!r} was removed while it was in use, and its checkpoints "
                "with it; a new one is begun in its place",
                CheckpointWarning,
                stacklevel=2,
            )
        with contextlib.suppress(FileExistsError):
            files.make_directory(self._path)
        staged = self._side.new("staging")
        try:
            files.write_file(staged, [root_document()], durable=self._durable)
            files.rename(staged, self._path / DOCUMENT)
        except BaseException:
            self._side.remove_tree(staged)
            raise
        if self._durable:
            files.sync_directory(self._path)
            files.sync_directory(self._path.parent)
        self.created()  # from now on its absence is news

    def put(self, commit: Commit) -> Put:
        """Stage, sync, rename, sync."""
        staged = self._side.new("staging")
        try:
            self._make_root()
            info = parse_info(commit.name, self._stage(commit, staged))
            written_ns = time.monotonic_ns()
            with self._listing.changing() as note:
                # Used up before anything can be seen: an interrupt must not let two commits share it.
                self._lock.sequence += 1
                files.rename(staged, self._path / commit.name)
                note(commit.name, info)
        except BaseException:
            self._side.remove_tree(staged)
            raise
        if self._durable:
            try:
                files.sync_directory(self._path)
            except BaseException:
                # The caller is told that it failed, so it must not be seen either.
                self._discard(commit.name)
                raise
        return Put(written_ns)

    def _stage(self, commit: Commit, staged: Path) -> bytes:
        files.make_directory(staged)
        crcs: dict[str, list[int]] = {}
        for layout in commit.layouts:
            files.make_directory(staged / layout.name)
            crcs[layout.name] = [0] * layout.n_chunks
        history = self.history(*commit.whose) if self._incremental else []
        dedup = Dedup(self._path / history[-1].name, durable=self._durable) if history else None

        def write_chunk(item: tuple[FieldLayout, int, Chunk]) -> None:
            layout, number, chunk = item
            buffers, crc = encode_chunk(commit.fields[layout.name], layout, chunk)
            crcs[layout.name][number] = crc
            target = staged / layout.name / chunk.key
            if dedup is None or not dedup.link(layout, number, chunk, crc, buffers, target):
                files.write_file(target, buffers, durable=self._durable)

        def write_array_document(layout: FieldLayout) -> None:
            path = staged / layout.name / DOCUMENT
            files.write_file(path, [commit.documents[layout.name]], durable=self._durable)

        def write_group_document(raw: bytes) -> None:
            files.write_file(staged / DOCUMENT, [raw], durable=self._durable)

        # fsync waits for the disk: several files wait at the same time.
        workers = commit.workers(_WORKERS, copies=1) if commit.is_lazy else _WORKERS
        with ThreadPoolExecutor(workers, thread_name_prefix="ringnb-commit") as pool:
            work = [pool.submit(write_array_document, layout) for layout in commit.layouts]
            work += [pool.submit(write_chunk, item) for item in commit.chunks()]
            _finish(work)
            raw = commit.seal(crcs, self._lock.sequence + 1)
            work = [pool.submit(write_group_document, raw)]
            if self._durable:
                folders = [staged / layout.name for layout in commit.layouts]
                work += [pool.submit(files.sync_directory, f) for f in folders]
            _finish(work)
            if self._durable:
                files.sync_directory(staged)
        return raw

    def replace_document(self, name: str, raw: bytes) -> None:
        """Stage, sync, rename over the old one, sync."""
        staged = self._side.new("staging")
        info = parse_info(name, raw)
        try:
            files.write_file(staged, [raw], durable=self._durable)
            with self._listing.changing() as note:
                files.rename(staged, self._path / name / DOCUMENT)
                with contextlib.suppress(OSError):
                    files.touch_directory(self._path)  # other processes remember their listing
                note(name, info)
        except BaseException:
            self._side.remove_tree(staged)
            raise
        if self._durable:
            files.sync_directory(self._path / name)

    def remove(self, name: str, keys: set[str]) -> None:
        """Rename out of the store, then unlink; what is not ours stops it before anything moved."""
        path = self._path / name
        emptied = {f"{key.partition('/')[0]}/" for key in keys}  # a field that lost its files
        self.check_foreign(name, DirectorySource(path).keys() - keys - emptied)
        self._discard(name)

    def _discard(self, name: str) -> None:
        trash = self._side.new("trash")
        self._move_out(name, trash)
        try:
            if self._durable:
                files.sync_directory(self._path)
        except BaseException:
            self._side.littered = True
            raise
        self._side.remove_tree(trash)

    def _move_out(self, name: str, target: Path) -> None:
        try:
            with self._listing.changing() as note:
                files.rename(self._path / name, target)
                note(name, None)
        except FileNotFoundError:
            msg = f"no checkpoint {name!r}: see list()"
            raise CheckpointNotFound(msg) from None

    def quarantine(self, name: str) -> str:
        """Rename into the side directory's ``damaged``, under a name that is free there."""
        folder = self._side.path / "damaged"
        if not folder.is_dir():
            files.make_directory(folder)
            if self._durable:
                files.sync_directory(folder.parent)
                files.sync_directory(folder.parent.parent)
        target = folder / free_name(name, lambda n: os.path.lexists(folder / n))
        self._move_out(name, target)
        if self._durable:
            files.sync_directory(folder)
            files.sync_directory(self._path)
        return str(target)

    def close(self) -> None:
        """Give up the lock, if this shelf had it."""
        self._lock.release(self)


def _finish(work: Iterable[Future[Any]]) -> None:
    """Wait for all, then raise the first failure: nothing may still be writing when we clean up."""
    errors = [future.exception() for future in work]
    for error in errors:
        if error is not None:
            raise error
