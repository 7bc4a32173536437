"""Incremental commits: a chunk that did not change is linked, and no checkpoint depends on another."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

import ringnb as rn
from ringnb.checkpoint.storage import format as storage_format
from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.directory.dedup import Dedup
from ringnb.checkpoint.storage.format import EncodedChunk, layout_fields
from ringnb.testing.storages import make_snapshot

ONE, TWO, THREE = (f"checkpoint_0_step_{n}" for n in (1, 2, 3))


def rows(n, step, changed=()):
    """A state of which only some rows differ from that of step 0."""
    u = np.arange(n * 256, dtype="f4").reshape(n, 256)
    u[list(changed)] += step
    return make_snapshot(step, fields={"u": u}, field_attrs={})


def chunks(store, name):
    return sorted((store / name / "u").glob("c.*"), key=lambda p: int(p.name.split(".")[1]))


def incremental(place, **options):
    return rn.ZarrStorage(place, incremental=True, chunk_bytes=8192, durable=False, **options)


def test_storage_rule_16_only_chunks_that_changed_are_written(tmp_path):
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
def test_storage_rule_16_deleting_one_harms_no_other(tmp_path, gone):
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


def test_storage_rule_16_a_stored_chunk_that_rotted_is_not_passed_on(tmp_path):
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


def test_storage_rule_16_equal_checksums_of_different_bytes_are_not_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(storage_format, "crc32c", lambda *_: 7)
    with incremental(tmp_path / "s.zarr") as storage:
        storage.save(ONE, rows(64, 0))
        storage.save(TWO, rows(64, 2, changed=[9]))
    first, second = (chunks(tmp_path / "s.zarr", n)[1].read_bytes() for n in (ONE, TWO))
    assert first != second


def test_storage_rule_16_another_actor_or_shape_shares_nothing_and_no_links_no_harm(
    tmp_path, monkeypatch
):
    store = tmp_path / "s.zarr"
    with incremental(store) as storage:
        storage.save(ONE, rows(64, 0))
        other = make_snapshot(2, kernel_id="other", fields=rows(64, 0).fields, field_attrs={})
        storage.save(TWO, other)
        storage.save(THREE, rows(32, 0))
        assert {p.stat().st_nlink for n in (ONE, TWO, THREE) for p in chunks(store, n)} == {1}

        def no_links(name, arguments, call):
            if name == "link":
                raise PermissionError(1, "no links here")
            return call()

        with files.interposing(no_links):
            storage.save("checkpoint_0_step_4", rows(32, 0))
        storage.load("checkpoint_0_step_4").verify()


# -- the comparison alone ------------------------------------------------------------------------------


@pytest.fixture
def first(tmp_path):
    """The directory of a checkpoint, and its layout and array."""
    with incremental(tmp_path / "s.zarr") as storage:
        storage.save(ONE, rows(64, 0))
    u = rows(64, 0).fields["u"]
    return tmp_path / "s.zarr" / ONE, layout_fields({"u": u}, {}, 8192)[0], u


def linked(dedup, layout, u, number, target):
    encoded = EncodedChunk(u, layout, layout.chunk(number))
    whole = encoded.whole()
    return dedup.link(layout, number, encoded.crc, whole, target)


def test_storage_rule_16_the_same_bytes_are_linked_and_synced_if_durable(first, tmp_path):
    folder, layout, u = first
    for durable in (False, True):
        seen = []

        def note(name, arguments, call, seen=seen):
            seen.append(name)
            return call()

        with files.interposing(note):
            assert linked(Dedup(folder, durable=durable), layout, u, 3, tmp_path / f"t{durable}")
        assert seen == (["sync_file", "link"] if durable else ["link"])
    assert (tmp_path / "tTrue").samefile(chunks(tmp_path / "s.zarr", ONE)[3])


@pytest.mark.parametrize("why", ["bytes", "longer", "gone", "link", "document", "no checkpoint"])
def test_storage_rule_16_anything_else_is_written(first, tmp_path, why):
    folder, layout, u = first
    stored = folder / "u" / layout.chunk(3).key
    raw = stored.read_bytes()
    if why == "bytes":
        stored.write_bytes(raw[:-9] + b"?" + raw[-8:])
    elif why == "longer":
        stored.write_bytes(raw + b"?")
    elif why in ("gone", "link"):
        stored.unlink()
        if why == "link":
            (tmp_path / "mine").write_bytes(raw)
            stored.symlink_to(tmp_path / "mine")
    elif why == "document":
        (folder / "zarr.json").write_bytes(b"{}")
    else:
        folder = tmp_path / "nothing"
    target = tmp_path / "target"
    assert not linked(Dedup(folder, durable=False), layout, u, 3, target)
    assert not target.exists()


def test_storage_rule_16_a_field_that_is_cut_otherwise_shares_nothing(first, tmp_path):
    folder, layout, u = first
    dedup = Dedup(folder, durable=False)
    (other,) = layout_fields({"u": u}, {}, 4096)
    (renamed,) = layout_fields({"v": u}, {}, 8192)
    (typed,) = layout_fields({"u": u.view("i4")}, {}, 8192)
    for new in (other, renamed, typed):
        assert not linked(dedup, new, u.view(new.dtype), 0, tmp_path / "target")
    assert linked(dedup, layout, u, 0, tmp_path / "target")
