"""The counters of a session, frozen at one moment, and what a notebook shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ringnb._support.text import counted, facts_table, rows_table
from ringnb.actors.base import Actor
from ringnb.actors.link import Link
from ringnb.kernel.base import ActorCounters, KernelStatistics

__all__ = ["CapturedNumbers", "SessionStatistics", "SupervisionCounts"]

_MOST_SHOWN = 8  # actors


class CapturedNumbers(NamedTuple):
    """What the reductions of an actor were of a state that was captured.

    Attributes
    ----------
    step : int
        The step of that state.
    values : mapping of str to float
        The numbers by name.
    captured_ns : int
        When it was captured, by the clock of `time.monotonic_ns`.
    """

    step: int
    values: Mapping[str, float]
    captured_ns: int = 0

    def __str__(self) -> str:
        """Return the numbers in words."""
        told = ", ".join(f"{name} = {value:.6g}" for name, value in self.values.items())
        return f"{told} at step {self.step:,}"


class SupervisionCounts(NamedTuple):
    """What supervision had to do, in this session and in those that it has replaced.

    Attributes
    ----------
    failures : int
        How often a bad state, or an update that raised, was found.
    restarts : int
        Actors that went back to a checkpoint, or to their start if there was none.
    recomputed_steps : int
        Steps of all actors that were taken again, or still are to be.
    gave_up : bool
        Whether actors were left paused: they failed too often after the same checkpoints.
    """

    failures: int = 0
    restarts: int = 0
    recomputed_steps: int = 0
    gave_up: bool = False

    def __str__(self) -> str:
        """Return the counts in words."""
        what = f"{counted(self.failures, 'failure')}, {counted(self.restarts, 'restart')}, "
        what += f"{self.recomputed_steps:,} steps taken again"
        return f"{what}; given up" if self.gave_up else what


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """Counters and queue depths of a session.

    Attributes
    ----------
    kernel : KernelStatistics
        Lanes, ring depths, staging buffers on loan.
    actors : tuple of ActorCounters
        One per slot.
    times : tuple of float or None
        The simulated time of each, seconds; None where a step has no length.
    reduced : tuple of CapturedNumbers or None
        What the reductions of each were when its state was captured last, for a checkpoint or by
        `Session.state`; None where it was not, or where there are none.
    pending : int
        Snapshot requests that the manager has issued and not seen answered.
    completed, failed : int
        Snapshots committed; failed or expired.
    waiting_to_send : int
        Requests that wait for a free staging buffer.
    with_kernel : int
        Requests sent and not answered yet.
    being_written : int
        Answers received and not committed yet.
    replies : int
        Replies taken off the K2H rings.
    events : int
        Events logged.
    links : mapping of Link to bool
        The links between actors, and whether each is joined.
    supervision : SupervisionCounts or None
        What ``supervise=True`` had to do; None without it.
    saved : tuple of bool
        Whether an automatic checkpoint of each would hold nothing new, as `Session.is_saved` says.
    """

    kernel: KernelStatistics
    actors: tuple[ActorCounters, ...]
    times: tuple[float | None, ...]
    reduced: tuple[CapturedNumbers | None, ...]
    pending: int
    completed: int
    failed: int
    waiting_to_send: int
    with_kernel: int
    being_written: int
    replies: int
    events: int
    links: Mapping[Link, bool]
    supervision: SupervisionCounts | None = None
    saved: tuple[bool, ...] = ()  # last: a host of before does not send it

    def _repr_html_(self) -> str:
        k = self.kernel
        running, joined = sum(a.running for a in self.actors), sum(self.links.values())
        return facts_table(
            f"{counted(len(self.actors), 'actor')}, {running} of them running",
            {
                "steps": f"{sum(a.step for a in self.actors):,} of all actors",
                "snapshots": f"{self.completed:,} committed, {self.failed:,} failed, "
                f"{self.pending:,} pending",
                "of the pending": f"{self.waiting_to_send} wait for a staging buffer, "
                f"{self.with_kernel} with the kernel, {self.being_written} being written",
                "kernel": f"{counted(k.lanes, 'lane')} of {counted(k.width, 'thread')}, "
                f"{self.replies:,} replies",
                "on the rings": f"{sum(k.h2k_depth)} commands (H2K), {sum(k.k2h_depth)} replies "
                f"(K2H), {k.ring_capacity} slots each",
                "staging buffers on loan": sum(k.staging_taken),
                "events": f"{self.events:,}",
                **({"links": f"{joined} of {len(self.links)} joined"} if self.links else {}),
                **({} if self.supervision is None else {"supervision": str(self.supervision)}),
                **{
                    f"reductions of slot {slot}": str(numbers)
                    for slot, numbers in enumerate(self.reduced[:_MOST_SHOWN])
                    if numbers is not None
                },
            },
        )


def session_table(
    backend: str, actors: Sequence[Actor], statistics: SessionStatistics, state: str
) -> str:
    """Render a session as HTML: one line about it, and a row per actor."""
    rows = [
        (slot, actor.kernel_type, c.step, "running" if c.running else "paused")
        for slot, (actor, c) in enumerate(zip(actors, statistics.actors, strict=True))
    ]
    # A caption is as narrow as its table, and wraps: not within these two.
    where, stored = (
        text.replace(" ", "\N{NO-BREAK SPACE}")
        for text in (f"Session on {backend}:", counted(statistics.completed, "checkpoint"))
    )
    return rows_table(f"{where} {state}, {stored}", ("slot", "model", "step", "state"), rows)
