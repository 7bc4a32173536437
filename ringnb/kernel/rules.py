"""What a command does to an actor's row, and how many steps a slice holds: one source for all kernels.

Plain Python over the actor table of `ringnb.kernel.layout`, with no load or store that another thread
could see. The CPU kernel compiles these functions with ``njit``, the CUDA kernel as device functions,
and the simulator runs them as they are, so that a command means the same everywhere.
"""

from __future__ import annotations

from typing import Any

from ringnb._support.checks import MAX_STEP
from ringnb.errors import Status
from ringnb.kernel.layout import (
    C_BUDGET,
    C_BUSY_NS,
    C_CUR,
    C_EPOCH,
    C_EXISTS,
    C_FREE,
    C_NEXT_NS,
    C_NX,
    C_NY,
    C_NZ,
    C_OWED,
    C_PACE_NS,
    C_STEP,
    C_STEP_NS,
)
from ringnb.messages.commands import Command

__all__ = ["FAR", "inside", "judge", "loaded", "plan_slice", "stepped"]

FAR = 2**62
"""A time that never comes."""

# What is left to do for a command that `judge` allowed.
DONE, INJECT, SET_PARAMS, LOAD, CAPTURE = range(5)

# Compiled code wants plain integers.
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
_SNAPSHOT = int(Command.SNAPSHOT)
_RESTORE = int(Command.RESTORE)
_OK = int(Status.OK)
_UNKNOWN = int(Status.UNKNOWN_COMMAND)
_NO_ACTOR = int(Status.NO_ACTOR)
_BAD_ARGUMENT = int(Status.BAD_ARGUMENT)
_ACTOR_EXISTS = int(Status.ACTOR_EXISTS)


def judge(table: Any, row: int, kind: int, argument: int) -> Any:
    """Check a command to an actor and carry out what concerns its row alone.

    Parameters
    ----------
    table : (n, columns) int64 array
        The actor table.
    row : int
        The actor's row.
    kind, argument : int
        The command and its first argument.

    Returns
    -------
    tuple of int
        Status, value of the reply, and what is left to do.
    """
    status, value, left = _OK, 0, DONE
    if table[row, C_EXISTS] == 0 and kind != _CREATE:
        status = _NO_ACTOR
    elif kind == _HEARTBEAT:
        pass
    elif kind == _RUN_STEPS:
        if argument < 1 or argument > MAX_STEP - table[row, C_STEP] - table[row, C_BUDGET]:
            status = _BAD_ARGUMENT
        else:
            table[row, C_BUDGET] += argument
            table[row, C_OWED] = 1
            value = table[row, C_STEP] + table[row, C_BUDGET]
    elif kind == _PAUSE:
        table[row, C_FREE] = 0
        table[row, C_BUDGET] = 0
        table[row, C_OWED] = 0
    elif kind == _RESUME:
        table[row, C_FREE] = 1
    elif kind == _INJECT:
        left = INJECT
    elif kind == _SET_PARAMS:
        left = SET_PARAMS
    elif kind == _SET_PACE:
        if argument < 0:
            status = _BAD_ARGUMENT
        else:
            table[row, C_PACE_NS] = argument
            table[row, C_NEXT_NS] = 0
    elif kind in (_CREATE, _RESTART, _RESTORE):
        if kind == _CREATE and table[row, C_EXISTS] != 0:
            status = _ACTOR_EXISTS
        elif argument < 0:
            status = _BAD_ARGUMENT
        else:
            left = LOAD
    elif kind == _DESTROY:
        table[row, C_EXISTS] = 0
        table[row, C_FREE] = 0
        table[row, C_BUDGET] = 0
        table[row, C_OWED] = 0
    elif kind == _SNAPSHOT:
        left = CAPTURE
    else:
        status = _UNKNOWN
    return status, value, left


def inside(table: Any, row: int, z: int, y: int, x: int) -> Any:
    """Return whether a cell lies in the actor's grid."""
    return 0 <= z < table[row, C_NZ] and 0 <= y < table[row, C_NY] and 0 <= x < table[row, C_NX]


def loaded(table: Any, row: int, kind: int, step: int) -> None:
    """Record that an actor's state was replaced by what the host had put into the restore buffer."""
    table[row, C_CUR] = 0
    table[row, C_STEP] = step
    table[row, C_BUDGET] = 0
    table[row, C_OWED] = 0
    table[row, C_EPOCH] += 1
    if kind != _RESTORE:
        table[row, C_FREE] = 0
    table[row, C_EXISTS] = 1


def plan_slice(table: Any, row: int, begin: int, slice_ns: int) -> Any:
    """Decide how many steps an actor takes now.

    Parameters
    ----------
    table : (n, columns) int64 array
        The actor table.
    row : int
        The actor's row; it exists.
    begin, slice_ns : int
        The time, and how long a slice should take, nanoseconds.

    Returns
    -------
    tuple of int
        Steps, 0 for none; then the time at which it may step again, 0 for at once.
    """
    budget = table[row, C_BUDGET]
    if (budget == 0 and table[row, C_FREE] == 0) or table[row, C_STEP] >= MAX_STEP:
        return 0, FAR
    count = 1  # the first slice measures what a step costs
    if table[row, C_STEP_NS] > 0:
        count = max(1, slice_ns // table[row, C_STEP_NS])
    pace = table[row, C_PACE_NS]
    if pace > 0:
        due = table[row, C_NEXT_NS]
        if due == 0 or begin - due > 100_000_000:
            due = begin  # after a pause, go on at the pace; do not catch up
        if due > begin:
            return 0, due
        count = min(count, (begin - due) // pace + 1)
        table[row, C_NEXT_NS] = due + count * pace
    if budget > 0:
        count = min(count, budget)
    count = min(count, MAX_STEP - table[row, C_STEP])
    return count, (table[row, C_NEXT_NS] if pace > 0 else 0)


def stepped(table: Any, row: int, count: int, elapsed_ns: int) -> None:
    """Record that an actor took steps."""
    table[row, C_STEP_NS] = max(1, elapsed_ns // count)
    table[row, C_BUSY_NS] += elapsed_ns
    table[row, C_STEP] += count
    if count % 2 == 1:
        table[row, C_CUR] = 1 - table[row, C_CUR]
    if table[row, C_BUDGET] > 0:
        table[row, C_BUDGET] -= count
