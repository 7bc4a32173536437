"""Numbers over all cells: the same bits on every backend and for every width."""

# ruff: noqa: A002 - what users write

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

import ringnb as rn
from ringnb.actors.fingerprint import code_of, differences
from ringnb.actors.torus import wrap
from ringnb.testing import MemoryStorage

START = np.random.default_rng(0).random((1, 7, 19))
H = np.random.default_rng(1).random((7, 19))
WIDTHS = [("cpu", 1), ("cpu", 3), ("cudasim", 3)]


def share(now, next, params, step, y, x, h):
    next[0, y, x] = now[0, wrap(y - 1, 7), wrap(x + 1, 19)] * h[y, x] / params[1] + params[2]


def weighted(now, params, step, y, x, h):
    return now[0, y, x] * h[y, x]


def sharing(**options):
    options = {"params": {"dt": 0.1}, "start": START, "dtype": "float64"} | options
    reduce = {"total": weighted, "most": ("max", weighted), "least": ("min", weighted)}
    return rn.actors.CellActor(share, (7, 19), arrays={"h": H}, reduce=reduce, **options)


@pytest.fixture(scope="module")
def runs():
    """State and reductions after 0, 2 and 5 steps, by backend and width."""
    found = {}
    for backend, width in WIDTHS:
        with rn.Session(sharing(), storage=MemoryStorage(), backend=backend, width=width) as s:
            for steps in (0, 2, 3):
                if steps:
                    s.run_steps(0, steps)
                state = s.state(0)
                found[backend, width, state.step] = state["u"], dict(state.reduced)
    return found


def test_they_are_of_the_state_that_they_come_with(runs):
    for (_, _, step), (u, reduced) in runs.items():
        values = u * H
        assert list(reduced) == ["total", "most", "least"]
        assert math.isclose(reduced["total"], values.sum(), rel_tol=1e-14), step
        assert (reduced["most"], reduced["least"]) == (values.max(), values.min())


def test_the_next_step_finds_them_behind_the_parameters(runs):
    u = START[0]
    for _ in range(5):
        values = u * H
        u = np.roll(u, (1, -1), (0, 1)) * H / values.sum() + values.max()
    np.testing.assert_allclose(runs["cpu", 1, 5][0], u, rtol=1e-12)


@pytest.mark.parametrize("step", [0, 2, 5])
def test_every_width_and_backend_gives_the_same_bits(runs, step):
    (first, numbers), *others = (runs[backend, width, step] for backend, width in WIDTHS)
    for state, reduced in others:
        assert state.tobytes() == first.tobytes()
        assert reduced == numbers


def test_a_restored_run_goes_on_with_the_same_bits(runs, tmp_path):
    guarded = []

    def look(fields, step, params):
        guarded.append((step, params["total"], params["dt"]))
        return True

    config = rn.CheckpointConfig(storage_path=tmp_path / "s.zarr", enabled=False, guard=look)
    with rn.Session(sharing(), config=config, width=1) as s:
        s.run_steps(0, 2)
        checkpoint = s.snapshot(0)
        s.run_steps(0, 1)
        s.restore(0, checkpoint)
        s.set_params(0, dt=0.2)
        s.run_steps(0, 3)
        assert s.state(0)["u"].tobytes() == runs["cpu", 1, 5][0].tobytes()
        now = s.statistics().reduced[0]
        assert (now.step, now.values) == (5, runs["cpu", 1, 5][1])
        assert "least = " in s.statistics()._repr_html_()
    assert guarded[0] == (2, runs["cpu", 1, 2][1]["total"], 0.1)
    assert checkpoint.params == {"dt": 0.1}
    assert checkpoint.reduced == runs["cpu", 1, 2][1]
    assert rn.ZarrStorage(tmp_path / "s.zarr").load(checkpoint.name).reduced == checkpoint.reduced
    assert checkpoint.to_xarray().attrs["reduced_total"] == checkpoint.reduced["total"]
    assert "total = " in checkpoint._repr_html_()


def still(now, next, params, step, x):
    next[0, x] = now[0, x]


def value(now, params, step, x):
    return now[0, x]


@pytest.mark.parametrize("backend", ["cpu", "cudasim"])
def test_a_row_is_reduced_whole_and_no_number_stays(backend):
    start = np.arange(11.0)
    for first in (start, np.where(start == 4, np.nan, start)):
        reduce = {"sum": value, "max": ("max", value), "min": ("min", value)}
        actor = rn.actors.CellActor(still, (11,), start=first, dtype="float64", reduce=reduce)
        config = rn.CheckpointConfig(guard="off")
        with rn.Session(
            actor, storage=MemoryStorage(), backend=backend, width=2, config=config
        ) as s:
            found = s.state(0).reduced
            np.testing.assert_equal(s.snapshot(0).reduced, dict(found))
        for name, number in (("sum", first.sum()), ("max", first.max()), ("min", first.min())):
            np.testing.assert_equal(found[name], number)


def far(now, params, step, x):
    return now[0, x + (9 if step > 4 else 0)]


def raises(now, params, step, x):
    if step == 5:
        raise ValueError("no")
    return now[0, x]


@pytest.mark.parametrize(
    ("value", "options", "said"),
    [(far, {"boundscheck": True}, "IndexError"), (raises, {}, "ValueError")],
)
def test_one_that_raises_stops_the_kernel(value, options, said, monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(repr(what.exc_value)))
    actor = rn.actors.CellActor(still, (11,), reduce={"value": value}, **options)
    config = rn.CheckpointConfig(enabled=False)
    with rn.Session(actor, config=config, storage=MemoryStorage(), width=2) as s:
        with pytest.raises(rn.KernelStopped, match=r"in slot 0, .*a reduction raised in step"):
            s.run_steps(0, 20)
    assert told[0].startswith(said)


def beyond(now, params, step, x):
    return now[0, x] * params[0]


def neighbour(now, params, step, x):
    return now[0, x + 1]


def nothing(now, params, step, x):
    pass


def spoils(now, params, step, x):
    now[0, x] = 0
    return 0.0


@pytest.mark.parametrize(
    ("reduce", "error", "message"),
    [
        ({"e": beyond}, ValueError, "function beyond leaves its arrays.*params has 0"),
        ({"e": neighbour}, ValueError, "function neighbour leaves its arrays.*now has the shape"),
        ({"e": nothing}, ValueError, "function nothing returns None, which is not a number"),
        ({"e": spoils}, ValueError, "function spoils writes now"),
        ({"e": still}, TypeError, r"reduce\['e'\].*must take \(now, params, step, x\)"),
        ({"e": ("mean", value)}, ValueError, "one of sum, min, max"),
        (value, TypeError, "reduce must map names"),
        ({f"e{i}": value for i in range(5)}, ValueError, "at most 4 reductions"),
    ],
)
def test_what_is_no_reduction_is_refused(reduce, error, message):
    with pytest.raises(error, match=message):
        rn.actors.CellActor(still, (11,), reduce=reduce)


def test_a_reduction_is_no_parameter():
    with pytest.raises(ValueError, match="'dt' is the name of a parameter"):
        rn.actors.CellActor(still, (11,), params={"dt": 1}, reduce={"dt": value})
    actor = sharing()
    assert (list(actor.params), actor.n_values) == (["dt"], 4)
    with pytest.raises(ValueError, match="no parameter"):
        actor.change_params(actor.params, {"total": 1.0})


def test_a_checkpoint_tells_what_is_reduced():
    then, now = (
        code_of(share, reductions=rn.actors.CellActor(still, (11,), reduce=reduce).reductions)
        for reduce in ({"e": value}, {"e": ("max", value)})
    )
    assert differences(then, now) == [
        "`reduce['e']` was ('sum', 'value'), is ('max', 'value')",
    ]


@pytest.mark.parametrize("index", range(-5, 10))
def test_an_index_is_wrapped_around(index):
    assert wrap.py_func(index, 5) == index % 5
