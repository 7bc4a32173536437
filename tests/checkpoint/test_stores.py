"""Every place that keeps checkpoints passes the same contract; what each adds is tested here."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import tracemalloc
import zipfile
import zlib
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore, ZipStore

import ringnb as rn
from ringnb.checkpoint.storage.archive import export_archive, import_archive, open_archive
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.cli import command_line as cli
from ringnb.testing.clock import ManualClock
from ringnb.testing.storages import StorageTests, make_snapshot

ONE, TWO, THREE = (f"checkpoint_0_step_{n}" for n in (1, 2, 3))


# -- one contract -----------------------------------------------------------------------------------


class TestFileUrl(StorageTests):
    @pytest.fixture
    def storage(self, tmp_path):
        with rn.ZarrStorage(f"file://{tmp_path}/with%20blank.zarr", durable=False) as storage:
            yield storage
            assert (tmp_path / "with blank.zarr" / "zarr.json").exists() or not storage.is_created


class TestIncrementalDirectory(StorageTests):
    @pytest.fixture
    def storage(self, tmp_path):
        with rn.ZarrStorage(tmp_path / "s.zarr", incremental=True, durable=False) as storage:
            yield storage


class TestMemoryUrl(StorageTests):
    @pytest.fixture
    def storage(self, tmp_path):
        with rn.ZarrStorage(f"memory://{tmp_path}") as storage:
            yield storage


class TestIncrementalMemory(StorageTests):
    @pytest.fixture
    def storage(self):
        return rn.ZarrStorage(MemoryStore(), incremental=True)


class ThroughZip(CheckpointStorage):
    """Every save goes through an archive: saved elsewhere, exported, imported."""

    def __init__(self, folder):
        self.main = rn.ZarrStorage(folder / "main.zarr", durable=False)
        self.folder = folder
        self.numbers = itertools.count()

    def save(self, name, snapshot):
        number = next(self.numbers)
        scratch = rn.ZarrStorage(MemoryStore())
        scratch.save(name, snapshot)
        archive = self.folder / f"{number}.zip"
        export_archive(scratch, archive)
        if import_archive(archive, self.main) != [name]:
            raise AssertionError(name)

    def load(self, name):
        return self.main.load(name)

    def list(self):
        return self.main.list()

    def delete(self, name):
        self.main.delete(name)

    def exists(self, name):
        return self.main.exists(name)

    def close(self):
        self.main.close()


class TestThroughZip(StorageTests):
    @pytest.fixture
    def storage(self, tmp_path):
        with ThroughZip(tmp_path) as storage:
            yield storage


@pytest.fixture(scope="session")
def s3():
    """Start a real HTTP server that speaks S3, on loopback."""
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.items():
            patch.setenv(key, value)
        client = boto3.client("s3", endpoint_url=settings["AWS_ENDPOINT_URL"])
        client.create_bucket(Bucket="bucket")
        yield client
    server.stop()


_prefixes = itertools.count()


@pytest.fixture
def url(s3):
    return f"s3://bucket/run-{next(_prefixes)}"


class TestS3(StorageTests):
    @pytest.fixture
    def storage(self, url):
        with rn.ZarrStorage(url) as storage:
            yield storage


# -- directories and memory: unchanged chunks ----------------------------------------------------


def rows(n, step, changed=()):
    """A state of which only some rows differ from that of step 0."""
    u = np.arange(n * 256, dtype="f4").reshape(n, 256)
    u[list(changed)] += step
    return make_snapshot(step, fields={"u": u}, field_attrs={})


def chunks(store, name):
    return sorted((store / name / "u").glob("c.*"), key=lambda p: int(p.name.split(".")[1]))


def incremental(place, **options):
    return rn.ZarrStorage(place, incremental=True, chunk_bytes=8192, durable=False, **options)


def test_only_chunks_that_changed_are_written(tmp_path):
    store = tmp_path / "s.zarr"
    with incremental(store) as storage:
        storage.save(ONE, rows(64, 0))
        storage.save(TWO, rows(64, 2, changed=[9]))
        same = [
            a.stat().st_ino == b.stat().st_ino
            for a, b in zip(chunks(store, ONE), chunks(store, TWO), strict=True)
        ]
        assert same == [True, False, *[True] * 6]
        for name, step, changed in ((ONE, 0, []), (TWO, 2, [9])):
            storage.load(name).verify()
            expected = rows(64, step, changed).fields["u"]
            np.testing.assert_array_equal(storage.load(name).numpy()["u"], expected)
            np.testing.assert_array_equal(zarr.open_group(store / name)["u"][:], expected)


@pytest.mark.parametrize("gone", [ONE, TWO])
def test_deleting_one_harms_no_other(tmp_path, gone):
    store = tmp_path / "s.zarr"
    with incremental(store) as storage:
        storage.save(ONE, rows(64, 0))
        storage.save(TWO, rows(64, 2, changed=[9]))
        chunk = 8192 + 4
        freed = storage.freed_by([gone])
        assert chunk < freed < 3 * chunk
        assert storage.freed_by([ONE, TWO]) > 9 * chunk
        storage.delete(gone)
        (left,) = storage.list()
        storage.load(left).verify()


def test_a_stored_chunk_that_rotted_is_not_passed_on(tmp_path):
    store = tmp_path / "s.zarr"
    with incremental(store) as storage:
        storage.save(ONE, rows(64, 0))
        rotten = chunks(store, ONE)[3]
        raw = bytearray(rotten.read_bytes())
        raw[5] ^= 1
        rotten.write_bytes(raw)
        storage.save(TWO, rows(64, 0))
        storage.load(TWO).verify()
        with pytest.raises(rn.CheckpointCorrupt):
            storage.load(ONE).verify()


def test_equal_checksums_of_different_bytes_are_not_shared(tmp_path, monkeypatch):
    from ringnb.checkpoint.storage import format as storage_format

    monkeypatch.setattr(storage_format, "crc32c", lambda *_: 7)
    with incremental(tmp_path / "s.zarr") as storage:
        storage.save(ONE, rows(64, 0))
        storage.save(TWO, rows(64, 2, changed=[9]))
    first, second = (chunks(tmp_path / "s.zarr", n)[1].read_bytes() for n in (ONE, TWO))
    assert first != second


def test_another_actor_or_shape_shares_nothing_and_no_links_no_harm(tmp_path, monkeypatch):
    from ringnb.checkpoint.storage.directory import files

    store = tmp_path / "s.zarr"
    with incremental(store) as storage:
        storage.save(ONE, rows(64, 0))
        other = make_snapshot(2, kernel_id="other", fields=rows(64, 0).fields, field_attrs={})
        storage.save(TWO, other)
        storage.save(THREE, rows(32, 0))
        assert {p.stat().st_nlink for n in (ONE, TWO, THREE) for p in chunks(store, n)} == {1}

        def no_links(source, target):
            raise PermissionError(1, "no links here")

        monkeypatch.setattr(files, "link", no_links)
        storage.save("checkpoint_0_step_4", rows(32, 0))
        storage.load("checkpoint_0_step_4").verify()


# -- states larger than memory ------------------------------------------------------------------------


class Slabs:
    """A lazy array that says how much was asked for at once."""

    shape, dtype = (1000, 300), np.dtype(">i4")

    def __init__(self):
        self.most = 0

    def __getitem__(self, box):
        block = np.arange(300_000, dtype=self.dtype).reshape(self.shape)[box]
        self.most = max(self.most, block.size)
        return block


def test_a_lazy_array_is_read_chunk_by_chunk(tmp_path):
    with rn.ZarrStorage(tmp_path / "s.zarr", chunk_bytes=64 << 10, durable=False) as storage:
        slabs = Slabs()
        storage.save(ONE, make_snapshot(1, fields={"u": slabs}, field_attrs={}))
        assert 0 < slabs.most <= 16384
        expected = np.arange(300_000).reshape(1000, 300)
        np.testing.assert_array_equal(storage.load(ONE).numpy()["u"], expected)
        mapped = np.lib.format.open_memmap(tmp_path / "m.npy", "w+", "f8", (100, 100))
        mapped[:] = 3.5
        storage.save(
            TWO, make_snapshot(2, fields={"u": mapped, "z": storage.load(ONE)["u"]}, field_attrs={})
        )
        assert (storage.load(TWO)["u"][:] == 3.5).all()
        np.testing.assert_array_equal(storage.load(TWO)["z"][:], expected)


def test_a_lazy_array_that_lies_about_its_shape_stores_nothing(tmp_path):
    class Liar(Slabs):
        def __getitem__(self, box):
            return super().__getitem__(box)[:-1]

    with rn.ZarrStorage(tmp_path / "s.zarr", durable=False) as storage:
        with pytest.raises(ValueError, match="against its shape"):
            storage.save(ONE, make_snapshot(1, fields={"u": Liar()}, field_attrs={}))
        assert storage.list() == []


# -- archives -----------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    with rn.ZarrStorage(tmp_path / "s.zarr", durable=False) as storage:
        for name, step in ((TWO, 2), (ONE, 1), (THREE, 3)):
            storage.save(name, make_snapshot(step))
        storage.pin(ONE, "good")
    return tmp_path / "s.zarr"


def test_an_archive_is_a_store_that_others_read(store, tmp_path):
    path = tmp_path / "a.zip"
    assert export_archive(rn.ZarrStorage(store), path) == [TWO, ONE, THREE]
    archive = open_archive(path)
    assert archive.list() == [TWO, ONE, THREE]
    assert archive.load(ONE).pinned == "good"
    for name in archive.list():
        archive.load(name).verify()
    group = zarr.open_group(ZipStore(path, mode="r"), path=ONE, mode="r")
    np.testing.assert_array_equal(group["u"][:], rn.ZarrStorage(store).load(ONE).numpy()["u"])
    with pytest.raises(rn.CheckpointError, match="read-only"):
        archive.delete(ONE)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".s.zarr.ringnb", "a.zip", "s.zarr"]


def test_an_import_keeps_all_but_the_number(store, tmp_path):
    export_archive(rn.ZarrStorage(store), tmp_path / "a.zip")
    with rn.ZarrStorage(tmp_path / "t.zarr", durable=False) as target:
        target.save("other_0_step_1", make_snapshot(1, name_prefix="other"))
        assert import_archive(tmp_path / "a.zip", target, [THREE]) == [THREE]
        assert import_archive(tmp_path / "a.zip", target) == [TWO, ONE]
        assert import_archive(tmp_path / "a.zip", target) == []
        assert target.list() == ["other_0_step_1", THREE, TWO, ONE]
        for name in (ONE, TWO, THREE):
            mine, theirs = target.load(name), rn.ZarrStorage(store).load(name)
            mine.verify()
            assert {**mine.document.record, "sequence": 0, "digests": 0} == {
                **theirs.document.record,
                "sequence": 0,
                "digests": 0,
            }


def test_an_import_onto_another_checkpoint_of_that_name_imports_nothing(store, tmp_path):
    export_archive(rn.ZarrStorage(store), tmp_path / "a.zip")
    with rn.ZarrStorage(tmp_path / "t.zarr", durable=False) as target:
        target.save(THREE, make_snapshot(3))
        with pytest.raises(rn.CheckpointError, match="another checkpoint"):
            import_archive(tmp_path / "a.zip", target)
        assert target.list() == [THREE]


def test_an_export_of_something_damaged_leaves_nothing(store, tmp_path):
    next((store / ONE / "u").glob("c*")).write_bytes(b"rubbish")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(rn.CheckpointCorrupt, match=ONE):
        export_archive(rn.ZarrStorage(store), tmp_path / "a.zip")
    assert sorted(tmp_path.iterdir()) == before
    assert export_archive(rn.ZarrStorage(store), tmp_path / "a.zip", [TWO]) == [TWO]
    with pytest.raises(rn.CheckpointError, match="exists"):
        export_archive(rn.ZarrStorage(store), tmp_path / "a.zip", [TWO])
    with pytest.raises(rn.CheckpointNotFound, match="nothing_0"):
        export_archive(rn.ZarrStorage(store), tmp_path / "b.zip", ["nothing_0"])


def test_a_damaged_archive_gives_no_wrong_data(store, tmp_path):
    path = tmp_path / "a.zip"
    export_archive(rn.ZarrStorage(store), path, [ONE])
    expected = rn.ZarrStorage(store).load(ONE).numpy()
    whole = path.read_bytes()
    damaged = tmp_path / "d.zip"
    outcomes = set()
    for at in range(0, len(whole), 7):
        raw = bytearray(whole)
        raw[at] ^= 1 << (at % 8)
        damaged.write_bytes(raw)
        try:
            found = open_archive(damaged).load(ONE).numpy()
        except rn.CheckpointError as error:
            outcomes.add(type(error).__name__)
            continue
        outcomes.add("as committed")  # a time stamp of the zip, say
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
    assert {"CheckpointCorrupt", "as committed"} <= outcomes
    for size in range(0, len(whole), 97):
        damaged.write_bytes(whole[:size])
        with pytest.raises(rn.CheckpointError):
            open_archive(damaged)


class RepeatedMebibyte:
    """Deflates a mebibyte of zeros once, in place of each that is written."""

    def __init__(self):
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        self.block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
        self.end = deflate.flush()

    def compress(self, data):
        return self.block

    def flush(self):
        return self.end


@pytest.mark.parametrize("key", ["u/c.0.0", "u/zarr.json", "zarr.json"])
def test_a_member_that_inflates_to_a_gigabyte_is_damage_in_bounded_memory(store, tmp_path, key):
    path = tmp_path / "a.zip"
    export_archive(rn.ZarrStorage(store), path, [ONE])
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(bomb, "w") as bad:
        for info in good.infolist():
            if info.filename != f"{ONE}/{key}":
                bad.writestr(info, good.read(info))
        with bad.open(zipfile.ZipInfo(f"{ONE}/{key}"), "w", force_zip64=True) as member:
            member._compressor = RepeatedMebibyte()
            member._zinfo.compress_type = zipfile.ZIP_DEFLATED
            for _ in range(1024):
                member.write(bytes(1 << 20))
    assert bomb.stat().st_size < 4 << 20
    tracemalloc.start()
    try:
        archive = open_archive(bomb)
        assert archive.list() == [ONE]
        with pytest.raises(rn.CheckpointCorrupt):
            archive.load(ONE).verify()
        with pytest.raises(rn.CheckpointCorrupt):
            archive.load(ONE).numpy()
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()


def test_the_commands_export_import_and_pin(store, tmp_path, capsys):
    path, target = tmp_path / "a.zip", tmp_path / "t.zarr"
    assert cli.main(["export", str(store), str(path), ONE, TWO]) == 0
    assert cli.main(["import", str(path), str(target)]) == 0
    assert "2 checkpoints imported" in capsys.readouterr().out
    assert cli.main(["import", str(path), str(target)]) == 0
    assert "0 checkpoints imported" in (out := capsys.readouterr().out)
    assert "it holds every checkpoint already" in out
    assert cli.main(["pin", str(target), TWO, "before the crash"]) == 0
    assert cli.main(["unpin", str(target), ONE]) == 0
    capsys.readouterr()
    for place in (target, path):
        assert cli.main(["ls", str(place), "--json"]) == 0
        pinned = {
            c["name"]: c["pinned"] for c in json.loads(capsys.readouterr().out)["checkpoints"]
        }
        if place == target:
            assert pinned == {ONE: None, TWO: "before the crash"}
        else:
            assert pinned == {ONE: "good", TWO: None}
        assert cli.main(["verify", str(place)]) == 0
        capsys.readouterr()
    assert cli.main(["ls", str(target)]) == 0
    assert "pinned: before the crash" in capsys.readouterr().out
    for bad in (["export", str(store), str(path)], ["import", str(store), str(target)]):
        assert cli.main(bad) == 1
        assert capsys.readouterr().err.count("\n") == 1


# -- S3 -----------------------------------------------------------------------------------------------


def keys(s3, url):
    prefix = url.removeprefix("s3://bucket/") + "/"
    found = s3.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])
    return sorted(entry["Key"].removeprefix(prefix) for entry in found)


def child(code, *args):
    return subprocess.Popen(
        [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, text=True, env=os.environ
    )


class Counting(zarr.storage.MemoryStore):
    """Notes which group documents are asked for."""

    read: ClassVar[list[str]] = []

    async def get(self, key, prototype, byte_range=None):
        if key.count("/") == 1 and key.endswith("/zarr.json"):
            self.read.append(key.partition("/")[0])
        return await super().get(key, prototype, byte_range)


def test_a_commit_reads_the_documents_of_other_actors_once(monkeypatch):
    monkeypatch.setattr(Counting, "read", [])
    storage = rn.ZarrStorage(Counting())
    for n in range(6):
        storage.save(f"b_1_step_{n}", make_snapshot(n, name_prefix="b", actor_slot=1))
    config = rn.CheckpointConfig(name_prefix="a", max_snapshots=2)
    manager = rn.CheckpointManager(config, storage, clock=ManualClock())
    manager.register_actor(0, "model_0", "model")

    def commit(step):
        Counting.read.clear()
        request = manager.request_snapshot(0)
        fields = make_snapshot(step).fields
        manager.complete_snapshot(rn.SnapshotResponse(request.request_id, 0, True, fields, step))
        return Counter(Counting.read)

    for step in range(3):
        commit(step)
    read = commit(3)
    assert {name: n for name, n in read.items() if name.startswith("b")} == {
        f"b_1_step_{n}": 1 for n in range(6)
    }
    assert [e.step for e in manager.history(0)] == [2, 3]
    # What was committed after the commit read the store, and what it could not read, is looked at.
    storage._backend._set("b_1_step_5/zarr.json", b"{}")
    receipt = storage.save("a_0_step_4", make_snapshot(4, name_prefix="a"))
    assert receipt.others == {f"b_1_step_{n}" for n in range(5)}
    storage.save("a_0_step_5", make_snapshot(5, name_prefix="a"))
    assert [e.step for e in storage.history_after(receipt, "a", "model_0")] == [2, 3, 4, 5]


def test_s3_holds_a_plain_zarr_store(s3, url):
    storage = rn.ZarrStorage(url)
    storage.save(ONE, make_snapshot(1))
    found = [k for k in keys(s3, url) if not k.startswith(".ringnb/")]
    assert found[0] == f"{ONE}/counts/c.0"
    assert found[-1] == "zarr.json"
    assert ".ringnb/sequence" in keys(s3, url)
    assert not [k for k in keys(s3, url) if "claims" in k or "probe" in k]
    assert list(storage.load(ONE).group.array_keys())


_SAVES = """
import sys
import ringnb as rn
from ringnb.testing.storages import make_snapshot
storage = rn.ZarrStorage(sys.argv[1])
print("ready", flush=True)
for n in range(8):
    storage.save(f"{sys.argv[2]}_0_step_{n}", make_snapshot(n, name_prefix=sys.argv[2]))
"""


def test_s3_writers_of_several_processes_never_share_a_number(s3, url):
    writers = [child(_SAVES, url, prefix) for prefix in ("a", "b")]
    reader = rn.ZarrStorage(url)
    while any(w.poll() is None for w in writers):
        for entry in reader.catalogue():
            assert not entry.damaged
            reader.load(entry.name).verify()
    assert [w.wait() for w in writers] == [0, 0]
    assert [e.sequence for e in reader.catalogue()] == list(range(1, 17))
    for w in writers:
        w.stdout.close()


_DIES = """
import os, signal, sys
import ringnb as rn
from ringnb.checkpoint.storage.object_store.backend import ObjectStoreBackend
from ringnb.testing.storages import make_snapshot
real = ObjectStoreBackend._set
def set_(self, key, data):
    if key.endswith(sys.argv[2] + "/zarr.json"):
        print("half", flush=True)
        if sys.argv[3] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        sys.stdin.read()
    real(self, key, data)
ObjectStoreBackend._set = set_
rn.ZarrStorage(sys.argv[1]).save(sys.argv[2], make_snapshot(2))
"""


def test_s3_a_writer_that_died_leaves_nothing_but_a_claim_and_that_is_swept(s3, url):
    with rn.ZarrStorage(url) as storage:
        storage.save(ONE, make_snapshot(1))
    dead = child(_DIES, url, TWO, "die")
    assert dead.wait(60) == -9
    dead.stdout.close()
    assert f".ringnb/claims/{TWO}" in keys(s3, url)
    assert f"{TWO}/u/c.0.0" in keys(s3, url)
    storage = rn.ZarrStorage(url)
    assert storage.list() == [ONE]
    assert not storage.exists(TWO)
    storage.save(THREE, make_snapshot(3))
    assert not [k for k in keys(s3, url) if TWO in k]
    storage.save(TWO, make_snapshot(2))
    assert storage.list() == [ONE, THREE, TWO]


def test_s3_a_name_that_another_process_writes_is_locked(s3, url):
    other = subprocess.Popen(
        [sys.executable, "-c", _DIES, url, TWO, "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "half\n"
    storage = rn.ZarrStorage(url)
    with pytest.raises(rn.StoreLocked, match=rf"process {other.pid} on host"):
        storage.save(TWO, make_snapshot(2))
    storage.save(THREE, make_snapshot(3))
    assert other.communicate(timeout=60)[0] == ""
    assert sorted(storage.list()) == [TWO, THREE]
    storage.load(TWO).verify()


def test_s3_a_claim_that_could_not_be_dropped_does_not_lock_its_own_writer_out(url, monkeypatch):
    from ringnb.checkpoint.storage.object_store.claims import Claims

    real = Claims._delete

    def unreachable(self, key):
        if "/claims/" in key:
            raise OSError(101, "Network is unreachable")
        real(self, key)

    storage = rn.ZarrStorage(url)
    with monkeypatch.context() as patch:
        patch.setattr(Claims, "_delete", unreachable)
        storage.save(ONE, make_snapshot(1))
    storage.delete(ONE)
    storage.save(ONE, make_snapshot(2))
    assert storage.load(ONE).step == 2


def test_s3_numbers_go_on_where_the_counter_or_a_claim_was_damaged(s3, url):
    prefix = url.removeprefix("s3://bucket/")
    storage = rn.ZarrStorage(url)
    storage.save(ONE, make_snapshot(1))
    s3.put_object(Bucket="bucket", Key=f"{prefix}/.ringnb/sequence", Body=b"rubbish")
    s3.put_object(Bucket="bucket", Key=f"{prefix}/.ringnb/claims/other_0_step_1", Body=b"[]")
    storage = rn.ZarrStorage(url)
    storage.save(TWO, make_snapshot(2))
    assert [e.sequence for e in storage.catalogue()] == [1, 2]


def test_s3_without_conditional_put_still_keeps_this_process_apart(url, monkeypatch):
    from ringnb.checkpoint.storage.object_store.claims import Claims

    monkeypatch.setattr(Claims, "supported", False)
    storage = rn.ZarrStorage(url)
    threads = [
        threading.Thread(target=storage.save, args=(f"a_0_step_{n}", make_snapshot(n)))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e.sequence for e in storage.catalogue()] == [1, 2, 3, 4]


def test_s3_a_foreign_prefix_is_refused(s3, url):
    s3.put_object(Bucket="bucket", Key=url.removeprefix("s3://bucket/") + "/letter", Body=b"hello")
    storage = rn.ZarrStorage(url)
    with pytest.raises(rn.CheckpointError, match="not a ringnb store"):
        storage.save(ONE, make_snapshot(1))


def test_s3_commands(s3, url, tmp_path, capsys):
    rn.ZarrStorage(url).save(ONE, make_snapshot(1))
    assert cli.main(["ls", url]) == 0
    assert cli.main(["verify", url]) == 0
    assert cli.main(["export", url, str(tmp_path / "a.zip")]) == 0
    assert cli.main(["ls", url + "-missing"]) == 1
    assert "no store" in capsys.readouterr().err


def test_s3_a_damaged_one_is_moved_aside(s3, url, capsys):
    storage = rn.ZarrStorage(url)
    storage.save(ONE, make_snapshot(1))
    storage.save(TWO, make_snapshot(2))
    prefix = url.removeprefix("s3://bucket/")
    s3.put_object(Bucket="bucket", Key=f"{prefix}/{ONE}/u/c.0.0", Body=b"rubbish")
    assert cli.main(["verify", url, "--repair"]) == 1
    assert storage.list() == [TWO]
    assert f".ringnb/damaged/{ONE}/u/c.0.0" in keys(s3, url)
    assert cli.main(["verify", url]) == 0
    assert not [k for k in keys(s3, url) if k.startswith(ONE)]


def test_without_obstore_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ImportError, match=r"ringnb\[s3\]"):
        rn.ZarrStorage("s3://bucket/x")
