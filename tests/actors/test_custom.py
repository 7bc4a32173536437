"""A state of one's own: arrays by name, with a step and a time."""

# ruff: noqa: A002 - what users write

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


def test_fields_have_dtypes_of_their_own_by_array_by_name_or_one_for_all():
    first = A.from_arrays({"u": U, "v": V.astype("uint8")}, swap)
    spec = A.FieldSpec("m", "depth", "uint8")
    second = A.CellActor(swap, (3, 4), fields={"u": "float64", "v": spec}, start={"u": U, "v": V})
    third = A.CellActor(swap, (3, 4), fields={"u": A.FieldSpec(), "v": spec}, dtype="float64")
    for actor in (first, second, third):
        assert actor.dtypes == (np.float64, np.uint8)
        assert actor.dtype == np.dtype([("u", "f8"), ("v", "u1")])
        assert {name: a.dtype for name, a in actor.start().items()} == {"u": "f8", "v": "u1"}
    assert first.start()["u"].tobytes() == second.start()["u"].tobytes() == U.tobytes()
    assert second.field_attrs["v"]["units"] == "m"
    same = A.from_arrays({"u": U, "v": V.astype("uint8")}, swap, dtype="float32")
    assert (same.dtype, same.start().shape) == (np.float32, (2, 3, 4))
    alike = A.CellActor(swap, (3, 4), fields={"u": "float64", "v": "float64"})
    assert alike.dtype == np.float64


def test_what_a_field_of_its_own_dtype_cannot_hold_is_refused():
    fields = {"u": "float64", "v": "uint8"}
    with pytest.raises(ValueError, match=r"start\['v'\] holds values that uint8 cannot hold"):
        A.CellActor(swap, (3, 4), fields=fields, start={"u": U, "v": -V})
    with pytest.raises(TypeError, match=r"start must map names to arrays.*u: float64, v: uint8"):
        A.CellActor(swap, (3, 4), fields=fields, start=np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match=r"fields\['v'\] must be a FieldSpec or a dtype.*float16"):
        A.CellActor(swap, (3, 4), fields={"u": "float64", "v": "float16"})
    with pytest.raises(TypeError, match=r"fields\['v'\] must be a FieldSpec or a dtype.*'metres'"):
        A.CellActor(swap, (3, 4), fields={"v": "metres"})


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
        ({"u": U, "on": U > 3}, ValueError, r"'on' has dtype bool.*on.astype\('uint8'\)"),
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
        ({"feed": (0, 1)}, ValueError, "limits names 'feed', which is not a parameter: use rate"),
        ({"rate": 1.0}, TypeError, r"limits\['rate'\] must be a pair of numbers"),
        ({"rate": (1, 0)}, ValueError, r"limits\['rate'\] must have the lower value first"),
        ({"rate": (0, float("inf"))}, ValueError, r"limits\['rate'\] must be finite"),
    ],
)
def test_limits_that_do_not_fit_are_refused(limits, error, message):
    with pytest.raises(error, match=message):
        rn.actors.CellActor(copy, (4, 4), params={"rate": 0.1}, limits=limits)


def near(now, next, params, step, y, x):
    ny, nx = now.shape[1], now.shape[2]
    west = now[0, y, x - 1] if x > 0 else now[0, y, nx - 1]
    south = now[0, y + 1, x] if y < ny - 1 else 0
    next[0, y, x] = west + south - now[0, y - 1, x - 1]  # -1 is the last one


def two_away(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x] + (now[0, y, x - 2] if x > 1 else 0)


def the_first(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x] - now[0, 0, 0]


def a_row(now, next, params, step, y, x):
    next[0, y, x] = now[0, y].sum()


def a_mean(now, next, params, step, y, x):
    next[0, y, x] = now.mean()


def a_view(now, next, params, step, y, x):
    next[0, y, x] = now.T[0, 0, 0]


def a_sum(now, next, params, step, y, x):
    next[0, y, x] = np.sum(now)


def a_difference(now, next, params, step, y, x):
    next[0, y, x] = np.subtract(now, 1)[0, 0, 0]


def a_loop(now, next, params, step, y, x):
    for field in now:
        next[0, y, x] = field[0, 0]


def endless(now, next, params, step, y, x):
    next[0, y, x] = 0
    while True:
        pass


@pytest.mark.parametrize(
    ("update", "reach", "message"),
    [
        (
            two_away,
            1,
            r"reads now\[0, 0, 5\] in step 0.*2 cells away, and reach is 1 .*x - 2.*reach=2",
        ),
        (near, 0, "1 cell away, and reach is 0"),
        (the_first, 2, r"reads now\[0, 0, 0\].*Pass reach=\d, or leave"),
        *(
            (
                update,
                1,
                rf"{update.__name__} reads more of now than one value.*test_custom.*one by one",
            )
            for update in (a_row, a_mean, a_view, a_sum, a_difference, a_loop)
        ),
        (endless, 1, "endless takes too long as plain Python in step 0.*reach cannot be checked"),
    ],
)
def test_a_reach_is_checked_when_the_actor_is_made(update, reach, message):
    with pytest.raises(ValueError, match=message):
        A.CellActor(update, (9, 8), reach=reach)


def test_a_reach_that_is_right_is_accepted():
    assert A.CellActor(near, (9, 8), reach=1).reach == 1
    assert A.CellActor(two_away, (9, 8), reach=2).reach == 2
    assert A.CellActor(the_first, (9, 8)).reach is None
    for wrong in (-1, 65):
        with pytest.raises(ValueError, match=r"reach must lie in 0\.\.64 \(cells\)"):
            A.CellActor(near, (9, 8), reach=wrong)
    with pytest.raises(TypeError, match="reach must be an integer"):
        A.CellActor(near, (9, 8), reach=1.0)
