"""The directory beside a local store in which ringnb works: in the store lie checkpoints only.

What is staged here is renamed into the store, so it has to be on the store's own file system. It lies
beside the store, and inside only where the store's parent cannot be written, or is another file system
(the store is a mount point).
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from pathlib import Path
from typing import final

from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.format import WORK_AREA

__all__ = ["WorkArea", "work_area_of"]

_ID = re.compile(r"[0-9a-f]{32}")
_EMPTIED = ("staging", "trash")


def work_area_of(store: Path) -> Path:
    """Return where a writer of a local store works, whether store and directory exist or not.

    A look costs five calls of the system at most.

    Parameters
    ----------
    store : pathlib.Path
        The store's directory.
    """
    inside = store / WORK_AREA
    parent = store.parent
    beside = parent / f".{store.name}{WORK_AREA}"
    if inside.is_dir() or (
        store.is_dir()
        and (
            os.stat(store).st_dev != os.stat(parent).st_dev
            or (not beside.is_dir() and not os.access(parent, os.W_OK))
        )
    ):
        return inside
    return beside


@final
class WorkArea:
    """A store's work area, and what is removed from it. Only the store's writer changes anything.

    `path` is where `locate` found it, which every write calls first: it may appear, or be removed by
    hand, between two writes.
    """

    path: Path

    def __init__(self, store: Path) -> None:
        self._store = store
        self.littered = False  # something was left that the next writer should sweep

    def locate(self) -> Path:
        """Look anew where it lies."""
        self.path = work_area_of(self._store)
        return self.path

    def make(self) -> None:
        """Make it, and the directories above it; what is there already stays."""
        parent = self._store.parent
        missing = [p for p in (parent, *parent.parents) if not p.exists()]
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):
                files.make_directory(folder)
            # A durable store in a directory that is lost is lost.
            files.sync_directory(folder.parent)
        area = self.locate()
        for folder in (area, *(area / name for name in _EMPTIED)):
            if not folder.is_dir():
                with contextlib.suppress(FileExistsError):
                    files.make_directory(folder)

    def new(self, folder: str) -> Path:
        """Return a path in ``staging`` or ``trash`` at which nothing lies yet."""
        return self.path / folder / uuid.uuid4().hex

    def sweep(self) -> None:
        """Remove what killed writers, and failed commits, left."""
        self.littered = False
        for folder in _EMPTIED:
            for path in (self.path / folder).iterdir():
                if _ID.fullmatch(path.name):  # else ringnb did not name it
                    self.remove_tree(path)

    def remove_tree(self, path: Path) -> None:
        """Remove a path from `new`; what cannot be removed now is swept later."""
        try:
            if path.is_dir() and not path.is_symlink():
                for folder, folders, names in os.walk(path, topdown=False):
                    for name in names:
                        files.remove_file(Path(folder, name))
                    for name in folders:
                        files.remove_directory(Path(folder, name))
                files.remove_directory(path)
            elif os.path.lexists(path):
                files.remove_file(path)
        except OSError:
            self.littered = True
