"""What a local store holds, remembered between calls and kept up to date cheaply.

`Listing` reads a checkpoint's document when it is new, notices from the directory's time stamp that
another process changed something, and notes this process's own changes without looking at the rest, so
that a commit costs the same in a store of ten and of ten thousand.

Documents that were exchanged or damaged in place are noticed as well: each look examines the time
stamps of those it returns, up to 250 of them; a longer list is gone through in turns. No look is
trusted with data: `load` checks the document that it reads.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import final

from ringnb.checkpoint.storage.catalogue import Catalogue, entry_of
from ringnb.checkpoint.storage.document import MAX_DOCUMENT_BYTES
from ringnb.checkpoint.storage.format import (
    DOCUMENT,
    allows_checkpoint_name,
    looks_like_checkpoint,
)
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.checkpoint.storage.source import DirectorySource
from ringnb.errors import CheckpointCorrupt

__all__ = ["Listing"]

Stamp = tuple[int, ...]

# A directory's time stamp may not tell two changes within one tick of the clock apart. What was read
# while somebody else could write is taken for current only if the last change was this much older.
_RACY_NS = 100_000_000
_EXAMINED = 250  # documents whose time stamps one look examines: about half a millisecond


@final
class Listing:
    """The catalogue of a local store, shared by all storages of this process on it. Any thread.

    `exclusive` says that this process holds the store's write lock: no other process changes the
    store then, so what was read is current whatever its time stamps say. Changes made by hand within
    the same tick of the file system's clock as one of ours are noticed at the next change.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._catalogue = Catalogue()
        self._known: dict[str, tuple[Stamp | None, CheckpointInfo | None]] = {}
        self._stamp: Stamp | None = None
        self._store_id: str | None = None
        self._turn = 0
        self._unsettled: list[str] = []

    def renew_guard(self) -> None:
        """In a forked child: the thread that held the guard does not exist here."""
        self._guard = threading.Lock()
        self._stamp = None

    def belong_to(self, store_id: str | None) -> None:
        """Take over the store's id; under another one, what was a copy may be none, and vice versa."""
        with self._guard:
            if store_id != self._store_id:
                self._store_id, self._known, self._stamp = store_id, {}, None

    def entries(self, *, exclusive: bool) -> list[CheckpointInfo]:
        """Return what the store holds, oldest commit first; damaged ones as `Catalogue.entries`."""
        with self._guard:
            self._refresh(exclusive=exclusive)
            return self._examined(Catalogue.entries)

    def history(self, name_prefix: str, kernel_id: str, *, exclusive: bool) -> list[CheckpointInfo]:
        """Return an actor's checkpoints, oldest commit first, without those that are damaged."""
        with self._guard:
            self._refresh(exclusive=exclusive)
            return self._examined(lambda c: c.history(name_prefix, kernel_id))

    def parts(self, name_prefix: str, kernel_id: str, *, exclusive: bool) -> list[CheckpointInfo]:
        """Return an actor's parts of cuts, oldest commit first, without those that are damaged."""
        with self._guard:
            self._refresh(exclusive=exclusive)
            self._examined(lambda c: c.cuts(name_prefix, kernel_id))
            return self._catalogue.parts(name_prefix, kernel_id)

    def last_sequence(self) -> int:
        """Return the highest number in the store, 0 if it is empty; the caller holds the lock."""
        with self._guard:
            self._refresh(exclusive=True)
            return self._catalogue.last_sequence

    def first_sequence(self) -> int | None:
        """Return the lowest number in the store, None if it is empty; the caller holds the lock."""
        with self._guard:
            self._refresh(exclusive=True)
            return self._catalogue.first_sequence

    @contextlib.contextmanager
    def changing(self) -> Iterator[Callable[[str, CheckpointInfo | None], None]]:
        """Change the store's directory; the caller holds the write lock.

        Yields ``note(name, info)``, to be called after a name was added or replaced (its line), or
        removed (None).
        """
        with self._guard:
            self._refresh(exclusive=True)
            self._stamp = None  # until the change is over and was noted

            def note(name: str, info: CheckpointInfo | None) -> None:
                if info is None:
                    self._catalogue.drop(name)
                    self._known.pop(name, None)
                else:
                    self._catalogue.put(info)
                    self._known[name] = (_stamp(f"{self._store}/{name}/{DOCUMENT}"), info)

            yield note
            self._stamp = _stamp(self._store)

    def _refresh(self, *, exclusive: bool) -> None:
        begun_ns = time.time_ns()
        stamp = _stamp(self._store)
        if stamp is None:
            self._catalogue, self._known, self._stamp = Catalogue(), {}, None
            self._unsettled = []
            return
        if stamp == self._stamp:
            return
        self._stamp = None
        self._scan()
        if exclusive or begun_ns - stamp[1] > _RACY_NS:
            self._stamp = stamp

    def _scan(self) -> None:
        earlier, self._known = self._known, {}
        with os.scandir(self._store) as entries:
            for entry in entries:
                if allows_checkpoint_name(entry.name):  # else it is not ringnb's
                    self._look_at(entry.name, earlier.get(entry.name))
        self._rebuild()

    def _rebuild(self) -> None:
        self._unsettled = [
            name
            for name, (stamp, info) in self._known.items()
            if info is None and (stamp is not None or looks_like_checkpoint(name))
        ]
        self._catalogue = Catalogue(info for _, info in self._known.values() if info is not None)

    def _examined(self, look: Callable[[Catalogue], list[CheckpointInfo]]) -> list[CheckpointInfo]:
        """Return what `look` gives, after the documents that it names were examined."""
        # A name that looks like a checkpoint's may be a copy that is just being made; and a document
        # that is not ringnb's may be one whose damage is mended in place.
        unsettled = [n for n in self._unsettled if self._look_at(n, self._known.get(n))]
        if unsettled:
            self._rebuild()
        found = look(self._catalogue)
        names = [entry.name for entry in found]
        if len(names) > _EXAMINED:
            first = self._turn % len(names)
            self._turn = first + _EXAMINED
            names = names[first : first + _EXAMINED]
        news = [self._look_at(name, self._known.get(name)) for name in names]
        if not any(news):
            return found
        self._rebuild()
        return look(self._catalogue)

    def _look_at(self, name: str, known: tuple[Stamp | None, CheckpointInfo | None] | None) -> bool:
        """Read a document unless it is known; return whether there was anything new."""
        stamp = _stamp(f"{self._store}/{name}/{DOCUMENT}")
        if known is not None and known[0] == stamp and not (known[1] and known[1].damaged):
            self._known[name] = known
            return False
        path = self._store / name
        source = DirectorySource(path)
        try:
            raw = source.read(DOCUMENT, MAX_DOCUMENT_BYTES)
            if raw is not None:
                entry = entry_of(name, raw, self._store_id)
            else:
                # A directory with no file of a commit in it is the user's, whatever its name.
                lost = looks_like_checkpoint(name) and source.remains()
                entry = entry_of(name, None, None) if lost else None
        except CheckpointCorrupt:  # it cannot be read
            entry = entry_of(name, None, None)
        if entry is not None and entry.damaged and entry.estimated[1] is None:
            entry = entry._replace(estimated=(entry.estimated[0], _oldest_stamp(path)))
        if entry is None and stamp is None and not os.path.lexists(path):
            self._known.pop(name, None)  # retired by another writer since the directory was read
        else:
            self._known[name] = (stamp, entry)
        return self._known.get(name) != known


def _oldest_stamp(path: Path) -> datetime | None:
    """Return the oldest time stamp in a checkpoint: damage, and a new document, are younger than it."""
    stamps = []
    with contextlib.suppress(OSError):
        for entry in (path, *path.iterdir()):
            with contextlib.suppress(OSError):
                stamps.append(os.lstat(entry).st_mtime)
    return datetime.fromtimestamp(min(stamps), UTC) if stamps else None


def _stamp(path: str | Path) -> Stamp | None:
    try:
        stat = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return (-1, error.errno or 0)
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
