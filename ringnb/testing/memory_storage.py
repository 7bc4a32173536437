"""A storage that lives in a dict, and fails when a test says so.

Tests of the manager pass it as ``storage=``; several managers may share one, and a manager that is
"restarted" simply gets the same one again. It is no zarr store: `MemoryCheckpoint` offers what the
manager and its tests read of a `Checkpoint`, and nothing more.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast, final

import numpy as np
import numpy.typing as npt

from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.catalogue import Catalogue
from ringnb.checkpoint.storage.format import (
    EncodedChunk,
    Nonfinite,
    layout_fields,
    summarise_nonfinite,
)
from ringnb.checkpoint.storage.records import CheckpointInfo, SaveReceipt, Snapshot, code_label
from ringnb.errors import CheckpointCorrupt, CheckpointError, CheckpointNotFound

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Mapping

    from ringnb.checkpoint.storage.checkpoint import Checkpoint

__all__ = ["MemoryCheckpoint", "MemoryStorage"]


@final
@dataclass(slots=True, eq=False)
class MemoryCheckpoint:
    """A checkpoint in a `MemoryStorage`.

    Attributes
    ----------
    name : str
        Its name.
    sequence : int
        Its place in commit order.
    snapshot : Snapshot
        What was saved, with copies of the arrays.
    corrupt : bool
        Whether `verify` is to fail.
    deleted : bool
        Whether it has been deleted since.
    pinned : str or None
        The label of its pin.
    created_at : datetime.datetime
        When it was saved.
    """

    name: str
    sequence: int
    snapshot: Snapshot
    corrupt: bool = False
    deleted: bool = False
    pinned: str | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def nbytes(self) -> int:
        """Logical bytes of all fields."""
        return sum(array.nbytes for array in self.snapshot.fields.values())

    @property
    def good(self) -> bool:
        """Whether nothing is known to be wrong with the state."""
        return not self.found_bad

    @property
    def found_bad(self) -> tuple[Mapping[str, Any], ...]:
        """What is wrong with the state."""
        s = self.snapshot
        layouts = layout_fields(s.fields, s.field_attrs)
        found: list[Nonfinite] = []
        for layout in layouts if s.examine else ():
            for number in range(layout.n_chunks):
                EncodedChunk(s.fields[layout.name], layout, layout.chunk(number), found).whole()
        return (*summarise_nonfinite(layouts, found), *s.bad)

    def __getattr__(self, name: str) -> Any:
        """Return what the snapshot recorded: ``step``, ``kernel_id``, ``parent``, …."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.snapshot, name)

    def numpy(self) -> dict[str, npt.NDArray[Any]]:
        """Return the fields after checking them.

        Returns
        -------
        dict of str to numpy.ndarray
            Copies.
        """
        self.verify()
        return {name: array.copy() for name, array in self.snapshot.fields.items()}

    def verify(self) -> None:
        """Do nothing, or raise if a test damaged this checkpoint.

        Raises
        ------
        CheckpointNotFound
            If it was deleted.
        CheckpointCorrupt
            If it was damaged.
        """
        if self.deleted:
            msg = f"checkpoint {self.name!r} was retired"
            raise CheckpointNotFound(msg)
        if self.corrupt:
            msg = f"checkpoint {self.name!r} was damaged by a test"
            raise CheckpointCorrupt(msg)


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
        self._entries: dict[str, MemoryCheckpoint | None] = {}  # None: metadata damaged
        self._sequence = 0

    def save(self, name: str, snapshot: Snapshot) -> SaveReceipt:
        """Keep a copy of a snapshot; see `CheckpointStorage.save`."""
        if self.before_save is not None:
            self.before_save(name)
        if self.fail_save is not None:
            raise self.fail_save
        copies = {n: np.array(a, copy=True) for n, a in snapshot.fields.items()}
        copied = replace(snapshot, fields=copies)
        with self._lock:
            if name in self._entries:
                msg = f"checkpoint {name!r} exists already: choose another name"
                raise CheckpointError(msg)
            written_ns = time.monotonic_ns()
            self._sequence += 1
            entry = self._entries[name] = MemoryCheckpoint(name, self._sequence, copied)
            self.calls.append(("save", name))
        nbytes = sum(a.nbytes for a in copied.fields.values())
        bad = entry.found_bad
        return SaveReceipt(written_ns, time.monotonic_ns(), nbytes, bad=bad)

    def load(self, name: str) -> Checkpoint:
        """Return what is kept under a name; see `CheckpointStorage.load`."""
        if self.before_load is not None:
            self.before_load(name)
        with self._lock:
            entry = self._entry(name)
        if entry is None:
            msg = f"the metadata of checkpoint {name!r} was damaged by a test"
            raise CheckpointCorrupt(msg)
        return cast("Checkpoint", entry)

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
        for name, kept in entries.items():
            if kept is not None:
                s = kept.snapshot
                infos.append(
                    CheckpointInfo(
                        name,
                        s.name_prefix,
                        s.kernel_id,
                        s.kernel_type,
                        s.actor_slot,
                        s.step,
                        kept.sequence,
                        created_at=kept.created_at,
                        nbytes=kept.nbytes,
                        pin=kept.pinned,
                        id=s.id,
                        run=s.run,
                        parent=s.parent,
                        parent_id=s.parent_id,
                        good=kept.good,
                        code=code_label(s.code),
                        params=tuple(s.params.items()),
                        time=s.time,
                    )
                )
        return Catalogue(infos).entries()

    def delete(self, name: str) -> None:
        """Forget a name; see `CheckpointStorage.delete`."""
        if self.before_delete is not None:
            self.before_delete(name)
        if self.fail_delete is not None:
            raise self.fail_delete
        with self._lock:
            entry = self._entry(name)
            if entry is not None and entry.pinned is not None:
                msg = f"checkpoint {name!r} is pinned ({entry.pinned!r}): unpin it first"
                raise CheckpointError(msg)
            if entry is not None:
                entry.deleted = True
            del self._entries[name]
            self.calls.append(("delete", name))

    def pin(self, name: str, label: str) -> None:
        """Keep a checkpoint whatever retention says; see `CheckpointStorage.pin`."""
        self._set_pin(name, label)

    def unpin(self, name: str) -> None:
        """Leave a checkpoint to retention again; see `CheckpointStorage.unpin`."""
        self._set_pin(name, None)

    def _set_pin(self, name: str, label: str | None) -> None:
        self.load(name)
        with self._lock:
            entry = self._entry(name)
            if entry is not None:
                entry.pinned = label

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
                entry.corrupt = True

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

    def _entry(self, name: str) -> MemoryCheckpoint | None:
        try:
            return self._entries[name]
        except KeyError:
            msg = f"no checkpoint {name!r}: see list()"
            raise CheckpointNotFound(msg) from None

    def __repr__(self) -> str:
        """Summarise what is kept."""
        return f"<MemoryStorage: {len(self._entries)} checkpoints>"
