"""The directory of a local store's read-only arrays, beside it.

An array appears, and goes, by one rename within that directory: what a kill, or a power cut, leaves
under a name that begins with a dot is removed the next time that arrays are.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import final

from ringnb.checkpoint.storage.arrays import (
    GROUP_DOCUMENT,
    ArrayFiles,
    ArrayShelf,
    is_array_key,
)
from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.directory.work_area import work_area_of
from ringnb.checkpoint.storage.format import DOCUMENT, looks_like_part
from ringnb.checkpoint.storage.permissions import share_like
from ringnb.checkpoint.storage.source import DirectorySource

__all__ = ["DirectoryShelf"]

_SUFFIX = ".arrays.zarr"
_LEFT = re.compile(r"\..+\.[0-9a-f]{12}")


@final
class DirectoryShelf(ArrayShelf):
    """Arrays of one local store.

    Where ringnb has to work inside the store, because its parent cannot be written or is another file
    system, they lie in the work area.
    """

    one_writer = True

    def __init__(self, store: Path) -> None:
        self._store = store
        area = work_area_of(store)
        beside = store.with_name(f"{store.name.removesuffix('.zarr')}{_SUFFIX}")
        self.path = area / "arrays" if area.parent == store else beside

    @property
    def shared(self) -> bool:
        """Whether another store has this directory, too: ``waves`` and ``waves.zarr`` do."""
        name = self._store.name
        other = name.removesuffix(".zarr") if name.endswith(".zarr") else f"{name}.zarr"
        return self.path.parent == self._store.parent and self._store.with_name(other).is_dir()

    def source(self, key: str) -> DirectorySource:
        """Return the files of an array."""
        return DirectorySource(self.path / key)

    def loose(self, key: str) -> DirectorySource | None:
        """Look in the directories of arrays that lie in the store."""
        found = sorted(self._store.glob(f"*{_SUFFIX}/{key}"))
        return DirectorySource(found[0]) if found else None

    def keys(self) -> list[str]:
        """Return the keys of the arrays that are there, sorted."""
        try:
            names = os.listdir(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if is_array_key(name))

    def put(self, key: str, parts: ArrayFiles) -> None:
        """Write an array, durably: who finds it later need not ask who wrote it."""
        self._make()
        staged = self._hidden(key)
        try:
            files.make_directory(staged)
            share_like(self._store, staged)
            for name, buffers in parts.items():
                files.write_file(staged / name, buffers, durable=True)
            files.sync_directory(staged)
            if os.path.lexists(self.path / key):  # it has lost its document
                files.rename(self.path / key, self._hidden(key))
            files.rename(staged, self.path / key)
        except BaseException:
            with contextlib.suppress(OSError):
                self._remove(staged)
            raise
        files.sync_directory(self.path)

    def _make(self) -> None:
        with contextlib.suppress(FileExistsError):
            files.make_directory(self.path)
            share_like(self._store, self.path)
        if not (self.path / DOCUMENT).exists():
            staged = self._hidden(DOCUMENT)
            files.write_file(staged, [GROUP_DOCUMENT], durable=True)
            share_like(self._store, staged)
            files.place(staged, self.path / DOCUMENT)
        files.sync_directory(self.path.parent)

    def remove(self, keys: Collection[str]) -> None:
        """Remove arrays, but none into which a user has put something."""
        if not self.path.is_dir():
            return
        for key in keys:
            if all(_is_ours(name) for name in os.listdir(self.path / key)):
                files.rename(self.path / key, self._hidden(key))
        files.sync_directory(self.path)
        for name in os.listdir(self.path):
            if _LEFT.fullmatch(name):
                self._remove(self.path / name)

    def _hidden(self, name: str) -> Path:
        """Return a name that is not an array's, at which nothing lies yet."""
        return self.path / f".{name}.{uuid.uuid4().hex[:12]}"

    def _remove(self, path: Path) -> None:
        if not path.is_dir():
            files.remove_file(path)
            return
        for name in filter(_is_ours, os.listdir(path)):
            files.remove_file(path / name)
        with contextlib.suppress(OSError):  # something of a user's stays
            files.remove_directory(path)


def _is_ours(name: str) -> bool:
    return looks_like_part(f"array/{name}")
