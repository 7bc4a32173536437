"""Tries an update on a few cells, uncompiled, before any of it runs in a kernel.

Compiled code checks no index, and what it writes where it must not is found by nobody. Here it gets
arrays that notice each read and each write. A trial takes milliseconds, from the state that the actor
starts from. It cannot see all: a branch that no tried cell takes stays untried, and where the function
raises, or does what these arrays cannot, nothing is said of that cell.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import operator
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from ringnb._support.checks import is_integer
from ringnb._support.text import counted
from ringnb.actors import levels
from ringnb.actors.base import MAX_REACH, Actor
from ringnb.actors.checks import State, state_of
from ringnb.actors.levels import level_of
from ringnb.actors.uncompiled import uncompiled
from ringnb.actors.update_rules import (
    TAKEN_AS_IT_IS,
    Names,
    names_of,
    place,
    returns_a_value,
    writes_an_array,
    writes_another,
    writes_now,
    writes_params,
)

__all__ = ["explain", "try_reduction", "try_update"]

_OLD = (
    "The value of two steps before is there, which no checkpoint holds: a restored run would go on "
    "from another"
)
_READ = "What the stage before this one has read is there, not what that stage wrote"
_OWN = (__file__, levels.__file__)
_NUMPY = str(Path(np.__file__).parent)
_STEPS = (0, 1)
_LIBRARY = os.path.dirname(os.__file__)
_LIMIT_S = 0.03  # of this thread's own time
_LONGER_S = 0.2  # where what is not tried is refused
_LONGEST_READ = 4096  # values that an update reads of `next` at once
_MOST_FIELDS = 8  # whose least and greatest values are looked for
_SIZES = ("shape", "ndim", "size", "dtype")  # of an array, and of no cell
_SAMPLES = {1: 4096, 2: 64, 3: 16}  # per axis


class _Fault(BaseException):
    """What is refused; no exception that the function itself might handle."""

    def __init__(self, say: Callable[[Names], tuple[str, str]], where: str) -> None:
        self.say, self.where = say, where


class _Enough(BaseException):
    """The time is up."""


# -- arrays that notice ----------------------------------------------------------------------------


class _Now(np.ndarray):
    """An array that is only read. Integers are Python's: like Numba's, they do not wrap at 8 bits."""

    refusal = staticmethod(writes_now)

    def __getitem__(self, index: Any) -> Any:
        value = super().__getitem__(index)
        return value.item() if isinstance(value, np.integer) else value

    def __setitem__(self, index: Any, value: Any) -> None:
        if not self.flags.writeable:
            raise _Fault(self.refusal, _place_of(_users_frame()))
        super().__setitem__(index, value)  # of a copy that the function has made


class _Params(_Now):
    refusal = staticmethod(writes_params)


class _Array(_Now):
    refusal = staticmethod(writes_an_array)


class _Followed:
    """``now``, of which single values can be read and nothing else; `follow` is told each index."""

    def __init__(self, level: Any, follow: Callable[[Any], None]) -> None:
        self._level, self._follow = level, follow

    def __getitem__(self, index: Any) -> Any:
        self._follow(index)
        return self._level[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        raise _Fault(writes_now, _place_of(_users_frame()))

    def __len__(self) -> int:
        return len(self._level)

    def __getattr__(self, name: str) -> Any:
        # What a method returns, a mean or another view, would be of cells that nobody has followed.
        if name.startswith("__"):  # else NumPy would take the memory, and ask nobody
            raise AttributeError(name)
        if name not in _SIZES:
            self._follow(...)
        return getattr(self._level, name)

    def __iter__(self) -> Iterator[Any]:
        self._follow(...)
        return iter(self._level)

    def __array__(self, *_: Any, **__: Any) -> Any:  # what functions of NumPy ask for
        self._follow(...)
        return self._level


class _Cell:
    """What an update does with ``next``: its own cell there, and a value per field for all others."""

    def __init__(
        self,
        dtypes: Sequence[np.dtype[Any]],
        at: tuple[int, ...],
        own: list[Any],
        others: list[Any],
    ) -> None:
        self.dtypes, self.at, self.others = dtypes, at, others
        self.values = list(own)
        self.written = [False] * len(own)
        self.reads: list[tuple[bool, str, int]] = []  # whether of its own cell, and the line

    def get(self, index: tuple[int, ...]) -> Any:
        """Read one value."""
        field, is_own = index[0], index[1:] == self.at
        if not (is_own and self.written[field]) and len(self.reads) < _LONGEST_READ:
            frame = _users_frame()
            self.reads.append((is_own, frame.f_code.co_filename, frame.f_lineno))
        return self.values[field] if is_own else self.others[field]

    def put(self, index: tuple[int, ...], value: Any) -> None:
        """Write one value, as compiled code does."""
        if index[1:] != self.at:
            raise _Fault(writes_another, _place_of(_users_frame()))
        dtype = self.dtypes[index[0]]
        if dtype.kind in "iu":
            bits = 8 * dtype.itemsize
            value = int(value) % 2**bits
            if dtype.kind == "i" and value >= 2 ** (bits - 1):
                value -= 2**bits
        else:
            value = dtype.type(value)
        self.values[index[0]] = value
        self.written[index[0]] = True

    def bits(self) -> bytes:
        """Return what the cell holds after the step."""
        pairs = zip(self.values, self.dtypes, strict=True)
        return b"".join(np.array(value, dtype).tobytes() for value, dtype in pairs)


class _Next(NDArrayOperatorsMixin):
    """``next``, or a part of it: per axis of the whole the indices that it has, or one index."""

    def __init__(self, cell: _Cell, axes: Sequence[range | int]) -> None:
        self._cell, self._axes = cell, axes
        self.shape = tuple(len(axis) for axis in axes if isinstance(axis, range))
        self.ndim, self.dtype = len(self.shape), np.result_type(*cell.dtypes)

    @property
    def size(self) -> int:
        """Number of values."""
        size = 1
        for n in self.shape:
            size *= n
        return size

    def __len__(self) -> int:
        return self.shape[0]

    def _select(self, index: Any) -> list[range | int]:
        given = list(index) if isinstance(index, tuple) else [index]
        if any(i is Ellipsis for i in given):
            at = next(n for n, i in enumerate(given) if i is Ellipsis)
            given[at : at + 1] = [slice(None)] * (self.ndim - len(given) + 1)
        if len(given) > self.ndim:
            msg = f"too many indices: {len(given)} for {self.ndim} axes"
            raise IndexError(msg)
        rest = iter(given)
        selected: list[range | int] = []
        for number, axis in enumerate(self._axes):
            if isinstance(axis, int):
                selected.append(axis)
                continue
            one = next(rest, slice(None))
            try:
                selected.append(axis[one if isinstance(one, slice) else operator.index(one)])
            except IndexError:
                msg = f"index {one} is out of bounds for axis {number} with size {len(axis)}"
                raise IndexError(msg) from None
        return selected

    def _places(self, axes: Sequence[range | int]) -> Iterator[tuple[int, ...]]:
        return itertools.product(*((a,) if isinstance(a, int) else a for a in axes))

    def __getitem__(self, index: Any) -> Any:
        axes = self._select(index)
        if any(isinstance(axis, range) for axis in axes):
            return _Next(self._cell, axes)
        return self._cell.get(tuple(axes))  # type: ignore[arg-type]  # all are integers

    def __setitem__(self, index: Any, value: Any) -> None:
        part = _Next(self._cell, self._select(index))
        values = np.broadcast_to(_array(value), part.shape) if part.shape else [value]
        flat = values.flat if isinstance(values, np.ndarray) else values
        for where, one in zip(self._places(part._axes), flat, strict=False):
            self._cell.put(where, one)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if self.size > _LONGEST_READ:
            msg = "too much to try"
            raise NotImplementedError(msg)
        values = [self._cell.get(where) for where in self._places(self._axes)]
        return np.array(values, dtype or self.dtype).reshape(self.shape)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if "out" in options:
            return NotImplemented
        return getattr(ufunc, method)(*map(_array, inputs), **options)


def _array(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, _Next) else value


def _users_frame() -> FrameType:
    """Return the frame outside this module that is being run."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_between(frame.f_code.co_filename):
        frame = frame.f_back
    assert frame is not None
    return frame


def _is_between(file: str) -> bool:
    """Return whether code of this file, or of NumPy, lies between the user's function and an array."""
    return file in _OWN or file.startswith(_NUMPY)


def _place_of(frame: FrameType) -> str:
    return place(frame.f_code.co_filename, frame.f_lineno)


def _place_raised(error: BaseException) -> str:
    """Return where in the user's code an exception was raised."""
    found, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if not _is_between(name):
            found = place(name, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _is_of_these_arrays(error: BaseException) -> bool:
    """Return whether this module has raised it: compiled code would not have."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename == __file__


# -- the trial -------------------------------------------------------------------------------------


class _Trial:
    """An update, uncompiled, with the state and the parameters that it gets."""

    def __init__(
        self,
        actor: Actor,
        update: FunctionType,
        now: Any,
        params: npt.NDArray[Any],
        *,
        later: bool = False,
        reduces: bool = False,
    ) -> None:
        self.actor = actor
        self.names = names_of(update, len(actor.arrays), reduces=reduces)
        self._reduces = reduces
        # Before the write, a later stage finds in `next` what the stage before it has read.
        self._later, self.stored = later, actor.levels == 2 or later
        self._update, self._code = uncompiled(update), update.__code__
        fields = [now] if isinstance(now, np.ndarray) else list(now)
        seen = [field.view(_Now) for field in fields]
        self.now = seen[0] if isinstance(now, np.ndarray) else level_of(seen)
        self._params = params.view(_Params)
        self._arrays = [array.view(_Array) for array in actor.arrays.values()]
        for array in (*seen, self._params, *self._arrays):
            array.flags.writeable = False
        self._returned_at = self._code.co_firstlineno
        self._deadline = 0.0
        self._cell: tuple[int, tuple[int, ...]] = 0, ()  # that is being run, behind its step
        self._follows = False
        self.tells_exceptions = False  # by `_Fault`, also those that say nothing of the arrays

    def run(
        self, step: int, at: tuple[int, ...], own: list[Any], others: list[Any]
    ) -> _Cell | None:
        """Compute one cell; None if that cannot be done here. Raises `_Fault`."""
        self._cell = step, at
        cell = _Cell(self.actor.dtypes, at, own, others)
        whole = _Next(cell, [range(n) for n in self.now.shape])
        try:
            levels = (self.now,) if self._reduces else (self.now, whole)
            returned = self._update(*levels, self._params, step, *at, *self._arrays)
        except Exception as error:  # noqa: BLE001 - the compiler says better what cannot be compiled
            reason, where = str(error), _place_raised(error)
            if isinstance(error, IndexError) and "out of bounds" in reason:
                raise _Fault(lambda _: self._leaves(step, at, reason), where) from None
            if isinstance(error, ValueError) and "read-only" in reason:
                raise _Fault(writes_now, where) from None
            if self.tells_exceptions and not _is_of_these_arrays(error):
                raised = type(error).__name__ + (f": {reason}" if reason else "")
                raise _Fault(lambda _: self._raises(step, at, raised), where) from None
            return None
        if self._reduces:
            if not isinstance(returned, float | int | np.number | np.bool_):
                raise _Fault(partial(_returns_no_number, returned), self._line_returned())
        elif returned is not None:
            raise _Fault(returns_a_value, self._line_returned())
        return cell

    def _line_returned(self) -> str:
        return place(self._code.co_filename, self._returned_at)

    def follow_reads(self) -> None:
        """Have `follow` told every index of ``now`` from here on."""
        self._follows = True
        self.now = _Followed(self.now, self.follow)

    def follow(self, index: Any) -> None:
        """Raise `_Fault` if a read of ``now`` goes farther than the actor's reach, or may do so."""
        step, at = self._cell
        indices = index if isinstance(index, tuple) else (index,)
        if len(indices) != len(self.now.shape) or not all(map(is_integer, indices)):
            raise _Fault(self._reads_several, _place_of(_users_frame()))
        farthest = 0
        for i, own, n in zip(indices[1:], at, self.actor.shape, strict=True):
            apart = (operator.index(i) - own) % n
            farthest = max(farthest, min(apart, n - apart))
        if farthest > (self.actor.reach or 0):
            far = partial(self._reads_far, step, at, indices, farthest)
            raise _Fault(far, _place_of(_users_frame()))

    def untried(self, step: int, at: tuple[int, ...], why: str) -> _Fault:
        """Return the refusal of a reach that cannot be checked."""
        where = place(self._code.co_filename, self._code.co_firstlineno)
        return _Fault(partial(self._reaches_unseen, step, at, why), where)

    def check_hidden(
        self, step: int, at: tuple[int, ...], cell: _Cell, own: list[Any], others: list[Any]
    ) -> None:
        """Raise `_Fault` if a cell came out of what a step must not depend on.

        `own` and `others` are for a second run, which must then give the same: if a checkpoint holds
        one level, ``next`` holds anything when a step begins.
        """
        for field, written in enumerate(cell.written):
            if not written and (self._later or not self.stored):
                where = place(self._code.co_filename, self._code.co_firstlineno)
                raise _Fault(partial(self._keeps, step, at, field), where)
        reads = [read for read in cell.reads if not (read[0] and self.stored)]
        if reads:
            is_own, filename, line = reads[0]
            try:
                again = self.run(step, at, own, others)
            except _Fault:
                again = None
            if again is None or again.bits() != cell.bits():
                where = place(filename, line)
                raise _Fault(self._reads_own if is_own else self._reads_another, where)

    def _at(self, step: int, at: tuple[int, ...]) -> str:
        place = self.actor._cell_of(at)
        cell = ", ".join(f"{n} = {i}" for n, i in zip(self.actor.dims, place, strict=True))
        return f"step {step}, at the cell {cell}"

    def _leaves(self, step: int, at: tuple[int, ...], reason: str) -> tuple[str, str]:
        levels = f"{self.names.now} and {self.names.next} have"
        if self._reduces:
            levels = f"{self.names.now} has"
        shapes = (
            f"{levels} the shape {self.now.shape} "
            f"(fields, *grid), {self.names.params} has {self._params.size}"
        )
        for name, array in zip(self.names.arrays, self._arrays, strict=True):
            shapes += f", {name} has {array.shape}"
        return f"leaves its arrays in {self._at(step, at)}: {reason}", shapes

    def _raises(self, step: int, at: tuple[int, ...], raised: str) -> tuple[str, str]:
        what = f"raised in {self._at(step, at)}. That cell again, in plain Python: {raised}"
        return what, "Correct the function, and go on from the last checkpoint"

    def _reads_several(self, names: Names) -> tuple[str, str]:
        what = f"reads more of {names.now} than one value, and with reach each read is followed"
        remedy = f"Read {names.now}[0, {', '.join(names.cell)}] and its neighbours one by one"
        return what, f"{remedy}; or leave reach out"

    def _reads_far(
        self, step: int, at: tuple[int, ...], indices: tuple[Any, ...], far: int, names: Names
    ) -> tuple[str, str]:
        read = f"{names.now}[{', '.join(map(str, indices))}]"
        away = f"{counted(far, 'cell')} away, and reach is {self.actor.reach}"
        what = f"reads {read} in {self._at(step, at)}: {away}"
        remedy = f"Pass reach={far}, or leave reach out" if far <= MAX_REACH else "Leave reach out"
        return what, f"{remedy}: it then may read any cell"

    def _reaches_unseen(
        self, step: int, at: tuple[int, ...], why: str, _: Names
    ) -> tuple[str, str]:
        what = f"{why} as plain Python in {self._at(step, at)}, so reach cannot be checked"
        return what, "Leave reach out"

    def _keeps(self, step: int, at: tuple[int, ...], field: int, names: Names) -> tuple[str, str]:
        value = f"[{field}, {', '.join(names.cell)}]"
        what = f"does not write {names.next}{value} in {self._at(step, at)}. "
        what += _READ if self._later else _OLD
        kept = f"{names.next}{value} = {names.now}{value}"
        remedy = f"Write it in every case, {kept} where nothing changes"
        if not self._later:
            remedy += "; or pass levels=2, and checkpoints hold it"
        remedy += f". {TAKEN_AS_IT_IS}"
        return what, remedy

    def _reads_own(self, names: Names) -> tuple[str, str]:
        what = f"uses {names.target} before it has written it. {_OLD}"
        remedy = f"Pass levels=2, and checkpoints hold it; or read {names.now}. {TAKEN_AS_IT_IS}"
        return what, remedy

    def _reads_another(self, names: Names) -> tuple[str, str]:
        what = (
            f"uses {names.next} of another cell, which that cell may have written in this step or not: "
            "the order of cells is not fixed"
        )
        return what, f"Read {names.now}, the state before the step. {TAKEN_AS_IT_IS}"

    # -- its end ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def limited(self, limit_s: float) -> Iterator[None]:
        """End what runs in the block after a time, be it an endless loop; in silence but for reach."""
        self._deadline = time.thread_time() + limit_s
        traced = sys.gettrace() is None  # else a debugger, or coverage, is at work
        # A collection of garbage may cut in anywhere, and call what would meet the deadline: an
        # exception is lost there, and the call is left half done.
        collects = gc.isenabled()
        gc.disable()
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if traced:
                    sys.settrace(self._trace)
                try:
                    yield
                finally:
                    if traced:
                        sys.settrace(None)
        except (_Enough, _Fault) as end:
            if isinstance(end, _Enough) and not self._follows:
                return
            slow = self.untried(*self._cell, "takes too long")
            fault = end if isinstance(end, _Fault) else slow
            what, remedy = fault.say(self.names)
            where = f" ({fault.where})" if fault.where else ""
            msg = f"function {self.names.function} {what}{where}. {remedy}"
            raise ValueError(msg) from None
        finally:
            if collects:
                gc.enable()

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        # What the standard library does here may be the callback of a weak reference: an exception is
        # lost there, and the callback is left half done.
        if frame.f_code.co_filename in _OWN or frame.f_code.co_filename.startswith(_LIBRARY):
            return None
        if event == "return" and frame.f_code is self._code:
            self._returned_at = frame.f_lineno
        if time.thread_time() > self._deadline and self._is_users(frame):
            raise _Enough
        return self._trace

    def _is_users(self, frame: FrameType | None) -> bool:
        """Return whether a frame belongs to the function, and not to a finaliser that has cut in."""
        while frame is not None and frame.f_code is not self._code:
            # The last reference may go at any point; an exception in it is lost, half done.
            if frame.f_code.co_name == "__del__":
                return False
            frame = frame.f_back
        return frame is not None


def try_update(
    actor: Actor,
    update: FunctionType,
    state: State | None,
    *,
    later: bool = False,
) -> None:
    """Try a stage on some cells of a state; `ValueError` with the line if something is wrong.

    `state` is as `Actor.start` returns it; a stage `later` than the first gets it as well, though it
    will find what the stages before it make of it. Without one, where it is made later, only what no
    state could make right is looked for.
    """
    now, before = _levels_of(actor, state)
    values = [*actor.params.values(), *(1.0 for _ in actor.reductions)]
    trial = _Trial(actor, update, now, np.array(values, np.float64), later=later)
    if actor.reach is not None:
        trial.follow_reads()
    with trial.limited(_LIMIT_S if actor.reach is None else _LONGER_S):
        samples = list(_extremes(now))
        steps = [actor.start_step + k for k in _STEPS]
        for step, at in itertools.product(steps, dict.fromkeys((*_places(actor.shape), *samples))):
            own, second = values_at(before, at), values_at(now, at)
            others = _different(second, [values_at(now, one) for one in samples], actor.dtypes)
            cell = trial.run(step, at, own, second)
            if cell is None and actor.reach is not None:
                raise trial.untried(step, at, "cannot be run")
            if cell is not None and state is not None and actor.replayable:
                trial.check_hidden(step, at, cell, own if trial.stored else others, others)


def _levels_of(actor: Actor, state: State | None) -> tuple[Any, Any]:
    """Return the two levels of a state, which are one if it has no other; without a state, of ones."""
    fields = len(actor.fields)
    if state is None:
        state = state_of(actor, lambda shape, dtype: np.broadcast_to(np.ones(1, dtype), shape))
    arrays = list(state.values()) if isinstance(state, dict) else state
    return level_of(arrays[:fields]), level_of(arrays[-fields:])


def try_reduction(actor: Actor, value: FunctionType, state: State | None) -> None:
    """Try the function of a reduction on some cells of a state; `ValueError` if something is wrong."""
    # Without the numbers of the reductions: what one is may not depend on another, or on the last step.
    params = np.array(list(actor.params.values()), np.float64)
    trial = _Trial(actor, value, _levels_of(actor, state)[0], params, reduces=True)
    with trial.limited(_LIMIT_S):
        for at in dict.fromkeys(_places(actor.shape)):
            trial.run(actor.start_step, at, [], [])


def _returns_no_number(returned: object, _: Names) -> tuple[str, str]:
    return f"returns {returned!r}, which is not a number", "Return the value of the cell"


def explain(
    actor: Actor,
    stage: int,
    now: Any,
    following: Any,
    params: npt.NDArray[np.float64],
    step: int,
    at: tuple[int, ...],
) -> str:
    """Return what a stage did wrong at a cell, by computing it again; empty if that cannot be seen."""
    update = actor.stages[stage]
    assert isinstance(update, FunctionType)
    trial = _Trial(actor, update, now, params.copy())
    trial.tells_exceptions = True
    try:
        with trial.limited(1.0):
            trial.run(step, at, values_at(following, at), values_at(following, at))
    except ValueError as error:
        return str(error)
    return ""


def values_at(level: Any, at: tuple[int, ...]) -> list[Any]:
    """Return the fields of a cell; integers are Python's."""
    return [field[at].item() if field.dtype.kind in "iu" else field[at] for field in level]


def _different(
    first: list[Any], samples: list[list[Any]], dtypes: Sequence[np.dtype[Any]]
) -> list[Any]:
    """Return another value for each field, from the state itself if it holds one."""
    found = []
    for field, (value, dtype) in enumerate(zip(first, dtypes, strict=True)):
        choices = [*(sample[field] for sample in samples), dtype.type(1), dtype.type(0)]
        bits = np.array(value, dtype).tobytes()
        other = next(c for c in choices if np.array(c, dtype).tobytes() != bits)
        found.append(int(other) if dtype.kind in "iu" else other)
    return found


def _places(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the corners of a grid, then cells along a line through its middle for every axis."""
    yield from itertools.product(*((0, n - 1) for n in shape))
    middle = tuple(n // 2 for n in shape)
    for axis, n in enumerate(shape):
        for i in (0, 1, n // 2, n - 2, n - 1):
            yield (*middle[:axis], i, *middle[axis + 1 :])


def _extremes(now: Any) -> Iterator[tuple[int, ...]]:
    """Yield where the fields have their least and greatest values, among some cells of the grid."""
    grid = now.shape[1:]
    strides = [-(-n // _SAMPLES[len(grid)]) for n in grid]
    for field in now[:_MOST_FIELDS]:
        some = field[tuple(slice(None, None, stride) for stride in strides)]
        for flat in (some.argmin(), some.argmax()):
            yield tuple(
                int(i) * s for i, s in zip(np.unravel_index(flat, some.shape), strides, strict=True)
            )
