"""A field of a checkpoint as a lazy array: chunks are read, and checked, when an index touches them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import EllipsisType
from typing import Any, Protocol, final

import numpy as np
import numpy.typing as npt

from ringnb.checkpoint.storage.format import FieldLayout

__all__ = ["FieldArray", "FieldReader"]


class FieldReader(Protocol):
    """What reads, and checks, the chunks of a field: `Reader`, or that of a part of a cut."""

    def layout(self, field: str) -> FieldLayout:
        """Return how a field is stored; KeyError if it is not one."""

    def check_sizes(self, layout: FieldLayout, numbers: range | list[int]) -> None:
        """Compare the lengths of chunks with what the metadata says."""

    def read_chunk(self, layout: FieldLayout, number: int, out: npt.NDArray[np.uint8]) -> None:
        """Read the chunk of that number into memory."""

    def read_field(self, field: str, out: npt.NDArray[Any]) -> None:
        """Read a whole field."""


@final
class FieldArray:
    """One field of a checkpoint, not read yet: what ``checkpoint[name]`` is.

    Notes
    -----
    Integers, slices, ``...`` and ``None`` read only the chunks they touch; any other index reads the
    whole field first. Damage is `CheckpointCorrupt`, a retired checkpoint `CheckpointNotFound`; a
    lost chunk is never taken for zeros.
    """

    def __init__(self, reader: FieldReader, name: str) -> None:
        self._reader = reader
        self._layout = reader.layout(name)

    def __reduce__(self) -> tuple[Any, ...]:
        """Have the checkpoint opened where it is unpickled."""
        return FieldArray, (self._reader, self.name)

    @property
    def name(self) -> str:
        """The field's name."""
        return self._layout.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self._layout.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type, little-endian."""
        return self._layout.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._layout.shape)

    @property
    def nbytes(self) -> int:
        """Logical bytes."""
        return self._layout.nbytes

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._layout.nbytes // self._layout.dtype.itemsize

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return self._layout.chunk_shape

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes."""
        return self._layout.dims

    @property
    def attrs(self) -> Mapping[str, Any]:
        """``units`` and ``long_name``, where given."""
        return dict(self._layout.attrs)

    def __len__(self) -> int:
        """Return the length of the first axis."""
        if not self.shape:
            msg = "len() of a field without axes"
            raise TypeError(msg)
        return self.shape[0]

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        """Read the whole field."""
        if copy is False:
            msg = "a stored field cannot be viewed without copying it into memory"
            raise ValueError(msg)
        out = np.empty(self.shape, self.dtype)
        self._reader.check_sizes(self._layout, range(self._layout.n_chunks))
        self._reader.read_field(self.name, out)
        return out if dtype is None else out.astype(dtype, copy=False)

    def __getitem__(self, index: Any) -> Any:
        """Read what an index selects."""
        items = index if isinstance(index, tuple) else (index,)
        if not all(_is_basic(i) for i in items):
            return np.asarray(self)[index]
        axes = _expand(items, self.ndim)
        if axes is None:
            return np.empty((0,) * self.ndim)[index]  # NumPy raises the error, in its own words
        box: list[tuple[int, int]] = []
        local: list[Any] = []
        remaining = iter(range(self.ndim))
        for item in axes:
            if item is None:
                local.append(None)
                continue
            axis = next(remaining)
            low, high, moved = _bounds(item, axis, self.shape[axis], self.chunks[axis])
            box.append((low, high))
            local.append(moved)
        return self._read_box(box)[tuple(local)]

    def _read_box(self, box: list[tuple[int, int]]) -> npt.NDArray[Any]:
        """Read the chunks that cover a box; `box` counts in chunks along every axis."""
        layout = self._layout
        lows = [low * c for (low, _), c in zip(box, self.chunks, strict=True)]
        highs = [
            min(high * c, n) for (_, high), c, n in zip(box, self.chunks, self.shape, strict=True)
        ]
        indices = list(itertools.product(*(range(low, high) for low, high in box)))
        numbers = [int(np.ravel_multi_index(i, layout.grid)) if i else 0 for i in indices]
        self._reader.check_sizes(layout, numbers)  # before memory is taken
        out = np.empty([h - lo for lo, h in zip(lows, highs, strict=True)], self.dtype)
        for index, number in zip(indices, numbers, strict=True):
            extent = [
                (i * c, min((i + 1) * c, n))
                for i, c, n in zip(index, self.chunks, self.shape, strict=True)
            ]
            data = np.empty([b - a for a, b in extent], self.dtype)
            self._reader.read_chunk(layout, number, data.reshape(-1).view(np.uint8))
            part = tuple(slice(a - lo, b - lo) for (a, b), lo in zip(extent, lows, strict=True))
            out[part] = data
        return out

    def __repr__(self) -> str:
        """Describe the field without reading it."""
        return f"<FieldArray {self.name!r}: {self.shape} {self.dtype}, not read>"


def _is_basic(item: object) -> bool:
    if item is None or isinstance(item, slice | EllipsisType):
        return True
    return isinstance(item, int | np.integer) and not isinstance(item, bool)


def _expand(items: tuple[Any, ...], ndim: int) -> list[Any] | None:
    """Return an index with one entry per axis (``None`` adds one), or None if it has too many."""
    used = sum(1 for i in items if i is not None and i is not Ellipsis)
    ellipses = sum(1 for i in items if i is Ellipsis)
    if used > ndim or ellipses > 1:
        return None
    if not ellipses:
        items = (*items, Ellipsis)
    out: list[Any] = []
    for item in items:
        out += [slice(None)] * (ndim - used) if item is Ellipsis else [item]
    return out


def _bounds(item: Any, axis: int, n: int, chunk: int) -> tuple[int, int, Any]:
    """Return the first and last-plus-one chunk that an index touches, and the index within them."""
    if isinstance(item, slice):
        picked = range(*item.indices(n))
        if not picked:
            return 0, 0, slice(0, 0)
        low, high = min(picked) // chunk, max(picked) // chunk + 1
        origin = low * chunk
        stop: int | None = picked.stop - origin
        if picked.step < 0 and picked.stop - origin < 0:
            stop = None
        return low, high, slice(picked.start - origin, stop, picked.step)
    i = int(item)
    if not -n <= i < n:
        msg = f"index {i} is out of bounds for axis {axis} with size {n}"
        raise IndexError(msg)
    i %= n
    return i // chunk, i // chunk + 1, i % chunk
