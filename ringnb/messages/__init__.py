"""What manager, session and kernel tell each other, and the log of it.

Start with `ringnb.messages.events`: `LIFECYCLE` is the table of a snapshot's stages, in order.

`ringnb.messages.commands`: commands and replies, the 64-byte slots of the two rings.
`ringnb.messages.snapshots`: the requests and responses of a checkpoint manager.
`ringnb.messages.events`: the stages of a snapshot's life, and the log of them.
`ringnb.messages.simulated_time`: the time of a step.

The way of one snapshot: a `SnapshotRequest` of the manager becomes ``Command.SNAPSHOT`` on the H2K ring.
The `Reply` on the K2H ring says in which staging buffer the state lies. It becomes a `SnapshotResponse`,
whose `StagedFields` view that buffer. Each stage is an `Event` in the `EventLog`.

The ``check_`` functions and `MAX_STEP` check the messages' fields; backends and storages of your own may
use them too.

Every layer above may import these modules; they import `ringnb.errors` and `ringnb._support` only.
"""

from __future__ import annotations

from ringnb._support.checks import MAX_STEP, check_name, check_slot, check_step
from ringnb.messages.commands import Command, Reply
from ringnb.messages.events import Event, EventLog
from ringnb.messages.snapshots import (
    Fields,
    SnapshotRequest,
    SnapshotResponse,
    StagedFields,
    normalise_fields,
)

__all__ = [
    "MAX_STEP",
    "Command",
    "Event",
    "EventLog",
    "Fields",
    "Reply",
    "SnapshotRequest",
    "SnapshotResponse",
    "StagedFields",
    "check_name",
    "check_slot",
    "check_step",
    "normalise_fields",
]
