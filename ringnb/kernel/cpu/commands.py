"""What a lane's leader does with a command: one reply to each, on compiled code.

The leader calls `drain` between two slices, so every command finds its actor at a step boundary. A
command is read only when its reply fits on the K2H ring; otherwise it stays on the H2K ring, which
fills up, and the host is told there. Nothing is dropped, nothing waits in here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ringnb.errors import Status
from ringnb.kernel import rules
from ringnb.kernel.atomics import (
    call_inject,
    copy_bytes,
    fill_zero,
    load_acquire,
    now_ns,
    poll_fd,
    read_fd,
    store_release,
    words_at,
)
from ringnb.kernel.base import Gate
from ringnb.kernel.caching import inner
from ringnb.kernel.cpu.team import publish_job, run_job
from ringnb.kernel.layout import (
    ACTOR_WORDS,
    C_A,
    C_B,
    C_BLOCK_BYTES,
    C_BUDGET,
    C_BUSY_NS,
    C_CUR,
    C_EPOCH,
    C_EXISTS,
    C_FREE,
    C_INJECT_FN,
    C_LEVEL_BYTES,
    C_LEVELS,
    C_NF,
    C_NX,
    C_NY,
    C_NZ,
    C_PARAMS,
    C_SECOND,
    C_SLOT,
    C_SNAPSHOTS,
    C_STEP,
    C_TAIL,
    F_CAPACITY,
    F_RESTORE,
    F_RESTORE_BYTES,
    F_STAGE0,
    F_WAKE_FD,
    F_WIDTH,
    GATE,
    H2K_HEAD,
    H2K_TAIL,
    JOB_CAPTURE,
    LINE,
    M_PARTIAL,
    MEMBER_WORDS,
    RETURNED,
    STOP,
    T_BEGIN,
    T_CHECKSUM,
    T_END,
    T_EPOCH,
    T_SLOT,
    T_STEP,
    TAKEN,
    TEAM_MEMBERS,
    W_BUDGET,
    W_BUSY_NS,
    W_EPOCH,
    W_EXISTS,
    W_RUNNING,
    W_SNAPSHOTS,
    W_STALL_NS,
    W_STEP,
)
from ringnb.kernel.ring import reply, room_to_reply
from ringnb.messages.commands import Command

__all__ = ["drain", "publish_actor", "team_job"]

_DRAIN = 8  # commands per look at the ring

_TERMINATE = int(Command.TERMINATE)  # compiled code wants plain integers
_GATE_COMMANDS = int(Gate.COMMANDS)
_GATE_ANSWERS = int(Gate.ANSWERS)
_OK = int(Status.OK)
_BAD_SLOT = int(Status.BAD_SLOT)
_STAGING_BUSY = int(Status.STAGING_BUSY)
_BAD_ARGUMENT = int(Status.BAD_ARGUMENT)

_judge = inner(rules.judge)
_inside = inner(rules.inside)
_loaded = inner(rules.loaded)


@inner
def publish_actor(table: Any, words: Any, row: int) -> None:
    """Show an actor's counters to the host."""
    base = row * ACTOR_WORDS
    running = (table[row, C_FREE] != 0 or table[row, C_BUDGET] > 0) and table[row, C_EXISTS] != 0
    store_release(words, base + W_BUDGET, table[row, C_BUDGET])
    store_release(words, base + W_RUNNING, 1 if running else 0)
    store_release(words, base + W_EPOCH, table[row, C_EPOCH])
    store_release(words, base + W_EXISTS, table[row, C_EXISTS])
    store_release(words, base + W_SNAPSHOTS, table[row, C_SNAPSHOTS])
    store_release(words, base + W_BUSY_NS, table[row, C_BUSY_NS])
    # Last: whoever sees the step that ends a budget sees the budget gone.
    store_release(words, base + W_STEP, table[row, C_STEP])


@inner
def team_job(
    table: Any, facts: Any, team: Any, scratch: Any, kind: int, row: int, count: int, target: int
) -> None:
    """Do a job with the whole team, the leader included."""
    if facts[F_WIDTH] > 1:
        publish_job(facts, team, scratch, kind, row, count, target)
    run_job(table, facts, team, kind, row, count, target, 0)


@inner
def _capture(
    control: Any, table: Any, words: Any, facts: Any, team: Any, scratch: Any, row: int
) -> Any:
    """Copy an actor's state into a free staging buffer; return its index, or -1 if none is free."""
    begin = now_ns(scratch)
    buffer = -1
    for b in range(2):
        if load_acquire(control, TAKEN + b * LINE) == load_acquire(control, RETURNED + b * LINE):
            buffer = b
            break
    if buffer < 0:
        return -1
    target = facts[F_STAGE0 + buffer]
    team_job(table, facts, team, scratch, JOB_CAPTURE, row, 0, target)
    checksum = 0
    for rank in range(facts[F_WIDTH]):
        checksum += load_acquire(team, TEAM_MEMBERS + rank * MEMBER_WORDS + M_PARTIAL)
    end = now_ns(scratch)
    tail = table[row, C_TAIL] + 128
    facts_of_snapshot = carray(words_at(target + tail), (8,))
    facts_of_snapshot[T_CHECKSUM] = np.uint64(checksum)
    facts_of_snapshot[T_STEP] = np.uint64(table[row, C_STEP])
    facts_of_snapshot[T_EPOCH] = np.uint64(table[row, C_EPOCH])
    facts_of_snapshot[T_BEGIN] = np.uint64(begin)
    facts_of_snapshot[T_END] = np.uint64(end)
    facts_of_snapshot[T_SLOT] = np.uint64(table[row, C_SLOT])
    store_release(control, TAKEN + buffer * LINE, load_acquire(control, TAKEN + buffer * LINE) + 1)
    table[row, C_SNAPSHOTS] += 1
    store_release(words, row * ACTOR_WORDS + W_STALL_NS, end - begin)
    return buffer


@inner
def _stand_at_gate(control: Any, facts: Any, scratch: Any) -> None:
    """Keep the answer to a snapshot back for as long as its gate is shut; a stop opens it."""
    while load_acquire(control, GATE) == _GATE_ANSWERS and load_acquire(control, STOP) == 0:
        poll_fd(scratch, facts[F_WAKE_FD], 1)
        read_fd(scratch, facts[F_WAKE_FD])


@inner
def _load_state(table: Any, params: Any, params_in: Any, facts: Any, row: int) -> None:
    """Take state and parameters that the host has put into the restore buffer and `params_in`."""
    block = facts[F_RESTORE]
    second = table[row, C_SECOND]
    level_bytes = table[row, C_LEVEL_BYTES]
    if facts[F_RESTORE_BYTES] == table[row, C_BLOCK_BYTES]:
        facts[F_RESTORE] = table[row, C_A]
        table[row, C_A] = block
        table[row, C_B] = block + second
        # Captures pad a level's last words from behind it, where another actor may have lain.
        fill_zero(block + level_bytes, 64)
        fill_zero(block + second + level_bytes, 64)
    else:
        copy_bytes(table[row, C_A], block, level_bytes)
        if table[row, C_LEVELS] > 1:
            copy_bytes(table[row, C_B], block + second, level_bytes)
    for j in range(params.shape[1]):
        params[row, j] = params_in[row, j]


@inner
def _inject(table: Any, row: int, cell: Any) -> Any:
    z, y, x = cell[0], cell[1], cell[2]
    if not _inside(table, row, z, y, x):
        return _BAD_ARGUMENT
    now, before = table[row, C_A], table[row, C_B]
    if table[row, C_CUR] != 0:
        now, before = before, now
    amplitude = cell[3:4].view(np.float64)[0]
    call_inject(
        table[row, C_INJECT_FN],
        now,
        before,
        table[row, C_PARAMS],
        table[row, C_NF],
        table[row, C_NZ],
        table[row, C_NY],
        table[row, C_NX],
        z,
        y,
        x,
        amplitude,
    )
    return _OK


@inner
def drain(
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
) -> Any:
    """Carry out up to a few commands; return how many, or -1 after TERMINATE."""
    done = 0
    n = table.shape[0]
    while (
        done < _DRAIN
        and room_to_reply(control, facts) > 0
        and load_acquire(control, GATE) != _GATE_COMMANDS
    ):
        tail = load_acquire(control, H2K_TAIL)
        if load_acquire(control, H2K_HEAD) == tail:
            break
        i = tail & (facts[F_CAPACITY] - 1)
        kind, command_id, slot = h2k[i, 0], h2k[i, 1], h2k[i, 2]
        for j in range(4):
            arguments[j] = h2k[i, 3 + j]
        store_release(control, H2K_TAIL, tail + 1)
        done += 1
        row = -1
        for r in range(n):
            if table[r, C_SLOT] == slot:
                row = r
        status, value, epoch, step = _OK, 0, 0, 0
        if kind == _TERMINATE:
            reply(control, k2h, facts, host, scratch, kind, command_id, slot, _OK, 0, 0, 0)
            return -1
        if row < 0:
            status = _BAD_SLOT
        else:
            status, value, left = _judge(table, row, kind, arguments[0])
            if left == rules.INJECT:
                status = _inject(table, row, arguments)
            elif left == rules.SET_PARAMS:
                for j in range(params.shape[1]):
                    params[row, j] = params_in[row, j]
            elif left == rules.LOAD:
                _load_state(table, params, params_in, facts, row)
                _loaded(table, row, kind, arguments[0])
            elif left == rules.CAPTURE:
                value = _capture(control, table, words, facts, team, scratch, row)
                if value < 0:
                    status, value = _STAGING_BUSY, 0
                else:
                    _stand_at_gate(control, facts, scratch)
        if row >= 0:
            publish_actor(table, words, row)
            epoch, step = table[row, C_EPOCH], table[row, C_STEP]
        reply(
            control,
            k2h,
            facts,
            host,
            scratch,
            kind,
            command_id,
            slot,
            status,
            epoch,
            step,
            value,
        )
    return done
