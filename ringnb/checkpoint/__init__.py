"""When state is saved, where it is kept, and what comes back. Knows no kernel."""

from __future__ import annotations

from ringnb.checkpoint import retention
from ringnb.checkpoint.checkpoint import Checkpoint
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.storage import CheckpointInfo, CheckpointStorage, SaveReceipt, Snapshot
from ringnb.checkpoint.zarr_storage import ZarrStorage

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
