"""When pictures go to the page: so many a second at most, one on its way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import final

__all__ = ["Pace"]


@final
class Pace:
    """What all pictures of a session keep to. `wait` and `begin` are the drawer's thread's.

    On a slow connection pictures that are sent one after the other would pile up, and the last one of a
    drag would come late. So the page tells that a picture has come, before the next one is sent. A page
    that has told nothing is not waited for.
    """

    def __init__(
        self,
        rest_s: float,
        patience_s: float = 1.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._rest_s = rest_s
        self._patience_s = patience_s  # a picture may be lost, and a page closed
        self._number = 0
        self._sent_at = 0.0
        self._tells = False
        self._came = threading.Event()

    def wait(self) -> None:
        """Wait until the next picture may be sent."""
        if self._tells:
            left_s = self._sent_at + self._patience_s - self._clock()
            self._tells = self._came.wait(max(0.0, left_s))
        self._sleep(max(0.0, self._sent_at + self._rest_s - self._clock()))

    def begin(self) -> int:
        """Note that a picture is sent now; return its number, by which the page tells that it came."""
        self._came.clear()
        self._number += 1
        self._sent_at = self._clock()
        return self._number

    def note_arrival(self, number: int) -> None:
        """Note that a page has a picture. Any thread."""
        if number >= self._number:
            self._tells = True
            self._came.set()
