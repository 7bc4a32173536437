"""The few file operations that a commit consists of. Every change to a local store is one of these.

To see, delay, stop or fail them, put an `Interposer` between storage and system, with `interposing`:
the trials of the storage do, and the fault switches of a session.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

__all__ = [
    "Interposer",
    "can_sync_filesystem",
    "create_file",
    "interposing",
    "link",
    "make_directory",
    "place",
    "remove_directory",
    "remove_file",
    "rename",
    "sync_directory",
    "sync_file",
    "sync_filesystem",
    "touch_directory",
    "write_data",
    "write_file",
]


_P = ParamSpec("_P")
_R = TypeVar("_R")

# ``interposer(name, arguments, call)`` is called in place of the operation; ``call()`` does it.
Interposer = Callable[[str, tuple[Any, ...], Callable[[], Any]], Any]

# How file systems say that they have no hard links.
_NO_LINKS = frozenset(
    [errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK]
)

_interposers: tuple[Interposer, ...] = ()
_changing = threading.Lock()


@contextlib.contextmanager
def interposing(interposer: Interposer) -> Iterator[None]:
    """Have every file operation of this process go through a function, for a ``with`` block.

    It returns what ``call()`` returns, or raises. It runs on the thread that commits or deletes,
    inside those that were put in place before it. Operations that have begun keep the interposers
    that they began with.
    """
    global _interposers  # noqa: PLW0603 - replaced as a whole, so that readers need no lock
    with _changing:
        _interposers = (*_interposers, interposer)
    try:
        yield
    finally:
        with _changing:
            kept = list(_interposers)
            kept.remove(interposer)
            _interposers = tuple(kept)


def _operation(name: str, function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a function an operation, which interposers see under that name."""

    @functools.wraps(function)
    def operate(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not _interposers:
            return function(*args, **kwargs)
        call: Callable[[], Any] = functools.partial(function, *args, **kwargs)
        for interposer in _interposers:
            call = functools.partial(interposer, name, args, call)
        result: _R = call()
        return result

    return operate


def _create_file(path: Path | str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _write_data(fd: int, buffers: Iterable[memoryview | bytes]) -> None:
    for buffer in buffers:  # the next one may be made in the memory of this one
        rest = memoryview(buffer).cast("B")
        while rest:  # a write may be cut short
            rest = rest[os.write(fd, rest) :]


def _sync_directory(path: Path | str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


_libc = ctypes.CDLL(None, use_errno=True)
can_sync_filesystem = hasattr(_libc, "syncfs")  # Linux


def _sync_filesystem(fd: int) -> None:
    if _libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


# One that exists already is a FileExistsError, for a file as for a directory.
make_directory = _operation("make_directory", os.mkdir)
create_file = _operation("create_file", _create_file)
# Several buffers one after the other, without joining them in memory. To iterate over them again is
# to make them again, maybe with other content: an interposer that looks at them joins them first.
write_data = _operation("write_data", _write_data)
# Wait until the disk has a file's content, or a directory's entries.
sync_file = _operation("sync_file", os.fsync)
sync_directory = _operation("sync_directory", _sync_directory)
# Wait until the disk has all files and directories of the file system that an open file is on.
sync_filesystem = _operation("sync_filesystem", _sync_filesystem)
# Within a file system, at once; a directory is never moved over one that is not empty.
rename = _operation("rename", os.rename)
# A second name of a file: its bytes are stored once and live as long as one name.
link = _operation("link", functools.partial(os.link, follow_symlinks=False))
# Move a directory's time stamp on, so that processes that remember its content look again.
touch_directory = _operation("touch_directory", os.utime)
remove_file = _operation("remove_file", os.unlink)
remove_directory = _operation("remove_directory", os.rmdir)


def write_file(path: Path | str, buffers: Iterable[memoryview | bytes], *, durable: bool) -> None:
    """Create a file and write buffers to it; `durable` waits until the disk has them."""
    fd = create_file(path)
    try:
        write_data(fd, buffers)
        if durable:
            sync_file(fd)
    finally:
        os.close(fd)


def place(staged: Path, target: Path) -> bool:
    """Give a staged file its name, unless that is taken; return whether it was free."""
    try:
        link(staged, target)
    except FileExistsError:
        placed = False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        placed = False
        if not os.path.lexists(target):
            rename(staged, target)
            return True
    else:
        placed = True
    remove_file(staged)
    return placed
