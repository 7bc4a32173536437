"""The device's clock on the host's: what the kernel stamps, in ``time.monotonic_ns()``.

A session compares when a state was captured with when it was asked for, so a stamp may come out a
little too early, never too late. No command is answered before it is sent: the time of sending less the
stamp of the answer is never more than the difference of the two clocks. The largest such difference is
the one to use; its error is the time of the quickest answer, microseconds on a GPU.

Not yet run on a device, like all that reads ``%globaltimer``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import final

__all__ = ["DeviceClock"]

_DRIFT = 10_000  # one part in so many, at which the clocks may drift apart


@final
class DeviceClock:
    """What to add to a stamp of the device; `clock` is the host's, nanoseconds."""

    def __init__(self, lanes: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._sent: list[deque[int]] = [deque() for _ in range(lanes)]
        self._offset: int | None = None
        self._known_at = 0

    def sending(self, lane: int) -> None:
        """Note that a command is about to be pushed. Any thread."""
        # Two threads may push in another order than they come here: the k-th command on the ring is then
        # still taken for one that was sent no later than it was, which is all that the bound needs.
        self._sent[lane].append(self._clock())

    def not_sent(self, lane: int) -> None:
        """Take back the last `sending`: the ring was full."""
        self._sent[lane].pop()

    def answered(self, lane: int, stamp_ns: int) -> None:
        """Learn from the answer to the oldest command on a lane, and when the device wrote it."""
        # The answers on a lane come in the order of its commands.
        bound = self._sent[lane].popleft() - stamp_ns
        now = self._clock()
        if self._offset is not None:
            bound = max(bound, self._offset - (now - self._known_at) // _DRIFT)
        self._offset, self._known_at = bound, now

    def on_host(self, stamp_ns: int) -> int:
        """Return the host's time of a stamp of the device, rather too early than too late."""
        assert self._offset is not None  # there is a stamp, so there was an answer
        return stamp_ns + self._offset
