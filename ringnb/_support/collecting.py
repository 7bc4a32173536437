"""Garbage collection, held off while very many objects are made that stay, or nothing may cut in."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

__all__ = ["without_collection"]

_lock = threading.RLock()
_open: dict[object, bool] = {}  # the blocks: was garbage collected before the first of them?


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Let no garbage be collected in this block, in any thread. Blocks may overlap."""
    block = object()
    try:  # from here on: an interrupt may come between any two lines
        with _lock:
            _open[block] = next(iter(_open.values()), gc.isenabled())
            gc.disable()
        yield
    finally:
        with _lock:
            if _open.pop(block, False) and not _open:
                gc.enable()
