"""Carries snapshot requests to the kernel and its answers back. It owns no thread.

`SnapshotTransport.send` pushes the SNAPSHOT command, the reply comes to `take` as a `KernelAnswer`, and
`respond` turns it into a response that views the staging buffer. `ringnb.session.service` drives it in
the background, `Session.send` and `Session.receive` by hand. It knows a kernel client and the event log,
and neither the manager nor the session.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, final

from ringnb.errors import SnapshotFailed, Status
from ringnb.kernel.base import SnapshotFacts
from ringnb.kernel.client import KernelClient
from ringnb.kernel.layout import STAGING_BUFFERS
from ringnb.messages.commands import Command, Reply
from ringnb.messages.events import Event, EventLog, Stage
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse, StagedFields
from ringnb.session.change_tracking import ChangeTracker, StateVersion

__all__ = ["KernelAnswer", "RequestStatus", "SnapshotTransport"]

_MOST_STATUSES = 1000
_ENDED = {"cancelled": "was cancelled", "expired": "has expired"}


@final
class RequestStatus:
    """How far one request has come, and what came of it."""

    __slots__ = (
        "answered",
        "awaited",
        "captured_ns",
        "done",
        "error",
        "modifications",
        "name",
        "raised",
        "request",
        "stage",
        "version",
    )

    def __init__(self, request: SnapshotRequest) -> None:
        self.request = request
        self.stage = "requested"  # then "sent", and at the end "committed" or "failed"
        self.answered = False
        self.modifications = 0  # of the actor, when the request was sent
        self.version: StateVersion | None = None  # what was captured
        self.captured_ns: int | None = None  # time.monotonic_ns() when the kernel began the copy
        self.name: str | None = None  # the checkpoint, once committed
        self.error: BaseException | None = None  # why there is none
        self.done = threading.Event()
        self.awaited = 0  # how many callers wait for it
        self.raised = (
            False  # somebody waited when it ended: a failure is raised there, not warned of
        )

    def end(self, error: BaseException | None) -> None:
        """Note what came of the request, and wake who waits for it; the first call counts."""
        if not self.done.is_set():
            self.error = error
            self.stage = "failed" if error is not None else "committed"
            self.raised = self.awaited > 0  # before they wake up, and wait no more
            self.done.set()


class KernelAnswer(NamedTuple):
    """A kernel's reply to a snapshot request."""

    request: SnapshotRequest
    reply: Reply
    received_ns: int  # time.monotonic_ns() when it was taken off the ring


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
        self._inbox: deque[KernelAnswer] = deque()
        self._order = [threading.Lock() for _ in range(client.kernel.lanes)]
        self.answers_to_lose = 0  # a fault switch: so many are thrown away as they come in
        log.subscribe(self._on_end, "cancelled", "expired")

    def _on_end(self, event: Event) -> None:
        """End the status of a request that the manager has dropped. On the thread that dropped it."""
        status = self._statuses.get(event.request_id or 0)
        if status is not None:
            status.end(SnapshotFailed(f"the request {_ENDED[event.stage]}: {event.detail}"))

    def status(self, request_id: int) -> RequestStatus | None:
        """Return the status of a request; None if it is not known, or ended long ago."""
        return self._statuses.get(request_id)

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
                    status.stage = "requested"
                raise
            self._record("sent", request, sent_ns)
            return status

    def _receive(self, status: RequestStatus, reply: Reply) -> None:
        """Note a reply. On the thread that took it off the ring."""
        request, received_ns = status.request, time.monotonic_ns()
        lane = self._kernel.lane_of(request.actor_slot)
        with self._lock:
            if status.answered:
                return  # the pump was interrupted, and applies the reply again
            status.answered = True
            self._unanswered[lane] -= 1
            lost = self.answers_to_lose > 0 and reply.ok
            if lost:
                self.answers_to_lose -= 1
            else:
                self._inbox.append(KernelAnswer(request, reply, received_ns))
        if lost:
            self._free_buffer(lane, reply.value)
            self._record("lost", request, received_ns, reply.step)

    @contextmanager
    def held_back(self, slot: int) -> Iterator[set[int]]:
        """Keep SNAPSHOT commands of an actor's lane back; yield the ids of the requests sent before.

        A lane takes its commands in order: what was sent before the block was captured before any
        command of the block, and what is sent after the block is captured after it.
        """
        with self._order[self._kernel.lane_of(slot)]:
            with self._lock:
                sent = {i for i, s in self._statuses.items() if s.stage != "requested"}
            yield sent

    def free_buffers(self, lane: int) -> int:
        """Return how many more snapshots a lane can take before one comes back."""
        return STAGING_BUFFERS - self._kernel.staging_taken(lane) - self._unanswered[lane]

    def take(self, request_id: int | None = None) -> KernelAnswer | None:
        """Take an answer out of the inbox, the oldest or the one to a request; None without one."""
        with self._lock:
            for i, answer in enumerate(self._inbox):
                if request_id is None or answer.request.request_id == request_id:
                    del self._inbox[i]
                    return answer
        return None

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

    def respond(self, answer: KernelAnswer) -> SnapshotResponse:
        """Turn an answer into a response; its data is on loan until released, see `StagedFields`."""
        request, reply, received_ns = answer
        slot = request.actor_slot
        if not reply.ok:
            self._record("received", request, received_ns, reply.step)
            sentence = Status(reply.status).sentence
            return SnapshotResponse(request.request_id, slot, False, None, reply.step, sentence)
        lane, index = self._kernel.lane_of(slot), reply.value
        data, facts = self._borrow(lane, index, slot)
        status = self._statuses.get(request.request_id)
        if status is not None:
            status.captured_ns = facts.begin_ns
            status.version = StateVersion(facts.step, facts.epoch, status.modifications)
        self._record("captured", request, facts.end_ns, facts.step)
        self._record("received", request, received_ns, facts.step)
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
        values = self._kernel.staged_params(lane, index, slot).tolist()
        params = dict(zip(actor.params, values, strict=False))  # the kernel has room for 16
        return StagedFields(fields, params, partial(self._free_buffer, lane, index)), facts

    def _free_buffer(self, lane: int, index: int) -> None:
        self._kernel.release_staging(lane, index)
        self._on_buffer_free(lane)

    def _record(
        self, stage: Stage, request: SnapshotRequest, t_ns: int, step: int | None = None
    ) -> None:
        self._log.append(Event(stage, request.actor_slot, request.request_id, step, t_ns=t_ns))
