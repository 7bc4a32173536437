"""Zarr stores of all kinds: they hold checkpoints, or are refused at the first write with the reason."""

from __future__ import annotations

import os

import pytest
import zarr
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ObjectStore, WrapperStore, ZipStore

import ringnb as rn
from ringnb.checkpoint.storage.object_store.claims import Claims
from ringnb.testing.storages import make_snapshot

ONE, TWO, THREE = (f"a_0_step_{n}" for n in (1, 2, 3))


def keys_of(store):
    async def collect():
        return sorted([key async for key in store.list()])

    return sync(collect())


def use(store):
    """Do everything with a store, and return its storage."""
    storage = rn.ZarrStorage(store)
    assert storage.list() == []
    storage.save(ONE, make_snapshot(1))
    storage.save(TWO, make_snapshot(2))
    storage.pin(ONE, "kept")
    assert [entry.sequence for entry in storage.catalogue()] == [1, 2]
    storage.unpin(ONE)
    storage.delete(ONE)
    storage.save(ONE, make_snapshot(1))
    for name in (TWO, ONE):
        storage.load(name).verify()
    storage.quarantine(TWO)
    assert storage.list() == [ONE]
    assert storage.foreign() == []
    return storage


@pytest.mark.parametrize(
    "wrap", [lambda s: s, WrapperStore, zarr.storage.LoggingStore], ids=["plain", "wrapped", "log"]
)
@pytest.mark.parametrize("kind", ["memory", "a directory", "obstore"])
def test_storage_rule_22_stores_in_memory_and_those_that_wrap_others_work(kind, wrap, tmp_path):
    if kind == "memory":
        store = MemoryStore()
    elif kind == "a directory":
        store = LocalStore(tmp_path / "s.zarr")
    else:
        store = ObjectStore(pytest.importorskip("obstore").store.MemoryStore())
    use(wrap(store))
    tops = {key.partition("/")[0] for key in keys_of(store)}
    assert tops - {".ringnb"} == {ONE, "zarr.json"}  # and nothing of what was tried
    if kind == "a directory":
        assert not [name for name in os.listdir(tmp_path / "s.zarr") if "probe" in name]


@pytest.mark.parametrize("kind", ["zarr", "obstore", "fsspec"])
def test_storage_rule_22_a_store_in_a_local_directory_is_that_directory(kind, path):
    if kind == "zarr":
        store = LocalStore(path)
    elif kind == "obstore":
        store = ObjectStore(pytest.importorskip("obstore").store.LocalStore(path, mkdir=True))
    else:
        pytest.importorskip("fsspec")
        store = FsspecStore.from_url(f"file://{path}")
    with use(store) as storage:
        assert storage.folders == (path, path.parent / ".store.zarr.ringnb")
    reader = rn.ZarrStorage(store.with_read_only(True))
    assert reader.list() == [ONE]


def test_storage_rule_22_a_read_only_store_is_read(path):
    for store in (LocalStore(path, read_only=True), MemoryStore(read_only=True)):
        storage = rn.ZarrStorage(store)
        assert storage.list() == []
        with pytest.raises(rn.CheckpointError, match="is read-only: open it for writing"):
            storage.save(ONE, make_snapshot(1))
    assert not path.exists()


class Remembering(FsspecStore):
    """Lists what it has listed before, as file systems of fsspec do, until it is told to forget."""

    names = None

    async def list_dir(self, prefix):
        if self.names is None:
            self.names = [name async for name in super().list_dir(prefix)]
        for name in self.names:
            yield name

    def forget(self):
        self.names = None


def test_storage_rule_22_fsspec_is_asked_anew_what_there_is(monkeypatch):
    pytest.importorskip("fsspec")
    plain = FsspecStore.from_url("memory://rule-22")
    other = rn.ZarrStorage(plain)
    other.save(ONE, make_snapshot(1))
    store = Remembering(plain.fs, path=plain.path)
    monkeypatch.setattr(store.fs, "invalidate_cache", store.forget)
    storage = rn.ZarrStorage(store)
    assert storage.list() == [ONE]
    other.save(TWO, make_snapshot(2))
    assert storage.list() == [ONE, TWO]
    storage.save(THREE, make_snapshot(3))
    assert [entry.sequence for entry in storage.catalogue()] == [1, 2, 3]


def test_storage_rule_22_several_zarr_stores_of_one_place_share_their_numbers():
    values = {}
    one, two = (rn.ZarrStorage(s) for s in (MemoryStore(values), WrapperStore(MemoryStore(values))))
    assert one._backend._shared is two._backend._shared
    assert one._backend._shared is not rn.ZarrStorage(MemoryStore())._backend._shared


# -- stores that cannot -------------------------------------------------------------------------------


class Failing(MemoryStore):
    """Does one thing otherwise than a store of checkpoints must."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    supports_writes = property(lambda self: self.fault != "no writes")
    supports_deletes = property(lambda self: self.fault != "no deletes")
    supports_listing = property(lambda self: self.fault != "no listing")

    async def get(self, key, prototype, byte_range=None):
        value = await super().get(key, prototype, byte_range)
        if value is not None and self.fault == "other bytes":
            return prototype.buffer.from_bytes(value.to_bytes().upper())
        return value

    async def set(self, key, value):
        if self.fault == "zarr keys only" and not key.rpartition("/")[2].startswith("zarr.json"):
            raise ValueError(f"invalid zarr key {key!r}.\nand much more")
        if self.fault == "written once" and await self.exists(key):
            raise FileExistsError(key)
        if self.fault != "visible later":
            await super().set(key, value)

    async def delete(self, key):
        if self.fault == "not deleted":
            return
        if self.fault == "no right to delete":
            raise PermissionError(13, "Permission denied")
        if self.fault == "missing cannot be deleted" and not await self.exists(key):
            raise KeyError(key)
        await super().delete(key)

    async def list_prefix(self, prefix):
        async for key in super().list_prefix(prefix):
            yield key.removeprefix(prefix) if self.fault == "relative listing" else key

    async def list_dir(self, prefix):
        if self.fault != "no names":
            async for name in super().list_dir(prefix):
                yield name


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("no writes", "it cannot be written"),
        ("no deletes", r"it cannot delete.*`ringnb export`"),
        (
            "zarr keys only",
            r"to put a key failed: ValueError: invalid zarr key '\S*'\. Mend that, or",
        ),
        ("written once", "to put a key anew failed: FileExistsError"),
        ("visible later", r"to get what was put \(put a key\) gave None"),
        ("other bytes", r"to get what was put \(put a key\) gave b'FIRST' in place of b'first'"),
        ("not deleted", "to get a key that was deleted gave b'second!'"),
        ("no right to delete", "to delete a key failed: PermissionError"),
        ("missing cannot be deleted", "to delete a key that does not exist failed: KeyError"),
        ("relative listing", "to list the keys below a prefix gave"),
        ("no names", r"to list the names at the root gave \[\]"),
    ],
)
def test_storage_rule_22_what_a_store_lacks_is_said_before_anything_is_written(fault, why):
    store = Failing(fault)
    storage = rn.ZarrStorage(store)
    assert storage.list() == []
    for operation in (lambda: storage.save(ONE, make_snapshot(1)), lambda: storage.delete(ONE)):
        with pytest.raises(rn.CheckpointError, match=rf"cannot take checkpoints: {why}") as caught:
            operation()
        assert "or use a directory, s3://bucket/prefix or another zarr Store" in str(caught.value)
    if "delete" not in fault:
        assert keys_of(store) == []
    store.fault = None  # what was mended is tried again
    storage.save(ONE, make_snapshot(1))
    assert storage.list() == [ONE]


def test_storage_rule_22_a_store_that_cannot_list_is_refused_to_readers_too():
    store = Failing("no listing")
    with pytest.raises(rn.CheckpointError, match="cannot list its keys, so the checkpoints in it"):
        rn.ZarrStorage(store).list()
    store.fault = None
    rn.ZarrStorage(store).save(ONE, make_snapshot(1))
    store.fault = "no listing"
    with pytest.raises(rn.CheckpointError, match="cannot list its keys"):
        rn.ZarrStorage(store).list()
    rn.ZarrStorage(store).load(ONE).verify()  # of which the name is known


class Transaction(MemoryStore):
    """Like a store of icechunk: it keeps what is put only if its session is committed."""

    @property
    def session(self):
        return self

    def commit(self, message):
        raise AssertionError(message)


def test_storage_rule_22_a_store_that_keeps_only_what_is_committed_is_refused():
    storage = rn.ZarrStorage(Transaction())
    with pytest.raises(rn.CheckpointError, match="lasts only if its session is committed"):
        storage.save(ONE, make_snapshot(1))
    assert keys_of(storage._backend._store) == []


def test_storage_rule_22_icechunk_is_refused_and_left_as_it_was():
    icechunk = pytest.importorskip("icechunk")
    session = icechunk.Repository.create(icechunk.in_memory_storage()).writable_session("main")
    for store in (session.store, WrapperStore(session.store)):
        storage = rn.ZarrStorage(store)
        assert storage.list() == []
        with pytest.raises(rn.CheckpointError, match="cannot take checkpoints"):
            storage.save(ONE, make_snapshot(1))
    assert not session.has_uncommitted_changes


def test_storage_rule_22_a_zip_file_is_refused_and_holds_nothing_then(tmp_path):
    storage = rn.ZarrStorage(ZipStore(tmp_path / "a.zip", mode="w"))
    with pytest.raises(rn.CheckpointError, match="`ringnb export`"):
        storage.save(ONE, make_snapshot(1))
    assert keys_of(storage._backend._store) == []


# -- conditional puts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        ("create", NotImplementedError()),
        ("exchange", NotImplementedError()),
        ("create", RuntimeError("501 Not Implemented: <Error><Code>NotImplemented</Code></Error>")),
        ("ignored", None),
    ],
)
def test_storage_rule_22_without_both_conditional_puts_threads_are_kept_apart(
    refused, error, monkeypatch
):
    obstore = pytest.importorskip("obstore")
    real = obstore.put

    def put(store, key, data, *, mode="overwrite", **options):
        if refused == "ignored":
            mode = "overwrite"
        elif mode != "overwrite" and (mode == "create") == (refused == "create"):
            raise error
        return real(store, key, data, mode=mode, **options)

    monkeypatch.setattr(obstore, "put", put)
    store = obstore.store.MemoryStore()
    assert not Claims(store, "here").supported
    storage = use(ObjectStore(store))
    assert not [key for key in keys_of(storage._backend._store) if "probe" in key or "seq" in key]


def test_storage_rule_22_a_server_that_cannot_be_reached_is_not_taken_for_one_without_conditions(
    monkeypatch,
):
    obstore = pytest.importorskip("obstore")

    def put(*_, **__):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(obstore, "put", put)
    claims = Claims(obstore.store.MemoryStore(), "here")
    with pytest.raises(OSError, match="unreachable"):
        _ = claims.supported
    monkeypatch.undo()
    assert claims.supported
