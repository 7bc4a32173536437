"""What a lane's leader does with a command: one reply to each, on compiled code.

The leader calls `drain` between two slices, so every command finds its actor at a step boundary. What
commands mean is in `ringnb.kernel.rules`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ringnb.errors import Status
from ringnb.kernel import layout, rules
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
from ringnb.kernel.cpu.answers import row_of
from ringnb.kernel.cpu.regions import copy_region
from ringnb.kernel.cpu.team import member_at, team_job
from ringnb.kernel.layout import LINE
from ringnb.kernel.ring import reply, room_to_reply, wake_host
from ringnb.messages.commands import Command

__all__ = ["drain", "publish_group"]

_COPIES = 8  # a command that copies a state counts as so many: the actors wait meanwhile

# Compiled code wants plain integers.
_TERMINATE = int(Command.TERMINATE)
_GATE_OPEN = int(Gate.OPEN)
_GATE_COMMANDS = int(Gate.COMMANDS)
_GATE_ANSWERS = int(Gate.ANSWERS)
_COPYING = (rules.LOAD, rules.CAPTURE, rules.READ, rules.WRITE)
_OK = int(Status.OK)
_BAD_SLOT = int(Status.BAD_SLOT)
_STAGING_BUSY = int(Status.STAGING_BUSY)
_BAD_ARGUMENT = int(Status.BAD_ARGUMENT)

_apply_command = inner(rules.apply_command)
_inside = inner(rules.inside)
_record_load = inner(rules.record_load)
_release = inner(rules.release)


@inner
def _publish(table: Any, words: Any, row: int) -> None:
    """Show an actor's counters to the host."""
    base = row * layout.ACTOR_WORDS
    steps = table[row, layout.C_FREE] != 0 or table[row, layout.C_BUDGET] > 0
    running = steps and table[row, layout.C_EXISTS] != 0
    store_release(words, base + layout.W_BUDGET, table[row, layout.C_BUDGET])
    store_release(words, base + layout.W_RUNNING, 1 if running else 0)
    store_release(words, base + layout.W_EPOCH, table[row, layout.C_EPOCH])
    store_release(words, base + layout.W_EXISTS, table[row, layout.C_EXISTS])
    store_release(words, base + layout.W_SNAPSHOTS, table[row, layout.C_SNAPSHOTS])
    store_release(words, base + layout.W_BUSY_NS, table[row, layout.C_BUSY_NS])
    # Last: a reader who sees the step that ends a budget must see that the budget is gone.
    store_release(words, base + layout.W_STEP, table[row, layout.C_STEP])


@inner
def publish_group(table: Any, words: Any, row: int) -> None:
    """Show the counters of an actor and of those linked with it to the host."""
    member = row
    while True:
        _publish(table, words, member)
        member += table[member, layout.C_NEXT]
        if member == row:
            return


@inner
def _capture(link: Any, table: Any, words: Any, team: Any, scratch: Any, row: int) -> Any:
    """Copy an actor's state into a free staging buffer; return its index, or -1 if none is free."""
    control, facts = link[0], link[3]
    begin = now_ns(scratch)
    buffer = -1
    for b in range(layout.STAGING_BUFFERS):
        taken = load_acquire(control, layout.TAKEN + b * LINE)
        if taken == load_acquire(control, layout.RETURNED + b * LINE):
            buffer = b
            break
    if buffer < 0:
        return -1
    target = facts[layout.F_STAGE0 + buffer]
    size = table[row, layout.C_TEAM]
    team_job(link, scratch, table, team, layout.JOB_CAPTURE, row, 0, target, size)
    checksum = 0
    for rank in range(size):
        checksum += load_acquire(team, member_at(rank) + layout.M_PARTIAL)
    end = now_ns(scratch)
    tail = carray(words_at(target + table[row, layout.C_TAIL] + 128), (layout.TAIL_WORDS,))
    tail[layout.T_CHECKSUM] = np.uint64(checksum)
    tail[layout.T_STEP] = np.uint64(table[row, layout.C_STEP])
    tail[layout.T_EPOCH] = np.uint64(table[row, layout.C_EPOCH])
    tail[layout.T_BEGIN] = np.uint64(begin)
    tail[layout.T_END] = np.uint64(end)
    tail[layout.T_SLOT] = np.uint64(table[row, layout.C_SLOT])
    # Released: who sees the buffer counted as taken sees what is in it.
    store_release(control, layout.TAKEN + buffer * LINE, taken + 1)
    table[row, layout.C_SNAPSHOTS] += 1
    store_release(words, row * layout.ACTOR_WORDS + layout.W_STALL_NS, end - begin)
    return buffer


@inner
def _wait_at_gate(control: Any, facts: Any, scratch: Any) -> None:
    """Keep the answer to a snapshot back for as long as its gate is shut; a stop opens it."""
    while (
        load_acquire(control, layout.GATE) == _GATE_ANSWERS
        and load_acquire(control, layout.STOP) == 0
    ):
        poll_fd(scratch, facts[layout.F_WAKE_FD], 1)
        read_fd(scratch, facts[layout.F_WAKE_FD])


@inner
def _take_params(params: Any, params_in: Any, row: int) -> None:
    for j in range(params_in.shape[1]):
        params[row, j] = params_in[row, j]


@inner
def _load_state(table: Any, params: Any, params_in: Any, facts: Any, row: int) -> None:
    """Take the state that the host has put into the restore buffer, and the parameters."""
    block = facts[layout.F_RESTORE]
    second = table[row, layout.C_SECOND]
    level_bytes = table[row, layout.C_LEVEL_BYTES]
    if facts[layout.F_RESTORE_BYTES] == table[row, layout.C_BLOCK_BYTES]:
        # The two blocks change places: nothing is copied, and the actor's old block is the next
        # restore buffer. The host reads which one it is only while no load is under way.
        facts[layout.F_RESTORE] = table[row, layout.C_A]
        table[row, layout.C_A] = block
        table[row, layout.C_B] = block + second
        # A capture pads a level's last words from behind it, where another actor's state may lie.
        fill_zero(block + level_bytes, 64)
        fill_zero(block + second + level_bytes, 64)
    else:
        copy_bytes(table[row, layout.C_A], block, level_bytes)
        if table[row, layout.C_LEVELS] > 1:
            copy_bytes(table[row, layout.C_B], block + second, level_bytes)
    _take_params(params, params_in, row)


@inner
def _inject(table: Any, row: int, args: Any) -> Any:
    """Disturb one cell, ``args`` being z, y, x and the bits of the amplitude; return a status."""
    z, y, x = args[0], args[1], args[2]
    if not _inside(table, row, z, y, x):
        return _BAD_ARGUMENT
    now, other = table[row, layout.C_A], table[row, layout.C_B]
    if table[row, layout.C_CUR] != 0:
        now, other = other, now
    call_inject(
        table[row, layout.C_INJECT_FN],
        now,
        other,
        table[row, layout.C_PARAMS],
        table[row, layout.C_NF],
        table[row, layout.C_NZ],
        table[row, layout.C_NY],
        table[row, layout.C_NX],
        z,
        y,
        x,
        args[3:4].view(np.float64)[0],
    )
    return _OK


@inner
def drain(
    control: Any,
    h2k: Any,
    k2h: Any,
    table: Any,
    links: Any,
    words: Any,
    params: Any,
    params_in: Any,
    team: Any,
    facts: Any,
    host: Any,
    scratch: Any,
    args: Any,
    most: int,
) -> Any:
    """Carry out up to `most` commands; return 0 if there was none, or -1 after TERMINATE.

    Takes what `ringnb.kernel.cpu.leader.run_leader` takes.
    """
    link = control, h2k, k2h, facts, host
    done = 0
    # A command is read only when its reply fits. Else it stays where it is, the H2K ring fills up, and
    # the host is told there: nothing is dropped, and nothing waits in here.
    while done < most and room_to_reply(control, facts) > 0:
        tail = load_acquire(control, layout.H2K_TAIL)
        if load_acquire(control, layout.H2K_HEAD) == tail:
            break
        i = tail & (facts[layout.F_CAPACITY] - 1)
        # A gate that was shut before the command was pushed has come with it. A look at the gate alone,
        # before the one at the head, could miss it.
        if h2k[i, 7] != _GATE_OPEN and load_acquire(control, layout.GATE) == _GATE_COMMANDS:
            break
        kind, command_id, slot = h2k[i, 0], h2k[i, 1], h2k[i, 2]
        for j in range(4):
            args[j] = h2k[i, 3 + j]
        store_release(control, layout.H2K_TAIL, tail + 1)  # the host may now overwrite the slot
        done += 1
        left = rules.DONE
        row = row_of(table, slot)
        status, value, epoch, step = _OK, 0, 0, 0
        if kind == _TERMINATE:
            done = -1
        elif row < 0:
            status = _BAD_SLOT
        else:
            status, value, left = _apply_command(table, row, kind, args[0], args[1])
            if left in _COPYING:
                wake_host(facts, host, scratch)  # what was answered before does not wait for this
            if left == rules.INJECT:
                status = _inject(table, row, args)
            elif left == rules.SET_LINK:
                if 0 <= args[0] < links.shape[0]:
                    links[args[0], layout.K_ON] = args[1]
                else:
                    status = _BAD_ARGUMENT
            elif left == rules.SET_PARAMS:
                _take_params(params, params_in, row)
            elif left == rules.LOAD:
                _load_state(table, params, params_in, facts, row)
                _record_load(table, row, kind, args[0])
            elif left == rules.READ or left == rules.WRITE:  # noqa: PLR1714 - compiled
                status, value = copy_region(
                    table, row, facts[layout.F_RESTORE], args, left == rules.READ
                )
            elif left == rules.CAPTURE:
                value = _capture(link, table, words, team, scratch, row)
                if value < 0:
                    status, value = _STAGING_BUSY, 0
                else:
                    _release(table, row, args[0])
                    _wait_at_gate(control, facts, scratch)
            publish_group(table, words, row)
            epoch, step = table[row, layout.C_EPOCH], table[row, layout.C_STEP]
        reply(control, k2h, facts, scratch, kind, command_id, slot, status, epoch, step, value)
        if done < 0:
            break
        if left in _COPYING:
            done += _COPIES - 1
    if done != 0:
        wake_host(facts, host, scratch)
    return done
