"""Where stored bytes are read from: a directory, or any zarr ``Store``. One small interface for both.

A source belongs to one checkpoint; keys are relative to it. Any thread. What the bytes must be is
`ringnb.checkpoint.storage.reader`'s affair.
"""

from __future__ import annotations

import contextlib
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, final

import zarr
from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from ringnb.checkpoint.storage.format import (
    DOCUMENT,
    MAX_ARRAY_DOCUMENT_BYTES,
    is_layout,
    looks_like_part,
)
from ringnb.checkpoint.storage.permissions import why_denied
from ringnb.errors import CheckpointCorrupt

__all__ = ["DirectorySource", "Source", "StoreSource", "fetch", "read_whole_into"]

Buffers = Sequence[memoryview]
OnPiece = Callable[[memoryview], None]

_PIECE = 1 << 18  # fits in the second-level cache
_UNREADABLE = frozenset([errno.EIO, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EUCLEAN])
# O_NONBLOCK: nothing waits for the other end of a named pipe that lies where a chunk should be.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class Source(ABC):
    """Bytes of one checkpoint."""

    @abstractmethod
    def read(self, key: str, limit: int) -> bytes | None:
        """Return what is stored under a key, at most `limit` + 1 bytes; None if there is nothing."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Return the number of bytes stored under a key, or None."""

    @abstractmethod
    def read_into(self, key: str, buffers: Buffers, on_piece: OnPiece) -> bool | None:
        """Fill buffers, one after the other, with what is stored under a key.

        `on_piece` is called with every piece, in order, as soon as it is filled and while it is in
        the cache. True if the buffers are filled exactly, False if the length differs, None if there
        is nothing.
        """

    @abstractmethod
    def keys(self) -> set[str]:
        """Return every key that is stored."""

    def parts(self) -> set[str]:
        """Return the keys that have the form of those that a commit writes."""
        return {key for key in self.keys() if looks_like_part(key)}

    def remains(self) -> set[str]:
        """Return what must be ringnb's even if the group's document, which would say so, is lost.

        An array that a user has added with zarr is not: its metadata is not what ringnb writes.
        """
        found: dict[str, set[str]] = {}
        for key in self.parts() - {DOCUMENT}:
            found.setdefault(key.partition("/")[0], set()).add(key)
        ours: set[str] = set()
        for field, keys in found.items():
            raw = self.read(f"{field}/{DOCUMENT}", MAX_ARRAY_DOCUMENT_BYTES)
            if raw is None or is_layout(field, raw) or any("c." in key for key in keys):
                ours |= keys
        return ours

    @abstractmethod
    def group(self) -> zarr.Group:
        """Open the checkpoint with zarr, read only."""


def read_whole_into(source: Source, key: str, buffers: Buffers, on_piece: OnPiece) -> bool | None:
    """Do what `Source.read_into` does, for a source whose `read` has the value in memory as a whole."""
    wanted = sum(b.nbytes for b in buffers)
    value = source.read(key, wanted)
    if value is None:
        return None
    raw = memoryview(value)
    if raw.nbytes != wanted:
        return False
    at = 0
    for buffer in buffers:
        buffer[:] = raw[at : at + buffer.nbytes]
        at += buffer.nbytes
        on_piece(buffer)
    return True


@final
class DirectorySource(Source):
    """Reads files below a checkpoint's directory.

    A file that is there and cannot be read (bad sectors, rights, links in a circle) is
    `CheckpointCorrupt`.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = os.fspath(path)

    def read(self, key: str, limit: int) -> bytes | None:
        """Return a file's content."""
        with self._readable(key):
            return self._read(key, limit)

    def _read(self, key: str, limit: int) -> bytes | None:
        try:
            fd = os.open(f"{self._path}/{key}", _FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            # Memory for what is there, not for the limit.
            wanted = min(os.fstat(fd).st_size, limit) + 1
            content = b""
            while len(content) < wanted and (more := os.read(fd, wanted - len(content))):
                content += more
            return content
        except IsADirectoryError:
            return None
        except BlockingIOError:
            return b""
        finally:
            os.close(fd)

    def size(self, key: str) -> int | None:
        """Return a file's size."""
        try:
            with self._readable(key):
                return os.stat(f"{self._path}/{key}").st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_into(self, key: str, buffers: Buffers, on_piece: OnPiece) -> bool | None:
        """Read a file straight into memory."""
        with self._readable(key):
            return self._read_into(key, buffers, on_piece)

    @contextlib.contextmanager
    def _readable(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            store, name = os.path.split(self._path)
            why = f"{key}: {error.strerror}; see what the disk says, or restore another one"
            if error.errno in {errno.EACCES, errno.EPERM}:
                why = why_denied(error, Path(store), Path(self._path, key))
            msg = f"checkpoint {name!r} cannot be read: {why}"
            raise CheckpointCorrupt(msg) from error

    def _read_into(self, key: str, buffers: Buffers, on_piece: OnPiece) -> bool | None:
        try:
            fd = os.open(f"{self._path}/{key}", _FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            if os.fstat(fd).st_size != sum(b.nbytes for b in buffers):
                return False
            for buffer in buffers:
                for start in range(0, buffer.nbytes, _PIECE):
                    piece = buffer[start : start + _PIECE]
                    filled = 0
                    while filled < piece.nbytes:  # a signal may cut a read short
                        got = os.readv(fd, [piece[filled:]])
                        if got == 0:
                            return False
                        filled += got
                    on_piece(piece)
            return True
        except (IsADirectoryError, BlockingIOError):
            return False
        finally:
            os.close(fd)

    def keys(self) -> set[str]:
        """Walk the directory; a link to a directory, or an empty one, counts as a key."""
        found: set[str] = set()
        skip = len(self._path) + 1
        for folder, folders, files in os.walk(self._path):
            found.update([f"{folder}/{file}"[skip:] for file in files])
            if not folders and not files and folder != self._path:
                found.add(f"{folder}/"[skip:])
            found.update(
                [f"{folder}/{f}/"[skip:] for f in folders if os.path.islink(f"{folder}/{f}")]
            )
        return found

    def group(self) -> zarr.Group:
        """Open the directory with zarr."""
        return zarr.open_group(self._path, mode="r")


async def fetch(store: Store, key: str, limit: int) -> bytes | None:
    """Get a value from a zarr store, but at most `limit` + 1 bytes, whatever lies there."""
    prototype = default_buffer_prototype()
    try:
        value = await store.get(key, prototype, RangeByteRequest(0, limit + 1))
    except Exception:
        # Of an empty object no range can be satisfied, says HTTP.
        if await store.getsize(key) == 0:
            return b""
        raise
    return None if value is None else value.to_bytes()


@final
class StoreSource(Source):
    """Reads keys of a zarr ``Store`` below a prefix; the empty prefix is the root."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse to be pickled where that would copy all that is stored."""
        if isinstance(self._store, MemoryStore):
            msg = (
                "a checkpoint in the memory of this process cannot be pickled: pickle its arrays, "
                "checkpoint.numpy(), or keep checkpoints in a directory"
            )
            raise TypeError(msg)
        return StoreSource, (self._store, self._prefix)

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def read(self, key: str, limit: int) -> bytes | None:
        """Return a value."""
        return sync(fetch(self._store, self._key(key), limit))

    def size(self, key: str) -> int | None:
        """Return a value's length."""
        try:
            return int(sync(self._store.getsize(self._key(key))))
        except FileNotFoundError:
            return None

    def read_into(self, key: str, buffers: Buffers, on_piece: OnPiece) -> bool | None:
        """Copy a value into memory."""
        return read_whole_into(self, key, buffers, on_piece)

    def keys(self) -> set[str]:
        """List the keys below the prefix."""
        skip = len(self._key(""))

        async def collect() -> set[str]:
            """List them on zarr's event loop."""
            return {key[skip:] async for key in self._store.list_prefix(self._key(""))}

        return sync(collect())

    def group(self) -> zarr.Group:
        """Open the prefix with zarr."""
        return zarr.open_group(self._store, path=self._prefix, mode="r")
