"""The background threads: automatic snapshots, slow and failing storage, unexpected exceptions."""

from __future__ import annotations

import linecache
import threading
import time
import warnings

import numpy as np
import pytest
from session_rig import (
    FULL,
    SHAPE,
    Gate,
    being_saved,
    memory,
    quiet,
    reference,
    service_of_a_fake,
    state_of,
)
from waiting import until

import ringnb as rn
from ringnb.testing.kernels import Mixer


def test_rule_18_automatic_snapshots_come_by_themselves_and_retention_holds():
    config = rn.CheckpointConfig(interval=0.05, max_snapshots=2)
    with rn.Session(
        Mixer(SHAPE), actors=3, config=config, storage=memory(), max_steps_per_second=2000
    ) as s:
        s.resume()
        until(lambda: s.statistics().completed >= 12)
        s.pause()
        for slot in range(3):
            # What is due now is committed first, and retired after that.
            until(lambda slot=slot: len(s.manager.list_checkpoints(slot)) == 2)
            names = s.manager.list_checkpoints(slot)
            latest = s.storage.load(names[-1])
            np.testing.assert_array_equal(state_of(latest), reference(slot, latest.step))
            assert latest.parent is not None


def test_rule_02_an_actor_without_a_checkpoint_is_due_at_once_and_then_requested():
    with rn.Session(Mixer(SHAPE), config=rn.CheckpointConfig(), storage=memory()) as s:
        until(lambda: s.statistics().completed)
        stages = [e.stage for e in s.events]
    assert stages[:2] == ["due", "requested"]
    assert s.events[0].t_ns <= s.events[1].t_ns


def test_a_slow_disk_delays_no_command_and_no_other_actor():
    gate = Gate(memory())
    with (
        rn.Session(Mixer(SHAPE), actors=2, config=quiet(), storage=gate, lanes=1) as s,
        being_saved(s, gate, 0),
    ):
        assert s.run_steps(0, 100) == 100
        assert s.run_steps(1, 100) == 100
        s.inject(1, at=(0, 0))
        with pytest.raises(rn.SnapshotTimeout, match="may yet be committed"):
            s.snapshot(0, timeout=0.05)
        assert s.statistics().being_written >= 1


def test_rule_06_an_automatic_failure_is_an_event_a_warning_and_a_retry():
    gate = Gate(memory())
    gate.error = FULL
    config = rn.CheckpointConfig(interval=0.2)
    with pytest.warns(
        rn.CheckpointWarning, match=r"'mixer_0'.*will be retried.*No space left"
    ) as told:
        with rn.Session(Mixer(SHAPE), config=config, storage=gate) as s:
            until(lambda: s.events.select("failed"))
            gate.error = None
            until(lambda: s.events.select("committed"))
            assert s.statistics().completed >= 1
            assert s.statistics().failed >= 1
    # Of all that is in a thread's stack, nothing is the user's: it is shown where that was started.
    assert {w.filename for w in told} == {__file__}
    assert "with rn.Session(" in linecache.getline(__file__, told[0].lineno)


def test_rule_12_a_failed_commit_of_an_unregistered_actor_ends_no_thread():
    gate = Gate(memory())
    gate.open.clear()
    gate.error = FULL
    config = rn.CheckpointConfig(interval=3600.0)
    with rn.Session(Mixer(SHAPE), actors=2, config=config, storage=gate, lanes=1) as s:
        assert gate.entered.wait(60)  # actor 0 is the first of the lane
        s.manager.unregister_actor(0)
        with pytest.warns(rn.CheckpointWarning, match=r"snapshot of slot 0 failed"):
            gate.open.set()
            until(lambda: s.statistics().failed)
            gate.error = None
            assert s.snapshot(1).step == 0


def test_warnings_as_errors_reach_the_next_call():
    gate = Gate(memory())
    gate.error = OSError(28, "No space left on device")
    config = rn.CheckpointConfig(interval=3600.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s = rn.Session(Mixer(SHAPE), config=config, storage=gate)
        with pytest.raises(rn.CheckpointWarning, match="No space left"):
            until(lambda: s.statistics() is None)  # whichever call comes next raises it
    s.close()


def test_an_unexpected_background_exception_is_raised_by_the_next_call_once():
    gate = Gate(memory())
    gate.error = ZeroDivisionError("a bug in a custom storage")
    s = rn.Session(Mixer(SHAPE), config=rn.CheckpointConfig(interval=3600.0), storage=gate)
    with pytest.raises(ZeroDivisionError, match="a bug in a custom storage"):
        until(lambda: s.current_step(0))
    assert s.current_step(0) == 0
    s.close()


@pytest.mark.timeout(60)
def test_an_unexpected_exception_in_the_last_pump_keeps_nothing_from_closing():
    service, client = service_of_a_fake()
    request = service.manager.request_snapshot(0)
    service.transport.send(request)  # unanswered, so that there is a last pump

    def pump(timeout_s, until=None):
        if timeout_s == 0.01:
            raise ZeroDivisionError("a bug in the pump")
        time.sleep(0.001)

    client.pump = pump
    before = set(threading.enumerate())
    service.start()
    started = set(threading.enumerate()) - before
    assert len(started) == 2
    service.stop()
    assert not any(thread.is_alive() for thread in started)
    with pytest.raises(ZeroDivisionError, match="a bug in the pump"):
        service.check()


def test_a_failure_that_is_raised_is_not_warned_of_as_well():
    """However soon the caller who waits for it has gone on."""
    service, client = service_of_a_fake()
    service.manager.storage.error = FULL
    status = service.enqueue(service.manager.request_snapshot(0), awaited=True)

    class GoesOnAtOnce(threading.Event):
        def set(self):
            super().set()
            status.awaited -= 1

    status.done = GoesOnAtOnce()
    client.answers_at_once = True
    service.start()
    assert status.done.wait(60)
    service.stop()
    assert (status.awaited, status.error) == (0, FULL)
    service.check()


def test_a_full_lane_delays_no_other_and_goes_on_when_a_buffer_is_free():
    service, client = service_of_a_fake(slots=6, lanes=2)
    for slot in (0, 2, 4, 1):  # the first three on one lane, which has two buffers
        service.enqueue(service.manager.request_snapshot(slot))
    service.turn()
    assert [slot for slot, _ in client.sent] == [0, 2, 1]
    assert service.depths() == (1, 3, 0)
    client.answer()
    response = service.transport.respond(service.transport.take())
    service.turn()
    assert service.depths()[0] == 1
    woken = client.kernel.wakes
    response.data.release()
    assert client.kernel.wakes == woken + 1
    service.turn()
    assert service.depths()[0] == 0
    assert client.sent[-1][0] == 4


def test_a_request_that_ended_before_it_was_sent_is_not_sent():
    service, client = service_of_a_fake(slots=3)
    for slot in range(3):
        request = service.manager.request_snapshot(slot)
        service.enqueue(request)
    service.turn()
    service.manager.cancel_pending(request.request_id)
    for _ in range(2):
        client.answer()
    service.turn()
    for _ in range(2):
        service._to_write.get().free()
    service.turn()
    assert client.sent == []
    assert service.depths()[0] == 0


def test_a_turn_waits_for_a_tick_at_most_and_a_request_of_its_own_ends_no_wait():
    service, client = service_of_a_fake(enabled=True)
    service.turn()
    assert len(client.sent) == 2
    assert client.kernel.wakes == 0  # it would end the wait for their answers
    service.step_schedule.set(0, 100)
    service.turn()
    assert client.pumped_s == [0.1, 0.01]


def test_without_a_waiter_an_enqueued_request_wakes_the_service():
    service, client = service_of_a_fake()
    request = service.manager.request_snapshot(0)
    assert service.enqueue(request) is service.enqueue(request, awaited=True)
    assert client.kernel.wakes > 0
    service.turn()
    assert len(client.sent) == 1


def test_close_commits_what_was_captured():
    gate = Gate(memory())
    s = rn.Session(Mixer(SHAPE), config=rn.CheckpointConfig(interval=3600.0), storage=gate)
    gate.open.clear()
    assert gate.entered.wait(60)
    closer = threading.Thread(target=s.close)
    closer.start()
    gate.open.set()
    closer.join(60)
    assert s.closed
    assert gate.list() == ["checkpoint_0_step_0"]


# -- many small states -----------------------------------------------------------------------------


class Together(Gate):
    """A storage that gains by being given several states, up to a size."""

    group_bytes = 1 << 20

    def __init__(self, inner):
        super().__init__(inner)
        self.groups = []
        self.refused = None  # a name that cannot be saved

    def save_many(self, snapshots):
        snapshots = list(snapshots)
        self.groups.append([name for name, _ in snapshots])
        return [FULL if name == self.refused else self.save(name, s) for name, s in snapshots]


def test_small_states_that_wait_for_a_slow_disk_free_their_buffers_and_are_saved_together():
    storage = Together(memory())
    with rn.Session(Mixer(SHAPE), actors=9, config=quiet(), storage=storage, lanes=1) as s:
        for slot in range(9):
            s.run_steps(slot, slot + 1)
        storage.open.clear()
        requests = [s.manager.request_snapshot(slot) for slot in range(9)]
        statuses = [s._service.enqueue(request) for request in requests]
        assert storage.entered.wait(60)
        until(lambda: s.statistics().being_written == 9)
        assert sum(s.statistics().kernel.staging_taken) <= 2, "none waits for a buffer"
        storage.refused = "checkpoint_5_step_6"
        storage.open.set()
        with pytest.warns(rn.CheckpointWarning, match=r"'mixer_5'.*No space left"):
            assert all(status.done.wait(60) for status in statuses)
            until(lambda: s.statistics().being_written == 0)
        names = [f"checkpoint_{slot}_step_{slot + 1}" for slot in range(9)]
        assert [status.name for status in statuses] == [
            name if name != storage.refused else None for name in names
        ]
        grouped = [name for group in storage.groups for name in group]
        # In order; a state that came alone, the first or the last, is saved alone.
        assert grouped == [name for name in names if name in grouped]
        assert max(map(len, storage.groups)) >= 5
        for slot in set(range(9)) - {5}:
            np.testing.assert_array_equal(
                state_of(s.storage.load(names[slot])), reference(slot, slot + 1)
            )
        assert s._service._detached_bytes == 0


@pytest.mark.parametrize("group_bytes", [0, 8])
def test_states_that_gain_nothing_are_saved_one_by_one(group_bytes):
    storage = Together(memory())
    storage.group_bytes = group_bytes
    with rn.Session(Mixer(SHAPE), actors=5, config=quiet(), storage=storage, lanes=1) as s:
        storage.open.clear()
        requests = [s.manager.request_snapshot(slot) for slot in range(5)]
        statuses = [s._service.enqueue(request) for request in requests]
        assert storage.entered.wait(60)
        until(lambda: s.statistics().waiting_to_send == 3), ("they wait in the kernel's buffers")
        storage.open.set()
        assert all(status.done.wait(60) for status in statuses)
        assert storage.groups == []


def test_a_lone_snapshot_waits_for_no_other():
    storage = Together(memory())
    with rn.Session(Mixer(SHAPE), actors=2, config=quiet(), storage=storage) as s:
        for slot in range(2):
            assert s.snapshot(slot).name == f"checkpoint_{slot}_step_0"
        assert storage.groups == []
