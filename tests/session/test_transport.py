"""The transport alone, with a kernel that answers when it is told to: no threads."""

from __future__ import annotations

import gc
import threading
from datetime import UTC, datetime

import numpy as np
import pytest
from session_rig import FakeClient

import ringnb as rn
from ringnb.errors import Status
from ringnb.kernel.base import QueueFull
from ringnb.messages.events import Event, EventLog
from ringnb.messages.snapshots import SnapshotRequest
from ringnb.session.change_tracking import ChangeTracker, StateVersion
from ringnb.session.transport import SnapshotTransport


def request(number=1, slot=0):
    return SnapshotRequest(number, slot, 0, datetime.now(UTC))


@pytest.fixture
def client():
    return FakeClient(slots=4, lanes=2)


@pytest.fixture
def log():
    return EventLog()


@pytest.fixture
def freed():
    return []


@pytest.fixture
def transport(client, log, freed):
    return SnapshotTransport(client, log, ChangeTracker(), freed.append)


def test_a_request_goes_out_once_and_its_answer_comes_back_once(transport, client, log):
    client.kernel.steps[1] = 12
    status = transport.send(request(slot=1))
    assert transport.send(request(slot=1)) is status
    assert [slot for slot, _ in client.sent] == [1]
    assert (status.stage, transport.unanswered, transport.take()) == ("sent", 1, None)
    client.answer(times=2)  # the pump applies a reply again after an interrupt
    assert (transport.unanswered, transport.answers_waiting) == (0, 1)
    response = transport.respond(transport.take())
    assert (response.request_id, response.actor_slot, response.success) == (1, 1, True)
    assert response.step == 12
    assert np.all(response.data["u"] == 12)
    assert response.data.params == {"add": 0.5}
    assert transport.take() is None
    assert [e.stage for e in log] == ["sent", "captured", "received"]
    assert log.select("captured")[0].t_ns == 2_000  # when it was captured, not when it was noted
    assert status.captured_ns == 1_000


def test_a_staging_buffer_is_given_back_once_and_its_lane_told(transport, client, freed):
    transport.send(request(slot=1))
    assert transport.free_buffers(1) == 1
    client.answer()
    assert transport.free_buffers(1) == 1
    response = transport.respond(transport.take())
    assert freed == []
    response.data.release()
    response.data.release()
    assert freed == [1]
    assert transport.free_buffers(1) == transport.free_buffers(0) == 2


def test_a_refusal_is_a_response_with_the_reason_and_takes_no_buffer(transport, client, log):
    transport.send(request())
    client.answer(Status.STAGING_BUSY)
    response = transport.respond(transport.take())
    assert (response.success, response.data) == (False, None)
    assert response.error == Status.STAGING_BUSY.sentence
    assert [e.stage for e in log] == ["sent", "received"]
    assert transport.free_buffers(0) == 2


def test_a_buffer_that_something_wrote_to_is_dropped(transport, client, freed):
    transport.send(request())
    client.answer()
    client.kernel.spoilt = True
    response = transport.respond(transport.take())
    assert not response.success
    assert "checksum mismatch" in response.error
    assert freed == [0]


def test_a_request_that_could_not_be_sent_may_be_sent_again(transport, client, log):
    client.error = rn.KernelStopped("for a test")
    with pytest.raises(rn.KernelStopped):
        transport.send(request())
    assert (transport.unanswered, transport.free_buffers(0), list(log)) == (0, 2, [])
    client.error = None
    assert transport.send(request()).stage == "sent"
    assert len(client.sent) == 1


def test_a_request_that_expires_while_its_ring_is_full_is_not_sent_again(
    transport, client, log, monkeypatch
):
    def expire_and_fail(*_args, **_options):
        log.append(Event("expired", 0, 1))
        raise QueueFull

    monkeypatch.setattr(client, "send", expire_and_fail)
    with pytest.raises(QueueFull):
        transport.send(request())
    monkeypatch.undo()
    assert transport.send(request()).stage == "failed"
    assert (client.sent, transport.free_buffers(0)) == ([], 2)


def test_a_lost_answer_gives_its_buffer_back_and_stays_unanswered(transport, client, log, freed):
    transport.answers_to_lose = 1
    lost, other = (transport.send(request(number, slot=number - 1)) for number in (1, 2))
    client.answer(times=2)
    client.answer()
    assert transport.answers_to_lose == 0
    assert [e.request_id for e in log.select("lost")] == [1]
    assert freed == [0]
    assert transport.take().status is other
    assert transport.take() is None
    assert not lost.done.is_set()


def test_answers_are_taken_in_order_or_by_their_request(transport, client):
    statuses = []
    for number in (1, 2, 3):
        statuses.append(transport.send(request(number, slot=number - 1)))
        client.answer()
    assert transport.take(statuses[1]).status is statuses[1]
    assert transport.take(statuses[1]) is None
    assert [transport.take().status.request.request_id for _ in range(2)] == [1, 3]


@pytest.mark.parametrize(
    ("stage", "error"), [("cancelled", rn.SnapshotFailed), ("expired", rn.SnapshotTimeout)]
)
def test_the_log_says_when_the_manager_has_dropped_a_request(transport, client, log, stage, error):
    status = transport.send(request(5))
    log.append(Event(stage, 0, 6))  # another request
    log.append(Event("due", 0, 5))
    assert not status.done.is_set()
    log.append(Event(stage, 0, 5, detail="for a test"))
    assert status.done.is_set()
    with pytest.raises(error, match=f"{stage}: for a test"):
        raise status.error
    status.end(None)  # a late answer changes nothing
    assert status.stage == "failed"


def test_a_version_counts_changes_up_to_the_capture(client, log):
    changes = ChangeTracker()
    transport = SnapshotTransport(client, log, changes)
    changes.mark_modified(0)
    client.kernel.steps[0], client.kernel.epochs[0] = 9, 3
    status = transport.send(request())
    client.answer()
    changes.mark_modified(0)
    transport.respond(transport.take())
    assert status.version == StateVersion(9, 3, 1)


def test_what_was_captured_is_told_from_what_was_only_sent(transport, client):
    transport.send(request(1, slot=0))
    client.answer()
    transport.send(request(2, slot=1))
    transport.open_status(request(3, slot=2))
    assert transport.captured() == {1}


def test_an_answer_that_is_lost_gives_its_buffer_back_and_can_be_asked_for_again(
    transport, client, freed
):
    """As when Ctrl-C comes before the caller has assigned it to anything."""
    status = transport.send(request())
    client.answer()
    assert transport.take().status is status  # and it is gone
    assert (freed, transport.free_buffers(0), status.stage) == ([0], 2, "requested")
    transport.send(request())
    client.answer()
    assert transport.respond(transport.take()).success


@pytest.mark.parametrize("pushed", [True, False])
def test_a_request_whose_sender_was_interrupted_is_with_the_kernel_or_can_be_sent_again(
    transport, client, monkeypatch, pushed
):
    send = client.send

    def interrupted(command, _=()):
        if pushed:
            send(command)
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        transport.send(request())
    monkeypatch.undo()
    assert transport.unanswered == pushed
    transport.send(request())
    assert (transport.unanswered, len(client.sent)) == (1, 1)


def test_a_response_that_is_interrupted_loses_no_buffer(transport, client, freed, monkeypatch):
    for number in (1, 2):
        transport.send(request(number, slot=number - 1))
        client.answer()
    monkeypatch.setattr(client.kernel, "staged_params", interrupt)
    with pytest.raises(KeyboardInterrupt):
        transport.receive(0)
    assert sorted(freed) == [0, 1]
    assert transport.take() is None


def interrupt(*_):
    raise KeyboardInterrupt


def test_statuses_that_ended_are_forgotten_and_the_others_are_not(transport):
    statuses = [transport.open_status(request(n)) for n in range(1, 1001)]
    for status in statuses[1:400]:
        status.end(None)
    statuses[200].awaited = 1
    transport.open_status(request(1001))
    known = [transport.open_status(request(n)) is statuses[n - 1] for n in (1, 2, 201, 401)]
    assert known == [True, False, True, True]


def test_a_reply_that_comes_while_buffers_are_counted_makes_no_buffer_free(
    transport, client, monkeypatch
):
    transport.send(request())
    taken = client.kernel.staging_taken

    def taken_and_then_answered(lane):
        count = taken(lane)
        client.answer()  # captured and received, by another thread
        return count

    monkeypatch.setattr(client.kernel, "staging_taken", taken_and_then_answered)
    assert transport.free_buffers(0) == 1
    monkeypatch.undo()
    assert transport.free_buffers(0) == 1


def test_only_one_at_a_time_finds_a_buffer_free(transport):
    # Else two would send for one buffer, and the kernel would refuse the second.
    transport.send(request(1))
    found = []
    second = threading.Thread(target=lambda: found.append(transport.send_into_free(0, list)))

    def send():
        second.start()
        second.join(0.02)
        assert second.is_alive()
        transport.send(request(2, slot=2))

    assert transport.send_into_free(0, send)
    second.join(60)
    assert found == [False]


def test_an_answer_that_nobody_waits_for_any_more_gives_its_buffer_back(transport, client, freed):
    loan, command = transport.new_loan(0)
    client.send(command)
    del loan, command  # who asked was interrupted
    client.answer()
    gc.collect()
    assert (freed, transport.free_buffers(0), transport.answers_waiting) == ([0], 2, 0)
