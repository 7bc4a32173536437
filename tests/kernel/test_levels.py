"""Fields of several dtypes: where they lie, and that every backend computes the same with them."""

# ruff: noqa: A002 - what users write

from __future__ import annotations

import numpy as np
import pytest

import ringnb as rn
from ringnb.kernel import layout
from ringnb.kernel.cuda import layout as cuda_layout
from ringnb.kernel.deal import Deal
from ringnb.kernel.levels import field_offsets
from ringnb.testing import MemoryStorage

SHAPE = (7, 19)
RNG = np.random.default_rng(0)
START = {
    "u": RNG.random(SHAPE),
    "wall": (RNG.random(SHAPE) < 0.3).astype("uint8"),
    "spin": RNG.choice(np.array([-1, 1], "int8"), SHAPE),
    "heat": RNG.random(SHAPE).astype("float32"),
}
WIDTHS = [("cpu", 1), ("cpu", 2), ("cpu", 3), ("cudasim", 3)]


def drift(now, next, params, step, y, x):
    ny, nx = now.shape[1], now.shape[2]
    east = now[0, y, x + 1 if x < nx - 1 else 0]
    north = now[0][y + 1 if y < ny - 1 else 0, x]
    next[0, y, x] = now[0, y, x] if now[1, y, x] else 0.5 * (east + north) + 1e-4 * params[1]
    next[1, y, x] = now[1, y, x - 1 if x > 0 else nx - 1]
    next[2, y, x] = -now[2, y, x] if next[0, y, x] > 0.5 else now[-2, y, x]
    next[3, y, x] = now[3, y, x] + now[2, y, x]


def total(now, params, step, y, x):
    return now[0, y, x] + now[1, y, x] * now[3, y, x]


def drifting(**options):
    options = {"params": {"dt": 0.1}, "reduce": {"total": total}} | options
    return rn.actors.from_arrays(options.pop("start", START), drift, **options)


def by_numpy(state, steps, values=()):
    u, wall, spin, heat = (state[name].copy() for name in START)
    for _ in range(steps):
        added = 1e-4 * (u + wall * heat).sum()
        moved = 0.5 * (np.roll(u, -1, 1) + np.roll(u, -1, 0)) + added
        new_u = np.where(wall != 0, u, moved)
        heat = heat + spin
        u, wall, spin = new_u, np.roll(wall, 1, 1), np.where(new_u > 0.5, -spin, spin)
    return {"u": u, "wall": wall, "spin": spin, "heat": heat}


@pytest.fixture(scope="module")
def runs():
    """State and reductions after 5 steps, by backend and width."""
    found = {}
    for backend, width in WIDTHS:
        with rn.Session(drifting(), storage=MemoryStorage(), backend=backend, width=width) as s:
            s.run_steps(0, 5)
            state = s.state(0)
            found[backend, width] = state.numpy(), dict(state.reduced)
    return found


def test_each_field_has_its_dtype_and_numpy_s_values(runs):
    expected = by_numpy(START, 5)
    for state, _ in runs.values():
        assert [a.dtype.name for a in state.values()] == ["float64", "uint8", "int8", "float32"]
        for name in ("wall", "spin", "heat"):
            np.testing.assert_array_equal(state[name], expected[name])
        np.testing.assert_allclose(state["u"], expected["u"], rtol=1e-13)


@pytest.mark.parametrize(("backend", "width"), WIDTHS[1:])
def test_every_width_and_backend_gives_the_same_bits(runs, backend, width):
    (first, numbers), (state, reduced) = runs["cpu", 1], runs[backend, width]
    assert {name: a.tobytes() for name, a in state.items()} == {
        name: a.tobytes() for name, a in first.items()
    }
    assert reduced == numbers


def test_a_stored_state_goes_on_with_the_same_bits(runs, tmp_path):
    config = rn.CheckpointConfig(storage_path=tmp_path / "s.zarr", enabled=False)
    with rn.Session(drifting(), config=config, width=2) as s:
        s.run_steps(0, 2)
        checkpoint = s.snapshot(0)
    assert {n: checkpoint[n].dtype.name for n in checkpoint.fields} == {
        name: array.dtype.name for name, array in START.items()
    }
    assert checkpoint.to_xarray()["wall"].dtype == np.uint8
    again = drifting(start={n: np.zeros_like(a) for n, a in START.items()})
    with rn.Session(again, config=config) as s:
        s.restore(0, "latest")
        s.run_steps(0, 3)
        state = s.state(0)
        for name, array in runs["cpu", 1][0].items():
            assert state[name].tobytes() == array.tobytes()
        assert s.statistics().reduced[0].values == runs["cpu", 1][1]


def test_a_checkpoint_with_a_field_of_another_dtype_is_refused(tmp_path):
    other = rn.CheckpointConfig(storage_path=tmp_path / "s.zarr")
    with rn.Recorder(other, name="drift_0", kernel_type="drift", params={"dt": 0.1}) as rec:
        rec.save(2, **START | {"wall": START["wall"].astype("int32")})
    storage = rn.ZarrStorage(tmp_path / "s.zarr")
    checkpoint = storage.load(storage.list()[-1])
    with (
        rn.Session(drifting(), storage=MemoryStorage()) as s,
        pytest.raises(ValueError, match=r"'wall' has .* dtype int32, but .* dtype uint8"),
    ):
        s.restore(0, checkpoint)


def chosen(now, next, params, step, x):
    for field in range(3):
        next[field, x] = now[field, x] + 1
    next[2 - step % 2, x] = now[0, x]


@pytest.mark.parametrize("backend", ["cpu", "cudasim"])
def test_the_number_of_a_field_may_be_computed(backend):
    start = {"a": np.arange(5, dtype="uint8"), "b": np.zeros(5), "c": np.zeros(5, "int32")}
    actor = rn.actors.from_arrays(start, chosen)
    with rn.Session(actor, storage=MemoryStorage(), backend=backend) as s:
        s.run_steps(0, 2)
        state = s.state(0)
    np.testing.assert_array_equal(state["a"], np.arange(5) + 2)
    np.testing.assert_array_equal(state["b"], np.arange(5) + 1)
    np.testing.assert_array_equal(state["c"], np.arange(5) + 1)


def kick(now, before, params, z, y, x, amplitude):
    now[1, z, y, x] += amplitude
    now[0, z, y, x] = 1


def kept(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x]
    next[1, y, x] = now[1, y, x]


@pytest.mark.parametrize("backend", ["cpu", "cudasim"])
def test_a_cell_is_disturbed_in_any_field(backend):
    fields = {"on": "uint8", "u": "float64"}
    actor = rn.actors.CellActor(kept, (4, 5), fields=fields, inject=kick)
    with rn.Session(actor, storage=MemoryStorage(), backend=backend) as s:
        s.inject(0, at=(2, 3), amplitude=0.25)
        state = s.state(0)
    assert (state["on"][2, 3], state["u"][2, 3]) == (1, 0.25)
    assert (state["on"].sum(), state["u"].sum()) == (1, 0.25)


def still(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x]
    next[1, y, x] = now[1, y + step // 3, x]


def test_an_index_beyond_the_grid_is_named_where_indices_are_checked():
    fields = {"on": "uint8", "u": "float64"}
    unchecked = rn.actors.CellActor(still, (4, 5), fields=fields)
    with rn.Session(unchecked, storage=MemoryStorage()) as s:  # compiles it without checks
        s.run_steps(0, 2)
    actor = rn.actors.CellActor(still, (4, 5), fields=fields, boundscheck=True)
    config = rn.CheckpointConfig(enabled=False, on_close=False)
    with (
        rn.Session(actor, storage=MemoryStorage(), config=config) as s,
        pytest.raises(rn.KernelStopped, match=r"leaves its arrays in step 3, at the cell y = 3"),
    ):
        s.run_steps(0, 9)


@pytest.mark.parametrize("levels", [1, 2])
def test_fields_lie_apart_on_boundaries_of_64_bytes(levels):
    def stay(now, next, params, step, y, x):
        for field in range(3):
            next[field, y, x] = now[field, y, x]

    fields = {"a": "uint8", "b": "float64", "c": "int32"}
    actor = rn.actors.CellActor(stay, (5, 7), fields=fields, levels=levels)
    assert field_offsets(["uint8", "float64", "int32"], 35) == [0, 64, 384, 576]
    assert layout.state_nbytes(actor) == 576 * levels
    block = np.zeros(layout.staging_tail(actor), np.uint8)
    views = layout.state_view(block, actor)
    for level in range(levels):
        for field, (dtype, at) in enumerate(zip(actor.dtypes, (0, 64, 384), strict=True)):
            view = views[level, field]
            assert (view.dtype, view.shape) == (dtype, (5, 7))
            assert view.ctypes.data - block.ctypes.data == 576 * level + at
    deal = Deal([actor], ())
    deal.out(1)
    plan = cuda_layout.CudaPlan([actor], [[0]], deal)
    assert plan.table[0, layout.C_B] - plan.table[0, layout.C_A] == 576 // 8


def near(now, next, params, step, y, x):
    next[0, y, x] = now[0, y - 1, x] if y > 0 and now[1, y, x] else now[0, y, x]
    next[1, y, x] = now[1, y, x]


def far(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x]
    next[1, y, x] = now[1, y - 2 if y > 1 else y, x]


def test_a_reach_is_checked_in_every_field_and_passes_have_the_same_bits():
    start = {"u": RNG.random((600, 40)), "on": RNG.integers(0, 2, (600, 40)).astype("uint8")}
    with pytest.raises(ValueError, match="function far reads"):
        rn.actors.from_arrays(start, far, reach=1)
    found = []
    for reach in (None, 1):
        with rn.Session(
            rn.actors.from_arrays(start, near, reach=reach), storage=MemoryStorage(), width=2
        ) as s:
            s.run_steps(0, 21)
            found.append(s.state(0).numpy())
    assert found[0]["u"].tobytes() == found[1]["u"].tobytes() != start["u"].tobytes()
