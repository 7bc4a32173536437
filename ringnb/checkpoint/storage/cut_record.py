"""What the document of a cut says: of the cut, and of each actor in it as of a checkpoint.

A *cut* is one checkpoint of several actors. For each kind of actor (type, fields, shapes, code) it has
an array per field with a leading axis ``actor``; its record has an entry ``cut``::

    kinds   [{fields: {field: array}, nbytes, backend, code}]
    parts   [{actor_slot, kernel_id, ..., params, kind, index}]      index: along the leading axis

A part is named by the cut and the slot, ``checkpoint_cut_step_100:3``. No more lies in a store than the
cut: parts are made when they are asked for.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from ringnb.checkpoint.storage.records import CheckpointInfo, code_label
from ringnb.errors import CheckpointNotFound
from ringnb.messages.simulated_time import SimulatedTime

__all__ = [
    "CUT",
    "find_part",
    "numbers_to_json",
    "part_name",
    "part_record",
    "split_name",
    "with_parts",
]

CUT = "cut"  # the identity and the type under which a cut is listed, and its slot in names
_PART = re.compile(r"([^:]+):(\d{1,18})")  # no name of what is stored has a colon
_SHARED = ("format", "sequence", "created_at", "version", "digests")
_OPTIONAL = ("store", "pin", "good", "bad", "user")
_PLACE = ("kind", "index")
_IDENTITY = (
    *("name_prefix", "kernel_id", "kernel_type", "actor_slot", "step"),
    *("id", "run", "parent", "parent_id"),
)
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def numbers_to_json(numbers: Mapping[str, float]) -> dict[str, Any]:
    """Return numbers as JSON has them: what is not finite as a text, as zarr has it for fill values."""
    return {k: v if math.isfinite(v) else _NOT_FINITE[str(v)] for k, v in numbers.items()}


def part_name(cut: str, slot: int) -> str:
    """Return the name of a part."""
    return f"{cut}:{slot}"


def split_name(name: str) -> tuple[str, int | None]:
    """Return the name of what is stored, and the slot if only a part of that is meant."""
    found = _PART.fullmatch(name) if isinstance(name, str) else None
    return (name, None) if found is None else (found[1], int(found[2]))


def find_part(record: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return what a record says of a part, and of its kind; CheckpointNotFound if it has none."""
    slot, cut = split_name(name)[1], record.get("cut", {"parts": ()})
    at = bisect_left(cut["parts"], slot or 0, key=itemgetter("actor_slot"))  # they are sorted so
    for entry in cut["parts"][at : at + 1]:
        if entry["actor_slot"] == slot:
            return entry, cut["kinds"][entry["kind"]]
    slots = [entry["actor_slot"] for entry in cut["parts"]]
    msg = f"no checkpoint {name!r}: {split_name(name)[0]!r} is of slots {slots}"
    raise CheckpointNotFound(msg)


def part_record(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the record that a part would have as a checkpoint of its own."""
    entry, kind = find_part(record, name)
    shared = {key: record[key] for key in _SHARED}
    shared |= {key: record[key] for key in _OPTIONAL if key in record}
    own = {key: value for key, value in entry.items() if key not in _PLACE}
    return {**shared, "name": name, "backend": kind["backend"], "code": kind["code"], **own}


def with_parts(name: str, record: Mapping[str, Any], whole: CheckpointInfo) -> CheckpointInfo:
    """Return the line of a cut with those of its parts; that of any other checkpoint as it is."""
    cut = record.get("cut")
    if cut is None:
        return whole
    labels = [code_label(kind["code"]) for kind in cut["kinds"]]
    parts = []
    for entry in cut["parts"]:
        clock = SimulatedTime.from_record(entry)
        parts.append(
            whole._replace(
                name=part_name(name, entry["actor_slot"]),
                **{key: entry[key] for key in _IDENTITY},
                nbytes=cut["kinds"][entry["kind"]]["nbytes"],
                code=labels[entry["kind"]],
                params=tuple(entry["params"].items()),
                time=None if clock is None else clock.at(entry["step"]),
            )
        )
    return whole._replace(parts=tuple(parts))
