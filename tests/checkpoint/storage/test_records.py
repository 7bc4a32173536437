"""A snapshot is checked when it is made, and holds plain values afterwards."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ringnb.messages.simulated_time import SimulatedTime
from ringnb.testing.storages import make_snapshot

ONE = "checkpoint_0_step_1"


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"name_prefix": "../x"}, ValueError, "name_prefix '../x' is not allowed"),
        ({"kernel_id": 5}, TypeError, "kernel_id must be a str, got 5"),
        ({"kernel_type": None}, TypeError, "kernel_type must be a str, got None"),
        ({"actor_slot": -1}, ValueError, "actor_slot must lie in"),
        ({"actor_slot": True}, TypeError, "actor_slot must be an integer"),
        (
            {"step": 1.5, "fields": {"u": np.zeros(3)}},
            TypeError,
            "step must be an integer, got 1.5",
        ),
        ({"request_id": -1}, ValueError, "request_id must lie in"),
        ({"parent": "../x"}, ValueError, "checkpoint name '../x' is not allowed"),
        ({"backend": 3}, TypeError, "backend must be a str, got 3"),
        ({"params": {"rate": float("inf")}}, ValueError, r"params\['rate'\] must be finite"),
        ({"params": {"rate": [1]}}, TypeError, r"params\['rate'\] must be a str, int"),
        ({"clock": SimulatedTime(float("nan"))}, ValueError, "clock.seconds must be finite"),
        ({"clock": SimulatedTime(0.0, -1)}, ValueError, "step must lie in"),
        ({"params": [1]}, TypeError, "params must be a mapping"),
        ({"fields": {}}, ValueError, "no field"),
        ({"fields": {"a/b": np.zeros(3)}}, ValueError, "field name 'a/b' is not allowed"),
        ({"fields": {"u": np.array(["text"])}}, TypeError, "dtype <U4"),
        ({"fields": {"u": [1, 2]}}, TypeError, "must be a numpy.ndarray, got list"),
    ],
    ids=str,
)
def test_storage_rule_10_a_bad_snapshot_cannot_be_made(changes, error, says):
    with pytest.raises(error, match=says):
        make_snapshot(**changes)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"field_attrs": {"u": {"dims": ("y", None)}}}, TypeError, "dims of field 'u'"),
        ({"fields": {"u": np.zeros(3), "U": np.zeros(3)}}, ValueError, "differ only in case"),
        ({"fields": {"zarr.json": np.zeros(3)}}, ValueError, "'zarr.json' is reserved"),
        ({"fields": {"u": np.zeros(3, np.longdouble)}}, TypeError, "Zarr cannot store"),
    ],
    ids=str,
)
def test_storage_rule_10_what_the_format_cannot_hold_is_refused_before_a_byte_is_written(
    storage, path, changes, error, says
):
    with pytest.raises(error, match=says):
        storage.save(ONE, make_snapshot(1, **changes))
    assert not path.exists()


def test_storage_rule_10_a_snapshot_of_another_kind_is_refused(storage):
    with pytest.raises(TypeError, match="snapshot must be a Snapshot"):
        storage.save(ONE, {"u": np.zeros(3)})
    assert storage.list() == []


def test_values_are_plain_and_arrays_little_endian_without_a_copy():
    u = np.arange(4.0)
    snapshot = make_snapshot(
        np.int64(3),
        actor_slot=np.uint8(2),
        params={"rate": np.float32(0.5)},
        fields={"u": u, "v": np.arange(4, dtype=">i4")},
        field_attrs={},
    )
    plain = (snapshot.step, snapshot.actor_slot, snapshot.params["rate"])
    assert [type(value) for value in plain] == [int, int, float]
    assert snapshot.fields["u"] is u or np.shares_memory(snapshot.fields["u"], u)
    assert snapshot.fields["v"].dtype == np.dtype("<i4")
    np.testing.assert_array_equal(snapshot.fields["v"], np.arange(4))


def test_bytes_are_one_field():
    snapshot = make_snapshot(fields=b"\x01\x02", field_attrs={})
    assert list(snapshot.fields) == ["actor_state"]
    np.testing.assert_array_equal(snapshot.fields["actor_state"], [1, 2])


def test_a_snapshot_can_be_replaced_in_part_and_is_checked_again():
    snapshot = make_snapshot(1)
    assert dataclasses.replace(snapshot, step=5).fields.keys() == snapshot.fields.keys()
    with pytest.raises(ValueError, match="step"):
        dataclasses.replace(snapshot, step=-5)
