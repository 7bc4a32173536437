"""When state is saved, where it is kept, and what is read back.

Start with `ringnb.checkpoint.manager`. One snapshot: `CheckpointManager.poll_due_snapshots` issues
a request to every actor that the `schedule` says is due; the caller carries it to a kernel, and
gives the answer to `complete_snapshot`, which checks it, saves it and applies `retention`
(`committing`). `history` finds an actor's checkpoints; `drawable` says what figures and panels show
of one. `ringnb.checkpoint.storage` keeps them, and the read-only arrays of models. Beside them, a
`report_writer` keeps numbers recorded at every so many steps, which `report` reads.

It imports `ringnb.messages`, `ringnb.errors` and `ringnb._support`, and never a kernel, an actor, a
session or anything above.
"""

from __future__ import annotations

from ringnb.checkpoint import retention
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.state import State
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo, SaveReceipt, Snapshot
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage, load_arrays

__all__ = [
    "Checkpoint",
    "CheckpointConfig",
    "CheckpointInfo",
    "CheckpointManager",
    "CheckpointStorage",
    "SaveReceipt",
    "Snapshot",
    "State",
    "ZarrStorage",
    "load_arrays",
    "retention",
]
