"""Reads chunks and checks every byte before it is handed out.

`Reader` joins a `Source` (where the bytes are) with a `Document` (what they must be). It is what
`Checkpoint` and its lazy arrays read through. A chunk is read straight into the array that asked for
it, its CRC-32C is computed there, and compared with the one in the group's document and the one in
the chunk's own trailer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, final

import numpy as np
import numpy.typing as npt

from ringnb._support.machine import available_cores
from ringnb._support.pool import WorkerPool
from ringnb.checkpoint.storage.document import MAX_DOCUMENT_BYTES, Document, parse_document
from ringnb.checkpoint.storage.format import (
    CRC_BYTES,
    DOCUMENT,
    MAX_ARRAY_DOCUMENT_BYTES,
    Chunk,
    FieldLayout,
    crc32c,
    is_layout,
)
from ringnb.checkpoint.storage.source import Source
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound

__all__ = ["Reader", "check_target"]

_PARALLEL_BYTES = 8 << 20


@final
class Reader:
    """Reads one checkpoint, checked. Immutable after construction; any thread.

    Every method, the constructor included, raises `CheckpointCorrupt` if what it reads is missing or
    not what was committed, and `CheckpointNotFound` if the checkpoint was retired meanwhile.
    """

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self.source = source
        raw = source.read(DOCUMENT, MAX_DOCUMENT_BYTES)
        if raw is None:
            msg = (
                f"no checkpoint {name!r}: it was never committed, or it was deleted; "
                "list() and `ringnb ls` show what there is"
            )
            raise CheckpointNotFound(msg)
        self.document: Document = parse_document(name, raw)
        for field, layout in self.document.fields.items():
            raw = source.read(f"{field}/{DOCUMENT}", MAX_ARRAY_DOCUMENT_BYTES)
            # A user may have added attributes; parse_document has compared the digest of the rest.
            if raw != layout.raw and not is_layout(field, raw or b"", layout.digest):
                digest = hashlib.sha256(raw or b"").hexdigest()[:12]
                raise self._failure(
                    f"the metadata of field {field!r} is "
                    + ("missing" if raw is None else f"not what was committed (sha256 {digest}…)")
                )

    def __reduce__(self) -> tuple[Any, ...]:
        """Have it opened, and checked, where it is unpickled."""
        return Reader, (self.name, self.source)

    def layout(self, field: str) -> FieldLayout:
        """Return how a field is stored; KeyError, with the names there are, if it is not one."""
        try:
            return self.document.fields[field]
        except KeyError:
            msg = f"checkpoint {self.name!r} has no field {field!r}: it has {list(self.document.fields)}"
            raise KeyError(msg) from None

    def read_chunk(self, layout: FieldLayout, number: int, out: npt.NDArray[np.uint8]) -> None:
        """Read the chunk of that number into memory, padding left out, and check it."""
        chunk = layout.chunk(number)
        pad = np.empty(chunk.pad_bytes, np.uint8)
        trailer = bytearray(CRC_BYTES)
        buffers = [out.data, pad.data, memoryview(trailer)]
        crc = 0

        def add_to_crc(piece: memoryview) -> None:
            """Continue the checksum, unless the piece is the stored one."""
            nonlocal crc
            if piece.obj is not trailer:
                crc = crc32c(np.frombuffer(piece, np.uint8), crc)

        filled = self.source.read_into(
            f"{layout.name}/{chunk.key}", [b for b in buffers if b.nbytes], add_to_crc
        )
        if not filled:
            raise self._chunk_failure(layout, chunk, exists=filled is not None)
        recorded = self.document.crcs[layout.name][number]
        if crc != recorded or int.from_bytes(trailer, "little") != recorded:
            raise self._failure(
                f"chunk {chunk.key} of field {layout.name!r} does not match its checksum"
            )

    def read_field(self, field: str, out: npt.NDArray[Any]) -> None:
        """Read a whole field into a C-contiguous array of its shape and dtype, and check it.

        ValueError if `out` does not fit. After another error the content of `out` is undefined.
        """
        layout = self.layout(field)
        check_target(layout, out)
        flat = out.reshape(-1).view(np.uint8)
        size = layout.dtype.itemsize

        def read(number: int) -> None:
            """Read one chunk."""
            chunk = layout.chunk(number)
            self.read_chunk(layout, number, flat[chunk.start * size : chunk.stop * size])

        self._each_chunk(layout, read)

    def check_field(self, field: str) -> None:
        """Read a field chunk by chunk and check it, in bounded memory."""
        layout = self.layout(field)

        def read(number: int) -> None:
            """Read one chunk."""
            chunk = layout.chunk(number)
            nbytes = (chunk.stop - chunk.start) * layout.dtype.itemsize
            self.read_chunk(layout, number, np.empty(nbytes, np.uint8))

        self.check_sizes(layout, range(layout.n_chunks))
        self._each_chunk(layout, read)

    def check_sizes(self, layout: FieldLayout, numbers: range | list[int]) -> None:
        """Compare the lengths of chunks with what the metadata says, before memory is taken."""
        for number in numbers:
            chunk = layout.chunk(number)
            size = self.source.size(f"{layout.name}/{chunk.key}")
            if size != layout.chunk_nbytes + CRC_BYTES:
                raise self._chunk_failure(layout, chunk, exists=size is not None)

    def _each_chunk(self, layout: FieldLayout, read: Callable[[int], None]) -> None:
        numbers = range(layout.n_chunks)
        if layout.nbytes < _PARALLEL_BYTES:
            for number in numbers:
                read(number)
            return
        workers = min(4, available_cores())
        with WorkerPool(workers, thread_name_prefix="ringnb-read") as pool:
            for _ in pool.map(read, numbers):
                pass

    def _chunk_failure(
        self, layout: FieldLayout, chunk: Chunk, *, exists: bool
    ) -> CheckpointCorrupt | CheckpointNotFound:
        return self._failure(
            f"chunk {chunk.key} of field {layout.name!r} "
            + ("has the wrong length" if exists else "is missing")
        )

    def _failure(self, what: str) -> CheckpointCorrupt | CheckpointNotFound:
        """Return the error for a part that is not as it was: retired, or damaged."""
        raw = self.source.read(DOCUMENT, MAX_DOCUMENT_BYTES)
        same = raw == self.document.raw
        if raw is not None and not same:
            try:  # valid: pinned meanwhile, or another checkpoint took the name
                same = parse_document(self.name, raw).identity == self.document.identity
            except CheckpointCorrupt as damaged:
                return damaged
        if not same:
            return CheckpointNotFound(
                f"checkpoint {self.name!r} was retired (or replaced) while it was read; see list()"
            )
        return CheckpointCorrupt(
            f"checkpoint {self.name!r} is damaged: {what}; restore an older one, or a copy of it"
        )


def check_target(layout: FieldLayout, out: npt.NDArray[Any]) -> None:
    """Check that a field can be read into an array; ValueError if it does not fit."""
    if out.shape != layout.shape or out.dtype != layout.dtype or not out.flags.c_contiguous:
        msg = (
            f"field {layout.name!r} has shape {layout.shape} and dtype {layout.dtype}, the array "
            f"given {out.shape} and {out.dtype}; it must fit and be C-contiguous"
        )
        raise ValueError(msg)
