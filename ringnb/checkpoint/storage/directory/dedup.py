"""Incremental commits on a local directory: a chunk that did not change is linked, not written.

A candidate is found by its CRC-32C, which the commit computes anyway, among the chunks of the actor's
previous checkpoint; what decides is a comparison of all bytes with the stored file. So a commit of
which nothing repeats costs nothing more, a chance agreement of checksums cannot mix states up, and a
chunk that rotted on the disk is not passed on. Every checkpoint stays complete: a hard link is a name
of its own, and the bytes live as long as one name is left.

`ringnb.checkpoint.storage.directory.backend` is the only caller.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import final

import numpy as np

from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.document import MAX_DOCUMENT_BYTES, Document, parse_document
from ringnb.checkpoint.storage.format import DOCUMENT, FieldLayout
from ringnb.checkpoint.storage.source import DirectorySource
from ringnb.errors import CheckpointCorrupt

__all__ = ["Dedup"]

_PIECE = 1 << 18  # fits in the second-level cache


@final
class Dedup:
    """The chunks of a checkpoint that a new one may share. Any thread, several at once.

    With `durable`, what is shared is synced too: a writer that was not durable may have committed it.
    """

    def __init__(self, previous: Path, *, durable: bool) -> None:
        self._path = previous
        self._durable = durable
        self._document: Document | None = None
        raw = DirectorySource(previous).read(DOCUMENT, MAX_DOCUMENT_BYTES)
        if raw is not None:
            try:
                self._document = parse_document(previous.name, raw)
            except CheckpointCorrupt:
                return  # nothing is shared with what cannot be trusted

    def link(
        self,
        layout: FieldLayout,
        number: int,
        crc: int,
        whole: memoryview,
        target: Path | str,
    ) -> bool:
        """Link a stored chunk to `target` if it holds exactly these bytes.

        False, with nothing done, if it has to be written.
        """
        document = self._document
        old = None if document is None else document.fields.get(layout.name)
        if document is None or old is None or document.crcs[layout.name][number:][:1] != [crc]:
            return False
        shapes = (layout.shape, layout.chunk_shape, layout.dtype)
        if (old.shape, old.chunk_shape, old.dtype) != shapes:
            return False
        stored = self._path / layout.name / layout.chunk(number).key
        try:
            if not _holds(stored, whole, sync=self._durable):
                return False
            files.link(stored, target)
        except OSError:
            # Retired by hand, no links on this file system, too many of them (EMLINK), …: writing
            # the chunk works, or says what is wrong.
            return False
        return True


def _holds(path: Path, whole: memoryview, *, sync: bool) -> bool:
    """Return whether a file holds exactly these bytes; if so, wait until the disk has them."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        wanted = np.frombuffer(whole, np.uint8)
        if os.fstat(fd).st_size != wanted.size:
            return False
        stored = np.empty(_PIECE, np.uint8)
        for start in range(0, wanted.size, _PIECE):
            piece = wanted[start : start + _PIECE]
            if os.readv(fd, [stored[: piece.size].data]) != piece.size:
                return False
            if not np.array_equal(stored[: piece.size], piece):
                return False
        if sync:
            files.sync_file(fd)
        return True
    finally:
        os.close(fd)
