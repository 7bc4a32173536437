"""What a lane's leader tells the host: an actor's counters, replies, the lane's end.

One writer per mapped word, and what the host acts upon is released last. No global named ``cuda``, see
`ringnb.kernel.cuda_leader`.
"""

from __future__ import annotations

from typing import Any

from ringnb.kernel import cuda_layout as cl
from ringnb.kernel import dev, layout

__all__ = ["answer", "publish", "reply", "room", "stop_lane"]


@dev.function
def publish(m: Any, row: int) -> None:
    """Show an actor's counters to the host. The step comes last: see the CPU kernel's."""
    table, words = m.table, m.words
    base = row * layout.ACTOR_WORDS
    running = 0
    if table[row, layout.C_EXISTS] != 0 and (
        table[row, layout.C_FREE] != 0 or table[row, layout.C_BUDGET] > 0
    ):
        running = 1
    dev.st_relaxed_sys(words, base + layout.W_BUDGET, table[row, layout.C_BUDGET])
    dev.st_relaxed_sys(words, base + layout.W_RUNNING, running)
    dev.st_relaxed_sys(words, base + layout.W_EPOCH, table[row, layout.C_EPOCH])
    dev.st_relaxed_sys(words, base + layout.W_EXISTS, table[row, layout.C_EXISTS])
    dev.st_relaxed_sys(words, base + layout.W_SNAPSHOTS, table[row, layout.C_SNAPSHOTS])
    dev.st_relaxed_sys(words, base + layout.W_BUSY_NS, table[row, layout.C_BUSY_NS])
    dev.st_release_sys(words, base + layout.W_STEP, table[row, layout.C_STEP])


@dev.function
def room(m: Any, lane: int) -> Any:
    """Return how many replies fit. The host's tail as last seen is enough, mostly."""
    lanes, capacity = m.lanes, m.facts[cl.F_CAPACITY]
    left = capacity - (lanes[lane, cl.L_K2H_HEAD] - lanes[lane, cl.L_K2H_TAIL])
    if left <= 0:
        tail = dev.ld_acquire_sys(m.control, lane * layout.CTL_WORDS + layout.K2H_TAIL)
        lanes[lane, cl.L_K2H_TAIL] = tail
        left = capacity - (lanes[lane, cl.L_K2H_HEAD] - tail)
    return left


@dev.function
def reply(
    m: Any,
    lane: int,
    kind: int,
    command_id: int,
    slot: int,
    status: int,
    epoch: int,
    step: int,
    value: int,
) -> None:
    """Append a reply; the caller has made sure of the room."""
    capacity, k2h = m.facts[cl.F_CAPACITY], m.k2h
    head = m.lanes[lane, cl.L_K2H_HEAD]
    at = (lane * capacity + (head & (capacity - 1))) * layout.SLOT_WORDS
    k2h[at] = kind
    k2h[at + 1] = command_id
    k2h[at + 2] = slot
    k2h[at + 3] = status
    k2h[at + 4] = epoch
    k2h[at + 5] = step
    k2h[at + 6] = value
    k2h[at + 7] = dev.now_ns()
    m.lanes[lane, cl.L_K2H_HEAD] = head + 1
    dev.st_release_sys(m.control, lane * layout.CTL_WORDS + layout.K2H_HEAD, head + 1)


@dev.function
def answer(
    m: Any, lane: int, row: int, kind: int, command_id: int, status: int, value: int
) -> None:
    """Append a reply that tells where the actor stands."""
    table = m.table
    slot, epoch = table[row, layout.C_SLOT], table[row, layout.C_EPOCH]
    reply(m, lane, kind, command_id, slot, status, epoch, table[row, layout.C_STEP], value)


@dev.function
def stop_lane(m: Any, lane: int, reason: int) -> None:
    """Serve a lane no more."""
    at = lane * layout.CTL_WORDS
    m.lanes[lane, cl.L_STOPPED] = 1
    dev.st_relaxed_sys(m.control, at + cl.STATE_REASON, reason)
    dev.st_release_sys(m.control, at + layout.STATE, layout.LANE_STOPPED)
