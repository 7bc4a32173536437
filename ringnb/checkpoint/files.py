"""The few file operations that a commit consists of. Every change to a local store goes through here.

They are functions of one module so that a test can stop, fail or record each of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = [
    "create_file",
    "link",
    "make_directory",
    "remove_directory",
    "remove_file",
    "rename",
    "sync_directory",
    "sync_file",
    "touch_directory",
    "write_data",
    "write_file",
]


def make_directory(path: Path) -> None:
    """Create a directory whose parent exists.

    Parameters
    ----------
    path : pathlib.Path
        It must not exist.
    """
    os.mkdir(path)


def write_file(path: Path, buffers: Sequence[memoryview | bytes], *, durable: bool) -> None:
    """Create a file and write buffers to it.

    Parameters
    ----------
    path : pathlib.Path
        It must not exist.
    buffers : sequence of bytes-like
        Written one after the other, without being joined in memory.
    durable : bool
        Whether to wait until the disk has them (fsync).
    """
    fd = create_file(path)
    try:
        write_data(fd, buffers)
        if durable:
            sync_file(fd)
    finally:
        os.close(fd)


def create_file(path: Path) -> int:
    """Create an empty file.

    Parameters
    ----------
    path : pathlib.Path
        It must not exist.

    Returns
    -------
    int
        Its descriptor, open for writing.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def write_data(fd: int, buffers: Sequence[memoryview | bytes]) -> None:
    """Write buffers one after the other, without joining them in memory.

    Parameters
    ----------
    fd : int
        Where.
    buffers : sequence of bytes-like
        What.
    """
    rest = [memoryview(b).cast("B") for b in buffers if len(b)]
    while rest:
        written = os.writev(fd, rest)
        while rest and written >= rest[0].nbytes:
            written -= rest.pop(0).nbytes
        if written:
            rest[0] = rest[0][written:]


def sync_file(fd: int) -> None:
    """Wait until the disk has a file's content.

    Parameters
    ----------
    fd : int
        The file.
    """
    os.fsync(fd)


def link(source: Path, target: Path) -> None:
    """Give a file a second name (a hard link): its bytes are stored once and live as long as a name.

    Parameters
    ----------
    source, target : pathlib.Path
        The file, and its new name in the same file system.
    """
    os.link(source, target, follow_symlinks=False)


def touch_directory(path: Path) -> None:
    """Move a directory's time stamp on, so that whoever remembers its content looks again.

    Parameters
    ----------
    path : pathlib.Path
        The directory.
    """
    os.utime(path)


def sync_directory(path: Path) -> None:
    """Wait until the disk has a directory's entries.

    Parameters
    ----------
    path : pathlib.Path
        The directory.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def rename(source: Path, target: Path) -> None:
    """Move a file or directory within a file system, at once.

    Parameters
    ----------
    source, target : pathlib.Path
        Old and new path; a directory is never moved over one that is not empty.
    """
    os.rename(source, target)


def remove_file(path: Path) -> None:
    """Remove a file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    """
    os.unlink(path)


def remove_directory(path: Path) -> None:
    """Remove an empty directory.

    Parameters
    ----------
    path : pathlib.Path
        The directory.
    """
    os.rmdir(path)
