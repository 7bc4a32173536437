"""Reads one actor out of a cut as if it were a checkpoint of its own; see `cut_record`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from ringnb.checkpoint.storage.cut_record import find_part, part_record, split_name
from ringnb.checkpoint.storage.document import Document
from ringnb.checkpoint.storage.field_array import FieldArray
from ringnb.checkpoint.storage.format import FieldLayout
from ringnb.checkpoint.storage.reader import Reader, check_target
from ringnb.checkpoint.storage.source import Source

__all__ = ["ALL_CHUNKS", "LastChunks", "PartReader", "open_reader"]

# By array: which chunk was read last, and what is in it. Parts that are read one after the other, as all
# are for a restore, read a chunk that holds many of them once. An entry is replaced, never changed.
LastChunks = dict[str, tuple[int, npt.NDArray[Any]]]
ALL_CHUNKS = -1  # in place of a chunk's number: the whole array


@final
class PartReader:
    """Reads a part, checked, as a `Reader` reads a checkpoint. Any thread."""

    def __init__(self, whole: Reader, name: str, last: LastChunks) -> None:
        self._whole, self.name, self.source, self._last = whole, name, whole.source, last
        entry, kind = find_part(whole.document.record, name)
        self._index: int = entry["index"]
        self._arrays: dict[str, str] = kind["fields"]
        fields = {field: _of_one(field, whole.layout(a)) for field, a in self._arrays.items()}
        record = part_record(whole.document.record, name)
        self.document = Document(record, fields, {}, whole.document.raw)

    def __reduce__(self) -> tuple[Any, ...]:
        """Have it opened, and checked, where it is unpickled."""
        return open_reader, (self.name, self.source)

    def layout(self, field: str) -> FieldLayout:
        """Return what a field would be stored like; KeyError, with the names there are."""
        try:
            return self.document.fields[field]
        except KeyError:
            msg = f"checkpoint {self.name!r} has no field {field!r}: it has {list(self._arrays)}"
            raise KeyError(msg) from None

    def read_chunk(self, layout: FieldLayout, number: int, out: npt.NDArray[np.uint8]) -> None:  # noqa: ARG002 - it is 0
        """Read a field, which is one chunk, into memory."""
        out[:] = np.ascontiguousarray(self._read(layout.name)).reshape(-1).view(np.uint8)

    def read_field(self, field: str, out: npt.NDArray[Any]) -> None:
        """Read a whole field into a C-contiguous array of its shape and dtype; errors as `Reader`."""
        layout = self.layout(field)
        check_target(layout, out)
        out[...] = self._read(field)

    def check_field(self, field: str) -> None:
        """Check the arrays of the cut in which a field is."""
        self._whole.check_field(self._arrays[field])

    def check_sizes(self, layout: FieldLayout, numbers: Sequence[int]) -> None:
        """Do nothing: the reader of the cut compares the lengths."""

    def _read(self, field: str) -> Any:
        array = FieldArray(self._whole, self._arrays[field])
        last = self._last.get(array.name)
        if last is not None and last[0] == ALL_CHUNKS:
            return last[1][self._index]
        together = array.chunks[0]  # so many actors are in a chunk, if it has whole ones
        if array.chunks[1:] != array.shape[1:]:
            return np.asarray(array[self._index])
        number, place = divmod(self._index, together)
        if last is None or last[0] != number:
            begin = number * together
            last = self._last[array.name] = number, array[begin : begin + together]
        return last[1][place]


def _of_one(field: str, layout: FieldLayout) -> FieldLayout:
    """Return the layout of one actor's field in an array of many."""
    shape = layout.shape[1:]
    chunk = tuple(max(1, n) for n in shape)
    return FieldLayout(field, shape, chunk, layout.dtype, layout.dims[1:], layout.attrs)


def open_reader(name: str, source: Source) -> Reader | PartReader:
    """Open a checkpoint, or a part of a cut; errors as `Reader`."""
    stored, slot = split_name(name)
    whole = Reader(stored, source)
    return whole if slot is None else PartReader(whole, name, {})
