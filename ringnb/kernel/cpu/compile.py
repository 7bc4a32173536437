"""Compiles an actor's per-cell functions into the slab functions that a CPU lane calls by address.

All step functions share one signature, so that the lane loop is compiled once for every actor there
will ever be and one lane may host actors of several types::

    step(now*, next*, params*, step, nf, nz, ny, nx, first, last)

updates the cells whose index along the leading grid axis lies in ``first..last-1``.

Numba caches a compiled function under its own name and bytecode and knows nothing of what it calls.
Therefore the generated function carries a digest of the update function, and of everything that the
update function refers to, in its name.
"""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import numba
from numba import carray, cfunc, njit, types

from ringnb.actors.base import Actor
from ringnb.kernel.atomics import assume
from ringnb.kernel.caching import digest, plain

__all__ = ["CompiledActor", "compile_actor"]

# Cells of a row are visited in three runs, so that in the long middle one `x > 0` and `x < nx - 1`
# are known to hold: the edge conditions of the update function vanish and the run vectorises.
_ROW = """
    assume({row_in_grid})
    cell(now, next, params, step, {lead}0)
    for x in range(1, nx - 1):
        assume(x > 0)
        assume(x < nx - 1)
        cell(now, next, params, step, {lead}x)
    cell(now, next, params, step, {lead}nx - 1)
"""


def _indent(text: str, by: int) -> str:
    return "\n".join(" " * by + line if line.strip() else line for line in text.splitlines())


_HEAD = """
def {name}(now_p, next_p, params_p, step, nf, nz, ny, nx, first, last):
    now = carray(now_p, {shape})
    next = carray(next_p, {shape})
    params = carray(params_p, (16,))
"""
_SOURCES = {
    1: (
        _HEAD
        + """
    for x in range(first, last):
        assume(x >= 0)
        assume(x < nx)
        cell(now, next, params, step, x)
"""
    ),
    2: (
        _HEAD
        + """
    for y in range(first, last):
"""
        + _indent(_ROW.format(row_in_grid="(y >= 0) & (y < ny)", lead="y, "), 4)
    ),
    3: (
        _HEAD
        + """
    for z in range(first, last):
        for y in range(ny):
"""
        + _indent(
            _ROW.format(row_in_grid="(z >= 0) & (z < nz) & (y >= 0) & (y < ny)", lead="z, y, "), 8
        )
    ),
}
_SHAPES = {1: "(nf, nx)", 2: "(nf, ny, nx)", 3: "(nf, nz, ny, nx)"}
_INJECT = """
def {name}(now_p, before_p, params_p, nf, nz, ny, nx, z, y, x, amplitude):
    now = carray(now_p, (nf, nz, ny, nx))
    before = carray(before_p, (nf, nz, ny, nx))
    params = carray(params_p, (16,))
    cell(now, before, params, z, y, x, amplitude)
"""


class CompiledActor(NamedTuple):
    """Addresses of an actor's compiled functions, valid as long as this is referred to."""

    step_address: int
    inject_address: int
    keep_alive: tuple[Any, ...]  # the Numba objects that own the code


_compiled: dict[tuple[str, str, str, int], CompiledActor] = {}
_compile_lock = threading.Lock()


def compile_actor(actor: Actor) -> CompiledActor:
    """Compile an actor's update and inject functions, or take them from a cache.

    A `TypeError` if `update` does not take ``(now, next, params, step, [[z,] y,] x)``, a `ValueError` if
    a function cannot be compiled.
    """
    ndim = len(actor.shape)
    update, inject = plain(actor.update), plain(actor.inject)
    _check_signature(update, ndim)
    key = (digest(update), digest(inject), actor.dtype.name, ndim)
    with _compile_lock:
        if key not in _compiled:
            element = types.CPointer(numba.from_dtype(actor.dtype))
            pointers = (element, element, types.CPointer(types.float64))
            step = _compile(
                _SOURCES[ndim],
                f"step{ndim}_{actor.dtype.name}_{key[0]}",
                update,
                types.void(*pointers, *((types.int64,) * 7)),
                _SHAPES[ndim],
            )
            disturb = _compile(
                _INJECT,
                f"inject_{actor.dtype.name}_{key[1]}",
                inject,
                types.void(*pointers, *((types.int64,) * 7), types.float64),
            )
            _compiled[key] = CompiledActor(step.address, disturb.address, (step, disturb))
        return _compiled[key]


def _origin() -> None:
    """Give the generated functions a line of this file to come from."""


def _of_this_module(cell: Callable[..., None]) -> Callable[..., None]:
    """Copy a function into this module."""
    # Cached code is loaded together with the module that its function names. The user's may be a
    # notebook cell, or a program that this process does not have.
    assert isinstance(cell, FunctionType)
    copy = FunctionType(
        cell.__code__, cell.__globals__, cell.__name__, cell.__defaults__, cell.__closure__
    )
    copy.__module__ = __name__
    return copy


def _check_signature(update: Callable[..., None], ndim: int) -> None:
    wanted = ["now", "next", "params", "step", *("z", "y", "x")[3 - ndim :]]
    got = list(inspect.signature(update).parameters)
    if len(got) != len(wanted):
        msg = (
            f"update function {update.__name__}({', '.join(got)}) does not fit a grid of {ndim} "
            f"axes: it must take ({', '.join(wanted)})"
        )
        raise TypeError(msg)


def _compile(source: str, name: str, cell: Callable[..., None], sig: Any, shape: str = "") -> Any:
    namespace: dict[str, Any] = {
        "__name__": __name__,
        "carray": carray,
        "assume": assume,
        "cell": njit(_of_this_module(cell), forceinline=True, error_model="numpy"),
    }
    # The file name gives Numba's cache a place and a time stamp; the digest in `name` is the key. The
    # line number leads to a function's text, which Numba asks for and Python 3.13 insists on parsing.
    text = source.format(name=name, shape=shape).lstrip("\n")
    above = "\n" * (_origin.__code__.co_firstlineno - 1)
    code = compile(above + text, __file__, "exec")
    exec(code, namespace)  # noqa: S102 - our own template, with no text of the user's in it
    options = {"error_model": "numpy", "nopython": True}
    try:
        try:
            return cfunc(sig, cache=True, **options)(namespace[name])
        except ImportError:
            # Code in the cache belongs to a module that does not exist in this process.
            return cfunc(sig, **options)(namespace[name])
    except Exception as error:  # Numba raises its own errors, and some that are not
        msg = (
            f"function {cell.__name__} cannot be compiled: {_reason(error)}. Numba compiles it: use "
            "numbers, NumPy functions, and functions of your own decorated with numba.njit (the full "
            "report is the cause of this error)"
        )
        raise ValueError(msg) from error


def _reason(error: Exception) -> str:
    """Find the line in one of Numba's long reports that says what is wrong."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("Failed in nopython mode")]
    if not telling:
        return type(error).__name__
    if telling[0].endswith(":") and len(telling) > 1:  # what follows is the signature
        telling[0] += " " + telling[1].removeprefix(">>> ")
    return telling[0].rstrip(".")
