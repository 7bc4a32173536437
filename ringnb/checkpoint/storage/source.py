"""Where stored bytes are read from: a directory, or any zarr ``Store``. One small interface for both.

A source belongs to one checkpoint; keys are relative to it. Readers may be used from any thread.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import zarr
from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

__all__ = ["DirectorySource", "Source", "StoreSource", "fetch"]

Buffers = Sequence[memoryview]
Each = Callable[[memoryview], None]

_PIECE = 1 << 18  # fits in the second-level cache
# Nobody waits for the other end of a named pipe that lies where a chunk should be.
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
    def read_into(self, key: str, buffers: Buffers, each: Each) -> bool | None:
        """Fill buffers with what is stored under a key.

        Parameters
        ----------
        key : str
            The key.
        buffers : sequence of memoryview
            Filled one after the other.
        each : callable
            Called with every piece, in order, as soon as it is filled and while it is in the cache.

        Returns
        -------
        bool or None
            True if it fills them exactly, False if its length differs, None if it is missing.
        """

    @abstractmethod
    def keys(self) -> set[str]:
        """Return every key that is stored."""

    @abstractmethod
    def group(self) -> zarr.Group:
        """Open the checkpoint with zarr, read only."""


@final
class DirectorySource(Source):
    """Reads files below a directory.

    Parameters
    ----------
    path : str or pathlib.Path
        The checkpoint's directory.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = os.fspath(path)

    def read(self, key: str, limit: int) -> bytes | None:
        """Return a file's content."""
        try:
            fd = os.open(f"{self._path}/{key}", _FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            # Room for what is there, not for the limit.
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
            return os.stat(f"{self._path}/{key}").st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_into(self, key: str, buffers: Buffers, each: Each) -> bool | None:
        """Read a file straight into memory."""
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
                    while filled < piece.nbytes:  # again after a signal
                        got = os.readv(fd, [piece[filled:]])
                        if got == 0:
                            return False
                        filled += got
                    each(piece)
            return True
        except (IsADirectoryError, BlockingIOError):
            return False
        finally:
            os.close(fd)

    def keys(self) -> set[str]:
        """Walk the directory; a link to a directory, or an empty one, counts as a key."""
        found: set[str] = set()
        for folder, folders, files in os.walk(self._path):
            relative = Path(folder).relative_to(self._path)
            found.update((relative / f).as_posix() for f in files)
            if not folders and not files and folder != self._path:
                found.add(f"{relative.as_posix()}/")
            found.update(
                f"{(relative / d).as_posix()}/" for d in folders if (Path(folder) / d).is_symlink()
            )
        return found

    def group(self) -> zarr.Group:
        """Open the directory with zarr."""
        return zarr.open_group(self._path, mode="r")


async def fetch(store: Store, key: str, limit: int) -> bytes | None:
    """Get a value from a zarr store, but not more of it than makes sense.

    Parameters
    ----------
    store : zarr.abc.store.Store
        The store.
    key : str
        The key.
    limit : int
        At most one byte more than this is fetched, whatever somebody put there.

    Returns
    -------
    bytes or None
        None if there is nothing.
    """
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
    """Reads keys of a zarr ``Store`` below a prefix.

    Parameters
    ----------
    store : zarr.abc.store.Store
        The store.
    prefix : str
        The checkpoint's path in it; empty for the root.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

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

    def read_into(self, key: str, buffers: Buffers, each: Each) -> bool | None:
        """Copy a value into memory."""
        wanted = sum(b.nbytes for b in buffers)
        value = sync(fetch(self._store, self._key(key), wanted))
        if value is None:
            return None
        raw = memoryview(value)
        if raw.nbytes != wanted:
            return False
        at = 0
        for buffer in buffers:
            buffer[:] = raw[at : at + buffer.nbytes]
            at += buffer.nbytes
            each(buffer)
        return True

    def keys(self) -> set[str]:
        """List the keys below the prefix."""

        async def collect() -> list[str]:
            """List what lies below the prefix."""
            return [key async for key in self._store.list_prefix(self._key(""))]

        skip = len(self._key(""))
        return {key[skip:] for key in sync(collect())}

    def group(self) -> zarr.Group:
        """Open the prefix with zarr."""
        return zarr.open_group(self._store, path=self._prefix, mode="r")
