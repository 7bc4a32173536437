"""Cases about the manager alone: a poll costs work for those that are due, not for all."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.cli.bench.measuring import Row, Scale, percentile, time_each_us
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

    def medians() -> list[float]:
        """Return the medians of batches of polls, in microseconds."""
        assert not manager.poll_due_snapshots()
        return [
            percentile(time_each_us(manager.poll_due_snapshots, 500), 50)
            for _ in range(scale.times(15, 5))
        ]

    pending = medians()
    manager.cancel_all_pending()
    idle = medians()
    manager.close()
    what = "poll with 100,000 actors registered, none due"
    yield Row("poll", what, idle, "us", "<=", 20.0, "per 500")
    note = f"the poll that asked for all {len(requests):,} of them took {all_due:.2f} s"
    what = "poll with 100,000 requests pending"
    yield Row("poll_pending", what, pending, "us", "<=", 20.0, note)
