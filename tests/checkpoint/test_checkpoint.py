"""Checkpoints: every damaged byte is noticed, lazy arrays index like NumPy, xarray and HTML."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ringnb as rn
from ringnb.checkpoint.storage.field_array import FieldArray
from ringnb.testing.storages import make_snapshot

NAME = "checkpoint_0_step_7"


@pytest.fixture
def storage(tmp_path):
    storage = rn.ZarrStorage(tmp_path / "store.zarr", durable=False)
    yield storage
    storage.close()


@pytest.fixture
def folder(storage, tmp_path):
    storage.save(NAME, make_snapshot(7))
    return tmp_path / "store.zarr" / NAME


def all_files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


def expect_corrupt(storage):
    """Opening or verifying must raise CheckpointCorrupt, and no data may come out changed."""
    with pytest.raises(rn.CheckpointCorrupt):
        storage.load(NAME).verify()
    with pytest.raises(rn.CheckpointCorrupt):
        storage.load(NAME).numpy()


# -- damage --------------------------------------------------------------------------------------


def test_every_flipped_bit_of_every_file_is_noticed(storage, folder):
    flips = 0
    for path in all_files(folder):
        raw = path.read_bytes()
        # In place: a file system may flush to disk whenever a file is written anew.
        with path.open("r+b", buffering=0) as file:
            for position, byte in enumerate(raw):
                for bit in range(8):
                    file.seek(position)
                    file.write(bytes([byte ^ 1 << bit]))
                    with pytest.raises(rn.CheckpointCorrupt):
                        storage.load(NAME).numpy()
                    flips += 1
                file.seek(position)
                file.write(bytes([byte]))
    storage.load(NAME).verify()
    assert flips == 8 * sum(p.stat().st_size for p in all_files(folder)) > 10_000


def test_every_truncation_is_noticed(storage, folder):
    for path in all_files(folder):
        raw = path.read_bytes()
        for length in range(0, len(raw), 1 if len(raw) < 200 else 7):
            path.write_bytes(raw[:length])
            expect_corrupt(storage)
        path.write_bytes(raw + b"\0")
        expect_corrupt(storage)
        path.write_bytes(raw)


def test_a_missing_file_is_noticed_and_never_the_fill_value(storage, folder):
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


def test_chunks_swapped_between_checkpoints_are_noticed(storage, folder):
    storage.save("checkpoint_0_step_8", make_snapshot(8))
    other = folder.with_name("checkpoint_0_step_8")
    a, b = folder / "u" / "c.0.0", other / "u" / "c.0.0"
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    expect_corrupt(storage)
    with pytest.raises(rn.CheckpointCorrupt, match="does not match its checksum"):
        storage.load("checkpoint_0_step_8")["u"][1]


def test_what_was_added_is_noticed_by_verify(storage, folder):
    (folder / "u" / "c.1.0").write_bytes(b"extra")
    with pytest.raises(rn.CheckpointCorrupt, match=r"not committed: u/c\.1\.0"):
        storage.load(NAME).verify()


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
def test_hostile_metadata_is_refused_even_with_a_valid_digest(storage, folder, change):
    try:
        resealed(folder, change)
    except OSError:
        pytest.skip("the hostile name cannot even be written")
    with pytest.raises(rn.CheckpointCorrupt):
        storage.load(NAME).numpy()


def test_resealing_without_a_change_is_accepted(storage, folder):
    resealed(folder, lambda d, r: None)
    storage.load(NAME).verify()


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"null", b"{" * 100_000, b"[" * 100_000, b"\xff\xfe", b"1e999"]
)
def test_metadata_that_is_no_metadata_is_corrupt(storage, folder, raw):
    (folder / "zarr.json").write_bytes(raw)
    expect_corrupt(storage)
    assert storage.exists(NAME)
    assert [e.damaged for e in storage.catalogue()] == [True]


def test_damaged_metadata_is_listed_first_and_not_deleted(storage, folder):
    storage.save("checkpoint_0_step_3", make_snapshot(3))
    raw = bytearray((folder / "zarr.json").read_bytes())
    raw[200] ^= 1
    (folder / "zarr.json").write_bytes(raw)
    assert storage.list() == [NAME, "checkpoint_0_step_3"]
    with pytest.raises(rn.CheckpointCorrupt, match="was not deleted"):
        storage.delete(NAME)
    with pytest.raises(rn.CheckpointError, match="taken"):
        storage.save(NAME, make_snapshot())
    assert len(all_files(folder)) == 5


def test_a_missing_group_document_is_damage_where_the_name_says_checkpoint(storage, folder):
    (folder / "zarr.json").unlink()
    assert storage.exists(NAME)
    assert storage.list() == [NAME]
    with pytest.raises(rn.CheckpointCorrupt, match="is missing"):
        storage.load(NAME)


def test_damage_in_a_memory_store_is_noticed_too():
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


def test_a_retired_checkpoint_is_not_found_even_if_its_name_was_reused(storage, folder):
    checkpoint = storage.load(NAME)
    storage.delete(NAME)
    with pytest.raises(rn.CheckpointNotFound, match="retired"):
        checkpoint["u"][0]
    storage.save(NAME, make_snapshot(9))
    with pytest.raises(rn.CheckpointNotFound, match="retired"):
        checkpoint.numpy()
    with pytest.raises(KeyError):
        checkpoint["u"][0]


# -- lazy arrays ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many_chunks(tmp_path_factory):
    """A checkpoint whose fields are cut in several ways, and the arrays that went in."""
    rng = np.random.default_rng(0)
    fields = {
        "plane": rng.random((1030, 2100), dtype=np.float32),
        "cube": rng.random((3, 1100, 1030), dtype=np.float32),
        "line": rng.random(1_500_000),
        "scalar": np.array(3.5),
    }
    storage = rn.ZarrStorage(tmp_path_factory.mktemp("lazy") / "s.zarr", durable=False)
    storage.save(NAME, make_snapshot(fields=fields, field_attrs={}))
    return storage.load(NAME), fields


def index_of(n):
    return st.one_of(st.integers(-n, n - 1), st.slices(n))


@given(data=st.data(), name=st.sampled_from(["plane", "cube", "line", "scalar"]))
def test_lazy_indexing_is_numpy_indexing(many_chunks, data, name):
    checkpoint, fields = many_chunks
    array = fields[name]
    index = data.draw(hnp.basic_indices(array.shape, allow_newaxis=True, allow_ellipsis=True))
    expected = array[index]
    got = checkpoint[name][index]
    assert np.shape(got) == np.shape(expected)
    np.testing.assert_array_equal(got, expected)


def test_lazy_indexing_reads_only_the_chunks_touched(many_chunks, tmp_path):
    checkpoint, fields = many_chunks
    root = Path(checkpoint.group.store.root)
    copy = tmp_path / NAME
    shutil.copytree(root, copy)
    lazy = rn.Checkpoint(zarr.open_group(copy, mode="r"))["plane"]
    for chunk in list((copy / "plane").glob("c.*"))[:]:
        if chunk.name != "c.0.0":
            chunk.unlink()
    np.testing.assert_array_equal(lazy[5:9, 100:200], fields["plane"][5:9, 100:200])
    with pytest.raises(rn.CheckpointCorrupt, match="missing"):
        lazy[1029]


def test_fancy_indexing_and_conversion(many_chunks):
    checkpoint, fields = many_chunks
    lazy = checkpoint["plane"]
    mask = fields["plane"][:, 0] > 0.9
    np.testing.assert_array_equal(lazy[mask], fields["plane"][mask])
    np.testing.assert_array_equal(lazy[[3, 1029], [0, 1]], fields["plane"][[3, 1029], [0, 1]])
    np.testing.assert_array_equal(np.asarray(lazy), fields["plane"])
    assert np.asarray(lazy, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="without copying"):
        np.asarray(lazy, copy=False) if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else None


def test_lazy_arrays_describe_themselves(many_chunks):
    checkpoint, fields = many_chunks
    lazy = checkpoint["plane"]
    assert (lazy.shape, lazy.ndim, lazy.dtype) == ((1030, 2100), 2, np.float32)
    assert (lazy.nbytes, lazy.size, len(lazy)) == (fields["plane"].nbytes, 1030 * 2100, 1030)
    assert lazy.dims == ("plane_y", "plane_x") or len(lazy.dims) == 2
    assert "not read" in repr(lazy)
    with pytest.raises(IndexError, match="out of bounds for axis 0 with size 1030"):
        lazy[1030]
    with pytest.raises(IndexError):
        lazy[0, 0, 0]
    with pytest.raises(TypeError):
        len(checkpoint["scalar"])


def test_an_unknown_field_names_those_there_are(storage, folder):
    with pytest.raises(KeyError, match=r"no field 'v'.*'u', 'counts'"):
        storage.load(NAME)["v"]


# -- the rest ------------------------------------------------------------------------------------


def test_read_into_fills_an_array_and_refuses_a_wrong_one(storage, folder):
    checkpoint = storage.load(NAME)
    out = np.zeros((3, 4), np.float32)
    checkpoint.read_into("u", out)
    np.testing.assert_array_equal(out, make_snapshot(7).fields["u"])
    for wrong in (np.zeros((4, 3), np.float32), np.zeros((3, 4)), np.zeros((4, 3), np.float32).T):
        with pytest.raises(ValueError, match="must fit"):
            checkpoint.read_into("u", wrong)


def test_a_checkpoint_opens_from_any_zarr_group(storage, folder):
    for group in (
        zarr.open_group(folder, mode="r"),
        zarr.open_group(folder.parent, mode="r")[NAME],
        zarr.open_group(folder.parent, path=NAME, mode="r"),
    ):
        checkpoint = rn.Checkpoint(group)
        assert checkpoint.name == NAME
        checkpoint.verify()
    with pytest.raises(TypeError, match=r"zarr\.Group"):
        rn.Checkpoint(folder)
    with pytest.raises(rn.CheckpointCorrupt):
        rn.Checkpoint(zarr.open_group(folder.parent, mode="r"))


def test_attributes_and_sizes(storage, folder):
    checkpoint = storage.load(NAME)
    assert checkpoint.fields == ("u", "counts")
    assert checkpoint.nbytes == 12 * 4 + 5 * 8
    assert checkpoint.attrs["ringnb"]["step"] == 7
    assert "u" in checkpoint
    assert list(checkpoint) == ["u", "counts"]
    assert checkpoint["u"].attrs == {"units": "Pa", "long_name": "pressure"}
    checkpoint.params["rate"] = 99  # a copy
    assert checkpoint.params["rate"] == 0.5
    assert "model_0 at step 7" in repr(checkpoint)


def test_to_xarray_is_checked_and_labelled(storage, folder):
    dataset = storage.load(NAME).to_xarray()
    assert dataset["u"].dims == ("y", "x")
    assert dataset["u"].attrs["units"] == "Pa"
    assert (dataset.attrs["step"], dataset.attrs["param_rate"]) == (7, 0.5)
    chunk = folder / "u" / "c.0.0"
    chunk.write_bytes(chunk.read_bytes()[::-1])
    with pytest.raises(rn.CheckpointCorrupt):
        storage.load(NAME).to_xarray()


def test_the_html_is_escaped(storage):
    storage.save(NAME, make_snapshot(kernel_id="<script>alert(1)</script>"))
    html = storage.load(NAME)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_a_lazy_array_is_what_indexing_gives(storage, folder):
    assert isinstance(storage.load(NAME)["u"], FieldArray)
