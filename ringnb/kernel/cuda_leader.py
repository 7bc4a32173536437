"""What a group's leader does, one thread of the grid: read commands, hand out jobs, answer.

A *group* is the blocks that serve a lane (or several, in turn, where there are fewer groups than lanes).
All its threads but the leader wait in the group's barrier. The leader looks at its lanes until it has a
job for all of them: some steps, a capture, a load, or the end. Commands that touch one word or one cell
it carries out itself; the others see the result after the next barrier.

The leader never waits for room on a ring and never for a staging buffer: it refuses, or looks
again. Each turn it looks at the heartbeat and at the stop word, so a dead host cannot leave it
spinning (the *lease*). A command is read only when its reply fits on the K2H ring. What commands
mean is in `ringnb.kernel.rules`.

This module has no global named ``cuda``: the simulator would exchange it under the kernel's feet.
"""

from __future__ import annotations

from typing import Any

from ringnb.errors import Status
from ringnb.kernel import cuda_layout as cl
from ringnb.kernel import dev, layout, rules
from ringnb.messages import Command

__all__ = ["finish_job", "make_commands", "make_find_job"]

_DRAIN = 8  # commands per look at a ring
_LOOK = 32  # turns between looks at heartbeat and stop word
_TERMINATE = int(Command.TERMINATE)
_BUDGET_DONE = int(Command.BUDGET_DONE)
_OK = int(Status.OK)
_BAD_SLOT = int(Status.BAD_SLOT)
_STAGING_BUSY = int(Status.STAGING_BUSY)
_BAD_ARGUMENT = int(Status.BAD_ARGUMENT)

_judge = dev.function(rules.judge)
_inside = dev.function(rules.inside)
_loaded = dev.function(rules.loaded)
_plan_slice = dev.function(rules.plan_slice)
_stepped = dev.function(rules.stepped)


@dev.function
def _publish(table: Any, words: Any, row: int) -> None:
    """Show an actor's counters to the host. The step comes last: see the CPU kernel's."""
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
def _room(control: Any, lanes: Any, lane: int, capacity: int) -> Any:
    """Return how many replies fit. The host's tail as last seen is enough, mostly."""
    room = capacity - (lanes[lane, cl.L_K2H_HEAD] - lanes[lane, cl.L_K2H_TAIL])
    if room <= 0:
        tail = dev.ld_acquire_sys(control, lane * layout.CTL_WORDS + layout.K2H_TAIL)
        lanes[lane, cl.L_K2H_TAIL] = tail
        room = capacity - (lanes[lane, cl.L_K2H_HEAD] - tail)
    return room


@dev.function
def _reply(
    control: Any,
    k2h: Any,
    lanes: Any,
    lane: int,
    capacity: int,
    kind: int,
    command_id: int,
    slot: int,
    status: int,
    epoch: int,
    step: int,
    value: int,
) -> None:
    """Append a reply; the caller has made sure of the room."""
    head = lanes[lane, cl.L_K2H_HEAD]
    at = (lane * capacity + (head & (capacity - 1))) * layout.SLOT_WORDS
    k2h[at] = kind
    k2h[at + 1] = command_id
    k2h[at + 2] = slot
    k2h[at + 3] = status
    k2h[at + 4] = epoch
    k2h[at + 5] = step
    k2h[at + 6] = value
    k2h[at + 7] = dev.now_ns()
    lanes[lane, cl.L_K2H_HEAD] = head + 1
    dev.st_release_sys(control, lane * layout.CTL_WORDS + layout.K2H_HEAD, head + 1)


@dev.function
def _stop_lane(control: Any, lanes: Any, lane: int, reason: int) -> None:
    ctl = lane * layout.CTL_WORDS
    lanes[lane, cl.L_STOPPED] = 1
    dev.st_relaxed_sys(control, ctl + cl.STATE_REASON, reason)
    dev.st_release_sys(control, ctl + layout.STATE, layout.LANE_STOPPED)


@dev.function
def _take_params(params: Any, params_in: Any, row: int) -> None:
    for j in range(16):
        params[row * 16 + j] = params_in[row * 16 + j]


@dev.function
def _post(table: Any, mail: Any, base: int, kind: int, row: int, count: int, target: int) -> None:
    now, before = table[row, layout.C_A], table[row, layout.C_B]
    if table[row, layout.C_CUR] != 0:
        now, before = before, now
    mail[base + cl.J_KIND] = kind
    mail[base + cl.J_ROW] = row
    mail[base + cl.J_COUNT] = count
    mail[base + cl.J_NOW] = now
    mail[base + cl.J_BEFORE] = before
    mail[base + cl.J_STEP] = table[row, layout.C_STEP]
    mail[base + cl.J_TARGET] = target
    mail[base + cl.M_SUM] = 0
    mail[base + cl.M_BEGIN] = dev.now_ns()


@dev.function
def _free_buffer(control: Any, lanes: Any, lane: int) -> Any:
    for b in range(layout.STAGING_BUFFERS):
        at = lane * layout.CTL_WORDS + layout.RETURNED + b * layout.LINE
        # The host releases this word after the copy engine has read the buffer.
        if lanes[lane, cl.L_TAKEN + b] == dev.ld_acquire_sys(control, at):
            return b
    return -1


def make_commands(inject: Any) -> Any:
    """Make the function that carries out the commands of a lane.

    Parameters
    ----------
    inject : device function
        Disturbs one cell of an actor of any of the kernel's kinds.

    Returns
    -------
    device function
        It returns 0 if the ring was empty, 1 if it did something, 2 if a job was posted.
    """

    @dev.function
    def commands(
        control: Any,
        h2k: Any,
        k2h: Any,
        words: Any,
        params_in: Any,
        table: Any,
        params: Any,
        lanes: Any,
        mail: Any,
        facts: Any,
        state: Any,
        base: int,
        lane: int,
    ) -> Any:
        """Carry out up to a few commands of a lane."""
        ctl = lane * layout.CTL_WORDS
        capacity = facts[cl.F_CAPACITY]
        done = 0
        for _ in range(_DRAIN):
            tail = lanes[lane, cl.L_H2K_TAIL]
            if dev.ld_relaxed_sys(control, ctl + layout.H2K_HEAD) == tail:
                break
            if _room(control, lanes, lane, capacity) <= 0:
                break
            dev.ld_acquire_sys(control, ctl + layout.H2K_HEAD)
            at = (lane * capacity + (tail & (capacity - 1))) * layout.SLOT_WORDS
            kind, command_id, slot = h2k[at], h2k[at + 1], h2k[at + 2]
            argument, y, x, bits = h2k[at + 3], h2k[at + 4], h2k[at + 5], h2k[at + 6]
            lanes[lane, cl.L_H2K_TAIL] = tail + 1
            dev.st_release_sys(control, ctl + layout.H2K_TAIL, tail + 1)
            done = 1
            if kind == _TERMINATE:
                _reply(control, k2h, lanes, lane, capacity, kind, command_id, slot, _OK, 0, 0, 0)
                _stop_lane(control, lanes, lane, cl.BY_TERMINATE)
                break
            first = lanes[lane, cl.L_FIRST]
            row = -1
            for r in range(first, first + lanes[lane, cl.L_ROWS]):
                if table[r, layout.C_SLOT] == slot:
                    row = r
            if row < 0:
                _reply(
                    control, k2h, lanes, lane, capacity, kind, command_id, slot, _BAD_SLOT, 0, 0, 0
                )
                continue
            status, value, left = _judge(table, row, kind, argument)
            if left == rules.INJECT:
                if _inside(table, row, argument, y, x):
                    inject(state, table, params, row, argument, y, x, dev.as_float(bits))
                else:
                    status = _BAD_ARGUMENT
            elif left == rules.SET_PARAMS:
                _take_params(params, params_in, row)
            elif left == rules.CAPTURE or left == rules.LOAD:  # noqa: PLR1714 - compiled
                buffer = 0
                if left == rules.CAPTURE:
                    buffer = _free_buffer(control, lanes, lane)
                if buffer < 0:
                    status = _STAGING_BUSY
                else:
                    mail[base + cl.M_LANE] = lane
                    mail[base + cl.M_COMMAND] = kind
                    mail[base + cl.M_ID] = command_id
                    mail[base + cl.M_ARGUMENT] = argument
                    mail[base + cl.M_BUFFER] = buffer
                    if left == rules.CAPTURE:
                        target = lanes[lane, cl.L_STAGE0 + buffer]
                        _post(table, mail, base, cl.JOB_CAPTURE, row, 0, target)
                    else:
                        target = lanes[lane, cl.L_RESTORE]
                        _post(table, mail, base, cl.JOB_LOAD, row, 0, target)
                    return 2
            _publish(table, words, row)
            _reply(
                control,
                k2h,
                lanes,
                lane,
                capacity,
                kind,
                command_id,
                slot,
                status,
                table[row, layout.C_EPOCH],
                table[row, layout.C_STEP],
                value,
            )
        return done

    return commands


@dev.function
def _next_slice(
    control: Any, k2h: Any, table: Any, lanes: Any, mail: Any, facts: Any, base: int, lane: int
) -> Any:
    """Post steps of the next actor of a lane that may take some; return whether there was one."""
    capacity = facts[cl.F_CAPACITY]
    first, rows = lanes[lane, cl.L_FIRST], lanes[lane, cl.L_ROWS]
    begin = dev.now_ns()
    for k in range(rows):
        place = (lanes[lane, cl.L_NEXT_ROW] + k) % rows
        row = first + place
        if table[row, layout.C_EXISTS] == 0:
            continue
        owed = table[row, layout.C_BUDGET] == 0 and table[row, layout.C_OWED] != 0
        if owed and _room(control, lanes, lane, capacity) > 0:
            table[row, layout.C_OWED] = 0
            slot, step = table[row, layout.C_SLOT], table[row, layout.C_STEP]
            epoch = table[row, layout.C_EPOCH]
            _reply(
                control, k2h, lanes, lane, capacity, _BUDGET_DONE, 0, slot, _OK, epoch, step, step
            )
        count, _ = _plan_slice(table, row, begin, facts[cl.F_SLICE_NS])
        if count > 0:
            lanes[lane, cl.L_NEXT_ROW] = (place + 1) % rows
            mail[base + cl.M_LANE] = lane
            _post(table, mail, base, cl.JOB_STEP, row, count, 0)
            return True
    return False


def make_find_job(commands: Any) -> Any:
    """Make the function with which a leader looks for the group's next job, and posts it.

    Parameters
    ----------
    commands : device function
        From `make_commands`.

    Returns
    -------
    device function
        It returns when a job is in the mail.
    """

    @dev.function
    def find_job(
        control: Any,
        h2k: Any,
        k2h: Any,
        words: Any,
        params_in: Any,
        host: Any,
        table: Any,
        params: Any,
        lanes: Any,
        mail: Any,
        facts: Any,
        state: Any,
        group: int,
        groups: int,
    ) -> None:
        """Look at the lanes in turn until there is a job."""
        base = group * cl.MAIL_WORDS
        per_group = (lanes.shape[0] - group + groups - 1) // groups
        idle_since = dev.now_ns()
        turn = -1
        while True:
            now = dev.now_ns()
            turn += 1
            # Heartbeat and stop word are looked at before the first job and then now and then: each
            # load over the bus would add a microsecond to the answer to a command.
            look = turn % _LOOK == 0
            lapsed = False
            if look:
                beat = dev.ld_relaxed_sys(host, cl.HEARTBEAT)
                if beat != mail[base + cl.M_BEAT] or mail[base + cl.M_BEAT_AT] == 0:
                    mail[base + cl.M_BEAT] = beat
                    mail[base + cl.M_BEAT_AT] = now
                lapsed = now - mail[base + cl.M_BEAT_AT] > facts[cl.F_LEASE_NS]
            running = 0
            busy = False
            start = mail[base + cl.M_NEXT_LANE]
            for k in range(per_group):
                place = (start + k) % per_group
                lane = group + place * groups
                ctl = lane * layout.CTL_WORDS
                if lanes[lane, cl.L_STOPPED] != 0:
                    continue
                if lapsed:
                    _stop_lane(control, lanes, lane, cl.BY_LEASE)
                    continue
                if look and dev.ld_relaxed_sys(control, ctl + layout.STOP) != 0:
                    _stop_lane(control, lanes, lane, cl.BY_STOP)
                    continue
                running += 1
                lanes[lane, cl.L_LOOPS] += 1
                dev.st_relaxed_sys(control, ctl + layout.LOOPS, lanes[lane, cl.L_LOOPS])
                mail[base + cl.M_NEXT_LANE] = (place + 1) % per_group
                got = commands(
                    control,
                    h2k,
                    k2h,
                    words,
                    params_in,
                    table,
                    params,
                    lanes,
                    mail,
                    facts,
                    state,
                    base,
                    lane,
                )
                if got == 2:
                    return
                busy = busy or got != 0
                if lanes[lane, cl.L_STOPPED] == 0 and _next_slice(
                    control, k2h, table, lanes, mail, facts, base, lane
                ):
                    return
            if running == 0:
                mail[base + cl.J_KIND] = cl.JOB_EXIT
                return
            if busy:
                idle_since = now
            elif now - idle_since > facts[cl.F_HOT_NS]:
                dev.rest()
            else:
                dev.pause()

    return find_job


@dev.function
def finish_job(
    control: Any,
    k2h: Any,
    words: Any,
    params_in: Any,
    table: Any,
    params: Any,
    lanes: Any,
    mail: Any,
    facts: Any,
    staging: Any,
    base: int,
) -> None:
    """Record what the group has done, and answer the command behind it if there was one."""
    kind, row = mail[base + cl.J_KIND], mail[base + cl.J_ROW]
    lane = mail[base + cl.M_LANE]
    begin, end = mail[base + cl.M_BEGIN], dev.now_ns()
    if kind == cl.JOB_STEP:
        _stepped(table, row, mail[base + cl.J_COUNT], end - begin)
        _publish(table, words, row)
        return
    value = 0
    if kind == cl.JOB_LOAD:
        _take_params(params, params_in, row)
        _loaded(table, row, mail[base + cl.M_COMMAND], mail[base + cl.M_ARGUMENT])
    else:
        value = mail[base + cl.M_BUFFER]
        target = mail[base + cl.J_TARGET]
        tail = table[row, layout.C_TAIL] // 8
        total = mail[base + cl.M_SUM]
        for j in range(16):
            word = params[row * 16 + j]
            staging[target + tail + j] = word
            total = dev.weigh(total, word, 2 * ((tail + j) // cl.BLOCK_WORDS) + 1)
        at = target + tail + 16
        staging[at + layout.T_CHECKSUM] = total
        staging[at + layout.T_STEP] = table[row, layout.C_STEP]
        staging[at + layout.T_EPOCH] = table[row, layout.C_EPOCH]
        staging[at + layout.T_BEGIN] = begin
        staging[at + layout.T_END] = end
        staging[at + layout.T_SLOT] = table[row, layout.C_SLOT]
        lanes[lane, cl.L_TAKEN + value] += 1
        at = lane * layout.CTL_WORDS + layout.TAKEN + value * layout.LINE
        dev.st_relaxed_sys(control, at, lanes[lane, cl.L_TAKEN + value])
        table[row, layout.C_SNAPSHOTS] += 1
        dev.st_relaxed_sys(words, row * layout.ACTOR_WORDS + layout.W_STALL_NS, end - begin)
    _publish(table, words, row)
    # The release of the ring's head in here comes after the group's barrier, so it carries what all
    # blocks wrote to staging. That the copy engine then reads it is not yet run on a device.
    _reply(
        control,
        k2h,
        lanes,
        lane,
        facts[cl.F_CAPACITY],
        mail[base + cl.M_COMMAND],
        mail[base + cl.M_ID],
        table[row, layout.C_SLOT],
        _OK,
        table[row, layout.C_EPOCH],
        table[row, layout.C_STEP],
        value,
    )
