"""What a user does to a store with other tools: files of their own, copies, attributes, an archive.

Each change is there or not after a crash (it is staged beside the store, synced and renamed), so that
what goes wrong afterwards is ringnb's doing.
"""

from __future__ import annotations

import functools
import io
import json
import os
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.directory.work_area import work_area_of
from ringnb.checkpoint.storage.format import DOCUMENT
from ringnb.checkpoint.storage.records import Snapshot
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage

__all__ = ["User", "archive_of", "archive_path"]

_ATTRIBUTE = "mine"
_TOKEN = b"user "  # how the files of a user begin


class User:
    """A user at a store: a directory, or a zarr store that can be listed."""

    def __init__(self, place: Path | Store) -> None:
        self._place = place

    def put(self, contents: Mapping[str, bytes]) -> None:
        """Write files, by key; or over those that are there."""
        for key, data in contents.items():
            if isinstance(self._place, Path):
                self._put_file(self._place / key, data)
            else:
                sync(self._place.set(key, default_buffer_prototype().buffer.from_bytes(data)))

    def _put_file(self, path: Path, data: bytes) -> None:
        missing = [p for p in (path.parent, *path.parent.parents) if not p.exists()]
        for folder in reversed(missing):
            files.make_directory(folder)
            files.sync_directory(folder.parent)
        staged = self._staged()
        files.write_file(staged, [data], durable=True)
        files.rename(staged, path)
        files.sync_directory(path.parent)

    def _staged(self) -> Path:
        assert isinstance(self._place, Path)
        return self._place.parent / f"user-{uuid.uuid4().hex}"

    def copy(self, name: str, to: str) -> None:
        """Copy a checkpoint, as a file manager does."""
        contents = self._contents(name)
        last = {DOCUMENT: contents.pop(DOCUMENT)}
        if not isinstance(self._place, Path):
            self.put({f"{to}/{key}": data for key, data in {**contents, **last}.items()})
            return
        staged = self._staged()
        folders = {staged}
        for key in (*contents, *last):
            folders |= {staged / parent for parent in Path(key).parents}
        for folder in sorted(folders):
            files.make_directory(folder)
        for key, data in {**contents, **last}.items():
            files.write_file(staged / key, [data], durable=True)
        for folder in sorted(folders, reverse=True):
            files.sync_directory(folder)
        files.rename(staged, self._place / to)
        files.sync_directory(self._place)

    def _contents(self, name: str) -> dict[str, bytes]:
        if isinstance(self._place, Path):
            folder = self._place / name
            return {
                str(p.relative_to(folder)): p.read_bytes()
                for p in sorted(folder.rglob("*"))
                if p.is_file()
            }
        prefix = f"{name}/"
        return {k[len(prefix) :]: v for k, v in self._objects().items() if k.startswith(prefix)}

    def _objects(self) -> dict[str, bytes]:
        assert isinstance(self._place, Store)

        async def collect(store: Store) -> dict[str, bytes]:
            found = {}
            async for key in store.list():
                value = await store.get(key, default_buffer_prototype())
                found[key] = b"" if value is None else value.to_bytes()
            return found

        return sync(collect(self._place))

    def mark(self, name: str, value: str) -> None:
        """Add an attribute to a checkpoint, and write its document as zarr does."""
        document = json.loads(self._contents(name)[DOCUMENT])
        document["attributes"][_ATTRIBUTE] = value
        self.put({f"{name}/{DOCUMENT}": json.dumps(document, indent=2).encode()})

    def mark_of(self, name: str) -> str | None:
        """Return what `mark` has added, None if nothing."""
        document: dict[str, Any] = json.loads(self._contents(name)[DOCUMENT])
        mark: str | None = document["attributes"].get(_ATTRIBUTE)
        return mark

    def lose_root(self) -> None:
        """Remove the root document of a store that is a directory, if it is there."""
        assert isinstance(self._place, Path)
        if (self._place / DOCUMENT).exists():
            files.remove_file(self._place / DOCUMENT)
            files.sync_directory(self._place)

    def lost(self, tokens: Iterable[str]) -> set[str]:
        """Return which contents no file holds any more, wherever in the store or its work area."""
        if isinstance(self._place, Path):
            found = set()
            for folder in (self._place, work_area_of(self._place)):
                for path in folder.rglob("*"):
                    if path.is_file() and path.stat().st_size < 100:
                        found.add(path.read_bytes())
        else:
            found = set(self._objects().values())
        return {token for token in tokens if token.encode() not in found}

    def has_all(self, name: str) -> bool:
        """Return whether all that lies under a name is the user's."""
        contents = self._contents(name).values()
        return bool(contents) and all(data.startswith(_TOKEN) for data in contents)


def archive_of(snapshots: Mapping[str, Snapshot], chunk_bytes: int) -> bytes:
    """Return an archive of states, in that order, as `ringnb export` lays it out."""
    store = MemoryStore()
    storage = ZarrStorage(store, chunk_bytes=chunk_bytes)
    for name, snapshot in snapshots.items():
        storage.save(name, snapshot)
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
        for key, data in sorted(User(store)._objects().items()):
            archive.writestr(key, data)
    return raw.getvalue()


@functools.cache
def archive_path(raw: bytes) -> str:
    """Return the path of a file in memory that holds an archive; it goes with the process."""
    fd = os.memfd_create("trial.zip")
    os.write(fd, raw)
    return f"/proc/self/fd/{fd}"
