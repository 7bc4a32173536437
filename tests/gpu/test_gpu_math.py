"""A user's own update function: what it may call gives the CPU's numbers on the device."""

from __future__ import annotations

import functools
import math

import numpy as np

import ringnb as rn

from .stepping import stepped

SHAPE = (9, 13)
POWERS = ("exp", "expm1", "log", "log1p", "log10", "sqrt", "pow")
ANGLES = ("sin", "cos", "tan", "atan", "atan2", "hypot", "sinh", "cosh", "tanh")
FUNCTIONS = (*POWERS, *ANGLES, "erf", "floor", "remainder")
# In units in the last place. CUDA's C++ programming guide gives each of these functions 2 at most in
# double precision and 4 in single, and the host's library has an error of its own.
ULPS = {"float64": 4, "float32": 6}
INTEGERS = ("int8", "uint8", "int32", "int64")


def of_reals(now, before, params, step, y, x):
    v = now[0, y, x]
    before[0, y, x] = now[0, y, x]
    before[1, y, x] = math.exp(v)
    before[2, y, x] = math.expm1(v)
    before[3, y, x] = math.log(abs(v))
    before[4, y, x] = math.log1p(abs(v))
    before[5, y, x] = math.log10(abs(v))
    before[6, y, x] = math.sqrt(abs(v))
    before[7, y, x] = abs(v) ** params[1]
    before[8, y, x] = math.sin(v * params[0])
    before[9, y, x] = math.cos(v * params[0])
    before[10, y, x] = math.tan(v)
    before[11, y, x] = math.atan(v)
    before[12, y, x] = math.atan2(v, now[0, y, x - 1])
    before[13, y, x] = math.hypot(v, now[0, y, x - 1])
    before[14, y, x] = math.sinh(v)
    before[15, y, x] = math.cosh(v)
    before[16, y, x] = math.tanh(v)
    before[17, y, x] = math.erf(v)
    before[18, y, x] = math.floor(v)
    before[19, y, x] = v % params[1]


def of_integers(now, before, params, step, x):
    n = now.shape[1]
    left, right = now[0, x - 1 if x > 0 else n - 1], now[0, (x + 1) % n]
    before[0, x] = (right << 3) ^ (left >> 2) | (x * 2654435761 & 1023)
    before[1, x] = right // 7 - left % 5
    before[2, x] = min(left, right) - max(left, 3)


def actor(dtype):
    if np.dtype(dtype).kind == "f":
        at = np.random.default_rng(1).uniform(-3, 3, SHAPE)
        fields = ("v", *FUNCTIONS)
        start = np.zeros((len(fields), *SHAPE), dtype)
        start[0] = at
        return rn.actors.CellActor(
            of_reals,
            SHAPE,
            fields=fields,
            start=start,
            dtype=dtype,
            params={"k": 40.0, "p": 1.7},
            kernel_type=f"of_{dtype}",
        )
    at = np.random.default_rng(1).integers(np.iinfo(dtype).min, np.iinfo(dtype).max, 101, dtype)
    return rn.actors.CellActor(
        of_integers,
        (101,),
        fields=("a", "b", "c"),
        start=np.stack([at] * 3),
        dtype=dtype,
        kernel_type=f"of_{dtype}",
    )


@functools.cache
def states(backend):
    """Step an actor of each dtype, all in one kernel; return its fields by dtype."""
    dtypes = (*ULPS, *INTEGERS)
    return dict(zip(dtypes, stepped([actor(d) for d in dtypes], backend, 5), strict=True))


def test_functions_of_the_math_module(device):
    ours, theirs = states(device), states("cpu")
    apart = {}
    for dtype in ULPS:
        expected = theirs[dtype]
        assert np.unique(expected["sin"]).size > 100
        for name in FUNCTIONS:
            assert np.isfinite(expected[name]).all()
            unit = np.spacing(np.abs(expected[name]))
            apart[dtype, name] = float((np.abs(ours[dtype][name] - expected[name]) / unit).max())
    assert {key: ulps for key, ulps in apart.items() if not ulps <= ULPS[key[0]]} == {}


def test_integers_exactly(device):
    ours, theirs = states(device), states("cpu")
    for dtype in INTEGERS:
        assert np.unique(theirs[dtype]["a"]).size > 20
        for name, values in theirs[dtype].items():
            np.testing.assert_array_equal(ours[dtype][name], values)
