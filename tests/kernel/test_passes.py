"""Several steps in one pass: the bits of plain stepping, exact steps, and answers meanwhile."""

# ruff: noqa: A002 - what users write

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringnb.actors import CellActor, Ising2D, Life, Wave2D, Wave3D
from ringnb.actors.torus import wrap
from ringnb.kernel import layout
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.kernel.cpu.passes import pass_of, slice_of, steps_of_pass
from ringnb.messages.commands import Command
from ringnb.testing.mixer import Mixer, captured, running

MS = 1_000_000


def far(now, next, params, step, y, x):
    ny, nx = now.shape[1], now.shape[2]
    above, below = now[0, wrap(y - 2, ny), x], now[0, wrap(y + 2, ny), wrap(x + 1, nx)]
    next[0, y, x] = (3 * above + 5 * below + now[0, y, x] - next[0, y, x] + step) & 0xFFFF


def line(now, next, params, step, x):
    left = now[0, x - 1] if x > 0 else 0
    right = now[0, x + 1] if x < now.shape[1] - 1 else 7
    next[0, x] = (3 * left + 5 * right + now[0, x] + step) & 0xFFFF


def own(now, next, params, step, x):
    next[0, x] = (3 * now[0, x] + step) & 0xFFFF


MODELS = {
    "torus": lambda rows: Life((rows, 9), start=np.arange(9 * rows).reshape(rows, 9) % 3 % 2),
    "walls": lambda rows: Wave2D((rows, 7), damping=0.01),
    "box": lambda rows: Wave3D((rows, 3, 4)),
    "spins": lambda rows: Ising2D((rows + rows % 2, 70), field=0.1),
    "mixer": lambda rows: Mixer((rows, 5)),
    "far": lambda rows: CellActor(far, (rows, 5), dtype="int64", levels=2, reach=2),
    "line": lambda rows: CellActor(line, (rows,), dtype="int64", reach=1),
    "own": lambda rows: CellActor(own, (rows,), dtype="int64", reach=0),
}


def run(actor, counts, width, depth, tile):
    """Return the state and the step after runs of so many steps, with a cell disturbed after each."""
    kernel = CpuKernel([actor], width=width)
    row = kernel._memory[0].table[0]
    assert row[layout.C_DEPTH] > 1 or actor.shape[0] < 3
    row[layout.C_DEPTH], row[layout.C_TILE] = depth, tile
    with running(kernel) as client:
        for number, count in enumerate(counts):
            goal = client.call(0, Command.RUN_STEPS, (count,)).value
            assert client.wait_until(lambda g=goal: kernel.counters(0).step == g, 60)
            place = [0] * (3 - len(actor.shape)) + [number % n for n in actor.shape]
            bits = int(np.float64(1 + number).view(np.int64))
            client.call(0, Command.INJECT, (*place, bits))
        state, reply = captured(client, 0)
    assert reply.step == sum(counts)
    return state


@functools.cache
def plain(name, rows, counts):
    return run(MODELS[name](rows), counts, 1, 1, 10**6)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(MODELS)),
    rows=st.integers(3, 70),
    counts=st.sampled_from([(1, 2, 3), (8, 40), (29,), (5, 11, 6)]),
    width=st.integers(1, 3),
    depth=st.integers(2, 9),
    tile=st.integers(1, 30),
)
def test_the_bits_are_those_of_plain_stepping(name, rows, counts, width, depth, tile):
    found = run(MODELS[name](rows), counts, width, depth, tile)
    np.testing.assert_array_equal(found, plain(name, rows, counts))


def table(**columns):
    made = np.zeros((1, layout.TABLE_COLUMNS), np.int64)
    for name, value in columns.items():
        made[0, getattr(layout, f"C_{name.upper()}")] = value
    return made


@given(
    rows=st.integers(1, 500),
    size=st.integers(1, 40),
    reach=st.integers(0, 9),
    depth=st.integers(1, 9),
    left=st.integers(1, 20),
)
def test_the_edges_of_a_rank_never_meet(rows, size, reach, depth, left):
    steps = steps_of_pass(table(rows=rows, reach=reach, depth=depth, tile=1), 0, size, left)
    assert 1 <= steps <= min(depth, left)
    assert steps == 1 or 2 * reach * (steps - 1) <= rows // size


def test_one_thread_goes_over_a_grid_that_fits_its_cache_step_by_step():
    facts = table(rows=64, reach=1, depth=8, tile=64)
    assert steps_of_pass(facts, 0, 1, 100) == 1
    assert steps_of_pass(facts, 0, 2, 100) == 8  # a barrier less for each step saved


def test_where_a_step_needs_the_whole_grid_it_is_a_pass_of_its_own():
    shape = (64, 4096)
    several = CellActor(stages=[line, line], shape=(64,), dtype="int64", reach=1)
    summed = CellActor(
        line, (64,), dtype="int64", reach=1, reduce={"sum": lambda now, params, step, x: now[0, x]}
    )
    checked = CellActor(line, (64,), dtype="int64", reach=1, boundscheck=True)
    assert [pass_of(actor).depth for actor in (several, summed, checked)] == [1, 1, 1]
    assert pass_of(CellActor(line, (64,), dtype="int64")).depth == 1
    assert pass_of(Wave2D(shape)).depth > 1
    assert pass_of(Wave3D((64, 512, 512))).depth == 1  # two planes do not fit


@pytest.mark.parametrize("step_ns", [10, 100_000, MS, 3 * MS, 50 * MS])
def test_a_slice_holds_a_pass_if_that_is_not_too_long(step_ns):
    facts = table(depth=8, step_ns=step_ns, rows=100, tile=20)
    length = slice_of(facts, 0, MS)
    assert length >= min(8 * step_ns, 8 * MS)
    assert length <= max(MS, 8 * MS + step_ns, 2 * step_ns)
    for short in ({"C_DEPTH": 1}, {"C_TILE": 100}):  # no pass, or one that no cache needs
        facts = table(depth=8, step_ns=step_ns, rows=100, tile=20)
        for column, value in short.items():
            facts[0, getattr(layout, column)] = value
        assert slice_of(facts, 0, MS) == MS


class Diffusing(Wave2D):
    @staticmethod
    def update(now, next, params, step, y, x):
        next[0, y, x] = now[0, y - 4 if y > 3 else y, x]


def test_a_subclass_with_its_own_update_reads_as_far_as_it_says():
    class Still(Wave2D):
        kernel_type = "still"

    class Near(Diffusing):
        reach = 4

    shape = (64, 4096)
    assert [kind(shape).reach for kind in (Wave2D, Still, Diffusing, Near)] == [1, 1, None, 4]
    assert pass_of(Diffusing(shape)).depth == 1


def long(now, next, params, step, y, x):
    value = np.int64(now[0, y, x])
    for _ in range(100_000):
        value = (value * 6364136223846793005 + 1442695040888963407) ^ (value >> 7)
    next[0, y, x] = value


def test_a_heartbeat_is_answered_while_a_step_is_computed():
    kernel = CpuKernel([CellActor(long, (300, 8), dtype="int64")], width=2)
    kernel._memory[0].table[0, layout.C_TILE] = 1
    with running(kernel) as client:
        client.call(0, Command.RUN_STEPS, (1,))
        beats = [client.call(0, Command.HEARTBEAT) for _ in range(3)]
        assert kernel.counters(0).step == 0
        assert [(beat.ok, beat.step, beat.epoch) for beat in beats] == [(True, 0, 0)] * 3
        assert client.call(0, Command.PAUSE).step == 1  # what touches the actor waits for its step
