"""A team some of whose threads get hardly any time: slices stay short, steps exact, bits the same."""

# ruff: noqa: A002 - what users write

from __future__ import annotations

import contextlib
import os
import sys
from unittest import mock

import numpy as np
import pytest
from processes import other_process

from ringnb._support.machine import available_cores
from ringnb.actors import CellActor
from ringnb.actors.link import Link
from ringnb.actors.region import Region
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


TOP = Region("u", slice(2))
POPULATIONS = {  # actors, links
    "several steps in a pass": lambda: ([Mixer((96, 5))], ()),
    "stages and a sum": lambda: (
        [
            CellActor(
                stages=[sheared, turned, turned],
                shape=(12, 7),
                dtype="int64",
                reduce={"total": total},
            )
        ],
        (),
    ),
    "linked": lambda: ([Mixer((12, 7)), Mixer((12, 7))], [Link(0, TOP, 1, TOP, 1)]),
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


def stepped(populate, width, around=lambda kernel: contextlib.nullcontext()):
    """Return the states after a slice and a step, which take a second, not minutes."""
    actors, links = populate()
    with mock.patch("ringnb.kernel.cpu.kernel._kernel_threads", return_value=width):
        kernel = CpuKernel(actors, lanes=1, links=links)
    with running(kernel) as client, around(kernel):
        # The actors rest, and so do their rows of the leader's table.
        table = kernel._memory[0].table
        table[:, layout.C_STEP_NS], table[:, layout.C_TEAM] = 1_000_000 // SLICE, width
        goal = client.call(0, Command.RUN_STEPS, (SLICE + 1,)).value
        assert client.wait_until(lambda: kernel.counters(0).step == goal, 10)
        return [captured(client, slot)[0] for slot in range(len(actors))]


@linux
@pytest.mark.parametrize(("name", "width"), [*zip(POPULATIONS, [3, 2, 2], strict=True)])
def test_a_thread_without_a_core_holds_up_a_slice_at_a_few_barriers_only(name, width):
    expected = stepped(POPULATIONS[name], 1)
    np.testing.assert_array_equal(stepped(POPULATIONS[name], width, held_up), expected)


def uneven(now, next, params, step, y, x):
    value = np.int64(now[0, y, x])
    for _ in range(1_000_000 if y >= 12 else 1):
        value = (value * 6364136223846793005 + 1442695040888963407) ^ (value >> 7)
    next[0, y, x] = value


@pytest.mark.skipif(available_cores() < 2, reason="the leader answers beside the other thread")
def test_a_heartbeat_is_answered_while_the_leader_waits_for_its_team():
    kernel = CpuKernel([CellActor(uneven, (24, 20), dtype="int64")], width=2)
    with running(kernel) as client:
        client.call(0, Command.RUN_STEPS, (1,))
        beats = [client.call(0, Command.HEARTBEAT) for _ in range(3)]
        assert kernel.counters(0).step == 0
        assert [(beat.ok, beat.step) for beat in beats] == [(True, 0)] * 3
        assert client.wait_until(lambda: kernel.counters(0).step == 1, 60)
