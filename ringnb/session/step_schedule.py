"""Snapshots by the step count: which actors have reached a step at which one is wanted.

The checkpoint manager schedules by the clock. `StepSchedule` adds the other habit of simulations, a
checkpoint every so many steps, of which the service asks each turn whether one is due.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import final

__all__ = ["StepSchedule"]


@final
class StepSchedule:
    """Which actors are to be checkpointed whenever their step passes a multiple of a number.

    Notes
    -----
    Every method may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._every: dict[int, int] = {}
        self._seen: dict[int, int] = {}

    def set(self, slot: int, steps: int | None, step: int) -> None:
        """Choose or end an actor's schedule.

        Parameters
        ----------
        slot : int
            The actor.
        steps : int or None
            Steps between two snapshots; None ends it.
        step : int
            Where the actor stands: this step itself is not due.
        """
        with self._lock:
            self._every.pop(slot, None)
            if steps is not None:
                self._every[slot], self._seen[slot] = steps, step

    def every(self, slot: int) -> int | None:
        """Return the steps between two snapshots of an actor.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        int or None
            None without a schedule.
        """
        return self._every.get(slot)

    @property
    def active(self) -> bool:
        """Whether any actor has a schedule."""
        return bool(self._every)

    def due(self, step_of: Callable[[int], int]) -> list[int]:
        """Return the actors that have passed a multiple since the last look.

        Parameters
        ----------
        step_of : callable
            Returns the step of a slot.

        Returns
        -------
        list of int
            Their slots. One that was restored to an earlier step is due at the next multiple from
            there.
        """
        due = []
        with self._lock:
            for slot, steps in self._every.items():
                before, now = self._seen[slot], step_of(slot)
                self._seen[slot] = now
                if now // steps > before // steps:
                    due.append(slot)
        return due
