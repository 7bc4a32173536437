"""Checkpoints in any zarr ``Store``: memory, zip, object stores.

There is no rename, so order takes its place: chunks first, then the documents of the arrays, and the
group's document last. A checkpoint exists when its group document does, and stops existing when that
is deleted, before anything else is. Durability is the store's own affair, and so is a second process:
only threads of this process are kept apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
import weakref
from collections.abc import Coroutine, Iterator
from typing import Any, final

from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from ringnb.checkpoint.format import ATTRIBUTE, DOCUMENT, FORMAT, root_document
from ringnb.checkpoint.shelf import Commit, Shelf, encode_chunk, entry_of, in_order
from ringnb.checkpoint.source import StoreSource
from ringnb.checkpoint.storage import CheckpointInfo
from ringnb.errors import CheckpointError

__all__ = ["StoreShelf"]


class _Shared:
    """What all shelves of this process on one store have in common."""

    def __init__(self, store: Store) -> None:
        self.store = store  # keeps the id, by which it is found, from being reused
        self.mutex = threading.RLock()
        self.sequence = 0


_shared: weakref.WeakValueDictionary[int, _Shared] = weakref.WeakValueDictionary()
_shared_guard = threading.Lock()


@final
class StoreShelf(Shelf):
    """A shelf in a zarr store.

    Parameters
    ----------
    store : zarr.abc.store.Store
        The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        with _shared_guard:
            shared = _shared.get(id(store))
            if shared is None:
                shared = _shared[id(store)] = _Shared(store)
        self._shared = shared

    @property
    def url(self) -> str:
        """The store's own name for itself."""
        return str(self._store)

    def _get(self, key: str) -> bytes | None:
        value: Any = sync(self._store.get(key, default_buffer_prototype()))
        return None if value is None else value.to_bytes()

    async def _set(self, key: str, data: bytes) -> None:
        await self._store.set(key, default_buffer_prototype().buffer.from_bytes(data))

    def _check_root(self) -> bool:
        raw = self._get(DOCUMENT)
        if raw is None:

            async def first() -> str | None:
                """Return any key."""
                async for key in self._store.list():
                    return key
                return None

            key = sync(first())
            if key is not None:
                raise self._refused(f"it holds {key!r} and no {DOCUMENT}")
            return False
        try:
            found = json.loads(raw)["attributes"][ATTRIBUTE]["format"]
        except (ValueError, LookupError, TypeError, RecursionError):
            why = f"its {DOCUMENT} has no attribute {ATTRIBUTE!r}, or is damaged"
            raise self._refused(why) from None
        if found != FORMAT:
            why = f"its format is {found!r} and this version knows {FORMAT}: use a newer ringnb"
            raise self._refused(why)
        return True

    def _refused(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"{self.url} is not a ringnb store: {why}. Choose another store; nothing was changed"
        )

    def catalogue(self) -> list[CheckpointInfo]:
        """Read every group document: names may be reused, so nothing is cached."""
        if not self._check_root():
            return []

        async def collect() -> list[tuple[str, bytes | None]]:
            """Read the group document under every name."""
            names = [n.rstrip("/") async for n in self._store.list_dir("")]
            names = [n for n in names if n != DOCUMENT]
            prototype = default_buffer_prototype()
            values = await asyncio.gather(
                *(self._store.get(f"{name}/{DOCUMENT}", prototype) for name in names)
            )
            return [
                (n, None if v is None else v.to_bytes()) for n, v in zip(names, values, strict=True)
            ]

        # Keys without a group document are a commit, or a removal, under way: they do not exist.
        found = (entry_of(name, raw) for name, raw in sync(collect()) if raw is not None)
        return in_order(entry for entry in found if entry is not None)

    def source(self, name: str) -> StoreSource:
        """Return the keys of a checkpoint."""
        self._check_root()
        return StoreSource(self._store, name)

    def occupied(self, name: str) -> bool:
        """Return whether there is a group document under a name."""
        return self._check_root() and self._get(f"{name}/{DOCUMENT}") is not None

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock among this process's threads."""
        if self._store.read_only:
            msg = f"{self.url} is read-only: open it for writing, or use another store"
            raise CheckpointError(msg)
        with self._shared.mutex:
            yield

    def put(self, commit: Commit) -> int:
        """Chunks, array documents, and the group document last."""
        taken = max((e.sequence for e in self.catalogue()), default=0)
        self._shared.sequence = max(self._shared.sequence, taken)
        stale = StoreSource(self._store, commit.name).keys()  # of a commit that was killed
        crcs: dict[str, list[int]] = {one.name: [0] * one.n_chunks for one in commit.layouts}
        try:
            if self._get(DOCUMENT) is None:
                sync(self._set(DOCUMENT, root_document()))
            for layout, number, chunk in commit.chunks():
                buffers, crc = encode_chunk(commit.fields[layout.name], layout, chunk)
                crcs[layout.name][number] = crc
                key = f"{commit.name}/{layout.name}/{chunk.key}"
                sync(self._set(key, b"".join(buffers)))
                stale.discard(f"{layout.name}/{chunk.key}")
            for layout in commit.layouts:
                key = f"{commit.name}/{layout.name}/{DOCUMENT}"
                sync(self._set(key, commit.documents[layout.name]))
                stale.discard(f"{layout.name}/{DOCUMENT}")
            self._delete(commit.name, stale)
            raw = commit.seal(crcs, self._shared.sequence + 1)
            written_ns = time.monotonic_ns()
            sync(self._set(f"{commit.name}/{DOCUMENT}", raw))
        except BaseException:
            with contextlib.suppress(Exception):
                self._delete(commit.name, {DOCUMENT})
                self._delete(commit.name, StoreSource(self._store, commit.name).keys())
            raise
        self._shared.sequence += 1
        return written_ns

    def remove(self, name: str, keys: set[str]) -> None:
        """The group document first: from then on the checkpoint does not exist."""
        foreign = StoreSource(self._store, name).keys() - keys
        if foreign:
            msg = (
                f"checkpoint {name!r} was not deleted: it holds {sorted(foreign)[0]!r}, which ringnb "
                "did not write. Move that away and delete it again"
            )
            raise CheckpointError(msg)
        self._delete(name, {DOCUMENT})
        self._delete(name, keys - {DOCUMENT})

    def _delete(self, name: str, keys: set[str]) -> None:
        async def delete() -> None:
            """Delete all keys at once."""
            tasks: list[Coroutine[Any, Any, None]] = [
                self._store.delete(f"{name}/{key}") for key in sorted(keys)
            ]
            await asyncio.gather(*tasks)

        if keys:
            sync(delete())

    def close(self) -> None:
        """Nothing to give up: the store belongs to whoever made it."""
