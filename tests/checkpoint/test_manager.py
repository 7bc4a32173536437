"""The checkpoint manager, rule by rule; each test is named after the rule it proves."""

from __future__ import annotations

import gc
import logging
import threading
import time
from datetime import UTC, timedelta

import numpy as np
import pytest

from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.schedule import DueQueue, retry_delay_s
from ringnb.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointNotFound,
    CheckpointWarning,
    SnapshotFailed,
    StoreLocked,
)
from ringnb.messages.events import EventLog
from ringnb.messages.snapshots import SnapshotResponse, StagedFields
from ringnb.testing.clock import ManualClock
from ringnb.testing.memory_storage import MemoryStorage


class Rig:
    """A manager with its clock, its store and its log, and short words for what tests do."""

    def __init__(self, storage=None, clock=None, **config):
        self.clock = clock or ManualClock(100.0)
        self.storage = storage if storage is not None else MemoryStorage()
        self.log = EventLog()
        self.m = CheckpointManager(
            CheckpointConfig(**config), self.storage, clock=self.clock, observer=self.log.append
        )

    def add(self, slot=0, kernel_id=None, **kwargs):
        self.m.register_actor(slot, kernel_id or f"k{slot}", "toy", **kwargs)

    def poll(self):
        return [r.actor_slot for r in self.m.poll_due_snapshots()]

    def answer(self, request, step=0, value=0.0, **kwargs):
        data = kwargs.pop("data", {"u": np.full(4, value, dtype="<f4")})
        kwargs = {"success": True, "data": data, "step": step} | kwargs
        return SnapshotResponse(
            request.request_id, kwargs.pop("slot", request.actor_slot), **kwargs
        )

    def complete(self, request, step=0, value=0.0, **kwargs):
        return self.m.complete_snapshot(self.answer(request, step, value, **kwargs))

    def commit(self, slot=0, step=0, value=0.0, **kwargs):
        return self.complete(self.m.request_snapshot(slot), step, value, **kwargs)

    def fail(self, slot=0):
        with pytest.raises(SnapshotFailed):
            self.complete(self.m.request_snapshot(slot), success=False, data=None, error="no")

    def due_in(self):
        """Seconds until slot 0 is polled, found by polling, on the assumption that it will be."""
        start = self.clock()
        while not (asked := self.m.poll_due_snapshots()):
            self.clock.advance(self.m.seconds_until_next())
        self.m.cancel_pending(asked[0].request_id)
        return self.clock() - start

    def stages(self, *stages):
        return [e.stage for e in self.log.select(*stages)]


@pytest.fixture
def rig():
    return Rig()


# --- scheduling ---


def test_rule_01_disabled_polls_nothing_but_manual_requests_work():
    rig = Rig(enabled=False)
    rig.add()
    assert rig.poll() == []
    assert not rig.m.is_enabled
    assert rig.commit(step=3) == "checkpoint_0_step_3"
    rig.m.reconfigure(enabled=True)
    rig.clock.advance(30)
    assert rig.poll() == [0]


def test_rule_01_disabled_pending_requests_still_expire():
    rig = Rig(enabled=False, request_timeout=10)
    rig.add()
    rig.m.request_snapshot(0)
    rig.clock.advance(10.5)
    assert rig.poll() == []
    assert (rig.m.pending_count, rig.m.total_failed) == (0, 1)


def test_rule_02_a_new_actor_is_due_at_once(rig):
    rig.add()
    assert rig.poll() == [0]


def test_rule_02_an_actor_with_history_is_due_an_interval_after_registration(rig):
    rig.add()
    rig.commit()
    rig.clock.advance(1000)
    again = Rig(rig.storage, rig.clock)
    again.add()
    assert again.poll() == []
    again.clock.advance(29.5)
    assert again.poll() == []
    again.clock.advance(0.5)
    assert again.poll() == [0]


def test_rule_02_history_is_by_identity_so_a_new_identity_in_an_old_slot_is_due_at_once(rig):
    rig.add(0, "old")
    rig.commit()
    rig.add(0, "new")
    assert rig.poll() == [0]


@pytest.mark.parametrize("manual", [False, True])
def test_rule_02_a_completed_snapshot_is_followed_by_one_interval(rig, manual):
    rig.add()
    (request,) = rig.m.poll_due_snapshots()
    rig.complete(request)
    if manual:
        rig.clock.advance(20)
        rig.commit(step=1)
    rig.clock.advance(29.5)
    assert rig.poll() == []
    rig.clock.advance(0.5)
    assert rig.poll() == [0]


def test_rule_02_the_interval_runs_from_the_end_of_the_save(rig):
    rig.add()
    rig.storage.before_save = lambda _: rig.clock.advance(12)
    rig.commit()
    assert rig.due_in() == 30


def test_rule_02_a_cancelled_request_is_no_failure_and_is_followed_by_one_interval(rig):
    rig.add()
    (request,) = rig.m.poll_due_snapshots()
    rig.clock.advance(7)
    assert rig.m.cancel_pending(request.request_id) is True
    assert (rig.m.pending_count, rig.m.total_failed) == (0, 0)
    assert rig.due_in() == 30


def test_rule_02_cancel_of_what_is_not_pending(rig):
    assert rig.m.cancel_pending(99) is False
    rig.add()
    request = rig.m.request_snapshot(0)
    rig.complete(request)
    assert rig.m.cancel_pending(request.request_id) is False


def test_rule_02_cancel_all(rig):
    for slot in range(3):
        rig.add(slot)
    requests = rig.m.poll_due_snapshots()
    rig.m.cancel_all_pending()
    assert (rig.m.pending_count, rig.m.total_failed) == (0, 0)
    assert rig.poll() == []
    rig.clock.advance(30)
    assert rig.poll() == [0, 1, 2]
    assert [rig.complete(r) for r in requests] == [None] * 3


def test_rule_03_one_pending_request_per_actor(rig):
    rig.add()
    (request,) = rig.m.poll_due_snapshots()
    assert rig.poll() == []
    rig.clock.advance(29)
    assert rig.poll() == []
    assert rig.m.request_snapshot(0) is request
    assert rig.m.pending == (request,)
    assert rig.m.pending_count == 1


def test_rule_03_a_manual_request_takes_the_place_of_the_automatic_one(rig):
    rig.add()
    request = rig.m.request_snapshot(0)
    assert rig.poll() == []
    assert rig.m.request_snapshot(0) is request


def test_rule_03_request_ids_are_unique(rig):
    ids = []
    for slot in range(5):
        rig.add(slot)
    for _ in range(4):
        for request in rig.m.poll_due_snapshots():
            ids.append(request.request_id)
            rig.complete(request)
        rig.m.unregister_actor(4)
        rig.add(4, "other")
        rig.clock.advance(30)
    assert len(set(ids)) == len(ids) == 20
    assert min(ids) >= 1


def test_rule_03_requests_say_when_they_were_issued(rig):
    rig.add()
    request = rig.m.request_snapshot(0)
    assert request.issued_at.utcoffset() == timedelta(0)
    assert request.issued_at.tzinfo is UTC
    assert request.buffer_offset == 0


def test_rule_04_a_request_for_an_unregistered_slot_is_none(rig):
    assert rig.m.request_snapshot(3) is None
    rig.add(3)
    rig.m.unregister_actor(3)
    assert rig.m.request_snapshot(3) is None
    assert rig.poll() == []


def test_rule_04_registering_again_replaces_the_actor(rig):
    rig.add(0, "old", params={"a": 1})
    late = rig.m.request_snapshot(0)
    rig.add(0, "new")
    assert rig.m.pending_count == 0
    assert rig.m.registered[0].kernel_id == "new"
    assert rig.m.registered[0].params == {}
    assert rig.complete(late) is None
    assert rig.storage.list() == []
    rig.add(1, "old")  # the old identity is free again


def test_rule_04_registering_the_same_identity_again_starts_afresh_in_time(rig):
    rig.add()
    rig.fail()
    rig.add()
    assert rig.poll() == [0]


def test_rule_04_one_identity_in_two_slots_is_refused(rig):
    rig.add(0, "same")
    with pytest.raises(
        ValueError, match=r"kernel_id 'same' is registered in slot 0.*unregister slot 0"
    ):
        rig.add(1, "same")
    assert list(rig.m.registered) == [0]
    rig.m.unregister_actor(0)
    rig.add(1, "same")


def test_rule_04_a_refused_replacement_leaves_the_actor_in_place(rig):
    rig.add(0, "a")
    rig.add(1, "b")
    request = rig.m.request_snapshot(1)
    with pytest.raises(ValueError, match="is registered in slot 0"):
        rig.add(1, "a")
    assert rig.m.registered[1].kernel_id == "b"
    assert rig.m.pending == (request,)


def test_rule_05_a_request_expires_once_it_is_older_than_the_timeout():
    rig = Rig(request_timeout=10, interval=1000)
    rig.add()
    (request,) = rig.m.poll_due_snapshots()
    rig.clock.advance(10)
    assert rig.poll() == []
    assert rig.m.pending == (request,)  # as old as the timeout, not older
    rig.clock.advance(0.25)
    assert rig.poll() == []
    assert (rig.m.pending_count, rig.m.total_failed, rig.m.total_completed) == (0, 1, 0)


def test_rule_05_any_request_expires_old_ones_and_gets_a_new_one():
    rig = Rig(request_timeout=10)
    rig.add(0)
    rig.add(1)
    old = rig.m.request_snapshot(0)
    rig.clock.advance(11)
    assert rig.m.request_snapshot(5) is None
    assert rig.m.total_failed == 1
    new = rig.m.request_snapshot(0)
    assert new.request_id != old.request_id
    assert rig.complete(new, step=2) == "checkpoint_0_step_2"


def test_rule_05_a_late_answer_is_ignored_and_its_data_given_back():
    rig = Rig(request_timeout=10)
    rig.add()
    old = rig.m.request_snapshot(0)
    rig.clock.advance(11)
    new = rig.m.request_snapshot(0)
    data = StagedFields({"u": np.zeros(2)})
    assert rig.complete(old, data=data) is None
    assert data.released
    assert rig.storage.list() == []
    assert rig.m.pending == (new,)
    assert (rig.m.total_failed, rig.m.total_completed) == (1, 0)


def test_rule_05_requests_expire_oldest_first_and_only_those_that_are_old():
    rig = Rig(request_timeout=10, interval=1000)
    for slot in range(3):
        rig.add(slot)
        rig.m.request_snapshot(slot)
        rig.clock.advance(4)
    rig.poll()  # ages 12, 8, 4
    assert [r.actor_slot for r in rig.m.pending] == [1, 2]
    rig.clock.advance(7)
    rig.poll()
    assert [e.actor_slot for e in rig.log.select("expired")] == [0, 1, 2]


def test_rule_05_an_expired_snapshot_is_retried_under_rule_6():
    rig = Rig(request_timeout=10, interval=80)
    rig.add()
    rig.m.poll_due_snapshots()
    rig.clock.advance(11)
    assert rig.poll() == []
    assert rig.due_in() == 1


def test_rule_05_what_is_being_saved_does_not_expire():
    rig = Rig(request_timeout=10)
    rig.add()

    def slow(_):
        rig.clock.advance(100)
        assert rig.m.poll_due_snapshots() == []
        assert rig.m.request_snapshot(0) is request

    rig.storage.before_save = slow
    request = rig.m.request_snapshot(0)
    assert rig.complete(request) is not None
    assert (rig.m.total_completed, rig.m.total_failed) == (1, 0)


def test_rule_06_retries_grow_from_a_short_delay_to_one_interval():
    rig = Rig(interval=30)
    rig.add()
    delays = []
    for _ in range(8):
        rig.fail()
        start = rig.clock()
        while not rig.m.poll_due_snapshots():
            rig.clock.advance(rig.m.seconds_until_next())
        delays.append(rig.clock() - start)
    assert delays == [1, 2, 4, 8, 16, 30, 30, 30]
    assert rig.m.total_failed == 8


def test_rule_06_a_success_resets_the_delay(rig):
    rig.add()
    for _ in range(4):
        rig.fail()
    rig.commit()
    assert rig.due_in() == 30
    rig.fail()
    assert rig.due_in() == 1


def test_rule_06_a_failed_save_is_retried_like_a_failed_kernel(rig):
    rig.add()
    rig.storage.fail_save = OSError(28, "No space left on device")
    for delay in (1, 2, 4):
        request = rig.m.request_snapshot(0)
        with pytest.raises(OSError, match="No space left"):
            rig.complete(request)
        start = rig.clock()
        rig.clock.advance(delay - 0.25)
        assert rig.poll() == []
        rig.clock.advance(0.25)
        assert rig.poll() == [0]
        assert rig.clock() - start == delay


@pytest.mark.parametrize("interval", [1e-9, 0.5, 8.0, 30.0, 1e12])
def test_rule_06_the_delay_is_short_at_first_and_never_beyond_the_interval(interval):
    delays = [retry_delay_s(n, interval) for n in range(1, 5000)]
    assert 0 < delays[0] <= min(1, interval / 8)
    assert delays == sorted(delays)
    assert delays[-1] == interval


def test_rule_07_oldest_due_first_ties_by_slot(rig):
    for slot in (5, 3, 9):
        rig.add(slot)
    rig.clock.advance(1)
    for slot in (4, 1):
        rig.add(slot)
    rig.clock.advance(1)
    assert rig.poll() == [3, 5, 9, 1, 4]


def test_rule_07_the_order_holds_after_completions_in_another_order(rig):
    for slot in range(3):
        rig.add(slot)
    for request in reversed(rig.m.poll_due_snapshots()):
        rig.complete(request)
        rig.clock.advance(1)
    rig.clock.advance(60)
    assert rig.poll() == [2, 1, 0]


def test_rule_07_disabled_actors_keep_their_place(rig):
    rig.add(2)
    rig.clock.advance(1)
    rig.add(1)
    rig.m.reconfigure(enabled=False)
    assert rig.poll() == []
    rig.clock.advance(1)
    rig.add(0)
    rig.m.reconfigure(enabled=True)
    assert rig.poll() == [2, 1, 0]


def _best_us(call, repeats=300):
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter_ns()
        call()
        best = min(best, time.perf_counter_ns() - start)
    return best / 1000


def test_rule_07_polling_costs_nothing_for_those_that_are_not_due():
    rig = Rig(max_snapshots=1)
    gc.disable()
    try:
        for slot in range(100_000):
            rig.m.register_actor(slot, f"k{slot}", "toy")
        requests = rig.m.poll_due_snapshots()
        assert len(requests) == rig.m.pending_count == 100_000
        assert _best_us(rig.m.poll_due_snapshots) < 20  # all pending, none expired
        rig.m.cancel_all_pending()
        assert rig.m.pending_count == 0
        assert _best_us(rig.m.poll_due_snapshots) < 20  # all registered, none due
        assert _best_us(rig.m.seconds_until_next) < 20
    finally:
        gc.enable()


def test_rule_07_entries_that_no_longer_hold_do_not_pile_up():
    queue = DueQueue()
    for i in range(10_000):
        queue.set(i % 3, 1000.0 + i)
        if i % 7 == 0:
            queue.discard(1)
    assert len(queue._heap) < 200
    assert [slot for _, slot in queue.pop_due(1e9)] == [1, 2, 0]
    assert queue.next_due() is None


def test_rule_07a_due_times_follow_a_new_interval_at_once(rig):
    rig.add()
    rig.commit()
    rig.clock.advance(10)
    rig.m.reconfigure(interval=10)
    assert rig.poll() == [0]
    rig.m.cancel_all_pending()
    rig.m.reconfigure(interval=timedelta(minutes=10))
    rig.clock.advance(599)
    assert rig.poll() == []
    rig.clock.advance(1)
    assert rig.poll() == [0]
    assert rig.m.config.interval == 600.0


def test_rule_07a_retries_and_new_actors_follow_a_new_interval_too(rig):
    rig.add()
    for _ in range(6):
        rig.fail()
    rig.add(1)
    rig.m.reconfigure(interval=4)
    assert rig.poll() == [1]  # never snapshotted: due at once whatever the interval
    rig.clock.advance(4)
    assert rig.poll() == [0]


def test_rule_07a_a_new_timeout_holds_for_requests_issued_before(rig):
    rig.add()
    rig.m.request_snapshot(0)
    rig.clock.advance(5)
    rig.m.reconfigure(request_timeout=4)
    rig.poll()
    assert rig.m.total_failed == 1


def test_rule_07a_a_new_max_snapshots_holds_from_the_next_commit(rig):
    rig.add()
    for step in range(5):
        rig.commit(step=step)
    rig.m.reconfigure(max_snapshots=2)
    assert len(rig.m.list_checkpoints(0)) == 5
    rig.commit(step=5)
    assert rig.m.list_checkpoints(0) == ["checkpoint_0_step_4", "checkpoint_0_step_5"]


@pytest.mark.parametrize("field", ["storage_path", "name_prefix"])
def test_rule_07a_where_and_how_named_cannot_change(rig, field):
    before = rig.m.config
    with pytest.raises(ValueError, match=f"{field} cannot change"):
        rig.m.reconfigure(**{"interval": 1.0, field: "x"})
    assert rig.m.config is before


@pytest.mark.parametrize("bad", [{"max_snapshots": -1}, {"request_timeout": 0}, {"nonsense": 1}])
def test_rule_07a_an_invalid_change_changes_nothing(rig, bad):
    rig.add()
    rig.commit()
    before = rig.m.config
    with pytest.raises((ValueError, TypeError)):
        rig.m.reconfigure(interval=1.0, enabled=False, **bad)
    assert rig.m.config is before
    assert rig.due_in() == 30


# --- completion ---


def test_rule_08_success(rig):
    rig.add(params={"c": 0.5}, backend="cpu", fields={"u": {"units": "Pa", "dims": ("x",)}})
    assert rig.commit(step=12, value=3.0) == "checkpoint_0_step_12"
    assert (rig.m.total_completed, rig.m.total_failed, rig.m.pending_count) == (1, 0, 0)
    latest = rig.m.load_latest(0)
    assert latest.step == 12
    assert (latest.kernel_id, latest.kernel_type, latest.actor_slot) == ("k0", "toy", 0)
    assert (latest.params, latest.backend) == ({"c": 0.5}, "cpu")
    assert latest.field_attrs["u"] == {"units": "Pa", "dims": ("x",)}
    np.testing.assert_array_equal(latest.numpy()["u"], np.full(4, 3.0, "<f4"))


def test_rule_08_bytes_become_one_field(rig):
    rig.add()
    rig.commit(data=memoryview(b"abc"))
    assert rig.m.load_latest(0).numpy()["actor_state"].tobytes() == b"abc"


def test_rule_08_a_memoryview_is_not_released(rig):
    rig.add()
    data = memoryview(b"abc")
    rig.commit(data=data)
    assert data.tobytes() == b"abc"


def test_rule_08_unknown_and_cancelled_requests_store_nothing(rig):
    rig.add()
    request = rig.m.request_snapshot(0)
    rig.m.cancel_pending(request.request_id)
    assert rig.complete(request) is None
    assert rig.m.complete_snapshot(SnapshotResponse(77, 0, True, b"x", 0)) is None
    assert rig.m.complete_snapshot(SnapshotResponse(77, 0, False, None, 0, "x")) is None
    assert rig.storage.list() == []
    assert (rig.m.total_completed, rig.m.total_failed) == (0, 0)


def test_rule_08_an_answer_delivered_twice_is_stored_once(rig):
    rig.add()
    request = rig.m.request_snapshot(0)
    assert rig.complete(request, 1) == "checkpoint_0_step_1"
    assert rig.complete(request, 1) is None
    assert rig.storage.list() == ["checkpoint_0_step_1"]
    assert rig.m.total_completed == 1


def test_rule_08_params_at_the_capture_win_over_the_registered(rig):
    rig.add(params={"c": 0.5})
    rig.commit(0, 1, data=StagedFields({"u": np.zeros(2)}, params={"c": 0.25}))
    rig.commit(0, 2, data=StagedFields({"u": np.zeros(2)}))
    assert rig.m.load_latest(0).params == {"c": 0.5}
    assert rig.storage.load("checkpoint_0_step_1").params == {"c": 0.25}


def test_rule_08_the_lent_data_is_given_back_before_retention(rig):
    rig.m.reconfigure(max_snapshots=1)
    rig.add()
    rig.commit()
    given_back = []
    rig.storage.before_delete = lambda _: given_back.append(data.released)
    data = StagedFields({"u": np.zeros(2)})
    rig.commit(step=1, data=data)
    assert given_back == [True]


@pytest.mark.parametrize("how", ["saved", "save failed", "kernel failed", "unknown", "closed"])
def test_rule_08_the_lent_data_is_given_back_once(rig, how):
    returned = []
    data = StagedFields({"u": np.zeros(2)}, lease=lambda: returned.append(1))
    rig.add()
    request = rig.m.request_snapshot(0)
    rig.storage.before_save = lambda _: returned.append(0)
    if how == "saved":
        rig.complete(request, data=data)
        assert returned == [0, 1]
        return
    if how == "save failed":
        rig.storage.before_save, rig.storage.fail_save = None, OSError("disk")
        with pytest.raises(OSError, match="disk"):
            rig.complete(request, data=data)
    elif how == "kernel failed":
        with pytest.raises(SnapshotFailed):
            rig.complete(request, data=data, success=False)
    elif how == "unknown":
        rig.m.cancel_all_pending()
        assert rig.complete(request, data=data) is None
    else:
        rig.m.close()
        with pytest.raises(CheckpointError, match="manager is closed"):
            rig.complete(request, data=data)
    assert returned == [1]


def test_rule_08_data_that_cannot_be_given_back_is_logged(rig, caplog):
    def broken():
        raise RuntimeError("ring gone")

    rig.add()
    data = StagedFields({"u": np.zeros(2)}, lease=broken)
    assert rig.commit(step=1, data=data) == "checkpoint_0_step_1"
    assert "could not be given back" in caplog.text
    assert rig.m.total_completed == 1


def test_rule_09_a_failed_response_raises_with_the_actor_and_the_error(rig):
    rig.add(0, "wave_7")
    request = rig.m.request_snapshot(0)
    with pytest.raises(SnapshotFailed, match=r"'wave_7' in slot 0 failed: out of staging"):
        rig.complete(request, success=False, data=None, error="out of staging")
    assert (rig.m.total_failed, rig.m.total_completed, rig.m.pending_count) == (1, 0, 0)
    assert rig.storage.list() == []
    assert rig.complete(request) is None  # it was answered


def test_rule_09_a_failed_response_without_a_reason(rig):
    rig.add()
    with pytest.raises(SnapshotFailed, match="gave no reason"):
        rig.commit(success=False, data=None)


@pytest.mark.parametrize("success", [True, False])
def test_rule_10_the_slot_must_be_the_requests(rig, success):
    rig.add(0)
    rig.add(1)
    request = rig.m.request_snapshot(0)
    data = StagedFields({"u": np.zeros(2)})
    with pytest.raises(
        ValueError, match=r"comes from slot 1, but its request was issued to slot 0"
    ):
        rig.complete(request, slot=1, data=data, success=success)
    assert not data.released
    assert rig.storage.list() == []
    assert rig.m.pending == (request,)
    assert (rig.m.total_failed, rig.m.total_completed) == (0, 0)
    assert rig.complete(request) is not None


def test_rule_10_bad_answers_leave_the_request_pending(rig):
    rig.add(fields={"u": {"dims": ("y", "x")}})
    request = rig.m.request_snapshot(0)
    with pytest.raises(TypeError, match="response must be a SnapshotResponse"):
        rig.m.complete_snapshot({"request_id": request.request_id})
    with pytest.raises(ValueError, match=r"field 'u' has 1 axes .* dims \('y', 'x'\)"):
        rig.complete(request)
    with pytest.raises(TypeError, match="dtype object"):
        rig.complete(request, data=StagedFields({"u": np.array([[None]])}))
    with pytest.raises(ValueError, match=r"params\['c'\] must be finite"):
        rig.complete(request, data=StagedFields({"u": np.zeros((2, 2))}, params={"c": np.nan}))
    assert rig.m.pending == (request,)
    assert (rig.m.total_failed, rig.m.total_completed) == (0, 0)
    assert rig.complete(request, data={"u": np.zeros((2, 2))}) is not None


@pytest.mark.parametrize(
    "error", [CheckpointError("broken"), OSError("full"), StoreLocked("pid 7"), ValueError("odd")]
)
def test_rule_11_storage_that_fails(rig, error):
    rig.add()
    first = rig.commit(step=1, value=1.0)
    rig.storage.fail_save = error
    request = rig.m.request_snapshot(0)
    with pytest.raises(type(error)) as caught:
        rig.complete(request, step=2)
    assert caught.value is error
    assert (rig.m.total_completed, rig.m.total_failed, rig.m.pending_count) == (1, 1, 0)
    assert rig.m.list_checkpoints(0) == [first]
    np.testing.assert_array_equal(rig.m.load_latest(0).numpy()["u"], np.full(4, 1.0, "<f4"))
    assert rig.complete(request) is None
    rig.storage.fail_save = None
    assert rig.due_in() == 1
    assert rig.commit(step=2) == "checkpoint_0_step_2"


def test_rule_11_nothing_is_retired_by_a_save_that_failed():
    rig = Rig(max_snapshots=1)
    rig.add()
    rig.commit(step=1)
    rig.storage.fail_save = OSError("full")
    with pytest.raises(OSError, match="full"):
        rig.commit(step=2)
    assert rig.m.list_checkpoints(0) == ["checkpoint_0_step_1"]


def test_rule_11_an_interrupted_save_counts_and_is_retried(rig):
    def interrupt(_):
        raise KeyboardInterrupt

    rig.add()
    rig.storage.before_save = interrupt
    with pytest.raises(KeyboardInterrupt):
        rig.commit()
    assert (rig.m.total_failed, rig.m.pending_count) == (1, 0)
    assert rig.due_in() == 1


def test_rule_11_a_store_that_cannot_be_read_refuses_a_registration(rig):
    rig.storage.fail_list = OSError("gone")
    with pytest.raises(OSError, match="gone"):
        rig.add()
    assert dict(rig.m.registered) == {}


def test_rule_12_unregistering_drops_the_request_and_its_late_answer(rig):
    rig.add()
    request = rig.m.request_snapshot(0)
    rig.m.unregister_actor(0)
    assert rig.m.pending_count == 0
    data = StagedFields({"u": np.zeros(2)})
    assert rig.complete(request, data=data) is None
    assert data.released
    assert rig.storage.list() == []
    assert rig.m.total_failed == 0


def test_rule_12_the_late_answer_does_not_reach_the_slots_next_actor(rig):
    rig.add(0, "old")
    late = rig.m.request_snapshot(0)
    rig.add(0, "new")
    request = rig.m.request_snapshot(0)
    assert rig.complete(late) is None
    assert rig.m.pending == (request,)


def test_rule_12_unregistering_an_empty_slot_does_nothing(rig):
    rig.m.unregister_actor(4)
    with pytest.raises(TypeError, match="actor_slot"):
        rig.m.unregister_actor("4")


def test_rule_12_checkpoints_outlive_their_actor(rig):
    rig.add()
    name = rig.commit()
    rig.m.unregister_actor(0)
    assert rig.m.list_checkpoints(0) == [name]
    assert rig.m.load_latest(0).name == name


# --- names, order, identity ---


def test_rule_13_names(rig):
    rig = Rig(name_prefix="my-run.1")
    rig.add(12)
    assert rig.commit(12, step=2**63 - 1) == "my-run.1_12_step_9223372036854775807"
    assert rig.commit(12, step=np.int64(5)) == "my-run.1_12_step_5"


def test_rule_13_a_taken_name_gets_the_first_free_suffix(rig):
    rig.m.reconfigure(max_snapshots=0)
    rig.add()
    names = [rig.commit(step=5, value=i) for i in range(4)]
    assert names == ["checkpoint_0_step_5", *(f"checkpoint_0_step_5.{n}" for n in (2, 3, 4))]
    for i, name in enumerate(names):
        assert rig.storage.load(name).numpy()["u"][0] == i
    rig.storage.delete("checkpoint_0_step_5.3")
    assert rig.commit(step=5) == "checkpoint_0_step_5.3"
    assert rig.m.list_checkpoints(0)[-1] == "checkpoint_0_step_5.3"


def test_rule_13_two_snapshots_at_one_step_survive_retention():
    rig = Rig(max_snapshots=2)
    rig.add()
    names = [rig.commit(step=5, value=i) for i in range(3)]
    assert rig.m.list_checkpoints(0) == names[1:]


def test_rule_13_names_of_another_identity_are_taken_too(rig):
    rig.add(0, "a")
    rig.commit(step=5)
    rig.add(0, "b")
    assert rig.commit(step=5) == "checkpoint_0_step_5.2"
    assert rig.m.list_checkpoints(0) == ["checkpoint_0_step_5.2"]


def test_rule_13_a_damaged_checkpoint_keeps_its_name(rig):
    rig.add()
    rig.storage.damage_metadata(rig.commit(step=5))
    assert rig.commit(step=5) == "checkpoint_0_step_5.2"


def test_rule_13_a_name_lost_to_another_manager_during_the_save(rig):
    other = Rig(rig.storage)
    rig.add(0, "a")
    other.add(0, "b")

    def let_the_other_win(_):
        rig.storage.before_save = None
        other.commit(step=5, value=2.0)

    rig.storage.before_save = let_the_other_win
    assert rig.commit(step=5, value=1.0) == "checkpoint_0_step_5.2"
    assert other.m.load_latest(0).numpy()["u"][0] == 2.0
    assert rig.m.load_latest(0).numpy()["u"][0] == 1.0
    assert rig.m.total_failed == 0


def test_rule_13_a_locked_store_is_not_asked_for_another_name(rig):
    rig.add()
    attempts = []

    def locked(name):
        attempts.append(name)
        rig.storage._entries[name] = None  # even if the name has been taken meanwhile
        raise StoreLocked("held by pid 7 on elsewhere")

    rig.storage.before_save = locked
    with pytest.raises(StoreLocked, match="pid 7"):
        rig.commit()
    assert len(attempts) == 1


def test_rule_13_a_store_that_claims_every_name_is_given_up(rig):
    rig.add()

    def taken(name):
        rig.storage._entries[name] = None

    rig.storage.before_save = taken
    with pytest.raises(CheckpointError, match="no free name for 'checkpoint_0_step_0' after 100"):
        rig.commit()
    assert rig.m.total_failed == 1


def test_rule_14_order_is_commit_order_not_text_or_step_order():
    rig = Rig(max_snapshots=3)
    rig.add()
    for step in (999, 1000, 9, 10):
        rig.commit(step=step)
    assert rig.m.list_checkpoints(0) == [f"checkpoint_0_step_{s}" for s in (1000, 9, 10)]
    rig.commit(step=5)  # after a restore to an earlier step
    assert rig.m.load_latest(0).step == 5


def test_rule_14_parents_follow_commits_and_restores(rig):
    rig.add()
    first = rig.commit(step=1)
    assert rig.storage.load(first).parent is None
    second = rig.commit(step=2)
    assert rig.storage.load(second).parent == first
    rig.m.note_restored(0, first)
    third = rig.commit(step=2)
    assert rig.storage.load(third).parent == first
    rig.m.note_restored(0, None)
    fourth = rig.commit(step=1)
    assert rig.storage.load(fourth).parent is None
    assert rig.storage.load(rig.commit(step=3)).parent == fourth


def test_rule_14_the_parent_of_a_new_process_is_the_newest_of_the_history(rig):
    rig.add()
    rig.commit(step=9)
    newest = rig.commit(step=3)
    again = Rig(rig.storage)
    again.add(5, "k0")
    assert rig.storage.load(again.commit(5, step=4)).parent == newest


def test_rule_14_a_snapshot_asked_for_before_a_restore_continues_the_old_line(rig):
    rig.add()
    first = rig.commit(step=1)
    second = rig.commit(step=2)
    request = rig.m.request_snapshot(0)
    rig.m.note_restored(0, first)
    third = rig.complete(request, step=3)
    assert rig.storage.load(third).parent == second
    assert rig.storage.load(rig.commit(step=2)).parent == first


def test_rule_14_a_failed_save_is_no_parent(rig):
    rig.add()
    first = rig.commit(step=1)
    rig.storage.fail_save = OSError("full")
    with pytest.raises(OSError, match="full"):
        rig.commit(step=2)
    rig.storage.fail_save = None
    assert rig.storage.load(rig.commit(step=3)).parent == first


def test_rule_14_a_restore_of_nobody_is_refused(rig):
    with pytest.raises(ValueError, match="no actor is registered in slot 2"):
        rig.m.note_restored(2, "x")


def test_rule_15_history_is_the_identitys_not_the_slots(rig):
    rig.add(0, "a")
    name = rig.commit(step=1)
    rig.add(0, "b")
    assert rig.m.list_checkpoints(0) == []
    assert rig.m.load_latest(0) is None
    rig.add(7, "a")
    assert rig.m.list_checkpoints(7) == [name]
    assert rig.m.load_latest(7).name == name


def test_rule_15_an_empty_slot_lists_all_that_was_recorded_under_it(rig):
    rig.add(0, "a")
    first = rig.commit(step=1)
    rig.add(0, "b")
    second = rig.commit(step=0)
    rig.m.unregister_actor(0)
    assert rig.m.list_checkpoints(0) == [first, second]
    assert rig.m.load_latest(0).name == second


def test_rule_15_prefixes_that_begin_alike_never_mix():
    storage = MemoryStorage()
    one = Rig(storage, name_prefix="sim", max_snapshots=1)
    two = Rig(storage, name_prefix="sim_1", max_snapshots=1)
    one.add(1, "same")
    two.add(2, "same")
    theirs = two.commit(2, step=5)
    assert one.m.list_checkpoints(1) == []
    assert one.m.load_latest(1) is None
    mine = one.commit(1, step=5)
    one.commit(1, step=6)
    assert two.m.list_checkpoints(2) == [theirs]
    assert mine not in storage.list()
    one.m.unregister_actor(1)
    assert one.m.list_checkpoints(1) == ["sim_1_step_6"]


@pytest.mark.parametrize(
    ("prefix", "slot", "other", "other_slot"),
    [
        ("sim", 1, "sim_1", 2),
        ("sim", 1, "sim_1_step_3", 4),
        ("s.m", 1, "sim", 1),
        ("sim", 1, "sim", 11),
    ],
)
def test_rule_15_a_damaged_name_counts_for_its_own_slot_only(prefix, slot, other, other_slot):
    storage = MemoryStorage()
    them = Rig(storage, name_prefix=other)
    them.add(other_slot)
    storage.damage_metadata(them.commit(other_slot, step=5))
    us = Rig(storage, name_prefix=prefix)
    assert us.m.load_latest(slot) is None
    with pytest.raises(CheckpointCorrupt, match="_step_5"):
        them.m.load_latest(other_slot)


def test_rule_15_a_damaged_group_is_never_retired():
    rig = Rig(max_snapshots=1)
    rig.add()
    damaged = rig.commit(step=1)
    rig.storage.damage_metadata(damaged)
    for step in range(2, 5):
        rig.commit(step=step)
    assert damaged in rig.storage.list()
    assert rig.m.list_checkpoints(0) == ["checkpoint_0_step_4"]


def test_rule_16_everything_is_rebuilt_from_the_store(rig):
    rig.add()
    for step in (3, 1, 2):
        rig.commit(step=step)
    again = Rig(rig.storage, max_snapshots=2)
    assert again.m.list_checkpoints(0) == [f"checkpoint_0_step_{s}" for s in (3, 1, 2)]
    again.add()
    assert again.m.load_latest(0).step == 2
    again.commit(step=0)
    assert again.m.list_checkpoints(0) == ["checkpoint_0_step_2", "checkpoint_0_step_0"]


def test_rule_16_a_new_store_is_empty(rig):
    assert rig.m.list_checkpoints(0) == []
    assert rig.m.load_latest(0) is None
    rig.add()
    assert rig.m.list_checkpoints(0) == []
    assert rig.m.load_latest(0) is None


def test_rule_16_managers_on_one_store_see_each_other(rig):
    other = Rig(rig.storage)
    rig.add(0, "a")
    name = rig.commit(step=1)
    assert other.m.list_checkpoints(0) == [name]
    other.add(3, "a")
    newer = other.commit(3, step=0)
    assert rig.m.list_checkpoints(0) == [name, newer]
    assert rig.m.load_latest(0).name == newer


def test_rule_17_damaged_newer_ones_are_passed_over_with_a_warning(rig):
    rig.add()
    names = [rig.commit(step=s) for s in range(4)]
    rig.storage.damage_fields(names[3])
    rig.storage.damage_fields(names[2])
    with pytest.warns(CheckpointWarning, match=rf"{names[3]}.*{names[2]}") as caught:
        assert rig.m.load_latest(0).name == names[1]
    assert caught[0].filename == __file__
    assert names[0] not in str(caught[0].message)


def test_rule_17_damage_behind_the_newest_is_nobodys_business(rig):
    rig.add()
    rig.storage.damage_fields(rig.commit(step=1))
    newest = rig.commit(step=2)
    assert rig.m.load_latest(0).name == newest


def test_rule_17_damaged_metadata_is_always_warned_about(rig):
    rig.add()
    old = rig.commit(step=1)
    new = rig.commit(step=2)
    rig.storage.damage_metadata(old)
    with pytest.warns(CheckpointWarning, match=old):
        assert rig.m.load_latest(0).name == new
    assert rig.m.list_checkpoints(0) == [new]


@pytest.mark.parametrize("damage", ["damage_fields", "damage_metadata"])
@pytest.mark.parametrize("registered", [True, False])
def test_rule_17_corrupt_if_some_exist_and_none_verifies(rig, damage, registered):
    rig.add()
    names = [rig.commit(step=s) for s in (1, 2)]
    for name in names:
        getattr(rig.storage, damage)(name)
    if not registered:
        rig.m.unregister_actor(0)
    with pytest.raises(CheckpointCorrupt, match=rf"none of the 2 .*{names[0]}") as caught:
        rig.m.load_latest(0)
    assert names[1] in str(caught.value)


def test_rule_17_one_retired_meanwhile_is_passed_over_in_silence(rig):
    rig.add()
    first, second = rig.commit(step=1), rig.commit(step=2)

    def retire(name):
        rig.storage.before_load = None
        rig.storage.delete(name)

    rig.storage.before_load = retire
    assert rig.m.load_latest(0).name == first
    assert second not in rig.storage.list()


def test_rule_17_if_all_seen_were_retired_the_newer_ones_are_found(rig):
    other = Rig(rig.storage, max_snapshots=1)
    rig.add()
    other.add()
    rig.commit(step=1)

    def overtake(_):
        rig.storage.before_load = None
        other.commit(step=2)

    rig.storage.before_load = overtake
    assert rig.m.load_latest(0).step == 2


def test_rule_17_a_store_that_changes_without_end_is_given_up(rig):
    rig.add()
    rig.commit(step=1)

    def vanish(name):
        raise CheckpointNotFound(f"no checkpoint {name!r}")

    rig.storage.before_load = vanish
    with pytest.raises(CheckpointNotFound, match="checkpoint_0_step_1"):
        rig.m.load_latest(0)


# --- retention ---


def test_rule_18_at_most_max_snapshots_remain_of_each_actor():
    rig = Rig(max_snapshots=2)
    rig.add(0)
    rig.add(1)
    for step in range(5):
        rig.commit(0, step)
        rig.commit(1, step)
        assert len(rig.m.list_checkpoints(0)) == min(step + 1, 2)
    assert rig.m.list_checkpoints(1) == ["checkpoint_1_step_3", "checkpoint_1_step_4"]
    assert len(rig.storage.list()) == 4


def test_rule_18_zero_keeps_everything():
    rig = Rig(max_snapshots=0)
    rig.add()
    for step in range(20):
        rig.commit(step=step)
    assert len(rig.m.list_checkpoints(0)) == 20


def test_rule_18_what_earlier_processes_wrote_counts():
    storage = MemoryStorage()
    for run in range(3):
        rig = Rig(storage, max_snapshots=2)
        rig.add(run, "same")
        for step in range(3):
            rig.commit(run, step)
    assert storage.list() == ["checkpoint_2_step_1", "checkpoint_2_step_2"]


def test_rule_18_a_delete_that_fails_is_logged_and_tried_again(caplog):
    rig = Rig(max_snapshots=1)
    rig.add()
    rig.commit(step=1)
    rig.storage.fail_delete = OSError(13, "Permission denied")
    with caplog.at_level(logging.WARNING, "ringnb.checkpoint"):
        assert rig.commit(step=2) == "checkpoint_0_step_2"
    assert "'checkpoint_0_step_1' could not be retired" in caplog.text
    assert "Permission denied" in caplog.text
    assert caplog.records[0].name == "ringnb.checkpoint"
    assert (rig.m.total_completed, rig.m.total_failed) == (2, 0)
    assert rig.m.list_checkpoints(0) == ["checkpoint_0_step_1", "checkpoint_0_step_2"]
    rig.storage.fail_delete = None
    rig.commit(step=3)
    assert rig.m.list_checkpoints(0) == ["checkpoint_0_step_3"]


def test_rule_18_one_failed_delete_does_not_keep_the_others():
    rig = Rig(max_snapshots=0)
    rig.add()
    for step in range(4):
        rig.commit(step=step)
    rig.m.reconfigure(max_snapshots=1)

    def refuse(name):
        if name == "checkpoint_0_step_1":
            raise CheckpointError("not mine")

    rig.storage.before_delete = refuse
    rig.commit(step=4)
    assert rig.m.list_checkpoints(0) == ["checkpoint_0_step_1", "checkpoint_0_step_4"]


def test_rule_18_one_retired_by_somebody_else_is_fine(caplog):
    rig = Rig(max_snapshots=1)
    rig.add()
    rig.commit(step=1)

    def overtaken(name):
        rig.storage.before_delete = None
        rig.storage.delete(name)

    rig.storage.before_delete = overtaken
    rig.commit(step=2)
    assert rig.m.list_checkpoints(0) == ["checkpoint_0_step_2"]
    assert caplog.text == ""
    assert rig.stages("retired") == []


def test_rule_18_a_store_that_cannot_be_listed_does_not_undo_the_commit(caplog):
    rig = Rig(max_snapshots=1)
    rig.add()
    rig.commit(step=1)
    request = rig.m.request_snapshot(0)
    rig.storage.fail_list = OSError("gone")
    assert rig.complete(request, step=2) == "checkpoint_0_step_2"
    assert "could not be read for retention" in caplog.text
    assert (rig.m.total_completed, rig.m.total_failed) == (2, 0)


def test_rule_19_the_new_one_is_saved_before_anything_is_deleted():
    rig = Rig(max_snapshots=1)
    rig.add()
    for step in range(3):
        rig.commit(step=step)
    names = [f"checkpoint_0_step_{s}" for s in range(3)]
    assert rig.storage.calls == [
        ("save", names[0]),
        ("save", names[1]),
        ("delete", names[0]),
        ("save", names[2]),
        ("delete", names[1]),
    ]


def test_rule_19_the_one_just_written_stays_even_if_another_manager_commits_before_retention():
    storage = MemoryStorage()
    other = Rig(storage, max_snapshots=0)
    other.add(1, "same")

    def overtake(event):
        if event.stage == "committed":
            other.commit(1, step=99)

    m = CheckpointManager(CheckpointConfig(max_snapshots=1), storage, observer=overtake)
    m.register_actor(0, "same", "toy")
    request = m.request_snapshot(0)
    name = m.complete_snapshot(SnapshotResponse(request.request_id, 0, True, b"x", 1))
    assert name in storage.list()


def test_rule_19_only_the_actors_own_are_deleted():
    storage = MemoryStorage()
    others = []
    for prefix, slot, identity in [
        ("run", 0, "b"),
        ("run", 1, "c"),
        ("run_0", 0, "a"),
        ("x", 0, "a"),
    ]:
        rig = Rig(storage, name_prefix=prefix, max_snapshots=0)
        rig.add(slot, identity)
        others += [rig.commit(slot, step) for step in range(3)]
    rig = Rig(storage, name_prefix="run", max_snapshots=1)
    rig.add(0, "a")
    for step in range(10, 13):
        last = rig.commit(step=step)
    assert storage.list() == [*others, last]


# --- what surrounds the rules ---


def test_seconds_until_next():
    rig = Rig(interval=30, request_timeout=10)
    assert rig.m.seconds_until_next() is None
    rig.add()
    assert rig.m.seconds_until_next() == 0.0
    rig.clock.advance(5)
    assert rig.m.seconds_until_next() == 0.0
    (request,) = rig.m.poll_due_snapshots()
    assert rig.m.seconds_until_next() == pytest.approx(10)
    rig.complete(request)
    rig.clock.advance(12)
    assert rig.m.seconds_until_next() == 18
    rig.m.reconfigure(enabled=False)
    assert rig.m.seconds_until_next() is None
    rig.m.request_snapshot(0)
    assert rig.m.seconds_until_next() == pytest.approx(10)


def test_seconds_until_next_leads_past_an_expiry():
    rig = Rig(request_timeout=0.1, enabled=False, clock=ManualClock(123456.789))
    rig.add()
    rig.m.request_snapshot(0)
    for _ in range(4):
        rig.clock.advance(rig.m.seconds_until_next() or 0)
        rig.poll()
        if rig.m.total_failed:
            break
    assert rig.m.total_failed == 1


def test_events_tell_the_whole_life():
    rig = Rig(max_snapshots=1, request_timeout=5)
    rig.add()
    rig.clock.advance(2)
    before = time.monotonic_ns()
    (request,) = rig.m.poll_due_snapshots()
    rig.complete(request, step=4)
    rig.commit(step=5)
    rig.fail()
    rig.m.cancel_pending(rig.m.request_snapshot(0).request_id)
    rig.m.request_snapshot(0)
    rig.clock.advance(6)
    rig.m.poll_due_snapshots()
    rig.m.request_snapshot(0)
    rig.m.unregister_actor(0)
    assert rig.stages() == [
        *("due", "requested", "written", "committed"),
        *("requested", "written", "committed", "retired"),
        *("requested", "failed", "requested", "cancelled"),
        *("requested", "expired", "requested", "cancelled"),
    ]
    due, requested, written, committed = list(rig.log)[:4]
    assert requested.t_ns - due.t_ns == 2_000_000_000
    assert requested.t_ns >= before
    assert {e.request_id for e in (due, requested, written, committed)} == {request.request_id}
    assert before <= written.t_ns <= committed.t_ns <= time.monotonic_ns()
    assert (committed.step, committed.name) == (4, "checkpoint_0_step_4")
    (retired,) = rig.log.select("retired")
    assert (retired.request_id, retired.step, retired.name) == (None, 4, "checkpoint_0_step_4")
    assert rig.log.select("failed")[0].detail == "no"


def test_an_observer_that_raises_changes_nothing(caplog):
    def broken(event):
        raise RuntimeError("panel gone")

    storage = MemoryStorage()
    m = CheckpointManager(CheckpointConfig(max_snapshots=1), storage, observer=broken)
    m.register_actor(0, "a", "toy")
    for step in range(2):
        request = m.request_snapshot(0)
        assert m.complete_snapshot(SnapshotResponse(request.request_id, 0, True, b"x", step))
    assert m.list_checkpoints(0) == ["checkpoint_0_step_1"]
    assert (m.total_completed, m.total_failed) == (2, 0)
    assert "the observer failed" in caplog.text
    m.close()


def test_an_observer_may_call_the_manager():
    counts = []

    def look(event):
        counts.append((event.stage, m.pending_count, m.seconds_until_next(), m.pending))

    m = CheckpointManager(CheckpointConfig(), MemoryStorage(), observer=look)
    m.register_actor(0, "a", "toy")
    (request,) = m.poll_due_snapshots()
    m.complete_snapshot(SnapshotResponse(request.request_id, 0, True, b"x", 1))
    assert [c[:2] for c in counts] == [
        ("due", 1),
        ("requested", 1),
        ("written", 0),
        ("committed", 0),
    ]


def test_close_drops_what_is_pending_and_refuses_the_rest(rig):
    rig.add()
    rig.m.request_snapshot(0)
    with rig.m as same:
        assert same is rig.m
    rig.m.close()
    assert rig.m.pending_count == 0
    assert rig.storage.closed == 0  # it was given
    for call in (
        lambda: rig.add(1),
        lambda: rig.m.unregister_actor(0),
        lambda: rig.m.note_restored(0, None),
        rig.m.poll_due_snapshots,
        lambda: rig.m.request_snapshot(0),
        lambda: rig.m.cancel_pending(1),
        rig.m.cancel_all_pending,
        rig.m.seconds_until_next,
        lambda: rig.m.complete_snapshot(SnapshotResponse(1, 0, True, b"x", 1)),
        lambda: rig.m.load_latest(0),
        lambda: rig.m.list_checkpoints(0),
        lambda: rig.m.reconfigure(interval=1),
        rig.m.__enter__,
    ):
        with pytest.raises(CheckpointError, match="manager is closed"):
            call()
    assert rig.m.config.interval == 30.0
    assert rig.m.storage is rig.storage
    assert rig.log[-1].stage == "cancelled"
    assert "closed" in repr(rig.m)


@pytest.mark.parametrize("wrong", ["x.zarr", 5, object()])
def test_a_storage_that_is_none(wrong):
    with pytest.raises(TypeError, match=r"storage must be a CheckpointStorage.*ZarrStorage"):
        CheckpointManager(CheckpointConfig(), wrong)


def test_arguments_of_a_wrong_type():
    with pytest.raises(TypeError, match="config must be a CheckpointConfig"):
        CheckpointManager({"interval": 3}, MemoryStorage())
    with pytest.raises(TypeError, match="clock must be callable"):
        CheckpointManager(CheckpointConfig(), MemoryStorage(), clock=3.0)
    with pytest.raises(TypeError, match="observer must be callable"):
        CheckpointManager(CheckpointConfig(), MemoryStorage(), observer=[])


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"actor_slot": -1}, ValueError, "actor_slot must lie in 0"),
        ({"actor_slot": True}, TypeError, "actor_slot must be an integer"),
        ({"kernel_id": ""}, ValueError, "kernel_id must be 1 to 200 printable"),
        ({"kernel_id": "x" * 201}, ValueError, "kernel_id must be 1 to 200 printable"),
        ({"kernel_id": "a\nb"}, ValueError, "kernel_id must be 1 to 200 printable"),
        ({"kernel_id": 5}, TypeError, "kernel_id must be a str"),
        ({"kernel_type": ""}, ValueError, "kernel_type must be 1 to 200"),
        ({"backend": 1}, TypeError, "backend must be a str"),
        ({"params": [1]}, TypeError, "params must be a mapping"),
        ({"params": {1: 2}}, TypeError, "a name in params must be a str"),
        ({"params": {"a": float("inf")}}, ValueError, r"params\['a'\] must be finite"),
        ({"params": {"a": 2**64}}, ValueError, r"params\['a'\] must be an integer of 64 bits"),
        ({"params": {"a": [1]}}, TypeError, r"params\['a'\] must be a str, int"),
        ({"params": {"a": "\ud800"}}, ValueError, r"params\['a'\] must be text"),
        ({"fields": ["u"]}, TypeError, "fields must be a mapping"),
        ({"fields": {"../u": {}}}, ValueError, "field name"),
        ({"fields": {"u": "Pa"}}, TypeError, r"fields\['u'\] must be a mapping"),
        ({"fields": {"u": {"unit": "Pa"}}}, ValueError, r"\['unit'\] is not known: use any of uni"),
        ({"fields": {"u": {"units": 1}}}, TypeError, r"\['units'\] must be a str"),
        ({"fields": {"u": {"dims": "yx"}}}, TypeError, r"\['dims'\] must be a tuple"),
        ({"fields": {"u": {"dims": ("y", "y")}}}, ValueError, "names a dimension twice"),
        ({"fields": {"u": {"dims": ("y", "")}}}, ValueError, "must be 1 to 200"),
    ],
)
def test_registration_is_checked(rig, changes, error, match):
    rig.add(0, "there")
    arguments = {"actor_slot": 0, "kernel_id": "k", "kernel_type": "t"} | changes
    with pytest.raises(error, match=match):
        rig.m.register_actor(**arguments)
    assert rig.m.registered[0].kernel_id == "there"


def test_registration_is_copied(rig):
    params = {"a": np.float32(0.5), "n": np.int8(3), "on": np.True_, "s": "text", "none": None}
    fields = {"u": {"dims": ["y", "x"], "units": ""}}
    rig.add(params=params, fields=fields)
    params["a"] = 9.0
    fields["u"]["dims"].append("z")
    actor = rig.m.registered[0]
    assert actor.params == {"a": 0.5, "n": 3, "on": True, "s": "text", "none": None}
    assert [type(v) for v in actor.params.values()] == [float, int, bool, str, type(None)]
    assert actor.fields["u"] == {"dims": ("y", "x"), "units": ""}
    for frozen in (actor.params, actor.fields, actor.fields["u"], rig.m.registered):
        with pytest.raises(TypeError):
            frozen["new"] = 1


def test_repr(rig):
    rig.add()
    assert repr(rig.m).startswith("<CheckpointManager state: enabled, every: 30 s, keeps: 5")
    html = rig.m._repr_html_()
    assert "<table>" in html
    assert "&lt;MemoryStorage" in html


# --- several threads ---


class Gate:
    """Blocks a storage call on another thread until the test lets it go on."""

    def __init__(self):
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, _name):
        self.reached.set()
        assert self.go.wait(30)


class Saving:
    """A commit on another thread, stopped inside ``save``."""

    def __init__(self, rig, request, **kwargs):
        self.gate = rig.storage.before_save = Gate()
        self.response = rig.answer(request, **kwargs)
        self.result = None
        self.thread = threading.Thread(target=self._run, args=(rig,))
        self.thread.start()
        assert self.gate.reached.wait(30)
        rig.storage.before_save = None

    def _run(self, rig):
        try:
            self.result = rig.m.complete_snapshot(self.response)
        except Exception as error:
            self.result = error

    def end(self):
        self.gate.go.set()
        self.thread.join(30)
        return self.result


def test_threads_a_slow_save_delays_nobody_else(rig):
    rig.add(0)
    rig.add(1)
    first, second = rig.m.poll_due_snapshots()
    saving = Saving(rig, first)
    assert rig.m.pending_count == 2
    assert rig.complete(second) == "checkpoint_1_step_0"
    assert rig.poll() == []
    assert rig.m.request_snapshot(0) is first
    assert rig.m.pending == (first,)
    assert rig.m.list_checkpoints(0) == []
    assert rig.m.seconds_until_next() == 30
    assert saving.end() == "checkpoint_0_step_0"
    assert rig.m.total_completed == 2


def test_threads_an_answer_being_saved_cannot_be_cancelled(rig):
    rig.add()
    request = rig.m.request_snapshot(0)
    saving = Saving(rig, request)
    assert rig.m.cancel_pending(request.request_id) is False
    rig.m.cancel_all_pending()
    assert rig.m.pending == (request,)
    assert saving.end() == "checkpoint_0_step_0"
    assert rig.stages("cancelled") == []


def test_threads_a_duplicate_during_the_save_neither_stores_nor_takes_the_data_away(rig):
    rig.add()
    data = StagedFields({"u": np.arange(4.0)})
    request = rig.m.request_snapshot(0)
    saving = Saving(rig, request, data=data)
    assert rig.m.complete_snapshot(saving.response) is None
    assert not data.released  # the save still reads it
    assert rig.complete(request, success=False, data=None) is None
    other = StagedFields({"u": np.zeros(4)})
    assert rig.complete(request, data=other) is None
    assert other.released
    assert saving.end() == "checkpoint_0_step_0"
    assert data.released
    assert (rig.m.total_completed, rig.m.total_failed) == (1, 0)


@pytest.mark.parametrize("again", [None, "k0", "other"])
def test_threads_unregistering_during_a_save(rig, again):
    rig.add()
    data = StagedFields({"u": np.arange(4.0)})
    saving = Saving(rig, rig.m.request_snapshot(0), data=data)
    rig.m.unregister_actor(0)
    assert rig.m.pending_count == 0
    assert rig.m.pending == ()
    request = None
    if again:
        rig.add(0, again)
        request = rig.m.request_snapshot(0)
        assert request.request_id != saving.response.request_id
    assert rig.m.complete_snapshot(saving.response) is None
    assert not data.released
    assert saving.end() == "checkpoint_0_step_0"  # it was being written: it ends well
    assert rig.m.total_completed == 1
    if again:
        assert rig.m.pending == (request,)  # and the new registration is as it was
        assert rig.complete(request, step=1) == "checkpoint_0_step_1"
        assert rig.storage.load("checkpoint_0_step_1").parent is None
    else:
        assert rig.poll() == []


def test_threads_a_save_that_fails_after_its_actor_was_replaced(rig):
    rig.add()
    saving = Saving(rig, rig.m.request_snapshot(0))
    rig.add(0, "other")
    rig.storage.fail_save = OSError("full")
    assert isinstance(saving.end(), OSError)
    assert rig.m.total_failed == 1
    assert rig.poll() == [0]  # the new actor is due at once, not retried later


def test_threads_a_restore_during_a_save_keeps_its_lineage(rig):
    rig.add()
    first = rig.commit(step=1)
    saving = Saving(rig, rig.m.request_snapshot(0), step=2)
    rig.m.note_restored(0, first)
    assert saving.end() == "checkpoint_0_step_2"
    assert rig.storage.load(rig.commit(step=3)).parent == first


def test_threads_closing_during_a_save_lets_it_end(rig, monkeypatch):
    rig.m._owns_storage = True
    rig.add()
    saving = Saving(rig, rig.m.request_snapshot(0))
    rig.m.close()
    assert rig.storage.closed == 0
    assert saving.end() == "checkpoint_0_step_0"
    assert rig.storage.closed == 1
    assert rig.storage.list() == ["checkpoint_0_step_0"]
    assert rig.m.pending_count == 0


def test_threads_one_name_wanted_twice_in_one_manager_is_kept_twice(rig):
    rig.add(0, "a")
    saving = Saving(rig, rig.m.request_snapshot(0), step=5, value=1.0)
    rig.add(0, "b")
    assert rig.commit(step=5, value=2.0) == "checkpoint_0_step_5"
    assert saving.end() == "checkpoint_0_step_5.2"
    assert rig.storage.load("checkpoint_0_step_5").numpy()["u"][0] == 2.0
    assert rig.storage.load("checkpoint_0_step_5.2").numpy()["u"][0] == 1.0


def test_threads_expiring_while_the_answer_is_checked(rig, monkeypatch):
    rig.add(fields={"u": {"dims": ("x",)}})
    request = rig.m.request_snapshot(0)
    actor = type(rig.m.registered[0])
    checked = actor.check_dims

    def slow_check(self, fields):
        rig.clock.advance(31)
        rig.m.poll_due_snapshots()
        checked(self, fields)

    monkeypatch.setattr(actor, "check_dims", slow_check)
    data = StagedFields({"u": np.zeros(4)})
    assert rig.complete(request, data=data) is None
    assert data.released
    assert rig.storage.list() == []
    assert (rig.m.total_completed, rig.m.total_failed) == (0, 1)


def test_threads_a_crowd():
    """Many threads poll, ask, answer and cancel; afterwards the books balance."""
    rig = Rig(max_snapshots=3, clock=time.monotonic, interval=0.0005, request_timeout=60)
    slots = 4
    for slot in range(slots):
        rig.add(slot)
    errors, stored, failed = [], [], []
    start = threading.Barrier(4)

    def crowd(seed):
        rng = np.random.default_rng(seed)
        start.wait()
        try:
            for _ in range(60):
                requests = rig.m.poll_due_snapshots()
                manual = rig.m.request_snapshot(int(rng.integers(slots)))
                for request in [*requests, manual]:
                    if rng.random() < 0.1:
                        rig.m.cancel_pending(request.request_id)
                    success = rng.random() > 0.1
                    try:
                        name = rig.complete(request, step=int(rng.integers(3)), success=success)
                    except SnapshotFailed:
                        failed.append(1)
                    else:
                        if name:
                            stored.append(name)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=crowd, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    rig.m.cancel_all_pending()
    assert rig.m.pending_count == 0
    assert (rig.m.total_completed, rig.m.total_failed) == (len(stored), len(failed))
    assert sum(1 for what, _ in rig.storage.calls if what == "save") == len(stored)
    for slot in range(slots):
        rig.commit(slot, step=9)
        assert len(rig.m.list_checkpoints(slot)) <= 3
