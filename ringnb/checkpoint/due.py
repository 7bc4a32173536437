"""When actors are due: a heap whose outdated entries are dropped when they surface.

`ringnb.checkpoint.schedule` owns one queue. This module imports nothing of ringnb, and reads no
clock.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DueQueue", "retry_delay"]

_FIRST_RETRY_S = 1.0
_MIN_GARBAGE = 64


def retry_delay(failures: int, interval_s: float) -> float:
    """Return how long to wait after a failed snapshot.

    Parameters
    ----------
    failures : int
        Failures in a row, >= 1.
    interval_s : float
        The interval between automatic snapshots, seconds.

    Returns
    -------
    float
        Seconds: one second or an eighth of the interval, whichever is less, doubled by every
        further failure, and never more than one interval.
    """
    first = min(_FIRST_RETRY_S, interval_s / 8)
    return min(interval_s, math.ldexp(first, min(failures - 1, 64)))


@final
class DueQueue:
    """Due times by slot, earliest first, ties by slot. All operations are O(log n) amortised."""

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def set(self, slot: int, due_s: float) -> None:
        """Make a slot due at a time, instead of when it was due before.

        Parameters
        ----------
        slot : int
            The actor's slot.
        due_s : float
            When, seconds of the caller's clock.
        """
        self._due[slot] = due_s
        heapq.heappush(self._heap, (due_s, slot))
        if len(self._heap) > 2 * len(self._due) + _MIN_GARBAGE:
            self._heap = [(due, at) for at, due in self._due.items()]
            heapq.heapify(self._heap)

    def discard(self, slot: int) -> None:
        """Make a slot not due at all; what its entry in the heap says no longer holds.

        Parameters
        ----------
        slot : int
            The actor's slot.
        """
        self._due.pop(slot, None)

    def next_due(self) -> float | None:
        """Return the earliest due time, or None if nothing is due ever.

        Returns
        -------
        float or None
            Seconds of the caller's clock.
        """
        heap = self._heap
        while heap and self._due.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> Iterator[tuple[float, int]]:
        """Take out what is due, oldest first, ties by slot.

        Parameters
        ----------
        now : float
            The time, seconds of the caller's clock.

        Yields
        ------
        tuple of float and int
            When the slot became due, and the slot.
        """
        while (due := self.next_due()) is not None and due <= now:
            slot = heapq.heappop(self._heap)[1]
            del self._due[slot]
            yield due, slot
