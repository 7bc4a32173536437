"""The counters of a session, frozen at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from ringnb.kernel.base import ActorCounters, KernelStatistics

__all__ = ["SessionStatistics"]


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """Counters and queue depths of a session.

    Attributes
    ----------
    kernel : KernelStatistics
        Lanes, ring depths, staging buffers on loan.
    actors : tuple of ActorCounters
        One per slot.
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
    """

    kernel: KernelStatistics
    actors: tuple[ActorCounters, ...]
    pending: int
    completed: int
    failed: int
    waiting_to_send: int
    with_kernel: int
    being_written: int
    replies: int
    events: int
