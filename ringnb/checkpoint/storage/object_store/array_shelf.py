"""The prefix of a zarr ``Store`` under which read-only arrays lie: order takes the place of a rename."""

from __future__ import annotations

from collections.abc import Collection
from typing import final

from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from ringnb.checkpoint.storage.arrays import (
    GROUP_DOCUMENT,
    ArrayFiles,
    ArrayShelf,
    is_array_key,
)
from ringnb.checkpoint.storage.format import DOCUMENT, WORK_AREA
from ringnb.checkpoint.storage.source import StoreSource

__all__ = ["StoreShelf"]

_PREFIX = f"{WORK_AREA}/arrays"


@final
class StoreShelf(ArrayShelf):
    """Arrays in one zarr ``Store``, which several processes may write."""

    one_writer = False

    def __init__(self, store: Store) -> None:
        self._store = store

    def source(self, key: str) -> StoreSource:
        """Return the keys of an array."""
        return StoreSource(self._store, f"{_PREFIX}/{key}")

    def keys(self) -> list[str]:
        """List what lies below the prefix."""
        found = StoreSource(self._store, _PREFIX).keys()
        return sorted({name for name in (k.partition("/")[0] for k in found) if is_array_key(name)})

    def put(self, key: str, parts: ArrayFiles) -> None:
        """Put the document last: with it the array is there."""
        for folder in (WORK_AREA, _PREFIX):  # so that zarr can list it
            if StoreSource(self._store, folder).size(DOCUMENT) is None:
                self._set(f"{folder}/{DOCUMENT}", GROUP_DOCUMENT)
        for name, buffers in parts.items():
            self._set(f"{_PREFIX}/{key}/{name}", b"".join(buffers))

    def _set(self, key: str, data: bytes) -> None:
        sync(self._store.set(key, default_buffer_prototype().buffer.from_bytes(data)))

    def remove(self, keys: Collection[str]) -> None:
        """Delete the document first."""
        for key in keys:
            rest = sorted(self.source(key).keys() - {DOCUMENT})
            for name in (DOCUMENT, *rest):
                sync(self._store.delete(f"{_PREFIX}/{key}/{name}"))
