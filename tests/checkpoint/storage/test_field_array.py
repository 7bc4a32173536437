"""Lazy arrays index like NumPy and read only what is asked for."""

from __future__ import annotations

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


@given(data=st.data(), name=st.sampled_from(["plane", "cube", "line", "scalar"]))
def test_lazy_indexing_is_numpy_indexing(many_chunks, data, name):
    checkpoint, fields = many_chunks
    array = fields[name]
    index = data.draw(hnp.basic_indices(array.shape, allow_newaxis=True, allow_ellipsis=True))
    expected = array[index]
    got = checkpoint[name][index]
    assert np.shape(got) == np.shape(expected)
    np.testing.assert_array_equal(got, expected)


def test_storage_rule_19_lazy_indexing_reads_only_the_chunks_touched(many_chunks, tmp_path):
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


def test_a_lazy_array_is_what_indexing_gives(storage, folder):
    assert isinstance(storage.load(NAME)["u"], FieldArray)
