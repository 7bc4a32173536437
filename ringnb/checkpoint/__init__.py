"""When state is saved, where it is kept, and what comes back. Knows no kernel.

Start with `ringnb.checkpoint.manager`: `CheckpointManager` owns a `schedule` (who is due, what was
asked) and hands each answer to `committing`, which saves it and applies `retention`; `history` reads
what is there. `ringnb.checkpoint.storage` keeps the checkpoints.

It imports `ringnb.messages`, `ringnb.errors` and `ringnb._support`, and never a kernel, an actor, a
session or anything above.
"""

from __future__ import annotations

from ringnb.checkpoint import retention
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo, SaveReceipt, Snapshot
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage

__all__ = [
    "Checkpoint",
    "CheckpointConfig",
    "CheckpointInfo",
    "CheckpointManager",
    "CheckpointStorage",
    "SaveReceipt",
    "Snapshot",
    "ZarrStorage",
    "retention",
]
