"""Stores without a rename: S3 on a real HTTP server, and zarr stores in memory."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
import zarr
from processes import other_process

import ringnb as rn
from ringnb.checkpoint.storage.object_store.backend import ObjectStoreBackend
from ringnb.cli import command_line as cli
from ringnb.testing.clock import ManualClock
from ringnb.testing.storages import StorageTests, changing_all_the_time, make_snapshot

ONE, TWO, THREE = (f"checkpoint_0_step_{n}" for n in (1, 2, 3))


_prefixes = itertools.count()


@pytest.fixture
def url(s3):
    return f"s3://bucket/run-{next(_prefixes)}"


class TestS3(StorageTests):
    @pytest.fixture
    def storage(self, url):
        with rn.ZarrStorage(url) as storage:
            yield storage


def keys(s3, url):
    prefix = url.removeprefix("s3://bucket/") + "/"
    found = s3.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])
    return sorted(entry["Key"].removeprefix(prefix) for entry in found)


class Counting(zarr.storage.MemoryStore):
    """Notes which group documents are asked for."""

    read: ClassVar[list[str]] = []

    async def get(self, key, prototype, byte_range=None):
        if key.count("/") == 1 and key.endswith("/zarr.json"):
            self.read.append(key.partition("/")[0])
        return await super().get(key, prototype, byte_range)


def test_storage_rule_19_a_commit_reads_the_documents_of_other_actors_once(monkeypatch):
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


def test_storage_rule_13_a_foreign_memory_store_is_refused():
    store = zarr.storage.MemoryStore()
    zarr.open_group(store, mode="w")
    with pytest.raises(rn.CheckpointError, match="is not a ringnb store"):
        rn.ZarrStorage(store).list()


def test_storage_rule_08_s3_holds_a_plain_zarr_store(s3, url):
    storage = rn.ZarrStorage(url)
    storage.save(ONE, make_snapshot(1))
    found = [k for k in keys(s3, url) if not k.startswith(".ringnb/")]
    assert found[0] == f"{ONE}/counts/c.0"
    assert found[-1] == "zarr.json"
    assert ".ringnb/sequence" in keys(s3, url)
    assert not [k for k in keys(s3, url) if "claims" in k or "probe" in k]
    assert list(storage.load(ONE).group.array_keys())


def save_four(pipe, url, prefix):
    storage = rn.ZarrStorage(url)
    for n in range(4):
        storage.save(f"{prefix}_0_step_{n}", make_snapshot(n, name_prefix=prefix))


def test_storage_rule_09_s3_an_array_that_changes_while_it_is_saved_can_be_read(s3, url):
    array = np.zeros((256, 1024))
    with rn.ZarrStorage(url) as storage, changing_all_the_time(array):
        for step in range(3):
            storage.save(f"a_0_step_{step}", make_snapshot(step, fields={"u": array}))
    for name in storage.list():
        storage.load(name).verify()


def test_storage_rule_18_s3_writers_of_several_processes_never_share_a_number(s3, url):
    reader = rn.ZarrStorage(url)
    with (
        other_process(save_four, url, "a") as (one, _),
        other_process(save_four, url, "b") as (two, _),
    ):
        while one.is_alive() or two.is_alive():
            for entry in reader.catalogue():
                assert not entry.damaged
                reader.load(entry.name).verify()
        assert (one.exitcode, two.exitcode) == (0, 0)
    assert [e.sequence for e in reader.catalogue()] == list(range(1, 9))


def save_half(pipe, url, name, die):
    real = ObjectStoreBackend._set

    def set_(self, key, data):
        if key.endswith(name + "/zarr.json"):
            if die:
                os.kill(os.getpid(), signal.SIGKILL)
            pipe.send("half")
            pipe.recv()
        real(self, key, data)

    ObjectStoreBackend._set = set_  # in this process alone
    rn.ZarrStorage(url).save(name, make_snapshot(2))


def test_storage_rule_18_s3_a_writer_that_died_leaves_nothing_but_a_claim_and_that_is_swept(
    s3, url
):
    with rn.ZarrStorage(url) as storage:
        storage.save(ONE, make_snapshot(1))
    with other_process(save_half, url, TWO, True) as (process, _):
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    assert f".ringnb/claims/{TWO}" in keys(s3, url)
    assert f"{TWO}/u/c.0.0" in keys(s3, url)
    storage = rn.ZarrStorage(url)
    assert storage.list() == [ONE]
    assert not storage.exists(TWO)
    storage.save(THREE, make_snapshot(3))
    assert not [k for k in keys(s3, url) if TWO in k]
    storage.save(TWO, make_snapshot(2))
    assert storage.list() == [ONE, THREE, TWO]


def test_storage_rule_18_s3_a_writer_that_is_not_to_write_any_more_commits_nothing(s3, url):
    """Of several writers somebody else knows the one: it is asked when all but the document is there."""
    asked, storage = [], rn.ZarrStorage(url)

    def fence():
        asked.append(f"{TWO}/u/zarr.json" in keys(s3, url))
        if len(asked) == 2:
            raise rn.StoreLocked("another one writes")

    storage.set_fence(fence)
    storage.save(ONE, make_snapshot(1))
    with pytest.raises(rn.StoreLocked, match="another one writes"):
        storage.save(TWO, make_snapshot(2))
    assert asked == [False, True]
    assert rn.ZarrStorage(url).list() == [ONE]
    assert not [k for k in keys(s3, url) if TWO in k]
    storage.save(TWO, make_snapshot(2))
    assert rn.ZarrStorage(url).list() == [ONE, TWO]


def test_storage_rule_18_a_refused_writer_deletes_nothing_that_another_one_has_committed():
    """Where a store has no conditional puts, two writers may be at one name."""
    store = zarr.storage.MemoryStore()
    storage, other = rn.ZarrStorage(store), rn.ZarrStorage(store)
    storage.save(ONE, make_snapshot(1))

    def fence():
        other.save(TWO, make_snapshot(2))
        raise rn.StoreLocked("another one writes")

    storage.set_fence(fence)
    with pytest.raises(rn.StoreLocked, match="another one writes"):
        storage.save(TWO, make_snapshot(2))
    reader = rn.ZarrStorage(store)
    assert reader.list() == [ONE, TWO]
    reader.load(TWO).verify()


def test_storage_rule_18_s3_a_name_that_another_process_writes_is_locked(s3, url):
    with other_process(save_half, url, TWO, False) as (process, pipe):
        assert pipe.recv() == "half"
        storage = rn.ZarrStorage(url)
        with pytest.raises(rn.StoreLocked, match=rf"process {process.pid} on host"):
            storage.save(TWO, make_snapshot(2))
        storage.save(THREE, make_snapshot(3))
        pipe.send("the other half")
        process.join(60)
        assert process.exitcode == 0
    assert sorted(storage.list()) == [TWO, THREE]
    storage.load(TWO).verify()


def test_storage_rule_18_s3_a_claim_that_could_not_be_dropped_does_not_lock_its_own_writer_out(
    url, monkeypatch
):
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


def test_storage_rule_18_s3_numbers_go_on_where_the_counter_or_a_claim_was_damaged(s3, url):
    prefix = url.removeprefix("s3://bucket/")
    storage = rn.ZarrStorage(url)
    storage.save(ONE, make_snapshot(1))
    s3.put_object(Bucket="bucket", Key=f"{prefix}/.ringnb/sequence", Body=b"rubbish")
    s3.put_object(Bucket="bucket", Key=f"{prefix}/.ringnb/claims/other_0_step_1", Body=b"[]")
    storage = rn.ZarrStorage(url)
    storage.save(TWO, make_snapshot(2))
    assert [e.sequence for e in storage.catalogue()] == [1, 2]


def test_storage_rule_18_s3_without_conditional_put_still_keeps_this_process_apart(
    url, monkeypatch
):
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


def test_storage_rule_13_s3_a_foreign_prefix_is_refused(s3, url):
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


def test_storage_rule_14_s3_a_damaged_one_is_quarantined(s3, url, capsys):
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
