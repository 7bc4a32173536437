"""The group document of a checkpoint: rendered at the commit, parsed and checked at every load.

Digests lie in the group's ``ringnb`` attribute and cover everything that is handed out: the CRC-32C of
every chunk, the SHA-256 of every array document, and the SHA-256 of the group document itself, taken
with the digits of that very digest replaced by zeros.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ringnb._support.checks import check_name
from ringnb.checkpoint.storage.format import (
    ATTRIBUTE,
    DTYPES,
    FORMAT,
    FieldLayout,
    checkpoint_keys,
    dump,
    is_slab,
)
from ringnb.checkpoint.storage.records import CheckpointInfo, Snapshot
from ringnb.errors import CheckpointCorrupt

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "Document",
    "parse_document",
    "parse_info",
    "render_document",
    "revise_document",
]

MAX_DOCUMENT_BYTES = 64 << 20
_ZEROS = "0" * 64
_ITEMSIZE = {name: np.dtype(name).itemsize for name in DTYPES}


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
        If a parameter is no finite JSON scalar, or another value is not what it has to be.
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
        "params": snapshot.params,
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
    return _resealed(raw, _ZEROS, hashlib.sha256(raw).hexdigest())


def _resealed(raw: bytes, old: str, new: str) -> bytes:
    """Exchange the document's own digest, which is the last thing of the record.

    The last occurrence is taken because a parameter may have the name, and the value, of the digest.
    """
    head, found, tail = raw.rpartition(f'"document":"{old}"'.encode())
    return head + f'"document":"{new}"'.encode() + tail if found else b""


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

    @property
    def pin(self) -> str | None:
        """The label of its pin, None if it is not pinned."""
        return _pin(self.record)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What stays the same as long as it is the same checkpoint, pinned or not."""
        return (self.record["sequence"], self.record["created_at"], self.crcs)

    def keys(self) -> set[str]:
        """Return the keys that were committed, relative to the checkpoint."""
        return checkpoint_keys(self.fields.values())


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


def parse_info(name: str, raw: bytes) -> CheckpointInfo:
    """Check a group document's digest and take the line of the catalogue out of it.

    A whole store is listed by this, so what the digest vouches for is not looked at twice.

    Parameters
    ----------
    name : str
        The checkpoint.
    raw : bytes
        The stored document.

    Returns
    -------
    CheckpointInfo
        The line.

    Raises
    ------
    CheckpointCorrupt
        If a byte differs from what was committed.
    """
    parsed, record = _sealed(name, raw)
    try:
        _check_record(name, record)
        nbytes = sum(map(_nbytes, parsed["consolidated_metadata"]["metadata"].values()))
        created_at = _created_at(record)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _corrupt(name, "its metadata describes no checkpoint of ringnb") from error
    return CheckpointInfo(
        name=name,
        name_prefix=record["name_prefix"],
        kernel_id=record["kernel_id"],
        kernel_type=record["kernel_type"],
        actor_slot=record["actor_slot"],
        step=record["step"],
        sequence=record["sequence"],
        created_at=created_at,
        nbytes=nbytes,
        pin=_pin(record),
    )


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
    parsed, record = _sealed(name, raw)
    try:
        return _checked(name, parsed, record, raw)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise _corrupt(name, f"its metadata describes no checkpoint of ringnb ({error})") from error


def _sealed(name: str, raw: bytes) -> tuple[Any, Any]:
    """Return a document and its record, if its digest matches."""
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
    zeroed = _resealed(raw, sealed, _ZEROS) if isinstance(sealed, str) else b""
    if sealed == _ZEROS or hashlib.sha256(zeroed).hexdigest() != sealed:
        raise _corrupt(name, "its metadata does not match its digest")
    return parsed, record


def _nbytes(array_document: Any) -> int:
    shape = array_document["shape"]
    if any(type(n) is not int for n in shape):
        msg = f"impossible shape {shape!r:.100}"
        raise TypeError(msg)
    count: int = math.prod(shape)
    return count * _ITEMSIZE[array_document["data_type"]]


def _created_at(record: Any) -> datetime:
    created_at = datetime.fromisoformat(record["created_at"])
    if created_at.tzinfo is None:
        msg = f"created_at {record['created_at']!r} has no time zone"
        raise ValueError(msg)
    return created_at


def _pin(record: Mapping[str, Any]) -> str | None:
    pin = record.get("pin")
    return None if pin is None else str(pin["label"])


def _check_record(name: str, record: Any) -> None:
    for key, kind in _RECORD_TYPES.items():
        if not isinstance(record[key], kind) or isinstance(record[key], bool):
            raise _corrupt(name, f"its attribute {key!r} has an impossible value")
    pin = record.get("pin")
    if pin is not None and not isinstance(pin["label"], str):
        raise _corrupt(name, "its pin has an impossible label")


def revise_document(raw: bytes, **changes: Any) -> bytes:
    """Return a group document with some entries of its record changed, sealed anew.

    Parameters
    ----------
    raw : bytes
        A document that was checked.
    **changes : object
        JSON values by name; None takes an optional entry away.

    Returns
    -------
    bytes
        The new document.
    """
    parsed = json.loads(raw)
    record = parsed["attributes"][ATTRIBUTE]
    digests = record.pop("digests") | {"document": _ZEROS}
    for key, value in changes.items():
        record[key] = value
        if value is None:
            del record[key]
    record["digests"] = digests  # last, as `_resealed` expects
    unsealed = dump(parsed)
    return _resealed(unsealed, _ZEROS, hashlib.sha256(unsealed).hexdigest())


def _checked(name: str, parsed: Any, record: Any, raw: bytes) -> Document:
    _check_record(name, record)
    _created_at(record)
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
        if doc["data_type"] not in DTYPES:
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
        if (
            any(type(n) is not int or not 0 <= n < 2**62 for n in sizes)
            or 0 in one.chunk_shape
            or any(c > max(1, n) for n, c in zip(one.shape, one.chunk_shape, strict=True))
        ):
            raise _corrupt(name, f"field {field!r} has an impossible shape")
        # Whatever else the array's document says must be what ringnb writes: no other codec, no
        # other chunk grid, nothing that a reader would have to trust.
        if one.document() != doc or not is_slab(one):
            raise _corrupt(name, f"field {field!r} is not stored the way ringnb stores fields")
        values = digests["chunks"][field]
        if len(values) != one.n_chunks or any(type(v) is not int for v in values):
            raise _corrupt(name, f"field {field!r} has {one.n_chunks} chunks, but other digests")
        if hashlib.sha256(dump(doc)).hexdigest() != digests["arrays"][field]:
            raise _corrupt(name, f"the metadata of field {field!r} does not match its digest")
        fields[field], crcs[field] = one, values
    return Document(record, fields, crcs, raw)


def _corrupt(name: str, what: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(
        f"checkpoint {name!r} is damaged: {what}; restore an older one, or a copy of it"
    )
