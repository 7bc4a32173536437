"""What a group's leader does, one thread of the grid: read commands, hand out jobs, answer.

A *group* is the blocks that serve a lane (or several, in turn, where there are fewer groups than lanes).
All its threads but the leader wait in the group's barrier. The leader looks at its lanes until it has a
job for all of them: some steps, a capture, a load, or the end of the launch. Commands that touch one
word or one cell it carries out itself; the others see the result after the next barrier.

The leader never waits for room on a ring, for a staging buffer or at a gate: it refuses, or looks
again later. What commands mean is in `ringnb.kernel.rules`.

This module has no global named ``cuda``: the simulator would exchange it while the kernel runs.
"""

from __future__ import annotations

from typing import Any

from ringnb.errors import Status
from ringnb.kernel import layout, regions, rules
from ringnb.kernel.base import Gate
from ringnb.kernel.cuda import intrinsics
from ringnb.kernel.cuda import layout as cl
from ringnb.messages.commands import Command

__all__ = ["finish_job", "make_commands", "make_find_job", "staged_on_host"]


@intrinsics.function
def _publish(m: Any, row: int) -> None:
    """Show an actor's counters to the host, all but its step; the next release brings them there."""
    table, words = m.table, m.words
    base = row * layout.ACTOR_WORDS
    running = 0
    if table[row, layout.C_EXISTS] != 0 and (
        table[row, layout.C_FREE] != 0 or table[row, layout.C_BUDGET] > 0
    ):
        running = 1
    intrinsics.st_relaxed_sys(words, base + layout.W_BUDGET, table[row, layout.C_BUDGET])
    intrinsics.st_relaxed_sys(words, base + layout.W_RUNNING, running)
    intrinsics.st_relaxed_sys(words, base + layout.W_EPOCH, table[row, layout.C_EPOCH])
    intrinsics.st_relaxed_sys(words, base + layout.W_EXISTS, table[row, layout.C_EXISTS])
    intrinsics.st_relaxed_sys(words, base + layout.W_SNAPSHOTS, table[row, layout.C_SNAPSHOTS])
    intrinsics.st_relaxed_sys(words, base + layout.W_BUSY_NS, table[row, layout.C_BUSY_NS])


@intrinsics.function
def _publish_step(m: Any, row: int) -> None:
    """Show an actor's step, after its other counters."""
    # Released: a reader who sees the step that ends a budget must see that the budget is gone.
    at = row * layout.ACTOR_WORDS + layout.W_STEP
    intrinsics.st_release_sys(m.words, at, m.table[row, layout.C_STEP])


@intrinsics.function
def _publish_group(m: Any, row: int) -> None:
    """Show the counters of an actor and of those linked with it to the host."""
    member = row
    while True:
        _publish(m, member)
        member += m.table[member, layout.C_NEXT]
        if member == row:
            break


@intrinsics.function
def _room(m: Any, lane: int) -> Any:
    """Return how many replies fit on a lane's K2H ring."""
    # The host's tail as last seen is mostly enough: a load over the bus takes a microsecond.
    lanes, capacity = m.lanes, m.facts[cl.F_CAPACITY]
    left = capacity - (lanes[lane, cl.L_K2H_HEAD] - lanes[lane, cl.L_K2H_TAIL])
    if left <= 0:
        tail = intrinsics.ld_acquire_sys(m.control, lane * layout.CTL_WORDS + layout.K2H_TAIL)
        lanes[lane, cl.L_K2H_TAIL] = tail
        left = capacity - (lanes[lane, cl.L_K2H_HEAD] - tail)
    return left


@intrinsics.function
def _reply(
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
    """Append a reply, and give back the slots of what was read; the caller has made sure of the room."""
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
    k2h[at + 7] = intrinsics.now_ns()
    m.lanes[lane, cl.L_K2H_HEAD] = head + 1
    # The one fence of a command: it waits until the host's memory has all that was stored. Whoever sees
    # the head sees the slot, and the counters that were published; whoever sees the tail may overwrite
    # the commands before it, which have been read.
    intrinsics.fence_sys()
    ctl = lane * layout.CTL_WORDS
    intrinsics.st_relaxed_sys(m.control, ctl + layout.H2K_TAIL, m.lanes[lane, cl.L_H2K_TAIL])
    intrinsics.st_relaxed_sys(m.control, ctl + layout.K2H_HEAD, head + 1)


@intrinsics.function
def _answer(
    m: Any, lane: int, row: int, kind: int, command_id: int, status: int, value: int
) -> None:
    """Append a reply with the actor's epoch and step."""
    table = m.table
    slot, epoch = table[row, layout.C_SLOT], table[row, layout.C_EPOCH]
    _reply(m, lane, kind, command_id, slot, status, epoch, table[row, layout.C_STEP], value)


@intrinsics.function
def _stop_lane(m: Any, lane: int, reason: int) -> None:
    """Serve a lane no more."""
    at = lane * layout.CTL_WORDS
    m.lanes[lane, cl.L_STOPPED] = 1
    intrinsics.st_relaxed_sys(m.control, at + cl.STATE_REASON, reason)
    intrinsics.st_release_sys(m.control, at + layout.STATE, layout.LANE_STOPPED)


_DRAIN = 8  # commands per look at a ring
_LOOK = 32  # turns between looks at the stop word
_TERMINATE = int(Command.TERMINATE)
_SNAPSHOT = int(Command.SNAPSHOT)
_BUDGET_DONE = int(Command.BUDGET_DONE)
_HELD = int(Command.HELD)
_HELD_AT = int(Command.HELD_AT)
_GATE_OPEN = int(Gate.OPEN)
_GATE_COMMANDS = int(Gate.COMMANDS)
_GATE_ANSWERS = int(Gate.ANSWERS)
_OK = int(Status.OK)
_BAD_SLOT = int(Status.BAD_SLOT)
_STAGING_BUSY = int(Status.STAGING_BUSY)
_BAD_ARGUMENT = int(Status.BAD_ARGUMENT)

_apply_command = intrinsics.function(rules.apply_command)
_inside = intrinsics.function(rules.inside)
_region_fits = intrinsics.function(regions.region_fits)
_record_load = intrinsics.function(rules.record_load)
_plan_slice = intrinsics.function(rules.plan_slice)
_record_steps = intrinsics.function(rules.record_steps)
_record_time = intrinsics.function(rules.record_time)
_steps_to_exchange = intrinsics.function(regions.steps_to_exchange)
_is_held = intrinsics.function(rules.is_held)
_record_held = intrinsics.function(rules.record_held)
_is_held_at = intrinsics.function(rules.is_held_at)
_record_held_at = intrinsics.function(rules.record_held_at)
_release = intrinsics.function(rules.release)


@intrinsics.function
def _take_params(m: Any, row: int) -> None:
    for j in range(16):
        m.params[row * 16 + j] = m.params_in[row * 16 + j]


@intrinsics.function
def _post(m: Any, base: int, kind: int, row: int, count: int, target: int) -> None:
    table, mail = m.table, m.mail
    now, other = table[row, layout.C_A], table[row, layout.C_B]
    if table[row, layout.C_CUR] != 0:
        now, other = other, now
    mail[base + cl.J_KIND] = kind
    mail[base + cl.J_ROW] = row
    mail[base + cl.J_COUNT] = count
    mail[base + cl.J_NOW] = now
    mail[base + cl.J_OTHER] = other
    mail[base + cl.J_STEP] = table[row, layout.C_STEP]
    mail[base + cl.J_TARGET] = target
    mail[base + cl.M_SUM] = 0
    mail[base + cl.M_BEGIN] = mail[base + cl.M_BUSY_AT] = intrinsics.now_ns()


@intrinsics.function
def _free_buffer(m: Any, lane: int) -> Any:
    for b in range(layout.STAGING_BUFFERS):
        at = lane * layout.CTL_WORDS + layout.RETURNED + b * layout.LINE
        # The host releases this word when it is done with the buffer, and no copy of it is under way.
        if m.lanes[lane, cl.L_TAKEN + b] == intrinsics.ld_acquire_sys(m.control, at):
            return b
    return -1


@intrinsics.function
def _row_of(m: Any, lane: int, slot: int) -> Any:
    """Return the row of a slot of this lane, or -1."""
    first = m.lanes[lane, cl.L_FIRST]
    row = -1
    for r in range(first, first + m.lanes[lane, cl.L_ROWS]):
        if m.table[r, layout.C_SLOT] == slot:
            row = r
    return row


def make_commands(inject: Any) -> Any:
    """Make the function that carries out a lane's commands; `inject` disturbs one cell of an actor.

    It returns 0 if no command was read, 1 if it did something, 2 if a job was posted.
    """

    @intrinsics.function
    def commands(m: Any, base: int, lane: int) -> Any:
        """Carry out up to a few commands of a lane."""
        control, h2k, table, mail = m.control, m.h2k, m.table, m.mail
        ctl = lane * layout.CTL_WORDS
        capacity = m.facts[cl.F_CAPACITY]
        done = 0
        for _ in range(_DRAIN):
            tail = m.lanes[lane, cl.L_H2K_TAIL]
            if intrinsics.ld_relaxed_sys(control, ctl + layout.H2K_HEAD) == tail:
                break
            # A command is read only when its reply fits. Else it stays where it is, the H2K ring fills
            # up, and the host is told there.
            if _room(m, lane) <= 0:
                break
            intrinsics.ld_acquire_sys(control, ctl + layout.H2K_HEAD)
            at = (lane * capacity + (tail & (capacity - 1))) * layout.SLOT_WORDS
            kind, command_id, slot = h2k[at], h2k[at + 1], h2k[at + 2]
            argument, y, x, bits = h2k[at + 3], h2k[at + 4], h2k[at + 5], h2k[at + 6]
            # The gate comes with the command, as it was when that was pushed. Only one that was shut is
            # looked at, over the bus: it may have been opened, or set to another place, since.
            gate = h2k[at + 7]
            if gate != _GATE_OPEN:
                gate = intrinsics.ld_relaxed_sys(control, ctl + layout.GATE)
            if gate == _GATE_COMMANDS:
                break
            m.lanes[lane, cl.L_H2K_TAIL] = tail + 1  # the host is told with the reply
            done = 1
            if kind == _TERMINATE:
                _reply(m, lane, kind, command_id, slot, _OK, 0, 0, 0)
                _stop_lane(m, lane, cl.BY_TERMINATE)
                break
            row = _row_of(m, lane, slot)
            if row < 0:
                _reply(m, lane, kind, command_id, slot, _BAD_SLOT, 0, 0, 0)
                continue
            status, value, left = _apply_command(table, row, kind, argument, y)
            if left == rules.INJECT:
                if _inside(table, row, argument, y, x):
                    inject(m.state, table, m.params, row, argument, y, x, intrinsics.as_float(bits))
                else:
                    status = _BAD_ARGUMENT
            elif left == rules.SET_LINK:
                if 0 <= argument < m.lanes[lane, cl.L_LINK_COUNT]:
                    m.links[m.lanes[lane, cl.L_LINKS] + argument, layout.K_ON] = y
                else:
                    status = _BAD_ARGUMENT
            elif left == rules.SET_PARAMS:
                _take_params(m, row)
            elif left == rules.READ or left == rules.WRITE:  # noqa: PLR1714 - compiled
                if _region_fits(table, row, argument, y, x, bits):
                    mail[base + cl.M_LANE] = lane
                    mail[base + cl.M_COMMAND] = kind
                    mail[base + cl.M_ID] = command_id
                    mail[base + cl.J_WHAT], mail[base + cl.J_Z] = argument, y
                    mail[base + cl.J_Y], mail[base + cl.J_X] = x, bits
                    job = cl.JOB_READ if left == rules.READ else cl.JOB_WRITE
                    _post(m, base, job, row, 0, m.lanes[lane, cl.L_RESTORE])
                    return 2
                status = _BAD_ARGUMENT
            elif left == rules.CAPTURE or left == rules.LOAD:  # noqa: PLR1714 - compiled
                buffer = 0
                if left == rules.CAPTURE:
                    buffer = _free_buffer(m, lane)
                if buffer < 0:
                    status = _STAGING_BUSY
                else:
                    mail[base + cl.M_LANE] = lane
                    mail[base + cl.M_COMMAND] = kind
                    mail[base + cl.M_ID] = command_id
                    mail[base + cl.M_ARGUMENT] = argument
                    mail[base + cl.M_BUFFER] = buffer
                    mail[base + cl.M_HOLD] = 1 if gate == _GATE_ANSWERS else 0
                    if left == rules.CAPTURE:
                        target = m.lanes[lane, cl.L_STAGE0 + buffer]
                        _post(m, base, cl.JOB_CAPTURE, row, 0, target)
                    else:
                        _post(m, base, cl.JOB_LOAD, row, 0, m.lanes[lane, cl.L_RESTORE])
                    return 2
            _publish_group(m, row)
            _answer(m, lane, row, kind, command_id, status, value)
        return done

    return commands


@intrinsics.function
def _next_slice(m: Any, base: int, lane: int) -> Any:
    """Post steps of the next actor of a lane that may take some; return whether there was one."""
    table, lanes = m.table, m.lanes
    first, rows = lanes[lane, cl.L_FIRST], lanes[lane, cl.L_ROWS]
    begin = intrinsics.now_ns()
    for k in range(rows):
        place = (lanes[lane, cl.L_NEXT_ROW] + k) % rows
        row = first + place
        if table[row, layout.C_EXISTS] == 0:
            continue
        due = table[row, layout.C_BUDGET] == 0 and table[row, layout.C_REPLY_DUE] != 0
        if due and _room(m, lane) > 0:
            table[row, layout.C_REPLY_DUE] = 0
            _answer(m, lane, row, _BUDGET_DONE, 0, _OK, table[row, layout.C_STEP])
        if _is_held(table, row) and _room(m, lane) > 0:
            _answer(m, lane, row, _HELD, 0, _OK, _record_held(table, row))
        if _is_held_at(table, row) and _room(m, lane) > 0:
            _record_held_at(table, row)
            _answer(m, lane, row, _HELD_AT, 0, _OK, 0)
        if table[row, layout.C_NEXT] != 0 and table[row, layout.C_LINK_COUNT] == 0:
            continue  # it steps with the one that leads its group
        count, _ = _plan_slice(table, row, begin, m.facts[cl.F_SLICE_NS])
        if count > 0:
            lanes[lane, cl.L_NEXT_ROW] = (place + 1) % rows
            if table[row, layout.C_LINK_COUNT] > 0:
                planned, count = count, _steps_to_exchange(table, m.links, row, count)
                # Of those steps that it does not take now, the pace is not used up.
                table[row, layout.C_NEXT_NS] -= (planned - count) * table[row, layout.C_PACE_NS]
                lanes[lane, cl.L_LEADS], lanes[lane, cl.L_STEPS] = row, count
                lanes[lane, cl.L_MEMBER] = 1 + row + table[row, layout.C_NEXT]
            m.mail[base + cl.M_LANE] = lane
            _post(m, base, cl.JOB_STEP, row, count, 0)
            return True
    return False


@intrinsics.function
def _go_on(m: Any, base: int, lane: int) -> Any:
    """Post what a group that is in a step does next; return whether there was one."""
    # No command is read before its last actor is as far as the first, and the links are copied.
    table, lanes = m.table, m.lanes
    if lanes[lane, cl.L_MEMBER] == 0:
        return False
    member, leads = lanes[lane, cl.L_MEMBER] - 1, lanes[lane, cl.L_LEADS]
    m.mail[base + cl.M_LANE] = lane
    if member == leads:
        lanes[lane, cl.L_MEMBER] = 0
        _post(m, base, cl.JOB_EXCHANGE, leads, 0, 0)
    else:
        lanes[lane, cl.L_MEMBER] = 1 + member + table[member, layout.C_NEXT]
        _post(m, base, cl.JOB_STEP, member, lanes[lane, cl.L_STEPS], 0)
    return True


@intrinsics.function
def _waits_at_gate(m: Any, lane: int) -> Any:
    """Return whether the lane waits at the gate of answers; answer once that is open."""
    held = m.lanes[lane, cl.L_HELD]
    if held == 0:
        return False
    gate = intrinsics.ld_relaxed_sys(m.control, lane * layout.CTL_WORDS + layout.GATE)
    if gate == _GATE_ANSWERS:
        return True
    m.lanes[lane, cl.L_HELD] = 0
    command_id, buffer = m.lanes[lane, cl.L_HELD_ID], m.lanes[lane, cl.L_HELD_BUFFER]
    _answer(m, lane, held - 1, _SNAPSHOT, command_id, _OK, buffer)
    return False


def make_find_job(commands: Any) -> Any:
    """Make the function with which a leader looks for the group's next job and posts it in the mail.

    `commands` comes from `make_commands`.
    """

    @intrinsics.function
    def find_job(m: Any, group: int) -> None:
        """Look at the lanes in turn until there is a job."""
        mail, lanes, groups = m.mail, m.lanes, m.facts[cl.F_GROUPS]
        base = group * cl.MAIL_WORDS
        per_group = (lanes.shape[0] - group + groups - 1) // groups
        turn = -1
        while True:
            now = intrinsics.now_ns()
            turn += 1
            # Between two jobs all that the next launch needs lies in memory: the one place to end this
            # one.
            if now - mail[base + cl.M_BEGAN] > m.facts[cl.F_LAUNCH_NS]:
                mail[base + cl.J_KIND] = cl.JOB_EXIT
                return
            # The stop word is looked at before the first job and then now and then: each load over the
            # bus would add a microsecond to the answer to a command.
            look = turn % _LOOK == 0
            running = 0
            busy = False
            start = mail[base + cl.M_NEXT_LANE]
            for k in range(per_group):
                place = (start + k) % per_group
                lane = group + place * groups
                ctl = lane * layout.CTL_WORDS
                if lanes[lane, cl.L_STOPPED] != 0:
                    continue
                if look and intrinsics.ld_relaxed_sys(m.control, ctl + layout.STOP) != 0:
                    _stop_lane(m, lane, cl.BY_STOP)
                    continue
                running += 1
                lanes[lane, cl.L_LOOPS] += 1
                intrinsics.st_relaxed_sys(m.control, ctl + layout.LOOPS, lanes[lane, cl.L_LOOPS])
                mail[base + cl.M_NEXT_LANE] = (place + 1) % per_group
                if _go_on(m, base, lane):
                    return
                if _waits_at_gate(m, lane):
                    continue
                got = commands(m, base, lane)
                if got == 2:
                    return
                busy = busy or got != 0
                if lanes[lane, cl.L_STOPPED] == 0 and _next_slice(m, base, lane):
                    return
            if running == 0:
                mail[base + cl.J_KIND] = cl.JOB_EXIT
                return
            if busy:
                mail[base + cl.M_BUSY_AT] = now
            elif now - mail[base + cl.M_BUSY_AT] > m.facts[cl.F_HOT_NS]:
                intrinsics.rest()
            else:
                intrinsics.pause()

    return find_job


@intrinsics.function
def staged_on_host(m: Any, row: int) -> Any:
    """Return whether an actor is captured straight into the host's memory."""
    return m.table[row, layout.C_TAIL] <= cl.STRAIGHT_BYTES


@intrinsics.function
def _write_tail(m: Any, base: int, row: int, begin: int, end: int) -> None:
    """Write the tail of a captured snapshot, and show that its buffer is taken."""
    table, mail = m.table, m.mail
    staging = m.staged if staged_on_host(m, row) else m.staging
    lane, buffer = mail[base + cl.M_LANE], mail[base + cl.M_BUFFER]
    target = mail[base + cl.J_TARGET]
    tail = table[row, layout.C_TAIL] // 8
    total = mail[base + cl.M_SUM]
    for j in range(16):
        word = m.params[row * 16 + j]
        staging[target + tail + j] = word
        total = intrinsics.weigh(total, word, 2 * ((tail + j) // layout.BLOCK_WORDS) + 1)
    at = target + tail + 16
    staging[at + layout.T_CHECKSUM] = total
    staging[at + layout.T_STEP] = table[row, layout.C_STEP]
    staging[at + layout.T_EPOCH] = table[row, layout.C_EPOCH]
    staging[at + layout.T_BEGIN] = begin
    staging[at + layout.T_END] = end
    staging[at + layout.T_SLOT] = table[row, layout.C_SLOT]
    m.lanes[lane, cl.L_TAKEN + buffer] += 1
    at = lane * layout.CTL_WORDS + layout.TAKEN + buffer * layout.LINE
    intrinsics.st_relaxed_sys(m.control, at, m.lanes[lane, cl.L_TAKEN + buffer])
    table[row, layout.C_SNAPSHOTS] += 1
    intrinsics.st_relaxed_sys(m.words, row * layout.ACTOR_WORDS + layout.W_STALL_NS, end - begin)


@intrinsics.function
def finish_job(m: Any, base: int) -> None:
    """Record what the group has done, and answer the command behind it if there was one."""
    table, mail = m.table, m.mail
    kind, row = mail[base + cl.J_KIND], mail[base + cl.J_ROW]
    lane, command_id = mail[base + cl.M_LANE], mail[base + cl.M_ID]
    begin, end = mail[base + cl.M_BEGIN], intrinsics.now_ns()
    if kind == cl.JOB_STEP:
        count = mail[base + cl.J_COUNT]
        _record_steps(table, row, count)
        _record_time(table, row, count, end - begin)
        _publish(m, row)
        _publish_step(m, row)
        return
    if kind == cl.JOB_EXCHANGE:
        return
    command, value = mail[base + cl.M_COMMAND], 0
    if kind == cl.JOB_LOAD:
        _take_params(m, row)
        _record_load(table, row, command, mail[base + cl.M_ARGUMENT])
    elif kind != cl.JOB_CAPTURE:
        planes, rows = mail[base + cl.J_Z] >> 32, mail[base + cl.J_Y] >> 32
        value = planes * rows * (mail[base + cl.J_X] >> 32) * (mail[base + cl.J_WHAT] >> 1 & 127)
    else:
        value = mail[base + cl.M_BUFFER]
        _write_tail(m, base, row, begin, end)
        _release(table, row, mail[base + cl.M_ARGUMENT])
    _publish_group(m, row)
    if kind == cl.JOB_LOAD:
        _publish_step(m, row)  # no other command changes it
    if kind == cl.JOB_CAPTURE and mail[base + cl.M_HOLD] != 0:
        m.lanes[lane, cl.L_HELD] = row + 1
        m.lanes[lane, cl.L_HELD_ID] = command_id
        m.lanes[lane, cl.L_HELD_BUFFER] = value
        at = lane * layout.CTL_WORDS + layout.H2K_TAIL
        intrinsics.st_release_sys(m.control, at, m.lanes[lane, cl.L_H2K_TAIL])
    else:
        # The fence in here comes after the group's barrier, so it carries what all blocks wrote to
        # staging, or to the host. That the copy engine then reads it was not yet run on a device.
        _answer(m, lane, row, command, command_id, _OK, value)
