"""A part of an actor's grid, as a session reads and writes it, and as links copy it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np

from ringnb._support.checks import check_name, is_integer
from ringnb.actors.base import Actor

__all__ = ["Place", "Region"]


class Place(NamedTuple):
    """Where a region lies in the state of one actor."""

    level: int  # 0: now, 1: the one before it
    number: int  # of the field
    first: tuple[int, int, int]  # cell along z, y, x
    cells: tuple[int, int, int]  # how many along z, y, x
    shape: tuple[int, ...]  # along the axes that the grid has
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


@final
@dataclass(frozen=True, init=False)
class Region:
    """A box of cells of one field.

    Parameters
    ----------
    field : str
        The field, by the name under which a checkpoint stores it: of a wave also
        ``"pressure_previous"``, the level before the present one.
    *slices : slice
        The cells along each axis, in the order of the actor's shape, as in
        ``Region("pressure", slice(0, 2))`` or ``Region("pressure", *np.s_[:, 510:])``. Axes that are
        left out are taken whole. They count from the beginning and have no steps.

    Attributes
    ----------
    field : str
        The field.
    bounds : tuple of (int or None, int or None)
        First cell and the one behind the last along each axis, as given.

    Raises
    ------
    TypeError, ValueError
        If the field's name is none, or a slice is none, is negative, or has a step. Whether a region
        lies in an actor's grid is checked where it is used.
    """

    field: str
    bounds: tuple[tuple[int | None, int | None], ...]

    def __init__(self, field: str, *slices: slice) -> None:
        object.__setattr__(self, "field", check_name(field, "field"))
        object.__setattr__(self, "bounds", tuple(map(_bounds_of, slices)))

    def place_in(self, actor: Actor) -> Place:
        """Return where the region lies in an actor's state.

        Parameters
        ----------
        actor : Actor
            The actor.

        Returns
        -------
        Place
            Level, field and cells.

        Raises
        ------
        ValueError
            If the actor has no such field, or the region is empty or lies outside its grid.
        """
        if self.field not in actor.stored_fields:
            names = ", ".join(actor.stored_fields)
            msg = f"{self!r}: {actor.kernel_type} has no field {self.field!r}; it has {names}"
            raise ValueError(msg)
        if len(self.bounds) > len(actor.shape):
            msg = (
                f"{self!r} has {len(self.bounds)} slices, the grid of {actor.kernel_type} has "
                f"{len(actor.shape)} axes {actor.dims}: give one slice per axis at most"
            )
            raise ValueError(msg)
        first, count = [0] * (3 - len(actor.shape)), [1] * (3 - len(actor.shape))
        whole = ((None, None),) * (len(actor.shape) - len(self.bounds))
        for (start, stop), n, axis in zip(
            (*self.bounds, *whole), actor.shape, actor.dims, strict=True
        ):
            begin, end = 0 if start is None else start, n if stop is None else stop
            if not begin < end <= n:
                what = "is empty" if begin >= end else "lies outside the grid"
                msg = (
                    f"{self!r} {what} along {axis}: cells {begin}..{end - 1} of a grid of shape "
                    f"{actor.shape}; 0 <= start < stop <= {n} is allowed"
                )
                raise ValueError(msg)
            first.append(begin)
            count.append(end - begin)
        level, number = divmod(actor.stored_fields.index(self.field), len(actor.fields))
        return Place(
            level,
            number,
            (first[0], first[1], first[2]),
            (count[0], count[1], count[2]),
            tuple(count[3 - len(actor.shape) :]),
            actor.dtypes[number],
        )

    def __str__(self) -> str:
        """Return it as an index of the field."""
        return f"{self.field}[{', '.join(_text(*b) for b in self.bounds) or ':'}]"

    def __repr__(self) -> str:
        """Return the call that would make it."""
        slices = (
            f"slice({start}, {stop})" if start is not None else f"slice({stop})"
            for start, stop in self.bounds
        )
        return f"Region({', '.join((repr(self.field), *slices))})"


def _text(start: int | None, stop: int | None) -> str:
    return f"{'' if start is None else start}:{'' if stop is None else stop}"


def _bounds_of(given: object) -> tuple[int | None, int | None]:
    if not isinstance(given, slice):
        remedy = "; write slice(n, n + 1) for cell n, counted from 0" if is_integer(given) else ""
        msg = f"a region is made of slices, got {given!r} ({type(given).__name__}){remedy}"
        raise TypeError(msg)
    for what, number in (("start", given.start), ("stop", given.stop), ("step", given.step)):
        if number is not None and not is_integer(number):
            msg = f"{what} of {given!r} must be an integer or None, got {number!r}"
            raise TypeError(msg)
        if number is not None and number < 0 and what != "step":
            msg = f"{given!r} counts from the end, a region counts cells from 0: give their numbers"
            raise ValueError(msg)
    if given.step not in (None, 1):
        msg = f"{given!r} has the step {given.step}, a region has none: read it whole, or in parts"
        raise ValueError(msg)
    return (
        None if given.start is None else int(given.start),
        None if given.stop is None else int(given.stop),
    )
