"""A notebook cell that is run again: the session that it made the last time is closed first.

Otherwise two kernels would write the same histories, and every run would leave threads behind. A
session is remembered, weakly, under the cell that made it, its store and its actors' identities; only a
later run of the same cell, with the same store and identities, closes it. Outside a notebook nothing
happens.

A notebook server interrupts the cell that runs and asks the kernel to end, which ends the interpreter. A
cell that goes on keeps the kernel from hearing it: then SIGTERM comes, and SIGKILL soon after.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Hashable, Sequence
from types import FrameType
from typing import Any, Protocol

from ringnb.session import live

__all__ = ["close_at_sigterm", "close_previous", "current_run", "remember", "tell_all"]

_LOG = logging.getLogger("ringnb")


class _Displaceable(Protocol):
    def close(self) -> None:
        """Release everything."""

    def tell_displaced(self) -> None:
        """Call what was given to ``on_displaced``."""


Run = tuple[str, int]  # the cell's id as the front end gives it, and the number of the execution

_made: dict[Hashable, tuple[int, weakref.ref[Any]]] = {}  # the execution, and the session


def current_run() -> Run | None:
    """Return which notebook cell runs, and in which execution; None outside a notebook."""
    ipython = sys.modules.get("IPython")  # never imported for this
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "get_parent"):
        return None
    try:
        cell = shell.get_parent()["metadata"]["cellId"]
    except (KeyError, TypeError, LookupError):
        return None
    return str(cell), int(shell.execution_count)


def close_previous(run: Run | None, store: str, kernel_ids: Sequence[str]) -> bool:
    """Close what an earlier run of this cell made with the same store and identities, if anything."""
    if run is None:
        return False
    cell, execution = run
    earlier, ref = _made.get((cell, store, tuple(kernel_ids)), (execution, None))
    session = ref() if ref is not None else None
    if session is None or earlier == execution:
        return False
    with contextlib.suppress(Exception):  # failures of its background threads are not this cell's
        session.close()
    session.tell_displaced()
    return True


def remember(
    run: Run | None, store: str, kernel_ids: Sequence[str], session: _Displaceable
) -> None:
    """Remember, weakly, the session that this run of a cell has made."""
    for key, (_, ref) in list(_made.items()):
        if ref() is None:
            del _made[key]
    if run is not None:
        _made[(run[0], store, tuple(kernel_ids))] = (run[1], weakref.ref(session))


def tell_all(callbacks: list[Callable[[Any], object]], displaced: object) -> None:
    """Call what was given to ``on_displaced``, each once; what it raises is logged."""
    while callbacks:
        callback = callbacks.pop(0)
        try:
            callback(displaced)
        except Exception:  # noqa: BLE001 - the subscriber's: logged, whatever it is
            _LOG.exception("a callback of on_displaced failed")


def close_at_sigterm() -> None:
    """In a notebook's kernel, have SIGTERM close the sessions before it ends the process."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is None:
        return
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    live.close_all()
    # As without us. SystemExit would only end the cell that runs.
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
