"""The sessions of this process that are open: who is told when one starts, and how all are closed.

Sessions are known weakly. They are closed before the interpreter tears down what their threads run on.

One that no variable refers to any more is ended by another thread than the one that finds it. That one
may hold a lock that the session's threads need, or be one of them: its finaliser waits for nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol, final

from ringnb._support.off_main import hand_over, off_main

__all__ = [
    "await_endings",
    "close_all",
    "end_later",
    "enter",
    "leave",
    "on_start",
    "open_sessions",
    "unsaved",
]

_BEFORE_NEXT_S = 1.0
_AT_EXIT_S = 15.0


class _Open(Protocol):
    def close(self) -> None:
        """Take a last checkpoint, and release everything."""


_live: weakref.WeakKeyDictionary[Any, None] = weakref.WeakKeyDictionary()
on_start: list[Callable[[Any], None]] = []
"""Called with each session that has started, on the thread that made it; what they raise closes it."""

unsaved: list[str] = []
"""Actors, as messages name them, whose last state could not be saved when their session was closed."""


def enter(session: _Open) -> None:
    """Count a session among those that are open, and tell `on_start`."""
    _live[session] = None
    # Registered again, so that it runs before all that was registered until now: commits under way
    # at exit read the kernel's buffers, which finalisers free.
    atexit.unregister(close_all)
    atexit.register(close_all)
    try:
        for tell in on_start:
            tell(session)
    except BaseException:
        with contextlib.suppress(Exception):
            session.close()
        raise


def leave(session: _Open, unsaved_now: Sequence[str]) -> None:
    """Take a session out that was closed; say which of its actors' last states could not be saved."""
    _live.pop(session, None)
    unsaved.extend(unsaved_now)


def open_sessions() -> list[Any]:
    """Return the sessions that are open, in the order in which they began."""
    return list(_live)


def close_all() -> None:
    """Close every session, each with its last checkpoint; Ctrl-C goes on to the next."""
    for session in open_sessions():
        with contextlib.suppress(Exception, KeyboardInterrupt):
            session.close()
    with contextlib.suppress(Exception, KeyboardInterrupt):
        await_endings(_AT_EXIT_S)


@final
class _Ending:
    """What is left to do for a session that was dropped."""

    def __init__(self, end: Callable[[], object]) -> None:
        self._end = end
        self._begun = threading.Lock()
        self.done = threading.Event()

    def run(self) -> None:
        """Do it, unless another thread does."""
        if not self._begun.acquire(blocking=False):
            return
        try:
            with contextlib.suppress(Exception):  # there is no call that could raise it
                self._end()
        finally:
            del self._end  # with memory that may be large
            _endings.discard(self)
            self.done.set()


_endings: set[_Ending] = set()  # strongly, with the parts of the sessions


def end_later(end: Callable[[], object]) -> None:
    """Have a dropped session ended by another thread. For finalisers: it waits for nothing."""
    ending = _Ending(end)
    _endings.add(ending)
    with contextlib.suppress(RuntimeError):  # no thread can be started: `await_endings` does it
        hand_over(ending.run)


def await_endings(limit_s: float = _BEFORE_NEXT_S) -> None:
    """Wait until the sessions that were dropped have ended: they hold memory, cores, or a GPU."""
    if _endings:
        _await_endings(limit_s)


@off_main
def _await_endings(limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    for ending in list(_endings):
        try:
            hand_over(ending.run)  # if that was not possible before
        except RuntimeError:
            ending.run()
        ending.done.wait(max(0.0, deadline - time.monotonic()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_endings.clear)  # their threads stay behind
