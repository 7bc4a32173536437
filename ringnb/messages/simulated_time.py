"""Simulated time as a function of the step.

A sum of steps would depend on how it is rounded on the way: a restored run would end at another last
bit than the run that it continues. So time is not summed up. It is computed from the step alone, counted
from where the length of a step was last changed, and a checkpoint stores that place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

__all__ = ["SimulatedTime"]


class SimulatedTime(NamedTuple):
    """The simulated time of an actor, for as long as the length of its step does not change.

    Attributes
    ----------
    seconds : float
        The time at `step`.
    step : int
        Where the length of a step was last changed.
    dt : float
        Seconds per step from there on; 0.0 where it is not known how time goes on.
    """

    seconds: float = 0.0
    step: int = 0
    dt: float = 0.0

    def at(self, step: int) -> float:
        """Return the time at a step, seconds: the same bits however the steps were taken."""
        return self.seconds + (step - self.step) * self.dt

    def with_dt(self, step: int, dt: float) -> Self:
        """Return what holds from a step on, at which the length of a step becomes `dt`.

        Nothing changes where it has that length already: time is counted from the same place, so its
        bits stay.
        """
        return self if dt == self.dt else type(self)(self.at(step), step, dt)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self | None:
        """Return what a checkpoint records of it, None where a step has no length.

        Versions that did not know it recorded a step and the length of one: these say the time.
        """
        stored = record.get("clock")
        if stored is not None:
            return cls(float(stored["time"]), int(stored["step"]), float(stored["dt"]))
        dt = record["params"].get("dt")
        if isinstance(dt, bool) or not isinstance(dt, int | float):
            return None
        return cls(dt=float(dt))
