"""Snapshots by the step count: exactly at multiples, and nobody waits for the disk."""

from __future__ import annotations

import pytest
from session_rig import memory, quiet, service_of_a_fake
from waiting import until

import ringnb as rn
from ringnb.errors import SnapshotFailed, Status


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


def test_a_free_running_actor_is_captured_exactly_at_multiples():
    with rn.Session(rn.actors.Life((16, 16)), config=quiet(max_snapshots=0), storage=memory()) as s:

        def committed():
            return [e.step for e in s.events.select("committed")]

        s.resume(0)
        s.snapshot_every(1000)
        until(lambda: len(committed()) >= 3)
        s.snapshot_every(70)  # by far fewer steps than it takes before it hears of a hold
        until(lambda: len(committed()) >= 6)
        s.snapshot_every(None)
        s.snapshot(0)  # all earlier requests have been answered by then
        *steps, _ = committed()
        every = [1000 if step % 1000 == 0 else 70 for step in steps]
        assert [step % n for step, n in zip(steps, every, strict=True)] == [0] * len(steps)
        assert steps == sorted(set(steps))
        step = s.current_step(0)
        until(lambda: s.current_step(0) > step)  # nothing holds it any more


def scheduled(every=100):
    """Return a service by the step count, over a kernel that answers when told to, and its client."""
    service, client = service_of_a_fake(slots=1)
    service.step_schedule.set(0, every)
    service.turn()
    return service, client


def commit(service, client):
    """Have the kernel answer, and the answer committed; return the name."""
    client.answer()
    return service.complete(service.transport.take())


def test_an_actor_steps_on_from_its_capture_and_is_held_again_when_that_is_committed():
    service, client = scheduled()
    client.step(0, 1000)
    assert client.kernel.steps == [100]
    service.turn()
    client.step(0, 1000)
    assert client.kernel.steps == [100]  # captured first
    client.answer()
    capture = service.transport.take()
    client.step(0, 250)  # past 200 and 300, while the disk is slow
    service.turn()
    assert client.sent == []
    assert service.complete(capture) == "checkpoint_0_step_100"
    service.turn()
    client.step(0, 1000)
    assert client.kernel.steps == [400]
    service.turn()
    assert commit(service, client) == "checkpoint_0_step_400"


def test_a_multiple_at_which_an_actor_stands_when_the_disk_is_ready_is_not_skipped():
    service, client = scheduled()
    client.step(0, 100)
    service.turn()
    client.answer()
    capture = service.transport.take()
    client.step(0, 100)
    service.complete(capture)
    for _ in range(2):
        service.turn()
    assert commit(service, client) == "checkpoint_0_step_200"
    for _ in range(3):
        service.turn()  # and once
    assert client.sent == []


def test_an_earlier_request_is_waited_for_and_one_that_is_not_sent_yet_serves_the_multiple():
    service, client = scheduled()
    service.enqueue(service.manager.request_snapshot(0))
    service.turn()
    client.answer()
    earlier = service.transport.take()  # of step 0
    client.step(0, 100)
    for _ in range(3):
        service.turn()
    assert client.sent == []
    assert service.complete(earlier) == "checkpoint_0_step_0"
    client.kernel.taken[0].update({0: 0, 1: 0})  # no staging buffer is free
    service.enqueue(service.manager.request_snapshot(0))
    service.turn()
    client.kernel.taken[0].clear()
    service.turn()
    assert commit(service, client) == "checkpoint_0_step_100"
    service.turn()
    assert client.sent == []


def test_a_failed_capture_a_restore_and_the_end_of_the_schedule_let_the_actor_go():
    service, client = scheduled()
    client.step(0, 100)
    service.turn()
    client.answer(Status.NO_ACTOR)
    with pytest.raises(SnapshotFailed):
        service.complete(service.transport.take())
    service.turn()
    client.step(0, 1000)
    assert client.kernel.steps == [200]
    client.kernel.steps, client.kernel.epochs, client.kernel.holds = [100], [1], {}  # restored
    service.turn()
    client.step(0, 1000)
    assert client.kernel.steps == [200]  # not where it was restored
    service.step_schedule.set(0, None)
    client.step(0, 1000)
    assert client.kernel.steps == [1200]
    assert (service.step_schedule.active, service.step_schedule.interval(0)) == (False, None)


@pytest.mark.parametrize(("step", "epoch"), [(1000, 1), (600, 0)])
def test_counters_that_are_half_of_before_a_restore_lead_to_no_wrong_step(step, epoch):
    service, client = scheduled()
    client.step(0, 100)
    service.turn()
    commit(service, client)
    kernel = client.kernel
    kernel.steps, kernel.epochs, kernel.holds = [600], [1], {}  # restored
    torn = kernel.counters(0)._replace(step=step, epoch=epoch)
    schedule, seen = service.step_schedule, [torn]
    true = schedule._counters
    schedule._counters = lambda slot: seen.pop() if seen else true(slot)
    service.turn()
    service.turn()
    assert client.sent == []
    client.step(0, 1000)
    assert kernel.steps == [700]


def test_an_actor_without_a_manager_is_not_held():
    service, client = scheduled()
    service.manager.unregister_actor(0)
    client.step(0, 100)
    for _ in range(2):
        service.turn()
    client.step(0, 50)
    assert client.kernel.steps == [150]
