"""Carries snapshot requests to the kernel and its answers back. It owns no thread.

`SnapshotTransport.send` pushes the SNAPSHOT command of a request; when the kernel has replied, `take`
returns its `Capture`, which owns the staging buffer, and `respond` makes a response that views it.
`ringnb.session.service` drives it in the background, `Session.send` and `Session.receive` by hand. It
knows a kernel client and the event log, and neither the manager nor the session.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, final

from ringnb.errors import SnapshotFailed, SnapshotTimeout, Status
from ringnb.kernel.base import SnapshotFacts
from ringnb.kernel.client import KernelClient, PendingCommand
from ringnb.kernel.layout import STAGING_BUFFERS
from ringnb.messages.commands import Command, Reply
from ringnb.messages.events import Event, EventLog, Stage
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse, StagedFields
from ringnb.session.change_tracking import ChangeTracker, StateVersion
from ringnb.session.staging import StagingLoan, fields_of
from ringnb.session.statistics import CapturedNumbers

__all__ = ["Capture", "RequestStatus", "SnapshotTransport"]

_MOST_STATUSES = 1000
_OK = int(Status.OK)
_ENDED: tuple[Stage, ...] = ("cancelled", "expired", "committed", "failed")


@final
@dataclass(slots=True, eq=False)
class RequestStatus:
    """How far one request has come, and what came of it."""

    request: SnapshotRequest
    stage: Literal["requested", "sent", "committed", "failed"] = "requested"
    command: PendingCommand | None = None  # what was sent last, if anything
    queued: bool = False  # whether it was put into the service's backlog
    at: int = 0  # the step at which the actor is held, until it is captured there; 0: any
    settled: bool = False  # whether the manager has seen its outcome
    in_cut: bool = False  # captured, as part of a cut
    captured_ns: int | None = None  # time.monotonic_ns() when the kernel began the copy
    version: StateVersion | None = None  # what was captured
    name: str | None = None  # the checkpoint, once committed
    error: BaseException | None = None  # why there is none
    done: threading.Event = field(default_factory=threading.Event)
    awaited: int = 0  # how many callers wait for it
    raised: bool = False  # a caller waited when it ended: it raises the error, no warning is needed

    @property
    def was_answered(self) -> bool:
        """Whether the kernel has answered what was sent last, or has captured the actor for a cut."""
        return self.in_cut or (self.command is not None and self.command.reply is not None)

    def end(self, error: BaseException | None) -> None:
        """Note what came of the request, and wake the callers that wait; the first call counts."""
        if not self.done.is_set():
            self.error = error
            self.stage = "failed" if error is not None else "committed"
            self.raised = self.awaited > 0  # before they wake up, and wait no more
            self.done.set()


@final
class Capture(StagingLoan):
    """The answer to a request. If it is lost, the request can be sent again."""

    __slots__ = ("modifications", "received_ns", "response", "status")

    def __init__(
        self, status: RequestStatus, lane: int, on_free: Callable[[int, int], None]
    ) -> None:
        super().__init__(lane, on_free)
        self.status = status
        self.received_ns = 0  # time.monotonic_ns() when the reply was taken off the ring
        self.modifications = 0  # of the actor, at the capture
        self.response: SnapshotResponse | None = None  # if it was made already, with copies

    def abandon(self) -> None:
        """Give the buffer back though nothing came of it: the request can be sent again."""
        if self.status.stage == "sent":
            self.status.command, self.status.stage = None, "requested"
        self.free()


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
        self._lock = threading.RLock()
        self._statuses: dict[int, RequestStatus] = {}
        self._most_statuses = _MOST_STATUSES
        self._inbox: deque[Capture] = deque()
        self._sending = [threading.RLock() for _ in range(client.kernel.lanes)]
        # The simulated time of each actor, as the kernel has confirmed it, in the order of its replies.
        self.clocks = [actor.clock for actor in client.kernel.actors]
        # What reductions were of the state captured last, by slot. They are replaced, never changed.
        self.reduced: dict[int, CapturedNumbers] = {}
        self.answers_to_lose = 0  # a fault switch: so many are thrown away as they come in
        log.subscribe(self._on_commit, "committed")  # before those who wait for it go on
        log.subscribe(self._on_end, *_ENDED)

    def _on_end(self, event: Event) -> None:
        """Note the end of a request, on the thread that ended it; the status of a dropped one ends."""
        status = self._statuses.get(event.request_id or 0)
        if status is None:
            return
        status.settled = True
        if event.stage == "expired":
            status.end(SnapshotTimeout(f"the request has expired: {event.detail}"))
        elif event.stage == "cancelled":
            status.end(SnapshotFailed(f"the request was cancelled: {event.detail}"))

    def _on_commit(self, event: Event) -> None:
        """Note what is saved, by whatever call. On the thread that committed it."""
        status = self._statuses.get(event.request_id or 0)
        if status is not None and status.version is not None:
            self._changes.mark_saved(event.actor_slot, status.version)

    def open_status(self, request: SnapshotRequest, *, awaited: bool = False) -> RequestStatus:
        """Return the one status of a request, counting a caller who waits for it."""
        with self._lock:
            status = self._statuses.get(request.request_id)
            if status is None:
                status = self._statuses[request.request_id] = RequestStatus(request)
                self._forget_old()
            # Counted before the request can end: a failure is raised to the caller, not warned of.
            status.awaited += awaited
            return status

    def stop_awaiting(self, status: RequestStatus) -> None:
        """Note that a caller that `open_status` has counted waits no more."""
        with self._lock:  # threads that wait for one request wake up at the same moment
            status.awaited -= 1

    def _forget_old(self) -> None:
        if len(self._statuses) > self._most_statuses:
            for request_id, old in list(self._statuses.items())[: -_MOST_STATUSES // 2]:
                if old.done.is_set() and not old.awaited:
                    del self._statuses[request_id]
            # Of very many requests that have not ended, not all are looked at for each new one.
            self._most_statuses = max(_MOST_STATUSES, 2 * len(self._statuses))

    def send(self, request: SnapshotRequest) -> RequestStatus:
        """Push the SNAPSHOT command of a request, whether a staging buffer is free or not; once."""
        lane = self._kernel.lane_of(request.actor_slot)
        status = self.open_status(request)
        with self._sending[lane]:
            # One that is not with the kernel, whatever its stage: its sender was interrupted.
            sent = status.command is not None and self._was_sent(status.command)
            if sent or status.settled or status.done.is_set():
                return status
            receive = partial(self._receive, Capture(status, lane, self._free_buffer))
            command = PendingCommand(request.actor_slot, Command.SNAPSHOT, receive)
            try:
                status.command, status.stage = command, "sent"
                sent_ns = time.monotonic_ns()
                self._client.send(command, (0, status.at) if status.at else ())
            except BaseException:
                # It may have expired in the wait for room on the ring: then it is not sent again.
                if not self._was_sent(command) and not status.done.is_set():
                    status.command, status.stage = None, "requested"
                raise
            self._record("sent", request, sent_ns)
            return status

    def send_into_free(self, lane: int, send: Callable[[], object], *, spare: int = 0) -> bool:
        """Send a SNAPSHOT command if more than `spare` staging buffers are free; return if it was."""
        with self._sending[lane]:  # so that nobody else takes that buffer in between
            if self.free_buffers(lane) <= spare:
                return False
            send()
            return True

    def new_loan(self, slot: int) -> tuple[StagingLoan, PendingCommand]:
        """Return a SNAPSHOT command that is not a request's, and what its answer will be kept in."""
        loan = StagingLoan(self._kernel.lane_of(slot), self._free_buffer)
        return loan, PendingCommand(slot, Command.SNAPSHOT, partial(self._lend, loan))

    def _lend(self, loan: StagingLoan, reply: Reply) -> None:
        """Note a reply. On the thread that took it off the ring."""
        loan.take(reply, self.clocks[reply.actor_slot])

    def _was_sent(self, command: PendingCommand) -> bool:
        return command.reply is not None or self._client.is_under_way(command)

    def _receive(self, capture: Capture, reply: Reply) -> None:
        """Note a reply. On the thread that took it off the ring."""
        if capture.reply is not None:
            return  # the pump was interrupted, and applies the reply again
        status, ok = capture.status, reply.status == _OK
        received_ns = time.monotonic_ns()
        modifications = self._changes.modifications(reply.actor_slot)
        clock = self.clocks[reply.actor_slot]
        index = reply.value if ok else None
        # A KeyboardInterrupt can only come after a call. There is none between the next line, after
        # which a reply that is applied again is ignored, and the inbox.
        capture.reply, capture.received_ns, capture.modifications = (
            reply,
            received_ns,
            modifications,
        )
        capture.clock, capture.index = clock, index
        if not ok or self.answers_to_lose == 0:
            self._inbox.append(capture)
            return
        self.answers_to_lose -= 1
        capture.free()
        self._record("lost", status.request, received_ns, reply.step)

    def captured(self) -> set[int]:
        """Return the ids of the requests whose answers have come off the ring, of those remembered."""
        with self._lock:
            statuses = list(self._statuses.items())
        return {i for i, s in statuses if s.command is not None and s.command.reply is not None}

    def free_buffers(self, lane: int) -> int:
        """Return how many more snapshots a lane can take before one comes back."""
        # The unanswered are read first. A capture that another thread receives meanwhile is then counted
        # twice; the other way round it would count as neither, and one command too many would be sent.
        unanswered = self._client.outstanding_in(lane, Command.SNAPSHOT)
        return STAGING_BUFFERS - unanswered - self._kernel.staging_taken(lane)

    def take(self, wanted: RequestStatus | None = None) -> Capture | None:
        """Take an answer out of the inbox, the oldest or that to a certain request; None without one."""
        with self._lock:
            for capture in list(self._inbox):  # to which `_receive` appends without the lock
                if wanted is None or capture.status is wanted:
                    self._inbox.remove(capture)
                    return capture
            return None

    def receive(self, timeout_s: float) -> list[SnapshotResponse]:
        """Take all answers, after waiting for the first one, and respond to them."""
        if timeout_s > 0:
            self._client.wait_until(self._has_answers, timeout_s)
        taken: list[Capture] = []
        try:
            while (capture := self.take()) is not None:
                taken.append(capture)
            # A response that is dropped has its request sent again, if that is still pending then.
            return [self.respond(capture, capture.abandon) for capture in taken]
        except BaseException:
            # The traceback may keep them for long, and a lane has but two buffers.
            for capture in taken:
                capture.abandon()
            raise

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
        lanes = range(self._kernel.lanes)
        return sum(self._client.outstanding_in(lane, Command.SNAPSHOT) for lane in lanes)

    def respond(
        self, capture: Capture, give_back: Callable[[], None] | None = None
    ) -> SnapshotResponse:
        """Return the response to an answer; its data is a loan, returned with `give_back`."""
        status, reply, index = capture.status, capture.reply, capture.index
        assert reply is not None  # `take` returns no other
        request, slot, lane = status.request, reply.actor_slot, capture.lane
        if index is None:
            self._record("received", request, capture.received_ns, reply.step)
            sentence = Status(reply.status).sentence
            return SnapshotResponse(request.request_id, slot, False, None, reply.step, sentence)
        state, facts = self._kernel.staged(lane, index, slot)
        status.captured_ns = facts.begin_ns
        status.version = StateVersion(facts.step, facts.epoch, capture.modifications)
        self._record("captured", request, facts.end_ns, facts.step)
        self._record("received", request, capture.received_ns, facts.step)
        if self._kernel.staged_checksum(lane, index, slot) != facts.checksum:
            capture.free()
            error = (
                "the staging buffer no longer holds what the kernel captured (checksum mismatch): "
                "something wrote to it; the snapshot was dropped"
            )
            return SnapshotResponse(request.request_id, slot, False, None, facts.step, error)
        actor = self._kernel.actors[slot]
        fields = fields_of(actor, state)
        params = self._kernel.staged_params(lane, index, slot)
        reduced = self._kernel.staged_reductions(lane, index, slot)
        self.note_reduced(slot, facts, reduced)
        data = StagedFields(
            fields, params, give_back or capture.free, capture.clock, reduced=reduced
        )
        return SnapshotResponse(request.request_id, slot, True, data, facts.step)

    def note_reduced(self, slot: int, facts: SnapshotFacts, reduced: Mapping[str, float]) -> None:
        """Note what an actor's reductions were, unless a later capture's are known. Any thread."""
        before = self.reduced.get(slot)
        if reduced and (before is None or before.captured_ns <= facts.end_ns):
            self.reduced[slot] = CapturedNumbers(facts.step, reduced, facts.end_ns)

    def _free_buffer(self, lane: int, index: int) -> None:
        self._kernel.release_staging(lane, index)
        self._on_buffer_free(lane)

    def _record(
        self, stage: Stage, request: SnapshotRequest, t_ns: int, step: int | None = None
    ) -> None:
        self._log.append(Event(stage, request.actor_slot, request.request_id, step, t_ns=t_ns))
