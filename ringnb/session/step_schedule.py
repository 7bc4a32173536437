"""Snapshots by the step count: which actors have passed a step at which one is wanted.

The checkpoint manager schedules by the clock. `StepSchedule` adds the other schedule that simulations
use: a checkpoint every so many steps. The service asks it at each turn. It knows no kernel and no
manager.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import final

__all__ = ["StepSchedule"]


@final
class StepSchedule:
    """Which actors are to be checkpointed when their step passes a multiple of a number. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interval: dict[int, int] = {}  # steps between two snapshots, by slot
        self._seen: dict[int, int] = {}  # the step at the last look
        self._due: set[int] = set()
        self.active = False  # whether any actor has a schedule

    def set(self, slot: int, steps: int | None, step: int) -> None:
        """Begin or, with None, end an actor's schedule; the step that it has now is not due."""
        with self._lock:
            self._due.discard(slot)
            self._interval.pop(slot, None)
            if steps is not None:
                self._interval[slot], self._seen[slot] = steps, step
            self.active = bool(self._interval)

    def interval(self, slot: int) -> int | None:
        """Return the steps between two snapshots of an actor; None without a schedule."""
        return self._interval.get(slot)

    def due(self, step_of: Callable[[int], int]) -> list[int]:
        """Return the actors that have passed a multiple and were not `mark_requested` since.

        One that was restored to an earlier step is due at the next multiple from there.
        """
        with self._lock:
            for slot, steps in self._interval.items():
                before, now = self._seen[slot], step_of(slot)
                self._seen[slot] = now
                if now // steps > before // steps:
                    self._due.add(slot)
            return sorted(self._due)

    def mark_requested(self, slot: int) -> None:
        """Note that a snapshot was requested that will be captured from now on."""
        with self._lock:
            self._due.discard(slot)
