"""Step between ringnb's storage and the operating system: see, stop or fail each file operation.

All changes to a local store go through `ringnb.checkpoint.storage.directory.files`; for the length of a
``with`` block `interposed` is called in its place. Meanwhile commits write their chunks one after the
other, groups have a barrier and single commits none, so that operations come in the same order every
time.
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

from ringnb.checkpoint.storage.directory import backend as directory
from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.directory.barrier import Barrier

__all__ = ["Around", "Operation", "interposed"]


@dataclass(frozen=True)
class Operation:
    """One call to the operating system; `kind` is a function of the storage's module ``files``."""

    kind: str
    path: Path
    target: Path | None = None  # the new name, of a rename or a link
    data: bytes = b""  # what is written


Around = Callable[[Operation, Callable[[], Any]], Any]


@contextlib.contextmanager
def interposed(around: Around) -> Iterator[None]:
    """Call ``around(operation, call)`` in place of every file operation; ``call()`` does it.

    One thread at a time calls it, with no lock that storage could wait for.
    """
    guard = threading.RLock()

    def intercept(name: str, arguments: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        """Describe the call and hand it over."""
        first = arguments[0]
        path = Path(os.readlink(f"/proc/self/fd/{first}")) if name in _BY_FD else Path(first)
        target = Path(arguments[1]) if name in {"link", "rename"} else None
        data = b"".join(bytes(b) for b in arguments[1]) if name == "write_data" else b""
        with guard:
            return around(Operation(name, path, target, data), call)

    with (
        mock.patch.object(directory, "_WORKERS", 1),
        mock.patch.object(directory, "open_barrier", _barrier_of_group),
        files.interposing(intercept),
    ):
        yield


def _barrier_of_group(folder: Path, commits: int) -> Barrier | None:
    return Barrier(folder) if commits > 1 else None


_BY_FD = {"write_data", "sync_file", "sync_filesystem"}
