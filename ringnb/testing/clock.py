"""A clock that moves only when a test moves it.

Tests pass it wherever ringnb takes ``clock=``. It imports nothing of ringnb.
"""

from __future__ import annotations

import math
import threading
from typing import final

__all__ = ["ManualClock"]


@final
class ManualClock:
    """A stand-in for ``time.monotonic``.

    Parameters
    ----------
    start : float, default 0.0
        The first reading, seconds.

    Notes
    -----
    Any thread may read or advance it.

    Examples
    --------
    >>> clock = ManualClock()
    >>> clock.advance(2.5)
    2.5
    >>> clock()
    2.5
    """

    def __init__(self, start: float = 0.0) -> None:
        if not math.isfinite(start):
            msg = f"start must be finite seconds, got {start!r}"
            raise ValueError(msg)
        self._lock = threading.Lock()
        self._now_s = float(start)

    def __call__(self) -> float:
        """Return the present reading, seconds."""
        with self._lock:
            return self._now_s

    def advance(self, seconds: float) -> float:
        """Move the clock forwards.

        Parameters
        ----------
        seconds : float
            By how much; finite, >= 0, because a monotonic clock never goes back.

        Returns
        -------
        float
            The new reading, seconds.

        Raises
        ------
        ValueError
            If `seconds` is negative or not finite.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            msg = f"a monotonic clock advances by finite seconds >= 0, got {seconds!r}"
            raise ValueError(msg)
        with self._lock:
            self._now_s += seconds
            return self._now_s

    def __repr__(self) -> str:
        """Show the present reading."""
        return f"ManualClock({self():g})"
