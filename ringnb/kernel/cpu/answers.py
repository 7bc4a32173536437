"""What a leader answers while its team steps: heartbeats.

A step of a large grid takes longer than a command should wait. What touches an actor waits for its step
boundary all the same; a heartbeat only asks whether the kernel lives, and where the actor was last shown
to be.
"""

from __future__ import annotations

from typing import Any

from ringnb.errors import Status
from ringnb.kernel import layout
from ringnb.kernel.atomics import load_acquire, store_release
from ringnb.kernel.base import Gate
from ringnb.kernel.caching import inner
from ringnb.kernel.ring import reply, room_to_reply, wake_host
from ringnb.messages.commands import Command

__all__ = ["answer_meanwhile", "row_of"]

_HEARTBEAT = int(Command.HEARTBEAT)
_GATE_COMMANDS = int(Gate.COMMANDS)
_OK = int(Status.OK)


@inner
def row_of(table: Any, slot: int) -> Any:
    """Return the row of a slot in its lane's table, where slots ascend, or -1."""
    low, high = 0, table.shape[0]
    while low < high:
        middle = (low + high) // 2
        if table[middle, layout.C_SLOT] < slot:
            low = middle + 1
        else:
            high = middle
    if low < table.shape[0] and table[low, layout.C_SLOT] == slot:
        return low
    return -1


@inner
def answer_meanwhile(link: Any, table: Any, scratch: Any) -> None:
    """Leader: answer the heartbeats that are next on the ring, `link` being the lane's shared words.

    Whatever else is next stays there, and what is behind it, for `commands.drain`.
    """
    control, h2k, k2h, facts, host = link
    while True:
        tail = load_acquire(control, layout.H2K_TAIL)
        if (
            load_acquire(control, layout.H2K_HEAD) == tail
            or room_to_reply(control, facts) == 0
            or load_acquire(control, layout.GATE) == _GATE_COMMANDS
        ):
            return
        i = tail & (facts[layout.F_CAPACITY] - 1)
        command_id, slot = h2k[i, 1], h2k[i, 2]
        row = row_of(table, slot)
        if h2k[i, 0] != _HEARTBEAT or row < 0 or table[row, layout.C_EXISTS] == 0:
            return
        store_release(control, layout.H2K_TAIL, tail + 1)  # the host may now overwrite the slot
        epoch, step = table[row, layout.C_EPOCH], table[row, layout.C_STEP]
        reply(control, k2h, facts, scratch, _HEARTBEAT, command_id, slot, _OK, epoch, step, 0)
        wake_host(facts, host, scratch)
