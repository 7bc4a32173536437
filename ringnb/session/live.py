"""The sessions of this process that are open: who is told when one starts, and how all are closed.

Sessions are known weakly. They are closed before the interpreter tears down what their threads run on.
"""

from __future__ import annotations

import atexit
import contextlib
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

__all__ = ["close_all", "enter", "leave", "on_start", "open_sessions", "unsaved"]


class _Open(Protocol):
    def close(self) -> None:
        """Take a last checkpoint, and release everything."""


_live: weakref.WeakSet[Any] = weakref.WeakSet()
on_start: list[Callable[[Any], None]] = []
"""Called with each session that has started, on the thread that made it; what they raise closes it."""

unsaved: list[str] = []
"""Actors, as messages name them, whose last state could not be saved when their session was closed."""


def enter(session: _Open) -> None:
    """Count a session among those that are open, and tell `on_start`."""
    _live.add(session)
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
    _live.discard(session)
    unsaved.extend(unsaved_now)


def open_sessions() -> list[Any]:
    """Return the sessions that are open."""
    return list(_live)


def close_all() -> None:
    """Close every session, each with its last checkpoint; Ctrl-C goes on to the next."""
    for session in open_sessions():
        with contextlib.suppress(Exception, KeyboardInterrupt):
            session.close()
