"""The manager's time rules (1 to 7a), its arguments and its end; each test is named after its rule."""

from __future__ import annotations

import gc
import time
from datetime import UTC, timedelta

import numpy as np
import pytest
from manager_rig import Rig

from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.errors import (
    CheckpointError,
)
from ringnb.messages.snapshots import SnapshotResponse, StagedFields
from ringnb.testing.clock import ManualClock
from ringnb.testing.memory_storage import MemoryStorage


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
        for slot in range(20_000):
            rig.m.register_actor(slot, f"k{slot}", "toy")
        requests = rig.m.poll_due_snapshots()
        assert len(requests) == rig.m.pending_count == 20_000
        assert _best_us(rig.m.poll_due_snapshots) < 20  # all pending, none expired
        rig.m.cancel_all_pending()
        assert rig.m.pending_count == 0
        assert _best_us(rig.m.poll_due_snapshots) < 20  # all registered, none due
        assert _best_us(rig.m.seconds_until_next) < 20
    finally:
        gc.enable()


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


def test_seconds_until_next_is_of_one_actor_and_grows_with_its_failures():
    rig = Rig(interval=30)
    rig.add(), rig.add(1)
    assert rig.m.seconds_until_next(7) is None
    for wait in (1, 2, 4, 8, 16, 30, 30):
        rig.m.request_snapshot(1)
        assert rig.m.seconds_until_next(1) is None  # it is under way
        rig.fail(1)
        assert rig.m.seconds_until_next(1) == wait
        assert rig.m.seconds_until_next(0) == rig.m.seconds_until_next() == 0
    rig.clock.advance(12)
    assert rig.m.seconds_until_next(1) == 18
    rig.m.reconfigure(enabled=False)
    assert rig.m.seconds_until_next(1) is None


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


def test_repr(rig):
    rig.add()
    assert repr(rig.m).startswith("<CheckpointManager state: enabled, every: 30 s, keeps: 5")
    html = rig.m._repr_html_()
    assert "<table>" in html
    assert "&lt;MemoryStorage" in html
