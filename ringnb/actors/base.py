"""What an actor computes: fields on a grid and a per-cell update function, in plain Python.

An `Actor` says nothing of where it runs. A backend takes `Actor.update`, compiles it, and supplies
the loops, the team of threads or blocks, and the memory.

State is two levels, ``now`` and ``next``, each of shape ``(fields, *grid)``. One step calls the update
function once per cell; it reads ``now`` at any cell, reads ``next`` at its own cell only, and writes the
cell's next value there. Then the levels swap. Until it is written, ``next`` holds the level before
``now``: a scheme of second order in time reads it, one of first order does not. Both move the same
number of bytes, and the result cannot depend on the order in which cells are visited.

A step may have several stages, each an update of its own. Every cell has gone through one before the
next begins, and the levels swap after each.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ringnb._support.checks import (
    check_name,
    check_number,
    check_slot,
    check_step,
    is_integer,
)
from ringnb.actors.reductions import Reduction
from ringnb.messages.simulated_time import SimulatedTime

__all__ = ["MAX_ARRAYS", "MAX_PARAMS", "MAX_REACH", "MAX_STAGES", "Actor", "FieldSpec", "Halos"]

MAX_PARAMS = 16
MAX_STAGES = 32
MAX_ARRAYS = 8
MAX_REACH = 64
_DIMS = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}


class FieldSpec(NamedTuple):
    """What a field is, for axes and for other tools.

    Attributes
    ----------
    units : str
        Units of the values; ``"1"`` for a pure number.
    long_name : str
        What the values are, in words.
    dtype : dtype-like, optional
        Of this field of a `CellActor`, where it is not that of the others.
    """

    units: str = "1"
    long_name: str = ""
    dtype: npt.DTypeLike | None = None


class Halos(NamedTuple):
    """Rows at the ends of a part of a grid that are copies of a neighbour's, right as of some step."""

    above: bool  # whether there are such rows before its own
    below: bool
    reaches: tuple[int, ...]  # rows on either side that each stage of a step needs


class Actor(ABC):
    """A simulation on a one-, two- or three-dimensional grid.

    Parameters
    ----------
    shape : tuple of int
        Grid points per axis, ``(nx,)``, ``(ny, nx)`` or ``(nz, ny, nx)``.
    params : mapping of str to float
        What the update function reads, in order: ``params[0]`` is the first. At most 16 finite
        numbers. They travel with every checkpoint and come back with a restore.
    start_step : int, default 0
        The step that the start state is of: the first step computed is the one after it.
    start_time : float, optional
        The simulated time of the start state, seconds; by default `start_step` times ``dt``.

    Attributes
    ----------
    kernel_type : str
        Names the model; a checkpoint restores only into an actor of the same type.
    fields : mapping of str to FieldSpec
        The fields in the order of the first axis of ``now``.
    dtype : numpy.dtype
        One for all fields. Where they differ, a structured one that names that of each field.
    levels : int
        Levels that a checkpoint holds: 2 if a step needs the level before ``now``, else 1.
    diverging : bool
        Whether the values are signed about zero, which decides the colour map.
    reach : int or None
        How many cells away, along each axis and across joined edges, an update may read ``now``; None if
        that is not known. Where it is, a kernel may take a part of the grid through several steps.
        It is said of one update: a subclass with its own `update` has None unless it says more.
    rows : callable or None
        ``rows(now, next, params, step, first, last)`` computes what `update` does, bit for bit, for
        whole rows, planes of a grid of three axes. A kernel on a CPU calls it instead.
    boundscheck : bool
        Whether every index of the update is checked in every step, see `CellActor`.
    replayable : bool
        Whether a run from a checkpoint repeats the steps of the first run, bit for bit. False where an
        update draws random numbers that no checkpoint holds, say; restoring it then warns.
    arrays : mapping of str to array
        Arrays that the update reads and nothing changes, in the order of its last parameters.
    reductions : mapping of str to Reduction
        Numbers that the kernel computes from all cells before each step, and puts behind the parameters.
    limits : mapping of str to (float, float) or None
        Between which values it is worth changing a parameter while the actor runs, for sliders; None if
        it is not. A parameter that is not named here has limits by its value, see `limits_of`.

    Notes
    -----
    Actors are immutable once made and may be shared between threads and sessions. They can be pickled
    if the functions that they were made of are in a module that can be imported, and no notebook.
    """

    kernel_type: str
    fields: Mapping[str, FieldSpec]
    dtype: np.dtype[Any]
    levels: int = 1
    reach: int | None = None
    boundscheck: bool = False
    replayable: bool = True
    limits: Mapping[str, tuple[float, float] | None] = MappingProxyType({})
    arrays: Mapping[str, npt.NDArray[Any]] = MappingProxyType({})
    reductions: Mapping[str, Reduction] = MappingProxyType({})
    update: Callable[..., None]
    rows: Callable[..., None] | None = None
    _start_step: int = 0
    _start_time: float | None = None
    _halos: Halos | None = None  # of an actor that is a part of one
    # As `rows`, for a part of a torus, of a model that depends on position: behind the parameters stand
    # the number of its first row, and that of all rows.
    _rows_of_part: Callable[..., None] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Take `reach` and `rows` from a subclass that brings its own update, and does not say them."""
        super().__init_subclass__(**options)
        if not {"update", "stages"}.isdisjoint(vars(cls)):
            for name in {"reach", "rows", "_rows_of_part"} - vars(cls).keys():
                setattr(cls, name, None)

    def __init__(
        self,
        shape: tuple[int, ...],
        params: Mapping[str, float],
        *,
        start_step: int = 0,
        start_time: float | None = None,
    ) -> None:
        self._shape = _check_shape(shape, type(self).__name__)
        self._params = MappingProxyType(self.complete(_check_params(params)))
        self._start_step = check_step(start_step, "start_step")
        if start_time is not None:
            self._start_time = check_number(start_time, "start_time")
            if self.dt_s is None:
                msg = (
                    f"start_time={start_time:g} needs a model whose steps have a length: a parameter "
                    f"'dt', seconds per step; this one has {sorted(self._params)}"
                )
                raise ValueError(msg)

    def __getstate__(self) -> dict[str, Any]:
        """Return what `pickle` and `copy` take. Functions are pickled by their names."""
        return self.__dict__ | {"_params": dict(self._params)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.__dict__.update(state | {"_params": MappingProxyType(dict(state["_params"]))})

    @property
    def shape(self) -> tuple[int, ...]:
        """Grid points per axis."""
        return self._shape

    @property
    def params(self) -> Mapping[str, float]:
        """Parameters by name, in the order in which the update function sees them."""
        return self._params

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the grid axes."""
        return _DIMS[len(self._shape)]

    @property
    def dt_s(self) -> float | None:
        """Simulated seconds per step, or None where a step has no duration."""
        return self._params.get("dt")

    @property
    def stages(self) -> tuple[Callable[..., None], ...]:
        """The functions of a step, in order: `update` alone, unless the model has several stages."""
        return (self.update,)

    @property
    def n_values(self) -> int:
        """How many numbers `update` gets as ``params``: the parameters, then the reductions."""
        return len(self._params) + len(self.reductions)

    @property
    def start_step(self) -> int:
        """The step of the start state."""
        return self._start_step

    @property
    def clock(self) -> SimulatedTime | None:
        """The simulated time that it starts with; None where a step has no duration."""
        if self.dt_s is None:
            return None
        if self._start_time is None:
            return SimulatedTime(dt=self.dt_s)
        return SimulatedTime(self._start_time, self._start_step, self.dt_s)

    @cached_property
    def stored_fields(self) -> tuple[str, ...]:
        """Names under which a checkpoint keeps the levels: a field, then ``<field>_previous``."""
        names = tuple(self.fields)
        return names if self.levels == 1 else (*names, *(f"{n}_previous" for n in names))

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of what a checkpoint holds: ``(levels * fields, *grid)``."""
        return (self.levels * len(self.fields), *self._shape)

    @property
    def dtypes(self) -> tuple[np.dtype[Any], ...]:
        """The dtype of each field."""
        if self.dtype.names is None:
            return (self.dtype,) * len(self.fields)
        return tuple(self.dtype[name] for name in self.fields)

    @property
    def field_attrs(self) -> dict[str, dict[str, Any]]:
        """Units, long name and dimension names of every stored field."""
        attrs = {}
        for name in self.stored_fields:
            spec = self.fields[name.removesuffix("_previous") if name not in self.fields else name]
            long_name = spec.long_name or name
            if name not in self.fields:
                long_name = f"{long_name}, previous step"
            attrs[name] = {"units": spec.units, "long_name": long_name, "dims": self.dims}
        return attrs

    @abstractmethod
    def start(self, slot: int = 0) -> npt.NDArray[Any] | dict[str, npt.NDArray[Any]]:
        """Return the state that an actor in this slot starts from.

        Parameters
        ----------
        slot : int, default 0
            The actor's slot; actors of one session may start differently.

        Returns
        -------
        (levels * fields, *grid) array of `dtype`
            All fields of ``now``, then, if `levels` is 2, all of the level before it. Where the fields
            have several dtypes, an array ``(*grid)`` for each name in `stored_fields` instead.
        """

    def start_params(self, slot: int = 0) -> dict[str, float]:
        """Return the parameters that an actor in this slot starts with.

        Parameters
        ----------
        slot : int, default 0
            The actor's slot.

        Returns
        -------
        dict of str to float
            `params`, unless the model varies them by slot (a seed, say).
        """
        check_slot(slot, "slot")
        return dict(self._params)

    def complete(self, params: dict[str, float]) -> dict[str, float]:
        """Check the limits of the scheme and work out parameters that follow from others.

        Parameters
        ----------
        params : dict of str to float
            All parameters, finite.

        Returns
        -------
        dict of str to float
            The same names.

        Raises
        ------
        ValueError
            If a limit is broken; the message states it.
        """
        return params

    def check_params(self, params: Mapping[str, float]) -> dict[str, float]:
        """Check parameters that are to replace this actor's own.

        Parameters
        ----------
        params : mapping of str to float
            All parameters, by name.

        Returns
        -------
        dict of str to float
            The same, in the order of `Actor.params`.

        Raises
        ------
        TypeError, ValueError
            If a name is missing or unknown, a value is not a finite number, a limit of the scheme is
            broken, or a parameter contradicts those it follows from.
        """
        if set(params) != set(self._params):
            msg = (
                f"{self.kernel_type} has parameters {sorted(self._params)}, "
                f"got {sorted(map(str, params))}"
            )
            raise ValueError(msg)
        checked = _check_params({name: params[name] for name in self._params})
        for name, value in self.complete(checked).items():
            if not math.isclose(value, checked[name], rel_tol=1e-9, abs_tol=1e-300):
                msg = (
                    f"{name}={checked[name]:g} of {self.kernel_type} contradicts its other "
                    f"parameters, from which {value:g} follows; change those instead"
                )
                raise ValueError(msg)
        return checked

    def limits_of(self, params: Mapping[str, float]) -> dict[str, tuple[float, float]]:
        """Say between which values each parameter can be changed, for sliders.

        Parameters
        ----------
        params : mapping of str to float
            All parameters as they are.

        Returns
        -------
        dict of str to (float, float)
            Lowest and highest, in the order of `Actor.params`: what `limits` says, else from a tenth of
            the value to ten times that (from 0 to 1 if it is 0); wider if the value itself lies beyond.
            Parameters that follow from others are left out. A combination that breaks a limit of the
            scheme is refused by `change_params` all the same.
        """
        found = {}
        for name, value in params.items():
            around = (value / 10, value * 10) if value else (0.0, 1.0)
            limits = self.limits.get(name, (min(around), max(around)))
            if limits is not None and not self._follows(name, params):
                found[name] = (min(float(limits[0]), value), max(float(limits[1]), value))
        return found

    def _follows(self, name: str, params: Mapping[str, float]) -> bool:
        """Whether a parameter is worked out from others, so that it cannot be set."""
        tried = params[name] * (1 + 2**-10) or 2**-10
        try:
            return self.complete({**params, name: tried})[name] != tried
        except ValueError:  # a limit of the scheme is near
            return False

    def change_params(
        self, current: Mapping[str, float], changes: Mapping[str, float]
    ) -> dict[str, float]:
        """Apply changes to a set of parameters; those that follow from others follow.

        Parameters
        ----------
        current, changes : mapping of str to float
            All parameters, and the new values.

        Returns
        -------
        dict of str to float
            A consistent set.

        Raises
        ------
        TypeError, ValueError
            As `check_params`, or if a name is unknown.
        """
        unknown = set(changes) - set(self._params)
        if unknown:
            msg = (
                f"{self.kernel_type} has no parameter {sorted(unknown)}: "
                f"it has {sorted(self._params)}"
            )
            raise ValueError(msg)
        completed = self.complete(_check_params({**current, **changes}))
        return self.check_params({**completed, **changes})

    @staticmethod
    def inject(
        now: Any, before: Any, params: Any, z: int, y: int, x: int, amplitude: float
    ) -> None:
        """Disturb one cell; compiled like `update`, called between steps.

        Parameters
        ----------
        now, before : (fields, nz, ny, nx) array
            The levels, always with three grid axes; missing ones have length 1. As in an update,
            the first index is a field. ``before`` is what
            the update gets as ``next``: only if `levels` is 2 does it hold anything.
        params : (16,) float64 array
            The actor's parameters.
        z, y, x : int
            The cell; 0 on axes that the grid does not have.
        amplitude : float
            How much.
        """
        now[0, z, y, x] += amplitude

    def _cell_of(self, at: tuple[int, ...]) -> tuple[int, ...]:
        """Return a cell's place in the whole grid; of an actor that is a part of one, another one."""
        return at

    def __repr__(self) -> str:
        """Return the call that would make this actor."""
        given = [f"{k}={v:g}" for k, v in self._params.items()]
        if self._start_step:
            given.append(f"start_step={self._start_step}")
        if self._start_time is not None:
            given.append(f"start_time={self._start_time:g}")
        if self.boundscheck:
            given.append("boundscheck=True")
        if not self.replayable:
            given.append("replayable=False")
        return f"{type(self).__name__}({', '.join([str(self._shape), *given])})"


def _check_shape(shape: object, what: str) -> tuple[int, ...]:
    if is_integer(shape):
        shape = (shape,)
    if not isinstance(shape, tuple | list) or not 1 <= len(shape) <= 3:
        msg = f"{what} needs a shape of one to three grid axes such as (256, 256), got {shape!r}"
        raise ValueError(msg)
    if not all(map(is_integer, shape)):
        msg = f"{what} needs a shape of integers, got {shape!r}"
        raise TypeError(msg)
    sizes = tuple(map(int, shape))
    if not all(3 <= n < 2**31 for n in sizes):
        msg = f"{what} needs at least 3 grid points along every axis, and less than 2**31, got {sizes}"
        raise ValueError(msg)
    if math.prod(sizes) >= 2**40:
        msg = (
            f"{what} with {math.prod(sizes)} grid points is too large: it must have less than 2**40"
        )
        raise ValueError(msg)
    return sizes


def _check_params(params: Mapping[str, float]) -> dict[str, float]:
    if len(params) > MAX_PARAMS:
        msg = f"{len(params)} parameters are too many: an actor has at most {MAX_PARAMS}"
        raise ValueError(msg)
    checked = {}
    for name, value in params.items():
        check_name(name, "parameter name")
        checked[name] = check_number(value, f"parameter {name}")
    return checked
