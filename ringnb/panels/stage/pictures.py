"""What a picture shows, in bytes and in words: of one checkpoint, and of two that are compared.

Functions of checkpoints: no widget, no thread. `static/stage.js` draws what they return.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ringnb.checkpoint.drawable import (
    Cut,
    ValueRange,
    compare,
    cut_of,
    quantity,
    simulated,
    spacing,
    step_seconds,
    when,
)
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.panels.core.pixels import Summary, pack, range_of, stride_of, summarize, thin

__all__ = ["LARGE", "SMALL", "Drawn", "Extent", "Slice", "View", "describe", "draw", "draw_against"]

SMALL, LARGE = 512, 1024  # pixels a side, at most
_LINE = 1024  # points of a line, at most
_LEAST_SIDE = 64
# To guess how large a picture will be: so many strips of so many rows, and how much it must be above.
_STRIPS, _STRIP, _SURE = 8, 8, 1.2

Extent = tuple[float, float]


class Slice(NamedTuple):
    """Which plane of a field of three axes is shown."""

    axis: int = 0
    at: int | None = None  # the middle one


class View(NamedTuple):
    """How a picture is made."""

    field: str
    slice: Slice = Slice()
    side: int = SMALL
    most_bytes: int = 1 << 30  # it is thinned further until it is no larger


class Drawn(NamedTuple):
    """A picture for the page."""

    info: dict[str, Any]
    pixels: bytes
    more: bytes = b""  # a second picture, of the same size and range

    def page_info(self) -> dict[str, Any]:
        """Return the info with the checksums of the pixels, by which the page knows that they came."""
        parts = [self.pixels, self.more] if self.more else [self.pixels]
        return {**self.info, "sums": [int.from_bytes(part[-4:], "big") for part in parts]}


def draw(
    checkpoint: Checkpoint, view: View, extent: Extent | None = None
) -> tuple[Drawn, Extent | None]:
    """Draw a field, with a range that takes in `extent`; return also the lowest and highest value shown.

    Raises as `cut_of`, and CheckpointCorrupt or CheckpointNotFound.
    """
    cut, plane = _read(checkpoint, view)
    summary = summarize(plane)
    seen = None if summary.bad == plane.size else (summary.low, summary.high)
    span = range_of(plane, extent=extent)
    pixels, grid = _packed(plane, span, view)
    info = {
        **_grid(checkpoint, view.field, cut, plane),
        **grid,
        **_span(span),
        "bad": summary.bad,
        "size": plane.size,
        "words": describe(checkpoint, view.field, cut, plane.shape, summary),
    }
    return Drawn(info, pixels), seen


def draw_against(
    this: Checkpoint, that: Checkpoint, view: View, how: str, extent: Extent | None = None
) -> Drawn:
    """Draw the difference of two, or with `how` ``"that"`` the other one, or with ``"swipe"`` both.

    The colours of the last two take in `extent`, as those of the picture beside them do.
    Norms and verdict are those of the whole field. Raises as `draw`, and ValueError if shapes differ.
    """
    cut, plane = _read(this, view)
    found = compare(that, this, view.field)
    unit = this[view.field].attrs.get("units", "1")
    if found.same:
        verdict = "Equal in every bit"
    elif math.isfinite(found.largest):
        shown = "" if unit in ("1", "") else f" {unit}"
        verdict = f"Largest {found.largest:.3g}{shown}, rms {found.rms:.3g}"
    else:
        verdict = "No cell is finite in both"
    if not found.same and found.largest == 0 and not found.bad:
        verdict += ": equal in value, not in every bit"
    names = {
        "difference": f"this minus {that.name}",
        "swipe": f"left {that.name}, right this",
    }
    changed = [
        k for k in {**this.params, **that.params} if this.params.get(k) != that.params.get(k)
    ]
    same = "same parameters" if this.params else ""  # a recorder's may have none
    info = {
        **_grid(this, view.field, cut, plane),
        "name": that.name,
        "step": that.step,
        "how": how,
        "bad": found.bad,
        "verdict": verdict,
        "names": names.get(how, that.name),
        "params": f"parameters differ: {', '.join(changed)}" if changed else same,
        "words": f"{this.name} and {that.name}, {view.field}: {verdict}",
    }
    if how == "difference":
        limit = found.largest if found.largest > 0 else 1.0  # nan, too, is not
        ends = np.array([-limit, limit])
        span = range_of(ends.astype(plane.dtype) if plane.dtype.kind == "f" else ends)
        pixels, grid = _packed(found.whole[cut.where], span, view, extremes=True)
        return Drawn({**info, **grid, **_span(span)}, pixels)
    other = _read(that, view)[1]
    span = range_of(plane, other, extent=extent)
    pixels, grid = _packed(other, span, view)
    more = b""
    if how == "swipe":  # both of one size: the larger of the two decides
        more, of_this = _packed(plane, span, view)
        if of_this != grid:
            side = max(1, min(max(g["rows"], g["columns"]) for g in (grid, of_this)))
            view = view._replace(side=side, most_bytes=1 << 30)
            (pixels, grid), (more, _) = (_packed(p, span, view) for p in (other, plane))
    return Drawn({**info, **grid, **_span(span)}, pixels, more)


def describe(
    checkpoint: Checkpoint, name: str, cut: Cut, shape: tuple[int, ...], summary: Summary
) -> str:
    """Say in words what a field looks like; the same values give the same words."""
    size = " by ".join(map(str, shape))
    head = f"{name} of {checkpoint.kernel_id} at {when(checkpoint)}{cut.words}: {size} values"
    if np.isnan(summary.low):
        return f"{head}, none of them finite"
    where = ", ".join(f"{d} = {i}" for d, i in zip(cut.dims, summary.peak, strict=True))
    return (
        f"{head} from {summary.low:.4g} to {summary.high:.4g}, mean {summary.mean:.4g}; largest in "
        f"magnitude at {where}" + (f"; {summary.bad:,} are not finite" if summary.bad else "")
    )


def _read(checkpoint: Checkpoint, view: View) -> tuple[Cut, npt.NDArray[Any]]:
    n = checkpoint[view.field].shape
    axis, index = view.slice
    if index is not None and len(n) == 3:
        index = min(index, n[axis] - 1)  # the one before may have had more planes along its axis
    cut = cut_of(checkpoint, view.field, axis, index)
    return cut, np.asarray(checkpoint[view.field][cut.where])


def _packed(
    plane: npt.NDArray[Any], span: ValueRange, view: View, *, extremes: bool = False
) -> tuple[bytes, dict[str, int]]:
    """Pack a plane or a line; return also what the page needs to unpack it."""
    line = plane.ndim == 1
    side = _LINE if line else view.side
    rows = np.atleast_2d(plane)
    extremes = extremes or line  # a line that was thinned keeps its peaks
    while side > _LEAST_SIDE and _is_too_large(rows, span, side, view.most_bytes, extremes):
        side //= 2
    while True:
        data, stride = thin(rows, span, side, extremes=extremes)
        packed = pack(data)
        if len(packed) <= view.most_bytes or side <= _LEAST_SIDE:
            rows, columns = data.shape
            return packed, {"rows": rows, "columns": columns, "stride": stride}
        side //= 2


def _is_too_large(
    plane: npt.NDArray[Any], span: ValueRange, side: int, most_bytes: int, extremes: bool
) -> bool:
    """Return whether a plane, to judge by a part of its rows, would not fit when it is packed."""
    stride = stride_of(plane.shape, side)
    rows, columns = (-(-n // stride) for n in plane.shape)
    high = _STRIP * stride
    if rows * columns <= most_bytes or rows < 2 * _STRIPS * _STRIP:
        return False
    tops = np.linspace(0, len(plane) - high, _STRIPS).astype(int)
    part = np.concatenate([plane[top : top + high] for top in tops])
    # The plane's stride: the part, of fewer rows, would be thinned less.
    size = len(pack(thin(part, span, side, extremes=extremes, stride=stride).data))
    return bool(size * rows > _SURE * most_bytes * _STRIPS * _STRIP)


def _span(span: ValueRange) -> dict[str, Any]:
    return {"low": span.low, "high": span.high, "kind": span.kind}


def _grid(checkpoint: Checkpoint, name: str, cut: Cut, plane: npt.NDArray[Any]) -> dict[str, Any]:
    stored = checkpoint[name]
    at = cut.words.removeprefix(", ")
    index = int(at.rsplit(" ", 1)[-1]) if at else None
    places = [i for i, d in enumerate(stored.dims) if d not in cut.dims]
    place = places[0] if places else None
    return {
        "name": checkpoint.name,
        "step": checkpoint.step,
        "time": simulated(checkpoint.time, step_seconds(checkpoint)),
        "run": checkpoint.run,
        "actor": checkpoint.kernel_id,
        "field": name,
        "quantity": quantity(checkpoint, name),
        "dims": list(cut.dims),
        "shape": list(plane.shape),
        "whole": list(stored.shape),
        # Of a slice: its axis by name, that axis's place in an index of a cell, and where it lies.
        "axis": None if place is None else stored.dims[place],
        "place": place,
        "index": index,
        "cell": spacing(checkpoint) or 0.0,
        "at": f"{checkpoint.created_at:%H:%M:%S}" if checkpoint.created_at else "",
    }
