"""Checkpoints in any zarr ``Store``: memory, zip, object stores.

There is no rename, so order takes its place: chunks first, then the documents of the arrays, and the
group's document last. A checkpoint exists when its group document does, and stops existing when that
is deleted, before anything else is. What lies beside the checkpoints has the prefix ``.ringnb/``:
claims and the counter of writers (`ringnb.checkpoint.storage.object_store.claims`), and what was
moved to quarantine.

Durability is the store's own affair. Writers of different processes are kept apart where the store has
conditional puts (object stores); in any other store only threads of this process are.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import Collection, Coroutine, Iterator
from typing import Any, final

from zarr.abc.store import Store
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, WrapperStore

from ringnb._support.pool import WorkerPool
from ringnb.checkpoint.storage.backend import Backend, Commit, why_foreign
from ringnb.checkpoint.storage.catalogue import Catalogue, entry_of
from ringnb.checkpoint.storage.document import MAX_DOCUMENT_BYTES
from ringnb.checkpoint.storage.format import (
    DOCUMENT,
    WORK_AREA,
    FieldLayout,
    allows_checkpoint_name,
    checkpoint_keys,
    free_name,
    is_stray,
    root_document,
)
from ringnb.checkpoint.storage.object_store.array_shelf import StoreShelf
from ringnb.checkpoint.storage.object_store.claims import Claims
from ringnb.checkpoint.storage.object_store.probe import check_lists, check_takes_checkpoints
from ringnb.checkpoint.storage.records import CheckpointInfo, SaveReceipt, new_id
from ringnb.checkpoint.storage.source import StoreSource, fetch
from ringnb.errors import CheckpointNotFound

__all__ = ["ObjectStoreBackend"]

_WORKERS = 4  # requests under way at a time, each with a chunk in memory


class _Shared:
    """What all storages of this process on one store have in common."""

    def __init__(self, store: Store) -> None:
        self.store = store  # an id that may be part of the name, by which it is found, stays in use
        self.mutex = threading.RLock()
        self.sequence = 0
        self.takes_checkpoints = False  # not known yet


_shared: weakref.WeakValueDictionary[str, _Shared] = weakref.WeakValueDictionary()
_shared_guard = threading.Lock()


def _shared_of(store: Store) -> _Shared:
    """Return what this process has for a store: several zarr stores may be of one place."""
    inner = store
    while isinstance(inner, WrapperStore):
        inner = inner._store
    with _shared_guard:
        shared = _shared.get(str(inner))
        if shared is None:
            shared = _shared[str(inner)] = _Shared(store)
        return shared


@final
class ObjectStoreBackend(Backend):
    """A store in a zarr ``Store``."""

    def __init__(self, store: Store) -> None:
        # zarr opens a store at the first use through its own interface, which is not the one used here.
        sync(store._ensure_open())
        self._store = store
        self._store_id: str | None = None
        self._shared = _shared_of(store)
        inner: Any = getattr(store, "store", None)  # of a zarr ObjectStore
        self._is_object_store = type(inner).__module__.startswith("obstore")
        self._claims = Claims(inner, self.url) if self._is_object_store else None
        self._swept = False

    @property
    def url(self) -> str:
        """The store's own name for itself."""
        return str(self._store)

    # -- reading ---------------------------------------------------------------------------------

    def _get(self, key: str) -> bytes | None:
        return sync(fetch(self._store, key, MAX_DOCUMENT_BYTES))

    def created(self) -> bool:
        """Look for the root document, or any other key that is not a stray one."""
        self._forget_listings()
        raw = self._get(DOCUMENT)
        if raw is None:
            check_lists(self._store)

            async def first() -> str | None:
                async for key in self._store.list():
                    if not is_stray(key.partition("/")[0]):
                        return key
                return None

            key = sync(first())
            if key is not None and self._get(DOCUMENT) is None:
                raise self.rootless(f"it holds {key!r} and no {DOCUMENT}")
            return key is not None  # made since the first look
        self._store_id = self.check_marker(raw)
        return True

    def _forget_listings(self) -> None:
        """Have fsspec ask the server again: what it remembers lacks the commits of other processes."""
        if isinstance(self._store, FsspecStore):
            for fs in (self._store.fs, getattr(self._store.fs, "sync_fs", self._store.fs)):
                fs.invalidate_cache()

    @property
    def store_id(self) -> str | None:
        """The id in the root document."""
        return self._store_id

    def _read_catalogue(self, leave_out: Collection[str] = ()) -> Catalogue:
        """Read every group document: names may be reused, so nothing is remembered."""
        return self._read_all(leave_out) if self.created() else Catalogue()

    def _read_all(self, leave_out: Collection[str] = ()) -> Catalogue:
        check_lists(self._store)

        async def collect() -> list[tuple[str, bytes | None]]:
            names = [n.rstrip("/") async for n in self._store.list_dir("")]
            names = [n for n in names if allows_checkpoint_name(n) and n not in leave_out]
            values = await asyncio.gather(
                *(fetch(self._store, f"{n}/{DOCUMENT}", MAX_DOCUMENT_BYTES) for n in names)
            )
            return list(zip(names, values, strict=True))

        # Keys without a group document are a commit, or a removal, under way: they do not exist.
        found = (
            entry_of(name, raw, self._store_id) for name, raw in sync(collect()) if raw is not None
        )
        return Catalogue(entry for entry in found if entry is not None)

    def catalogue(self) -> list[CheckpointInfo]:
        """List the store."""
        return self._read_catalogue().entries()

    def orphans(self) -> list[CheckpointInfo]:
        """List what has a group document."""
        return self._read_all().entries()

    def root(self) -> bytes | None:
        """Get the root document."""
        return self._get(DOCUMENT)

    def history(
        self, name_prefix: str, kernel_id: str, others: Collection[str] = ()
    ) -> list[CheckpointInfo]:
        """List an actor's checkpoints."""
        return self._read_catalogue(others).history(name_prefix, kernel_id)

    def parts(self, name_prefix: str, kernel_id: str) -> list[CheckpointInfo]:
        """List an actor's parts of cuts."""
        return self._read_catalogue().parts(name_prefix, kernel_id)

    def foreign(self) -> list[tuple[str, str]]:
        """Look at every name below the root."""
        if not self.created():
            return []

        async def collect() -> dict[str, bool]:
            """Return each name, and whether it is a prefix."""
            first: dict[str, bool] = {}
            async for key in self._store.list():
                name, is_prefix, _ = key.partition("/")
                first[name] = bool(is_prefix)
            return first

        ours = {entry.name for entry in self.catalogue()} | {DOCUMENT, WORK_AREA}
        return [
            (name, why_foreign(name, self._get(f"{name}/{DOCUMENT}"), is_directory=is_prefix))
            for name, is_prefix in sorted(sync(collect()).items())
            if name not in ours
        ]

    def source(self, name: str) -> StoreSource:
        """Return the keys of a checkpoint."""
        return StoreSource(self._store, name)

    def occupied(self, name: str) -> bool:
        """Return whether there is a group document under a name."""
        return self.created() and self._get(f"{name}/{DOCUMENT}") is not None

    def freed_by(self, names: Collection[str]) -> int:
        """Add up what is stored under the names."""
        total = 0
        for name in names:
            source = self.source(name)
            total += sum(source.size(key) or 0 for key in sorted(source.parts()))
        return total

    @property
    def arrays(self) -> StoreShelf:
        """The prefix of read-only arrays."""
        return StoreShelf(self._store)

    # -- writing ---------------------------------------------------------------------------------

    def why_unwritable(self) -> str | None:
        """Ask the store."""
        return str(self.read_only()) if self._store.read_only else None

    @contextlib.contextmanager
    def writing(self, *, adopting: bool = False) -> Iterator[None]:
        """Hold the lock among this process's threads."""
        if self._store.read_only:
            raise self.read_only()
        with self._shared.mutex:
            if not adopting:
                self.created()
            if not self._shared.takes_checkpoints:
                check_takes_checkpoints(self._store)
                self._shared.takes_checkpoints = True
            if self._claims is not None and not self._claims.supported:
                self._claims = None
            if self._claims is not None and not self._swept:
                self._sweep(self._claims)
                self._swept = True
            yield

    def _sweep(self, claims: Claims) -> None:
        """Remove what dead writers left: keys without a group document, and their claims."""
        for name in claims.abandoned():
            if self._get(f"{name}/{DOCUMENT}") is None:
                self._delete(self.source(name).parts(), name)
            claims.drop(name)

    def put(self, commit: Commit) -> SaveReceipt:
        """Chunks, array documents, and the group document last."""
        if self._claims is None:
            return self._write(commit)
        self._claims.take(commit.name)
        try:
            return self._write(commit)
        finally:
            with contextlib.suppress(Exception):  # a claim that stays is swept
                self._claims.drop(commit.name)

    def _write(self, commit: Commit) -> SaveReceipt:
        name = commit.name
        self.check_free(name, taken=self._get(f"{name}/{DOCUMENT}") is not None)
        catalogue = self._read_catalogue()
        stale = self.source(name).parts()  # of a commit that was killed
        crcs = {layout.name: [0] * layout.n_chunks for layout in commit.layouts}

        def write_chunk(chunk: tuple[FieldLayout, int]) -> None:
            layout, number = chunk
            key, encoded = commit.encode(layout, number)
            self._set(f"{name}/{layout.name}/{key}", encoded.whole())
            crcs[layout.name][number] = encoded.crc

        is_sent = False
        try:
            if self._get(DOCUMENT) is None:
                self._make_root()
            workers = commit.workers(_WORKERS, copies=3)  # ours, the request's, its body's
            with WorkerPool(workers, thread_name_prefix="ringnb-put") as pool:
                for _ in pool.map(write_chunk, commit.chunks()):
                    pass
            for layout in commit.layouts:
                self._set(f"{name}/{layout.name}/{DOCUMENT}", layout.raw)
            self._delete(stale - checkpoint_keys(commit.layouts), name)
            sequence = (
                self._next_sequence(catalogue)
                if commit.place is None
                else commit.number_below(catalogue.first_sequence)
            )
            raw, _ = commit.render(crcs, sequence, self._store_id)
            if self.fence is not None:
                self.fence()
            written_ns = time.monotonic_ns()
            is_sent = True
            self._set(f"{name}/{DOCUMENT}", raw)
        except BaseException:
            with contextlib.suppress(Exception):
                # Without claims another process may have committed the name meanwhile: then all is its.
                if is_sent or self._get(f"{name}/{DOCUMENT}") is None:
                    self._delete_checkpoint(name)
            raise
        others = frozenset(
            entry.name
            for entry in catalogue.entries()
            if not entry.damaged and (entry.name_prefix, entry.kernel_id) != commit.actor_key
        )
        branch_points = catalogue.branch_points(commit.actor_key)
        return SaveReceipt(
            *(written_ns, time.monotonic_ns(), commit.nbytes, others, branch_points),
            bad=commit.found_bad(),
        )

    def _make_root(self) -> None:
        """Mark the store; if another writer does so at the same moment, its root document is the one."""
        raw = root_document(new_id())
        if self._claims is not None:
            self._claims.create(DOCUMENT, raw)
        elif self._is_object_store:  # it ignores the condition, or refuses the request
            self._set(DOCUMENT, raw)
        else:
            sync(self._store.set_if_not_exists(DOCUMENT, _buffer(raw)))
        self.created()

    def _next_sequence(self, catalogue: Catalogue) -> int:
        shared = self._shared
        last = max(shared.sequence, catalogue.last_sequence)
        shared.sequence = last + 1 if self._claims is None else self._claims.next_sequence(last)
        return shared.sequence

    def _set(self, key: str, data: bytes | memoryview) -> None:
        sync(self._store.set(key, _buffer(data)))

    def replace_document(self, name: str, raw: bytes) -> None:
        """Put the new one over the old one: a put is all or nothing."""
        self._set(f"{name}/{DOCUMENT}", raw)

    def replace_root(self, raw: bytes) -> None:
        """Put it there."""
        self._set(DOCUMENT, raw)
        self.created()

    def remove(self, name: str, keys: set[str]) -> None:
        """The group document first: from then on the checkpoint does not exist."""
        self._delete_checkpoint(name, keys)

    def quarantine(self, name: str) -> str:
        """Copy to ``.ringnb/damaged``, under a name that is free there, then remove."""
        source = self.source(name)
        keys = source.keys()
        if not keys:
            msg = f"no checkpoint {name!r}: see list()"
            raise CheckpointNotFound(msg)
        folder = f"{WORK_AREA}/damaged"
        free = free_name(name, lambda n: bool(self.source(f"{folder}/{n}").keys()))
        target = f"{folder}/{free}"
        for key in sorted(keys):
            self._set(f"{target}/{key}", source.read(key, MAX_DOCUMENT_BYTES * 16) or b"")
        self._delete_checkpoint(name, keys)
        return f"{self.url}/{target}"

    def _delete_checkpoint(self, name: str, keys: set[str] | None = None) -> None:
        """Delete some keys of a checkpoint, or all that have the form of a commit's."""
        self._delete({DOCUMENT}, name)  # first: from now on it does not exist, whatever fails
        rest = self.source(name).parts() if keys is None else keys
        self._delete(rest - {DOCUMENT}, name)

    def _delete(self, keys: set[str], name: str) -> None:
        async def delete() -> None:
            tasks: list[Coroutine[Any, Any, None]] = [
                self._store.delete(f"{name}/{key}") for key in sorted(keys)
            ]
            await asyncio.gather(*tasks)

        if keys:
            sync(delete())

    def close(self) -> None:
        """Nothing to give up: the store belongs to its creator."""


def _buffer(data: bytes | memoryview) -> Buffer:
    return default_buffer_prototype().buffer.from_bytes(data)
