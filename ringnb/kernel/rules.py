"""What a command does to an actor's row, and how many steps a slice holds: one source for all kernels.

Plain Python over the actor table of `ringnb.kernel.layout`, with no load or store that another thread
could see. The CPU kernel compiles these functions with ``njit``, the CUDA kernel as device functions,
and the simulator runs them as they are, so that a command means the same everywhere.
"""

from __future__ import annotations

from typing import Any

from ringnb._support.checks import MAX_STEP
from ringnb.errors import Status
from ringnb.kernel import layout
from ringnb.messages.commands import Command

__all__ = [
    "NEVER",
    "apply_command",
    "inside",
    "is_held",
    "is_held_at",
    "plan_slice",
    "record_held",
    "record_held_at",
    "record_load",
    "record_steps",
    "record_time",
    "release",
]

NEVER = 2**62  # a time, nanoseconds

# What is left to do for a command that `apply_command` allowed.
DONE, INJECT, SET_PARAMS, LOAD, CAPTURE, READ, WRITE, SET_LINK = range(8)

TOLD, ENDING = 1, 2  # of the column C_AT_TOLD

# Numba types an enumeration member as an enumeration, which does not compare with a word of a ring.
_RUN_STEPS = int(Command.RUN_STEPS)
_PAUSE = int(Command.PAUSE)
_RESUME = int(Command.RESUME)
_INJECT = int(Command.INJECT)
_SET_PARAMS = int(Command.SET_PARAMS)
_SET_PACE = int(Command.SET_PACE)
_CREATE = int(Command.CREATE_ACTOR)
_DESTROY = int(Command.DESTROY_ACTOR)
_RESTART = int(Command.RESTART_ACTOR)
_HEARTBEAT = int(Command.HEARTBEAT)
_HOLD_EVERY = int(Command.HOLD_EVERY)
_HOLD_AT = int(Command.HOLD_AT)
_SNAPSHOT = int(Command.SNAPSHOT)
_RESTORE = int(Command.RESTORE)
_READ_REGION = int(Command.READ_REGION)
_WRITE_REGION = int(Command.WRITE_REGION)
_SET_LINK = int(Command.SET_LINK)
_OK = int(Status.OK)
_UNKNOWN = int(Status.UNKNOWN_COMMAND)
_NO_ACTOR = int(Status.NO_ACTOR)
_BAD_ARGUMENT = int(Status.BAD_ARGUMENT)
_ACTOR_EXISTS = int(Status.ACTOR_EXISTS)
_STEP_PASSED = int(Status.STEP_PASSED)

_TICK_NS = 1024  # the coarsest clock
_CATCH_UP_NS = 100_000_000  # a paced actor that is later than this does not catch up


def apply_command(table: Any, row: int, kind: int, argument: int, at: int) -> Any:
    """Check a command to an actor, and carry it out as far as it concerns the actor's row alone.

    `argument` and `at` are its first two arguments. Returns the status, the value of the reply, and what
    is left to do.
    """
    status, value, left = _OK, 0, DONE
    if table[row, layout.C_EXISTS] == 0 and kind != _CREATE:
        status = _NO_ACTOR
    elif kind == _HEARTBEAT:
        pass
    elif kind == _RUN_STEPS:
        target = table[row, layout.C_STEP] + table[row, layout.C_BUDGET]
        if argument < 1 or argument > MAX_STEP - target:
            status = _BAD_ARGUMENT
        else:
            table[row, layout.C_BUDGET] += argument
            table[row, layout.C_REPLY_DUE] = 1
            value = target + argument
    elif kind == _PAUSE:
        table[row, layout.C_FREE] = 0
        table[row, layout.C_BUDGET] = 0
        table[row, layout.C_REPLY_DUE] = 0
    elif kind == _RESUME:
        table[row, layout.C_FREE] = 1
    elif kind == _INJECT:
        left = INJECT
    elif kind == _SET_PARAMS:
        left = SET_PARAMS
    elif kind == _SET_PACE:
        if argument < 0:
            status = _BAD_ARGUMENT
        else:
            table[row, layout.C_PACE_NS] = argument
            table[row, layout.C_NEXT_NS] = 0
    elif kind == _HOLD_EVERY:
        if argument < 0:
            status = _BAD_ARGUMENT
        else:
            table[row, layout.C_EVERY] = argument
            table[row, layout.C_TOLD] = 0
            table[row, layout.C_LET_GO] = -1
    elif kind == _HOLD_AT:
        if argument < 0:
            table[row, layout.C_AT] = 0
        elif argument == 0 or argument < table[row, layout.C_STEP]:
            status = _STEP_PASSED  # and an earlier one holds on
        else:
            table[row, layout.C_AT] = argument
            table[row, layout.C_AT_TOLD] = 0
    elif kind in (_CREATE, _RESTART, _RESTORE):
        if kind == _CREATE and table[row, layout.C_EXISTS] != 0:
            status = _ACTOR_EXISTS
        elif argument < 0:
            status = _BAD_ARGUMENT
        else:
            left = LOAD
    elif kind == _DESTROY:
        table[row, layout.C_EXISTS] = 0
        table[row, layout.C_FREE] = 0
        table[row, layout.C_BUDGET] = 0
        table[row, layout.C_REPLY_DUE] = 0
    elif kind == _SNAPSHOT:
        if at > 0 and (at != table[row, layout.C_STEP] or at != table[row, layout.C_AT]):
            status = _STEP_PASSED
        else:
            left = CAPTURE
            # Not yet ended: there may be no buffer for the capture.
            if at > 0:
                table[row, layout.C_AT_TOLD] = ENDING
            elif table[row, layout.C_AT_TOLD] == ENDING:
                table[row, layout.C_AT_TOLD] = TOLD
    elif kind == _READ_REGION:
        left = READ
    elif kind == _WRITE_REGION:
        left = WRITE
    elif kind == _SET_LINK:
        left = SET_LINK
    else:
        status = _UNKNOWN
    if kind in (_RUN_STEPS, _PAUSE, _RESUME, _SET_PACE, _DESTROY):
        # Linked actors run, and keep a pace, as one.
        other = row + table[row, layout.C_NEXT]
        while other != row:
            table[other, layout.C_FREE] = table[row, layout.C_FREE]
            table[other, layout.C_BUDGET] = table[row, layout.C_BUDGET]
            table[other, layout.C_PACE_NS] = table[row, layout.C_PACE_NS]
            table[other, layout.C_NEXT_NS] = table[row, layout.C_NEXT_NS]
            other += table[other, layout.C_NEXT]
    return status, value, left


def is_held(table: Any, row: int) -> Any:
    """Return whether an actor waits at its step, and the host is still to be told."""
    every, step = table[row, layout.C_EVERY], table[row, layout.C_STEP]
    return (
        every > 0
        and table[row, layout.C_TOLD] == 0
        and table[row, layout.C_LET_GO] != step
        and step % every == 0
    )


def is_held_at(table: Any, row: int) -> Any:
    """Return whether an actor waits at the step of a HOLD_AT, and the host is still to be told."""
    at = table[row, layout.C_AT]
    return at > 0 and table[row, layout.C_AT_TOLD] == 0 and at == table[row, layout.C_STEP]


def record_held_at(table: Any, row: int) -> None:
    """Record that the host is told that an actor waits at the step of a HOLD_AT."""
    table[row, layout.C_AT_TOLD] = TOLD


def record_held(table: Any, row: int) -> Any:
    """Record that the host is told that an actor waits; return how often it has waited."""
    table[row, layout.C_TOLD] = 1
    table[row, layout.C_HOLDS] += 1
    return table[row, layout.C_HOLDS]


def release(table: Any, row: int, number: int) -> None:
    """Let an actor go that was captured, where its snapshot was to end a wait.

    `number` is that of a wait for HOLD_EVERY; one before a load has another.
    """
    if table[row, layout.C_AT_TOLD] == ENDING:
        table[row, layout.C_AT] = 0
        table[row, layout.C_AT_TOLD] = 0
    if table[row, layout.C_TOLD] != 0 and number == table[row, layout.C_HOLDS]:
        table[row, layout.C_TOLD] = 0
        table[row, layout.C_LET_GO] = table[row, layout.C_STEP]


def inside(table: Any, row: int, z: int, y: int, x: int) -> Any:
    """Return whether a cell lies in the actor's grid."""
    return (
        0 <= z < table[row, layout.C_NZ]
        and 0 <= y < table[row, layout.C_NY]
        and 0 <= x < table[row, layout.C_NX]
    )


def record_load(table: Any, row: int, kind: int, step: int) -> None:
    """Record that an actor's state was replaced by what was in the restore buffer, of this step."""
    table[row, layout.C_CUR] = 0
    table[row, layout.C_STEP] = step
    table[row, layout.C_BUDGET] = 0
    table[row, layout.C_REPLY_DUE] = 0
    table[row, layout.C_EPOCH] += 1
    table[row, layout.C_TOLD] = 0
    table[row, layout.C_LET_GO] = -1  # the state is another, though its step may be the same
    table[row, layout.C_AT] = 0
    table[row, layout.C_AT_TOLD] = 0
    if kind != _RESTORE:
        table[row, layout.C_FREE] = 0
    table[row, layout.C_EXISTS] = 1
    other = row + table[row, layout.C_NEXT]
    while other != row:  # linked actors run as one
        table[other, layout.C_BUDGET] = 0
        table[other, layout.C_FREE] = table[row, layout.C_FREE]
        other += table[other, layout.C_NEXT]


def plan_slice(table: Any, row: int, begin: int, slice_ns: int) -> Any:
    """Decide how many steps an actor takes now, with those linked with it, in a slice of `slice_ns`.

    Returns the steps, 0 for none, and the time at which it may step again, 0 for at once; times are
    those of the clock that gave `begin`, nanoseconds.
    """
    budget = table[row, layout.C_BUDGET]
    if budget == 0 and table[row, layout.C_FREE] == 0:
        return 0, NEVER
    room, step_ns = MAX_STEP, 0
    member = row
    while True:
        step, every = table[member, layout.C_STEP], table[member, layout.C_EVERY]
        room = min(room, MAX_STEP - step)
        if every > 0:
            beyond = step % every
            if beyond == 0 and table[member, layout.C_LET_GO] != step:
                return 0, NEVER  # until it is released
            room = min(room, every - beyond)
        at = table[member, layout.C_AT]
        if at > 0:
            if at == step:
                return 0, NEVER
            room = min(room, at - step)
        if table[member, layout.C_EXISTS] == 0:
            room = 0
        step_ns += table[member, layout.C_STEP_NS]
        member += table[member, layout.C_NEXT]
        if member == row:
            break
    if room == 0:
        return 0, NEVER
    count = 1  # the first slice measures what a step costs
    if step_ns > 0:
        count = max(1, slice_ns // step_ns)
    count = min(count, room)
    pace = table[row, layout.C_PACE_NS]
    if pace > 0:
        due = table[row, layout.C_NEXT_NS]
        if due == 0 or begin - due > _CATCH_UP_NS:
            due = begin  # after a pause, go on at the pace; do not catch up
        if due > begin:
            return 0, due
        count = min(count, (begin - due) // pace + 1)
        table[row, layout.C_NEXT_NS] = due + count * pace
    if budget > 0:
        count = min(count, budget)
    return count, (table[row, layout.C_NEXT_NS] if pace > 0 else 0)


def record_steps(table: Any, row: int, count: int) -> None:
    """Record that an actor took `count` steps."""
    table[row, layout.C_STEP] += count
    if count * table[row, layout.C_STAGES] % 2 == 1:  # the levels swap after every stage
        table[row, layout.C_CUR] = 1 - table[row, layout.C_CUR]
    if table[row, layout.C_BUDGET] > 0:
        table[row, layout.C_BUDGET] -= count


def record_time(table: Any, row: int, count: int, elapsed_ns: int) -> None:
    """Record how long an actor took for `count` steps."""
    # A GPU's clock may count in microseconds, and then measures 0 for what took nearly one. Taken for
    # less than two ticks, a few quick steps would make the next slice a thousand times too long.
    table[row, layout.C_STEP_NS] = max(1, max(elapsed_ns, 2 * _TICK_NS) // count)
    table[row, layout.C_BUSY_NS] += elapsed_ns
