"""A state of one's own: arrays by name, with a step and a time."""

from __future__ import annotations

import numpy as np
import pytest

import ringnb as rn

A = rn.actors
U, V = np.arange(12.0).reshape(3, 4), np.ones((3, 4))


def swap(now, before, params, step, y, x):
    before[0, y, x] = now[1, y, x]
    before[1, y, x] = now[0, y, x]


def copy(now, before, params, step, y, x):
    before[0, y, x] = now[0, y, x]


def wave(now, before, params, step, y, x):
    before[0, y, x] = 2 * now[0, y, x] - before[0, y, x]


def test_a_start_by_name_is_put_into_the_order_of_the_fields():
    actor = A.CellActor(swap, (3, 4), fields=["u", "v"], start={"v": V, "u": U})
    np.testing.assert_array_equal(actor.start(), np.stack([U, V]).astype("float32"))
    called = A.CellActor(swap, (3, 4), fields=["u", "v"], start=lambda _: {"v": V, "u": U})
    np.testing.assert_array_equal(called.start(), actor.start())


def test_a_previous_level_that_is_left_out_is_that_of_now():
    actor = A.Wave2D((3, 4), start={"pressure": U})
    np.testing.assert_array_equal(actor.start(), np.stack([U, U]))
    actor = A.Wave2D((3, 4), start={"pressure_previous": V, "pressure": U})
    np.testing.assert_array_equal(actor.start(), np.stack([U, V]))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"u": U}, r"has arrays \['u'\].*needs.*: add one of \(3, 4\) for.*\['v'\], of zeros"),
        ({"u": U, "v": V, "w": V}, r"has arrays \['u', 'v', 'w'\]"),
        ({"u": U, "v": V[:2]}, r"start\['v'\] has shape \(2, 4\).*\(3, 4\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(start, message):
    with pytest.raises(ValueError, match=message):
        A.CellActor(swap, (3, 4), fields=["u", "v"], start=start)


def test_from_arrays_takes_fields_shape_and_dtype_from_the_arrays():
    actor = A.from_arrays({"u": U, "v": V}, swap, params={"dt": 0.5}, start_step=500)
    assert (actor.shape, actor.dtype, tuple(actor.fields)) == ((3, 4), np.float64, ("u", "v"))
    assert actor.levels == 1
    assert (actor.start_step, actor.clock.at(500)) == (500, 250.0)
    assert actor.start().tobytes() == np.stack([U, V]).tobytes()
    assert "start_step=500" in repr(actor)


def test_from_arrays_finds_the_previous_level_by_its_name():
    actor = A.from_arrays({"h_previous": V, "h": U}, wave)
    assert (actor.levels, tuple(actor.fields)) == (2, ("h",))
    np.testing.assert_array_equal(actor.start(), np.stack([U, V]))


def test_from_arrays_goes_on_from_a_checkpoints_arrays(tmp_path):
    config = rn.CheckpointConfig(storage_path=tmp_path / "store.zarr", enabled=False)
    with rn.Session(A.Heat2D((8, 8)), config=config) as s:
        s.run_steps(0, 10)
        checkpoint = s.snapshot(0)
    actor = A.from_arrays(
        checkpoint.numpy(), copy, start_step=checkpoint.step, params={"dt": 1.0}, start_time=3.0
    )
    assert actor.start_step == 10
    np.testing.assert_array_equal(actor.start()[0], checkpoint["temperature"][:])


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({}, TypeError, "arrays must map names"),
        (U, TypeError, "arrays must map names"),
        ({"u": U, "v": V[:2]}, ValueError, "different shapes"),
        ({"u": U, "v": V.astype("float32")}, ValueError, "different dtypes.*float64.*float32"),
        ({"u": U > 3}, ValueError, "dtype bool.*dtype='float32'"),
    ],
)
def test_from_arrays_says_what_does_not_fit(arrays, error, message):
    with pytest.raises(error, match=message):
        A.from_arrays(arrays, copy)


def test_a_start_time_needs_steps_with_a_length():
    with pytest.raises(ValueError, match=r"start_time=2 needs.*'dt'"):
        A.from_arrays({"u": U}, copy, start_time=2)
    with pytest.raises(ValueError, match="start_step"):
        A.Life((8, 8), start_step=-1)


def test_limits_bound_the_sliders_of_ones_own_parameters():
    params = {"rate": 0.1, "noise": 2.0, "seed": 5.0}
    limits = {"rate": (0, 1), "seed": None}
    actor = rn.actors.CellActor(copy, (4, 4), params=params, limits=limits)
    assert actor.limits_of(actor.params) == {"rate": (0.0, 1.0), "noise": (0.2, 20.0)}
    assert actor.limits_of({**params, "rate": 3.0})["rate"] == (0.0, 3.0)


@pytest.mark.parametrize(
    ("limits", "error", "message"),
    [
        ([("rate", 0, 1)], TypeError, "limits must map names of parameters to pairs"),
        ({"feed": (0, 1)}, ValueError, "limits names 'feed', which is no parameter: use rate"),
        ({"rate": 1.0}, TypeError, r"limits\['rate'\] must be a pair of numbers"),
        ({"rate": (1, 0)}, ValueError, r"limits\['rate'\] must have the lower value first"),
        ({"rate": (0, float("inf"))}, ValueError, r"limits\['rate'\] must be finite"),
    ],
)
def test_limits_that_do_not_fit_are_refused(limits, error, message):
    with pytest.raises(error, match=message):
        rn.actors.CellActor(copy, (4, 4), params={"rate": 0.1}, limits=limits)
