"""A lane whose actor is stepped elsewhere: its leader is a Python thread that has a `Stepper` do it.

All but the steps is that of any lane: rings, commands, staging. The lane's memory holds the whole state.
It is brought up to date before a command that needs it, and taken back before the next step where a
command has changed it.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Any

from ringnb.kernel import layout
from ringnb.kernel.atomics import now_ns
from ringnb.kernel.base import Gate
from ringnb.kernel.caching import entry_point, inner, plain
from ringnb.kernel.cpu.commands import drain, publish_group
from ringnb.kernel.cpu.leader import tell_what_is_due
from ringnb.kernel.layout import LaneMemory
from ringnb.kernel.ring import load_word, store_word
from ringnb.kernel.rules import NEVER, plan_slice, record_steps, record_time
from ringnb.kernel.stepper import Stepper
from ringnb.messages.commands import Command

__all__ = ["lead"]

# A command waits no longer than about that. After each all parts wait for the leader: that takes a third
# of a millisecond where the cores are few, and longer where others want them, too.
_SLICE_NS = 30_000_000
_LONGEST_SLEEP_MS = 100
_CHANGES = frozenset(
    {
        *(Command.INJECT, Command.SET_PARAMS, Command.WRITE_REGION),
        *(Command.RESTORE, Command.CREATE_ACTOR, Command.RESTART_ACTOR),
    }
)
_NEEDS_ALL = _CHANGES | {Command.SNAPSHOT, Command.READ_REGION}
_plan_slice = inner(plan_slice)
_record_steps = inner(record_steps)
_record_time = inner(record_time)
_drain = entry_point(nogil=True)(plain(drain))  # compiled leaders have it inlined


@entry_point
def _plan(
    control: Any, k2h: Any, table: Any, facts: Any, host: Any, scratch: Any, slice_ns: int
) -> Any:
    """Tell what is due; return how many steps to take now, and when there will be others."""
    if table[0, layout.C_EXISTS] == 0:
        return 0, NEVER
    tell_what_is_due(control, k2h, table, facts, host, scratch, 0)
    return _plan_slice(table, 0, now_ns(scratch), slice_ns)


@entry_point
def _record(table: Any, words: Any, count: int, elapsed_ns: int) -> None:
    """Record, and show, that steps were taken."""
    _record_steps(table, 0, count)
    _record_time(table, 0, count, elapsed_ns)
    publish_group(table, words, 0)


def lead(
    memory: LaneMemory, host: layout.Words, stepper: Stepper, levels: Callable[[], Any]
) -> None:
    """Body of the lane's thread; returns after TERMINATE, or when the STOP word is set.

    ``levels()`` are the two of the lane's memory, ``now`` first.
    """
    control, table, facts, words = memory.control, memory.table, memory.facts, memory.words
    scratch, args = layout.lines(layout.LINE), layout.lines(layout.LINE)[:8]
    shared = (
        *(control, memory.h2k, memory.k2h, table, memory.links, words),
        *(memory.params, memory.params_in, memory.team, facts, host, scratch, args),
    )
    told = control, memory.k2h, table, facts, host, scratch
    sleeper = select.poll()
    sleeper.register(wake_fd := int(facts[layout.F_WAKE_FD]), select.POLLIN)
    is_whole = is_changed = True  # the memory has the newest state; the stepper has another one
    # Compiled now: no command's deadline may run meanwhile.
    _drain(*shared, 0)
    _plan(*told, _SLICE_NS)
    store_word(control, layout.STATE, layout.LANE_RUNNING)
    while not load_word(control, layout.STOP):
        store_word(control, layout.LOOPS, load_word(control, layout.LOOPS) + 1)
        handled = 0
        if kinds := _kinds_waiting(memory):
            if not is_whole and not _NEEDS_ALL.isdisjoint(kinds):
                stepper.collect(levels())
                is_whole = True
            # No more than were looked at: another one may need the whole state.
            handled = _drain(*shared, len(kinds))
            if handled < 0:
                break
            is_changed = is_changed or not _CHANGES.isdisjoint(kinds)
        count, again = _plan(*told, _SLICE_NS)
        if count:
            began = time.monotonic_ns()
            if is_changed:
                stepper.load(levels(), memory.params[0], int(table[0, layout.C_STEP]))
                is_changed = False
            is_whole = False
            stepper.step(int(count))
            _record(table, words, count, time.monotonic_ns() - began)
        elif not handled:
            _sleep(control, sleeper, wake_fd, again)


def _kinds_waiting(memory: LaneMemory) -> list[int]:
    """Return the kinds of the commands on the ring."""
    tail, head = (load_word(memory.control, at) for at in (layout.H2K_TAIL, layout.H2K_HEAD))
    mask = len(memory.h2k) - 1
    return [int(memory.h2k[i & mask, 0]) for i in range(tail, head)]


def _sleep(control: layout.Words, sleeper: select.poll, wake_fd: int, again: int) -> None:
    """Sleep until a command comes, or an actor with a pace wants its next step."""
    left_ms = (again - time.monotonic_ns()) // 1_000_000 if again != NEVER else _LONGEST_SLEEP_MS
    held = load_word(control, layout.GATE) == Gate.COMMANDS
    # The host gives no sign when it takes replies off a full ring, nor for a gate.
    waiting = load_word(control, layout.H2K_HEAD) != load_word(control, layout.H2K_TAIL)
    wait_ms = 1 if held or waiting else min(_LONGEST_SLEEP_MS, max(1, left_ms))
    # Announce, fence, look once more, as `ringnb.kernel.cpu.leader` does; `store_word` fences.
    store_word(control, layout.ASLEEP, 1)
    new = load_word(control, layout.H2K_HEAD) != load_word(control, layout.H2K_TAIL)
    if (
        not load_word(control, layout.STOP)
        and (held or waiting or not new)
        and sleeper.poll(wait_ms)
    ):
        os.read(wake_fd, 64)
    store_word(control, layout.ASLEEP, 0)
