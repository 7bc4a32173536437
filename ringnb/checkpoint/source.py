"""Where stored bytes are read from: a directory, or any zarr ``Store``. One small interface for both.

A source belongs to one checkpoint; keys are relative to it. Readers may be used from any thread.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import zarr
from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

__all__ = ["DirectorySource", "Source", "StoreSource"]

Buffers = Sequence[memoryview]


class Source(ABC):
    """Bytes of one checkpoint."""

    @abstractmethod
    def read(self, key: str, limit: int) -> bytes | None:
        """Return what is stored under a key, at most `limit` + 1 bytes; None if there is nothing."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Return the number of bytes stored under a key, or None."""

    @abstractmethod
    def read_into(self, key: str, buffers: Buffers) -> bool | None:
        """Fill buffers with what is stored under a key.

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
    path : pathlib.Path
        The checkpoint's directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, key: str, limit: int) -> bytes | None:
        """Return a file's content."""
        try:
            with (self._path / key).open("rb") as file:
                return file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def size(self, key: str) -> int | None:
        """Return a file's size."""
        try:
            return os.stat(self._path / key).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_into(self, key: str, buffers: Buffers) -> bool | None:
        """Read a file straight into memory."""
        try:
            fd = os.open(self._path / key, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            wanted = sum(b.nbytes for b in buffers)
            try:
                if os.fstat(fd).st_size != wanted:
                    return False
                got = os.preadv(fd, list(buffers), 0)
            except IsADirectoryError:
                return False
            while 0 < got < wanted:  # a signal, or the 2 GiB limit of one call
                rest = _behind(buffers, got)
                more = os.preadv(fd, rest, got)
                if more == 0:
                    break
                got += more
            return got == wanted
        finally:
            os.close(fd)

    def keys(self) -> set[str]:
        """Walk the directory."""
        found: set[str] = set()
        for folder, _, files in os.walk(self._path):
            relative = Path(folder).relative_to(self._path)
            found.update((relative / f).as_posix() for f in files)
        return found

    def group(self) -> zarr.Group:
        """Open the directory with zarr."""
        return zarr.open_group(self._path, mode="r")


def _behind(buffers: Buffers, offset: int) -> list[memoryview]:
    rest = []
    for buffer in buffers:
        if offset < buffer.nbytes:
            rest.append(buffer[offset:])
            offset = 0
        else:
            offset -= buffer.nbytes
    return rest


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

    def read_into(self, key: str, buffers: Buffers) -> bool | None:
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
