"""The on-disk format, version 1: names, chunk grid, array documents. No input or output happens here.

A checkpoint is a Zarr v3 group. Every field is one array of slab chunks: a chunk is a contiguous run
of the array in C order, encoded as little-endian bytes followed by their CRC-32C, so that writing one
is a matter of handing memory to the operating system. The group's document carries the consolidated
metadata of its arrays and is written last: it is what makes a checkpoint exist; see
`ringnb.checkpoint.storage.document`.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ringnb._support.checks import check_name

__all__ = [
    "ATTRIBUTE",
    "DOCUMENT",
    "DTYPES",
    "FORMAT",
    "Chunk",
    "FieldLayout",
    "check_checkpoint_name",
    "checkpoint_keys",
    "dump",
    "is_slab",
    "layout_fields",
    "looks_like_checkpoint",
    "root_document",
]

FORMAT = 1
ATTRIBUTE = "ringnb"
DOCUMENT = "zarr.json"
CRC_BYTES = 4
_CHUNK_BYTES = 4 << 20
_LARGE_CHUNK_BYTES = 16 << 20
_LARGE_STATE_BYTES = 512 << 20
_NAME = re.compile(r"(?!\.|__)[A-Za-z0-9._-]{1,240}")
_CHECKPOINT_NAME = re.compile(r".+_\d+_step_\d+(\.\d+)?")
_DEFAULT_DIMS = ("z", "y", "x")
DTYPES = frozenset(
    [
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    ]
)


def check_checkpoint_name(name: object) -> str:
    """Check a name that is to become a key of a store.

    Parameters
    ----------
    name : object
        The candidate.

    Returns
    -------
    str
        The name.

    Raises
    ------
    TypeError
        If it is not a string.
    ValueError
        If it could leave the store, or is reserved.
    """
    if not isinstance(name, str):
        msg = f"a checkpoint's name must be a str, got {name!r} ({type(name).__name__})"
        raise TypeError(msg)
    if not _NAME.fullmatch(name) or name.lower() == DOCUMENT:
        msg = (
            f"checkpoint name {name!r} is not allowed: use 1 to 240 ASCII letters, digits, '.', '_' "
            f"or '-', not starting with '.' or '__', and not {DOCUMENT!r}"
        )
        raise ValueError(msg)
    return name


def checkpoint_keys(layouts: Iterable[FieldLayout]) -> set[str]:
    """Return the keys of which a checkpoint consists, relative to it.

    Parameters
    ----------
    layouts : iterable of FieldLayout
        Its fields.

    Returns
    -------
    set of str
        The documents of the group and of every array, and every chunk.
    """
    keys = {DOCUMENT}
    for layout in layouts:
        keys.add(f"{layout.name}/{DOCUMENT}")
        keys.update(f"{layout.name}/{chunk.key}" for chunk in layout.chunks())
    return keys


def looks_like_checkpoint(name: str) -> bool:
    """Return whether a name has the form that a manager gives."""
    return _CHECKPOINT_NAME.fullmatch(name) is not None


class Chunk(NamedTuple):
    """One chunk of a field.

    Attributes
    ----------
    key : str
        Its file name below the field.
    start, stop : int
        The elements it holds, in C order.
    pad_bytes : int
        Zero bytes behind them: Zarr stores a chunk at the edge in full.
    """

    key: str
    start: int
    stop: int
    pad_bytes: int


@dataclass(frozen=True)
class FieldLayout:
    """How one field is cut into chunks and described.

    Attributes
    ----------
    name : str
        The field.
    shape, chunk_shape : tuple of int
        Of the array and of a chunk.
    dtype : numpy.dtype
        Little-endian.
    dims : tuple of str
        Names of the axes.
    attrs : mapping
        ``units`` and ``long_name``, if given.
    """

    name: str
    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    dims: tuple[str, ...]
    attrs: Mapping[str, Any]

    @property
    def nbytes(self) -> int:
        """Logical bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def chunk_nbytes(self) -> int:
        """Bytes of a chunk's payload on disk, padding included, checksum not."""
        return math.prod(self.chunk_shape) * self.dtype.itemsize

    @property
    def grid(self) -> tuple[int, ...]:
        """Chunks along every axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk_shape, strict=True))

    @property
    def n_chunks(self) -> int:
        """Chunks in all."""
        return math.prod(self.grid)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks in C order."""
        for index in itertools.product(*(range(n) for n in self.grid)):
            yield self.chunk(index)

    def chunk(self, index: tuple[int, ...]) -> Chunk:
        """Return one chunk by its place in the grid.

        Parameters
        ----------
        index : tuple of int
            One number per axis.

        Returns
        -------
        Chunk
            Where it lies.
        """
        start = 0
        count = 1
        for i, n, c in zip(index, self.shape, self.chunk_shape, strict=True):
            # Axes before the one that is cut have chunks of length 1, those behind are whole, so
            # the run that begins at the chunk's first element is contiguous.
            start = start * n + i * c
            count *= min(c, n - i * c)
        full = math.prod(self.chunk_shape)
        key = ".".join(["c", *map(str, index)])
        return Chunk(key, start, start + count, (full - count) * self.dtype.itemsize)

    def document(self) -> dict[str, Any]:
        """Return the array's Zarr document."""
        kind = self.dtype.kind
        fill: Any = {"b": False, "f": 0.0, "c": [0.0, 0.0]}.get(kind, 0)
        return {
            "shape": list(self.shape),
            "data_type": self.dtype.name,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": list(self.chunk_shape)},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": fill,
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "crc32c"},
            ],
            "attributes": dict(self.attrs),
            "dimension_names": list(self.dims),
            "zarr_format": 3,
            "node_type": "array",
            "storage_transformers": [],
        }


def layout_fields(
    fields: Mapping[str, npt.NDArray[Any]],
    field_attrs: Mapping[str, Mapping[str, Any]],
    chunk_bytes: int | None = None,
) -> list[FieldLayout]:
    """Decide how fields are cut and described.

    Parameters
    ----------
    fields : mapping of str to numpy.ndarray
        The arrays.
    field_attrs : mapping
        Per field ``units``, ``long_name``, ``dims``; all optional.
    chunk_bytes : int, optional
        Size of a chunk to aim for; by default it follows from the size of the state.

    Returns
    -------
    list of FieldLayout
        In the order of `fields`. Dimension names are made distinct where lengths differ.

    Raises
    ------
    TypeError
        If a dtype has no Zarr counterpart.
    ValueError
        If a name is not allowed, or names differ only in case.
    """
    total = sum(math.prod(a.shape) * a.dtype.itemsize for a in fields.values())
    target = chunk_bytes or (_LARGE_CHUNK_BYTES if total >= _LARGE_STATE_BYTES else _CHUNK_BYTES)
    if len({name.lower() for name in fields}) != len(fields):
        msg = (
            f"field names {sorted(fields)} differ only in case: some file systems cannot hold both"
        )
        raise ValueError(msg)
    lengths: dict[str, int] = {}
    layouts = []
    for name, array in fields.items():
        if check_name(name, "field name").lower() == DOCUMENT:
            msg = f"field name {name!r} is reserved: choose another"
            raise ValueError(msg)
        if array.dtype.name not in DTYPES:
            msg = f"field {name!r} has dtype {array.dtype}, which Zarr cannot store; convert it"
            raise TypeError(msg)
        given = field_attrs.get(name, {})
        dims = _dimension_names(name, array.shape, given.get("dims"), lengths, set(fields))
        layouts.append(
            FieldLayout(
                name,
                tuple(map(int, array.shape)),
                _chunk_shape(array.shape, array.dtype.itemsize, target),
                array.dtype.newbyteorder("<"),
                dims,
                {k: str(given[k]) for k in ("units", "long_name") if given.get(k) is not None},
            )
        )
    return layouts


def _chunk_shape(shape: tuple[int, ...], itemsize: int, target: int) -> tuple[int, ...]:
    chunk = [max(1, n) for n in shape]
    inner = itemsize * math.prod(chunk)
    for axis, n in enumerate(chunk):
        if inner <= target:
            break
        row = inner // n
        if row > target:
            chunk[axis] = 1
            inner = row
        else:
            pieces = -(-n // (target // row))
            chunk[axis] = -(-n // pieces)  # equal pieces: little padding at the edge
            break
    return tuple(chunk)


def _dimension_names(
    field: str,
    shape: tuple[int, ...],
    given: Any,
    lengths: dict[str, int],
    taken: set[str],
) -> tuple[str, ...]:
    wanted = list(given) if given is not None and len(given) == len(shape) else []
    if any(not isinstance(dim, str) or not dim for dim in wanted):
        msg = f"dims of field {field!r} must be non-empty str, one per axis, got {given!r}"
        raise TypeError(msg)
    if not wanted:
        n = len(shape)
        wanted = list(_DEFAULT_DIMS[3 - n :]) if n <= 3 else [f"dim_{i}" for i in range(n)]
    names: list[str] = []
    for dim, length in zip(wanted, shape, strict=True):
        candidates = itertools.chain([dim, f"{field}_{dim}"], _numbered(f"{field}_{dim}"))
        name = next(
            c
            for c in candidates
            if c not in taken and c not in names and lengths.get(c, length) == length
        )
        lengths[name] = length
        names.append(name)
    return tuple(names)


def _numbered(stem: str) -> Iterator[str]:
    return (f"{stem}_{i}" for i in itertools.count(2))


def dump(document: Mapping[str, Any]) -> bytes:
    """Render a document as the bytes that are stored.

    Parameters
    ----------
    document : mapping
        JSON values.

    Returns
    -------
    bytes
        Compact ASCII JSON.
    """
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def root_document() -> bytes:
    """Return the document that marks a store as ringnb's."""
    return dump(
        {"attributes": {ATTRIBUTE: {"format": FORMAT}}, "zarr_format": 3, "node_type": "group"}
    )


def is_slab(one: FieldLayout) -> bool:
    """Return whether every chunk is one contiguous run: 1, 1, ..., cut, whole, whole."""
    state = "leading"
    for n, c in zip(one.shape, one.chunk_shape, strict=True):
        whole = c == max(1, n)
        if state == "behind" and not whole:
            return False
        if state == "leading" and c != 1:
            state = "behind"
    return True
