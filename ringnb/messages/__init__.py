"""What travels between host and kernel, and what is told of it.

`ringnb.messages.commands`: commands and replies, the 64-byte slots of the two rings.
`ringnb.messages.snapshots`: the requests and responses of a checkpoint manager.
`ringnb.messages.events`: the stages of a checkpoint's life, and the log of them.

Every layer above may import these; they import `ringnb.errors` and `ringnb._support` only.
"""

from __future__ import annotations

from ringnb.messages.commands import Command, Reply
from ringnb.messages.events import Event, EventLog
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse, StagedFields

__all__ = [
    "Command",
    "Event",
    "EventLog",
    "Reply",
    "SnapshotRequest",
    "SnapshotResponse",
    "StagedFields",
]
