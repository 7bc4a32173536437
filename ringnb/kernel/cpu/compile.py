"""Compiles an actor's per-cell functions into the slab functions that a CPU lane calls by address.

All step functions share one signature, so that the lane loop is compiled once for every actor there
will ever be and one lane may host actors of several types::

    step(now*, next*, params*, step, nf, nz, ny, nx, first, last)

updates the cells whose index along the leading grid axis lies in ``first..last-1`` and returns 1. If
the update raises, Numba prints the exception, leaves the rest out and returns 0.

The package's own models are kept on disk (`ringnb.kernel.caching`). What a user wrote is compiled by
every process, together with all that it calls.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import carray, config, njit, types
from numba.core.caching import NullCache
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.extending import overload, overload_attribute

from ringnb.actors.base import Actor
from ringnb.kernel import layout
from ringnb.kernel.atomics import assume, pointer_at
from ringnb.kernel.caching import DiskCache, all_it_reads, is_own, plain, without_constants
from ringnb.kernel.levels import define, mixed_dtypes, view_maker
from ringnb.kernel.reductions import body, joined, start_of

__all__ = ["CompiledActor", "compile_actor", "compile_actors"]

# Cells of a row are visited in three runs, so that in the long middle one `x > 0` and `x < nx - 1`
# are known to hold: the edge conditions of the update function vanish and the run vectorises. Rows that
# lie at no edge are a case of their own, where those of the other axes vanish as well.
_ROW = """
    assume({in_the_grid})
    cell(now, next, params, step, {lead}0{{more}})
    for x in range(1, nx - 1):
        assume(x > 0)
        assume(x < nx - 1)
        cell(now, next, params, step, {lead}x{{more}})
    cell(now, next, params, step, {lead}nx - 1{{more}})
"""


def _indent(text: str, by: int) -> str:
    return "\n".join(" " * by + line if line.strip() else line for line in text.splitlines())


def _rows(axes: str, by: int) -> str:
    lead = "".join(f"{axis}, " for axis in axes)
    inside = " & ".join(f"({axis} > 0) & ({axis} < n{axis} - 1)" for axis in axes)
    grid = " & ".join(f"({axis} >= 0) & ({axis} < n{axis})" for axis in axes)
    inner, outer = (_indent(_ROW.format(in_the_grid=g, lead=lead), 4) for g in (inside, grid))
    return _indent(f"\n    if {inside}:{inner}\n    else:{outer}", by)


_HEAD = """
def {name}(now_p, next_p, params_p, step, nf, nz, ny, nx, first, last):
    now = level(now_p, {shape})
    next = level(next_p, {shape})
    params = carray(params_p, (16,))
{arrays}
"""
_SOURCES = {
    1: (
        _HEAD
        + """
    for x in range(first, last):
        assume(x >= 0)
        assume(x < nx)
        cell(now, next, params, step, x{more})
    return 1
"""
    ),
    2: (
        _HEAD
        + """
    for y in range(first, last):
"""
        + _rows("y", 4)
        + "\n    return 1\n"
    ),
    3: (
        _HEAD
        + """
    for z in range(first, last):
        for y in range(ny):
"""
        + _rows("zy", 8)
        + "\n    return 1\n"
    ),
}
# An actor's own function for several rows.
_ROWS = (
    _HEAD
    + """
    cell(now, next, params, step, first, last)
    return 1
"""
)
# Every index is checked. The first cell that raised is noted behind the parameters, for the leader, and
# the state stays as it was before that stage.
_CHECKED = """
def {name}(now_p, next_p, params_p, step, nf, nz, ny, nx, first, last):
    now = level(now_p, {shape})
    next = level(next_p, {shape})
    params = carray(params_p, (16,))
{arrays}
    fault = carray(params_p, (19,))
    per_row = {per_row}
    at = first * per_row
    while at < last * per_row and fault[16] == 0.0:
        try:
            cell(now, next, params, step, {place}{more})
        except Exception:
            fault[18] = {stage}
            fault[17] = step
            fault[16] = at + 1
        at += 1
    return 1
"""
_CELLS_PER_ROW = {1: "1", 2: "nx", 3: "ny * nx"}
_PLACES = {1: "at", 2: "at // nx, at % nx", 3: "at // (ny * nx), at // nx % ny, at % nx"}
_SHAPES = {1: "(nf, nx)", 2: "(nf, ny, nx)", 3: "(nf, nz, ny, nx)"}
_INJECT = """
def {name}(now_p, before_p, params_p, nf, nz, ny, nx, z, y, x, amplitude):
    now = level(now_p, (nf, nz, ny, nx))
    before = level(before_p, (nf, nz, ny, nx))
    params = carray(params_p, (16,))
    cell(now, before, params, z, y, x, amplitude)
"""


# What a part of a grid computes: in each stage that follows an exchange, fewer of the halos' rows. A row
# whose neighbours are not right any more could raise, or read beyond an array, as no row of all does.
_NARROWED = f"""
    behind = carray(params_p, ({layout.PARAMS_COLUMNS},)).view(np.int64)
    stale = (step - behind[{layout.P_FRESH_STEP}]) * {{step_reach}} + {{stage_reach}}
    first = max(first, stale * behind[{layout.P_ABOVE}])
    last = min(last, {{rows}} - stale * behind[{layout.P_BELOW}])
{{arrays}}"""
_ROW_COUNTS = {1: "nx", 2: "ny", 3: "nz"}

# How an update gets its read-only arrays: by the table whose address lies behind the parameters.
_TABLE = f"""
    behind = carray(params_p, ({layout.PARAMS_COLUMNS},)).view(np.int64)
    table = carray(pointer_at(behind[{layout.P_ARRAYS}], np.int64), ({{words}},))"""
_ARRAY = "\n    array{i} = carray(pointer_at(table[{at}], np.{element}), ({lengths}))"


def _narrowed(source: str, actor: Actor, stage: int) -> tuple[str, str]:
    """Return a name and a step's template that leaves out rows of halos which are not right any more."""
    ndim = len(actor.shape)
    if actor._halos is None:
        return f"step{ndim}", source
    reaches = actor._halos.reaches
    of_step, of_stage = sum(reaches), sum(reaches[: stage + 1])
    lines = _NARROWED.replace("{step_reach}", str(of_step)).replace("{stage_reach}", str(of_stage))
    lines = lines.replace("{rows}", _ROW_COUNTS[ndim])
    return f"part{ndim}_{of_step}_{of_stage}", source.replace("{arrays}", lines)


def _with_arrays(source: str, actor: Actor) -> str:
    """Have a step's template hand an actor's read-only arrays to the update."""
    arrays = list(actor.arrays.values())
    lines = _TABLE.format(words=layout.ARRAY_WORDS * len(arrays)) if arrays else ""
    for i, array in enumerate(arrays):
        at = layout.ARRAY_WORDS * i
        lengths = "".join(f"table[{at + 1 + axis}], " for axis in range(array.ndim))
        lines += _ARRAY.format(i=i, at=at, element=array.dtype.name, lengths=lengths)
    more = "".join(f", array{i}" for i in range(len(arrays)))
    return source.replace("{arrays}", lines).replace("{more}", more)


_REDUCE = """
def {name}(now_p, next_p, params_p, step, nf, nz, ny, nx, first, last):
    now = level(now_p, {shape})
    params = carray(params_p, (16,))
{arrays}
    places = carray(params_p, ({columns},)).view(np.int64)
    partials = carray(pointer_at(places[{partials}], np.float64), ({count} * nz * ny,))
    stride = 1
    {ranks}
{body}
    return 1
"""
# A rank has planes of a grid of three axes, each of `ny` rows, and all of the only row of a grid of one.
_RANKS = {1: "", 2: "", 3: "first, last = first * ny, last * ny"}


def _compile_reductions(actor: Actor, arguments: tuple[Any, ...]) -> list[Any]:
    """Compile what reduces each of an actor's numbers, for the same call as a step."""
    ndim, functions = len(actor.shape), []
    for number, (operation, value) in enumerate(actor.reductions.values()):
        more = "".join(f", array{i}" for i in range(len(actor.arrays)))
        facts = {
            "{columns}": str(layout.PARAMS_COLUMNS),
            "{partials}": str(layout.P_PARTIALS),
            "{count}": str(len(actor.reductions)),
            "{ranks}": _RANKS[ndim],
            "{body}": body(ndim, number, len(actor.params) + number, more),
        }
        source = _with_arrays(_REDUCE, actor)
        for name, text in facts.items():
            source = source.replace(name, text)
        source += f"# {operation}" + ", each index checked: fault" * actor.boundscheck
        cell = plain(value)
        functions.append(
            _function(
                f"reduce{ndim}",
                source,
                cell,
                arguments,
                mixed_dtypes(actor),
                _SHAPES[ndim],
                operation,
            )
        )
    return functions


class CompiledActor(NamedTuple):
    """Addresses of an actor's compiled functions, valid as long as this is referred to."""

    step_addresses: tuple[int, ...]  # of each stage
    inject_address: int
    reduce_addresses: tuple[int, ...]
    keep_alive: tuple[Any, ...]  # the Numba objects that own the code


_functions: dict[Hashable, Any] = {}
_compile_lock = threading.Lock()


def compile_actor(actor: Actor) -> CompiledActor:
    """Compile the functions of an actor's stages and its inject, or take those of an earlier call.

    A `TypeError` if a stage does not take ``(now, next, params, step, [[z,] y,] x)``, a `ValueError` if
    a function cannot be compiled.
    """
    ndim = len(actor.shape)
    stages = [plain(stage) for stage in actor.stages]
    for stage in stages:
        _check_signature(stage, ndim, list(actor.arrays))
    dtypes = mixed_dtypes(actor)
    # Where fields have several dtypes a level is an address, of what `view_maker` makes of it.
    element = types.int64 if dtypes else types.CPointer(numba.from_dtype(actor.dtype))
    arguments = (element, element, types.CPointer(types.float64), *((types.int64,) * 7))
    with _compile_lock:
        steps = []
        for number, stage in enumerate(stages):
            source, cell = _SOURCES[ndim], stage
            if actor.boundscheck:
                source = _CHECKED.replace("{place}", _PLACES[ndim])
                source = source.replace("{per_row}", _CELLS_PER_ROW[ndim])
                source = source.replace("{stage}", str(number))
            elif actor.rows is not None:
                source, cell = _ROWS, plain(actor.rows)
            name, source = _narrowed(source, actor, number)
            source = _with_arrays(source, actor)
            steps.append(_function(name, source, cell, arguments, dtypes, _SHAPES[ndim]))
        inject = plain(actor.inject)
        disturb = _function("inject", _INJECT, inject, (*arguments, types.float64), dtypes)
        addresses = tuple(step.address for step in steps)
        reduced = _compile_reductions(actor, arguments)
        sums = tuple(reduce.address for reduce in reduced)
        return CompiledActor(addresses, disturb.address, sums, (*steps, disturb, *reduced))


def compile_actors(actors: Sequence[Actor]) -> list[CompiledActor]:
    """Compile the functions of each actor, of those that are alike once; raises as `compile_actor`."""
    compiled: dict[Hashable, CompiledActor] = {}
    found = []
    for actor in actors:
        arrays = tuple((name, a.dtype, a.ndim) for name, a in actor.arrays.items())
        numbers = len(actor.params), tuple(actor.reductions.items())
        functions = actor.stages, actor.rows, actor.inject, actor.boundscheck
        key = functions, arrays, numbers, actor.dtype, len(actor.shape), actor._halos
        if key not in compiled:
            compiled[key] = compile_actor(actor)
        found.append(compiled[key])
    return found


def _function(
    name: str,
    source: str,
    cell: Callable[..., None],
    arguments: tuple[Any, ...],
    dtypes: tuple[str, ...],
    shape: str = "",
    operation: str = "sum",
) -> Any:
    """Compile a cell's function into its template, if it is not what it was before."""
    key = (name, source, arguments, dtypes, all_it_reads(cell))
    if key not in _functions:
        _functions[key] = _compile(name, source, cell, arguments, dtypes, shape, operation)
    return _functions[key]


@cache
def _level_of(dtypes: tuple[str, ...], checked: bool) -> Any:
    """Return the compiled function that makes a level of an address and a shape (fields, *grid)."""
    view = "carray(pointer_at(address + {at}, {dtype}), {shape})"
    made = view_maker(dtypes, "address, shape", view, 1, checked)
    made.__globals__.update(carray=carray, pointer_at=pointer_at)
    return njit(forceinline=True)(made)


define(overload, overload_attribute, types, raises=True)


def _origin() -> None:
    """Give the generated functions a line of this file to come from."""


@contextlib.contextmanager
def _helpers_as_they_are(checked: bool) -> Iterator[None]:
    """Compile a user's compiled functions anew when they are called, in this thread.

    Numba freezes what such a function refers to when it is first compiled, and on disk even beyond the
    process (``njit(cache=True)``). If `checked`, all that is compiled checks its indices.
    """
    dispatchers: Any = Dispatcher
    resolve = dispatchers.get_call_template
    seen = set()

    def resolve_anew(self: Any, args: Any, kws: Any) -> Any:
        """Resolve a call."""
        module = self.py_func.__module__ or ""
        if self not in seen and not module.startswith(("numba.", "ringnb.")):
            seen.add(self)
            self._cache = NullCache()
            self.recompile()
        return resolve(self, args, kws)

    with global_compiler_lock:  # no other thread compiles meanwhile
        dispatchers.get_call_template = resolve_anew
        as_set = config.BOUNDSCHECK
        config.BOUNDSCHECK = 1 if checked else as_set
        try:
            yield
        finally:
            dispatchers.get_call_template = resolve
            config.BOUNDSCHECK = as_set


def _check_signature(update: Callable[..., None], ndim: int, arrays: list[str]) -> None:
    wanted = ["now", "next", "params", "step", *("z", "y", "x")[3 - ndim :], *arrays]
    got = list(inspect.signature(update).parameters)
    if len(got) != len(wanted):
        msg = (
            f"update function {update.__name__}({', '.join(got)}) does not fit a grid of {ndim} "
            f"axes: it must take ({', '.join(wanted)})"
        )
        raise TypeError(msg)


def _compile(
    name: str,
    source: str,
    cell: Callable[..., None],
    arguments: tuple[Any, ...],
    dtypes: tuple[str, ...],
    shape: str,
    operation: str,
) -> Any:
    checked = "fault" in source
    own = is_own(cell) and not checked
    element = "_".join(dtypes) or arguments[0].dtype
    # The name is a symbol of the process. One that is loaded from disk must not equal one that is not.
    whose = re.sub(r"\W", "_", f"{cell.__module__}_{cell.__qualname__}") if own else "users"
    name = f"{name}_{element}_{whose}"
    compiled_cell = without_constants(njit(forceinline=True, error_model="numpy")(cell))
    namespace: dict[str, Any] = {
        "__name__": __name__,
        "float64": np.float64,
        "initial": start_of(operation),
        "join": njit(forceinline=True)(joined[operation]),
        "value": compiled_cell,
        "carray": carray,
        "level": _level_of(dtypes, checked) if dtypes else carray,
        "assume": assume,
        "np": np,
        "pointer_at": pointer_at,
        "cell": compiled_cell,
    }
    # The line number leads to a function's text: Numba asks for it, and Python 3.13 parses it.
    text = source.format(name=name, shape=shape).lstrip("\n")
    above = "\n" * (_origin.__code__.co_firstlineno - 1)
    code = compile(above + text, __file__, "exec")
    exec(code, namespace)  # noqa: S102 - our own template, with no text of the user's in it
    options = {"error_model": "numpy", "nopython": True}
    # What the decorator `cfunc` makes, with another cache.
    returns = types.void if source is _INJECT else types.int64
    compiled: Any = CFunc(namespace[name], (arguments, returns), locals={}, options=options)
    if getattr(arguments[0], "dtype", types.int8).bitwidth > 8:
        _apart(compiled._compiler)
    try:
        if own:
            compiled._cache = DiskCache(name)
            compiled.compile()
        else:
            with _helpers_as_they_are(checked):
                compiled.compile()
    except Exception as error:  # Numba raises its own errors, and some that are not
        msg = (
            f"function {cell.__name__} cannot be compiled: {_reason(error)}. Numba compiles it: use "
            "numbers, NumPy functions, and functions of your own decorated with numba.njit (the full "
            "report is the cause of this error)"
        )
        raise ValueError(msg) from error
    return compiled


def _apart(compiler: Any) -> None:
    """Have a function compiled for pointers that lead to memory apart from each other.

    Vector code need not look whether it is, in every row. A neighbour then is no load, but what a vector
    shifted by an element holds; that is one instruction, of bytes several, which take longer than loads.
    """
    customize = compiler._customize_flags

    def customized(flags: Any) -> Any:
        flags.noalias = True
        return customize(flags)

    compiler._customize_flags = customized


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
