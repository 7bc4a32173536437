"""Samples, the rows made of them, and what several cases do to get them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from ringnb.actors.base import MAX_PARAMS, Actor
from ringnb.kernel.client import KernelClient
from ringnb.messages.commands import Command

if TYPE_CHECKING:
    from ringnb.kernel.base import AbstractKernel
    from ringnb.session.session import Session

__all__ = [
    "Pairs",
    "Row",
    "Scale",
    "absolute",
    "interleaved",
    "median_and_p99",
    "padded_params",
    "percentile",
    "ratio_row",
    "ratios",
    "round_trip",
    "run_steps",
    "stepping_rate",
    "time_each_us",
    "time_s",
]

Pairs = Sequence[tuple[float, float]]
"""Ours and the baseline, per repetition."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How thoroughly to measure, and an empty scratch directory on the disk that is measured."""

    quick: bool
    directory: Path

    def times(self, full: int, quick: int) -> int:
        """Return a number of repetitions: of the whole benchmark, or of the quick one."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure: a short unique key, the figure in words with its baseline, its samples.

    `unit` is that of the samples, "x" for a ratio. `limit` says how the median relates to `target`, the
    figure to reach; both are None if there is none. `note` holds absolute figures or conditions, or why
    there are no samples: what could not be measured here is a row as well.
    """

    key: str
    what: str
    samples: Sequence[float]
    unit: str
    limit: Literal["<=", ">="] | None = None
    target: float | None = None
    note: str = ""

    @property
    def median(self) -> float | None:
        """The median of the samples; None without any."""
        return statistics.median(self.samples) if self.samples else None

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; None without one, or without samples."""
        if self.target is None or self.median is None:
            return None
        return self.median <= self.target if self.limit == "<=" else self.median >= self.target


def ratio_row(
    key: str,
    what: str,
    pairs: Pairs,
    behind: tuple[str, float, str],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    note: str = "",
) -> Row:
    """Return the row of ours over the baseline; `behind` is as for `absolute`, `note` follows that."""
    limit, target = _limit(at_most, at_least)
    return Row(key, what, ratios(pairs), "x", limit, target, absolute(pairs, *behind) + note)


def median_and_p99(
    key: str,
    what: str,
    batches: Sequence[Sequence[float]],
    unit: str,
    note: str,
    at_most: tuple[float | None, float | None] = (None, None),
) -> Iterator[Row]:
    """Yield two rows, of each batch's median and 99th percentile; the note belongs to the first."""
    for percent, word, most in ((50, "median", at_most[0]), (99, "p99", at_most[1])):
        samples = [percentile(batch, percent) for batch in batches]
        limit, target = _limit(most, None)
        shown = note if percent == 50 else ""
        yield Row(f"{key}_{word}", f"{what}: {word}", samples, unit, limit, target, shown)


def _limit(
    at_most: float | None, at_least: float | None
) -> tuple[Literal["<=", ">="] | None, float | None]:
    if at_most is not None:
        return "<=", at_most
    return (None, None) if at_least is None else (">=", at_least)


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


def time_each_us(call: Callable[[], object], n: int) -> list[float]:
    """Time `n` calls one by one, in microseconds."""
    taken = []
    for _ in range(n):
        began = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - began) / 1e3)
    return taken


def interleaved(
    ours: Callable[[], float],
    baseline: Callable[[], float],
    repetitions: int,
    *,
    warm_up: bool = True,
) -> list[tuple[float, float]]:
    """Measure two things in turn, the order changing every time, after one unmeasured round."""
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


def ratios(pairs: Pairs) -> list[float]:
    """Return ours over the baseline, per repetition."""
    return [a / b for a, b in pairs]


def absolute(pairs: Pairs, baseline: str, scale: float, unit: str) -> str:
    """Put the medians behind a ratio into words, times `scale`: ``"56 ms, raw write 40 ms"``."""
    ours = statistics.median(a for a, _ in pairs) * scale
    base = statistics.median(b for _, b in pairs) * scale
    return f"{ours:.3g} {unit}, {baseline} {base:.3g} {unit}"


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return a percentile, the nearest sample at or above it."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def run_steps(client: KernelClient, steps: int) -> None:
    """Have actor 0 make steps, and wait until it has made them."""
    goal = client.call(0, Command.RUN_STEPS, (steps,)).value
    client.wait_until(lambda: client.kernel.counters(0).step >= goal, None)


def round_trip(kernel: AbstractKernel, spin_ns: int) -> None:
    """Send a heartbeat over the bare rings, and take its answer off."""
    kernel.push_nowait(0, Command.HEARTBEAT, 1, 0, (), spin_ns=spin_ns)
    while kernel.peek(0) is None:
        kernel.check_alive()
    kernel.advance(0)


def stepping_rate(session: Session, seconds: float) -> float:
    """Return the steps per second that actor 0 of a running session takes for a while."""
    first, began = session.current_step(0), time.perf_counter()
    time.sleep(seconds)
    return (session.current_step(0) - first) / (time.perf_counter() - began)


def padded_params(actor: Actor) -> npt.NDArray[np.float64]:
    """Return an actor's first parameters as a kernel holds them."""
    values = list(actor.start_params(0).values())
    return np.array(values + [0.0] * (MAX_PARAMS - len(values)), np.float64)
