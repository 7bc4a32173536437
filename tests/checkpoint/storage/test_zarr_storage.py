"""ZarrStorage: every place passes one contract; what lies on disk, and what comes back."""

from __future__ import annotations

import json
import os
import re
import shutil
import textwrap
import warnings

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from zarr.storage import MemoryStore

import ringnb as rn
from ringnb._support.children import run_python
from ringnb.checkpoint.storage.directory import files
from ringnb.testing.storages import StorageTests, changing_all_the_time, make_snapshot

NAME = "checkpoint_0_step_7"
ONE, TWO = (f"checkpoint_0_step_{n}" for n in (1, 2))


# -- one contract ----------------------------------------------------------------------------------


class TestDirectory(StorageTests):
    @pytest.fixture
    def storage(self, tmp_path):
        storage = rn.ZarrStorage(tmp_path / "store.zarr")
        yield storage
        storage.close()


class TestNotDurable(StorageTests):
    @pytest.fixture
    def storage(self, tmp_path):
        storage = rn.ZarrStorage(tmp_path / "store.zarr", durable=False)
        yield storage
        storage.close()


class TestMemory(StorageTests):
    @pytest.fixture
    def storage(self):
        return rn.ZarrStorage(zarr.storage.MemoryStore())


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


# -- what lies on disk -----------------------------------------------------------------------------


def test_storage_rule_08_the_layout_on_disk_is_the_documented_one(storage, path):
    storage.save(NAME, make_snapshot(7))
    root = json.loads((path / "zarr.json").read_text())["attributes"]
    assert root == {"ringnb": {"format": 1, "id": storage.id}}
    assert re.fullmatch("[0-9a-f]{16}", storage.id)
    assert sorted(os.listdir(path)) == [NAME, "zarr.json"]
    assert sorted(os.listdir(path / NAME)) == ["counts", "u", "zarr.json"]
    assert sorted(os.listdir(path / NAME / "u")) == ["c.0.0", "zarr.json"]
    record = json.loads((path / NAME / "zarr.json").read_text())["attributes"]["ringnb"]
    assert set(record) == {
        *("format", "name_prefix", "kernel_id", "kernel_type", "actor_slot", "step", "sequence"),
        *("request_id", "created_at", "params", "parent", "backend", "version", "digests"),
        *("id", "name", "store", "run", "parent_id", "good"),
    }
    assert record["format"] == 1
    area = path.parent / ".store.zarr.ringnb"
    assert sorted(os.listdir(area)) == ["lock", "staging", "trash"]
    assert os.listdir(area / "staging") == os.listdir(area / "trash") == []


def test_storage_rule_08_zarr_reads_it_without_ringnb(storage, path):
    snapshot = make_snapshot(7)
    storage.save(NAME, snapshot)
    code = """
        import sys, zarr
        group = zarr.open_group(sys.argv[1], mode="r")[sys.argv[2]]
        print(group["u"][:].tolist(), group["u"].attrs["units"], "ringnb" in sys.modules)
    """
    done = run_python("-c", textwrap.dedent(code), path, NAME, check=True)
    assert done.stdout.strip() == f"{snapshot.fields['u'].tolist()} Pa False"


def test_storage_rule_08_xarray_opens_it_in_three_ways_without_warnings(storage, path):
    import xarray

    snapshot = make_snapshot(7)
    storage.save(NAME, snapshot)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dataset in (
            xarray.open_zarr(f"{path}/{NAME}"),
            xarray.open_zarr(path, group=NAME, consolidated=False),
            xarray.open_datatree(path, engine="zarr", consolidated=False)[NAME].to_dataset(),
        ):
            np.testing.assert_array_equal(dataset["u"].values, snapshot.fields["u"])
            assert dataset["u"].dims == ("y", "x")
            assert dataset["u"].attrs["units"] == "Pa"
            dataset.close()


def test_storage_rule_08_dimension_names_never_clash(storage, path):
    import xarray

    fields = {"u": np.zeros((4, 5)), "v": np.zeros((4, 6)), "x": np.zeros(7), "w": np.zeros((4, 6))}
    storage.save(NAME, make_snapshot(fields=fields, field_attrs={}))
    checkpoint = storage.load(NAME)
    lengths = {}
    for name in fields:
        for dim, length in zip(checkpoint[name].dims, checkpoint[name].shape, strict=True):
            assert dim not in fields
            assert lengths.setdefault(dim, length) == length
    xarray.open_zarr(f"{path}/{NAME}").close()


@pytest.mark.parametrize("what", ["checkpoint", "directory", "file", "link"])
def test_storage_rule_03_a_taken_name_is_refused_and_what_took_it_is_kept(storage, path, what):
    storage.save(ONE, make_snapshot(1))
    place = path / TWO
    if what == "checkpoint":
        storage.save(TWO, make_snapshot(2))
    elif what == "directory":
        place.mkdir()
    elif what == "file":
        place.write_text("mine")
    else:
        place.symlink_to(path.parent / "nowhere")
    before = sorted((str(p), p.lstat().st_mtime_ns) for p in path.rglob("*"))
    with pytest.raises(rn.CheckpointError, match=f"{TWO}.*is taken"):
        storage.save(TWO, make_snapshot(9))
    assert sorted((str(p), p.lstat().st_mtime_ns) for p in path.rglob("*")) == before
    assert storage.exists(TWO)


def test_storage_rule_05_numbers_go_on_after_deletions_and_across_storages(storage, path):
    for n in range(3):
        storage.save(f"a_0_step_{n}", make_snapshot(n))
    storage.delete("a_0_step_2")
    with rn.ZarrStorage(path) as other:
        other.save("a_0_step_0.2", make_snapshot(0))
    assert [(c.name, c.sequence) for c in storage.catalogue()] == [
        *(("a_0_step_0", 1), ("a_0_step_1", 2), ("a_0_step_0.2", 4)),
    ]


# -- what comes back -------------------------------------------------------------------------------


@given(
    array=hnp.arrays(
        dtype=st.one_of(
            hnp.boolean_dtypes(),
            hnp.integer_dtypes(endianness="?"),
            hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
            hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
        ),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    transposed=st.booleans(),
)
def test_storage_rule_09_every_dtype_and_shape_comes_back_bit_for_bit(array, transposed):
    if transposed:
        array = array.T
    storage = rn.ZarrStorage(zarr.storage.MemoryStore())
    storage.save(NAME, make_snapshot(fields={"a": array}, field_attrs={}))
    checkpoint = storage.load(NAME)
    checkpoint.verify()
    back = checkpoint.numpy()["a"]
    little = array.astype(array.dtype.newbyteorder("<"))
    assert back.dtype == little.dtype
    assert back.shape == array.shape
    assert back.tobytes() == little.tobytes()
    theirs = checkpoint.group["a"][...]
    assert np.asarray(theirs).tobytes() == little.tobytes()


@pytest.mark.parametrize("order", ["C", "F", "view"])
def test_storage_rule_09_large_arrays_of_any_memory_order(storage, order):
    rng = np.random.default_rng(1)
    array = rng.random((1030, 2100), dtype=np.float32)
    if order == "F":
        array = np.asfortranarray(array)
    if order == "view":
        array = array[::-1, 5:-3]
    storage.save(NAME, make_snapshot(fields={"a": array}, field_attrs={}))
    checkpoint = storage.load(NAME)
    assert len(list((checkpoint.group.store.root).glob("a/c.*"))) > 1
    checkpoint.verify()
    np.testing.assert_array_equal(checkpoint.numpy()["a"], array)
    np.testing.assert_array_equal(checkpoint.group["a"][...], array)


class Slabs:
    """A lazy array that says how much was asked for at once."""

    shape, dtype = (1000, 300), np.dtype(">i4")

    def __init__(self):
        self.most = 0

    def __getitem__(self, box):
        block = np.arange(300_000, dtype=self.dtype).reshape(self.shape)[box]
        self.most = max(self.most, block.size)
        return block


def test_storage_rule_19_a_lazy_array_is_read_chunk_by_chunk(tmp_path):
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


def test_storage_rule_10_a_lazy_array_that_lies_about_its_shape_stores_nothing(tmp_path):
    class Liar(Slabs):
        def __getitem__(self, box):
            return super().__getitem__(box)[:-1]

    with rn.ZarrStorage(tmp_path / "s.zarr", durable=False) as storage:
        with pytest.raises(ValueError, match="against its shape"):
            storage.save(ONE, make_snapshot(1, fields={"u": Liar()}, field_attrs={}))
        assert storage.list() == []


def test_storage_rule_10_a_lazy_array_that_lies_about_its_dtype_stores_nothing(tmp_path):
    class Liar(Slabs):
        def __getitem__(self, box):
            return super().__getitem__(box) + 0.5

    with rn.ZarrStorage(tmp_path / "s.zarr", durable=False) as storage:
        with pytest.raises(ValueError, match=r"gave float64 .* against its dtype int32"):
            storage.save(ONE, make_snapshot(1, fields={"u": Liar()}, field_attrs={}))
        assert storage.list() == []


def test_storage_rule_10_a_lazy_array_whose_slices_have_a_mask_stores_nothing(tmp_path):
    class Masked(Slabs):  # as those of netCDF4 are
        def __getitem__(self, box):
            return np.ma.masked_less(super().__getitem__(box), 7)

    with rn.ZarrStorage(tmp_path / "s.zarr", durable=False) as storage:
        with pytest.raises(TypeError, match=r"field 'u' is a masked array.*filled"):
            storage.save(ONE, make_snapshot(1, fields={"u": Masked()}, field_attrs={}))
        assert storage.list() == []


# -- arrays as they are at the call --------------------------------------------------------------------


class Window:
    """A lazy array whose slices are views of memory that somebody else changes."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, box):
        return self.array[box]


PLACES = {
    "directory": lambda path: rn.ZarrStorage(path, durable=False),
    "small chunks": lambda path: rn.ZarrStorage(path, durable=False, chunk_bytes=65536),
    "incremental": lambda path: rn.ZarrStorage(path, durable=False, incremental=True),
    "memory": lambda _: rn.ZarrStorage(MemoryStore()),
}
GIVEN = {
    "plain": lambda array: array,
    "transposed": lambda array: array.T,
    "strided": lambda array: array[:, ::2],
    "big-endian": lambda array: array.view(array.dtype.newbyteorder(">")),
    "bytes": lambda array: memoryview(array).cast("B"),
    "matrix": lambda array: array.view(np.matrix),
    "lazy": Window,
    "lazy and strided": lambda array: Window(array[:, 1:]),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("given", GIVEN)
def test_storage_rule_09_an_array_that_changes_while_it_is_saved_can_be_read(
    tmp_path, place, given
):
    array = np.zeros((256, 1024), "i8")
    snapshot = {"fields": GIVEN[given](array), "field_attrs": {}}
    if given != "bytes":
        snapshot["fields"] = {"u": snapshot["fields"]}
    with PLACES[place](tmp_path / "s.zarr") as storage:
        with changing_all_the_time(array):
            for step in range(4):
                storage.save(f"a_0_step_{step}", make_snapshot(step, **snapshot))
        for step in range(4):
            storage.load(f"a_0_step_{step}").verify()


def test_storage_rule_09_a_change_between_checksum_and_file_does_not_reach_the_file(tmp_path):
    array = np.zeros(1000)

    def change(name, arguments, call):
        if name == "write_data":
            array[:] += 1
        return call()

    for incremental in (False, True):
        with rn.ZarrStorage(tmp_path / f"{incremental}.zarr", incremental=incremental) as storage:
            for step in range(3):
                snapshot = make_snapshot(step, fields={"u": array}, field_attrs={})
                with files.interposing(change):
                    storage.save(f"a_0_step_{step}", snapshot)
                storage.load(f"a_0_step_{step}").verify()


@pytest.mark.filterwarnings("ignore:Setting the (shape|dtype) on a NumPy array:DeprecationWarning")
def test_storage_rule_09_a_dtype_or_shape_that_its_owner_changes_does_not_matter(storage):
    array = np.arange(12.0)
    snapshot = make_snapshot(fields={"u": array}, field_attrs={})
    array.shape = (3, 4)
    array.dtype = "i4"
    storage.save(ONE, snapshot)
    np.testing.assert_array_equal(storage.load(ONE).numpy()["u"], np.arange(12.0))


def test_storage_rule_09_a_chunk_is_read_once(tmp_path):
    reads = []

    class Counted(Window):
        def __getitem__(self, box):
            reads.append(box[0].start)
            return super().__getitem__(box)

    for incremental in (False, True):
        reads.clear()
        with rn.ZarrStorage(
            tmp_path / f"{incremental}.zarr", chunk_bytes=8192, incremental=incremental
        ) as storage:
            for step in range(2):
                window = Counted(np.zeros((64, 128)))
                storage.save(
                    f"a_0_step_{step}", make_snapshot(fields={"u": window}, field_attrs={})
                )
        assert sorted(reads) == sorted([*range(0, 64, 8)] * 2)


# -- damage, and what is kept ----------------------------------------------------------------------


def test_storage_rule_14_damaged_metadata_is_listed_first_and_not_deleted(storage, folder):
    storage.save("checkpoint_0_step_3", make_snapshot(3))
    raw = bytearray((folder / "zarr.json").read_bytes())
    raw[200] ^= 1
    (folder / "zarr.json").write_bytes(raw)
    assert storage.list() == [NAME, "checkpoint_0_step_3"]
    with pytest.raises(rn.CheckpointCorrupt, match="was not deleted"):
        storage.delete(NAME)
    with pytest.raises(rn.CheckpointError, match="taken"):
        storage.save(NAME, make_snapshot())
    assert len([p for p in folder.rglob("*") if p.is_file()]) == 5


def test_storage_rule_14_a_missing_group_document_is_damage_where_the_name_says_checkpoint(
    storage, folder
):
    (folder / "zarr.json").unlink()
    assert storage.exists(NAME)
    assert storage.list() == [NAME]
    with pytest.raises(rn.CheckpointCorrupt, match="is missing"):
        storage.load(NAME)


@pytest.mark.parametrize("damage", ["array document", "chunk", "whole field"])
def test_storage_rule_14_damaged_arrays_can_be_deleted(storage, path, damage):
    storage.save(ONE, make_snapshot(1))
    field = path / ONE / "u"
    if damage == "array document":
        (field / "zarr.json").write_text("{")
    elif damage == "chunk":
        next(f for f in field.rglob("*") if f.is_file() and f.name != "zarr.json").unlink()
    else:
        shutil.rmtree(field)
    storage.delete(ONE)
    assert storage.list() == []
