"""What is shown of a checkpoint or a live state: field, slice, range of values, words, units.

Figures and panels share it; it needs no matplotlib, which takes a quarter of a second to import.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ringnb._support.checks import is_integer, is_number
from ringnb.checkpoint.state import State
from ringnb.checkpoint.storage.checkpoint import Checkpoint

__all__ = [
    "TWO_COLOURS",
    "Comparison",
    "Cut",
    "Drawable",
    "ValueRange",
    "axis_label",
    "check_checkpoint",
    "check_checkpoints",
    "compare",
    "cut_of",
    "main_field",
    "pick_field",
    "quantity",
    "seconds",
    "simulated",
    "spacing",
    "step_seconds",
    "time_unit",
    "title_of",
    "value_range",
    "when",
]

TWO_COLOURS = ("#f2ead8", "#26456e")  # of a field of two values, the lower one first
_SI = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))


Drawable: TypeAlias = Checkpoint | State


def check_checkpoint(checkpoint: object) -> Drawable:
    """Return a checkpoint or a live state, or raise TypeError."""
    if not isinstance(checkpoint, Drawable):
        msg = (
            f"a Checkpoint is needed, got {checkpoint!r} ({type(checkpoint).__name__}); "
            "session.storage.load(name) gives one, session.state(slot) the live state"
        )
        raise TypeError(msg)
    return checkpoint


def check_checkpoints(checkpoints: Iterable[object]) -> list[Drawable]:
    """Return a list of checkpoints, or raise TypeError, or ValueError if there is none."""
    if isinstance(checkpoints, Drawable):
        return [checkpoints]
    if isinstance(checkpoints, str) or not isinstance(checkpoints, Iterable):
        msg = f"checkpoints must be several Checkpoint objects, got {checkpoints!r}"
        raise TypeError(msg)
    found = [check_checkpoint(c) for c in checkpoints]
    if not found:
        msg = "there is no checkpoint to draw: take one with session.snapshot(slot)"
        raise ValueError(msg)
    return found


def pick_field(checkpoint: Drawable, name: str | None) -> str:
    """Return a field's name, by default the last not named ``*_previous``; KeyError if unknown."""
    if name is None:
        return main_field(list(checkpoint.fields))
    if name not in checkpoint:
        msg = f"checkpoint {checkpoint.name!r} has no field {name!r}: it has {list(checkpoint.fields)}"
        raise KeyError(msg)
    return name


def main_field(names: Sequence[str]) -> str:
    """Return the field that is shown unless one is named: the last not named ``*_previous``."""
    return ([n for n in names if not n.endswith("_previous")] or names)[-1]


class Cut(NamedTuple):
    """What is drawn of a field: all of a line or a plane, or a slice of a cube."""

    where: Any  # an index into the field
    dims: tuple[str, ...]  # of what is left
    words: str


def cut_of(checkpoint: Drawable, name: str, axis: int = 0, index: int | None = None) -> Cut:
    """Choose what is drawn of a field; ValueError or TypeError if nothing of it can be drawn."""
    stored = checkpoint[name]
    if stored.ndim not in (1, 2, 3) or 0 in stored.shape:
        msg = f"field {name!r} has shape {stored.shape}: fields of one to three axes can be drawn"
        raise ValueError(msg)
    if stored.dtype.kind == "c":
        msg = f"field {name!r} is complex: draw its parts from checkpoint.numpy()"
        raise ValueError(msg)
    named = tuple(checkpoint.field_attrs[name]["dims"])
    if stored.ndim < 3:
        return Cut(..., named, "")
    if isinstance(axis, bool) or axis not in (0, 1, 2):
        msg = f"axis must be 0, 1 or 2, got {axis!r}"
        raise ValueError(msg)
    n = stored.shape[axis]
    at = n // 2 if index is None else index
    if not is_integer(at):
        msg = f"index must be an integer, got {index!r}"
        raise TypeError(msg)
    if not -n <= at < n:
        msg = f"index {at} lies outside axis {axis} of field {name!r}, which has {n} planes"
        raise ValueError(msg)
    at %= n
    where: list[Any] = [slice(None)] * 3
    where[axis] = int(at)
    dims = tuple(d for i, d in enumerate(named) if i != axis)
    return Cut(tuple(where), dims, f", {named[axis]} = {at}")


class Comparison(NamedTuple):
    """A field of two checkpoints, compared in all its values."""

    whole: npt.NDArray[np.float64]  # b - a, of the field's shape
    same: bool  # whether the two are equal in every bit
    largest: float  # magnitude, of what is finite; nan if nothing is
    rms: float
    bad: int  # values that are not finite in one of the two


def compare(a: Drawable, b: Drawable, name: str) -> Comparison:
    """Compare a field of two checkpoints; ValueError if the shapes differ, KeyError if it is missing."""
    first, second = np.asarray(a[name]), np.asarray(b[pick_field(b, name)])
    if first.shape != second.shape:
        msg = (
            f"field {name!r} has shape {first.shape} in {a.name!r} and {second.shape} in {b.name!r}: "
            "only equal shapes can be compared"
        )
        raise ValueError(msg)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities
        whole = np.subtract(second, first, dtype=np.float64)
    same = first.dtype == second.dtype and first.tobytes() == second.tobytes()
    there = np.isfinite(whole)
    finite = whole if there.all() else whole[there]
    largest = float(max(abs(finite.max()), abs(finite.min()))) if finite.size else math.nan
    rms = math.sqrt(float(np.square(finite).mean())) if finite.size else math.nan
    return Comparison(whole, same, largest, rms, whole.size - finite.size)


class ValueRange(NamedTuple):
    """Which values the ends of a colour scale stand for, and what kind of map fits them."""

    low: float
    high: float
    kind: Literal["two", "diverging", "sequential"]


def value_range(arrays: Sequence[npt.NDArray[Any]], limits: Any = None) -> ValueRange:
    """Choose one range for all arrays; ValueError unless limits are two rising finite numbers.

    ``two`` is for integer fields of two values, 0 and 1 or -1 and +1. The range of signed values is
    centred on zero. Values that differ by no more than their type rounds are one: they get a range that
    shows them as flat, not the noise in their last digits.
    """
    finite = [a[np.isfinite(a)] for a in arrays]
    low = min((float(a.min()) for a in finite if a.size), default=0.0)
    high = max((float(a.max()) for a in finite if a.size), default=1.0)
    integers = all(a.dtype.kind in "bui" for a in arrays)
    if integers and high - low <= 2 and limits is None:
        pair = (-1, 1) if low < 0 else (0, 1)
        if set(np.unique(np.concatenate([np.unique(a) for a in arrays])).tolist()) <= set(pair):
            return ValueRange(*pair, "two")
    if limits is not None:
        low, high = _check_limits(limits)
    signed = low < 0 < high
    if signed and limits is None:
        low, high = -max(-low, high), max(-low, high)
    if limits is None and _is_flat(low, high, arrays):
        half = max(0.5, 1e-3 * max(-low, high))  # of a huge value 0.5 would be nothing
        low, high = low - half, high + half
    return ValueRange(low, high, "diverging" if signed else "sequential")


def _is_flat(low: float, high: float, arrays: Sequence[npt.NDArray[Any]]) -> bool:
    """Return whether two ends of arrays differ by no more than rounding."""
    floats = [a.dtype for a in arrays if a.dtype.kind == "f"]
    if not floats:
        return low == high
    eps = max(float(np.finfo(dtype).eps) for dtype in floats)
    # So near to zero arithmetic loses its digits: it is what is left of a field that has died out.
    wide = np.finfo(np.result_type(np.float32, *floats))
    largest = max(abs(low), abs(high))
    return largest < float(wide.tiny) / float(wide.eps) or high - low <= eps * largest


def _check_limits(limits: Any) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in limits)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        msg = f"limits must be two rising finite numbers, got {limits!r}"
        raise ValueError(msg)
    return low, high


def quantity(checkpoint: Drawable, name: str) -> str:
    """Name a field's quantity with its unit."""
    attrs = checkpoint.field_attrs[name]
    unit = attrs.get("units", "1")
    words = attrs.get("long_name", name)
    return f"{words} ({unit})" if unit not in ("1", "") else str(words)


def spacing(checkpoint: Drawable) -> float | None:
    """Return the cell size in metres, if the model has one."""
    return _param(checkpoint, "dx")


def axis_label(checkpoint: Drawable, dim: str) -> str:
    """Label a grid axis: in metres if the model has a cell size, in cells otherwise."""
    return f"{dim} ({'m' if spacing(checkpoint) else 'cells'})"


def step_seconds(checkpoint: Drawable) -> float | None:
    """Return the simulated seconds per step, if the model has any."""
    return _param(checkpoint, "dt")


def _param(checkpoint: Drawable, name: str) -> float | None:
    value = checkpoint.params.get(name)
    return float(value) if is_number(value) else None


def time_unit(per_step: object) -> str:
    """Return the unit of a simulated time; "" for a model in units of its own."""
    return "" if per_step == 1.0 else "s"  # those have a step length of exactly 1


def simulated(time: float | None, per_step: object) -> str:
    """Say a simulated time, of a model with so many seconds per step; "" where a step has no length."""
    if time is None:
        return ""
    return f"t = {seconds(time)}" if time_unit(per_step) else f"t = {time:,.12g}"


def seconds(value: float) -> str:
    """Render a duration with a fitting unit."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} s"
    factor, unit = next(((f, u) for f, u in reversed(_SI) if abs(value) >= f), _SI[0])
    shown = value / factor
    return f"{shown:,.0f} {unit}" if abs(shown) >= 9999.5 else f"{shown:.4g} {unit}"


def when(checkpoint: Drawable) -> str:
    """Say at which step, and simulated time, a checkpoint was taken."""
    time = simulated(checkpoint.time, step_seconds(checkpoint))
    return f"step {checkpoint.step:,}, {time}" if time else f"step {checkpoint.step:,}"


def title_of(checkpoint: Drawable) -> str:
    """Return two lines: the checkpoint's name; its step and simulated time."""
    return f"{checkpoint.name}\n{when(checkpoint)}"
