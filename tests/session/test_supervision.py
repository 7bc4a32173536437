"""Actors that fail go back to their newest good checkpoint by themselves, and give up in the end."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings

import numpy as np
import pytest
from session_rig import memory, quiet
from waiting import until

import ringnb as rn


def grow(now, then, params, step, x):
    then[0, x] = now[0, x] * params[0] + 1


def actor(gain=1.0):
    return rn.actors.CellActor(grow, (8,), params={"gain": gain}, start=np.ones((1, 8)))


def counts(session):
    return session.glance().supervision


def supervised(**options):
    config = quiet(guard="pause", max_snapshots=0)
    return rn.Session(actor(), actors=2, config=config, storage=memory(), supervise=True, **options)


@pytest.fixture(autouse=True)
def _warnings_are_none(recwarn, caplog):
    """Let warnings of the service's threads pass: the tests look at what was done."""
    caplog.set_level(logging.ERROR, "ringnb")
    warnings.simplefilter("ignore")


def test_a_bad_state_is_taken_back_and_the_actor_runs_on():
    with supervised() as s:
        s.run_steps(0, 5)
        good = s.snapshot(0)
        s.resume(0)
        s.set_params(0, gain=1e200)
        step = s.current_step(0)
        until(lambda: s.current_step(0) > step + 500)
        assert not s.snapshot(0).good
        until(lambda: counts(s).restarts == 1 and s.counters(0).running)
        assert s.params(0) == good.params
        assert s.snapshot(0).good
        done = counts(s)
        assert (done.failures, done.gave_up) == (1, False)
        assert done.recomputed_steps > 400
        assert "supervision" in s.statistics()._repr_html_()
        assert s.current_step(1) == 0  # the other was let be


def test_a_budget_is_taken_to_its_end():
    with supervised() as s:
        s.snapshot(0)
        s.set_pace(200, 0)
        s.set_params(0, gain=1e200)
        s.run_steps(0, 60, wait=False)
        until(lambda: s.current_step(0) > 10)
        s.snapshot(0)
        until(lambda: counts(s).restarts == 1)
        until(lambda: s.current_step(0) == 60)
        assert np.isfinite(s.snapshot(0)["u"][:]).all()


def test_it_gives_up_where_there_is_no_progress_and_says_so():
    with supervised() as s:
        s.set_params(0, gain=1e200)
        s.snapshot(0)  # good, but with what makes it bad
        for restarts in range(1, 5):
            s.resume(0)
            until(lambda: s.current_step(0) > 100)
            s.snapshot(0)
            until(lambda n=restarts: counts(s).restarts == n)
        until(lambda: counts(s).gave_up)
        until(lambda: not s.counters(0).running)
        assert counts(s).failures == 4


def raising(now, then, params, step, x):
    if params[0] > 1 and step == 30:
        raise ValueError("too much")
    then[0, x] = now[0, x] + 1


def test_a_kernel_that_an_update_has_ended_is_replaced_with_all_actors():
    model = rn.actors.CellActor(raising, (8,), params={"gain": 1.0}, boundscheck=True)
    store = memory()
    with rn.Session(model, actors=2, config=quiet(), storage=store, supervise=True) as s:
        for slot in range(2):
            s.run_steps(slot, 10 + slot)
        s.snapshot_all()
        s.resume(1)
        s.set_params(0, gain=2.0)
        with contextlib.suppress(rn.KernelStopped):
            s.run_steps(0, 100, wait=False)
        until(lambda: s.successor is not None)
        new = s.successor
        until(lambda: counts(new).restarts == 2)
        until(lambda: new.current_step(0) == 110)  # the budget goes on, with stored parameters
        assert counts(new).failures == 1
        until(lambda: new.current_step(1) > 50)
        new.close()
    assert s.closed
    until(lambda: not any(t.name == "ringnb-supervisor" for t in threading.enumerate()))


def test_a_session_that_is_closed_while_it_is_replaced_leaves_no_other(monkeypatch):
    replacing, closed = threading.Event(), threading.Event()

    def take_over(old, new):
        """Have the session closed meanwhile."""
        replacing.set()
        closed.wait(60)

    monkeypatch.setattr("ringnb.session.session.take_over", take_over)
    with supervised() as s:
        s.kernel.fail("a test")
        assert replacing.wait(60)
    closed.set()
    until(lambda: s.successor is not None and s.successor.closed)
    assert not s.successor.kernel.alive


def test_an_actor_that_is_paused_does_not_count_as_one_without_progress():
    s = first = supervised()
    with first:
        for failures in range(1, 6):
            s.run_steps(0, 2)
            s.snapshot(0)
            s.resume(0)
            s.kernel.fail("a test")
            until(lambda old=s: old.successor is not None)
            s = s.successor
            until(lambda new=s, n=failures: counts(new).restarts == 2 * n)
            until(lambda new=s: new.counters(0).running)
            s.pause(0)
        assert not counts(s).gave_up
        assert s.current_step(1) == 0


@pytest.mark.parametrize("together", [True, False])
def test_linked_actors_go_back_together_or_are_left_paused(together):
    there, here = (rn.Region("u", slice(x, x + 1)) for x in (1, 0))
    store, config = memory(), quiet(guard="pause", max_snapshots=0)
    options = {"config": config, "storage": store, "supervise": True}
    with rn.Session([actor(), actor()], **options) as s:
        for slot in range(2):
            s.run_steps(slot, 10 if together else 10 + slot)
            s.snapshot(slot)
    with rn.Session([actor(), actor()], links=[rn.Link(0, there, 1, here)], **options) as s:
        s.set_pace(1_000)
        s.run_steps(0, 200, wait=False)
        s.write_region(0, here, np.nan)
        s.snapshot(0)  # which is a cut of both
        until(lambda: counts(s).restarts == 2)
        if together:  # with one budget
            until(lambda: s.current_step(0) == 200)
        until(lambda: not s.counters(0).running)
        apart = 0 if together else 1
        assert s.current_step(1) - s.current_step(0) == apart
        assert counts(s) == (1, 2, counts(s).recomputed_steps, False)


def test_without_service_threads_nobody_can_supervise():
    with pytest.raises(ValueError, match="service=True"):
        supervised(service=False)
    with pytest.raises(TypeError, match="supervise"):
        rn.Session(actor(), config=quiet(), storage=memory(), supervise=1)
