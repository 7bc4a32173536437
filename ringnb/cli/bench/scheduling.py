"""Cases about the manager alone: a poll costs work for those that are due, not for all."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.cli.bench.measuring import Row, Scale, percentile
from ringnb.testing import ManualClock, MemoryStorage

__all__ = ["polls"]

_ACTORS = 100_000


def polls(scale: Scale) -> Iterator[Row]:
    """Poll with 100,000 registered: none due, and all pending."""
    manager = CheckpointManager(CheckpointConfig(), MemoryStorage(), clock=ManualClock())
    for slot in range(_ACTORS):
        manager.register_actor(slot, f"k{slot}", "t")
    began = time.perf_counter()
    requests = manager.poll_due_snapshots()
    all_due = time.perf_counter() - began

    def batch() -> float:
        """Return the median of some polls, in microseconds."""
        taken = []
        for _ in range(500):
            began = time.perf_counter_ns()
            due = manager.poll_due_snapshots()
            taken.append((time.perf_counter_ns() - began) / 1e3)
            assert not due
        return percentile(taken, 50)

    pending = [batch() for _ in range(scale.times(15, 5))]
    manager.cancel_all_pending()
    idle = [batch() for _ in range(scale.times(15, 5))]
    manager.close()
    yield Row(
        "poll", "poll with 100,000 actors registered, none due", idle, "us", "<=", 20.0, "per 500"
    )
    yield Row(
        "poll_pending",
        "poll with 100,000 requests pending",
        pending,
        "us",
        "<=",
        20.0,
        f"the poll that asked for all {len(requests):,} of them took {all_due:.2f} s",
    )
