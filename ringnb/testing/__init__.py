"""Helps to test code built on ringnb: a manual clock, storages that fail, contract test classes.

The contract tests need pytest; import them from `ringnb.testing.kernels` and
`ringnb.testing.storages`. ``python -m ringnb.testing.trials`` tries to lose a checkpoint.
"""

from __future__ import annotations

from ringnb.testing.clock import ManualClock
from ringnb.testing.memory_storage import MemoryStorage

__all__ = ["ManualClock", "MemoryStorage"]
