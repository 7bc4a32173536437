"""The loop of a lane's leader: read commands, step actors, answer, back off. Compiled once.

One turn: drain commands, then give every actor that may step a slice of about a millisecond, with
another look at the ring after each slice, so that a command waits for one slice at most. A command
is read only when its reply fits on the K2H ring; otherwise it stays where it is, the H2K ring fills
up, and the host is told there. Nothing is ever dropped.

Idle, the lane is hot for a while (answers within a microsecond), then sleeps on a pipe that the host
writes to when it has pushed a command (see `ringnb.kernel.ring`).

The leader is the only thread that touches the actor table. Members of its team read the rows of the
actor in hand while a job runs.
"""

from __future__ import annotations

from typing import Any

from ringnb.kernel.atomics import (
    cpu_pause,
    fence,
    flush_subnormals,
    load_acquire,
    now_ns,
    poll_fd,
    read_fd,
    store_release,
    yield_thread,
)
from ringnb.kernel.base import Gate
from ringnb.kernel.caching import entry_point, inner
from ringnb.kernel.cpu.commands import drain, publish_actor, team_job
from ringnb.kernel.cpu.team import publish_job
from ringnb.kernel.layout import (
    ASLEEP,
    C_BUDGET,
    C_EPOCH,
    C_EXISTS,
    C_OWED,
    C_SLOT,
    C_STEP,
    F_HOT_NS,
    F_SLICE_NS,
    F_WAKE_FD,
    F_WIDTH,
    GATE,
    H2K_HEAD,
    H2K_TAIL,
    JOB_EXIT,
    JOB_STEP,
    LANE_RUNNING,
    LANE_STOPPED,
    LOOPS,
    STATE,
    STOP,
)
from ringnb.kernel.ring import reply, room_to_reply
from ringnb.kernel.rules import FAR, plan_slice, stepped
from ringnb.messages.commands import Command

__all__ = ["run_leader"]

_FAR = FAR
_BUDGET_DONE = int(Command.BUDGET_DONE)
_GATE_COMMANDS = int(Gate.COMMANDS)
_plan_slice = inner(plan_slice)
_stepped = inner(stepped)


@inner
def _slice(
    control: Any,
    k2h: Any,
    table: Any,
    words: Any,
    team: Any,
    facts: Any,
    host: Any,
    scratch: Any,
    row: int,
) -> Any:
    """Give one actor a slice.

    Returns 0 if it stepped and would step again at once, else the time at which it may step again:
    its pace's next, or far away.
    """
    if table[row, C_EXISTS] == 0:
        return _FAR
    if table[row, C_BUDGET] == 0 and table[row, C_OWED] != 0 and room_to_reply(control, facts) > 0:
        table[row, C_OWED] = 0
        reply(
            control,
            k2h,
            facts,
            host,
            scratch,
            _BUDGET_DONE,
            0,
            table[row, C_SLOT],
            0,
            table[row, C_EPOCH],
            table[row, C_STEP],
            table[row, C_STEP],
        )
    begin = now_ns(scratch)
    count, again = _plan_slice(table, row, begin, facts[F_SLICE_NS])
    if count == 0:
        return again
    team_job(table, facts, team, scratch, JOB_STEP, row, count, 0)
    _stepped(table, row, count, now_ns(scratch) - begin)
    publish_actor(table, words, row)
    return again


@entry_point(nogil=True)
def run_leader(
    control: Any,
    h2k: Any,
    k2h: Any,
    table: Any,
    words: Any,
    params: Any,
    params_in: Any,
    team: Any,
    facts: Any,
    host: Any,
    scratch: Any,
    arguments: Any,
) -> None:
    """Body of a lane's leader thread; returns after TERMINATE or when the STOP word is set.

    Parameters
    ----------
    control, h2k, k2h, table, words, params, params_in, team, facts : arrays
        The lane's memory, see `ringnb.kernel.layout.LaneMemory`.
    host : (16,) int64 array
        The host words of the kernel.
    scratch, arguments : (8,) int64 arrays
        Private to this thread.
    """
    flush_subnormals()
    n = table.shape[0]
    store_release(control, STATE, LANE_RUNNING)
    busy_at = now_ns(scratch)
    spins = 0
    while load_acquire(control, STOP) == 0:
        store_release(control, LOOPS, load_acquire(control, LOOPS) + 1)
        handled = 0
        busy = False
        next_at = _FAR  # when a paced actor wants its next step
        for row in range(-1, n):
            # Row -1: a look at the ring before the first slice, and one after every slice.
            if row >= 0:
                at = _slice(control, k2h, table, words, team, facts, host, scratch, row)
                next_at = min(next_at, at)
                if at != 0:
                    continue
                busy = True
            handled = drain(
                control,
                h2k,
                k2h,
                table,
                words,
                params,
                params_in,
                team,
                facts,
                host,
                scratch,
                arguments,
            )
            busy = busy or handled != 0
            if handled < 0 or load_acquire(control, STOP) != 0:
                break
        if handled < 0:
            break
        if busy:
            busy_at = 0
            spins = 0
            continue
        # Hot: spin, and yield now and then, since the host may need this very core.
        spins += 1
        if busy_at == 0 or spins < 64:
            if busy_at == 0:
                busy_at = now_ns(scratch)
            cpu_pause()
            continue
        yield_thread()
        now = now_ns(scratch)
        idle_ns = now - busy_at
        if idle_ns < facts[F_HOT_NS]:
            spins = 0
            continue
        if idle_ns < 2 * facts[F_HOT_NS] and next_at == _FAR:
            continue  # yield every time
        if next_at <= now:
            continue
        # Asleep. A paced actor may be late by a millisecond: it then takes several steps at once.
        # The host gives no sign when it takes replies off a full ring: look every millisecond.
        wait_ms = min(100, max(1, (next_at - now) // 1_000_000))
        held = room_to_reply(control, facts) == 0 or load_acquire(control, GATE) == _GATE_COMMANDS
        if held:
            wait_ms = 1
        store_release(control, ASLEEP, 1)
        fence()
        if load_acquire(control, STOP) == 0 and (
            load_acquire(control, H2K_HEAD) == load_acquire(control, H2K_TAIL) or held
        ):
            poll_fd(scratch, facts[F_WAKE_FD], wait_ms)
            read_fd(scratch, facts[F_WAKE_FD])
        store_release(control, ASLEEP, 0)
    if facts[F_WIDTH] > 1:
        publish_job(facts, team, scratch, JOB_EXIT, 0, 0, 0)
    store_release(control, STATE, LANE_STOPPED)
