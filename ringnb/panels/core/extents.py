"""The lowest and highest value of a field over all of an actor's checkpoints that were read so far."""

from __future__ import annotations

import math
import threading
from typing import final

__all__ = ["Extents"]


@final
class Extents:
    """What pictures of one range need; each reader of a checkpoint notes its ends. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[tuple[str, str], tuple[float, float]] = {}

    def note(self, kernel_id: str, field: str, low: float | None, high: float | None) -> None:
        """Take in the ends of a field of one checkpoint; None or nan if no value is finite."""
        if low is None or high is None or math.isnan(low) or math.isnan(high):
            return
        with self._lock:
            lowest, highest = self._ends.get((kernel_id, field), (low, high))
            self._ends[kernel_id, field] = min(lowest, low), max(highest, high)

    def of(self, kernel_id: str, field: str) -> tuple[float, float] | None:
        """Return the ends of what was noted, or None if nothing was."""
        with self._lock:
            return self._ends.get((kernel_id, field))
