"""The directory beside a local store in which ringnb works: the store itself holds only checkpoints.

What is staged here is renamed into the store, so it has to be on the store's own file system. It lies
beside the store, and inside only where the store's parent cannot be written, or is another file
system (the store is a mount point).

A checkpoint that is deleted lies in ``trash`` under ``<12 digits>.<name>`` until its files are removed.
If something of a user's is left, that becomes ``u<11 digits>.<name>``, is renamed back into the store,
and is never removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from pathlib import Path
from typing import final

from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.document import MAX_DOCUMENT_BYTES, parse_document
from ringnb.checkpoint.storage.format import DOCUMENT, WORK_AREA, free_name, looks_like_part
from ringnb.checkpoint.storage.permissions import explain, share_like, why_not_writable
from ringnb.checkpoint.storage.source import DirectorySource
from ringnb.errors import CheckpointCorrupt, CheckpointError

__all__ = ["WorkArea", "why_unwritable", "work_area_of"]

_ID = re.compile(r"[0-9a-f]{32}")
_RETIRED = re.compile(r"[0-9a-f]{12}\..+")  # with the name: a user's files in it go back there
_USERS = re.compile(r"u[0-9a-f]{11}\..+")  # what a user had put into a checkpoint, and nothing else
_NFS = re.compile(r"\.nfs[0-9a-f]+")
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
            or (not beside.is_dir() and (not os.access(parent, os.W_OK) or _is_mount(store)))
        )
    ):
        return inside
    return beside


def why_unwritable(store: Path) -> str | None:
    """Return what keeps a commit out of a local store, by the rights alone; None if nothing does."""
    try:
        area = work_area_of(store)
        why = why_not_writable(
            store, area, area / "lock", *(area / name for name in _EMPTIED), store
        )
    except OSError as error:
        told = explain(store, error)
        return str(told) if isinstance(told, CheckpointError) else None
    return None if why is None else f"store {str(store)!r}: {why}"


def _keys_of(source: DirectorySource) -> set[str]:
    """Return the files, and the emptied folders, of a checkpoint that ringnb moved to the trash."""
    raw = source.read(DOCUMENT, MAX_DOCUMENT_BYTES)
    if raw is not None:
        try:
            return parse_document("in the trash", raw).keys()
        except CheckpointCorrupt:  # a power cut: the document's data went first
            pass
    found = source.keys()
    emptied = {key for key in found if looks_like_part(f"{key}c")}
    return source.remains() | emptied


def _is_mount(path: Path) -> bool:
    """Return whether something is mounted at a real path, be it a part of the same file system."""
    escaped = str(path).replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return False
    return any(line.split(" ", 5)[4:5] == [escaped] for line in mounts.splitlines())


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

    def locate(self, held: Path | None) -> Path:
        """Look anew where it lies, unless this process holds the lock in one."""
        self.path = work_area_of(self._store) if held is None else held
        return self.path

    def make(self) -> None:
        """Make it, and the directories above it; what is there already stays."""
        parent = self._store.parent
        missing = [p for p in (parent, *parent.parents) if not p.exists()]
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):
                files.make_directory(folder)
            # A power cut must not take the directory, and a durable store with it.
            files.sync_directory(folder.parent)
        area = self.locate(None)
        for folder in (area, *(area / name for name in _EMPTIED)):
            if not folder.is_dir():
                with contextlib.suppress(FileExistsError):
                    files.make_directory(folder)
                share_like(self._store, folder)

    def remove_unused(self) -> None:
        """Remove it from a store of which another process is the writer, with one elsewhere."""
        if self.path != self._store / WORK_AREA:
            return
        with contextlib.suppress(OSError):  # something else lies there
            for folder in _EMPTIED:
                files.remove_directory(self.path / folder)
            files.remove_file(self.path / "lock")
            files.remove_directory(self.path)

    def new_staging(self, count: int) -> list[str]:
        """Return so many paths in ``staging`` at which nothing lies yet."""
        begin = f"{self.path}/staging/{uuid.uuid4().hex[:24]}"
        return [f"{begin}{number:08x}" for number in range(count)]

    def new_trash(self, name: str) -> Path:
        """Return a path in ``trash`` for a checkpoint of that name, at which nothing lies yet."""
        return self.path / "trash" / f"{uuid.uuid4().hex[:12]}.{name}"

    def sweep(self) -> None:
        """Remove what killed writers, and failed commits, left."""
        self.littered = False
        for folder in _EMPTIED:
            for path in (self.path / folder).iterdir():
                if _ID.fullmatch(path.name):
                    self.remove_tree(path)
                elif folder == "trash" and _RETIRED.fullmatch(path.name):
                    self.remove_checkpoint(path)
                elif folder == "trash" and _USERS.fullmatch(path.name):
                    self._finish_putting_back(path)
                # else ringnb did not name it

    def remove_checkpoint(self, path: Path, keys: set[str] | None = None) -> None:
        """Remove the files of a checkpoint that was moved to `new_trash`; a user's go back to the store.

        `keys` are its files, by default what its document says. A kill leaves what the next `sweep`
        finishes: the document is removed last, because it says which files are ours. What cannot be
        removed now is swept later.
        """
        try:
            if path.is_symlink() or not path.is_dir():
                files.remove_file(path)
                return
            source = DirectorySource(path)
            found = source.keys()
            if keys is None:
                keys = _keys_of(source)
            for key in sorted((found & keys) - {DOCUMENT}):
                if not key.endswith("/"):
                    files.remove_file(f"{path}/{key}")
            folders = {key.partition("/")[0] for key in keys - {DOCUMENT}}
            for folder in sorted(folders):
                field = f"{path}/{folder}"
                if os.path.isdir(field) and not os.path.islink(field) and not os.listdir(field):
                    files.remove_directory(field)
            rest = found - keys - {DOCUMENT} - {f"{folder}/" for folder in folders}
            if rest and not all(_NFS.match(os.path.basename(key)) for key in rest):
                # What comes back into the store must not bring our files with it after a power cut.
                for folder in folders:
                    if (path / folder).is_dir() and not (path / folder).is_symlink():
                        files.sync_directory(path / folder)
                files.sync_directory(path)
                mine = path.with_name(f"u{path.name[1:]}")
                files.rename(path, mine)
                files.sync_directory(path.parent)
                self._put_back(mine)
                return
            if DOCUMENT in found:
                files.remove_file(path / DOCUMENT)
            # This fails as long as somebody has a file open over NFS.
            files.remove_directory(path)
        except (OSError, CheckpointCorrupt):
            self.littered = True

    def _finish_putting_back(self, path: Path) -> None:
        try:
            self._put_back(path)
        except OSError:
            self.littered = True

    def _put_back(self, path: Path) -> None:
        """Move what a user has put into a checkpoint back, under the first name that is free."""
        # Whatever is left in there but the document is the user's: the name of `path` says so.
        if os.path.lexists(path / DOCUMENT):
            files.remove_file(path / DOCUMENT)
        files.sync_directory(path)  # also after a kill: the document must not come back with it
        name = path.name.partition(".")[2]
        if DirectorySource(path).remains():  # a chunk, say, that the user has added to a field
            name += "-user"  # under its own name it would look like a damaged checkpoint
        free = free_name(name, lambda n: os.path.lexists(self._store / n))
        files.rename(path, self._store / free)
        files.sync_directory(self._store)

    def remove_tree(self, path: Path | str) -> None:
        """Remove a path from `new_staging`; what cannot be removed now is swept later."""
        path = Path(path)
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
