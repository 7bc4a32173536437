"""Reads chunks and checks every byte before it is handed out.

`Reader` joins a `Source` (where the bytes are) with a `Document` (what they must be). It is what
`Checkpoint` and its lazy arrays read through. A chunk is read straight into the array that asked for
it, its CRC-32C is computed there, and compared with the one in the group's document and the one in
the chunk's own trailer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, final

import google_crc32c
import numpy as np
import numpy.typing as npt

from ringnb._support.machine import available_cores
from ringnb.checkpoint.storage.document import MAX_DOCUMENT_BYTES, Document, parse_document
from ringnb.checkpoint.storage.format import CRC_BYTES, DOCUMENT, Chunk, FieldLayout, dump
from ringnb.checkpoint.storage.source import Source
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound

__all__ = ["Reader", "crc32c"]

# google_crc32c holds the GIL: in pieces of 1 MiB other Python threads wait 0.1 ms at most.
_CRC_PIECE = 1 << 20
_PARALLEL_BYTES = 8 << 20
_ARRAY_DOCUMENT_BYTES = 1 << 20


def crc32c(data: npt.NDArray[np.uint8], crc: int = 0) -> int:
    """Return the CRC-32C of bytes, continued from `crc`.

    Parameters
    ----------
    data : (n,) uint8 array
        Contiguous.
    crc : int, default 0
        The value so far.

    Returns
    -------
    int
        The value.
    """
    for start in range(0, data.size, _CRC_PIECE):
        crc = google_crc32c.extend(crc, data[start : start + _CRC_PIECE])
    return crc


@final
class Reader:
    """Reads one checkpoint, checked.

    Parameters
    ----------
    name : str
        The checkpoint's name, for messages.
    source : Source
        Its bytes.

    Raises
    ------
    CheckpointNotFound
        If there is no document.
    CheckpointCorrupt
        If the group's document, or that of an array, is not what was committed.

    Notes
    -----
    Immutable after construction; any thread.
    """

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self.source = source
        raw = source.read(DOCUMENT, MAX_DOCUMENT_BYTES)
        if raw is None:
            msg = f"no checkpoint {name!r}: it never was, or it was retired; see list()"
            raise CheckpointNotFound(msg)
        self.document: Document = parse_document(name, raw)
        self._check_array_documents()

    def _check_array_documents(self) -> None:
        for field, layout in self.document.fields.items():
            expected = dump(layout.document())
            raw = self.source.read(f"{field}/{DOCUMENT}", _ARRAY_DOCUMENT_BYTES)
            if raw != expected:
                # parse_document has compared `expected` with the digest.
                digest = hashlib.sha256(raw or b"").hexdigest()[:12]
                raise self._fail(
                    f"the metadata of field {field!r} is "
                    + ("missing" if raw is None else f"not what was committed (sha256 {digest}…)")
                )

    def layout(self, field: str) -> FieldLayout:
        """Return how a field is stored.

        Parameters
        ----------
        field : str
            Its name.

        Returns
        -------
        FieldLayout
            Shape, dtype, chunks.

        Raises
        ------
        KeyError
            If there is no such field.
        """
        try:
            return self.document.fields[field]
        except KeyError:
            msg = f"checkpoint {self.name!r} has no field {field!r}: it has {list(self.document.fields)}"
            raise KeyError(msg) from None

    def read_chunk(
        self, layout: FieldLayout, index: int, chunk: Chunk, out: npt.NDArray[np.uint8]
    ) -> None:
        """Read one chunk into memory and check it.

        Parameters
        ----------
        layout : FieldLayout
            The field.
        index : int
            The chunk's place in C order.
        chunk : Chunk
            Its key and extent.
        out : (n,) uint8 array
            Receives its bytes, padding left out.

        Raises
        ------
        CheckpointCorrupt
            If the chunk is missing, or not what was committed.
        CheckpointNotFound
            If the checkpoint was retired meanwhile.
        """
        pad = np.empty(chunk.pad_bytes, np.uint8)
        trailer = bytearray(CRC_BYTES)
        buffers = [out.data, pad.data, memoryview(trailer)]
        crc = 0

        def check(piece: memoryview) -> None:
            """Take a piece into the checksum."""
            nonlocal crc
            if piece.obj is not trailer:
                crc = crc32c(np.frombuffer(piece, np.uint8), crc)

        filled = self.source.read_into(
            f"{layout.name}/{chunk.key}", [b for b in buffers if b.nbytes], check
        )
        what = f"chunk {chunk.key} of field {layout.name!r}"
        if filled is None:
            raise self._fail(f"{what} is missing")
        if not filled:
            raise self._fail(f"{what} has the wrong length")
        recorded = self.document.crcs[layout.name][index]
        if crc != recorded or int.from_bytes(trailer, "little") != recorded:
            raise self._fail(f"{what} does not match its checksum")

    def read_field(self, field: str, out: npt.NDArray[Any]) -> None:
        """Read a whole field into an array and check it.

        Parameters
        ----------
        field : str
            Its name.
        out : array
            Writable, C-contiguous, of the field's shape and dtype.

        Raises
        ------
        ValueError
            If `out` does not fit.
        CheckpointCorrupt, CheckpointNotFound
            As `read_chunk`; `out` holds rubbish then.
        """
        layout = self.layout(field)
        if out.shape != layout.shape or out.dtype != layout.dtype or not out.flags.c_contiguous:
            msg = (
                f"field {field!r} has shape {layout.shape} and dtype {layout.dtype}, the array given "
                f"{out.shape} and {out.dtype}; it must fit and be C-contiguous"
            )
            raise ValueError(msg)
        flat = out.reshape(-1).view(np.uint8)
        size = layout.dtype.itemsize

        def read(numbered: tuple[int, Chunk]) -> None:
            """Read one chunk."""
            index, chunk = numbered
            self.read_chunk(layout, index, chunk, flat[chunk.start * size : chunk.stop * size])

        self._each(layout, read)

    def check_field(self, field: str) -> None:
        """Read a field chunk by chunk and check it, in bounded memory.

        Parameters
        ----------
        field : str
            Its name.

        Raises
        ------
        CheckpointCorrupt, CheckpointNotFound
            As `read_chunk`.
        """
        layout = self.layout(field)

        def read(numbered: tuple[int, Chunk]) -> None:
            """Read one chunk."""
            index, chunk = numbered
            nbytes = (chunk.stop - chunk.start) * layout.dtype.itemsize
            self.read_chunk(layout, index, chunk, np.empty(nbytes, np.uint8))

        self.check_sizes(layout)
        self._each(layout, read)

    def check_sizes(self, layout: FieldLayout) -> None:
        """Compare the lengths of all chunks with what the metadata says, before memory is taken.

        Parameters
        ----------
        layout : FieldLayout
            The field.

        Raises
        ------
        CheckpointCorrupt, CheckpointNotFound
            If one is missing or has another length.
        """
        for chunk in layout.chunks():
            self.check_size(layout, chunk)

    def check_size(self, layout: FieldLayout, chunk: Chunk) -> None:
        """Compare the length of one chunk with what the metadata says.

        Parameters
        ----------
        layout : FieldLayout
            The field.
        chunk : Chunk
            The chunk.

        Raises
        ------
        CheckpointCorrupt, CheckpointNotFound
            If it is missing or has another length.
        """
        size = self.source.size(f"{layout.name}/{chunk.key}")
        if size != layout.chunk_nbytes + CRC_BYTES:
            raise self._fail(
                f"chunk {chunk.key} of field {layout.name!r} "
                + ("is missing" if size is None else "has the wrong length")
            )

    def _each(self, layout: FieldLayout, read: Any) -> None:
        numbered: Iterator[tuple[int, Chunk]] = enumerate(layout.chunks())
        if layout.nbytes < _PARALLEL_BYTES:
            for one in numbered:
                read(one)
            return
        workers = min(4, available_cores())
        with ThreadPoolExecutor(workers, thread_name_prefix="ringnb-read") as pool:
            for _ in pool.map(read, numbered):
                pass

    def check_keys(self) -> None:
        """Make sure that nothing lies in the checkpoint that was not committed.

        Raises
        ------
        CheckpointCorrupt
            If there is more.
        """
        extra = self.source.keys() - self.expected_keys()
        if extra:
            raise self._fail(f"it holds what was not committed: {', '.join(sorted(extra)[:3])}")

    def expected_keys(self) -> set[str]:
        """Return the keys that were committed."""
        return self.document.keys()

    def _fail(self, what: str) -> CheckpointCorrupt | CheckpointNotFound:
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
