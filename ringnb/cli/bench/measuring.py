"""Samples and the rows made of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ringnb.session.session import Session

__all__ = [
    "Row",
    "Scale",
    "absolute",
    "interleaved",
    "percentile",
    "ratios",
    "stepping_rate",
    "time_s",
]


@dataclass(frozen=True, slots=True)
class Scale:
    """How thoroughly to measure, and where to write.

    Attributes
    ----------
    quick : bool
        Fewer repetitions, no large sizes.
    directory : pathlib.Path
        An empty scratch directory on the disk that is measured.
    """

    quick: bool
    directory: Path

    def times(self, full: int, quick: int) -> int:
        """Return a number of repetitions.

        Parameters
        ----------
        full, quick : int
            Of the whole benchmark, and of the quick one.

        Returns
        -------
        int
            One of them.
        """
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure.

    Attributes
    ----------
    key : str
        Short name, unique.
    what : str
        The figure in words, with its baseline.
    samples : sequence of float
        One per repetition.
    unit : str
        Of the samples: "x" for a ratio, else "us", "ms", "s" or "%".
    limit : {"<=", ">="} or None
        How the median relates to `target`; None if there is none.
    target : float or None
        The figure to reach.
    note : str
        Absolute figures or conditions behind a ratio.
    """

    key: str
    what: str
    samples: Sequence[float]
    unit: str
    limit: Literal["<=", ">="] | None = None
    target: float | None = None
    note: str = field(default="")

    @property
    def median(self) -> float:
        """The median of the samples."""
        return statistics.median(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        if self.target is None:
            return None
        return self.median <= self.target if self.limit == "<=" else self.median >= self.target


def time_s(work: Callable[[], object]) -> float:
    """Time one call, in seconds, with the garbage collector held off."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    finally:
        if enabled:
            gc.enable()


def stepping_rate(session: Session, seconds: float) -> float:
    """Return the steps per second that actor 0 of a running session takes for a while."""
    first, began = session.current_step(0), time.perf_counter()
    time.sleep(seconds)
    return (session.current_step(0) - first) / (time.perf_counter() - began)


def interleaved(
    ours: Callable[[], float],
    baseline: Callable[[], float],
    repetitions: int,
    *,
    warm_up: bool = True,
) -> list[tuple[float, float]]:
    """Measure two things in turn, the order changing every time, after one unmeasured round.

    Parameters
    ----------
    ours, baseline : callable
        Do the work and return what was measured, such as seconds.
    repetitions : int
        Pairs.
    warm_up : bool, default True
        Whether to make the unmeasured round.

    Returns
    -------
    list of (float, float)
        Ours and the baseline, per repetition.
    """
    if warm_up:
        ours()
        baseline()
    pairs = []
    for i in range(repetitions):
        if i % 2:
            base = baseline()
            pairs.append((ours(), base))
        else:
            pairs.append((ours(), baseline()))
    return pairs


def ratios(pairs: Sequence[tuple[float, float]]) -> list[float]:
    """Return ours over the baseline, per repetition."""
    return [a / b for a, b in pairs]


def absolute(pairs: Sequence[tuple[float, float]], what: str, scale: float, unit: str) -> str:
    """Put the medians behind a ratio into words.

    Parameters
    ----------
    pairs : sequence of (float, float)
        From `interleaved`.
    what : str
        Name of the baseline.
    scale : float
        Factor to the unit that is shown.
    unit : str
        The unit.

    Returns
    -------
    str
        Such as ``"56 ms, raw write 40 ms"``.
    """
    ours = statistics.median(a for a, _ in pairs) * scale
    base = statistics.median(b for _, b in pairs) * scale
    return f"{ours:.3g} {unit}, {what} {base:.3g} {unit}"


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return a percentile, the nearest sample at or above it."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
