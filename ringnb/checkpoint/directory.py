"""Checkpoints in a local directory: staged beside it, made durable, then renamed into place.

Layout::

    <store>/zarr.json               marks the store
    <store>/<name>/...              one group per checkpoint, nothing else
    .<store>.ringnb/lock            who writes
    .<store>.ringnb/staging/<id>    a commit under way
    .<store>.ringnb/trash/<id>      a checkpoint being removed

The side directory lies beside the store. Where the store's parent cannot be written, or is another
file system (the store is a mount point), it lies inside: ``<store>/.ringnb/``.

Commit: chunks and documents are written to a staging directory and synced, with its directories; one
``rename`` makes the name visible; the store's directory is synced. A kill at any moment leaves the
name either absent or complete. What a killed process left in staging or trash is removed by the next
writer, when it takes the lock. Nothing is ever removed whose name ringnb did not give.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import final

from ringnb.checkpoint import files
from ringnb.checkpoint.document import MAX_DOCUMENT_BYTES
from ringnb.checkpoint.format import ATTRIBUTE, DOCUMENT, FORMAT, Chunk, FieldLayout, root_document
from ringnb.checkpoint.lock import lock_of
from ringnb.checkpoint.shelf import Commit, Shelf, encode_chunk, entry_of, in_order
from ringnb.checkpoint.source import DirectorySource
from ringnb.checkpoint.storage import CheckpointInfo
from ringnb.errors import CheckpointError, CheckpointNotFound
from ringnb.machine import available_cores

__all__ = ["DirectoryShelf"]

_ID = re.compile(r"[0-9a-f]{32}")
# A directory's time stamp may not tell two changes within one tick of the clock apart. A listing is
# taken for current only if the last change was this much older than the listing.
_RACY_NS = 100_000_000
# More writers finish a commit no sooner and take the cores from whoever steps (two cores, 128 MiB:
# 8 writers left 0.77 of the stepping rate, 3 leave 0.93).
_WORKERS = min(8, available_cores() + 1)


@final
class DirectoryShelf(Shelf):
    """A shelf in a directory.

    Parameters
    ----------
    path : pathlib.Path
        The store; it need not exist.
    durable : bool
        Whether to fsync before a name becomes visible.

    Notes
    -----
    Any thread. Listing and reading take no lock of the store; a name that vanishes on the way is
    passed over.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = Path(os.path.realpath(path))
        self._durable = durable
        self._lock = lock_of(self._path)
        self._cache: dict[str, tuple[tuple[int, int], CheckpointInfo | None]] = {}
        self._listing: list[CheckpointInfo] = []
        self._listed_at: tuple[int, int] | None = None  # the directory's inode and time stamp
        self._checked_root: tuple[int, int] | None = None

    @property
    def url(self) -> str:
        """The store's path."""
        return str(self._path)

    # -- the store itself ------------------------------------------------------------------------

    def _check_root(self) -> bool:
        """Return whether the store exists; refuse what is none of ringnb's."""
        marker = self._path / DOCUMENT
        try:
            stat = marker.stat()
        except (FileNotFoundError, NotADirectoryError):
            if self._path.exists() and not self._path.is_dir():
                raise self._refused("it is a file") from None
            with contextlib.suppress(FileNotFoundError):  # removed between two looks
                if self._path.is_dir() and set(os.listdir(self._path)) - {".ringnb"}:
                    if marker.exists():  # made by its writer since the first look
                        return self._check_root()
                    raise self._refused(
                        f"it is a directory without {DOCUMENT} that is not empty"
                    ) from None
            return False
        seen = (stat.st_ino, stat.st_mtime_ns)
        if seen != self._checked_root:
            self._check_marker(marker.read_bytes())
            self._checked_root = seen
        return True

    def _check_marker(self, raw: bytes) -> None:
        import json  # noqa: PLC0415

        try:
            found = json.loads(raw)["attributes"][ATTRIBUTE]["format"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise self._refused(
                f"its {DOCUMENT} has no attribute {ATTRIBUTE!r}, or is damaged"
            ) from None
        if found != FORMAT:
            raise self._refused(
                f"its format is {found!r} and this version knows {FORMAT}: use a newer ringnb"
            )

    def _refused(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"{str(self._path)!r} is not a ringnb store: {why}. Choose another storage_path; nothing "
            "was changed"
        )

    def _side(self) -> Path:
        """Return the side directory, on the store's own file system."""
        inside = self._path / ".ringnb"
        parent = self._path.parent
        beside = parent / f".{self._path.name}.ringnb"
        if inside.is_dir() or (
            self._path.is_dir()
            and (
                os.stat(self._path).st_dev != os.stat(parent).st_dev
                or (not beside.is_dir() and not os.access(parent, os.W_OK))
            )
        ):
            return inside
        return beside

    # -- reading ---------------------------------------------------------------------------------

    def source(self, name: str) -> DirectorySource:
        """Return the files of a checkpoint."""
        self._check_root()
        return DirectorySource(self._path / name)

    def occupied(self, name: str) -> bool:
        """Return whether anything lies under a name."""
        return self._check_root() and os.path.lexists(self._path / name)

    def catalogue(self) -> list[CheckpointInfo]:
        """List the store; documents are read when they are new."""
        if not self._check_root():
            with self._lock.listing_guard:
                self._cache.clear()
                self._listing, self._listed_at = [], None
            return []
        with self._lock.listing_guard:
            stat = os.stat(self._path)
            stamp = (stat.st_ino, stat.st_mtime_ns)
            if stamp != self._listed_at:
                begun_ns = time.time_ns()
                self._listing = in_order(iter(self._scan()))
                settled = begun_ns - stat.st_mtime_ns > _RACY_NS
                self._listed_at = stamp if settled else None
            return list(self._listing)

    def _scan(self) -> list[CheckpointInfo]:
        fresh: dict[str, tuple[tuple[int, int], CheckpointInfo | None]] = {}
        with os.scandir(self._path) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == DOCUMENT:
                    continue
                try:
                    stat = entry.stat()
                    identity = (stat.st_ino, stat.st_mtime_ns)
                    known = self._cache.get(entry.name)
                    if known is None or known[0] != identity or (known[1] and known[1].damaged):
                        raw = DirectorySource(entry.path).read(DOCUMENT, MAX_DOCUMENT_BYTES)
                        if raw is None and not os.path.lexists(entry.path):
                            continue
                        known = (identity, entry_of(entry.name, raw))
                except FileNotFoundError:
                    continue  # retired by another writer since the directory was read
                fresh[entry.name] = known
        self._cache = fresh
        return [info for _, info in fresh.values() if info is not None]

    # -- writing ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store's lock; take it from the system at the first time."""
        with self._lock.mutex:
            self._check_root()
            if not self._lock.held or not self._side().is_dir():
                if self._path.parent.exists() and not self._path.parent.is_dir():
                    raise self._refused(f"{str(self._path.parent)!r} is a file")
                self._path.parent.mkdir(parents=True, exist_ok=True)
                side = self._side()
                for folder in (side, side / "staging", side / "trash"):
                    folder.mkdir(exist_ok=True)
            if self._lock.acquire(self._side() / "lock", self):
                try:
                    self._sweep()
                    taken = [e.sequence for e in self.catalogue()]
                except BaseException:
                    # Without the store's highest number we must not write: ask for it again.
                    self._lock.release(self)
                    raise
                self._lock.sequence = max([self._lock.sequence, *taken])
            yield

    def _sweep(self) -> None:
        """Remove what killed writers left."""
        for folder in ("staging", "trash"):
            for path in (self._side() / folder).iterdir():
                if _ID.fullmatch(path.name):
                    with contextlib.suppress(OSError):
                        _remove_tree(path)

    def _make_root(self) -> None:
        if (self._path / DOCUMENT).exists():
            return
        self._path.mkdir(exist_ok=True)
        staged = self._side() / "staging" / uuid.uuid4().hex
        files.write_file(staged, [root_document()], durable=self._durable)
        files.rename(staged, self._path / DOCUMENT)
        if self._durable:
            files.sync_directory(self._path)
            files.sync_directory(self._path.parent)

    def put(self, commit: Commit) -> int:
        """Stage, sync, rename, sync."""
        staged = self._side() / "staging" / uuid.uuid4().hex
        target = self._path / commit.name
        try:
            self._make_root()
            self._stage(commit, staged)
            written_ns = time.monotonic_ns()
            # Used up before anything can be seen: an interrupt must not let two commits share it.
            self._lock.sequence += 1
            files.rename(staged, target)
        except BaseException:
            with contextlib.suppress(OSError):
                _remove_tree(staged)
            raise
        if self._durable:
            try:
                files.sync_directory(self._path)
            except BaseException:
                # The caller is told that it failed, so it must not be seen either.
                self._discard(commit.name)
                raise
        return written_ns

    def _stage(self, commit: Commit, staged: Path) -> None:
        files.make_directory(staged)
        crcs: dict[str, list[int]] = {}
        for layout in commit.layouts:
            files.make_directory(staged / layout.name)
            crcs[layout.name] = [0] * layout.n_chunks

        def write_chunk(item: tuple[FieldLayout, int, Chunk]) -> None:
            layout, number, chunk = item
            buffers, crc = encode_chunk(commit.fields[layout.name], layout, chunk)
            crcs[layout.name][number] = crc
            files.write_file(staged / layout.name / chunk.key, buffers, durable=self._durable)

        def write_array_document(layout: FieldLayout) -> None:
            path = staged / layout.name / DOCUMENT
            files.write_file(path, [commit.documents[layout.name]], durable=self._durable)

        def write_group_document(raw: bytes) -> None:
            files.write_file(staged / DOCUMENT, [raw], durable=self._durable)

        # fsync waits for the disk: several files wait at the same time.
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="ringnb-commit") as pool:
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

    def remove(self, name: str, keys: set[str]) -> None:
        """Rename out of the store, then unlink; what is not ours stops it before anything moved."""
        path = self._path / name
        emptied = {f"{key.partition('/')[0]}/" for key in keys}  # a field that lost its files
        foreign = DirectorySource(path).keys() - keys - emptied
        if foreign:
            msg = (
                f"checkpoint {name!r} was not deleted: it holds {sorted(foreign)[0]!r}, which ringnb "
                "did not write. Move that away and delete it again"
            )
            raise CheckpointError(msg)
        self._discard(name)

    def _discard(self, name: str) -> None:
        trash = self._side() / "trash" / uuid.uuid4().hex
        try:
            files.rename(self._path / name, trash)
        except FileNotFoundError:
            msg = f"no checkpoint {name!r}: see list()"
            raise CheckpointNotFound(msg) from None
        if self._durable:
            files.sync_directory(self._path)
        with contextlib.suppress(OSError):  # the next writer sweeps
            _remove_tree(trash)

    def close(self) -> None:
        """Give up the lock, if this shelf had it."""
        self._lock.release(self)


def _finish(work: Iterable[object]) -> None:
    """Wait for all, then raise the first failure: nothing may still be writing when we clean up."""
    first: BaseException | None = None
    for future in work:
        error = future.exception()  # type: ignore[attr-defined]
        first = first or error
    if first is not None:
        raise first


def _remove_tree(path: Path) -> None:
    """Remove a directory that lies in staging or trash."""
    if path.is_dir() and not path.is_symlink():
        for folder, folders, names in os.walk(path, topdown=False):
            for name in names:
                files.remove_file(Path(folder) / name)
            for name in folders:
                files.remove_directory(Path(folder) / name)
        files.remove_directory(path)
    elif path.exists() or path.is_symlink():
        files.remove_file(path)
