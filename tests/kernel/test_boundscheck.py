"""With `boundscheck=True` the first index outside its array stops the kernel, and its line is told."""

# ruff: noqa: A002 - what users write

from __future__ import annotations

import inspect
import sys

import numba
import numpy as np
import pytest

import ringnb as rn
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.testing import MemoryStorage


@numba.njit
def pick(values, i):
    return values[i]  # here


def line(now, next, params, step, x):
    next[0, x] = now[0, x] + (1 if x == 5 else 0)
    next[1, x] = pick(now[1], x + int(now[0, x]) - 3)


def plane(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x] + (1 if y == 3 and x == 5 else 0)
    next[1, y, x] = pick(now[1, y], x + int(now[0, y, x]) - 3)


def space(now, next, params, step, z, y, x):
    next[0, z, y, x] = now[0, z, y, x] + (1 if z == 2 and y == 3 and x == 5 else 0)
    next[1, z, y, x] = pick(now[1, z, y], x + int(now[0, z, y, x]) - 3)


def hosted(update, shape, **options):
    return rn.actors.CellActor(update, shape, fields=("hits", "u"), dtype="float64", **options)


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("update", "shape", "cell"),
    [
        (plane, (7, 30), "y = 3, x = 5"),
        pytest.param(line, (30,), "x = 5", marks=slow),
        pytest.param(space, (4, 7, 30), "z = 2, y = 3, x = 5", marks=slow),
    ],
    ids=["plane", "line", "space"],
)
def test_an_index_that_values_decide_is_found(update, shape, cell):
    sound, faulty = hosted(update, shape), hosted(update, shape, boundscheck=True)
    lines, first = inspect.getsourcelines(pick.py_func)
    where = first + next(n for n, text in enumerate(lines) if "# here" in text)
    for width, done in ((1, 20), (3, 21)):  # the levels have swapped even and odd times
        with rn.Session([sound, faulty], storage=MemoryStorage(), width=width, lanes=1) as session:
            session.run_steps(1, done)
            session.snapshot(1)
            with pytest.raises(rn.KernelStopped, match=r"in slot 1, function .* leaves") as raised:
                session.run_steps(1, 29 - done)
            told = str(raised.value)
            # 28 cells to the right of the cell that is hit once in every step
            assert f"in step 28, at the cell {cell}: index 30 is out of bounds" in told
            assert f"{__file__}:{where}: `return values[i]" in told
            assert session.glance().actors[1].step <= 28
            with pytest.raises(rn.KernelStopped, match="step 28"):
                session.snapshot(0)


def test_new_parameters_of_one_actor_are_no_fault_of_its_neighbour():
    actors = [rn.actors.Heat2D((8, 8))] * 2
    with rn.Session(actors, storage=MemoryStorage(), lanes=1) as session:
        for slot in (1, 0):
            session.set_params(slot, diffusion_number=0.1)
            session.run_steps(slot, 3)


def raising(now, next, params, step, y, x):
    if step == 3 and y == 2:
        raise ValueError("too deep")
    next[0, y, x] = next[1, y, x] = 0


@pytest.mark.slow
def test_an_exception_of_the_updates_own_is_found_as_well():
    actor = hosted(raising, (7, 30), boundscheck=True)
    with rn.Session(actor, storage=MemoryStorage()) as session:
        with pytest.raises(
            rn.KernelStopped,
            match=r"in slot 0, function raising raised in step 3, at the cell y = 2, x = 0\. "
            r".*ValueError: too deep \(.*test_boundscheck\.py:\d+: `raise ValueError\(\"too deep\"\)`\)",
        ):
            session.run_steps(0, 9)


def test_checking_changes_no_bits():
    def smooth(now, next, params, step, y, x):
        ny, nx = now.shape[1], now.shape[2]
        around = now[0, y - 1, x] + now[0, (y + 1) % ny, x] + now[0, y, x - 1]
        next[0, y, x] = now[0, y, x] + np.float32(0.1) * (
            around + now[0, y, (x + 1) % nx] - np.float32(4) * now[0, y, x]
        )

    start = np.random.default_rng(0).random((31, 45), np.float32)
    ends = []
    for boundscheck in (False, True):
        actor = rn.actors.CellActor(smooth, (31, 45), start=start, boundscheck=boundscheck)
        with rn.Session(actor, storage=MemoryStorage(), width=2) as session:
            session.run_steps(0, 101)
            ends.append(session.snapshot(0).numpy()["u"].tobytes())
    assert ends[0] == ends[1]


def test_a_gpu_checks_no_index_and_says_so():
    with pytest.raises(ValueError, match=r"boundscheck=True of plane.*backend='cpu'"):
        CudaKernel([hosted(plane, (7, 30), boundscheck=True)])


@numba.njit
def _picky(value):
    if value > 2.5:
        raise ValueError("too much")
    return value + 1


def _grow(now, then, params, step, x):
    then[0, x] = _picky(now[0, x])


@pytest.mark.parametrize("width", [1, 3])
def test_an_update_that_raises_unchecked_stops_the_kernel(width, monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(repr(what.exc_value)))
    actor = rn.actors.CellActor(_grow, (8,), start=np.ones((1, 8)))
    config = rn.CheckpointConfig(enabled=False)
    with rn.Session(actor, config=config, storage=MemoryStorage(), width=width) as s:
        with pytest.raises(rn.KernelStopped, match=r"the update raised.*boundscheck=True"):
            s.run_steps(0, 50)
    assert told[0] == "ValueError('too much')"
