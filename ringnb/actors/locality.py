"""Whether an actor can be divided along its first axis, and how many rows a step needs beyond a part.

An update is run on some cells, uncompiled, with a row's number that notices what is done with it. A part
counts its rows anew, so the number may choose neighbours and tell the edges, and nothing else: a value
that is computed from it would be another one in a part. Each read of ``now`` is followed. As with
`reach`, a branch that no tried cell takes stays untried.
"""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import Iterator, Sequence
from types import FrameType, FunctionType
from typing import Any, NamedTuple, NoReturn, cast, final

import numpy as np

from ringnb.actors.base import MAX_REACH, Actor
from ringnb.actors.uncompiled import uncompiled
from ringnb.actors.update_rules import place
from ringnb.errors import NotDecomposable

__all__ = ["Locality", "locality_of"]

_STEPS = (0, 1, 2, 10)
_MOST_CELLS = 2000


class Locality(NamedTuple):
    """What the parts of an actor need of each other."""

    reaches: tuple[int, ...]  # rows on either side, for each stage of a step
    joined: bool  # whether the first row and the last are neighbours

    @property
    def reach(self) -> int:
        """Rows on either side, for a step, all its stages together."""
        return sum(self.reaches)


def locality_of(actor: Actor, reach: int | None = None) -> Locality:
    """Return what parts of an actor need of each other, in rows; NotDecomposable says why it has none.

    `reach` is that of each stage, where it is known; by default the actor's own, or else it is measured.
    """
    name = actor.kernel_type
    if actor.reductions:
        sums = ", ".join(actor.reductions)
        msg = f"{name} cannot be divided: {sums} (reduce) need all cells of the grid in every step"
        raise NotDecomposable(msg)
    if not actor.replayable:
        msg = (
            f"{name} cannot be divided: with replayable=False no part repeats what another computed"
        )
        raise NotDecomposable(msg)
    declared = actor.reach if reach is None else reach
    if actor._rows_of_part is not None and actor.reach is not None:
        return Locality((max(actor.reach, declared or 0),), joined=True)
    reaches = {stage: _Follower(actor, stage).follow() for stage in dict.fromkeys(actor.stages)}
    needed, edges = list[int](), set[bool]()
    for stage in actor.stages:
        rows, joined = reaches[stage]
        if declared is not None and rows > declared:
            msg = (
                f"{name} cannot be divided with reach={declared}: function {stage.__name__} was seen to "
                f"need {rows} rows on either side; leave reach out, and it is measured"
            )
            raise NotDecomposable(msg)
        rows = max(rows, declared or 0)
        needed.append(rows)
        if rows and joined is not None:
            edges.add(joined)
    if len(edges) > 1:
        msg = f"{name} cannot be divided: only some of its stages join the first row and the last"
        raise NotDecomposable(msg)
    return Locality(tuple(needed), True in edges)


class _NotLocal(BaseException):
    """What is refused; no exception that the function itself might handle."""


@final
class _Row:
    """A row's number: that of the cell and an offset; or, `of_end`, the number of rows and an offset."""

    __slots__ = ("_follower", "of_end", "value")
    __array_ufunc__ = None  # else a NumPy number would take it for one
    __hash__ = None  # type: ignore[assignment]  # as what it equals depends on the cell

    def __init__(self, follower: _Follower, value: int, *, of_end: bool) -> None:
        self._follower, self.value, self.of_end = follower, value, of_end

    def __add__(self, other: Any) -> _Row:
        return self._moved(other, 1)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, _Row) and other.of_end == self.of_end:
            return self.value - other.value
        return self._moved(other, -1)

    def _moved(self, other: Any, sign: int) -> _Row:
        if isinstance(other, _Row):
            if self.of_end == other.of_end or (sign < 0 and not other.of_end):
                self._refuse()
            by = other.value  # a whole grid on or back: the same row where edges are joined
            return _Row(self._follower, self.value + sign * by, of_end=self.of_end and other.of_end)
        if not isinstance(other, int | np.integer):
            self._refuse()
        return _Row(self._follower, self.value + sign * int(other), of_end=self.of_end)

    def __mod__(self, other: Any) -> _Row:
        follower = self._follower
        if self.of_end or not isinstance(other, _Row) or other.value != follower.rows:
            self._refuse()
        return _Row(follower, self.value % follower.rows, of_end=False)

    def __lt__(self, other: Any) -> bool:
        return self._compare(other, operator.lt, 0)

    def __ge__(self, other: Any) -> bool:
        return self._compare(other, operator.ge, 0)

    def __le__(self, other: Any) -> bool:
        return self._compare(other, operator.le, 1)

    def __gt__(self, other: Any) -> bool:
        return self._compare(other, operator.gt, 1)

    def __eq__(self, other: object) -> bool:
        return self._compare(other, operator.eq, None)

    def __ne__(self, other: object) -> bool:
        return self._compare(other, operator.ne, None)

    def __bool__(self) -> bool:
        return self != 0

    def _compare(self, other: Any, compare: Any, after: int | None) -> bool:
        """Compare, and note how many rows at an edge that tells from others.

        ``after`` rows behind the one that is compared with belong to those before; None: it is alone.
        """
        if isinstance(other, _Row):
            number = other.value
            if self.of_end == other.of_end:
                return bool(compare(self.value, number))
        elif isinstance(other, int | np.integer):
            number = int(other)
        else:
            self._refuse()
        by_end = isinstance(other, _Row) or self.of_end
        if self.of_end and not isinstance(other, _Row):
            self._refuse("depends on the number of rows")
        follower = self._follower
        own, shift = (self, number) if not self.of_end else (other, self.value)
        at = shift - (own.value - follower.at[0])  # the row of the grid where it turns
        if self.of_end and after is not None:
            after = 1 - after  # the other way round
        first = at + (1 if after is None else after)  # rows before it are told from others
        told = follower.rows - (at if after is None else first) if by_end else first
        if told > MAX_REACH or (not by_end and told >= follower.rows):
            self._refuse(f"tells row {at} from others")
        follower.edge = max(follower.edge, told)
        return bool(compare(self.value, number))

    def _refuse(self, what: str = "computes with the number of a row") -> NoReturn:
        self._follower.refuse(f"{what}: it depends on position")

    def _number(self, *_: Any) -> NoReturn:
        """Refuse to be any other number."""
        self._refuse("depends on the number of rows" if self.of_end else "computes with its row")

    __int__ = __index__ = __float__ = __complex__ = __neg__ = __abs__ = __invert__ = _number
    __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = _number
    __rsub__ = __rmod__ = __pow__ = __rpow__ = __lshift__ = __rlshift__ = __rshift__ = _number
    __rrshift__ = __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _number
    __divmod__ = __rdivmod__ = __round__ = __trunc__ = __floor__ = __ceil__ = _number


@final
class _Told(int):
    """A column or a step, which parts have in common: notes what it is compared with."""

    seen: set[int]

    def _note(self, other: Any) -> Any:
        if isinstance(other, int):
            self.seen.add(int(other))
        return other

    def __lt__(self, other: Any) -> Any:
        return int(self) < self._note(other)

    def __le__(self, other: Any) -> Any:
        return int(self) <= self._note(other)

    def __gt__(self, other: Any) -> Any:
        return int(self) > self._note(other)

    def __ge__(self, other: Any) -> Any:
        return int(self) >= self._note(other)

    def __eq__(self, other: object) -> Any:
        return int(self) == self._note(other)

    def __ne__(self, other: object) -> Any:
        return int(self) != self._note(other)

    __hash__ = int.__hash__


class _Level:
    """``now``, or ``next`` of the cell alone: single values, each of which is followed."""

    def __init__(self, follower: _Follower, fields: Sequence[Any], *, own: bool) -> None:
        self._follower, self._fields, self._own = follower, fields, own
        self.dtype = np.result_type(*(field.dtype for field in fields))

    @property
    def ndim(self) -> int:
        """Axes, with that of the fields."""
        return 1 + len(self._follower.at)

    @property
    def shape(self) -> tuple[Any, ...]:
        """Fields, rows, and the rest."""
        f = self._follower
        return (len(self._fields), _Row(f, f.rows, of_end=True), *self._fields[0].shape[1:])

    def __len__(self) -> int:
        return len(self._fields)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self._follower.refuse(f"takes .{name} of the whole grid")

    def __getitem__(self, index: Any) -> Any:
        field, row, rest = self._follower.cell_of(index, own=self._own)
        written = self._follower.written
        if self._own and field in written:
            return written[field]
        value = self._fields[field][(row, *rest)]
        return value.item() if isinstance(value, np.integer) else value

    def __setitem__(self, index: Any, value: Any) -> None:
        if not self._own:
            self._follower.refuse("writes now")
        field, _, _ = self._follower.cell_of(index, own=True)
        dtype = self._fields[field].dtype
        if dtype.kind in "iu":
            value = np.asarray(int(value) & (2 ** (8 * dtype.itemsize) - 1)).astype(dtype).item()
        self._follower.written[field] = dtype.type(value)


class _Array(np.ndarray):
    """An array that is only read. Parts have all of it, so not by the number of a row."""

    follower: _Follower

    def __getitem__(self, index: Any) -> Any:
        if any(isinstance(i, _Row) for i in (index if isinstance(index, tuple) else (index,))):
            self.follower.refuse("reads an array at its row: it depends on position")
        value = super().__getitem__(index)
        return value.item() if isinstance(value, np.integer) else value


@final
class _Follower:
    """A stage of an actor, uncompiled, with its start state."""

    def __init__(self, actor: Actor, stage: Any) -> None:
        self._actor = actor
        plain = cast(FunctionType, getattr(stage, "py_func", stage))
        self._name, self._update = plain.__name__, uncompiled(plain)
        start, n = actor.start(), len(actor.fields)
        arrays = list(start.values()) if isinstance(start, dict) else list(start)
        self._levels = [_Level(self, arrays[:n], own=False), _Level(self, arrays[-n:], own=True)]
        self._params = np.array(list(actor.start_params().values()), np.float64)
        self._params.flags.writeable = False
        self._arrays = [array.view(_Array) for array in actor.arrays.values()]
        for array in self._arrays:
            array.follower = self
        self.rows = actor.shape[0]
        self.at: tuple[int, ...] = ()
        self.written: dict[int, Any] = {}
        self.edge = 0  # rows at an edge that the update tells from others
        self._shift = 0  # of the state along the rows
        self._step = 0
        self._far = 0  # rows to what is read as a neighbour
        self._reads: list[tuple[int, int, tuple[int, ...]]] = []
        self._fixed: list[
            tuple[int, str]
        ] = []  # reads of a row by its number: how far, and the refusal
        self._crosses: bool | None = None  # whether a read goes from the first row to the last

    def follow(self) -> tuple[int, bool | None]:
        """Return the rows that the stage needs on either side, and whether the edges are joined.

        The second is None if no row needs another.
        """
        seen = [set[int]() for _ in self._actor.shape]  # the step's, then those of other axes
        steps = [self._actor.start_step + k for k in _STEPS]
        tried = set[tuple[int, tuple[int, ...]]]()
        middle = self.rows // 2
        while (cells := [c for c in self._cells(steps, seen[1:]) if c not in tried]) and (
            len(tried) < _MOST_CELLS
        ):
            for step, at in cells:
                tried.add((step, at))
                self._run(step, at, seen)
            start = self._actor.start_step
            steps += [
                s + k for s in sorted(seen[0]) for k in (-1, 0, 1) if start <= s + k not in steps
            ]
        rows = max(self._far, self.edge)
        if self._fixed and (farthest := max(self._fixed))[0] > rows:
            raise NotDecomposable(farthest[1])
        if self._crosses:
            # What looks like joined edges must be so in every row: there a part has halos of others.
            for step, at in sorted(tried):
                if min(at[0], self.rows - 1 - at[0]) < max(rows, 1):
                    here = self._run(step, at, seen)
                    there = self._run(step, (middle, *at[1:]), seen, shift=middle - at[0])
                    if here != there:
                        self._step, self.at = step, at
                        self._say(
                            "computes an edge in another way, though it joins it with the other"
                        )
        return rows, bool(self._crosses) if rows else None

    def _cells(
        self, steps: Sequence[int], seen: Sequence[set[int]]
    ) -> Iterator[tuple[int, tuple[int, ...]]]:
        n = self.rows
        rows = sorted({0, 1, 2, n // 2, n // 2 + 1, n - 3, n - 2, n - 1} & set(range(n)))
        others = [
            sorted(
                {0, 1, m // 2, m - 2, m - 1, *(c + k for c in told for k in (-1, 0, 1))}
                & set(range(m))
            )
            for m, told in zip(self._actor.shape[1:], seen, strict=True)
        ]
        yield from itertools.product(steps, itertools.product(rows, *others))

    def _run(
        self, step: int, at: tuple[int, ...], seen: Sequence[set[int]], shift: int = 0
    ) -> tuple[Any, ...]:
        """Compute a cell; return what it has read, relative to itself, and what it has written."""
        self.at, self._step, self._shift = at, step, shift
        self.written, self._reads = {}, []
        told = [_Told(number) for number in (step, *at[1:])]
        for one, numbers in zip(told, seen, strict=True):
            one.seen = numbers
        row = _Row(self, at[0], of_end=False)
        try:
            with np.errstate(all="ignore"):
                self._update(*self._levels, self._params, told[0], row, *told[1:], *self._arrays)
        except _NotLocal as refused:
            raise NotDecomposable(str(refused)) from None
        except Exception as error:  # noqa: BLE001 - whatever it is, the cell was not followed
            self._say(f"cannot be followed: {type(error).__name__}: {error}")
        bits = tuple(sorted((field, value.tobytes()) for field, value in self.written.items()))
        return tuple(self._reads), bits

    def cell_of(self, index: Any, *, own: bool) -> tuple[int, int, tuple[int, ...]]:
        """Return field, row and the other indices of a value that is read or written."""
        n = self.rows
        if not isinstance(index, tuple) or len(index) != 1 + len(self.at):
            self.refuse("reads more of a level than one value")
        if any(isinstance(i, _Row) for i in (index[0], *index[2:])):
            self.refuse("computes with its row: it depends on position")
        field, row = operator.index(index[0]), index[1]
        rest = tuple(operator.index(i) for i in index[2:])
        number = row.value if isinstance(row, _Row) else operator.index(row)
        if not -n <= number < n:
            self.refuse(f"reads row {number} of {n}")
        apart = (number - self.at[0] + n // 2) % n - n // 2
        if own:
            if apart or rest != self.at[1:]:
                self.refuse("uses next of another cell")
        elif isinstance(row, _Row) and not row.of_end:
            if abs(apart) > MAX_REACH:
                self.refuse(f"reads {abs(apart)} rows away, at most {MAX_REACH} are allowed")
            self._far = max(self._far, abs(apart))
        elif apart:
            what = ", ".join(map(str, (field, number, *rest)))
            why = self._sentence(f"reads at [{what}], {abs(apart)} rows away, whatever its row")
            self._fixed.append((abs(apart), why))
        if not own:
            self._reads.append((field, apart, rest))
            if apart and number % n != self.at[0] + apart:
                self._crosses = True
        return field, (number - self._shift) % n, rest

    def refuse(self, why: str) -> NoReturn:
        """End the cell that is being computed."""
        raise _NotLocal(self._sentence(why))

    def _say(self, why: str) -> NoReturn:
        raise NotDecomposable(self._sentence(why)) from None

    def _sentence(self, why: str) -> str:
        frame: FrameType | None = sys._getframe(1)
        code = self._update.__code__
        while frame is not None and frame.f_code is not code:
            frame = frame.f_back
        line = code.co_firstlineno if frame is None else frame.f_lineno
        cell = ", ".join(f"{n} = {i}" for n, i in zip(self._actor.dims, self.at, strict=True))
        return (
            f"{self._actor.kernel_type} cannot be divided: function {self._name} {why}, in step "
            f"{self._step} at the cell {cell} ({place(code.co_filename, line)}). Launch it undivided"
        )
