"""Snapshots that a user asks for: fresh, consistent, in time, and what is raised."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from session_rig import SHAPE, Gate, being_saved, memory, quiet, reference, state_of
from waiting import until

import ringnb as rn
from ringnb.testing.kernels import Mixer


def test_snapshot_returns_a_committed_checkpoint(session):
    session.run_steps(1, 12)
    checkpoint = session.snapshot(1)
    assert checkpoint.name == "checkpoint_1_step_12"
    assert (checkpoint.kernel_id, checkpoint.kernel_type) == ("mixer_1", "mixer")
    assert (checkpoint.step, checkpoint.backend, checkpoint.parent) == (12, "cpu", None)
    checkpoint.verify()
    assert session.manager.list_checkpoints(1) == [checkpoint.name]
    assert session.statistics().completed == 1


def test_a_snapshot_of_a_running_actor_is_a_consistent_cut(session):
    session.set_pace(2000)
    session.resume(0)
    for _ in range(5):
        checkpoint = session.snapshot(0)
        np.testing.assert_array_equal(state_of(checkpoint), reference(0, checkpoint.step))


def test_the_state_is_captured_at_or_after_the_call():
    """A request that was under way already must not be taken for the answer."""
    gate = Gate(memory())
    with rn.Session(Mixer(SHAPE), config=quiet(), storage=gate) as s:
        with being_saved(s, gate, 0):  # captured at step 0
            s.run_steps(0, 7)
            late = []
            second = threading.Thread(target=lambda: late.append(s.snapshot(0, 30.0)))
            second.start()
        second.join(60)
        assert late[0].step == 7
        assert [c.rsplit("_", 1)[1] for c in s.manager.list_checkpoints(0)] == ["0", "7"]


def test_every_stage_is_logged_in_order(session):
    checkpoint = session.snapshot(0)
    request_id = checkpoint.request_id
    events = [e for e in session.events if e.request_id == request_id]
    by_stage = {e.stage: e.t_ns for e in events}
    order = ["requested", "sent", "captured", "received", "written", "committed"]
    assert set(by_stage) == set(order)
    stamps = [by_stage[stage] for stage in order]
    assert stamps == sorted(stamps)
    assert stamps[-1] - stamps[0] < 10e9
    assert next(e for e in events if e.stage == "committed").name == checkpoint.name


def test_rule_13_lineage_follows_commits_and_restores_and_no_name_is_taken_twice(session):
    first = session.snapshot(0)
    session.run_steps(0, 5)
    second = session.snapshot(0)
    session.restore(0, first)
    session.run_steps(0, 5)
    third = session.snapshot(0)
    assert (first.parent, second.parent, third.parent) == (None, first.name, first.name)
    assert third.name == f"{second.name}.2"  # the same step on another branch: both are kept


def test_rule_02_a_snapshot_that_is_not_committed_in_time_is_cancelled():
    gate = Gate(memory())
    with rn.Session(Mixer(SHAPE), actors=2, config=quiet(), storage=gate, lanes=1) as s:
        with being_saved(s, gate, 0):
            with pytest.raises(rn.SnapshotTimeout, match="the request was cancelled"):
                s.snapshot(1, timeout=0.1)
        assert s.manager.pending_count == 0
        assert s.snapshot(1).step == 0


def test_a_call_that_gives_up_cancels_no_request_that_another_one_waits_for(session):
    session.faults.lose_answers(1)
    ended = []

    def wait_longer():
        with pytest.raises(rn.SnapshotTimeout, match="the request was cancelled") as error:
            session.snapshot(0, timeout=2.0)
        ended.append(error)

    other = threading.Thread(target=wait_longer)
    other.start()
    until(lambda: session.manager.pending_count)
    with pytest.raises(rn.SnapshotTimeout, match="another call still waits for it"):
        session.snapshot(0, timeout=0.1)
    other.join(60)
    assert ended


def test_a_manual_snapshot_raises_what_storage_raised():
    gate = Gate(memory())
    with rn.Session(Mixer(SHAPE), config=quiet(), storage=gate) as s:
        gate.error = OSError(28, "No space left on device")
        with pytest.raises(OSError, match="No space left"):
            s.snapshot(0)
        gate.error = None
        assert s.snapshot(0).step == 0
        assert s.statistics().failed == 1


def test_an_answer_that_cannot_be_stored_holds_no_later_snapshot_up(session):
    """It leaves its request pending, with an end that is older than the later call."""
    slot, axes = 0, {name: {"dims": ("x",)} for name in session.actors[0].stored_fields}
    session.manager.register_actor(slot, "mixer_0", "mixer", fields=axes)
    session.manager.reconfigure(enabled=True)  # it has no checkpoint, so it is due at once
    until(lambda: session.failure is not None)
    with pytest.raises(ValueError, match="dims"):
        session.pause()  # any call
    session.manager.reconfigure(enabled=False)
    before = time.monotonic()
    with pytest.raises(ValueError, match="dims"):
        session.snapshot(slot, timeout=20)
    assert time.monotonic() - before < 20  # not the 30 s of request_timeout
