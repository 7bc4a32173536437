"""Actors: limits are refused with the limit in the message, and parameters stay consistent."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import zarr

import ringnb as rn
from ringnb._support.children import run_python

A = rn.actors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: A.Wave2D((8, 8), courant2=0.51), r"courant2=0\.51.*<= 1/2"),
        (lambda: A.Wave3D((8, 8, 8), courant2=0.34), r"courant2=0\.34.*<= 1/3"),
        (lambda: A.Wave2D((8, 8), courant2=0), "courant2=0"),
        (lambda: A.Wave2D((8, 8), courant2=float("nan")), "courant2 must be finite"),
        (lambda: A.Wave2D((8, 8), damping=-0.1), r"damping=-0\.1"),
        (lambda: A.Wave2D((8, 8), damping=2), "damping < 2"),
        (lambda: A.Wave2D((8, 8), dx=0), "dx=0 must be positive"),
        (lambda: A.Wave2D((8, 8, 8)), "2 axes"),
        (lambda: A.Wave3D((8, 8)), "3 axes"),
        (lambda: A.Wave2D((8, 2)), "at least 3 grid points"),
        (lambda: A.Wave2D((8, -8)), "at least 3 grid points"),
        (lambda: A.Wave2D((2**21, 2**21)), "too large"),
        (lambda: A.Wave2D("88"), "shape of one to three"),
        (lambda: A.Wave2D((8, 8), start=np.zeros((9, 8))), r"\(9, 8\).*\(2, 8, 8\)"),
        (lambda: A.Heat2D((8, 8), 0.26), r"diffusion_number=0\.26.*<= 1/4"),
        (lambda: A.Heat2D((8, 8), alpha=-1), "alpha=-1 must be positive"),
        (lambda: A.GrayScott((8, 8), du=0.3), r"du=0\.3.*<= 1/4"),
        (lambda: A.GrayScott((8, 8), feed=0.9, kill=0.2), r"dt \(feed \+ kill\) < 1"),
        (lambda: A.GrayScott((8, 8), kill=-1), "kill=-1"),
        (lambda: A.GrayScott((8, 8), start=np.zeros((8, 8))), r"\(2, 8, 8\)"),
        (lambda: A.Life((8, 8), start=np.full((8, 8), 2)), "0 or 1"),
        (lambda: A.Life((8, 8), start=np.full((8, 8), 300)), "cannot hold"),
        (lambda: A.Ising2D((8, 9)), "even lengths"),
        (lambda: A.Ising2D((8, 8), temperature=0), "temperature=0 must be positive"),
        (lambda: A.Ising2D((8, 8), seed=0.5), "seed=0.5 must be an integer"),
        (lambda: A.Ising2D((8, 8), seed=-1), "seed=-1"),
        (lambda: A.Ising2D((8, 8), start=np.zeros((8, 8))), r"other than \+1 and -1"),
    ],
)
def test_a_parameter_beyond_its_limit_is_refused_with_the_limit(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: A.Wave2D((8.0, 8)), "shape of integers"),
        (lambda: A.Wave2D((8, True)), "shape of integers"),
        (lambda: A.Wave2D((8, 8), courant2="0.2"), "courant2 must be a number"),
        (lambda: A.Wave2D((8, 8), courant2=True), "courant2 must be a number"),
    ],
)
def test_a_parameter_of_the_wrong_type_is_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_the_limits_themselves_are_allowed():
    A.Wave2D((8, 8), courant2=0.5)
    A.Wave3D((8, 8, 8), courant2=1 / 3)
    A.Heat2D((8, 8), 0.25)


def test_kernel_types_and_fields_are_the_documented_ones():
    expected = {
        "fdtd_2d": (A.Wave2D((8, 8)), ("pressure", "pressure_previous")),
        "fdtd_3d": (A.Wave3D((8, 8, 8)), ("pressure", "pressure_previous")),
        "heat_2d": (A.Heat2D((8, 8)), ("temperature",)),
        "gray_scott": (A.GrayScott((8, 8)), ("u", "v")),
        "life": (A.Life((8, 8)), ("alive",)),
        "ising_2d": (A.Ising2D((8, 8)), ("spin",)),
    }
    for kernel_type, (actor, fields) in expected.items():
        assert actor.kernel_type == kernel_type
        assert actor.stored_fields == fields
        assert set(actor.field_attrs) == set(fields)
        assert all(a["units"] and a["long_name"] for a in actor.field_attrs.values())


def test_dt_follows_and_cannot_contradict():
    wave = A.Wave2D((8, 8), courant2=0.25, dx=0.02, c=340.0)
    assert wave.dt_s == pytest.approx(0.5 * 0.02 / 340)
    changed = wave.change_params(wave.params, {"courant2": 0.36})
    assert changed["dt"] == pytest.approx(0.6 * 0.02 / 340)
    with pytest.raises(ValueError, match=r"dt=1 of fdtd_2d contradicts"):
        wave.change_params(wave.params, {"dt": 1.0})
    with pytest.raises(ValueError, match="contradicts"):
        wave.check_params({**wave.params, "dt": 1.0})
    with pytest.raises(ValueError, match="has no parameter"):
        wave.change_params(wave.params, {"speed": 1.0})
    with pytest.raises(ValueError, match="has parameters"):
        wave.check_params({"courant2": 0.2})


def test_a_start_given_by_the_user_is_copied():
    field = np.zeros((8, 8))
    wave = A.Wave2D((8, 8), start=field)
    field[:] = 5
    assert (wave.start() == 0).all()
    wave.start()[:] = 7
    assert (wave.start() == 0).all()


def cell(now, before, params, step, y, x):
    before[0, y, x] = now[0, y, x]


def beyond_the_edge(now, before, params, step, y, x):
    before[0, y, x] = now[0, y + 1, x]


def two_fields(now, before, params, step, y, x):
    before[1, y, x] = now[0, y, x]


def one_parameter(now, before, params, step, y, x):
    before[0, y, x] = params[0] * now[0, y, x]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: A.Wave2D((4, 4), start=np.full((4, 4), np.nan)),
            ValueError,
            r"finite as float32, got .*nan.* at \(0, 0, 0\)",
        ),
        (lambda: A.Heat2D((4, 4), start=np.full((4, 4), 1e300)), ValueError, "must be finite"),
        (lambda: A.CellActor(5, (8, 8)), TypeError, "must be a function"),
        (lambda: A.CellActor(partial(cell), (8, 8)), TypeError, "must be a function"),
        (lambda: A.CellActor(cell, (8, 8), inject=5), TypeError, "inject must be a function"),
        (lambda: A.CellActor(cell, (8, 8), inject=cell), TypeError, "must take .*amplitude"),
        (lambda: A.CellActor(cell, (8,)), TypeError, r"must take \(now, next, params, step, x\)"),
        (lambda: A.CellActor(cell, (8, 8), levels=3), ValueError, "levels must be 1 or 2"),
        (lambda: A.CellActor(cell, (8, 8), fields=()), ValueError, "at least one field"),
        (lambda: A.CellActor(cell, (8, 8), fields=("a b",)), ValueError, "field name 'a b'"),
        (lambda: A.CellActor(cell, (8, 8), fields={"a": "Pa"}), TypeError, "FieldSpec"),
        (
            lambda: A.CellActor(cell, (8, 8), dtype="float16"),
            ValueError,
            "float16 is not supported",
        ),
        (lambda: A.CellActor(cell, (8, 8), dtype=object), ValueError, "not supported"),
        (lambda: A.CellActor(cell, (8, 8), params=[0.1]), TypeError, "must map names to numbers"),
        (
            lambda: A.CellActor(beyond_the_edge, (8, 8)),
            ValueError,
            "the cell y = 7, x = 0: index 8",
        ),
        (lambda: A.CellActor(two_fields, (8, 8)), ValueError, r"shape \(1, 8, 8\)"),
        (lambda: A.CellActor(one_parameter, (8, 8)), ValueError, "params has 0"),
        (lambda: A.CellActor(cell, (8, 8), params={"a": None}), TypeError, "must be a number"),
        (
            lambda: A.CellActor(cell, (8, 8), params={f"p{i}": i for i in range(17)}),
            ValueError,
            "at most 16",
        ),
        (
            lambda: A.CellActor(cell, (8, 8), fields=("a", "a_previous"), levels=2),
            ValueError,
            "clashes",
        ),
        (lambda: A.CellActor(cell, (8, 8), start=lambda slot: None).start(), ValueError, "None"),
        (lambda: A.CellActor(cell, (8, 8), start=np.zeros(3)), ValueError, r"\(3,\).*\(1, 8, 8\)"),
    ],
)
def test_an_ill_defined_actor_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def helper(value):
    return value + 1


def unknown_name(now, before, params, step, y, x):
    before[0, y, x] = now[0, y, x] + undefined  # noqa: F821 - what is refused


def plain_helper(now, before, params, step, y, x):
    before[0, y, x] = helper(now[0, y, x])


def wrong_index(now, before, params, step, y, x):
    before[0, y, x] = now["a"]


def no_such_function(now, before, params, step, y, x):
    before[0, y, x] = np.nonexistent(now[0, y, x])


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (unknown_name, "name 'undefined' is not defined"),
        (plain_helper, "Untyped global name 'helper'.*decorated with numba.njit"),
        (wrong_index, "getitem.*a"),
        (no_such_function, "'nonexistent'"),
    ],
)
def test_a_function_that_cannot_be_compiled_is_refused_with_the_reason(update, reason):
    storage = rn.ZarrStorage(zarr.storage.MemoryStore())
    message = f"function {update.__name__} cannot be compiled: .*{reason}"
    with pytest.raises(ValueError, match=message) as raised:
        rn.Session(A.CellActor(update, (8, 8)), storage=storage)
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is not None


def test_an_actor_of_ones_own_goes_through_the_whole_life():
    def disturb(now, before, params, z, y, x, amplitude):
        now[1, z, y, x] = amplitude

    def swap(now, before, params, step, y, x):
        before[0, y, x] = now[1, y, x] + params[0]
        before[1, y, x] = now[0, y, x]

    actor = A.CellActor(
        swap,
        (6, 5),
        fields={"a": A.FieldSpec("m", "height"), "b": A.FieldSpec()},
        params={"offset": 2},
        dtype="float64",
        start=lambda slot: np.full((2, 6, 5), float(slot)),
        inject=disturb,
    )
    with rn.Session(actor, actors=2, storage=rn.ZarrStorage(zarr.storage.MemoryStore())) as s:
        s.inject(1, at=(2, 3), amplitude=math.pi)
        s.run_steps(1, 1)
        checkpoint = s.snapshot(1)
        assert checkpoint.kernel_type == "swap"
        assert checkpoint["a"].attrs == {"units": "m", "long_name": "height"}
        a = checkpoint.numpy()["a"]
        assert a[2, 3] == math.pi + 2
        assert a[0, 0] == 3.0
        s.run_steps(1, 9)
        assert s.restore(0, checkpoint) == 1


@pytest.mark.parametrize("names", ["now, next", "now, before", "u, v"])
def test_the_position_of_an_updates_parameters_counts_and_not_their_names(names):
    first, second = names.split(", ")
    namespace = {}
    exec(f"def f({names}, p, n, i, j): {second}[0, i, j] = {first}[0, i, j] + p[0]", namespace)
    actor = A.CellActor(namespace["f"], (4, 4), params={"rate": 2})
    with rn.Session(actor, storage=rn.ZarrStorage(zarr.storage.MemoryStore())) as s:
        s.run_steps(0, 3)
        assert (s.snapshot(0)["u"][:] == 6).all()


PROGRAM = """
import numba, zarr
import numpy as np
import ringnb as rn

@numba.njit
def half(x):
    return x / 2

def alone(now, before, params, step, y, x):
    before[0, y, x] = now[0, y, x] / 2

def with_helper(now, before, params, step, y, x):
    before[0, y, x] = half(now[0, y, x])

start = np.full((1, 8, 8), 8.0)
actors = [rn.actors.CellActor(update, (8, 8), start=start) for update in (alone, with_helper)]
with rn.Session(actors, storage=rn.ZarrStorage(zarr.storage.MemoryStore())) as session:
    for slot in (0, 1):
        session.run_steps(slot, 2)
        print(session.snapshot(slot)["u"][0, 0])
"""


@pytest.mark.slow
def test_a_function_needs_no_module_that_another_process_could_import():
    """Code in a cache belongs to a module; there is none of that name."""
    code = f"exec(compile({PROGRAM!r}, 'text', 'exec'), {{'__name__': 'gone'}})"
    for _ in range(2):
        done = run_python("-c", code)
        assert done.stdout.split() == ["2.0", "2.0"], done.stderr


@pytest.mark.parametrize(
    ("actor", "names"),
    [
        (A.Wave2D((8, 8)), ["courant2", "damping", "dx", "c"]),
        (A.Wave3D((8, 8, 8)), ["courant2", "damping", "dx", "c"]),
        (A.Heat2D((8, 8)), ["diffusion_number", "alpha", "dx"]),
        (A.GrayScott((8, 8)), ["feed", "kill", "du", "dv", "dt"]),
        (A.Ising2D((8, 8)), ["temperature", "field"]),
        (A.Life((8, 8)), []),
    ],
)
def test_a_slider_has_limits_that_the_scheme_allows(actor, names):
    limits = actor.limits_of(actor.params)
    assert list(limits) == names
    for name, ends in limits.items():
        assert ends[0] <= actor.params[name] <= ends[1]
        for value in ends[
            : 1 if name == "dt" else 2
        ]:  # how long a step may be depends on the others
            assert actor.change_params(actor.params, {name: value})[name] == value


def test_without_limits_a_slider_spans_a_tenth_to_ten_times_the_value():
    def still(now, then, params, step, x):
        then[0, x] = now[0, x]

    actor = A.CellActor(still, (8,), params={"rate": 2.0, "shift": 0.0, "sink": -3.0})
    assert actor.limits_of(actor.params) == {
        "rate": (0.2, 20.0),
        "shift": (0.0, 1.0),
        "sink": (-30.0, -0.3),
    }
    assert A.GrayScott((8, 8)).limits_of({**A.GrayScott((8, 8)).params, "feed": 0.2})["feed"] == (
        0.0,
        0.2,
    )
