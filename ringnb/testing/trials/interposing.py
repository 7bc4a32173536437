"""Step between ringnb's storage and the operating system: see, stop or fail each file operation.

All changes to a local store go through the functions of `ringnb.checkpoint.files`, which `interposed`
replaces for the length of a ``with`` block. Commits are made to write their chunks one after the other
meanwhile, so that operations come in the same order every time.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from ringnb.checkpoint import directory, files

__all__ = ["Around", "Operation", "interposed"]

# Those that the kernel sees; `files.write_file` is made of three of them.
_NAMES = (
    "make_directory",
    "create_file",
    "write_data",
    "sync_file",
    "sync_directory",
    "link",
    "rename",
    "remove_file",
    "remove_directory",
    "touch_directory",
)


@dataclass(frozen=True)
class Operation:
    """One call to the operating system.

    Attributes
    ----------
    kind : str
        The function of `ringnb.checkpoint.files`.
    path : pathlib.Path
        What it is about.
    target : pathlib.Path or None
        The new name, of a rename or a link.
    data : bytes
        What is written.
    """

    kind: str
    path: Path
    target: Path | None = None
    data: bytes = b""


Around = Callable[[Operation, Callable[[], Any]], Any]


@contextlib.contextmanager
def interposed(around: Around) -> Iterator[None]:
    """Call something in place of every file operation.

    Parameters
    ----------
    around : callable
        ``around(operation, call)``; ``call()`` does it. It is called by one thread at a time, with
        no lock that storage could wait for.

    Yields
    ------
    None
        For the length of the block.
    """
    guard = threading.RLock()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(directory, "_WORKERS", 1))
        for name in _NAMES:
            wrapped = _wrap(name, getattr(files, name), around, guard)
            stack.enter_context(mock.patch.object(files, name, wrapped))
        yield


def _wrap(name: str, real: Callable[..., Any], around: Around, guard: threading.RLock) -> Any:
    def wrapped(*args: Any) -> Any:
        """Describe the call and hand it over."""
        path = Path(os.readlink(f"/proc/self/fd/{args[0]}")) if name in _BY_FD else Path(args[0])
        target = Path(args[1]) if name in {"link", "rename"} else None
        data = b"".join(bytes(b) for b in args[1]) if name == "write_data" else b""
        with guard:
            return around(Operation(name, path, target, data), lambda: real(*args))

    return wrapped


_BY_FD = {"write_data", "sync_file"}
