"""What a command does to an actor's row, and how many steps a slice holds; plain Python, no kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringnb._support.checks import MAX_STEP
from ringnb.errors import Status
from ringnb.kernel import layout, rules
from ringnb.messages.commands import Command

MS = 1_000_000


def row(**columns):
    """Make a table with one actor that exists."""
    table = np.zeros((1, layout.TABLE_COLUMNS), np.int64)
    table[0, layout.C_EXISTS] = table[0, layout.C_STAGES] = 1
    for name, value in columns.items():
        table[0, getattr(layout, f"C_{name.upper()}")] = value
    return table


def apply(table, kind, argument=0, at=0):
    status, value, left = rules.apply_command(table, 0, int(kind), argument, at)
    return Status(status), int(value), left


def record(table, count, elapsed_ns):
    """Record steps as a leader does."""
    rules.record_steps(table, 0, count)
    rules.record_time(table, 0, count, elapsed_ns)


def run(table, slice_ns=MS, step_ns=1000, until_ns=10**15):
    """Let time pass as a leader does, until nothing is left to do; return when steps were taken."""
    now, taken = 1, []
    while now < until_ns:
        count, again = rules.plan_slice(table, 0, now, slice_ns)
        if count == 0:
            if again == rules.NEVER:
                break
            assert again > now
            now = int(again)
            continue
        taken.append((now, int(count)))
        assert len(taken) < 100_000
        now += int(count) * step_ns
        record(table, count, int(count) * step_ns)
        now = max(now, int(again))
    return taken


@given(
    budgets=st.lists(st.integers(1, 5000), min_size=1, max_size=4),
    step_ns=st.integers(1, 3 * MS),
    start=st.integers(0, 10**6),
)
def test_budgets_add_up_and_are_taken_exactly(budgets, step_ns, start):
    table = row(step=start, cur=start % 2)
    for budget in budgets:
        status, value, left = apply(table, Command.RUN_STEPS, budget)
        assert (status, left) == (Status.OK, rules.DONE)
    assert value == start + sum(budgets)  # the step at which the last of them ends
    assert table[0, layout.C_REPLY_DUE] == 1
    taken = run(table, step_ns=step_ns)
    assert sum(count for _, count in taken) == sum(budgets)
    assert table[0, layout.C_STEP] == value
    assert table[0, layout.C_BUDGET] == 0
    assert table[0, layout.C_CUR] == value % 2  # the levels swap at every step
    assert taken[0][1] == 1  # the first slice measures what a step costs
    assert all(count == 1 or count * step_ns <= MS for _, count in taken)


@given(
    budgets=st.lists(st.integers(1, 5000), min_size=1, max_size=20),
    step_ns=st.integers(50, 3000),
    begun=st.integers(0, 1023),
)
def test_a_clock_that_counts_in_microseconds_makes_no_slice_long(budgets, step_ns, begun):
    """What takes less than one of its ticks may be measured as nothing."""
    table, now, slice_ns = row(), begun, 200_000
    for budget in budgets:
        apply(table, Command.RUN_STEPS, budget)
        while table[0, layout.C_BUDGET] > 0:
            count, _ = rules.plan_slice(table, 0, now, slice_ns)
            took = int(count) * step_ns
            assert took <= 1.6 * slice_ns
            record(table, count, ((now + took) // 1024 - now // 1024) * 1024)
            now += took


@given(
    pace=st.integers(1, 50 * MS), step_ns=st.integers(1, 5 * MS), slice_ns=st.integers(1, 5 * MS)
)
def test_a_pace_is_a_limit_and_is_kept_where_steps_are_quick(pace, step_ns, slice_ns):
    table = row(free=1)
    assert apply(table, Command.SET_PACE, pace)[0] is Status.OK
    until = 300 * max(pace, step_ns)
    taken = run(table, slice_ns=slice_ns, step_ns=step_ns, until_ns=until)
    steps, first = 0, taken[0][0]
    for now, count in taken:
        steps += count
        assert steps <= (now - first) // pace + 1
    if step_ns < pace:
        assert steps >= until // pace - 2


def test_an_actor_that_is_late_does_not_catch_up_after_a_pause():
    table = row(free=1, pace_ns=MS, step_ns=1000, next_ns=5 * MS)
    late = 5 * MS + 100 * MS
    assert rules.plan_slice(table.copy(), 0, late, 1000 * MS)[0] == 101  # it does up to here
    assert rules.plan_slice(table, 0, late + 1, 1000 * MS)[0] == 1
    assert table[0, layout.C_NEXT_NS] == late + 1 + MS


def test_no_budget_and_not_free_means_no_step_for_ever():
    assert rules.plan_slice(row(), 0, 5, MS) == (0, rules.NEVER)
    assert rules.plan_slice(row(free=1, step=MAX_STEP), 0, 5, MS) == (0, rules.NEVER)


@given(below=st.integers(0, 20), step_ns=st.integers(1, 100))
def test_no_step_is_taken_beyond_the_largest(below, step_ns):
    table = row(free=1, step=MAX_STEP - below, step_ns=step_ns)
    count, _ = rules.plan_slice(table, 0, 5, MS)
    assert count == min(below, MS // step_ns)


@given(step=st.integers(0, MAX_STEP), budget=st.integers(0, 2**40), more=st.integers(-5, MAX_STEP))
def test_a_budget_is_accepted_just_where_it_ends_within_the_largest_step(step, budget, more):
    budget = min(budget, MAX_STEP - step)
    table = row(step=step, budget=budget)
    status, value, _ = apply(table, Command.RUN_STEPS, more)
    if 1 <= more <= MAX_STEP - step - budget:
        assert (status, value) == (Status.OK, step + budget + more)
        assert table[0, layout.C_BUDGET] == budget + more
    else:
        assert status is Status.BAD_ARGUMENT
        np.testing.assert_array_equal(table, row(step=step, budget=budget))  # nothing has changed


@given(kind=st.integers(-3, 300), argument=st.integers(-3, 3), free=st.integers(0, 1))
def test_a_slot_without_an_actor_takes_nothing_but_create(kind, argument, free):
    table = row(exists=0, free=free)
    before = table.copy()
    status, _, left = apply(table, kind, argument)
    if kind == Command.CREATE_ACTOR:
        allowed = argument >= 0
        assert status is (Status.OK if allowed else Status.BAD_ARGUMENT)
        assert left == (rules.LOAD if allowed else rules.DONE)
    else:
        assert (status, left) == (Status.NO_ACTOR, rules.DONE)
    np.testing.assert_array_equal(table, before)


@given(kind=st.integers(-300, 300).filter(lambda k: k not in set(Command)))
def test_a_command_that_no_kernel_knows_is_refused(kind):
    table = row(free=1, budget=3)
    before = table.copy()
    assert apply(table, kind)[0] is Status.UNKNOWN_COMMAND
    np.testing.assert_array_equal(table, before)


def test_pause_and_destroy_drop_budget_freedom_and_the_reply_due():
    for kind, exists in ((Command.PAUSE, 1), (Command.DESTROY_ACTOR, 0)):
        table = row(free=1, budget=7, reply_due=1, step=4)
        assert apply(table, kind) == (Status.OK, 0, rules.DONE)
        np.testing.assert_array_equal(table, row(step=4, exists=exists))


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        (Command.INJECT, rules.INJECT),
        (Command.SET_PARAMS, rules.SET_PARAMS),
        (Command.SNAPSHOT, rules.CAPTURE),
        (Command.RESTORE, rules.LOAD),
        (Command.RESTART_ACTOR, rules.LOAD),
        (Command.READ_REGION, rules.READ),
        (Command.WRITE_REGION, rules.WRITE),
        (Command.SET_LINK, rules.SET_LINK),
        (Command.HEARTBEAT, rules.DONE),
    ],
)
def test_what_needs_the_actors_memory_is_left_to_the_kernel(kind, left):
    table = row(free=1)
    assert apply(table, kind, 5) == (Status.OK, 0, left)
    np.testing.assert_array_equal(table, row(free=1))


def test_linked_actors_run_as_one_and_a_load_of_one_ends_the_budget_of_all():
    table = np.repeat(row(), 3, axis=0)
    table[:, layout.C_NEXT] = 1, 1, -2  # a ring
    apply(table, Command.SET_PACE, 700)
    apply(table, Command.RUN_STEPS, 5)
    assert table[:, layout.C_BUDGET].tolist() == [5, 5, 5]
    assert table[:, layout.C_PACE_NS].tolist() == [700, 700, 700]
    rules.record_load(table, 0, int(Command.RESTORE), 2)
    assert table[:, layout.C_BUDGET].tolist() == [0, 0, 0]
    apply(table, Command.RESUME)
    assert table[:, layout.C_FREE].tolist() == [1, 1, 1]
    rules.record_load(table, 0, int(Command.RESTART_ACTOR), 2)
    assert table[:, layout.C_FREE].tolist() == [0, 0, 0]


def test_create_where_an_actor_is_and_a_negative_step_are_refused():
    assert apply(row(), Command.CREATE_ACTOR, 0)[0] is Status.ACTOR_EXISTS
    assert apply(row(), Command.RESTORE, -1)[0] is Status.BAD_ARGUMENT
    assert apply(row(), Command.SET_PACE, -1)[0] is Status.BAD_ARGUMENT


@pytest.mark.parametrize("kind", [Command.RESTORE, Command.RESTART_ACTOR, Command.CREATE_ACTOR])
def test_a_load_sets_the_step_and_only_a_restore_lets_a_free_actor_run_on(kind):
    table = row(
        step=9, cur=1, budget=3, reply_due=1, free=1, let_go=3, told=1, epoch=2, at=9, at_told=1
    )
    rules.record_load(table, 0, int(kind), 5)
    expected = row(step=5, let_go=-1, epoch=3, free=int(kind == Command.RESTORE))
    np.testing.assert_array_equal(table, expected)


@given(cell=st.tuples(*[st.integers(-2, 6)] * 3))
def test_a_cell_is_inside_as_numpy_sees_it(cell):
    shape = (3, 4, 5)
    table = row(nz=3, ny=4, nx=5)
    assert bool(rules.inside(table, 0, *cell)) == all(
        0 <= i < n for i, n in zip(cell, shape, strict=True)
    )


def hold(table):
    """Tell the host of an actor that waits, as a leader does; return the ticket, None if it does not."""
    return int(rules.record_held(table, 0)) if rules.is_held(table, 0) else None


@given(every=st.integers(1, 400), start=st.integers(0, 1000), steps=st.integers(1, 3000))
def test_an_actor_waits_at_every_multiple_until_it_is_released(every, start, steps):
    table = row(step=start)
    assert apply(table, Command.HOLD_EVERY, every)[0] is Status.OK
    apply(table, Command.RUN_STEPS, steps)
    waited = []
    while True:
        if (ticket := hold(table)) is not None:
            waited.append(int(table[0, layout.C_STEP]))
            assert hold(table) is None  # the host is told once
            assert run(table) == []
            rules.release(table, 0, ticket)
        if not run(table) and hold(table) is None:
            break
    assert waited == [n for n in range(start, start + steps + 1) if n % every == 0]
    assert table[0, layout.C_STEP] == start + steps


def test_a_release_of_before_a_load_lets_nothing_go():
    table = row(step=10, free=1)
    apply(table, Command.HOLD_EVERY, 10)
    ticket = hold(table)
    rules.record_load(table, 0, int(Command.RESTORE), 10)
    rules.release(table, 0, ticket)
    assert run(table) == []
    assert hold(table) == ticket + 1
    rules.release(table, 0, ticket)
    assert run(table) == []
    rules.release(table, 0, ticket + 1)
    run(table)
    assert table[0, layout.C_STEP] == 20


def test_an_actor_that_is_to_wait_no_more_goes_on():
    table = row(step=10, budget=25)
    apply(table, Command.HOLD_EVERY, 10)
    assert hold(table) is not None
    assert apply(table, Command.HOLD_EVERY, -1)[0] is Status.BAD_ARGUMENT
    apply(table, Command.HOLD_EVERY, 0)
    run(table)
    assert table[0, layout.C_STEP] == 35


@given(
    every=st.integers(0, 30),
    ats=st.lists(st.integers(1, 300), max_size=5),
    steps=st.integers(1, 300),
)
def test_an_actor_waits_at_a_step_beside_the_multiples(every, ats, steps):
    table, waited = row(), []
    apply(table, Command.HOLD_EVERY, every)
    apply(table, Command.RUN_STEPS, steps)
    for at in sorted(ats):
        assert apply(table, Command.HOLD_AT, at)[0] is Status.OK
        while True:
            if (ticket := hold(table)) is not None:
                rules.release(table, 0, ticket)
            if not run(table) and hold(table) is None:
                break
        if rules.is_held_at(table, 0):
            rules.record_held_at(table, 0)
            assert not rules.is_held_at(table, 0)  # the host is told once
            waited.append(int(table[0, layout.C_STEP]))
    assert waited == [at for at in sorted(ats) if at <= steps]


def test_only_the_capture_of_its_step_ends_a_wait_at_a_step():
    table = row(step=7, free=1)
    assert apply(table, Command.HOLD_AT, 6)[0] is Status.STEP_PASSED
    assert apply(table, Command.HOLD_AT, 7)[0] is Status.OK
    assert apply(table, Command.SNAPSHOT, at=8)[0] is Status.STEP_PASSED
    for at, left in ((7, rules.CAPTURE), (0, rules.CAPTURE)):  # the first found no free buffer
        assert apply(table, Command.SNAPSHOT, at=at) == (Status.OK, 0, left)
    rules.release(table, 0, 0)
    assert rules.plan_slice(table, 0, 1, MS) == (0, rules.NEVER)
    apply(table, Command.SNAPSHOT, at=7)
    rules.release(table, 0, 0)
    assert rules.plan_slice(table, 0, 1, MS)[0] == 1
    assert apply(table, Command.SNAPSHOT, at=7)[0] is Status.STEP_PASSED  # it waits no more
