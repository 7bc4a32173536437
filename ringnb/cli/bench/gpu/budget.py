"""The time that a case may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import final

__all__ = ["Budget"]


@final
class Budget:
    """Seconds that are given to a case, and to its parts."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + seconds

    @property
    def left_s(self) -> float:
        """Seconds left, not less than 0."""
        return max(0.0, self._until - self._clock())

    def part(self, share: float) -> Budget:
        """Return a budget of a share (0 to 1) of what is left; it ends before this one."""
        return Budget(self.left_s * share, self._clock)

    def split(self, n: int) -> Iterator[Budget]:
        """Deal what is left out to `n` equal parts; what one leaves over goes to the next ones."""
        for i in range(n):
            yield self.part(1 / (n - i))

    def turns(self, at_least: int, at_most: int) -> Iterator[int]:
        """Count repetitions while there is time: at least and at most so many."""
        for i in range(at_most):
            if i >= at_least and self.left_s <= 0:
                return
            yield i
