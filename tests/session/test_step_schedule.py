"""Snapshots by the step count: which are due, and that none is skipped."""

from __future__ import annotations

import pytest
from session_rig import memory, quiet, service_of_a_fake
from waiting import until

import ringnb as rn
from ringnb.session.step_schedule import StepSchedule


def test_snapshots_by_the_step_count():
    life = rn.actors.Life((16, 16))
    with rn.Session(life, actors=2, config=quiet(), storage=memory()) as s:
        s.snapshot_every(100, slot=1)
        s.run_steps(0, 1000)
        for target in range(50, 1001, 50):
            s.run_steps(1, 50)
            until(lambda t=target: len(s.manager.list_checkpoints(1)) >= min(t // 100, 4))
            if target % 100 == 0:
                until(lambda t=target: s.manager.load_latest(1).step == t)
        assert s.manager.list_checkpoints(0) == []
        s.restore(1, s.manager.list_checkpoints(1)[0])  # back to 600
        s.run_steps(1, 99)
        assert s.snapshot_interval_steps(1) == 100
        done = s.statistics().completed
        s.run_steps(1, 1)
        until(lambda: s.statistics().completed == done + 1)
        assert s.manager.load_latest(1).step == 700
        s.snapshot_every(None)
        s.run_steps(1, 500)
        s.snapshot(0)  # all earlier requests have been answered by then
        assert s.statistics().completed == done + 2
        for bad in (0, -1, 1.5, True):
            with pytest.raises((TypeError, ValueError), match="steps"):
                s.snapshot_every(bad)
    with rn.Session(life, config=quiet(), storage=memory(), service=False) as s:
        with pytest.raises(ValueError, match=r"needs the service thread.*service=True"):
            s.snapshot_every(10)


def test_what_is_taken_by_the_step_count_is_kept_by_the_step_count():
    config = quiet(retention=rn.retention.keep_every(100))
    with rn.Session(
        rn.actors.Life((16, 16)), config=config, storage=memory(), max_steps_per_second=3000
    ) as s:

        def committed():
            return {e.step // 100 for e in s.events.select("committed")}

        s.snapshot_every(100)
        s.resume(0)
        until(lambda: len(committed()) >= 5)  # one that comes late shares a hundred with the next
        s.pause(0)
        s.snapshot_every(None)
        s.snapshot(0)  # all earlier requests have been answered by then
        assert {e.step // 100 for e in s.manager.history(0)} == committed()


def test_an_actor_is_due_when_a_multiple_was_passed_and_once():
    schedule, steps = StepSchedule(), {0: 100, 1: 0}
    schedule.set(0, 100, 100)  # the step that it has now is not due
    schedule.set(1, 30, 0)
    assert schedule.due(steps.get) == []
    steps.update({0: 199, 1: 95})  # several multiples at once: one snapshot
    assert schedule.due(steps.get) == [1]
    schedule.mark_requested(1)
    assert schedule.due(steps.get) == []
    steps[0] = 200
    assert schedule.due(steps.get) == [0]


def test_an_actor_is_due_until_a_snapshot_was_requested():
    schedule = StepSchedule()
    schedule.set(0, 10, 0)
    assert [schedule.due(lambda _, s=s: s) for s in (10, 11, 12)] == [[0]] * 3
    schedule.mark_requested(0)
    assert schedule.due(lambda _: 13) == []


def test_an_actor_restored_to_an_earlier_step_is_due_at_the_next_multiple():
    schedule = StepSchedule()
    schedule.set(0, 10, 25)
    assert schedule.due(lambda _: 7) == []
    assert schedule.due(lambda _: 9) == []
    assert schedule.due(lambda _: 10) == [0]


def test_a_schedule_that_ends_is_due_no_more():
    schedule = StepSchedule()
    schedule.set(0, 10, 0)
    assert schedule.active
    assert schedule.due(lambda _: 10) == [0]
    schedule.set(0, None, 10)
    assert (schedule.active, schedule.interval(0)) == (False, None)
    assert schedule.due(lambda _: 30) == []


def test_a_multiple_is_not_skipped_while_the_snapshot_before_is_being_written():
    """Its request is then still the actor's only one, and was captured before the multiple."""
    service, client = service_of_a_fake(slots=1)
    service.step_schedule.set(0, 100, 0)
    client.kernel.steps[0] = 100
    service.turn()
    client.answer()
    first = service.transport.take()
    client.kernel.steps[0] = 200
    service.turn()
    service.turn()
    assert client.sent == []
    assert service.complete(first) == "checkpoint_0_step_100"
    service.turn()
    client.answer()
    second = service.transport.take()
    assert service.complete(second) == "checkpoint_0_step_200"
    service.turn()
    assert client.sent == []


def test_a_request_that_waits_to_be_sent_serves_the_multiple_as_well():
    service, client = service_of_a_fake(slots=1)
    service.step_schedule.set(0, 100, 0)
    for index in (0, 1):
        client.kernel.taken[0][index] = 0  # no staging buffer is free
    service.enqueue(service.manager.request_snapshot(0))
    client.kernel.steps[0] = 100
    service.turn()
    client.kernel.taken[0].clear()
    service.turn()
    client.answer()
    first = service.transport.take()
    assert service.complete(first) == "checkpoint_0_step_100"
    service.turn()
    assert client.sent == []
