"""Carries snapshot requests to the kernel and its answers back. It owns no thread.

`SnapshotTransport.send` pushes the SNAPSHOT command of a request; when the kernel has replied, `take`
returns its `RequestStatus`, and `respond` makes a response that views the staging buffer.
`ringnb.session.service` drives it in the background, `Session.send` and `Session.receive` by hand. It
knows a kernel client and the event log, and neither the manager nor the session.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, final

from ringnb.errors import SnapshotFailed, Status
from ringnb.kernel.base import SnapshotFacts
from ringnb.kernel.client import KernelClient
from ringnb.kernel.layout import STAGING_BUFFERS
from ringnb.messages.commands import Command, Reply
from ringnb.messages.events import Event, EventLog, Stage
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse, StagedFields
from ringnb.session.change_tracking import ChangeTracker, StateVersion

__all__ = ["RequestStatus", "SnapshotTransport"]

_MOST_STATUSES = 1000
_ENDED = {"cancelled": "was cancelled", "expired": "has expired"}


@final
@dataclass(slots=True, eq=False)
class RequestStatus:
    """How far one request has come, and what came of it."""

    request: SnapshotRequest
    stage: Literal["requested", "sent", "committed", "failed"] = "requested"
    modifications: int = 0  # of the actor, when the request was sent
    reply: Reply | None = None
    response: SnapshotResponse | None = (
        None  # made when the reply came in, with copies of a small state
    )
    received_ns: int = 0  # time.monotonic_ns() when the reply was taken off the ring
    captured_ns: int | None = None  # time.monotonic_ns() when the kernel began the copy
    version: StateVersion | None = None  # what was captured
    name: str | None = None  # the checkpoint, once committed
    error: BaseException | None = None  # why there is none
    done: threading.Event = field(default_factory=threading.Event)
    awaited: int = 0  # how many callers wait for it
    raised: bool = False  # a caller waited when it ended: it raises the error, no warning is needed

    def end(self, error: BaseException | None) -> None:
        """Note what came of the request, and wake the callers that wait; the first call counts."""
        if not self.done.is_set():
            self.error = error
            self.stage = "failed" if error is not None else "committed"
            self.raised = self.awaited > 0  # before they wake up, and wait no more
            self.done.set()


@final
class SnapshotTransport:
    """Moves requests to the kernel and answers back. Any thread.

    `on_buffer_free` is called with the lane each time a staging buffer was given back, by the thread
    that gave it back; it must not block.
    """

    def __init__(
        self,
        client: KernelClient,
        log: EventLog,
        changes: ChangeTracker,
        on_buffer_free: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._kernel = client.kernel
        self._log = log
        self._changes = changes
        self._on_buffer_free = on_buffer_free
        self._lock = threading.Lock()
        self._statuses: dict[int, RequestStatus] = {}
        self._unanswered = [0] * client.kernel.lanes
        self._inbox: deque[RequestStatus] = deque()
        self._order = [threading.Lock() for _ in range(client.kernel.lanes)]
        self.answers_to_lose = 0  # a fault switch: so many are thrown away as they come in
        log.subscribe(self._on_end, "cancelled", "expired")
        log.subscribe(self._on_commit, "committed")

    def _on_end(self, event: Event) -> None:
        """End the status of a request that the manager has dropped. On the thread that dropped it."""
        status = self._statuses.get(event.request_id or 0)
        if status is not None:
            status.end(SnapshotFailed(f"the request {_ENDED[event.stage]}: {event.detail}"))

    def _on_commit(self, event: Event) -> None:
        """Note what is saved, whoever has completed the request. On the thread that committed it."""
        status = self._statuses.get(event.request_id or 0)
        if status is not None and status.version is not None:
            self._changes.mark_saved(event.actor_slot, status.version)

    def open_status(
        self, request: SnapshotRequest, *, awaited: bool = False
    ) -> tuple[RequestStatus, bool]:
        """Return the one status of a request, and whether it is new; count a caller who waits for it."""
        with self._lock:
            status = self._statuses.get(request.request_id)
            new = status is None
            if status is None:
                status = self._statuses[request.request_id] = RequestStatus(request)
                self._forget_old()
            # Counted before the request can end: a failure is raised to the caller, not warned of.
            status.awaited += awaited
            return status, new

    def stop_awaiting(self, status: RequestStatus) -> None:
        """Note that a caller that `open_status` has counted waits no more."""
        with self._lock:  # threads that wait for one request wake up at the same moment
            status.awaited -= 1

    def _forget_old(self) -> None:
        if len(self._statuses) > _MOST_STATUSES:
            for request_id, old in list(self._statuses.items())[: _MOST_STATUSES // 2]:
                if old.done.is_set() and not old.awaited:
                    del self._statuses[request_id]

    def send(self, request: SnapshotRequest) -> RequestStatus:
        """Push the SNAPSHOT command of a request, whether a staging buffer is free or not; once."""
        slot = request.actor_slot
        lane = self._kernel.lane_of(slot)
        status, _ = self.open_status(request)
        with self._order[lane]:
            with self._lock:
                if status.stage != "requested":
                    return status  # sent before, or ended: cancelled, expired
                status.stage = "sent"
                status.modifications = self._changes.modifications(slot)
                self._unanswered[lane] += 1
            try:
                sent_ns = time.monotonic_ns()
                self._client.submit(slot, Command.SNAPSHOT, sink=partial(self._receive, status))
            except BaseException:
                with self._lock:
                    self._unanswered[lane] -= 1
                    # It may have expired in the wait for room on the ring: then it is not sent again.
                    if not status.done.is_set():
                        status.stage = "requested"
                raise
            self._record("sent", request, sent_ns)
            return status

    def _receive(self, status: RequestStatus, reply: Reply) -> None:
        """Note a reply. On the thread that took it off the ring."""
        lane = self._kernel.lane_of(status.request.actor_slot)
        with self._lock:
            if status.reply is not None:
                return  # the pump was interrupted, and applies the reply again
            # A KeyboardInterrupt can only come at a call. There is none between the next line, after
            # which a reply that is applied again is ignored, and the inbox.
            status.received_ns = time.monotonic_ns()
            status.reply = reply
            self._unanswered[lane] -= 1
            lost = self.answers_to_lose > 0 and reply.status == Status.OK
            if lost:
                self.answers_to_lose -= 1
            else:
                self._inbox.append(status)
        if lost:
            self._free_buffer(lane, reply.value)
            self._record("lost", status.request, status.received_ns, reply.step)

    @contextmanager
    def held_back(self, slot: int) -> Iterator[set[int]]:
        """Keep SNAPSHOT commands of an actor's lane back; yield the ids of the requests sent before.

        A lane takes its commands in order. What was sent before the block is captured before any
        command of the block; what is sent after the block is captured after it.
        """
        with self._order[self._kernel.lane_of(slot)]:
            with self._lock:
                sent = {i for i, s in self._statuses.items() if s.stage != "requested"}
            yield sent

    def free_buffers(self, lane: int) -> int:
        """Return how many more snapshots a lane can take before one comes back."""
        # The unanswered are read first. A capture that another thread receives meanwhile is then counted
        # twice; the other way round it would count as neither, and one command too many would be sent.
        unanswered = self._unanswered[lane]
        return STAGING_BUFFERS - unanswered - self._kernel.staging_taken(lane)

    def take(self, wanted: RequestStatus | None = None) -> RequestStatus | None:
        """Take an answered request out of the inbox, the oldest or a certain one; None without one."""
        with self._lock:
            if wanted is None:
                return self._inbox.popleft() if self._inbox else None
            if wanted not in self._inbox:
                return None
            self._inbox.remove(wanted)
            return wanted

    def pump(self, timeout_s: float) -> None:
        """Take replies off the rings, waiting until an answer is in the inbox or the time is up."""
        self._client.pump(timeout_s, self._has_answers)

    def _has_answers(self) -> bool:
        return bool(self._inbox)

    @property
    def answers_waiting(self) -> int:
        """Answers that were received and not taken."""
        return len(self._inbox)

    @property
    def unanswered(self) -> int:
        """Requests that were sent and not answered."""
        return sum(self._unanswered)

    def respond(self, status: RequestStatus) -> SnapshotResponse:
        """Return the response to an answered request; its data is on loan, see `StagedFields`."""
        request, reply = status.request, status.reply
        assert reply is not None  # `take` returns no other
        slot = request.actor_slot
        if reply.status != Status.OK:
            self._record("received", request, status.received_ns, reply.step)
            sentence = Status(reply.status).sentence
            return SnapshotResponse(request.request_id, slot, False, None, reply.step, sentence)
        lane, index = self._kernel.lane_of(slot), reply.value
        data, facts = self._borrow(lane, index, slot)
        status.captured_ns = facts.begin_ns
        status.version = StateVersion(facts.step, facts.epoch, status.modifications)
        self._record("captured", request, facts.end_ns, facts.step)
        self._record("received", request, status.received_ns, facts.step)
        if self._kernel.staged_checksum(lane, index, slot) != facts.checksum:
            data.release()
            error = (
                "the staging buffer no longer holds what the kernel captured (checksum mismatch): "
                "something wrote to it; the snapshot was dropped"
            )
            return SnapshotResponse(request.request_id, slot, False, None, facts.step, error)
        return SnapshotResponse(request.request_id, slot, True, data, facts.step)

    def _borrow(self, lane: int, index: int, slot: int) -> tuple[StagedFields, SnapshotFacts]:
        state, facts = self._kernel.staged(lane, index, slot)
        actor = self._kernel.actors[slot]
        n = len(actor.fields)
        fields = {name: state[i // n, i % n] for i, name in enumerate(actor.stored_fields)}
        params = self._kernel.staged_params(lane, index, slot)
        return StagedFields(fields, params, partial(self._free_buffer, lane, index)), facts

    def _free_buffer(self, lane: int, index: int) -> None:
        self._kernel.release_staging(lane, index)
        self._on_buffer_free(lane)

    def _record(
        self, stage: Stage, request: SnapshotRequest, t_ns: int, step: int | None = None
    ) -> None:
        self._log.append(Event(stage, request.actor_slot, request.request_id, step, t_ns=t_ns))
