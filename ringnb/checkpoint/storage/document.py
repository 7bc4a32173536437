"""The group document of a checkpoint: rendered at the commit, parsed and checked at every load.

It carries the consolidated metadata of its arrays and is written last: it is what makes a checkpoint
exist. Digests lie in the group's ``ringnb`` attribute and cover everything that is handed out: the
CRC-32C of every chunk, the SHA-256 of every array document, and the SHA-256 of the group document
itself, taken with the digits of that very digest replaced by zeros.

A user may add attributes with zarr, which writes the whole document anew. What was committed is found
again then: a document whose own bytes do not match is compared without what is not ringnb's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ringnb.checkpoint.storage.cut_record import numbers_to_json, with_parts
from ringnb.checkpoint.storage.format import (
    ATTRIBUTE,
    DTYPES,
    FORMAT,
    FieldLayout,
    checkpoint_keys,
    dump,
    own_document,
    parse_layout,
)
from ringnb.checkpoint.storage.records import CheckpointInfo, Snapshot, code_label
from ringnb.errors import CheckpointCorrupt
from ringnb.messages.simulated_time import SimulatedTime

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "Document",
    "estimate_place",
    "checkpoint_id",
    "describe_bad",
    "parse_document",
    "parse_info",
    "reduced_of",
    "render_document",
    "revise_document",
    "run_of",
    "time_of",
]

MAX_DOCUMENT_BYTES = 64 << 20
_ZEROS = "0" * 64
_ITEMSIZE = {name: np.dtype(name).itemsize for name in DTYPES}
_NUMBER = re.compile(rb'"sequence":(-?\d{1,18})[,}]')
_TIME = re.compile(rb'"created_at":"([^"]{1,40})"')
_IDENTITY = ("name_prefix", "kernel_id", "kernel_type", "actor_slot", "step", "sequence")
_MALFORMED = (
    *(ValueError, LookupError, TypeError, AttributeError, OverflowError),
    RecursionError,  # of deep nesting
)


@dataclass(frozen=True)
class Document:
    """A group document whose digest was checked: its record is the ``ringnb`` attribute."""

    record: Mapping[str, Any]
    fields: Mapping[str, FieldLayout]  # in stored order
    crcs: Mapping[str, list[int]]  # CRC-32C of every chunk
    raw: bytes  # as stored

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


def render_document(
    snapshot: Snapshot,
    layouts: Sequence[FieldLayout],
    crcs: Mapping[str, list[int]],
    sequence: int,
    *,
    name: str,
    store: str | None,
    version: str,
    bad: Sequence[Mapping[str, Any]] = (),
) -> tuple[bytes, CheckpointInfo]:
    """Render the group document of a checkpoint, with its own digest; return it and its line."""
    created_at = datetime.now(UTC)
    record: dict[str, Any] = {
        "format": FORMAT,
        "id": snapshot.id,
        "name": name,
        "store": store,
        "run": snapshot.run,
        "parent_id": snapshot.parent_id,
        "name_prefix": snapshot.name_prefix,
        "kernel_id": snapshot.kernel_id,
        "kernel_type": snapshot.kernel_type,
        "actor_slot": snapshot.actor_slot,
        "step": snapshot.step,
        "sequence": sequence,
        "request_id": snapshot.request_id,
        "created_at": created_at.isoformat(),
        "params": dict(snapshot.params),
        "parent": snapshot.parent,
        "backend": snapshot.backend,
        "version": version,
    }
    if snapshot.clock is not None:
        seconds, since, dt = snapshot.clock
        record["time"] = snapshot.time
        record["clock"] = {"time": seconds, "step": since, "dt": dt}
    if snapshot.examine:
        record["good"] = not bad
    optional = {"bad": bad, "user": snapshot.attrs, "code": snapshot.code, "cut": snapshot.cut}
    optional["reduced"] = numbers_to_json(snapshot.reduced)
    record |= {key: value for key, value in optional.items() if value}
    record["digests"] = {  # last, as `_swap_digest` expects
        "chunk_algorithm": "crc32c",
        "chunks": dict(crcs),
        "arrays": {layout.name: layout.digest for layout in layouts},
        "document": _ZEROS,
    }
    # The arrays' documents are there as bytes: they take the place of none, which is at the end.
    head, _, tail = dump(_group(record, {})).rpartition(b"{}")
    arrays = b",".join([b'"%s":%s' % (layout.name.encode(), layout.raw) for layout in layouts])
    raw = _with_digest(b"%s{%s}%s" % (head, arrays, tail))
    return raw, _info(name, record, created_at, sum([la.nbytes for la in layouts]), store)


def revise_document(raw: bytes, **changes: Any) -> bytes:
    """Return a document that was checked with entries of its record changed; None removes one."""
    stored = json.loads(raw)
    parsed = _committed(stored)
    record = parsed["attributes"][ATTRIBUTE]
    digests = record.pop("digests") | {"document": _ZEROS}
    for key, value in changes.items():
        if value is None:
            record.pop(key, None)
        else:
            record[key] = value
    record["digests"] = digests  # last, as `_swap_digest` expects
    revised = _with_digest(dump(parsed))
    if stored == parsed:
        return revised
    # What a user has added with zarr stays, NaN and all.
    stored["attributes"][ATTRIBUTE] = json.loads(revised)["attributes"][ATTRIBUTE]
    return json.dumps(stored, separators=(",", ":")).encode()


def _with_digest(raw: bytes) -> bytes:
    """Put its own digest into a document in which that is still zeros."""
    return _swap_digest(raw, _ZEROS, hashlib.sha256(raw).hexdigest())


def _swap_digest(raw: bytes, old: str, new: str) -> bytes:
    """Exchange the document's own digest, which is the last thing of the record."""
    # The last occurrence, because a parameter may have the name, and the value, of the digest.
    head, found, tail = raw.rpartition(f'"document":"{old}"'.encode())
    return head + f'"document":"{new}"'.encode() + tail if found else b""


def parse_info(name: str, raw: bytes, store: str | None = None) -> CheckpointInfo:
    """Check a group document's digest and return its line of the catalogue.

    `name` is where it lies, `store` the id of the store: what records something else is a copy. A whole
    store is listed by this, so what the digest vouches for is not checked again.
    CheckpointCorrupt if a byte differs from what was committed.
    """
    parsed, record = _opened(name, raw)
    try:
        created_at = _check_record(name, record)
        nbytes = 0
        for array in parsed["consolidated_metadata"]["metadata"].values():
            if [n for n in array["shape"] if type(n) is not int]:
                raise _corrupt(name, f"it has the impossible shape {array['shape']!r:.100}")
            nbytes += math.prod(array["shape"]) * _ITEMSIZE[array["data_type"]]
        return _info(name, record, created_at, nbytes, store)
    except _MALFORMED as error:
        raise _corrupt(name, "its metadata describes no checkpoint of ringnb") from error


def _info(
    name: str, record: Mapping[str, Any], created_at: datetime, nbytes: int, store: str | None
) -> CheckpointInfo:
    """Return the line of a record that is sound."""
    info = CheckpointInfo(
        name,
        **{key: record[key] for key in _IDENTITY},
        created_at=created_at,
        nbytes=nbytes,
        pin=_pin(record),
        id=checkpoint_id(record),
        run=run_of(record),
        parent=record["parent"],
        parent_id=record.get("parent_id"),
        copy=_why_copy(record, name, store),
        good=record.get("good", True),
        code=code_label(record.get("code", {})),
        params=tuple(record["params"].items()),
        time=time_of(record),
    )
    return with_parts(name, record, info)


def describe_bad(bad: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say in words what is recorded of a state that is not good."""
    return [
        str(b["why"])
        if "why" in b
        else f"field {b['field']!r}: {b['count']:,} values are not finite, the first, {b['value']}, at "
        f"{tuple(b['cell'])}"
        for b in bad
    ]


def checkpoint_id(record: Mapping[str, Any]) -> str:
    """Return a checkpoint's id; one of a version that gave none has what stays the same of it."""
    found: str | None = record.get("id")
    return found or _derived_id(record, "kernel_id", "step", "created_at")


def run_of(record: Mapping[str, Any]) -> str:
    """Return the id of a checkpoint's run: one for all those of an actor that record none."""
    found: str | None = record.get("run")
    return found or _derived_id(record, "name_prefix", "kernel_id")


def time_of(record: Mapping[str, Any]) -> float | None:
    """Return the simulated time of a checkpoint's state, seconds; None where a step has no length."""
    clock = SimulatedTime.from_record(record)
    return None if clock is None else clock.at(record["step"])


def reduced_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Return what the actor's reductions were of a checkpoint's state."""
    return {name: float(value) for name, value in record.get("reduced", {}).items()}


def _derived_id(record: Mapping[str, Any], *keys: str) -> str:
    return hashlib.sha256(dump({key: record[key] for key in keys})).hexdigest()[:16]


def _why_copy(record: Mapping[str, Any], name: str, store: str | None) -> str | None:
    """Say what a checkpoint records of its place that is not so; None if it lies where it belongs."""
    if record.get("store") not in (None, store):
        return f"a copy of {record['name']!r} of another store"
    if record.get("name") not in (None, name):
        return f"a copy of {record['name']!r}"
    return None


def estimate_place(raw: bytes) -> tuple[int | None, datetime | None]:
    """Return the number and the time that a damaged document still states, which may be wrong."""
    number, stated = (found and found[1] for found in (_NUMBER.search(raw), _TIME.search(raw)))
    moment = None
    if stated is not None:
        with contextlib.suppress(ValueError):
            moment = datetime.fromisoformat(stated.decode())
    return (
        None if number is None else int(number),
        moment if moment is not None and moment.tzinfo is not None else None,
    )


def parse_document(name: str, raw: bytes) -> Document:
    """Check a group document's digest and structure.

    CheckpointCorrupt if a byte differs from what was committed, or it describes what no ringnb writes.
    """
    parsed, record = _opened(name, raw)
    try:
        _check_record(name, record)
        metadata = parsed["consolidated_metadata"]["metadata"]
        chunks, digests = record["digests"]["chunks"], record["digests"]["arrays"]
        if not metadata or not metadata.keys() == chunks.keys() == digests.keys():
            raise _corrupt(name, "its digests do not cover its fields")
        fields = {}
        for field, array in metadata.items():
            layout = fields[field] = parse_layout(field, dump(array))
            crcs = chunks[field]
            if len(crcs) != layout.n_chunks or [crc for crc in crcs if type(crc) is not int]:
                raise _corrupt(
                    name, f"field {field!r} has {layout.n_chunks} chunks, but other digests"
                )
            if layout.digest != digests[field]:
                raise _corrupt(name, f"the metadata of field {field!r} does not match its digest")
    except _MALFORMED as error:
        raise _corrupt(name, f"its metadata describes no checkpoint of ringnb ({error})") from error
    return Document(record, fields, chunks, raw)


def _opened(name: str, raw: bytes) -> tuple[Any, Any]:
    """Return a document and its record, if its digest matches."""
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise _corrupt(name, f"its metadata has {len(raw)} bytes, more than any that ringnb writes")
    try:
        parsed = json.loads(raw)
        record = parsed["attributes"][ATTRIBUTE]
        digest = record["digests"]["document"]
        if record["format"] != FORMAT:
            raise _corrupt(
                name,
                f"its format is {record['format']!r}, this version reads {FORMAT}; it was written "
                "by a newer ringnb, or damaged",
            )
    except _MALFORMED as error:
        raise _corrupt(name, "its metadata cannot be read") from error
    if not _matches(raw, digest):
        if "consolidated_metadata" not in parsed:
            raise _corrupt(
                name,
                "its consolidated metadata is missing, as after zarr has opened it with "
                "use_consolidated=False to change an attribute (zarr.consolidate_metadata restores it)",
            )
        try:
            parsed = _committed(parsed)
            raw = dump(parsed)
        except _MALFORMED as error:
            raise _corrupt(name, "its metadata does not match its digest") from error
        if not _matches(raw, digest):
            raise _corrupt(name, "its metadata does not match its digest")
    return parsed, record


def _matches(raw: bytes, digest: object) -> bool:
    """Compare a document with the digest that it holds."""
    zeroed = _swap_digest(raw, digest, _ZEROS) if isinstance(digest, str) else b""
    return digest != _ZEROS and hashlib.sha256(zeroed).hexdigest() == digest


def _committed(parsed: Any) -> dict[str, Any]:
    """Return a document as ringnb writes it, without what a user has added; an error of _MALFORMED."""
    record, rest = parsed["attributes"][ATTRIBUTE], parsed["consolidated_metadata"]
    if _frame(parsed | {"attributes": {}}) != _frame(_group({}, {})):
        msg = "it describes no group of ringnb"
        raise ValueError(msg)
    arrays = {
        field: own_document(field, rest["metadata"][field], digest)
        for field, digest in record["digests"]["arrays"].items()
    }
    return _group(record, arrays)


def _frame(document: Mapping[str, Any]) -> dict[str, Any]:
    rest = dict(document["consolidated_metadata"]) | {"metadata": {}}
    return dict(document) | {"attributes": {}, "consolidated_metadata": rest}


def _group(record: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return the group's document as it is rendered."""
    return {
        "attributes": {ATTRIBUTE: record},
        "zarr_format": 3,
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": False,
            "metadata": arrays,
        },
        "node_type": "group",
    }


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
# What earlier versions did not record.
_OPTIONAL_TYPES: dict[str, Any] = {
    **dict.fromkeys(("id", "name", "store", "run", "parent_id"), str),
    **dict.fromkeys(("user", "code", "reduced", "cut"), dict),
    "good": bool,
    "bad": list,
    "time": float,
    "clock": dict,
}


def _check_record(name: str, record: Any) -> datetime:
    """Check the types of a record's entries and return when it was committed."""
    for key, kind in _RECORD_TYPES.items():
        if not isinstance(record[key], kind) or isinstance(record[key], bool):
            raise _corrupt(name, f"its attribute {key!r} has an impossible value")
    for key, kind in _OPTIONAL_TYPES.items():
        if not isinstance(record.get(key), kind | None):
            raise _corrupt(name, f"its attribute {key!r} has an impossible value")
    pin = record.get("pin")
    if pin is not None and not isinstance(pin["label"], str):
        raise _corrupt(name, "its pin has an impossible label")
    created_at = datetime.fromisoformat(record["created_at"])
    time_of(record)  # which is malformed if this raises
    reduced_of(record)  # likewise
    if created_at.tzinfo is None:
        raise _corrupt(name, f"its created_at {record['created_at']!r} has no time zone")
    return created_at


def _pin(record: Mapping[str, Any]) -> str | None:
    pin = record.get("pin")
    return None if pin is None else str(pin["label"])


def _corrupt(name: str, what: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(
        f"checkpoint {name!r} is damaged: {what}; restore an older one, or a copy of it"
    )
