"""Simulated time: advanced by the step length in force, stored, restored, and shown."""

from __future__ import annotations

import pytest
from session_rig import memory, quiet

import ringnb as rn
from ringnb import plots

SHAPE = (16, 16)


@pytest.fixture
def heat():
    actor = rn.actors.Heat2D(SHAPE, alpha=1.0, dx=1.0)  # dt = 0.2 s
    with rn.Session(actor, config=quiet(), storage=memory()) as s:
        yield s


def test_each_step_has_the_length_that_was_in_force_when_it_was_taken(heat):
    assert heat.time(0) == 0.0
    heat.run_steps(0, 10)
    heat.set_params(0, diffusion_number=0.25)
    heat.run_steps(0, 4)
    assert heat.time(0) == 10 * 0.2 + 4 * 0.25
    assert heat.statistics().times == (3.0,)
    checkpoint = heat.snapshot(0)
    assert checkpoint.time == heat.manager.history(0)[0].time == 3.0
    assert checkpoint.to_xarray().attrs["time"] == 3.0
    assert plots.field(checkpoint).get_title().endswith("step 14, t = 3 s")


def test_a_snapshot_has_the_time_of_its_capture_not_of_its_commit(heat):
    heat.run_steps(0, 10)
    request = heat.manager.request_snapshot(0)
    transport = heat._service.transport
    transport.send(request)
    heat._client.wait_until(lambda: transport.unanswered == 0, 60)
    heat.set_params(0, diffusion_number=0.25)
    heat.run_steps(0, 4)
    heat.snapshot(0)
    times = {e.step: e.time for e in heat.manager.history(0)}
    assert times == {10: 10 * 0.2, 14: 3.0}


def test_a_restored_run_has_the_same_time_bit_for_bit(heat):
    dt = 0.1  # five and two steps of it are not seven
    heat.set_params(0, diffusion_number=dt)
    heat.run_steps(0, 5)
    checkpoint = heat.snapshot(0)
    heat.run_steps(0, 2)
    once = heat.time(0)
    assert once == 7 * dt
    heat.restore(0, checkpoint)
    assert heat.time(0) == 5 * dt
    heat.run_steps(0, 2)
    assert heat.time(0) == once
    assert heat.snapshot(0).time == once


def test_a_restore_with_the_present_parameters_goes_on_with_their_step_length(heat):
    heat.run_steps(0, 10)
    checkpoint = heat.snapshot(0)
    heat.set_params(0, diffusion_number=0.125)
    heat.restore(0, checkpoint, params="current")
    heat.run_steps(0, 8)
    assert heat.time(0) == 2.0 + 1.0


def test_the_start_may_have_a_step_and_a_time():
    actor = rn.actors.Heat2D(SHAPE, alpha=1.0, dx=1.0, start_step=500, start_time=7.0)
    with rn.Session(actor, config=quiet(on_close=True), storage=memory()) as s:
        assert (s.current_step(0), s.time(0)) == (500, 7.0)
        assert s.run_steps(0, 5) == 505
        assert s.time(0) == 8.0
        assert s.snapshot(0).name == "checkpoint_0_step_505"


def test_an_untouched_actor_of_any_step_leaves_no_last_checkpoint():
    storage = memory()
    actor = rn.actors.Heat2D(SHAPE, start_step=500)
    with rn.Session(actor, config=quiet(on_close=True), storage=storage):
        pass
    assert storage.list() == []


def test_a_model_without_a_step_length_has_no_time():
    with rn.Session(rn.actors.Life(SHAPE), config=quiet(), storage=memory()) as s:
        s.run_steps(0, 3)
        assert s.time(0) is None
        checkpoint = s.snapshot(0)
        assert checkpoint.time is None
        assert "time" not in checkpoint.attrs["ringnb"]
