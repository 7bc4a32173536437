"""The way of an answer: completion (rules 8 to 13), retention (18, 19), and the events of it."""

from __future__ import annotations

import logging
import threading
import time

import numpy as np
import pytest
from manager_rig import Rig

from ringnb.checkpoint.committing import EventEmitter, Saving, make_snapshot, release, save_all
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.registration import RegisteredActor
from ringnb.checkpoint.runs import Lineage
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import (
    CheckpointError,
    SnapshotFailed,
    StoreLocked,
)
from ringnb.messages.snapshots import SnapshotResponse, StagedFields
from ringnb.testing.memory_storage import MemoryStorage
from ringnb.testing.storages import make_snapshot as small_snapshot


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


def test_rule_18_one_retired_by_another_manager_is_no_failure(caplog):
    rig = Rig(max_snapshots=1)
    rig.add()
    rig.commit(step=1)

    def deleted_first(name):
        rig.storage.before_delete = None
        rig.storage.delete(name)

    rig.storage.before_delete = deleted_first
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

    def commit_first(event):
        if event.stage == "committed":
            other.commit(1, step=99)

    m = CheckpointManager(CheckpointConfig(max_snapshots=1), storage, observer=commit_first)
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


def test_events_of_a_storage_that_gives_no_stamps_carry_the_present_moment():
    class Plain(MemoryStorage):
        def save(self, name, snapshot):
            super().save(name, snapshot)

    rig = Rig(Plain(), max_snapshots=1)
    rig.add()
    before = time.monotonic_ns()
    for step in range(2):
        rig.commit(step=step)
    written, committed = rig.log.select("written", "committed")[:2]
    assert before <= written.t_ns == committed.t_ns <= time.monotonic_ns()
    assert rig.m.list_checkpoints(0) == ["checkpoint_0_step_1"]  # retention works without a receipt


# --- the functions, without a manager ---


def response_of(data, **kwargs):
    return SnapshotResponse(
        **{"request_id": 7, "actor_slot": 3, "success": True} | kwargs, data=data
    )


def test_a_snapshot_joins_an_answer_with_what_was_registered():
    fields = {"u": {"dims": ("x",), "units": "K"}}
    actor = RegisteredActor.make(
        *(3, "k", "heat"),
        params={"c": 0.5},
        backend="cpu",
        fields=fields,
        name_prefix="{kernel_id}-r",
    )
    data = {"u": np.arange(3, dtype=">f4")}
    snapshot = make_snapshot(
        response_of(data, step=9), actor, Lineage("run_3_step_8", "1" * 16), {"why": 1}
    )
    assert snapshot.fields["u"].dtype == np.dtype("<f4")
    np.testing.assert_array_equal(snapshot.fields["u"], data["u"])
    assert (snapshot.name_prefix, snapshot.parent) == ("k-r", "run_3_step_8")
    assert (snapshot.parent_id, snapshot.attrs) == ("1" * 16, {"why": 1})
    assert (snapshot.actor_slot, snapshot.step, snapshot.request_id) == (3, 9, 7)
    assert (snapshot.kernel_id, snapshot.kernel_type, snapshot.backend) == ("k", "heat", "cpu")
    assert (snapshot.params, snapshot.field_attrs) == ({"c": 0.5}, fields)


def test_the_axes_of_captured_arrays_are_checked_by_field():
    actor = RegisteredActor.make(0, "k", "t", fields={"u": {"dims": ("y", "x")}, "v": {}})
    data = {"u": np.zeros((2, 3)), "v": np.zeros(3), "other": np.zeros(())}
    assert make_snapshot(response_of(data, step=9), actor, None).fields.keys() == data.keys()
    data["u"] = np.zeros((2, 3, 4))
    with pytest.raises(
        ValueError, match=r"field 'u' has 3 axes but .* one dimension name per axis"
    ):
        make_snapshot(response_of(data, step=9), actor, None)


def test_a_name_is_looked_up_once_when_it_is_free_and_listed_once_when_it_is_not():
    storage = MemoryStorage()
    actor = RegisteredActor.make(3, "k", "t", name_prefix="r")
    snapshot = make_snapshot(response_of(b"x", step=1), actor, None)

    def saved():
        saving = Saving(None, None, snapshot)
        save_all(storage, [saving])
        return saving.name or str(saving.error)

    assert [saved() for _ in range(3)] == ["r_3_step_1", "r_3_step_1.2", "r_3_step_1.3"]
    storage.fail_list = OSError("listed")
    assert saved() == "listed"
    storage.delete("r_3_step_1")
    assert saved() == "r_3_step_1"


# -- several answers together ------------------------------------------------------------------------


def lent(returned, slot):
    return StagedFields({"u": np.full(4, slot, "<f4")}, lease=lambda: returned.append(slot))


def test_rule_08_several_answers_are_completed_together_and_each_by_itself(rig):
    rig.m.reconfigure(max_snapshots=1)
    for slot in range(6):
        rig.add(slot)
    rig.commit(0, 1)
    rig.commit(1, 1)
    requests = [rig.m.request_snapshot(slot) for slot in range(6)]
    rig.m.cancel_pending(requests[5].request_id)
    returned = []
    answers = [rig.answer(r, 9, data=lent(returned, r.actor_slot)) for r in requests]
    answers[2] = rig.answer(requests[2], 9, success=False, data=None, error="no buffer")
    answers[3] = rig.answer(requests[3], 9, slot=4, data=lent(returned, 3))
    returned.clear()  # those that have no answer now
    start = len(rig.log.select())
    results = rig.m.complete_snapshots([*answers, "rubbish"])
    assert results[:2] == ["checkpoint_0_step_9", "checkpoint_1_step_9"]
    assert results[4:6] == ["checkpoint_4_step_9", None]
    assert [type(results[i]) for i in (2, 3, 6)] == [SnapshotFailed, ValueError, TypeError]
    assert sorted(returned) == [0, 1, 4, 5], "what stays pending keeps its data"
    assert rig.m.pending_count == 1
    assert (rig.m.total_completed, rig.m.total_failed) == (5, 1)
    assert set(rig.storage.list()) == {r for r in results if isinstance(r, str)}
    events = [(e.stage, e.actor_slot) for e in rig.log.select()][start:]
    assert events == [
        ("failed", 2),
        *((stage, slot) for slot in (0, 1, 4) for stage in ("written", "committed")),
        *(("retired", slot) for slot in (0, 1)),
    ]
    assert rig.storage.calls[-2:] == [
        ("delete", "checkpoint_0_step_1"),
        ("delete", "checkpoint_1_step_1"),
    ]


def test_rule_08_a_save_that_fails_among_several_fails_alone_and_is_retried(rig):
    def fail(name):
        if name.startswith("checkpoint_1_"):
            raise OSError("disk")

    for slot in range(3):
        rig.add(slot)
    rig.storage.before_save = fail
    results = rig.m.complete_snapshots(rig.answer(rig.m.request_snapshot(s)) for s in range(3))
    assert [str(result) for result in results] == [
        *("checkpoint_0_step_0", "disk", "checkpoint_2_step_0")
    ]
    assert rig.stages("failed", "committed") == ["committed", "failed", "committed"]
    rig.storage.before_save = None
    rig.clock.advance(60.0)
    assert rig.poll() == [1, 0, 2], "the one that failed is retried first"


@pytest.mark.parametrize("at", ["answers", "save", "names"])
def test_rule_08_an_interrupt_among_several_leaves_none_pending(rig, at, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    def answers():
        yield rig.answer(rig.m.request_snapshot(0), data=lent(returned, 0))
        if at == "answers":
            raise KeyboardInterrupt
        yield rig.answer(rig.m.request_snapshot(1), data=lent(returned, 1))

    for slot in range(2):
        rig.add(slot)
    returned = []
    if at == "save":
        rig.storage.before_save = interrupt
    elif at == "names":
        monkeypatch.setattr(rig.storage, "exists", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rig.m.complete_snapshots(answers())
    assert rig.m.pending_count == 0
    assert returned == ([0] if at == "answers" else [0, 1])
    assert rig.m.total_failed == len(returned)
    rig.m.close()


def test_rule_08_a_name_that_is_taken_meanwhile_gets_a_suffix_also_among_several(rig):
    def take(name):
        rig.storage.before_save = None
        rig.storage.save(name, small_snapshot(5))

    for slot in range(2):
        rig.add(slot)
    rig.commit(0, 0)
    rig.storage.before_save = take
    results = rig.m.complete_snapshots(
        rig.answer(rig.m.request_snapshot(slot), 5) for slot in range(2)
    )
    assert results == ["checkpoint_0_step_5.2", "checkpoint_1_step_5"]


def test_rule_08_a_storage_of_ones_own_need_not_know_groups(rig):
    class Plain:
        """It looks like a storage, and was written before there were groups."""

        def __init__(self, storage):
            for name in ("save", "load", "list", "delete", "exists", "close", "catalogue"):
                setattr(self, name, getattr(storage, name))
            self.history = storage.history
            self.history_after = storage.history_after

    with CheckpointManager(CheckpointConfig(max_snapshots=1), Plain(rig.storage)) as manager:
        for slot in range(2):
            manager.register_actor(slot, f"k{slot}", "toy")
        for step in range(2):
            names = manager.complete_snapshots(
                rig.answer(manager.request_snapshot(slot), step) for slot in range(2)
            )
            assert names == [f"checkpoint_{slot}_step_{step}" for slot in range(2)]
    assert rig.storage.list() == names


@pytest.mark.parametrize("data", [None, b"x", {"u": np.zeros(2)}, np.zeros(2), memoryview(b"x")])
def test_data_that_was_not_lent_is_left_alone(data, caplog):
    release(data)
    assert caplog.text == ""
    if isinstance(data, memoryview):
        assert data.tobytes() == b"x"


def test_an_observer_is_called_on_the_thread_that_caused_the_event():
    threads = []
    emitter = EventEmitter(lambda event: threads.append(threading.get_ident()))
    emitter.failed(response_of(None, step=1, success=False), "no")
    other = threading.Thread(target=emitter.retired, args=(0, CheckpointInfo("a")))
    other.start()
    other.join(60)
    assert threads == [threading.get_ident(), other.ident]
