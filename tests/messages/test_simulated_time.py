"""Simulated time: the same bits however the steps were taken, and what older checkpoints say."""

from __future__ import annotations

import functools
import operator

from ringnb.messages.simulated_time import SimulatedTime


def test_time_is_computed_from_the_step_not_summed_up():
    clock = SimulatedTime(dt=0.1)
    assert clock.at(3) == 3 * 0.1
    assert clock.at(10**6) == 10**6 * 0.1
    summed_up = functools.reduce(
        operator.add, [0.1] * 10**6
    )  # `sum` compensates, since Python 3.12
    assert clock.at(10**6) != summed_up


def test_another_step_length_holds_from_the_step_at_which_it_was_set():
    clock = SimulatedTime(1.0, 10, 0.5).with_dt(20, 0.125)
    assert clock == SimulatedTime(6.0, 20, 0.125)
    assert clock.at(28) == 7.0


def test_the_same_step_length_leaves_the_place_that_time_is_counted_from():
    clock = SimulatedTime(dt=0.1)
    # Counted from step 5 on, the last bit would be another.
    assert 5 * 0.1 + 2 * 0.1 != 7 * 0.1
    assert clock.with_dt(5, 0.1) is clock


def test_a_record_without_a_clock_has_the_time_that_its_step_says():
    assert SimulatedTime.from_record({"params": {"dt": 0.5}}).at(20) == 10.0
    assert SimulatedTime.from_record({"params": {"rate": 0.5}}) is None
    assert SimulatedTime.from_record({"params": {"dt": "slow"}}) is None


def test_a_record_has_the_clock_that_was_stored():
    stored = {"time": 1, "step": 10, "dt": 0.25}
    clock = SimulatedTime.from_record({"params": {"dt": 9.0}, "clock": stored})
    assert clock == SimulatedTime(1.0, 10, 0.25)
