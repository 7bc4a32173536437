"""What a file system allows: who may read and write where, and how long names may be, in sentences.

A store that several users share works if its directories are writable by the group that they have in
common. Where the system refuses, `explained` says which path it is, whose, and what to do.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from ringnb.checkpoint.storage.format import WORK_AREA
from ringnb.errors import CheckpointError

__all__ = [
    "check_lengths",
    "explain",
    "explained",
    "is_shared",
    "name_full",
    "share_like",
    "why_denied",
    "why_not_writable",
]

_E = TypeVar("_E")
_DENIED = frozenset([errno.EACCES, errno.EPERM, errno.EROFS])
_FULL = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
_READ_ONLY = "the file system of {!r} is read-only: use another storage_path"
_TOLD = _DENIED | {errno.ENAMETOOLONG, errno.EXDEV}


@contextlib.contextmanager
def explained(store: Path) -> Iterator[None]:
    """Turn what the system refuses in a store, or on the way to it, into a `CheckpointError`."""
    try:
        yield
    except OSError as error:
        told = explain(store, error)
        if told is error:
            raise
        raise told from error


def explain(store: Path, error: _E) -> _E | CheckpointError:
    """Return an error in a sentence, if the file system does not allow it; otherwise the error."""
    name_full(error, store)
    if not isinstance(error, OSError) or error.errno not in _TOLD:
        return error
    names = [n for n in (error.filename, error.filename2) if isinstance(n, str | os.PathLike)]
    paths = [Path(n) for n in names]
    ours = {store, store.parent / f".{store.name}{WORK_AREA}"}
    if not any(path in store.parents or ours & {path, *path.parents} for path in paths):
        return error  # of a field that is read from elsewhere, say
    if error.errno in _DENIED:
        why = why_denied(error, store, *paths)
    elif error.errno == errno.EXDEV:
        why = (
            "another file system was mounted there while it was in use: unmount it, or open the store "
            "anew, which begins another one there"
        )
    else:
        why = _why_too_long(store, paths) or f"a name in {str(paths[0])!r} is too long"
    told = CheckpointError(f"store {str(store)!r}: {why}")
    told.__cause__ = error
    return told


def name_full(error: object, place: Path) -> None:
    """Say in an error where no space is left, if the system did not: a write knows no name."""
    if isinstance(error, OSError) and error.errno in _FULL:
        error.filename = error.filename or str(place)


# -- rights ------------------------------------------------------------------------------------------


def why_denied(error: OSError, store: Path, *paths: Path) -> str:
    """Return which of some paths, or of the directories above, is in the way, whose, and a remedy."""
    if error.errno == errno.EROFS:
        return _READ_ONLY.format(str(paths[0]))
    for path in paths:
        for folder in reversed(path.parents):
            if os.path.isdir(folder) and not _may(folder, os.X_OK):
                return _not_allowed(store, folder, "enter")
        if os.path.exists(path) and not _may(path, os.R_OK):
            return _not_allowed(store, path, "read")
        if os.path.isdir(path.parent) and not _may(path.parent, os.W_OK):
            return _not_allowed(store, path.parent, "write")
        if os.path.exists(path) and not _may(path, os.W_OK):
            return _not_allowed(store, path, "write")
    for folder in {path.parent for path in paths}:
        if os.path.isdir(folder) and os.stat(folder).st_mode & stat.S_ISVTX:
            return (
                f"the directory {str(folder)!r} has the sticky bit, so that only the owner of a file "
                f"in it may remove or rename it: run `chmod -t {folder}`, or use another storage_path"
            )
    shown = " and ".join(repr(str(path)) for path in paths)
    return (
        f"the system refuses {shown} ({error.strerror}): see `ls -ld` and `lsattr -d`, or use another "
        "storage_path"
    )


def why_not_writable(store: Path, *paths: Path) -> str | None:
    """Return why some paths of a store cannot be written, there or to be made, as far as rights tell."""
    for path in paths:
        there = next(p for p in (path, *path.parents) if os.path.exists(p))
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            return _READ_ONLY.format(str(there))
        if os.path.isdir(there) and not _may(there, os.X_OK):
            return _not_allowed(store, there, "enter")
        if not _may(there, os.W_OK):
            return _not_allowed(store, there, "write")
    return None


def _may(path: Path, what: int) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(path, what, effective_ids=effective)


def _not_allowed(store: Path, path: Path, verb: str) -> str:
    found = os.stat(path)
    me = os.geteuid()
    fact = (
        f"user {_user(me)!r} may not {verb} {str(path)!r}, which belongs to user "
        f"{_user(found.st_uid)!r} and group {_group(found.st_gid)!r} "
        f"(mode {stat.filemode(found.st_mode)}). "
    )
    if path in store.parents:
        return f"{fact}Use a storage_path in a directory of yours, or ask its owner"
    if found.st_uid == me:
        return f"{fact}Run `chmod -R u+rwX {path}`, or use another storage_path"
    return (
        f"{fact}To share a store, its users are in one group and work with `umask 002`, and who owns "
        "it runs `chmod -R g+rwX` on it and on its work area, and `chmod g+s` on their directories. "
        "Or use another storage_path"
    )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def is_shared(folder: Path) -> bool:
    """Return whether a directory exists, and its group may write it."""
    try:
        return bool(os.stat(folder).st_mode & stat.S_IWGRP)
    except OSError:
        return False


def share_like(folder: Path, *made: Path | str | int) -> None:
    """Let the group write what this process has made, if it may write a folder (int: a descriptor)."""
    if not is_shared(folder):
        return
    like = os.stat(folder)
    for path in made:
        with contextlib.suppress(OSError):  # another user's, or a file system without modes
            found = os.stat(path)
            wanted = stat.S_IRGRP | stat.S_IWGRP
            if stat.S_ISDIR(found.st_mode):
                wanted |= like.st_mode & (stat.S_IXGRP | stat.S_ISGID)
            if found.st_gid != like.st_gid:
                os.chown(path, -1, like.st_gid)
            if found.st_mode & wanted != wanted:
                os.chmod(path, stat.S_IMODE(found.st_mode) | wanted)


# -- lengths -----------------------------------------------------------------------------------------


def check_lengths(store: Path, *paths: Path) -> None:
    """Refuse, before anything is written, paths that the file system of a store cannot hold."""
    why = _why_too_long(store, paths)
    if why is not None:
        msg = f"store {str(store)!r}: {why}"
        raise CheckpointError(msg)


def _why_too_long(store: Path, paths: Iterable[Path]) -> str | None:
    for path in paths:
        there = next(folder for folder in path.parents if os.path.isdir(folder))
        allowed = os.pathconf(there, "PC_NAME_MAX")
        for part in path.relative_to(there).parts:
            nbytes = len(os.fsencode(part))
            if nbytes > allowed:
                is_store = store.name in part or part in store.parts
                return (
                    f"the name {part!r} has {nbytes} bytes, and this file system allows {allowed}: use "
                    f"a shorter {'storage_path' if is_store else 'name_prefix or kernel_id'}"
                )
        nbytes, allowed = len(os.fsencode(path)), os.pathconf(there, "PC_PATH_MAX") - 1
        if nbytes > allowed:
            return (
                f"the path {str(path)!r} has {nbytes} bytes, and this system allows {allowed}: use a "
                "shorter storage_path"
            )
    return None
