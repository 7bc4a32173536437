"""Stepping on either side, to compare what comes out."""

from __future__ import annotations

import ringnb as rn
from ringnb.testing import MemoryStorage


def stepped(actors, backend, steps, **options):
    """Step each actor, all in one session with these options; return the fields of each."""
    config = rn.CheckpointConfig(enabled=False)
    options |= {"config": config, "storage": MemoryStorage()}
    with rn.Session(actors, backend=backend, **options) as s:
        for slot in range(len(actors)):
            s.run_steps(slot, steps)
        return [s.snapshot(slot).numpy() for slot in range(len(actors))]
