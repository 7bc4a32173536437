"""Where stored bytes are read from: a directory, or any zarr ``Store``. One small interface for both.

A source belongs to one checkpoint; keys are relative to it. Readers may be used from any thread.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import zarr
from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

__all__ = ["DirectorySource", "Source", "StoreSource"]

Buffers = Sequence[memoryview]
Each = Callable[[memoryview], None]

_PIECE = 1 << 18  # fits in the second-level cache


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
            with open(f"{self._path}/{key}", "rb", buffering=0) as file:
                # Room for what is there, not for the limit.
                wanted = min(os.fstat(file.fileno()).st_size, limit) + 1
                content = b""
                while len(content) < wanted and (more := file.read(wanted - len(content))):
                    content += more
                return content
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def size(self, key: str) -> int | None:
        """Return a file's size."""
        try:
            return os.stat(f"{self._path}/{key}").st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_into(self, key: str, buffers: Buffers, each: Each) -> bool | None:
        """Read a file straight into memory."""
        try:
            fd = os.open(f"{self._path}/{key}", os.O_RDONLY | os.O_CLOEXEC)
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
        except IsADirectoryError:
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
        value = sync(self._store.get(self._key(key), default_buffer_prototype()))
        return None if value is None else value.to_bytes()[: limit + 1]

    def size(self, key: str) -> int | None:
        """Return a value's length."""
        try:
            return int(sync(self._store.getsize(self._key(key))))
        except FileNotFoundError:
            return None

    def read_into(self, key: str, buffers: Buffers, each: Each) -> bool | None:
        """Copy a value into memory."""
        value: Any = sync(self._store.get(self._key(key), default_buffer_prototype()))
        if value is None:
            return None
        raw = memoryview(value.to_bytes())
        if raw.nbytes != sum(b.nbytes for b in buffers):
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
