"""The few file operations that a commit consists of. Every change to a local store goes through here.

Whoever wants to see, delay, stop or fail them puts an `Interposer` between storage and system, with
`interposing`: the trials of the storage do, and the fault switches of a session.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

__all__ = [
    "Interposer",
    "create_file",
    "interposing",
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


_P = ParamSpec("_P")
_R = TypeVar("_R")

# ``interposer(name, arguments, call)`` stands in for the function of that name; ``call()`` does it.
Interposer = Callable[[str, tuple[Any, ...], Callable[[], Any]], Any]

_interposers: tuple[Interposer, ...] = ()
_changing = threading.Lock()


@contextlib.contextmanager
def interposing(interposer: Interposer) -> Iterator[None]:
    """Have every file operation of this process go through a function.

    Parameters
    ----------
    interposer : callable
        ``interposer(name, arguments, call)``; it returns what ``call()`` returns, or raises. It runs
        on whichever thread commits or deletes, inside those that were put in place before it.

    Yields
    ------
    None
        For the length of the block; operations under way keep those they began with.
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


def _operation(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a function one that interposers see."""

    @functools.wraps(function)
    def operate(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Do it, through whatever stands in between."""
        call: Callable[[], Any] = functools.partial(function, *args, **kwargs)
        for interposer in _interposers:
            call = functools.partial(interposer, function.__name__, args, call)
        result: _R = call()
        return result

    return operate


@_operation
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


@_operation
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


@_operation
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


@_operation
def sync_file(fd: int) -> None:
    """Wait until the disk has a file's content.

    Parameters
    ----------
    fd : int
        The file.
    """
    os.fsync(fd)


@_operation
def link(source: Path, target: Path) -> None:
    """Give a file a second name (a hard link): its bytes are stored once and live as long as a name.

    Parameters
    ----------
    source, target : pathlib.Path
        The file, and its new name in the same file system.
    """
    os.link(source, target, follow_symlinks=False)


@_operation
def touch_directory(path: Path) -> None:
    """Move a directory's time stamp on, so that whoever remembers its content looks again.

    Parameters
    ----------
    path : pathlib.Path
        The directory.
    """
    os.utime(path)


@_operation
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


@_operation
def rename(source: Path, target: Path) -> None:
    """Move a file or directory within a file system, at once.

    Parameters
    ----------
    source, target : pathlib.Path
        Old and new path; a directory is never moved over one that is not empty.
    """
    os.rename(source, target)


@_operation
def remove_file(path: Path) -> None:
    """Remove a file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    """
    os.unlink(path)


@_operation
def remove_directory(path: Path) -> None:
    """Remove an empty directory.

    Parameters
    ----------
    path : pathlib.Path
        The directory.
    """
    os.rmdir(path)
