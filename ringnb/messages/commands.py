"""Commands and replies: what lies in a slot of the two rings.

Layout of a slot. Both rings hold 64-byte slots of eight ``int64`` words, the same on every backend:

====  =======================  ==========================
word  H2K (host to kernel)     K2H (kernel to host)
====  =======================  ==========================
0     `Command`                `Command` answered
1     command id               command id (0: unsolicited)
2     actor slot               actor slot
3     argument 0               `Status`
4     argument 1               epoch of the actor
5     argument 2               step of the actor
6     argument 3               value (per command)
7     gate when it was sent    stamp, monotonic ns
====  =======================  ==========================

A reply's *value* is the staging index of a snapshot, the target step of ``RUN_STEPS``, the number of a
``HELD``, and 0 otherwise. A snapshot's checksum lies in the staging buffer behind the state, see
`ringnb.kernel.layout`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from ringnb.errors import Status

__all__ = [
    "Command",
    "Reply",
]


class Command(IntEnum):
    """Commands a lane understands, and the kind word of every reply."""

    RUN_STEPS = 1  # argument 0: steps to add to the budget; value: the step the budget ends at
    PAUSE = 2
    RESUME = 3
    INJECT = 4  # arguments 0-2: z, y, x; argument 3: bits of a float64 amplitude
    SET_PARAMS = 5
    SET_PACE = 6  # argument 0: nanoseconds per step, 0 for unpaced
    CREATE_ACTOR = 7
    DESTROY_ACTOR = 8
    RESTART_ACTOR = 9
    HEARTBEAT = 10
    HOLD_EVERY = 11  # argument 0: the actor waits at each multiple of so many steps; 0: no more
    HOLD_AT = (
        12  # argument 0: the actor waits at this step, once; below 0: at none. One step at a time
    )
    # Argument 0: the value of a HELD, and that wait ends with the capture. 0, or the value of an earlier
    # one, ends none. Argument 1: the step of HOLD_AT at which the actor waits, and that wait ends; 0: of
    # whatever step, and none ends. Value: staging index.
    SNAPSHOT = 20
    RESTORE = 21  # argument 0: step of the state in the lane's restore buffer
    # Values of a region, to and from the lane's restore buffer, one behind the other. Arguments: see
    # `ringnb.kernel.regions`; value: bytes.
    READ_REGION = 22
    WRITE_REGION = 23
    SET_LINK = 24  # argument 0: the number of a link in the lane; argument 1: whether it is joined
    TERMINATE = 99
    # Only ever replies, unsolicited.
    BUDGET_DONE = 100  # a step budget was used up
    HELD = 101  # an actor waits at its step, see HOLD_EVERY; value: how often it has waited
    HELD_AT = 102  # an actor waits at the step of HOLD_AT


class Reply(NamedTuple):
    """One K2H slot, taken apart.

    Attributes
    ----------
    kind, command_id, actor_slot, status, epoch, step, value, stamp_ns : int
        The words of the slot, see the table in this module's docstring.
    """

    kind: int
    command_id: int
    actor_slot: int
    status: int
    epoch: int
    step: int
    value: int
    stamp_ns: int

    @property
    def ok(self) -> bool:
        """Whether the kernel carried the command out."""
        return self.status == Status.OK
