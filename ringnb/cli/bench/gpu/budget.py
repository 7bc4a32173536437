"""The time that a case may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import final

__all__ = ["Budget"]


@final
class Budget:
    """Seconds that are given to a case, and to its parts.

    Parameters
    ----------
    seconds : float
        How long.
    clock : callable, default time.monotonic
        Seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + seconds

    @property
    def left_s(self) -> float:
        """Seconds left, not less than 0."""
        return max(0.0, self._until - self._clock())

    def part(self, share: float) -> Budget:
        """Set a share of what is left aside.

        Parameters
        ----------
        share : float
            Between 0 and 1.

        Returns
        -------
        Budget
            It ends before this one.
        """
        return Budget(self.left_s * share, self._clock)

    def split(self, n: int) -> Iterator[Budget]:
        """Deal what is left out to parts of equal length; what one leaves over goes to the next.

        Parameters
        ----------
        n : int
            How many.

        Yields
        ------
        Budget
            One after the other.
        """
        for i in range(n):
            yield self.part(1 / (n - i))

    def turns(self, at_least: int, at_most: int) -> Iterator[int]:
        """Count repetitions while there is time.

        Parameters
        ----------
        at_least, at_most : int
            How many, whatever the time; and at most.

        Yields
        ------
        int
            0, 1, and so on.
        """
        for i in range(at_most):
            if i >= at_least and self.left_s <= 0:
                return
            yield i
