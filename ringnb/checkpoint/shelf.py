"""What `ZarrStorage` needs of the place where it keeps checkpoints. Two kinds: directory and store.

A shelf knows names and bytes; what the bytes mean is `ringnb.checkpoint.format`'s affair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb.checkpoint.document import parse_info
from ringnb.checkpoint.format import (
    ATTRIBUTE,
    CRC_BYTES,
    Chunk,
    FieldLayout,
    looks_like_checkpoint,
)
from ringnb.checkpoint.reading import crc32c
from ringnb.checkpoint.source import Source
from ringnb.checkpoint.storage import CheckpointInfo
from ringnb.errors import CheckpointCorrupt

__all__ = ["Commit", "Shelf", "encode_chunk", "entry_of", "in_order"]

Seal = Callable[[Mapping[str, list[int]], int], bytes]


class Commit:
    """A checkpoint to be put on a shelf.

    Parameters
    ----------
    name : str
        Its name.
    layouts : list of FieldLayout
        Its fields.
    fields : mapping of str to numpy.ndarray
        Their arrays.
    documents : mapping of str to bytes
        The document of every array.
    seal : callable
        ``seal(crcs, sequence)`` renders the group's document.
    """

    def __init__(
        self,
        name: str,
        layouts: list[FieldLayout],
        fields: Mapping[str, npt.NDArray[Any]],
        documents: Mapping[str, bytes],
        seal: Seal,
    ) -> None:
        self.name = name
        self.layouts = layouts
        self.fields = fields
        self.documents = documents
        self.seal = seal

    def chunks(self) -> Iterator[tuple[FieldLayout, int, Chunk]]:
        """Yield every chunk of every field with its number."""
        for layout in self.layouts:
            for number, chunk in enumerate(layout.chunks()):
                yield layout, number, chunk


def encode_chunk(
    array: npt.NDArray[Any], layout: FieldLayout, chunk: Chunk
) -> tuple[list[memoryview | bytes], int]:
    """Turn a part of an array into the bytes of a chunk, without copying if possible.

    Parameters
    ----------
    array : numpy.ndarray
        The field.
    layout : FieldLayout
        How it is cut.
    chunk : Chunk
        The part wanted.

    Returns
    -------
    buffers : list of bytes-like
        To be written one after the other.
    crc : int
        CRC-32C of the payload.
    """
    if array.flags.c_contiguous:
        part = array.reshape(-1)[chunk.start : chunk.stop]
    else:
        where = np.unravel_index(chunk.start, array.shape)
        box = tuple(slice(i, i + c) for i, c in zip(where, layout.chunk_shape, strict=True))
        part = np.ascontiguousarray(array[box]).reshape(-1)
    data = part.astype(layout.dtype, copy=False).view(np.uint8)
    pad = bytes(chunk.pad_bytes)
    crc = crc32c(data)
    if pad:
        crc = crc32c(np.frombuffer(pad, np.uint8), crc)
    return [data.data, pad, crc.to_bytes(CRC_BYTES, "little")], crc


def entry_of(name: str, raw: bytes | None) -> CheckpointInfo | None:
    """Tell what lies under a name from its group document.

    Parameters
    ----------
    name : str
        The name.
    raw : bytes or None
        The document, None if there is none.

    Returns
    -------
    CheckpointInfo or None
        The line of the catalogue; None if it is something that ringnb has nothing to do with.
    """
    if raw is not None:
        try:
            return parse_info(name, raw)
        except CheckpointCorrupt:
            if f'"{ATTRIBUTE}"'.encode() in raw:
                return CheckpointInfo(name, damaged=True)
    return CheckpointInfo(name, damaged=True) if looks_like_checkpoint(name) else None


def in_order(entries: Iterator[CheckpointInfo]) -> list[CheckpointInfo]:
    """Sort a catalogue: damaged ones first, then oldest commit first."""
    return sorted(entries, key=lambda e: (not e.damaged, e.sequence, e.name))


class Shelf(ABC):
    """A place for checkpoints."""

    @abstractmethod
    def catalogue(self) -> list[CheckpointInfo]:
        """Return what is there, in the order of `in_order`; also what others wrote meanwhile."""

    @abstractmethod
    def source(self, name: str) -> Source:
        """Return the bytes of a checkpoint, whether it exists or not."""

    @abstractmethod
    def occupied(self, name: str) -> bool:
        """Return whether anything lies under a name."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[None]:
        """Be the only writer for the length of a ``with`` block."""

    @abstractmethod
    def put(self, commit: Commit) -> int:
        """Commit; within `writing`, on a name that is not occupied.

        Returns
        -------
        int
            ``time.monotonic_ns()`` when the bytes were handed over, before they became visible.
        """

    @abstractmethod
    def remove(self, name: str, keys: set[str]) -> None:
        """Remove a checkpoint that consists of exactly these keys; within `writing`."""

    @abstractmethod
    def close(self) -> None:
        """Give up the write lock."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is, for messages."""
