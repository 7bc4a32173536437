"""The on-disk format, version 1: documents, digests, chunk grid. No input or output happens here.

A checkpoint is a Zarr v3 group. Every field is one array of slab chunks: a chunk is a contiguous run
of the array in C order, encoded as little-endian bytes followed by their CRC-32C, so that writing one
is a matter of handing memory to the operating system. The group's document carries the consolidated
metadata of its arrays and is written last: it is what makes a checkpoint exist.

Digests lie in the group's ``ringnb`` attribute and cover everything that is handed out: the CRC-32C of
every chunk, the SHA-256 of every array document, and the SHA-256 of the group document itself, taken
with the digits of that very digest replaced by zeros.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ringnb.checkpoint.storage import CheckpointInfo, Snapshot
from ringnb.errors import CheckpointCorrupt
from ringnb.messages import check_name

__all__ = [
    "ATTRIBUTE",
    "DOCUMENT",
    "Document",
    "FieldLayout",
    "check_checkpoint_name",
    "layout_fields",
    "looks_like_checkpoint",
    "parse_document",
    "render_document",
    "root_document",
]

FORMAT = 1
ATTRIBUTE = "ringnb"
DOCUMENT = "zarr.json"
MAX_DOCUMENT_BYTES = 64 << 20
CRC_BYTES = 4
_ZEROS = "0" * 64
_CHUNK_BYTES = 4 << 20
_LARGE_CHUNK_BYTES = 16 << 20
_LARGE_STATE_BYTES = 512 << 20
_NAME = re.compile(r"(?!\.|__)[A-Za-z0-9._-]{1,240}")
_CHECKPOINT_NAME = re.compile(r".+_\d+_step_\d+(\.\d+)?")
_DEFAULT_DIMS = ("z", "y", "x")
_DTYPES = frozenset(
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
    fields: Mapping[str, npt.NDArray[Any]], field_attrs: Mapping[str, Mapping[str, Any]]
) -> list[FieldLayout]:
    """Decide how fields are cut and described.

    Parameters
    ----------
    fields : mapping of str to numpy.ndarray
        The arrays.
    field_attrs : mapping
        Per field ``units``, ``long_name``, ``dims``; all optional.

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
    total = sum(a.nbytes for a in fields.values())
    target = _LARGE_CHUNK_BYTES if total >= _LARGE_STATE_BYTES else _CHUNK_BYTES
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
        if array.dtype.name not in _DTYPES:
            msg = f"field {name!r} has dtype {array.dtype}, which Zarr cannot store; convert it"
            raise TypeError(msg)
        given = field_attrs.get(name, {})
        dims = _dimension_names(name, array.shape, given.get("dims"), lengths, set(fields))
        layouts.append(
            FieldLayout(
                name,
                array.shape,
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


def render_document(
    snapshot: Snapshot,
    layouts: list[FieldLayout],
    crcs: Mapping[str, list[int]],
    sequence: int,
    version: str,
) -> bytes:
    """Render the group document of a checkpoint.

    Parameters
    ----------
    snapshot : Snapshot
        What is saved.
    layouts : list of FieldLayout
        Its fields.
    crcs : mapping of str to list of int
        CRC-32C per chunk of every field.
    sequence : int
        The checkpoint's place in commit order.
    version : str
        The version of ringnb that writes.

    Returns
    -------
    bytes
        The document, with its own digest.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no finite JSON scalar.
    """
    metadata = {one.name: one.document() for one in layouts}
    record = {
        "format": FORMAT,
        "name_prefix": snapshot.name_prefix,
        "kernel_id": snapshot.kernel_id,
        "kernel_type": snapshot.kernel_type,
        "actor_slot": snapshot.actor_slot,
        "step": snapshot.step,
        "sequence": sequence,
        "request_id": snapshot.request_id,
        "created_at": datetime.now(UTC).isoformat(),
        "params": {str(k): _scalar(k, v) for k, v in snapshot.params.items()},
        "parent": snapshot.parent,
        "backend": snapshot.backend,
        "version": version,
        "digests": {
            "chunk_algorithm": "crc32c",
            "chunks": {name: list(values) for name, values in crcs.items()},
            "arrays": {n: hashlib.sha256(dump(d)).hexdigest() for n, d in metadata.items()},
            "document": _ZEROS,
        },
    }
    raw = dump(
        {
            "attributes": {ATTRIBUTE: record},
            "zarr_format": 3,
            "consolidated_metadata": {
                "kind": "inline",
                "must_understand": False,
                "metadata": metadata,
            },
            "node_type": "group",
        }
    )
    digest = hashlib.sha256(raw).hexdigest()
    return raw.replace(_seal(_ZEROS), _seal(digest))


def _seal(digest: str) -> bytes:
    return f'"document":"{digest}"'.encode()


def _scalar(name: object, value: object) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            msg = f"parameter {name!r} must be finite, got {value!r}"
            raise ValueError(msg)
        return value
    msg = f"parameter {name!r} must be a number, str, bool or None, got {value!r}"
    raise TypeError(msg)


@dataclass(frozen=True)
class Document:
    """A group document whose digest was checked.

    Attributes
    ----------
    record : mapping
        The ``ringnb`` attribute.
    fields : mapping of str to FieldLayout
        In stored order.
    crcs : mapping of str to list of int
        CRC-32C of every chunk.
    raw : bytes
        As stored.
    """

    record: Mapping[str, Any]
    fields: Mapping[str, FieldLayout]
    crcs: Mapping[str, list[int]]
    raw: bytes

    def info(self, name: str) -> CheckpointInfo:
        """Return the line of the catalogue for a checkpoint of this name."""
        r = self.record
        return CheckpointInfo(
            name=name,
            name_prefix=r["name_prefix"],
            kernel_id=r["kernel_id"],
            kernel_type=r["kernel_type"],
            actor_slot=r["actor_slot"],
            step=r["step"],
            sequence=r["sequence"],
        )


_RECORD_TYPES: dict[str, Any] = {
    "name_prefix": str,
    "kernel_id": str,
    "kernel_type": str,
    "actor_slot": int,
    "step": int,
    "sequence": int,
    "request_id": int,
    "created_at": str,
    "params": dict,
    "parent": str | None,
    "backend": str | None,
    "version": str,
    "digests": dict,
}


def parse_document(name: str, raw: bytes) -> Document:
    """Check a group document's digest and structure.

    Parameters
    ----------
    name : str
        The checkpoint, for messages.
    raw : bytes
        The stored document.

    Returns
    -------
    Document
        Its content.

    Raises
    ------
    CheckpointCorrupt
        If a byte differs from what was committed, or it describes what no ringnb writes.
    """
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise _corrupt(name, f"its metadata has {len(raw)} bytes, more than any that ringnb writes")
    try:
        parsed = json.loads(raw)
        record = parsed["attributes"][ATTRIBUTE]
        sealed = record["digests"]["document"]
        if record["format"] != FORMAT:
            raise _corrupt(
                name,
                f"its format is {record['format']!r}, this version reads {FORMAT}; it was written "
                "by a newer ringnb, or damaged",
            )
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _corrupt(name, "its metadata cannot be read") from error
    zeroed = raw.replace(_seal(sealed), _seal(_ZEROS)) if isinstance(sealed, str) else b""
    if sealed == _ZEROS or hashlib.sha256(zeroed).hexdigest() != sealed:
        raise _corrupt(name, "its metadata does not match its digest")
    try:
        return _checked(name, parsed, record, raw)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise _corrupt(name, f"its metadata describes no checkpoint of ringnb ({error})") from error


def _checked(name: str, parsed: Any, record: Any, raw: bytes) -> Document:
    for key, kind in _RECORD_TYPES.items():
        if not isinstance(record[key], kind) or isinstance(record[key], bool):
            raise _corrupt(name, f"its attribute {key!r} has an impossible value")
    datetime.fromisoformat(record["created_at"])
    metadata = parsed["consolidated_metadata"]["metadata"]
    digests = record["digests"]
    fields: dict[str, FieldLayout] = {}
    crcs: dict[str, list[int]] = {}
    if (
        not metadata
        or set(metadata) != set(digests["chunks"])
        or set(metadata) != set(digests["arrays"])
    ):
        raise _corrupt(name, "its digests do not cover its fields")
    for field, doc in metadata.items():
        check_name(field, "field name")
        if doc["data_type"] not in _DTYPES:
            raise _corrupt(name, f"field {field!r} has data type {doc['data_type']!r}")
        one = FieldLayout(
            field,
            tuple(doc["shape"]),
            tuple(doc["chunk_grid"]["configuration"]["chunk_shape"]),
            np.dtype(doc["data_type"]).newbyteorder("<"),
            tuple(doc["dimension_names"]),
            doc["attributes"],
        )
        sizes = (*one.shape, *one.chunk_shape)
        if any(type(n) is not int or not 0 <= n < 2**62 for n in sizes) or 0 in one.chunk_shape:
            raise _corrupt(name, f"field {field!r} has an impossible shape")
        # Whatever else the array's document says must be what ringnb writes: no other codec, no
        # other chunk grid, nothing that a reader would have to trust.
        if one.document() != doc or not _is_slab(one):
            raise _corrupt(name, f"field {field!r} is not stored the way ringnb stores fields")
        values = digests["chunks"][field]
        if len(values) != one.n_chunks or any(type(v) is not int for v in values):
            raise _corrupt(name, f"field {field!r} has {one.n_chunks} chunks, but other digests")
        if hashlib.sha256(dump(doc)).hexdigest() != digests["arrays"][field]:
            raise _corrupt(name, f"the metadata of field {field!r} does not match its digest")
        fields[field], crcs[field] = one, values
    return Document(record, fields, crcs, raw)


def _is_slab(one: FieldLayout) -> bool:
    """Whether every chunk is one contiguous run: 1, 1, ..., cut, whole, whole."""
    state = "leading"
    for n, c in zip(one.shape, one.chunk_shape, strict=True):
        whole = c == max(1, n)
        if state == "behind" and not whole:
            return False
        if state == "leading" and c != 1:
            state = "behind"
    return True


def _corrupt(name: str, what: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(
        f"checkpoint {name!r} is damaged: {what}; restore an older one, or a copy of it"
    )
