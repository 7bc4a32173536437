"""Actors from a plain Python function, such as one that a notebook cell defines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from types import FunctionType, MappingProxyType
from typing import Any, final

import numpy as np
import numpy.typing as npt

from ringnb._support.checks import check_bool, check_int, check_name, check_slot
from ringnb.actors.base import MAX_PARAMS, MAX_REACH, MAX_STAGES, Actor, FieldSpec
from ringnb.actors.checks import (
    DTYPES,
    Start,
    State,
    check_arrays,
    check_dtype,
    check_fields,
    check_limits,
    check_state,
    state_of,
)
from ringnb.actors.reductions import Reduction, check_reductions
from ringnb.actors.trial import try_reduction, try_update
from ringnb.actors.update_rules import check_references, check_text

__all__ = ["CellActor", "from_arrays"]


@final
class CellActor(Actor):
    """An actor whose model is a function of one cell.

    Parameters
    ----------
    update : callable
        ``update(now, next, params, step, y, x)``, or ``(…, step, x)`` and ``(…, step, z, y, x)`` on
        grids of one and three axes; the position of a parameter counts, not its name. It reads
        ``now[field, y, x]`` at any cell and ``next`` at its own cell only, where it writes the cell's
        next value, ``next[field, y, x]``; until then, that holds the level before ``now``. It is
        compiled by Numba, so it may use numbers, NumPy functions, and functions of your own that are
        decorated with ``numba.njit``.
        Left out where `stages` are given.
    shape : tuple of int
        Grid points per axis, one to three axes.
    fields : sequence of str, or mapping of str to FieldSpec or dtype-like, default ("u",)
        Names of the fields, in the order of the first axis of ``now``; what each is; or the dtype of
        each, ``{"u": "float64", "wall": "uint8"}``.
    params : mapping of str to float, optional
        ``params[0]`` is the first. At most 16. ``dt`` (seconds per step) and ``dx`` (metres per cell),
        if there are any of these names, label the axes of plots.
    start : array, mapping of str to array, or callable, optional
        The state to start from: one array ``(levels * fields, *grid)``, or an array ``(*grid)`` for each
        field by its name (with `levels` of 2 the state before it is ``<field>_previous``, by default
        the same), or ``start(slot)`` that returns either; zeros by default.
    start_step : int, default 0
        The step of the start state: `update` is called with this step first.
    start_time : float, optional
        The simulated time of the start state, seconds; by default `start_step` times ``dt``.
    dtype : dtype-like, default "float32"
        Of all fields that `fields` gives none of their own. See the notes.
    levels : {1, 2}, default 1
        2 if a step reads ``next``, as a scheme of second order in time does. With `stages`, 2 if the
        first stage reads it.
    arrays : mapping of str to array, optional
        Arrays of one to three axes that `update` reads and nothing changes, such as a depth or a mask:
        its parameters after the coordinates of the cell, in this order, at most 8. Their dtypes are
        their own. They are copied.
    kernel_type : str, optional
        The name of the model; by default the name of `update`, or of the first stage.
    stages : sequence of callable, optional
        Several updates that a step calls in turn, in place of `update`, at most 32; one may stand there
        repeatedly. All cells have gone through a stage before the next begins, which finds in ``now``
        what it wrote, and in ``next``, until the write, what it read. See the notes.
    reduce : mapping of str to callable or (str, callable), optional
        Numbers over all cells that the kernel computes from ``now`` before each step, at most 4: by name
        a function ``f(now, params, step, y, x)`` of a cell, with the arrays behind, whose values are
        summed; or a pair ``("min", f)`` or ``("max", f)``. `update` finds them in ``params`` behind the
        parameters, in this order; `Session.state` and the guard by their names.
    inject : callable, optional
        ``inject(now, before, params, z, y, x, amplitude)``, see `Actor.inject`. By default the
        amplitude is added to the first field.
    reach : int, optional
        How many cells away `update` may read ``now``, along each axis, at most 64; across an edge too,
        where opposite edges are joined. Large grids are then stepped faster than memory could be read
        once a step. Left out, it may read any cell. See the notes.
    boundscheck : bool, default False
        Check every index of `update`, and of what it calls, in every step: the first that lies outside
        its array, or the first exception, stops the kernel with the line, the step and the cell. Slow;
        for looking for a fault. On the CPU and in the simulator.
    replayable : bool, default True
        Refuse an update whose steps a restored run would not repeat. False lets it in.
    limits : mapping of str to (float, float) or None, optional
        Between which values a slider of the cockpit moves a parameter, None: it has no slider. One that
        is not named here goes from a tenth of its value to ten times that. Code may set any value.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or `update` does what it must not; see the notes. A function that
        Numba cannot compile is refused by the session.

    Notes
    -----
    These are refused, with the line: an update that writes ``now``, ``params`` or another cell, that
    returns a value, that never writes ``next``, that leaves its arrays, or that raises (with
    `boundscheck` it may: the kernel stops there). Unless `replayable` is False, also one that keeps
    state which no checkpoint holds, so that a restored run would go on differently: it draws from
    ``np.random`` or ``random`` (use `ringnb.actors.random.uniform`), reads a clock, reads ``next`` of
    another cell, or, with one level, reads ``next`` before it has written it or leaves it unwritten.

    The text of the function is read, and some cells are tried, uncompiled, with the state that the
    actor starts from, which takes milliseconds. A `start` that is called is not called for that: its
    first state is tried. A trial cannot see all: a fault in a branch that no tried cell takes shows in a
    run.

    With `stages`, the levels swap after every stage. All stages of a step have the same ``step``, and
    what stops, changes or captures an actor comes between two steps. A stage after the first may read
    ``next`` at its own cell: the midpoint rule, for example, takes half a step in its first stage and
    writes ``next[0, x] + dt * f(now)`` in its second. What is to last from one stage to the one after
    the next goes into a field. A stage writes every field: one that it left out would keep what the
    stage before has read, not what that wrote, and is refused. With `levels` of 2,
    ``<field>_previous`` is what the last stage of the step has read.

    With `reach`, all reads of ``now`` in the cells that are tried are followed: one that is farther away
    is refused, and so is one that is no single value ``now[field, y, x]``. Results do not depend on it,
    unless an update reads farther in a run than in the trial, because a parameter or the state decides
    where: leave it out there.

    Fields may have several dtypes. ``now[1, y, x]`` has that of field 1 then; a field whose number is
    computed, as in a loop over fields, is read in the dtype that can hold the values of all, which is
    float64 for integers of 32 bits beside floats. The number of a field is an integer or constant, no
    slice. `start` is a mapping of names then.

    For speed write the cell with one expression and choose neighbours by conditional expressions,
    ``now[0, y - 1, x] if y > 0 else now[0, ny - 1, x]``: such a function runs as fast as the built-in
    models. An ``if`` around the assignment keeps the inner loop from being vectorised.

    Examples
    --------
    >>> def decay(now, next, params, step, y, x):
    ...     next[0, y, x] = now[0, y, x] * (1 - params[0])
    >>> CellActor(decay, (8, 8), params={"rate": 0.1}, start=np.ones((8, 8)))
    CellActor((8, 8), rate=0.1)
    """

    def __init__(
        self,
        update: Callable[..., None] | None = None,
        shape: tuple[int, ...] = (),
        *,
        fields: Sequence[str] | Mapping[str, FieldSpec | npt.DTypeLike] = ("u",),
        params: Mapping[str, float] | None = None,
        start: Start | Callable[[int], Start] = None,
        start_step: int = 0,
        start_time: float | None = None,
        dtype: npt.DTypeLike = "float32",
        levels: int = 1,
        arrays: Mapping[str, npt.ArrayLike] | None = None,
        kernel_type: str | None = None,
        stages: Sequence[Callable[..., None]] | None = None,
        reduce: Mapping[str, Callable[..., Any] | tuple[str, Callable[..., Any]]] | None = None,
        inject: Callable[..., None] | None = None,
        reach: int | None = None,
        boundscheck: bool = False,
        replayable: bool = True,
        limits: Mapping[str, tuple[float, float] | None] | None = None,
    ) -> None:
        if not isinstance(params, Mapping | None):
            msg = f"params must map names to numbers, such as {{'rate': 0.1}}, got {params!r}"
            raise TypeError(msg)
        super().__init__(shape, params or {}, start_step=start_step, start_time=start_time)
        self.limits = check_limits(limits, self.params)
        self._arrays = check_arrays(arrays)
        self._reductions = {
            name: Reduction(
                operation, _plain(f"reduce[{name!r}]", value, self._of_a_cell, self._arrays)
            )
            for name, (operation, value) in check_reductions(
                reduce, self.params, MAX_PARAMS
            ).items()
        }
        wanted = ["now", "next", "params", "step", *self.dims, *self._arrays]
        self._stages = _stages(update, stages, wanted, self._arrays)
        if levels not in (1, 2) or isinstance(levels, bool):
            msg = f"levels must be 1 or 2, got {levels!r}"
            raise ValueError(msg)
        if isinstance(fields, str):
            fields = (fields,)
        specs = check_fields(fields, check_dtype(dtype))
        if not specs:
            msg = "fields is empty: an actor has at least one field"
            raise ValueError(msg)
        if levels == 2 and any(f"{name}_previous" in specs for name in specs):
            msg = "a field name ending in '_previous' clashes with the stored previous level"
            raise ValueError(msg)
        self.update = self._stages[0]
        if inject is not None:
            parameters = ["now", "before", "params", "z", "y", "x", "amplitude"]
            self.inject = _plain("inject", inject, parameters)  # type: ignore[method-assign]  # as the class allows
        self.fields = {name: spec for name, (spec, _) in specs.items()}
        kinds = [(name, kind) for name, (_, kind) in specs.items()]
        several = len({kind for _, kind in kinds}) > 1
        self.dtype = np.dtype(kinds) if several else kinds[0][1]
        self.levels = levels
        name = self.update.__name__ if kernel_type is None else kernel_type
        self.kernel_type = check_name(name.strip("<>"), "kernel_type")
        self._make_start = start if callable(start) else None
        self._start = None if callable(start) else check_state(start, self)
        if reach is not None:
            self.reach = check_int(reach, "reach", 0, MAX_REACH, why="cells")
        self.boundscheck = check_bool(boundscheck, "boundscheck")
        self.replayable = check_bool(replayable, "replayable")
        for stage in dict.fromkeys(self._stages):
            if self.replayable:
                check_references(stage, arrays=len(self._arrays))
            check_text(stage, arrays=len(self._arrays), stops=self.boundscheck)
        for _, value in self._reductions.values():
            assert isinstance(value, FunctionType)
            check_references(value, arrays=len(self._arrays), reduces=True)
        # A start that is called may draw from a generator: it is called when it is needed, not here.
        self._tried = self._make_start is None
        state = self._start
        if state is None:
            state = state_of(self, lambda n, dtype: np.broadcast_to(np.zeros(1, dtype), n))
        self._try(state if self._tried else None)

    @property
    def stages(self) -> tuple[Callable[..., None], ...]:
        """The functions of a step, in order."""
        return self._stages

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:  # type: ignore[override]  # read-only, too
        """The read-only arrays, by name."""
        return MappingProxyType(self._arrays)

    @property
    def reductions(self) -> Mapping[str, Reduction]:  # type: ignore[override]  # read-only, too
        """What the kernel computes from all cells before each step, by name."""
        return MappingProxyType(self._reductions)

    @property
    def _of_a_cell(self) -> list[str]:
        """What a reduction's function takes."""
        return ["now", "params", "step", *self.dims, *self._arrays]

    def _try(self, state: State | None) -> None:
        """Try each stage once, the first one as such, and where it comes again as a later one."""
        for update, later in dict.fromkeys((f, i > 0) for i, f in enumerate(self._stages)):
            try_update(self, update, state, later=later)
        for _, value in self._reductions.values():
            assert isinstance(value, FunctionType)
            try_reduction(self, value, state)

    def start(self, slot: int = 0) -> State:
        """Return the state given, or zeros."""
        check_slot(slot, "slot")
        if self._make_start is not None:
            made = check_state(self._make_start(slot), self)
            if made is None:
                msg = f"start({slot}) returned None: it must return an array of {self.state_shape}"
                raise ValueError(msg)
            if not self._tried:
                self._try(made)
                self._tried = True
            return made
        if self._start is None:
            return state_of(self, np.zeros)
        if isinstance(self._start, dict):
            return {name: array.copy() for name, array in self._start.items()}
        return self._start.copy()


def from_arrays(
    arrays: Mapping[str, npt.ArrayLike],
    /,
    update: Callable[..., None] | None = None,
    **options: Any,
) -> CellActor:
    """Return an actor that goes on from the arrays of a simulation that you have.

    Fields, shape and dtype are those of the arrays. Where there is an array ``<field>_previous``, the
    actor has two levels, see `CellActor`.

    Parameters
    ----------
    arrays : mapping of str to array
        An array ``(*grid)`` for each field, all of one shape. They are copied.
    update : callable, optional
        Computes the next state of one cell, see `CellActor`; ``now[0]`` is the first field. Left out
        where ``stages=`` are given.
    **options : object
        Other parameters of `CellActor`, such as ``params={"dt": 0.01}``, ``start_step=500``,
        ``start_time=5.0``. A ``dtype=`` is for all fields.

    Returns
    -------
    CellActor
        Its state is that of the arrays, bit for bit.

    Raises
    ------
    TypeError, ValueError
        If shapes differ, or as `CellActor`.

    Examples
    --------
    >>> def decay(now, next, params, step, y, x):
    ...     next[0, y, x] = now[0, y, x] * (1 - params[0])
    >>> from_arrays({"u": np.ones((8, 8))}, decay, params={"rate": 0.1}, start_step=500)
    CellActor((8, 8), rate=0.1, start_step=500)
    """
    if not isinstance(arrays, Mapping) or not arrays:
        msg = f"arrays must map names to arrays, such as {{'u': u}}, got {arrays!r}"
        raise TypeError(msg)
    found = {str(name): np.asarray(array) for name, array in arrays.items()}
    shapes = {name: a.shape for name, a in found.items()}
    if len(set(shapes.values())) > 1:
        msg = (
            f"the arrays have different shapes, {shapes}: an actor has one grid for all its fields"
        )
        raise ValueError(msg)
    for name, array in found.items():
        if array.dtype.name not in DTYPES and "dtype" not in options:
            msg = (
                f"the array {name!r} has dtype {array.dtype}, and no kernel computes with that: make it "
                f"one of {', '.join(DTYPES)} ({name}.astype('uint8'), say), or give dtype= for all"
            )
            raise ValueError(msg)
    names = [n for n in found if not n.endswith("_previous") or n[: -len("_previous")] not in found]
    derived: dict[str, Any] = {
        "fields": names if "dtype" in options else {name: found[name].dtype for name in names},
        "start": found,
        "levels": 1 if len(names) == len(found) else 2,
    }
    return CellActor(update, found[names[0]].shape, **(derived | options))


def _stages(
    update: object, stages: object, wanted: list[str], arrays: Collection[str]
) -> tuple[FunctionType, ...]:
    """Return the plain functions of a step."""
    if stages is None:
        if isinstance(update, list | tuple):
            msg = f"update must be one function, got {update!r}: give several as stages=[f, g]"
            raise TypeError(msg)
        return (_plain("update", update, wanted, arrays),)
    if update is not None:
        msg = "update and stages are two ways to say what a step computes: give one of them"
        raise TypeError(msg)
    if not isinstance(stages, Sequence):
        msg = f"stages must be a sequence of functions such as [f, g], got {stages!r}"
        raise TypeError(msg)
    if not 1 <= len(stages) <= MAX_STAGES:
        msg = f"stages must hold 1 to {MAX_STAGES} functions, got {len(stages)}"
        raise ValueError(msg)
    return tuple(_plain(f"stages[{i}]", stage, wanted, arrays) for i, stage in enumerate(stages))


def _plain(
    what: str, function: object, wanted: list[str], arrays: Collection[str] = ()
) -> FunctionType:
    """Return the plain function, which takes what is wanted, and the arrays last."""
    plain = getattr(function, "py_func", function)  # a Numba dispatcher's
    if not isinstance(plain, FunctionType):
        msg = f"{what} must be a function made with def or lambda, got {function!r}"
        raise TypeError(msg)
    got = list(inspect.signature(plain).parameters)
    if len(got) != len(wanted):
        msg = f"{what}({', '.join(got)}) does not fit: it must take ({', '.join(wanted)})"
        raise TypeError(msg)
    # A position counts, not a name: arrays that changed places would compute something else, in silence.
    last = range(len(wanted) - len(arrays), len(wanted))
    if any(got[i] in arrays and got[i] != wanted[i] for i in last):
        msg = (
            f"{what}({', '.join(got)}) takes its arrays in another order than `arrays` has them: it "
            f"must take ({', '.join(wanted)})"
        )
        raise TypeError(msg)
    return plain
