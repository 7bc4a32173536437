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

__all__ = ["WORK_AREA", "WorkArea", "work_area_of"]

WORK_AREA = ".ringnb"  # inside a store
_ID = re.compile(r"[0-9a-f]{32}")
_EMPTIED = ("staging", "trash")


def work_area_of(store: Path) -> Path:
    """Return where a writer of a local store works: commits are staged there, one rename away.

    Parameters
    ----------
    store : pathlib.Path
        The store; it need not exist.

    Returns
    -------
    pathlib.Path
        The directory, whether it exists or not. A look costs five calls of the system at most.
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
    """A store's side directory, and what is removed from it.

    Parameters
    ----------
    store : pathlib.Path
        The store's real path.

    Attributes
    ----------
    littered : bool
        Whether something was left lying that the next writer should sweep.

    Notes
    -----
    Whoever changes anything in it is the store's only writer.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self.littered = False

    @property
    def path(self) -> Path:
        """Where it lies now: looked up each time, because it may appear or be removed by hand."""
        return work_area_of(self._store)

    def make(self) -> None:
        """Make it, and the directories above it; what is there already stays."""
        parent = self._store.parent
        missing = [p for p in (parent, *parent.parents) if not p.exists()]
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):
                files.make_directory(folder)
            # A durable store in a directory that is lost is lost.
            files.sync_directory(folder.parent)
        side = self.path
        for folder in (side, *(side / name for name in _EMPTIED)):
            if not folder.is_dir():
                with contextlib.suppress(FileExistsError):
                    files.make_directory(folder)

    def new(self, folder: str) -> Path:
        """Return a path that nobody has.

        Parameters
        ----------
        folder : str
            ``staging`` or ``trash``.

        Returns
        -------
        pathlib.Path
            Nothing lies there yet.
        """
        return self.path / folder / uuid.uuid4().hex

    def sweep(self) -> None:
        """Remove what killed writers, and failed commits, left."""
        self.littered = False
        for folder in _EMPTIED:
            for path in (self.path / folder).iterdir():
                if _ID.fullmatch(path.name):
                    self.remove_tree(path)

    def remove_tree(self, path: Path) -> None:
        """Remove something in staging or trash; what cannot be removed now is swept later.

        Parameters
        ----------
        path : pathlib.Path
            From `new`.
        """
        try:
            _remove_tree(path)
        except OSError:
            self.littered = True


def _remove_tree(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for folder, folders, names in os.walk(path, topdown=False):
            for name in names:
                files.remove_file(Path(folder) / name)
            for name in folders:
                files.remove_directory(Path(folder) / name)
        files.remove_directory(path)
    elif path.exists() or path.is_symlink():
        files.remove_file(path)
