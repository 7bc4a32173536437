"""Helpers to test code built on ringnb: a manual clock, a storage that fails, contract test classes.

`ManualClock` goes wherever ringnb takes ``clock=``, `MemoryStorage` wherever it takes ``storage=``.
A storage of your own passes `ringnb.testing.storages.StorageTests`, a kernel
`ringnb.testing.kernels.KernelTests`; these two modules need pytest, and are imported by their
names. For kernels there are also an exact actor with an independent reference (`mixer`), how far
backends may differ (`tolerance`), and what a run on a device has to show (`device_proofs`).
``python -m ringnb.testing.trials`` tries to lose a checkpoint.

It imports `ringnb.checkpoint`, `ringnb.kernel` and all below them, and never a session, a figure, a
panel or a command.
"""

from __future__ import annotations

from ringnb.testing.clock import ManualClock
from ringnb.testing.memory_storage import MemoryStorage

__all__ = ["ManualClock", "MemoryStorage"]
