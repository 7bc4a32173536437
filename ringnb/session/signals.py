"""Signals that announce an end: a checkpoint first, then what the signal is for.

Batch systems, `kill` and a machine that shuts down send SIGTERM some time before they kill; some send
another signal, if asked to, earlier.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Literal

from ringnb.session.live import open_sessions

__all__ = ["checkpoint_on_signal"]

_UNSEEN = {getattr(signal, name, None) for name in ("SIGKILL", "SIGSTOP")}


def checkpoint_on_signal(*signals: int, then: Literal["exit", "continue"] = "exit") -> None:
    """Have signals commit what has changed in every open session, before they do what they are for.

    Parameters
    ----------
    *signals : int
        Such as ``signal.SIGTERM``.
    then : {"exit", "continue"}, default "exit"
        What follows. "exit" calls the function that the program had set for the signal before. If there
        was none it raises `SystemExit` with the status that a shell gives such an end, 128 and the
        signal's number: ``finally`` and ``with`` blocks are carried out. "continue" goes on where the
        signal came.

    Raises
    ------
    TypeError, ValueError
        If there is no signal, one that cannot be handled, or this is not the main thread.

    Notes
    -----
    It holds for sessions that are opened later as well; calling it again for a signal replaces what was
    set here. Each session gets its ``on_close_timeout``. Python carries out a handler between two of its
    own operations: a call into compiled code that lasts, other than those of ringnb, delays it.

    Examples
    --------
    >>> import signal
    >>> import ringnb as rn
    >>> rn.checkpoint_on_signal(signal.SIGTERM)
    >>> rn.checkpoint_on_signal(signal.SIGUSR1, then="continue")
    >>> for number in (signal.SIGTERM, signal.SIGUSR1):
    ...     _ = signal.signal(number, signal.SIG_DFL)
    """
    if not signals:
        msg = "no signal is given: checkpoint_on_signal(signal.SIGTERM)"
        raise ValueError(msg)
    if then not in ("exit", "continue"):
        msg = f"then must be 'exit' or 'continue', got {then!r}"
        raise ValueError(msg)
    for number in signals:
        if isinstance(number, bool) or not isinstance(number, int):
            msg = f"a signal must be a number such as signal.SIGTERM, got {number!r}"
            raise TypeError(msg)
        if number not in signal.valid_signals() or number in _UNSEEN:
            msg = f"signal {number!r} cannot be handled: no process sees it. Take signal.SIGTERM"
            raise ValueError(msg)
    if threading.current_thread() is not threading.main_thread():
        msg = "only the main thread may set what a signal does: call checkpoint_on_signal there"
        raise ValueError(msg)
    for number in signals:
        before = signal.getsignal(number)
        if isinstance(before, _Handler):
            before = before.before
        signal.signal(number, _Handler(before, then))


class _Handler:
    """What is called for a signal."""

    def __init__(self, before: Callable[..., Any] | int | None, then: str) -> None:
        self.before = before
        self.then = then

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Save, then go on or end."""
        for session in open_sessions():
            with contextlib.suppress(Exception):  # its next call raises it, or it is closed
                session.save_changes()
        if self.then == "continue":
            return
        if callable(self.before):
            self.before(number, frame)
        else:
            raise SystemExit(128 + number)
