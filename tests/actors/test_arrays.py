"""Read-only arrays: given to the update as its last parameters, told by every checkpoint."""

# ruff: noqa: A002 - what users write

from __future__ import annotations

import numpy as np
import pytest

import ringnb as rn
from ringnb.checkpoint import load_arrays
from ringnb.testing import MemoryStorage

RNG = np.random.default_rng(0)
START = RNG.random((1, 6, 9))
DEPTH = RNG.random((6, 9)).astype("float32")
SOURCE = np.arange(9)


def flow(now, next, params, step, y, x, depth, source):
    left = now[0, y, x - 1 if x > 0 else now.shape[2] - 1]
    next[0, y, x] = now[0, y, x] + depth[y, x] * (left - now[0, y, x]) + source[x]


def flowing(depth=DEPTH, source=SOURCE, **options):
    options = {"dtype": "float64", "start": START} | options
    return rn.actors.CellActor(flow, (6, 9), arrays={"depth": depth, "source": source}, **options)


def expected(steps, depth=DEPTH):
    u = START[0]
    for _ in range(steps):
        u = u + depth * (np.roll(u, 1, 1) - u) + SOURCE
    return u


@pytest.mark.parametrize(("backend", "width"), [("cpu", 1), ("cpu", 4), ("cudasim", 2)])
def test_an_update_reads_its_arrays_on_every_backend(backend, width):
    shallow, deep = flowing(), flowing(2 * DEPTH)
    actors = [shallow, deep, shallow, rn.actors.Life((6, 9))]
    with rn.Session(actors, storage=MemoryStorage(), backend=backend, width=width, lanes=1) as s:
        for slot in range(4):
            s.run_steps(slot, 5)
        for slot, depth in ((0, DEPTH), (1, 2 * DEPTH), (2, DEPTH)):
            np.testing.assert_array_equal(s.state(slot)["u"], expected(5, depth))


def test_the_arrays_are_copies_that_nobody_writes():
    given = DEPTH.copy()
    actor = flowing(given)
    given[:] = 0
    np.testing.assert_array_equal(actor.arrays["depth"], DEPTH)
    with pytest.raises(ValueError, match="read-only"):
        actor.arrays["depth"][0, 0] = 1
    with pytest.raises(TypeError):
        actor.arrays["depth"] = given


def test_a_restore_into_other_arrays_says_which_differ(tmp_path):
    config = rn.CheckpointConfig(storage_path=tmp_path / "s.zarr", enabled=False)
    with rn.Session(flowing(), config=config) as s:
        s.run_steps(0, 2)
        checkpoint = s.snapshot(0)
        s.restore(0, checkpoint)
    assert "float32[6x9]" in checkpoint.code["values"]["arrays['depth']"]
    with rn.Session(flowing(2 * DEPTH), config=config) as s:
        with pytest.warns(rn.errors.CheckpointWarning, match=r"`arrays\['depth'\]` was float32"):
            s.restore(0, "latest")


def writes(now, next, params, step, y, x, depth):
    depth[y, x] = 0
    next[0, y, x] = now[0, y, x]


def leaves(now, next, params, step, y, x, depth):
    next[0, y, x] = depth[y, x + 1]


def one_missing(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x]


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (writes, r"function writes writes one of its arrays \(depth\).*depth\[y, x\] = 0"),
        (leaves, r"index 9 is out of bounds.*depth has \(6, 9\)"),
    ],
)
def test_what_an_update_must_not_do_with_them_is_refused(update, message):
    with pytest.raises(ValueError, match=message):
        rn.actors.CellActor(update, (6, 9), arrays={"depth": DEPTH})


def test_an_update_takes_as_many_as_there_are():
    with pytest.raises(TypeError, match=r"must take \(now, next, params, step, y, x, depth\)"):
        rn.actors.CellActor(one_missing, (6, 9), arrays={"depth": DEPTH})
    actor = rn.actors.from_arrays({"u": START[0]}, leaves, arrays={"depth": np.zeros((6, 10))})
    assert list(actor.arrays) == ["depth"]


def swapped(now, next, params, step, y, x, source, depth):
    next[0, y, x] = now[0, y, x] + source[y, x]


def swapped_value(now, params, step, y, x, source, depth):
    return now[0, y, x]


def test_arrays_that_a_function_names_in_another_order_are_refused():
    arrays = {"depth": DEPTH, "source": DEPTH}
    with pytest.raises(TypeError, match=r"another order than .*step, y, x, depth, source\)"):
        rn.actors.CellActor(swapped, (6, 9), arrays=arrays)
    with pytest.raises(TypeError, match=r"reduce\['sum'\].*another order"):
        flowing(reduce={"sum": swapped_value})
    rn.actors.CellActor(swapped, (6, 9), arrays={"a": DEPTH, "b": DEPTH})  # names are free


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        (DEPTH, TypeError, "arrays must map names"),
        ({"depth": DEPTH > 0}, ValueError, r"arrays\['depth'\] has dtype bool"),
        ({"depth": 3.0}, ValueError, "one to three axes"),
        ({"depth": []}, ValueError, "one to three axes"),
        ({f"a{i}": DEPTH for i in range(9)}, ValueError, "9 arrays are too many"),
    ],
)
def test_what_are_no_arrays_is_refused(arrays, error, message):
    with pytest.raises(error, match=message):
        rn.actors.CellActor(flow, (6, 9), arrays=arrays)


def test_they_are_kept_once_beside_the_store(tmp_path):
    store = tmp_path / "s.zarr"
    config = rn.CheckpointConfig(storage_path=store, enabled=False, on_close=False)
    for depth in (DEPTH, DEPTH, 2 * DEPTH):
        with rn.Session(flowing(depth), config=config) as s:
            assert len(list((tmp_path / "s.arrays.zarr").glob("*-*"))) in (0, 2)
            checkpoints = [s.snapshot(0), s.snapshot(0)]
    kept = sorted(p.name[:-17] for p in (tmp_path / "s.arrays.zarr").iterdir() if p.is_dir())
    assert kept == ["depth", "depth", "source"]
    with rn.ZarrStorage(store) as storage:  # which holds checkpoints only
        assert {p.name for p in store.iterdir() if p.is_dir()} == set(storage.list())
    found = load_arrays(store, checkpoints[-1])
    assert [(n, a.dtype, a.tobytes()) for n, a in found.items()] == [
        ("depth", np.float32, (2 * DEPTH).tobytes()),
        ("source", np.int64, SOURCE.tobytes()),
    ]


def test_arrays_that_are_lost_or_changed_are_told(tmp_path):
    store = tmp_path / "s.zarr"
    config = rn.CheckpointConfig(storage_path=store, enabled=False)
    with rn.Session(flowing(), config=config) as s:
        checkpoint = s.snapshot(0)
    folder = next((tmp_path / "s.arrays.zarr").glob("depth-*"))
    chunk = folder / "c.0.0"
    raw = bytearray(chunk.read_bytes())
    raw[5] ^= 1
    chunk.write_bytes(raw)
    with pytest.raises(rn.CheckpointCorrupt, match=r"array 'depth' .* is damaged, or was changed"):
        load_arrays(store, checkpoint)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(rn.CheckpointNotFound, match=r"array 'depth' .* is not kept with the store"):
        load_arrays(store, checkpoint)


def test_a_commit_whose_arrays_cannot_be_kept_fails(tmp_path):
    config = rn.CheckpointConfig(storage_path=tmp_path / "s.zarr", enabled=False, on_close=False)
    (tmp_path / "s.arrays.zarr").write_text("in the way")
    with rn.Session(flowing(), config=config) as s:
        with pytest.raises((OSError, rn.CheckpointError)):
            s.snapshot(0)
        (tmp_path / "s.arrays.zarr").unlink()
        s.snapshot(0)
