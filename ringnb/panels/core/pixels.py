"""Pictures as one byte per cell: 0 is a value that is not finite, 1 to 255 are low to high.

The page colours them (`static/pixels.js`), so that another colour map needs no message and a picture
fits the page's theme. A byte is packed as its difference from what its neighbours predict, then
deflated: a third of the time of a PNG, and no larger.
"""

from __future__ import annotations

import base64
import functools
import json
import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import ListedColormap

from ringnb.checkpoint.drawable import TWO_COLOURS, ValueRange, value_range

__all__ = [
    "MAPS",
    "Pixels",
    "Summary",
    "lookup_tables",
    "pack",
    "range_of",
    "stride_of",
    "summarize",
    "tables_script",
    "thin",
]

MAPS = ("viridis", "cividis", "magma", "inferno", "gray", "PuOr_r", "berlin", "two")


@functools.cache
def lookup_tables() -> dict[str, bytes]:
    """Return the colours of the bytes 1 to 255, red, green and blue of each, by the map's name."""
    levels = np.linspace(0.0, 1.0, 255)
    maps = {name: colormaps[name] for name in MAPS if name != "two"}
    return {
        name: colours(levels, bytes=True)[:, :3].tobytes()
        for name, colours in (*maps.items(), ("two", ListedColormap(list(TWO_COLOURS))))
    }


def tables_script() -> str:
    """Return the tables as a line of JavaScript, for `static/pixels.js`."""
    tables = {name: base64.b64encode(data).decode() for name, data in lookup_tables().items()}
    return f"const LUTS = {json.dumps(tables)};"


class Summary(NamedTuple):
    """What is said of the values of an array in words. Numbers are nan if no value is finite."""

    low: float
    high: float
    mean: float
    peak: tuple[int, ...]  # the index of the largest in magnitude, of the finite ones
    bad: int  # how many are not finite


def summarize(values: npt.NDArray[np.generic]) -> Summary:
    """Summarize an array of numbers."""
    finite = np.isfinite(values)
    bad = int(values.size - np.count_nonzero(finite))
    if bad == values.size:
        return Summary(np.nan, np.nan, np.nan, (0,) * values.ndim, bad)
    shown = values if values.dtype.kind == "f" else values.astype(np.float64)
    if bad:
        shown = np.where(finite, shown, 0)
    where = True if not bad else finite
    low, high = shown.min(initial=np.inf, where=where), shown.max(initial=-np.inf, where=where)
    mean = shown.mean(dtype=np.float64, where=where)
    # The first of the largest in magnitude is the first of the highest or of the lowest.
    at = min(
        int(shown.argmin() if side == low else shown.argmax())
        for side in (low, high)
        if abs(side) == max(abs(low), abs(high))
    )
    peak = tuple(int(i) for i in np.unravel_index(at, values.shape))
    return Summary(float(low), float(high), float(mean), peak, bad)


def range_of(
    *planes: npt.NDArray[np.generic], extent: tuple[float, float] | None = None
) -> ValueRange:
    """Return the range of pictures that are looked at, which takes in `extent`."""
    if extent is None:
        return value_range(planes)
    return value_range([*planes, np.array(extent).astype(planes[0].dtype)])


class Pixels(NamedTuple):
    """A plane as bytes. Pixel (i, j) stands for the cells from (i, j) times `stride` on."""

    data: npt.NDArray[np.uint8]  # (rows, columns)
    stride: int


def stride_of(shape: tuple[int, ...], side: int) -> int:
    """Return how many cells along either axis a pixel stands for."""
    return max(1, *(-(-n // side) for n in shape))


def thin(
    values: npt.NDArray[np.generic],
    span: ValueRange,
    side: int,
    *,
    extremes: bool = False,
    stride: int = 0,
) -> Pixels:
    """Turn a plane into bytes, at most `side` along either axis, or thinned by a `stride` that is given.

    A pixel has the value of its middle cell, or with `extremes` of that with the largest magnitude; it
    is 0 if any of its cells is not finite, so that thinning hides none.
    """
    stride = stride or stride_of(values.shape, side)
    plane, bad = values, ~np.isfinite(values)
    if stride > 1:
        clean = np.where(bad, 0, values) if extremes and bad.any() else values
        bad = _blocks(np.logical_or, bad, stride)
        if extremes:
            highest = _blocks(np.maximum, clean, stride)
            lowest = _blocks(np.minimum, clean, stride)
            plane = np.where(np.abs(lowest) > np.abs(highest), lowest, highest)
        else:
            middles = [
                np.minimum(np.arange(0, n, stride) + stride // 2, n - 1) for n in values.shape
            ]
            plane = values[np.ix_(*middles)]
    # Halves: the difference of two huge values could not be held.
    low = 0.5 * span.low
    scale = 254.0 / (0.5 * span.high - low)
    with np.errstate(invalid="ignore", over="ignore"):
        level = (0.5 * plane.astype(np.float64) - low) * scale
        level = np.clip(np.rint(np.where(bad, 0.0, level)), 0.0, 254.0)
    data = level.astype(np.uint8) + np.uint8(1)
    data[bad] = 0
    return Pixels(data, stride)


def _blocks(
    ufunc: np.ufunc, values: npt.NDArray[np.generic], stride: int
) -> npt.NDArray[np.generic]:
    """Reduce blocks of `stride` by `stride` cells; those at the ends are smaller."""
    # Whole strides at a time: `ufunc.reduceat`, a few cells at a time, takes ten times as long.
    for axis in (1, 0):
        parts = [
            values[(slice(None),) * axis + (slice(first, None, stride),)]
            for first in range(min(stride, values.shape[axis]))
        ]
        found = parts[0].copy()
        for part in parts[1:]:
            there = found[: len(part)] if axis == 0 else found[:, : part.shape[1]]
            ufunc(there, part, out=there)
        values = found
    return values


def pack(data: npt.NDArray[np.uint8]) -> bytes:
    """Compress pixels of shape (rows, columns); `static/pixels.js` undoes it."""
    # Differences modulo 256, of rows and then of columns: a smooth field leaves few values, around zero.
    change = data.copy()
    change[1:] -= data[:-1]
    rest = change.copy()
    rest[:, 1:] -= change[:, :-1]
    deflate = zlib.compressobj(6, strategy=zlib.Z_RLE)  # there are no repeated strings to look for
    return deflate.compress(rest.tobytes()) + deflate.flush()
