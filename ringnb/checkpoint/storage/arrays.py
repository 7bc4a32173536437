"""The read-only arrays of models, kept once for all checkpoints that were computed with them.

They are no part of a state, so no checkpoint holds them; each records their digests (``arrays`` of its
code). They lie beside a store that is a directory, as Zarr arrays, in any other below its own prefix::

    waves.zarr/                              the checkpoints
    waves.arrays.zarr/                       a Zarr group
        depth-0123456789abcdef/              an array, under its name and the digest of what it holds

    s3://bucket/waves/.ringnb/arrays/...     likewise, and in a zip file

One that is there already is written by nobody again, so runs and sessions with the same arrays share
it. It goes when no checkpoint of the store names it any more (`ZarrStorage.sweep_arrays`): after the
checkpoints that did, never before.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb.checkpoint.storage.format import (
    DOCUMENT,
    MAX_ARRAY_DOCUMENT_BYTES,
    FieldLayout,
    crc32c,
    dump,
    parse_layout,
)
from ringnb.checkpoint.storage.records import Snapshot
from ringnb.checkpoint.storage.source import Source
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound

__all__ = [
    "GROUP_DOCUMENT",
    "ArrayFiles",
    "ArrayShelf",
    "array_digest",
    "array_files",
    "array_keys",
    "arrays_to_keep",
    "is_array_key",
    "read_array",
]

# By name below the array's key, the document last: what the file holds, one buffer after the other.
ArrayFiles = dict[str, list[memoryview | bytes]]

GROUP_DOCUMENT = dump({"attributes": {}, "zarr_format": 3, "node_type": "group"})


class ArrayShelf(ABC):
    """Where a place keeps read-only arrays, by their keys. Only its writer changes anything."""

    one_writer: bool  # whether no other process may change anything meanwhile

    @property
    def shared(self) -> bool:
        """Whether another store keeps its arrays there, too."""
        return False

    @abstractmethod
    def source(self, key: str) -> Source:
        """Return the bytes of an array, whether it is kept or not."""

    @abstractmethod
    def keys(self) -> list[str]:
        """Return the keys of those that are kept, sorted."""

    @abstractmethod
    def put(self, key: str, parts: ArrayFiles) -> None:
        """Keep an array, whole and durable, or not at all."""

    @abstractmethod
    def remove(self, keys: Collection[str]) -> None:
        """Remove some, and what killed writers have left of others."""

    def loose(self, key: str) -> Source | None:  # noqa: ARG002 - for a place that can tell
        """Return the bytes of an array that a user has copied into the store; None if there are none."""
        return None


_KEY = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]{0,99})-([0-9a-f]{16})")
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)


def array_digest(array: npt.NDArray[Any]) -> str:
    """Return 16 hexadecimal digits that tell an array by its dtype, its shape and its values."""
    sha = hashlib.sha256(f"{array.dtype.name}{array.shape}".encode())
    sha.update(_little(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()[:16]


def array_keys(code: Mapping[str, Any]) -> dict[str, str]:
    """Return, by name, the keys of the arrays that the code of a checkpoint records."""
    recorded = code.get("arrays")
    if not isinstance(recorded, Mapping):
        return {}
    keys = {str(name): f"{name}-{digest}" for name, digest in recorded.items()}
    return {name: key for name, key in keys.items() if is_array_key(key)}


def is_array_key(key: str) -> bool:
    """Return whether a name is one that `array_keys` gives."""
    return _KEY.fullmatch(key) is not None


def array_files(name: str, array: npt.NDArray[Any]) -> ArrayFiles:
    """Return the files of an array: one chunk, and the document."""
    little = _little(array)
    dims = tuple(f"{name}_{axis}" for axis in range(array.ndim))
    layout = FieldLayout(name, array.shape, array.shape, little.dtype, dims, {})
    data = little.reshape(-1).view(np.uint8)
    return {
        layout.chunk(0).key: [data.data, crc32c(data).to_bytes(4, "little")],
        DOCUMENT: [layout.raw],
    }


def _little(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def arrays_to_keep(snapshot: Snapshot) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays that a snapshot, or each kind of actor in a cut, was computed with, by key."""
    kinds = [("", snapshot.code)]
    kinds += [(f"{i}:", kind["code"]) for i, kind in enumerate(snapshot.cut.get("kinds", ()))]
    return {
        key: snapshot.arrays[f"{which}{name}"]
        for which, code in kinds
        for name, key in array_keys(code).items()
        if f"{which}{name}" in snapshot.arrays
    }


def read_array(key: str, source: Source) -> tuple[npt.NDArray[Any], ArrayFiles]:
    """Read an array and check every byte; return it, and its files.

    CheckpointNotFound if it is not there, CheckpointCorrupt if it is not what its key says.
    """
    match = _KEY.fullmatch(key)
    assert match is not None
    name, digest = match.groups()
    raw = source.read(DOCUMENT, MAX_ARRAY_DOCUMENT_BYTES)
    if raw is None:
        msg = f"array {name!r} ({key}) is not kept with the store: put a copy of it back"
        raise CheckpointNotFound(msg)
    try:
        layout = parse_layout(name, raw)
        chunk = layout.chunk(0).key
        data = source.read(chunk, layout.chunk_nbytes + 4) or b""
        payload = np.frombuffer(data[:-4], np.uint8)
        if crc32c(payload).to_bytes(4, "little") != data[-4:]:
            raise _changed(name, key)
        array = payload.view(layout.dtype).reshape(layout.shape)
    except _MALFORMED as error:
        raise _changed(name, key) from error
    if array_digest(array) != digest:
        raise _changed(name, key)
    return array, {chunk: [data], DOCUMENT: [raw]}


def _changed(name: str, key: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(
        f"array {name!r} ({key}) is damaged, or was changed: put a copy of it back; without one, remove "
        "it: the next commit of a session that has it keeps it anew"
    )
