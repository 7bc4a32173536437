"""The on-disk format, version 1: names, chunks, array documents. No input or output happens here.

A checkpoint is a Zarr v3 group. Every field is one array of slab chunks: a chunk is a contiguous run
of the array in C order, encoded as little-endian bytes followed by their CRC-32C, so that writing one
is a matter of handing copies of it, small enough for the cache, to the operating system. The group's
document is `ringnb.checkpoint.storage.document`'s.

A simulation saves the same fields again and again, so layouts are remembered: `layout_fields` and
`parse_layout` return the same objects for the same fields, and a `FieldLayout` computes what follows
from it once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, final

import google_crc32c
import numpy as np
import numpy.typing as npt

from ringnb._support.checks import check_name, check_str
from ringnb.messages.snapshots import plain_array

__all__ = [
    "ATTRIBUTE",
    "CRC_BYTES",
    "DOCUMENT",
    "DTYPES",
    "FORMAT",
    "MAX_ARRAY_DOCUMENT_BYTES",
    "WORK_AREA",
    "Chunk",
    "EncodedChunk",
    "FieldLayout",
    "Nonfinite",
    "allows_checkpoint_name",
    "check_checkpoint_name",
    "checkpoint_keys",
    "crc32c",
    "dump",
    "layout_fields",
    "own_document",
    "free_name",
    "is_layout",
    "is_stray",
    "looks_like_checkpoint",
    "looks_like_part",
    "parse_layout",
    "marks_store",
    "root_document",
    "summarise_nonfinite",
]

FORMAT = 1
ATTRIBUTE = "ringnb"
DOCUMENT = "zarr.json"
WORK_AREA = ".ringnb"  # inside a store, the directory or prefix that is not a checkpoint
CRC_BYTES = 4
MAX_ARRAY_DOCUMENT_BYTES = 1 << 20
_CHUNK_BYTES = 4 << 20
_LARGE_CHUNK_BYTES = 16 << 20
_LARGE_STATE_BYTES = 512 << 20
_PIECE = 1 << 19  # fits in the second-level cache
_SUMMED = {
    "<f4": "<f4",
    "<c8": "<f4",
    "<f8": "<f8",
    "<c16": "<f8",
}  # real and imaginary parts alike
_NAME = re.compile(r"(?!\.|__)[A-Za-z0-9._-]{1,240}")
_CHECKPOINT_NAME = re.compile(r".+_(\d+|cut)_step_\d+(\.\d+)?")
_FIELD = r"(?!\.|__)[A-Za-z0-9._-]{1,100}"
_PART = re.compile(rf"zarr\.json|{_FIELD}/(zarr\.json|c(\.\d+)*)")
# What systems and file browsers leave in any directory. Hidden files count as such, too.
_STRAYS = frozenset(
    [
        *("lost+found", "@eadir", "#recycle", "thumbs.db", "desktop.ini"),
        *("$recycle.bin", "system volume information"),
    ]
)
_ZARR_2 = frozenset([".zgroup", ".zarray", ".zattrs", ".zmetadata"])  # hidden, but a store
_DEFAULT_DIMS = ("z", "y", "x")
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
DTYPES = frozenset(
    [
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    ]
)


# -- names and documents ---------------------------------------------------------------------------


def free_name(name: str, taken: Callable[[str], bool]) -> str:
    """Return a name, or that with the first suffix ``.2``, ``.3``, … that is not taken."""
    free, suffix = name, 1
    while taken(free):
        suffix += 1
        free = f"{name}.{suffix}"
    return free


def check_checkpoint_name(name: object) -> str:
    """Return a name that may become a key of a store; ValueError if it could leave the store."""
    name = check_str(name, "a checkpoint's name")
    if not allows_checkpoint_name(name):
        msg = (
            f"checkpoint name {name!r} is not allowed: use 1 to 240 ASCII letters, digits, '.', '_' "
            f"or '-', not starting with '.' or '__', and not {DOCUMENT!r}"
        )
        raise ValueError(msg)
    return name


def allows_checkpoint_name(name: str) -> bool:
    """Return whether a checkpoint may have that name."""
    return _NAME.fullmatch(name) is not None and name.lower() != DOCUMENT


def looks_like_part(key: str) -> bool:
    """Return whether a key, relative to a checkpoint, has the form of those that a commit writes."""
    return _PART.fullmatch(key) is not None


def is_stray(name: str) -> bool:
    """Return whether a directory that holds only such names counts as empty: a store may begin there."""
    return (name.startswith(".") and name not in _ZARR_2) or name.lower() in _STRAYS


def looks_like_checkpoint(name: str) -> bool:
    """Return whether a name has the form that a manager gives."""
    return _CHECKPOINT_NAME.fullmatch(name) is not None


def dump(document: Mapping[str, Any]) -> bytes:
    """Render JSON values as the bytes that are stored: compact ASCII, no NaN (ValueError)."""
    return _encode(document).encode()


def root_document(store: str | None) -> bytes:
    """Return the document that marks a store as ringnb's, with the store's id; None: it has none."""
    record = {"format": FORMAT} if store is None else {"format": FORMAT, "id": store}
    return dump({"attributes": {ATTRIBUTE: record}, "zarr_format": 3, "node_type": "group"})


def marks_store(raw: bytes) -> bool:
    """Return whether a document is the one that marks a store, and not a checkpoint's."""
    try:
        record = json.loads(raw)["attributes"][ATTRIBUTE]
        return "format" in record and record.keys() <= {"format", "id"}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


# -- fields and chunks -----------------------------------------------------------------------------


class Chunk(NamedTuple):
    """One chunk: its file name below the field, its elements in C order, zero bytes behind them.

    Zarr stores a chunk at the edge in full, so it is padded.
    """

    key: str
    start: int
    stop: int
    pad_bytes: int


@dataclass(frozen=True)
class FieldLayout:
    """How one field is cut into chunks and described; `attrs` are ``units`` and ``long_name``."""

    name: str
    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    dtype: np.dtype[Any]  # little-endian
    dims: tuple[str, ...]
    attrs: Mapping[str, Any]

    @cached_property
    def nbytes(self) -> int:
        """Logical bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @cached_property
    def chunk_nbytes(self) -> int:
        """Bytes of a chunk's payload on disk, padding included, checksum not."""
        return math.prod(self.chunk_shape) * self.dtype.itemsize

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Chunks along every axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk_shape, strict=True))

    @cached_property
    def n_chunks(self) -> int:
        """Chunks in all: damaged metadata may claim any number, so nothing ever lists them at once."""
        return math.prod(self.grid)

    def chunk(self, number: int) -> Chunk:
        """Return the chunk of that number, in C order of the grid."""
        index: list[int] = []
        for n in reversed(self.grid):
            number, i = divmod(number, n)
            index.insert(0, i)
        start = 0
        count = 1
        for i, n, c in zip(index, self.shape, self.chunk_shape, strict=True):
            # Axes before the one that is cut have chunks of length 1, those behind are whole, so the
            # run that begins at the chunk's first element is contiguous.
            start = start * n + i * c
            count *= min(c, n - i * c)
        pad_bytes = self.chunk_nbytes - count * self.dtype.itemsize
        return Chunk(".".join(["c", *map(str, index)]), start, start + count, pad_bytes)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The array's Zarr document; not to be changed."""
        fill: Any = {"b": False, "f": 0.0, "c": [0.0, 0.0]}.get(self.dtype.kind, 0)
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

    @cached_property
    def raw(self) -> bytes:
        """The array's Zarr document as it is stored."""
        return dump(self.document)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the array's document."""
        return hashlib.sha256(self.raw).hexdigest()


def checkpoint_keys(layouts: Iterable[FieldLayout]) -> set[str]:
    """Return the keys of which a checkpoint with these fields consists, relative to it."""
    keys = {DOCUMENT}
    for layout in layouts:
        keys.add(f"{layout.name}/{DOCUMENT}")
        keys.update([f"{layout.name}/{layout.chunk(n).key}" for n in range(layout.n_chunks)])
    return keys


def crc32c(data: npt.NDArray[np.uint8], crc: int = 0) -> int:
    """Return the CRC-32C of contiguous bytes, continued from `crc`."""
    # google_crc32c holds the GIL: in pieces of 1 MiB other Python threads wait 0.1 ms at most.
    for start in range(0, data.size, 1 << 20):
        crc = google_crc32c.extend(crc, data[start : start + (1 << 20)])
    return crc


@dataclass(frozen=True, slots=True)
class Nonfinite:
    """Values of a field that are not finite: where the first of them is, in C order, and how many."""

    field: str
    index: int
    count: int
    value: str


def summarise_nonfinite(
    layouts: Sequence[FieldLayout], found: Sequence[Nonfinite]
) -> list[Mapping[str, Any]]:
    """Return what a checkpoint records of values that are not finite: an entry per field."""
    bad: list[Mapping[str, Any]] = []
    for layout in layouts if found else ():
        here = sorted((n for n in found if n.field == layout.name), key=lambda n: n.index)
        if here:
            cell = [int(i) for i in np.unravel_index(here[0].index, layout.shape)]
            count = sum(n.count for n in here)
            bad.append({"field": layout.name, "cell": cell, "count": count, "value": here[0].value})
    return bad


@final
class EncodedChunk:
    """The file of one chunk: iterate to get its bytes, after that `crc` is its payload's CRC-32C.

    The array's owner may change it at any time, so its memory is read once: a piece is copied, and the
    copy is what the checksum is taken of and what is handed out. A piece is valid until the next one is
    asked for. To iterate again is to read the memory again.
    """

    crc: int

    def __init__(
        self, array: Any, layout: FieldLayout, chunk: Chunk, found: list[Nonfinite] | None = None
    ) -> None:
        self._layout = layout
        self._start = chunk.start
        # Where values that are not finite are told; None: nothing looks for them.
        self._found = found if layout.dtype.kind in "fc" else None
        self._summed = _SUMMED.get(layout.dtype.str)
        self._payload = _payload(array, layout, chunk)
        self._pad = bytes(chunk.pad_bytes)

    def __iter__(self) -> Iterator[memoryview | bytes]:
        """Yield pieces that are small enough to stay in the cache between copy, checksum and write."""
        payload, crc = self._payload, 0
        scratch = np.empty(min(payload.size, _PIECE) + CRC_BYTES, np.uint8)
        for start in range(0, payload.size, _PIECE):
            count = min(_PIECE, payload.size - start)
            scratch[:count] = payload[start : start + count]
            crc = crc32c(scratch[:count], crc)
            if self._found is not None:
                self._look_at(scratch[:count], start, self._found)
            if start + count == payload.size and not self._pad:
                scratch[count : count + CRC_BYTES] = np.frombuffer(_crc_bytes(crc), np.uint8)
                count += CRC_BYTES
            yield scratch[:count].data
        if self._pad:
            crc = crc32c(np.frombuffer(self._pad, np.uint8), crc)
            yield self._pad + _crc_bytes(crc)
        self.crc = crc

    def _look_at(self, piece: npt.NDArray[np.uint8], start: int, found: list[Nonfinite]) -> None:
        """Tell of what is not finite in a piece that is in the cache."""
        # A sum is quicker than a look at each value. It is not finite if a value is not; it may
        # overflow as well. No BLAS: its threads would compete with the kernel's.
        if self._summed is not None and math.isfinite(np.einsum("i->", piece.view(self._summed))):
            return
        values = piece.view(self._layout.dtype)
        finite = np.isfinite(values)
        if not finite.all():
            first = int(finite.argmin())
            index = self._start + start // self._layout.dtype.itemsize + first
            count = finite.size - int(np.count_nonzero(finite))
            found.append(Nonfinite(self._layout.name, index, count, str(values[first])))

    def whole(self) -> memoryview:
        """Return all bytes in memory of their own, for a place that takes them at once."""
        whole = np.empty(self._payload.size + len(self._pad) + CRC_BYTES, np.uint8)
        at = 0
        for piece in self:
            whole[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        return whole.data


def _crc_bytes(crc: int) -> bytes:
    return crc.to_bytes(CRC_BYTES, "little")


def _payload(array: Any, layout: FieldLayout, chunk: Chunk) -> npt.NDArray[np.uint8]:
    """Return a chunk's elements as little-endian bytes, a view if possible; a lazy array is read here.

    One that gives something else than its shape and its dtype say is a ValueError.
    """
    if isinstance(array, np.ndarray) and array.flags.c_contiguous:
        part = array.reshape(-1)[chunk.start : chunk.stop]
    else:
        corner = np.unravel_index(chunk.start, layout.shape)
        box = tuple(
            slice(int(i), min(int(i) + c, n))
            for i, c, n in zip(corner, layout.chunk_shape, layout.shape, strict=True)
        )
        read = plain_array(np.asanyarray(array[box]), f"field {layout.name!r}")
        part = np.ascontiguousarray(read).reshape(-1)
        if part.size != chunk.stop - chunk.start:
            msg = f"field {layout.name!r} gave {part.size} elements for {box}, against its shape"
            raise ValueError(msg)
        if part.dtype.newbyteorder("<") != layout.dtype:
            msg = f"field {layout.name!r} gave {part.dtype} for {box}, against its dtype {layout.dtype}"
            raise ValueError(msg)
    return part.astype(layout.dtype, copy=False).view(np.uint8)


# -- layouts, from fields and from documents ---------------------------------------------------------

_Field = tuple[str, tuple[int, ...], np.dtype[Any], tuple[Any, ...] | None, Any, Any]


def layout_fields(
    fields: Mapping[str, npt.NDArray[Any]],
    field_attrs: Mapping[str, Mapping[str, Any]],
    chunk_bytes: int | None = None,
) -> tuple[FieldLayout, ...]:
    """Decide how fields are cut and described, in their order; `chunk_bytes` is a size to aim for.

    Dimension names are made distinct where lengths differ. A dtype that Zarr does not have is a
    TypeError; names that differ only in case, or are reserved, are a ValueError.
    """
    described: list[_Field] = []
    for name, array in fields.items():
        given = field_attrs.get(name, {})
        dims = given.get("dims")
        described.append(
            (
                name,
                tuple(map(int, array.shape)),
                array.dtype,
                None if dims is None else tuple(dims),
                given.get("units"),
                given.get("long_name"),
            )
        )
    return _layouts(tuple(described), chunk_bytes)


@lru_cache(maxsize=64)
def _layouts(described: tuple[_Field, ...], chunk_bytes: int | None) -> tuple[FieldLayout, ...]:
    names = {name for name, *_ in described}
    if len({name.lower() for name in names}) != len(names):
        msg = f"field names {sorted(names)} differ only in case: some file systems cannot hold both"
        raise ValueError(msg)
    total = sum(math.prod(shape) * dtype.itemsize for _, shape, dtype, *_ in described)
    target = chunk_bytes or (_LARGE_CHUNK_BYTES if total >= _LARGE_STATE_BYTES else _CHUNK_BYTES)
    lengths: dict[str, int] = {}  # of the dimension names given so far
    layouts = []
    for name, shape, dtype, dims, units, long_name in described:
        if name.lower() == DOCUMENT:
            msg = f"field name {name!r} is reserved: choose another"
            raise ValueError(msg)
        if dtype.name not in DTYPES:
            msg = f"field {name!r} has dtype {dtype}, which Zarr cannot store; convert it"
            raise TypeError(msg)
        attrs = {"units": units, "long_name": long_name}
        layouts.append(
            FieldLayout(
                name,
                shape,
                _chunk_shape(shape, dtype.itemsize, target),
                dtype.newbyteorder("<"),
                _dimension_names(name, shape, dims, lengths, names),
                {key: str(value) for key, value in attrs.items() if value is not None},
            )
        )
    return tuple(layouts)


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
    given: tuple[Any, ...] | None,
    lengths: dict[str, int],
    taken: set[str],
) -> tuple[str, ...]:
    """Name the axes, so that no name is a field's, or has two lengths in one checkpoint."""
    if given is None or len(given) != len(shape):
        n = len(shape)
        given = _DEFAULT_DIMS[3 - n :] if n <= 3 else tuple(f"dim_{i}" for i in range(n))
    elif not all(isinstance(dim, str) and dim for dim in given):
        msg = f"dims of field {field!r} must be non-empty str, one per axis, got {given!r}"
        raise TypeError(msg)
    names: list[str] = []
    for dim, length in zip(given, shape, strict=True):
        name = next(
            candidate
            for candidate in _candidates(field, dim)
            if candidate not in taken
            and candidate not in names
            and lengths.get(candidate, length) == length
        )
        lengths[name] = length
        names.append(name)
    return tuple(names)


def _candidates(field: str, dim: str) -> Iterator[str]:
    yield dim
    yield f"{field}_{dim}"
    for number in itertools.count(2):
        yield f"{field}_{dim}_{number}"


@lru_cache(maxsize=64)
def parse_layout(name: str, raw: bytes) -> FieldLayout:
    """Return the field that an array document describes; an error if ringnb does not write it so.

    The errors: ValueError, LookupError, TypeError, AttributeError, OverflowError. Nothing of a size
    that only the document states is allocated.
    """
    if len(raw) > MAX_ARRAY_DOCUMENT_BYTES:  # so that what is remembered stays small
        msg = f"the metadata of field {name!r} has {len(raw)} bytes"
        raise ValueError(msg)
    layout = _layout_of(name, json.loads(raw))
    if layout.raw != raw:
        msg = f"field {name!r} is not stored the way ringnb stores fields"
        raise ValueError(msg)
    return layout


def _layout_of(name: str, document: Any) -> FieldLayout:
    check_name(name, "field name")
    if document["data_type"] not in DTYPES:
        msg = f"field {name!r} has data type {document['data_type']!r}"
        raise ValueError(msg)
    layout = FieldLayout(
        name,
        tuple(document["shape"]),
        tuple(document["chunk_grid"]["configuration"]["chunk_shape"]),
        np.dtype(document["data_type"]).newbyteorder("<"),
        tuple(document["dimension_names"]),
        document["attributes"],
    )
    sizes = (*layout.shape, *layout.chunk_shape)
    if any(type(n) is not int or not 0 <= n < 2**62 for n in sizes) or not all(
        1 <= c <= max(1, n) for n, c in zip(layout.shape, layout.chunk_shape, strict=True)
    ):
        msg = f"field {name!r} has an impossible shape"
        raise ValueError(msg)
    # Whatever else the document says must be what ringnb writes: no other codec, no other chunk grid,
    # nothing that a reader would have to trust.
    if layout.document != document or not _is_slab(layout):
        msg = f"field {name!r} is not stored the way ringnb stores fields"
        raise ValueError(msg)
    return layout


def own_document(name: str, document: Any, digest: str) -> dict[str, Any]:
    """Return an array's document without the attributes that a user has added; errors as `parse_layout`.

    `digest` is that of the document as it was committed.
    """
    attrs = document["attributes"]
    for keys in ((), ("units",), ("long_name",), ("units", "long_name")):
        own = {key: attrs[key] for key in keys if key in attrs}
        layout = _layout_of(name, document | {"attributes": own})
        if layout.digest == digest:
            return layout.document
    msg = f"the metadata of field {name!r} does not match its digest"
    raise ValueError(msg)


def is_layout(name: str, raw: bytes, digest: str | None = None) -> bool:
    """Return whether an array document is one that ringnb writes, whatever a user has added to it.

    With a `digest` it must be the one that was committed with it.
    """
    try:
        if digest is None:
            parse_layout(name, raw)
        else:
            own_document(name, json.loads(raw), digest)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return False
    return True


def _is_slab(layout: FieldLayout) -> bool:
    """Return whether every chunk is one contiguous run: 1, 1, ..., cut, whole, whole."""
    behind = False
    for n, c in zip(layout.shape, layout.chunk_shape, strict=True):
        if behind and c != max(1, n):
            return False
        behind = behind or c != 1
    return True
