"""A team some of whose threads get hardly any time: slices stay short, steps exact, bits the same."""

# ruff: noqa: A002 - what users write

from __future__ import annotations

import contextlib
import os
import sys
import time

import numpy as np
import pytest
from processes import other_process

from ringnb.actors import CellActor
from ringnb.kernel import layout
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.messages.commands import Command
from ringnb.testing.mixer import Mixer, captured, running

linux = pytest.mark.skipif(sys.platform != "linux", reason="a thread's priority and cores are set")
SLICE = 200_000  # steps that the leader takes for a slice's worth


def sheared(now, next, params, step, y, x):
    above = now[0, y - 1, x] if y > 0 else now[0, now.shape[1] - 1, x]
    next[0, y, x] = (3 * above + 5 * now[0, y, x] + step + int(params[0])) & 0xFFFF


def turned(now, next, params, step, y, x):
    right = now[0, y, x + 1] if x < now.shape[2] - 1 else now[0, y, 0]
    next[0, y, x] = (now[0, y, x] + 7 * right + 1) & 0xFFFF


def total(now, params, step, y, x):
    return now[0, y, x]


ACTORS = {
    "a step in one pass": lambda: Mixer((12, 7)),
    "several steps in a pass": lambda: Mixer((96, 5)),
    "stages and a sum": lambda: CellActor(
        stages=[sheared, turned, turned], shape=(12, 7), dtype="int64", reduce={"total": total}
    ),
}


def keep_busy(pipe, core):
    os.sched_setaffinity(0, {core})
    pipe.send("busy")
    while True:
        pass


@contextlib.contextmanager
def held_up(kernel):
    """Let all of the team but its leader share a core with a process that goes before them."""
    core = max(os.sched_getaffinity(0))
    with other_process(keep_busy, core) as (_, pipe):
        assert pipe.recv() == "busy"
        for thread in kernel._threads[1:]:
            os.setpriority(os.PRIO_PROCESS, thread.native_id, 19)
            os.sched_setaffinity(thread.native_id, {core})
        yield


def stepped(make, width, around=lambda kernel: contextlib.nullcontext()):
    """Return the state after a slice of so many steps and one more, which take a second, not minutes."""
    kernel = CpuKernel([make()], width=width)
    with running(kernel) as client, around(kernel):
        # The actor rests, and so does its row of the leader's table.
        kernel._memory[0].table[0, layout.C_STEP_NS] = 1_000_000 // SLICE
        goal = client.call(0, Command.RUN_STEPS, (SLICE + 1,)).value
        assert client.wait_until(lambda: kernel.counters(0).step == goal, 10)
        return captured(client, 0)[0]


@linux
@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("actor", ACTORS)
def test_a_thread_without_a_core_holds_up_a_slice_at_a_few_barriers_only(actor, width):
    expected = stepped(ACTORS[actor], 1)
    np.testing.assert_array_equal(stepped(ACTORS[actor], width, held_up), expected)


@linux
def test_a_heartbeat_is_answered_while_the_team_waits_for_a_thread_without_a_core():
    kernel = CpuKernel([Mixer((12, 7))], width=2)
    with running(kernel) as client, held_up(kernel):
        client.call(0, Command.RESUME)
        times = []
        for _ in range(30):
            begin = time.monotonic()
            client.call(0, Command.HEARTBEAT)
            times.append(time.monotonic() - begin)
            time.sleep(0.01)  # the leader has come to its next barrier
        assert sorted(times)[20] < 0.02  # such a barrier takes some forty milliseconds
