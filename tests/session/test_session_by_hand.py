"""The crank turned by hand: `send`, `receive`, and the manager's `complete_snapshot`."""

from __future__ import annotations

import gc
import threading

import pytest

import ringnb as rn
from ringnb.messages.snapshots import StagedFields


def test_a_request_continues_from_what_was_live_when_it_was_captured(by_hand):
    """Asked before a restore: sent before it, it was captured before; sent after it, after."""
    by_hand.run_steps(0, 5)
    first = by_hand.snapshot(0).name
    by_hand.run_steps(0, 5)
    second = by_hand.snapshot(0).name
    for sent_first, parent in ((True, second), (False, first)):
        request = by_hand.manager.request_snapshot(0)
        if sent_first:
            by_hand.send(request)
        by_hand.restore(0, first)
        by_hand.send(request)  # twice does nothing
        (answer,) = by_hand.receive(timeout=60)
        name = by_hand.manager.complete_snapshot(answer)
        assert by_hand.storage.load(name).parent == parent
        by_hand.restore(0, second)


def test_the_crank_turns_one_stage_at_a_time(by_hand):
    requests = by_hand.manager.poll_due_snapshots()
    assert [r.actor_slot for r in requests] == [0, 1]
    by_hand.run_steps(0, 3)
    for request in requests:
        by_hand.send(request)
    by_hand.run_steps(1, 4)  # captured before: the ring keeps the order
    answers = by_hand.receive(timeout=60)
    while len(answers) < 2:
        answers += by_hand.receive(timeout=60)
    assert [(a.actor_slot, a.step, a.success) for a in answers] == [(0, 3, True), (1, 0, True)]
    assert by_hand.manager.list_checkpoints(0) == []
    names = [by_hand.manager.complete_snapshot(a) for a in answers]
    assert names == ["checkpoint_0_step_3", "checkpoint_1_step_0"]
    assert all(a.data.released for a in answers)


def test_the_loop_of_the_documentation_runs_again_and_again(by_hand):
    for turn in range(5):
        for slot in (0, 1):
            by_hand.manager.request_snapshot(slot)
        for request in by_hand.manager.pending:
            by_hand.send(request)
        done = 0
        while done < 2:
            for answer in by_hand.receive(timeout=60):
                assert by_hand.manager.complete_snapshot(answer) is not None
                done += 1
    assert by_hand.statistics().completed == 10


def test_rule_03_sending_twice_requests_once(by_hand):
    request = by_hand.manager.request_snapshot(0)
    by_hand.send(request)
    by_hand.send(request)
    assert len(by_hand.receive(timeout=60)) == 1
    assert by_hand.receive(timeout=0.02) == []


def test_a_third_request_while_two_are_held_is_answered_with_the_reason(by_hand):
    held = []
    for slot in (0, 1):
        by_hand.send(by_hand.manager.request_snapshot(slot))
        held += by_hand.receive(timeout=60)
    by_hand.manager.cancel_all_pending()
    by_hand.send(by_hand.manager.request_snapshot(0))
    (third,) = by_hand.receive(timeout=60)
    assert not third.success
    assert "no free staging buffer" in third.error
    with pytest.raises(rn.SnapshotFailed, match="no free staging buffer"):
        by_hand.manager.complete_snapshot(third)
    del held  # dropped responses give their buffers back
    gc.collect()
    by_hand.send(by_hand.manager.request_snapshot(0))
    assert by_hand.receive(timeout=60)[0].success


def test_staged_data_is_read_only_and_refused_after_release(by_hand):
    by_hand.send(by_hand.manager.request_snapshot(0))
    (answer,) = by_hand.receive(timeout=60)
    assert isinstance(answer.data, StagedFields)
    with pytest.raises(ValueError, match="read-only"):
        answer.data["u"][0, 0] = 1
    by_hand.manager.complete_snapshot(answer)
    with pytest.raises(KeyError, match="staging buffer was given back"):
        answer.data["u"]


def test_snapshot_works_for_its_own_request_only(by_hand):
    by_hand.send(by_hand.manager.request_snapshot(1))
    checkpoint = by_hand.snapshot(0)
    assert checkpoint.actor_slot == 0
    (other,) = by_hand.receive(timeout=60)
    assert other.actor_slot == 1
    assert by_hand.manager.complete_snapshot(other) == "checkpoint_1_step_0"


def test_receive_is_for_a_session_without_a_service(session):
    with pytest.raises(ValueError, match="service=False"):
        session.receive()


@pytest.mark.filterwarnings("ignore::ringnb.CheckpointWarning")  # that time was too short
def test_saving_changes_leaves_alone_what_a_snapshot_waits_for(by_hand, monkeypatch):
    """As in the handler of a signal that comes while `snapshot` waits for the kernel."""
    transport, saved = by_hand._service.transport, []
    pump = transport.pump

    def interrupted(*args):
        monkeypatch.undo()
        thread = threading.Thread(
            target=lambda: saved.append(by_hand.save_changes(timeout=0.05)), daemon=True
        )
        thread.start()
        thread.join(60)
        return pump(*args)

    by_hand.run_steps(0, 3)
    monkeypatch.setattr(transport, "pump", interrupted)
    assert by_hand.snapshot(0).step == 3
    assert len(saved) == 1


def test_saving_changes_that_is_interrupted_keeps_nothing_from_being_saved(by_hand, monkeypatch):
    """Of several requests the first was waited for: the others have nobody who waits for them."""
    transport = by_hand._service.transport
    pump = transport.pump

    def interrupted(*args):
        monkeypatch.setattr(transport, "pump", pump)
        raise KeyboardInterrupt

    by_hand.run_steps(0, 3)
    by_hand.run_steps(1, 4)
    monkeypatch.setattr(transport, "pump", interrupted)
    with pytest.raises(KeyboardInterrupt):
        by_hand.save_changes()
    left = [transport.open_status(request).awaited for request in by_hand.manager.pending]
    assert left == [0, 0]
    assert by_hand.save_changes(timeout=30)
    assert sorted(by_hand.storage.list()) == ["checkpoint_0_step_3", "checkpoint_1_step_4"]


def test_saving_changes_cancels_what_nobody_brings_to_an_end(by_hand):
    by_hand.run_steps(0, 3)
    request = by_hand.manager.request_snapshot(0)
    assert by_hand.save_changes()
    assert by_hand.manager.cancel_pending(request.request_id) is False
    assert by_hand.manager.list_checkpoints(0) == ["checkpoint_0_step_3"]
