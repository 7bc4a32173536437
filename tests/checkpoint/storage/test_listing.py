"""What a local store lists is current, and cheap."""

from __future__ import annotations

import os
import shutil
import threading

from processes import elsewhere

import ringnb as rn
from ringnb.checkpoint.committing import retire
from ringnb.checkpoint.retention import keep_last
from ringnb.checkpoint.storage.directory import listing
from ringnb.testing.storages import make_snapshot


def replace(path):
    with rn.ZarrStorage(path) as storage:
        storage.save("a_0_step_2", make_snapshot())
        storage.delete("a_0_step_1")


def test_storage_rule_12_another_process_is_seen_at_the_next_call(storage, path):
    storage.save("a_0_step_1", make_snapshot())
    storage.close()
    assert storage.list() == ["a_0_step_1"]
    assert elsewhere(replace, path) is None
    assert storage.list() == ["a_0_step_2"]
    assert not storage.exists("a_0_step_1")


def test_storage_rule_12_a_reader_beside_a_writer_never_sees_half(storage, path):
    reader = rn.ZarrStorage(path)
    stop = threading.Event()
    problems = []

    def read():
        while not stop.is_set():
            try:
                entries = reader.catalogue()
                if any(e.damaged for e in entries):
                    problems.append(entries)
                for entry in entries[-2:]:
                    reader.load(entry.name).verify()
            except rn.CheckpointNotFound:
                pass  # retired meanwhile
            except BaseException as error:
                problems.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for n in range(30):
        storage.save(f"a_0_step_{n}", make_snapshot(n))
        if n >= 3:
            storage.delete(f"a_0_step_{n - 3}")
    stop.set()
    thread.join(60)
    assert problems == []
    assert len(storage.list()) == 3


def test_storage_rule_14_damage_in_place_is_noticed_in_a_list_longer_than_one_look_examines(
    path, monkeypatch
):
    monkeypatch.setattr(listing, "_EXAMINED", 10)
    with rn.ZarrStorage(path, durable=False) as storage:
        for n in range(25):
            storage.save(f"a_0_step_{n}", make_snapshot(n))
        storage.list()
        document = path / "a_0_step_17" / "zarr.json"
        document.write_bytes(document.read_bytes()[:-9])
        found = [sum(e.damaged for e in storage.catalogue()) for _ in range(3)]
        assert found[-1] == 1
        assert storage.history("checkpoint", "model_0")[-1].step == 24


def test_storage_rule_14_a_copy_whose_document_is_mended_in_place_is_listed_again(storage, path):
    storage.save("a_0_step_1", make_snapshot())
    shutil.copytree(path / "a_0_step_1", path / "KEEP_IT")
    document = path / "KEEP_IT" / "zarr.json"
    whole = document.read_bytes()
    assert storage.list() == ["KEEP_IT", "a_0_step_1"]
    document.write_bytes(whole.replace(b'"ringnb"', b'"singnb"'))  # nothing of ringnb's any more
    assert storage.list() == ["a_0_step_1"]
    document.write_bytes(whole)
    assert storage.list() == ["KEEP_IT", "a_0_step_1"]


def test_storage_rule_19_a_commit_looks_at_its_own_history_only(path, monkeypatch):
    with rn.ZarrStorage(path, durable=False) as storage:
        for n in range(40):
            storage.save(f"a_0_step_{n}", make_snapshot(n, kernel_id="other"))
        run = "1" * 16
        storage.save("a_1_step_0", make_snapshot(0, run=run))
        looked = []
        real = os.stat

        def note(target, *args, **kwargs):
            if os.path.basename(target) == "zarr.json" and os.path.dirname(target) != str(path):
                looked.append(os.path.basename(os.path.dirname(target)))
            return real(target, *args, **kwargs)

        monkeypatch.setattr(os, "stat", note)
        storage.save("a_1_step_1", make_snapshot(1, run=run))
        retire(storage, "checkpoint", "model_0", run, keep_last(1), protect=())
        assert set(looked) == {"a_1_step_0", "a_1_step_1"}
