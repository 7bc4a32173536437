"""Every damaged, lost, swapped or added byte of a checkpoint is noticed."""

from __future__ import annotations

import hashlib
import json
import tracemalloc

import numpy as np
import pytest
import zarr

import ringnb as rn
from ringnb.testing.storages import make_snapshot

NAME = "checkpoint_0_step_7"


def all_files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


def expect_corrupt(storage):
    """Opening or verifying must raise CheckpointCorrupt, and no data may come out changed."""
    with pytest.raises(rn.CheckpointCorrupt):
        storage.load(NAME).verify()
    with pytest.raises(rn.CheckpointCorrupt):
        storage.load(NAME).numpy()


@pytest.mark.parametrize(
    "every", [pytest.param(31, marks=pytest.mark.part), pytest.param(1, marks=pytest.mark.slow)]
)
def test_storage_rule_06_every_flipped_bit_of_every_file_is_noticed(storage, folder, every):
    flips = 0
    for path in all_files(folder):
        raw = path.read_bytes()
        # In place: a file system may flush to disk whenever a file is written anew.
        with path.open("r+b", buffering=0) as file:
            for position in range(0, len(raw), every):
                byte = raw[position]
                for bit in range(8):
                    file.seek(position)
                    file.write(bytes([byte ^ 1 << bit]))
                    with pytest.raises(rn.CheckpointCorrupt):
                        storage.load(NAME).numpy()
                    flips += 1
                file.seek(position)
                file.write(bytes([byte]))
    storage.load(NAME).verify()
    bits = 8 * sum(p.stat().st_size for p in all_files(folder))
    assert flips >= bits / every
    assert bits > 10_000


def test_storage_rule_06_every_truncation_is_noticed(storage, folder):
    for path in all_files(folder):
        raw = path.read_bytes()
        for length in range(0, len(raw), 1 if len(raw) < 200 else 7):
            path.write_bytes(raw[:length])
            expect_corrupt(storage)
        path.write_bytes(raw + b"\0")
        expect_corrupt(storage)
        path.write_bytes(raw)


def test_storage_rule_07_a_missing_file_is_noticed_and_never_the_fill_value(storage, folder):
    for path in all_files(folder):
        raw = path.read_bytes()
        checkpoint = storage.load(NAME)
        path.unlink()
        if path.name == "c.0.0":
            with pytest.raises(
                rn.CheckpointCorrupt, match=r"chunk c\.0\.0 of field 'u' is missing"
            ):
                checkpoint["u"][0, 0]
        expect_corrupt(storage)
        path.write_bytes(raw)
    storage.load(NAME).verify()


def test_storage_rule_06_chunks_swapped_between_checkpoints_are_noticed(storage, folder):
    storage.save("checkpoint_0_step_8", make_snapshot(8))
    other = folder.with_name("checkpoint_0_step_8")
    a, b = folder / "u" / "c.0.0", other / "u" / "c.0.0"
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    expect_corrupt(storage)
    with pytest.raises(rn.CheckpointCorrupt, match="does not match its checksum"):
        storage.load("checkpoint_0_step_8")["u"][1]


def test_storage_rule_13_what_was_added_does_not_matter(storage, folder):
    before = storage.load(NAME).numpy()
    (folder / "u" / "c.1.0").write_bytes(b"extra")
    storage.load(NAME).verify()
    np.testing.assert_array_equal(storage.load(NAME).numpy()["u"], before["u"])


def resealed(folder, change):
    """Change the group document and give it a valid digest again, as an attacker would."""
    path = folder / "zarr.json"
    document = json.loads(path.read_bytes())
    record = document["attributes"]["ringnb"]
    change(document, record)
    for name, array in document["consolidated_metadata"]["metadata"].items():
        raw = json.dumps(array, separators=(",", ":")).encode()
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "zarr.json").write_bytes(raw)
        record["digests"]["arrays"][name] = hashlib.sha256(raw).hexdigest()
    record["digests"]["document"] = "0" * 64
    raw = json.dumps(document, separators=(",", ":")).encode()
    record["digests"]["document"] = hashlib.sha256(raw).hexdigest()
    path.write_bytes(json.dumps(document, separators=(",", ":")).encode())


def arrays(document):
    return document["consolidated_metadata"]["metadata"]


@pytest.mark.parametrize(
    "change",
    [
        lambda d, r: arrays(d)["u"].update(shape=[2**40, 4]),
        lambda d, r: arrays(d)["u"].update(shape=[-3, 4]),
        lambda d, r: arrays(d)["u"].update(shape=[3.0, 4]),
        lambda d, r: arrays(d)["u"]["chunk_grid"]["configuration"].update(chunk_shape=[0, 4]),
        lambda d, r: arrays(d)["u"]["chunk_grid"]["configuration"].update(chunk_shape=[3, 2]),
        lambda d, r: arrays(d)["u"].update(codecs=[{"name": "zstd"}]),
        lambda d, r: arrays(d)["u"].update(data_type="object"),
        lambda d, r: arrays(d)["u"].update(fill_value=1.0),
        lambda d, r: arrays(d).update({"../../etc": arrays(d)["u"]}),
        lambda d, r: arrays(d).clear(),
        lambda d, r: r["digests"]["chunks"].update(u=[]),
        lambda d, r: r["digests"]["chunks"].update(u=["x"]),
        lambda d, r: r.update(step="7"),
        lambda d, r: r.update(sequence=None),
        lambda d, r: r.update(created_at="yesterday"),
        lambda d, r: r.update(format=2),
        lambda d, r: r.pop("kernel_id"),
    ],
)
def test_storage_rule_06_hostile_metadata_is_refused_even_with_a_valid_digest(
    storage, folder, change
):
    try:
        resealed(folder, change)
    except OSError:
        pytest.skip("the hostile name cannot even be written")
    with pytest.raises(rn.CheckpointCorrupt):
        storage.load(NAME).numpy()


def test_storage_rule_06_resealing_without_a_change_is_accepted(storage, folder):
    resealed(folder, lambda d, r: None)
    storage.load(NAME).verify()


def test_storage_rule_19_a_document_that_claims_a_million_chunks_is_damage_in_bounded_memory(
    storage, folder
):
    def claim(document, record):
        array = arrays(document)["u"]
        array.update(shape=[1_000_000], dimension_names=["x"])
        array["chunk_grid"]["configuration"].update(chunk_shape=[1])
        record["digests"]["chunks"]["u"] = [1] * 1_000_000

    resealed(folder, claim)
    tracemalloc.start()
    try:
        with pytest.raises(rn.CheckpointCorrupt, match=r"chunk c\.0 of field 'u' is missing"):
            storage.load(NAME).numpy()
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"null", b"{" * 100_000, b"[" * 100_000, b"\xff\xfe", b"1e999"]
)
def test_storage_rule_06_metadata_that_is_no_metadata_is_corrupt(storage, folder, raw):
    (folder / "zarr.json").write_bytes(raw)
    expect_corrupt(storage)
    assert storage.exists(NAME)
    assert [e.damaged for e in storage.catalogue()] == [True]


def test_storage_rule_06_damage_in_a_memory_store_is_noticed_too():
    store = zarr.storage.MemoryStore()
    storage = rn.ZarrStorage(store)
    storage.save(NAME, make_snapshot(7))
    key = f"{NAME}/u/c.0.0"
    good = store._store_dict[key]
    raw = bytearray(good.to_bytes())
    raw[3] ^= 16
    store._store_dict[key] = type(good).from_bytes(bytes(raw))
    with pytest.raises(rn.CheckpointCorrupt, match="checksum"):
        storage.load(NAME).numpy()
    del store._store_dict[key]
    with pytest.raises(rn.CheckpointCorrupt, match="missing"):
        storage.load(NAME)["u"][0]


def test_storage_rule_07_a_retired_checkpoint_is_not_found_even_if_its_name_was_reused(
    storage, folder
):
    checkpoint = storage.load(NAME)
    storage.delete(NAME)
    with pytest.raises(rn.CheckpointNotFound, match="retired"):
        checkpoint["u"][0]
    storage.save(NAME, make_snapshot(9))
    with pytest.raises(rn.CheckpointNotFound, match="retired"):
        checkpoint.numpy()
    with pytest.raises(KeyError):
        checkpoint["u"][0]
