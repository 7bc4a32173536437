"""The loop of a lane's leader: read commands, step actors, answer, back off. Compiled once.

One turn: drain commands, then give every actor that may step a slice of about a millisecond, with
another look at the ring after each slice, so that a command waits for one slice at most. Where a thread
of the team gets no core, a slice takes up to six times as long, and a few barriers.

Idle, the lane is hot for a while (answers within a microsecond), then sleeps on a pipe that the host
writes to when it has pushed a command (see `ringnb.kernel.ring`).
"""

from __future__ import annotations

from typing import Any

from ringnb.kernel import layout
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
from ringnb.kernel.cpu.commands import drain, publish_group
from ringnb.kernel.cpu.passes import slice_of
from ringnb.kernel.cpu.regions import exchange
from ringnb.kernel.cpu.sizing import record_size, team_size
from ringnb.kernel.cpu.team import end_team, team_job
from ringnb.kernel.regions import steps_to_exchange
from ringnb.kernel.ring import reply, room_to_reply, wake_host
from ringnb.kernel.rules import (
    NEVER,
    is_held,
    is_held_at,
    plan_slice,
    record_held,
    record_held_at,
    record_steps,
    record_time,
)
from ringnb.messages.commands import Command

__all__ = ["run_leader", "take_steps", "tell_what_is_due"]

_FAULT = -1
_DRAIN = 64  # commands per look at the ring
_LATE = 4  # times what a slice was to take: a team that takes longer is held up
_BUDGET_DONE = int(Command.BUDGET_DONE)
_HELD = int(Command.HELD)
_HELD_AT = int(Command.HELD_AT)
_GATE_COMMANDS = int(Gate.COMMANDS)
_plan_slice = inner(plan_slice)
_record_steps = inner(record_steps)
_record_time = inner(record_time)
_steps_to_exchange = inner(steps_to_exchange)
_is_held = inner(is_held)
_record_held = inner(record_held)
_is_held_at = inner(is_held_at)
_record_held_at = inner(record_held_at)
_slice_of = inner(slice_of)
_team_size = inner(team_size)
_record_size = inner(record_size)


@inner
def _tell(
    control: Any,
    k2h: Any,
    table: Any,
    facts: Any,
    host: Any,
    scratch: Any,
    row: int,
    kind: int,
    value: int,
) -> None:
    """Tell the host what no command asks for: something that an actor has come to."""
    slot, epoch = table[row, layout.C_SLOT], table[row, layout.C_EPOCH]
    step = table[row, layout.C_STEP]
    reply(control, k2h, facts, scratch, kind, 0, slot, 0, epoch, step, value)
    wake_host(facts, host, scratch)


@inner
def tell_what_is_due(
    control: Any, k2h: Any, table: Any, facts: Any, host: Any, scratch: Any, row: int
) -> None:
    """Tell the host that an actor has used up its budget, or waits where it was to be held."""
    if (
        table[row, layout.C_BUDGET] == 0
        and table[row, layout.C_REPLY_DUE] != 0
        and room_to_reply(control, facts) > 0
    ):
        table[row, layout.C_REPLY_DUE] = 0
        step = table[row, layout.C_STEP]
        _tell(control, k2h, table, facts, host, scratch, row, _BUDGET_DONE, step)
    if _is_held(table, row) and room_to_reply(control, facts) > 0:
        held_at = _record_held(table, row)
        _tell(control, k2h, table, facts, host, scratch, row, _HELD, held_at)
    if _is_held_at(table, row) and room_to_reply(control, facts) > 0:
        _record_held_at(table, row)
        _tell(control, k2h, table, facts, host, scratch, row, _HELD_AT, 0)


@inner
def _step_together(
    link: Any,
    table: Any,
    links: Any,
    params: Any,
    team: Any,
    scratch: Any,
    row: int,
    count: int,
    begin: int,
) -> Any:
    """Take an actor, and those linked with it, through `count` steps; return how many, or `_FAULT`.

    They are fewer where a thread of the team gets no core: the leader then goes on alone for a while.
    """
    facts = link[3]
    width, chooses = facts[layout.F_WIDTH], facts[layout.F_CHOOSES]
    slice_ns = facts[layout.F_SLICE_NS]
    linked = table[row, layout.C_NEXT] != 0
    planned, member = 0, row
    while True:
        planned += count * table[member, layout.C_STEP_NS]
        member += table[member, layout.C_NEXT]
        if member == row:
            break
    late = begin + _LATE * max(planned, slice_ns)
    team[layout.J_LATE] = late
    held_up = False
    left = count
    while left > 0 and (not held_up or now_ns(scratch) < late + slice_ns):
        # Each takes the steps until a link is due; then they all are as far.
        steps = _steps_to_exchange(table, links, row, left)
        while True:
            # The same in all of the slice: what the size depends on changes at its end.
            size = _team_size(table, member, count, begin, width) if chooses else width
            began = now_ns(scratch)
            behind = steps
            while behind > 0:
                alone = held_up
                # Linked ones have to come as far as each other; else, what takes a slice alone.
                part = max(1, behind // size) if alone and not linked else behind
                ranks = 1 if alone else size
                taken = team_job(
                    link, scratch, table, team, layout.JOB_STEP, member, part, 0, ranks
                )
                if params[member, layout.P_FAULT_CELL] != 0.0:
                    return _FAULT
                _record_steps(table, member, taken)
                behind -= taken
                if alone and not linked:
                    break
                held_up = held_up or behind > 0
            table[member, layout.C_SLICE_NS] += now_ns(scratch) - began
            member += table[member, layout.C_NEXT]
            if member == row:
                break
        exchange(table, links, row)
        left -= steps - behind
        held_up = held_up or now_ns(scratch) > late  # by many jobs of a few steps
    done = count - left
    end = now_ns(scratch)
    while True:
        elapsed = table[member, layout.C_SLICE_NS]
        table[member, layout.C_SLICE_NS] = 0
        if chooses:
            size = _team_size(table, member, count, begin, width)
            _record_size(table, member, count, done, size, end - elapsed, end, held_up)
        _record_time(table, member, done, elapsed)
        member += table[member, layout.C_NEXT]
        if member == row:
            return done


@inner
def _slice(
    control: Any,
    h2k: Any,
    k2h: Any,
    table: Any,
    links: Any,
    words: Any,
    params: Any,
    team: Any,
    facts: Any,
    host: Any,
    scratch: Any,
    row: int,
) -> Any:
    """Give one actor, or those that it leads, a slice.

    Returns 0 if it stepped and would step again at once, else the time at which it may step again:
    its pace's next, or `NEVER`. `_FAULT` if its update did what it must not.
    """
    # The leader is the only thread that touches the actor table. Members of its team read the row of
    # the actor that a job is about, while the job runs.
    if table[row, layout.C_EXISTS] == 0:
        return NEVER
    tell_what_is_due(control, k2h, table, facts, host, scratch, row)
    if table[row, layout.C_NEXT] != 0 and table[row, layout.C_LINK_COUNT] == 0:
        return NEVER  # it steps with the one that leads its group
    begin = now_ns(scratch)
    slice_ns = _slice_of(table, row, facts[layout.F_SLICE_NS])
    count, again = _plan_slice(table, row, begin, slice_ns)
    if count == 0:
        return again
    link = control, h2k, k2h, facts, host
    done = _step_together(link, table, links, params, team, scratch, row, count, begin)
    if done == _FAULT:
        return _FAULT  # unpublished: nobody may take these steps for done
    publish_group(table, words, row)
    if done < count:  # the rest is due, by pace too
        if again != 0:
            table[row, layout.C_NEXT_NS] -= (count - done) * table[row, layout.C_PACE_NS]
        return 0
    return again


@entry_point(nogil=True)
def take_steps(
    control: Any,
    h2k: Any,
    k2h: Any,
    table: Any,
    links: Any,
    params: Any,
    team: Any,
    facts: Any,
    host: Any,
    scratch: Any,
    count: int,
) -> Any:
    """Take the first actor through steps on the calling thread; return whether all went well.

    For a lane that no thread leads. It takes arrays as `run_leader`. For no steps it is just compiled.
    """
    if count == 0:
        return True
    flush_subnormals()
    link = control, h2k, k2h, facts, host
    while count > 0:
        begin = now_ns(scratch)
        done = _step_together(link, table, links, params, team, scratch, 0, count, begin)
        if done == _FAULT:
            return False
        count -= done
    return True


@entry_point(nogil=True)
def run_leader(
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
) -> None:
    """Body of a lane's leader thread; returns after TERMINATE, a fault, or when the STOP word is set.

    Takes the arrays of a `ringnb.kernel.layout.LaneMemory`, the host words of the kernel, and two (8,)
    int64 arrays that are private to this thread.
    """
    flush_subnormals()
    store_release(control, layout.STATE, layout.LANE_RUNNING)
    busy_at = now_ns(scratch)
    spins = 0
    while load_acquire(control, layout.STOP) == 0:
        store_release(control, layout.LOOPS, load_acquire(control, layout.LOOPS) + 1)
        handled = 0
        busy = False
        next_at = NEVER  # when a paced actor wants its next step
        for row in range(-1, table.shape[0]):
            # Row -1: a look at the ring before the first slice, and one after every slice.
            if row >= 0:
                at = _slice(
                    control, h2k, k2h, table, links, words, params, team, facts, host, scratch, row
                )
                if at == _FAULT:
                    handled = -1
                    break
                next_at = min(next_at, at)
                if at != 0:
                    continue
                busy = True
            handled = drain(
                control,
                h2k,
                k2h,
                table,
                links,
                words,
                params,
                params_in,
                team,
                facts,
                host,
                scratch,
                args,
                _DRAIN,
            )
            busy = busy or handled != 0
            if handled < 0 or load_acquire(control, layout.STOP) != 0:
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
        if idle_ns < facts[layout.F_HOT_NS]:
            spins = 0
            continue
        if idle_ns < 2 * facts[layout.F_HOT_NS] and next_at == NEVER:
            continue  # yield every time
        if next_at <= now:
            continue
        # Asleep. A paced actor may be late by a millisecond: it then takes several steps at once.
        # The host gives no sign when it takes replies off a full ring: look every millisecond.
        wait_ms = min(100, max(1, (next_at - now) // 1_000_000))
        held = (
            room_to_reply(control, facts) == 0
            or load_acquire(control, layout.GATE) == _GATE_COMMANDS
        )
        if held:
            wait_ms = 1
        # Announce, fence, look once more: `ringnb.kernel.ring.push` publishes, fences, and looks
        # whether this lane sleeps, so one of the two sees the other.
        store_release(control, layout.ASLEEP, 1)
        fence()
        if load_acquire(control, layout.STOP) == 0 and (
            load_acquire(control, layout.H2K_HEAD) == load_acquire(control, layout.H2K_TAIL) or held
        ):
            poll_fd(scratch, facts[layout.F_WAKE_FD], wait_ms)
            read_fd(scratch, facts[layout.F_WAKE_FD])
        store_release(control, layout.ASLEEP, 0)
    end_team(facts, team, scratch)
    store_release(control, layout.STATE, layout.LANE_STOPPED)
