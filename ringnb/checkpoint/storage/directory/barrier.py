"""One barrier for all files of small commits, in place of an fsync for each of them.

Linux's ``syncfs`` waits until the disk has everything that was written to a file system. It is used
where it can be trusted (a kernel that reports failed writes, a local file system), and where it is
sure to be cheap, because it waits for the data of all other programs as well. Elsewhere `open_barrier`
returns None, and every file is synced by itself.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import final

from ringnb.checkpoint.storage.directory import files

__all__ = ["Barrier", "open_barrier", "type_of", "waiting_bytes"]

# What `statfs` calls ext4 (ext2, ext3), xfs, btrfs, f2fs, zfs, bcachefs, overlayfs, tmpfs. On others
# syncfs may return before the data are safe: FUSE does not pass it on, a server may not hear of it.
_TRUSTED = frozenset(
    [
        *(0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x2FC12FC1, 0xCA451A4E),
        *(0x794C7630, 0x01021994),
    ]
)
# Where it was measured that one commit alone gains, too: btrfs, for example, commits much else at one.
_QUICK = frozenset([0xEF53])
_REPORTING_LINUX = (5, 8)  # since then, syncfs reports a write that failed
# A commit's own fsyncs take milliseconds: in that time a disk writes more than this. As long as no more
# waits to be written for each commit of a group, the barrier is the faster way.
_WAITING_BYTES = 1 << 20
_WAITING = re.compile(rb"\nDirty: +(\d+) kB\nWriteback: +(\d+) kB\n")
_libc = ctypes.CDLL(None)


@final
class Barrier:
    """Waits until the disk has what was written to a file system after this was made."""

    def __init__(self, folder: Path) -> None:
        # Opened before the first write: the system reports the failures since then.
        self._fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)

    def wait(self) -> None:
        """Wait; OSError if any write to the file system, of whatever program, has failed."""
        files.sync_filesystem(self._fd)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


def type_of(folder: Path) -> int:
    """Return the number of the kind of file system that a directory is on, -1 if it is not known."""
    found = ctypes.create_string_buffer(512)  # for a struct statfs, which begins with the type
    if _libc.statfs(os.fsencode(folder), found) != 0:
        return -1
    return ctypes.c_long.from_buffer(found).value


def waiting_bytes() -> float:
    """Return how much this machine has yet to write to its disks."""
    try:
        fd = os.open("/proc/meminfo", os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = _WAITING.search(os.read(fd, 4096))  # each read makes the whole table anew
        finally:
            os.close(fd)
    except OSError:
        return math.inf
    return math.inf if found is None else (int(found[1]) + int(found[2])) << 10


def open_barrier(
    folder: Path,
    commits: int,
    kind_of: Callable[[Path], int] = type_of,
    waiting: Callable[[], float] = waiting_bytes,
) -> Barrier | None:
    """Return a barrier for what so many commits write below a directory, None to do without."""
    if not files.can_sync_filesystem or not _reports():
        return None
    if kind_of(folder) not in (_TRUSTED if commits > 1 else _QUICK):
        return None
    return Barrier(folder) if waiting() <= commits * _WAITING_BYTES else None


def _reports() -> bool:
    system = os.uname()
    version = re.match(r"(\d+)\.(\d+)", system.release)
    if system.sysname != "Linux" or version is None:
        return False
    return (int(version[1]), int(version[2])) >= _REPORTING_LINUX
