"""A storage that lives in a dict, and fails when a test says so.

Tests of the manager pass it as ``storage=``; several managers may share one, and a manager that is
"restarted" simply gets the same one again. What it hands out are checkpoints as any other, of the same
bytes, so that a session restores them.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, final

import numpy as np
import numpy.typing as npt
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from ringnb._support.version import VERSION
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.catalogue import Catalogue
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.cut_record import split_name
from ringnb.checkpoint.storage.document import parse_info, render_document, revise_document
from ringnb.checkpoint.storage.format import (
    DOCUMENT,
    EncodedChunk,
    Nonfinite,
    layout_fields,
    summarise_nonfinite,
)
from ringnb.checkpoint.storage.records import CheckpointInfo, SaveReceipt, Snapshot
from ringnb.checkpoint.storage.source import Buffers, OnPiece, Source, read_whole_into
from ringnb.errors import CheckpointCorrupt, CheckpointError, CheckpointNotFound

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["MemoryStorage"]


@final
@dataclass(slots=True, eq=False)
class _Kept(Source):
    """A checkpoint in a `MemoryStorage`: its files, by their keys, and what the model has read only."""

    files: dict[str, bytes]
    info: CheckpointInfo
    arrays: Mapping[str, npt.NDArray[Any]]

    def read(self, key: str, limit: int) -> bytes | None:
        found = self.files.get(key)
        return None if found is None else found[: limit + 1]

    def size(self, key: str) -> int | None:
        found = self.files.get(key)
        return None if found is None else len(found)

    def read_into(self, key: str, buffers: Buffers, on_piece: OnPiece) -> bool | None:
        return read_whole_into(self, key, buffers, on_piece)

    def keys(self) -> set[str]:
        return set(self.files)

    def group(self) -> zarr.Group:
        make = default_buffer_prototype().buffer.from_bytes
        return zarr.open_group(MemoryStore({k: make(v) for k, v in self.files.items()}), mode="r")

    def __reduce__(self) -> Any:
        msg = "a checkpoint in the memory of this process cannot be pickled: pickle its arrays"
        raise TypeError(msg)


def _encode(
    name: str, snapshot: Snapshot, number: Callable[[], int]
) -> tuple[_Kept, tuple[Mapping[str, Any], ...]]:
    """Encode a snapshot as every storage does; return it, and what is wrong with its state."""
    layouts = layout_fields(snapshot.fields, snapshot.field_attrs)
    files: dict[str, bytes] = {}
    crcs: dict[str, builtins.list[int]] = {}
    found: builtins.list[Nonfinite] | None = [] if snapshot.examine else None
    for layout in layouts:
        files[f"{layout.name}/{DOCUMENT}"] = layout.raw
        crcs[layout.name] = []
        for chunk in map(layout.chunk, range(layout.n_chunks)):
            encoded = EncodedChunk(snapshot.fields[layout.name], layout, chunk, found)
            files[f"{layout.name}/{chunk.key}"] = bytes(encoded.whole())
            crcs[layout.name].append(encoded.crc)
    bad = (*summarise_nonfinite(layouts, found or ()), *snapshot.bad)
    about: Sequence[Any] = (snapshot, layouts, crcs, number())
    raw, info = render_document(*about, name=name, store=None, version=VERSION, bad=bad)
    files[DOCUMENT] = raw
    copies = {n: np.array(a, copy=True) for n, a in snapshot.arrays.items()}
    return _Kept(files, info, copies), bad


@final
@dataclass(eq=False)
class MemoryStorage(CheckpointStorage):
    """Checkpoints in a dict, with switchable failures.

    Attributes
    ----------
    fail_save, fail_delete, fail_list : Exception or None
        Raised by `save`, by `delete`, by `list` and `catalogue`, for as long as they are set.
    before_save, before_load, before_delete : callable or None
        Called with the name before the work begins, without any lock: a test can block there, or
        let another thread act first.
    calls : list of tuple of str
        Every `save` and `delete` that succeeded, in order: ``("save", name)``.
    closed : int
        How often `close` was called.
    """

    fail_save: Exception | None = None
    fail_delete: Exception | None = None
    fail_list: Exception | None = None
    before_save: Callable[[str], object] | None = None
    before_load: Callable[[str], object] | None = None
    before_delete: Callable[[str], object] | None = None
    calls: list[tuple[str, str]] = field(default_factory=list)
    closed: int = 0

    def __post_init__(self) -> None:
        """Start empty."""
        self._lock = threading.Lock()
        self._entries: dict[str, _Kept | None] = {}  # None: metadata damaged
        self._sequence = 0

    def save(self, name: str, snapshot: Snapshot) -> SaveReceipt:
        """Keep a copy of a snapshot; see `CheckpointStorage.save`."""
        if self.before_save is not None:
            self.before_save(name)
        if self.fail_save is not None:
            raise self.fail_save
        with self._lock:
            if name in self._entries:
                msg = f"checkpoint {name!r} exists already: choose another name"
                raise CheckpointError(msg)
            written_ns = time.monotonic_ns()
            kept, bad = _encode(name, snapshot, self._next)
            self._entries[name] = kept
            self.calls.append(("save", name))
        return SaveReceipt(written_ns, time.monotonic_ns(), kept.info.nbytes, bad=bad)

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def load(self, name: str) -> Checkpoint:
        """Return what is kept under a name; see `CheckpointStorage.load`."""
        if self.before_load is not None:
            self.before_load(name)
        with self._lock:
            entry = self._entry(split_name(name)[0])
        if entry is None:
            msg = f"the metadata of checkpoint {name!r} was damaged by a test"
            raise CheckpointCorrupt(msg)
        return Checkpoint.from_source(name, entry, storage=self)

    def list(self) -> list[str]:
        """Return all names, those with damaged metadata first; see `CheckpointStorage.list`."""
        return [info.name for info in self.catalogue()]

    def catalogue(self) -> builtins.list[CheckpointInfo]:
        """Return one line per name; see `CheckpointStorage.catalogue`."""
        if self.fail_list is not None:
            raise self.fail_list
        with self._lock:
            entries = dict(self._entries)
        infos = [
            CheckpointInfo(name, damaged=True) for name, kept in entries.items() if kept is None
        ]
        infos += [kept.info for kept in entries.values() if kept is not None]
        return Catalogue(infos).entries()

    def delete(self, name: str) -> None:
        """Forget a name; see `CheckpointStorage.delete`."""
        if self.before_delete is not None:
            self.before_delete(name)
        if self.fail_delete is not None:
            raise self.fail_delete
        with self._lock:
            entry = self._entry(name)
            if entry is not None and entry.info.pin is not None:
                msg = f"checkpoint {name!r} is pinned ({entry.info.pin!r}): unpin it first"
                raise CheckpointError(msg)
            if entry is not None:
                entry.files.clear()  # of what was handed out nothing can be read any more
            del self._entries[name]
            self.calls.append(("delete", name))

    def pin(self, name: str, label: str) -> None:
        """Keep a checkpoint whatever retention says; see `CheckpointStorage.pin`."""
        self._set_pin(split_name(name)[0], label)

    def unpin(self, name: str) -> None:
        """Leave a checkpoint to retention again; see `CheckpointStorage.unpin`."""
        self._set_pin(split_name(name)[0], None)

    def _set_pin(self, name: str, label: str | None) -> None:
        self.load(name)
        with self._lock:
            entry = self._entry(name)
            if entry is not None:
                pin = (
                    None if label is None else {"label": label, "at": datetime.now(UTC).isoformat()}
                )
                raw = revise_document(entry.files[DOCUMENT], pin=pin)
                entry.files[DOCUMENT] = raw
                entry.info = parse_info(name, raw)

    def read_arrays(self, checkpoint: Checkpoint) -> dict[str, npt.NDArray[Any]]:
        """Return copies of what was saved; see `CheckpointStorage.read_arrays`."""
        with self._lock:
            entry = self._entry(checkpoint.name)
        return {} if entry is None else {n: a.copy() for n, a in entry.arrays.items()}

    def exists(self, name: str) -> bool:
        """Return whether a name is taken; see `CheckpointStorage.exists`."""
        with self._lock:
            return name in self._entries

    def close(self) -> None:
        """Count the call; see `CheckpointStorage.close`."""
        self.closed += 1

    def damage_fields(self, name: str) -> None:
        """Make a checkpoint's arrays fail to verify.

        Parameters
        ----------
        name : str
            Its name.
        """
        with self._lock:
            entry = self._entry(name)
            if entry is not None:
                for key in [key for key in entry.files if not key.endswith(DOCUMENT)]:
                    entry.files[key] = bytes(b ^ 1 for b in entry.files[key])

    def damage_metadata(self, name: str) -> None:
        """Make a checkpoint's metadata untrustworthy: nothing but its name remains.

        Parameters
        ----------
        name : str
            Its name.
        """
        with self._lock:
            self._entry(name)
            self._entries[name] = None

    def _entry(self, name: str) -> _Kept | None:
        try:
            return self._entries[name]
        except KeyError:
            msg = f"no checkpoint {name!r}: see list()"
            raise CheckpointNotFound(msg) from None

    def __repr__(self) -> str:
        """Summarise what is kept."""
        return f"<MemoryStorage: {len(self._entries)} checkpoints>"
