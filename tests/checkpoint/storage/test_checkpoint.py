"""What a checkpoint says of itself, and how it is read and shown."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

import ringnb as rn
from ringnb.testing.storages import make_snapshot

NAME = "checkpoint_0_step_7"


def test_an_unknown_field_names_those_there_are(storage, folder):
    with pytest.raises(KeyError, match=r"no field 'v'.*'u', 'counts'"):
        storage.load(NAME)["v"]


def test_read_into_fills_an_array_and_refuses_a_wrong_one(storage, folder):
    checkpoint = storage.load(NAME)
    out = np.zeros((3, 4), np.float32)
    checkpoint.read_into("u", out)
    np.testing.assert_array_equal(out, make_snapshot(7).fields["u"])
    for wrong in (np.zeros((4, 3), np.float32), np.zeros((3, 4)), np.zeros((4, 3), np.float32).T):
        with pytest.raises(ValueError, match="must fit"):
            checkpoint.read_into("u", wrong)


def test_storage_rule_08_a_checkpoint_opens_from_any_zarr_group(storage, folder):
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


def test_attributes_are_copies(storage):
    storage.save(NAME, make_snapshot(1))
    checkpoint = storage.load(NAME)
    checkpoint.attrs["ringnb"]["digests"]["chunks"].clear()
    checkpoint.verify()


def test_storage_rule_06_to_xarray_is_checked_and_labelled(storage, folder):
    dataset = storage.load(NAME).to_xarray()
    assert dataset["u"].dims == ("y", "x")
    assert dataset["u"].attrs["units"] == "Pa"
    assert (dataset.attrs["step"], dataset.attrs["param_rate"]) == (7, 0.5)
    chunk = folder / "u" / "c.0.0"
    chunk.write_bytes(chunk.read_bytes()[::-1])
    with pytest.raises(rn.CheckpointCorrupt):
        storage.load(NAME).to_xarray()


def test_xarray_has_coordinates_where_the_model_has_a_cell_size(storage):
    storage.save(NAME, make_snapshot(params={"dx": 0.5}))
    dataset = storage.load(NAME).to_xarray()
    assert dataset["x"].values.tolist() == [0.25, 0.75, 1.25, 1.75]
    assert (dataset["y"].sizes["y"], dataset["y"].attrs["units"]) == (3, "m")
    assert "x" not in storage.load(NAME).numpy()
    storage.save("without", make_snapshot(1))
    assert not storage.load("without").to_xarray().coords


def test_the_html_is_escaped(storage):
    storage.save(NAME, make_snapshot(kernel_id="<script>alert(1)</script>"))
    html = storage.load(NAME)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
