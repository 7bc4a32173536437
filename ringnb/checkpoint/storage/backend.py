"""What `ZarrStorage` needs of the place where it keeps checkpoints. Two kinds: directory and store.

A shelf knows names and bytes; what the bytes mean is `ringnb.checkpoint.storage.format`'s affair.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ringnb.checkpoint.storage.format import (
    ATTRIBUTE,
    CRC_BYTES,
    DOCUMENT,
    FORMAT,
    Chunk,
    FieldLayout,
)
from ringnb.checkpoint.storage.reader import crc32c
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.checkpoint.storage.source import Source
from ringnb.errors import CheckpointError

__all__ = ["Commit", "Put", "Backend", "encode_chunk", "free_name"]

_IN_FLIGHT_BYTES = 48 << 20
Seal = Callable[[Mapping[str, list[int]], int], bytes]


@dataclass(frozen=True)
class Commit:
    """A checkpoint to be put on a shelf.

    Attributes
    ----------
    name : str
        Its name.
    layouts : list of FieldLayout
        Its fields.
    fields : mapping of str to array
        Their arrays: NumPy's, or anything with a shape and a dtype that is read by slices.
    documents : mapping of str to bytes
        The document of every array.
    seal : callable
        ``seal(crcs, sequence)`` renders the group's document.
    whose : tuple of str
        Prefix and identity of the actor.
    """

    name: str
    layouts: list[FieldLayout]
    fields: Mapping[str, Any]
    documents: Mapping[str, bytes]
    seal: Seal
    whose: tuple[str, str]

    def workers(self, most: int, copies: int) -> int:
        """Return how many chunks may be under way at a time, so that they fit into 48 MiB.

        Parameters
        ----------
        most : int
            No more than that.
        copies : int
            Of a chunk, in memory, while it is under way.

        Returns
        -------
        int
            At least 1.
        """
        largest = max(one.chunk_nbytes for one in self.layouts)
        return max(1, min(most, _IN_FLIGHT_BYTES // max(1, copies * largest)))

    @property
    def is_lazy(self) -> bool:
        """Whether a field is read only when its chunk is written."""
        return not all(isinstance(array, np.ndarray) for array in self.fields.values())

    def chunks(self) -> Iterator[tuple[FieldLayout, int, Chunk]]:
        """Yield every chunk of every field with its number."""
        for layout in self.layouts:
            for number, chunk in enumerate(layout.chunks()):
                yield layout, number, chunk


class Put(NamedTuple):
    """What a shelf says about a commit.

    Attributes
    ----------
    written_ns : int
        ``time.monotonic_ns()`` when the bytes were handed over, before they became visible.
    others : frozenset of str
        Names that were seen on the way to be other actors' checkpoints.
    """

    written_ns: int
    others: frozenset[str] = frozenset()


def encode_chunk(
    array: Any, layout: FieldLayout, chunk: Chunk
) -> tuple[list[memoryview | bytes], int]:
    """Turn a part of an array into the bytes of a chunk, without copying if possible.

    Parameters
    ----------
    array : array
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

    Raises
    ------
    ValueError
        If an array that is read by slices does not give what its shape says.
    """
    if isinstance(array, np.ndarray) and array.flags.c_contiguous:
        part = array.reshape(-1)[chunk.start : chunk.stop]
    else:
        where = np.unravel_index(chunk.start, layout.shape)
        box = tuple(
            slice(int(i), min(int(i) + c, n))
            for i, c, n in zip(where, layout.chunk_shape, layout.shape, strict=True)
        )
        part = np.ascontiguousarray(array[box]).reshape(-1)
        if part.size != chunk.stop - chunk.start:
            msg = f"field {layout.name!r} gave {part.size} elements for {box}, against its shape"
            raise ValueError(msg)
    data = part.astype(layout.dtype, copy=False).view(np.uint8)
    pad = bytes(chunk.pad_bytes)
    crc = crc32c(data)
    if pad:
        crc = crc32c(np.frombuffer(pad, np.uint8), crc)
    return [data.data, pad, crc.to_bytes(CRC_BYTES, "little")], crc


def free_name(name: str, taken: Callable[[str], bool]) -> str:
    """Return a name, or that with the first suffix ``.2``, ``.3``, … that is free.

    Parameters
    ----------
    name : str
        The name wanted.
    taken : callable
        Whether a name is.

    Returns
    -------
    str
        A free one.
    """
    free, suffix = name, 1
    while taken(free):
        suffix += 1
        free = f"{name}.{suffix}"
    return free


class Backend(ABC):
    """A place for checkpoints."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is, for messages."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """The local directories in which it writes: the store, the side directory; or none."""
        return ()

    @abstractmethod
    def created(self) -> bool:
        """Return whether there is a store; raise `CheckpointError` if it is none of ringnb's."""

    @abstractmethod
    def catalogue(self) -> list[CheckpointInfo]:
        """Return what is there: damaged ones first, then oldest commit first."""

    @abstractmethod
    def history(
        self, name_prefix: str, kernel_id: str, others: Collection[str] = ()
    ) -> list[CheckpointInfo]:
        """Return what is there of one actor, oldest commit first, without what is damaged.

        Names in `others` are not its checkpoints: they need not be looked at.
        """

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
    def put(self, commit: Commit) -> Put:
        """Commit; within `writing`, on a name that is not occupied."""

    @abstractmethod
    def replace_document(self, name: str, raw: bytes) -> None:
        """Exchange the group document of a checkpoint at once; within `writing`."""

    @abstractmethod
    def remove(self, name: str, keys: set[str]) -> None:
        """Remove a checkpoint that consists of exactly these keys; within `writing`."""

    @abstractmethod
    def quarantine(self, name: str) -> str:
        """Move what lies under a name out of the listing, undeleted; return where it went."""

    @abstractmethod
    def freed_by(self, names: Collection[str]) -> int:
        """Return the bytes that removing some checkpoints would free."""

    @abstractmethod
    def close(self) -> None:
        """Give up the write lock."""

    def check_foreign(self, name: str, foreign: set[str]) -> None:
        """Refuse to delete a checkpoint in which something lies that is not part of it.

        Parameters
        ----------
        name : str
            The checkpoint.
        foreign : set of str
            Keys that no commit wrote.

        Raises
        ------
        CheckpointError
            If there are any.
        """
        if foreign:
            msg = (
                f"checkpoint {name!r} was not deleted: it holds {sorted(foreign)[0]!r}, which ringnb "
                "did not write. Move that away and delete it again"
            )
            raise CheckpointError(msg)

    def check_marker(self, raw: bytes) -> None:
        """Refuse a place whose root document is not that of a ringnb store.

        Parameters
        ----------
        raw : bytes
            The root document.

        Raises
        ------
        CheckpointError
            If it is anybody else's, damaged, or of a format that is not known.
        """
        try:
            found = json.loads(raw)["attributes"][ATTRIBUTE]["format"]
        except (ValueError, LookupError, TypeError, RecursionError):
            why = f"its {DOCUMENT} has no attribute {ATTRIBUTE!r}, or is damaged"
            raise self.refused(why) from None
        if found != FORMAT:
            why = f"its format is {found!r} and this version knows {FORMAT}: use a newer ringnb"
            raise self.refused(why)

    def refused(self, why: str) -> CheckpointError:
        """Return the error for a place that is no store of ringnb's.

        Parameters
        ----------
        why : str
            What shows it.

        Returns
        -------
        CheckpointError
            To be raised.
        """
        return CheckpointError(
            f"{self.url!r} is not a ringnb store: {why}. Choose another place; nothing was changed"
        )
