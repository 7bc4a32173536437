"""Parts of a live state, read and written between two steps."""

from __future__ import annotations

import numpy as np
import pytest
from session_rig import memory

import ringnb as rn
from ringnb.actors import CellActor, Ising2D, Life, Wave2D


@pytest.fixture
def store():
    return memory()


def test_what_is_read_is_the_state_s_own_and_what_is_written_is_stepped_on(store):
    corner = rn.Region("pressure", slice(0, 2), slice(4, 7))
    with rn.Session(Wave2D((8, 9)), storage=store) as session:
        session.run_steps(0, 5)
        state = session.state(0)
        np.testing.assert_array_equal(session.read_region(0, corner), state["pressure"][:2, 4:7])
        session.write_region(0, corner, 0.5)
        written = {name: state[name].copy() for name in state.fields}
        written["pressure"][:2, 4:7] = 0.5
        for name, values in session.state(0).numpy().items():
            np.testing.assert_array_equal(values, written[name])
        session.run_steps(0, 20)
        there = session.state(0)["pressure"]
    again = Wave2D((8, 9), start=np.stack(list(written.values())), start_step=5)
    with rn.Session(again, storage=store) as session:
        session.run_steps(0, 20)
        np.testing.assert_array_equal(session.state(0)["pressure"], there)


def test_fields_of_several_dtypes_and_three_axes(store):
    def keep(now, after, params, step, z, y, x):
        after[0, z, y, x] = now[0, z, y, x]
        after[1, z, y, x] = now[1, z, y, x]

    mixed = CellActor(keep, (4, 5, 6), fields={"u": "float64", "wall": "uint8"})
    wall = rn.Region("wall", slice(1, 3), slice(4, 5), slice(2, 6))
    values = np.arange(8, dtype=np.uint8).reshape(2, 1, 4)
    with rn.Session(mixed, storage=store) as session:
        session.write_region(0, wall, values)
        session.run_steps(0, 3)
        np.testing.assert_array_equal(session.read_region(0, wall), values)
        state = session.state(0)
        assert state["wall"].sum() == values.sum()
        assert not state["u"].any()
        np.testing.assert_array_equal(state["wall"][1:3, 4:5, 2:6], values)


def test_a_write_is_an_input_that_the_next_checkpoint_saves(store):
    config = rn.CheckpointConfig(enabled=False, on_close=False)
    with rn.Session(Life((8, 8)), config=config, storage=store) as session:
        session.snapshot(0)
        assert session.save_changes()
        assert session.statistics().completed == 1
        session.write_region(0, rn.Region("alive", slice(3, 4)), [0, 0, 1, 1, 1, 0, 0, 0])
        told = [event for event in session.events if event.stage == "disturbed"]
        assert [(event.step, event.detail) for event in told] == [(0, "alive[3:4] written")]
        assert session.save_changes()
        assert session.statistics().completed == 2


@pytest.mark.parametrize(
    ("values", "error", "told"),
    [
        (np.zeros((3, 8), np.uint8), ValueError, r"shape \(3, 8\) do not fit .* \(2, 8\)"),
        ([0.5] * 8, TypeError, "float64 do not fit a field of uint8"),
        ([300] * 8, TypeError, "int64 do not fit a field of uint8"),
        ("alive", TypeError, "must be numbers"),
        (
            np.ma.masked_equal(np.arange(8, dtype=np.uint8), 3),
            TypeError,
            "the mask .* would be lost",
        ),
    ],
)
def test_values_that_do_not_fit_are_refused_and_nothing_is_written(store, values, error, told):
    region = rn.Region("alive", slice(2))
    with rn.Session(Life((8, 8)), storage=store) as session:
        before = session.read_region(0, region)
        with pytest.raises(error, match=told):
            session.write_region(0, region, values)
        with pytest.raises(TypeError, match="must be a Region"):
            session.write_region(0, "alive", values)
        np.testing.assert_array_equal(session.read_region(0, region), before)


@pytest.mark.parametrize(
    ("actor", "values", "error", "told"),
    [
        (lambda: Ising2D((8, 8)), 300, TypeError, "int64 do not fit a field of int8"),
        (lambda: Wave2D((8, 8)), 1e300, ValueError, "1e\\+300 are beyond .* float32"),
    ],
)
def test_values_beyond_what_a_field_holds_are_refused(store, actor, values, error, told):
    model = actor()
    region = rn.Region(model.stored_fields[0], slice(2))
    with rn.Session(model, storage=store) as session:
        with pytest.raises(error, match=told):
            session.write_region(0, region, values)
        session.write_region(0, region, -1)
        assert (session.read_region(0, region) == -1).all()
