"""Carries snapshots between manager and kernel: one request out, one answer back, one outcome.

`SnapshotCarrier` pushes SNAPSHOT commands for requests, turns replies into responses that view the
staging buffers, and has them committed. It owns no thread: `ringnb.session.service.SnapshotService`
drives it in the background, `Session.send` and `Session.receive` by hand.

It knows a kernel client and a manager, and nothing of the session that owns it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, final

from ringnb.checkpoint.manager import CheckpointManager
from ringnb.errors import SnapshotFailed, Status
from ringnb.kernel.base import SnapshotFacts
from ringnb.kernel.client import KernelClient
from ringnb.kernel.layout import STAGING_BUFFERS
from ringnb.messages.commands import Command, Reply
from ringnb.messages.events import Event, EventLog, Stage
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse, StagedFields
from ringnb.session.change_tracking import SavedStates, State

__all__ = ["Answer", "Outcome", "SnapshotCarrier"]

_KEPT_OUTCOMES = 1000
_ENDED = {"cancelled": "was cancelled", "expired": "has expired"}


@final
class Outcome:
    """What became of one request.

    Attributes
    ----------
    request : SnapshotRequest
        The request.
    captured_ns : int or None
        When the kernel began the copy, ``time.monotonic_ns()``.
    name : str or None
        The checkpoint, once committed.
    error : BaseException or None
        Why there is none.
    stage : str
        The last stage reached.
    touches : int
        How often the actor had been touched when it was sent.
    state : State or None
        Which state was captured.
    awaited : int
        How many callers wait for it.
    raised : bool
        Whether somebody waited for it when it ended: a failure is raised there then, not warned.
    """

    __slots__ = (
        *("awaited", "captured_ns", "done", "error", "name", "raised", "request", "stage", "state"),
        "touches",
    )

    def __init__(self, request: SnapshotRequest) -> None:
        self.request = request
        self.captured_ns: int | None = None
        self.name: str | None = None
        self.error: BaseException | None = None
        self.stage = "requested"
        self.touches = 0
        self.state: State | None = None
        self.awaited = 0
        self.raised = False
        self.done = threading.Event()


class Answer(NamedTuple):
    """A kernel's reply to a snapshot request.

    Attributes
    ----------
    request : SnapshotRequest
        What was asked.
    reply : Reply
        The K2H slot.
    received_ns : int
        When it was taken off the ring, ``time.monotonic_ns()``.
    """

    request: SnapshotRequest
    reply: Reply
    received_ns: int


class SnapshotCarrier:
    """Moves requests to the kernel and answers to the manager.

    Parameters
    ----------
    client : KernelClient
        The kernel.
    log : EventLog
        Where the lifecycle is recorded.
    states : SavedStates
        What is saved of every actor.

    Attributes
    ----------
    manager : CheckpointManager
        The manager; its observer must be `observe`. Set by the owner before anything is carried.

    Notes
    -----
    Every method may be called from any thread.
    """

    def __init__(self, client: KernelClient, log: EventLog, states: SavedStates) -> None:
        self._client = client
        self._states = states
        self._kernel = client.kernel
        self._log = log
        self.manager: CheckpointManager
        self._lock = threading.Lock()
        self._outcomes: dict[int, Outcome] = {}
        self._unanswered = [0] * client.kernel.lanes
        self._inbox: deque[Answer] = deque()
        self._order = [threading.Lock() for _ in range(client.kernel.lanes)]
        self.answers_to_lose = 0  # a fault switch: so many are thrown away as they come in

    def observe(self, event: Event) -> None:
        """Record what the manager reports, and settle the outcome concerned. Any thread."""
        self._log.append(event)
        if event.stage in ("cancelled", "expired") and event.request_id is not None:
            outcome = self._outcomes.get(event.request_id)
            if outcome is not None and not outcome.done.is_set():
                self._settle(
                    outcome,
                    SnapshotFailed(f"the request {_ENDED[event.stage]}: {event.detail}"),
                )

    def _new_outcome(self, request: SnapshotRequest) -> Outcome:
        outcome = self._outcomes[request.request_id] = Outcome(request)
        if len(self._outcomes) > _KEPT_OUTCOMES:
            for request_id, old in list(self._outcomes.items())[: _KEPT_OUTCOMES // 2]:
                if old.done.is_set() and not old.awaited:
                    del self._outcomes[request_id]
        return outcome

    def send(self, request: SnapshotRequest) -> Outcome:
        """Push the SNAPSHOT command for a request now, whether a staging buffer is free or not.

        Parameters
        ----------
        request : SnapshotRequest
            A request of the manager.

        Returns
        -------
        Outcome
            Its outcome.
        """
        lane = self._kernel.lane_of(request.actor_slot)
        with self._order[lane]:
            return self._send(request, lane)

    def _send(self, request: SnapshotRequest, lane: int) -> Outcome:
        with self._lock:
            outcome = self._outcomes.get(request.request_id) or self._new_outcome(request)
            if outcome.stage != "requested":
                return outcome  # sent before
            outcome.stage = "sent"
            outcome.touches = self._states.touches(request.actor_slot)
            self._unanswered[lane] += 1

        seen: list[Reply] = []

        def answered(reply: Reply) -> None:
            """Note the answer; on the pump's thread, again after an interrupt."""
            with self._lock:
                if seen:
                    return
                seen.append(reply)
                self._unanswered[lane] -= 1
                lost = self.answers_to_lose > 0 and reply.ok
                if lost:
                    self.answers_to_lose -= 1
                else:
                    self._inbox.append(Answer(request, reply, time.monotonic_ns()))
            if lost:
                self._kernel.release_staging(lane, reply.value)
                self._record("lost", request, t_ns=time.monotonic_ns(), step=reply.step)

        try:
            sent_ns = time.monotonic_ns()
            self._client.submit(request.actor_slot, Command.SNAPSHOT, sink=answered)
        except BaseException:
            with self._lock:
                self._unanswered[lane] -= 1
                outcome.stage = "requested"
            raise
        self._record("sent", request, t_ns=sent_ns)
        return outcome

    @contextmanager
    def restoring(self, slot: int, name: str) -> Iterator[None]:
        """Keep SNAPSHOT commands of an actor's lane back while a RESTORE is on its way, then note it.

        A lane takes its commands in order. So what was sent before was captured before, and continues
        the old line; whatever else is pending will be captured from the state restored.

        Parameters
        ----------
        slot : int
            The actor.
        name : str
            The checkpoint.
        """
        with self._order[self._kernel.lane_of(slot)]:
            with self._lock:
                sent = {i for i, o in self._outcomes.items() if o.stage != "requested"}
            yield
            self.manager.note_restored(slot, name, earlier=sent)

    def free_buffers(self, lane: int) -> int:
        """Return how many more snapshots a lane can take before one comes back."""
        taken = self._kernel.statistics().staging_taken[lane]
        return STAGING_BUFFERS - taken - self._unanswered[lane]

    def take(self, request_id: int | None = None) -> Answer | None:
        """Take an answer out of the inbox: the oldest, or the one to a request."""
        with self._lock:
            for i, answer in enumerate(self._inbox):
                if request_id is None or answer.request.request_id == request_id:
                    del self._inbox[i]
                    return answer
        return None

    def pump(self, timeout_s: float) -> None:
        """Take replies off the rings, waiting until an answer is in the inbox.

        Parameters
        ----------
        timeout_s : float
            Seconds to wait at most.
        """
        self._client.pump(timeout_s, lambda: bool(self._inbox))

    @property
    def answers_waiting(self) -> int:
        """Answers that were received and not taken."""
        return len(self._inbox)

    def respond(self, answer: Answer) -> SnapshotResponse:
        """Turn a reply into a response that views the staging buffer.

        Parameters
        ----------
        answer : Answer
            From `take`.

        Returns
        -------
        SnapshotResponse
            Its data is on loan until released, see `StagedFields`.
        """
        request, reply, received_ns = answer
        slot = request.actor_slot
        outcome = self._outcomes.get(request.request_id)
        if not reply.ok:
            self._record("received", request, step=reply.step, t_ns=received_ns)
            sentence = Status(reply.status).sentence
            return SnapshotResponse(request.request_id, slot, False, None, reply.step, sentence)
        lane, index = self._kernel.lane_of(slot), reply.value
        data, facts = self._borrow(lane, index, slot)
        if outcome is not None:
            outcome.captured_ns = facts.begin_ns
            outcome.state = State(facts.step, facts.epoch, outcome.touches)
        self._record("captured", request, step=facts.step, t_ns=facts.end_ns)
        self._record("received", request, step=facts.step, t_ns=received_ns)
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
        params = dict(zip(actor.params, values, strict=False))
        kernel = self._kernel

        def give_back() -> None:
            kernel.release_staging(lane, index)
            kernel.wake()

        return StagedFields(fields, params, give_back), facts

    def complete(self, response: SnapshotResponse) -> str | None:
        """Hand a response to the manager and settle its outcome.

        Parameters
        ----------
        response : SnapshotResponse
            From `respond`.

        Returns
        -------
        str or None
            The checkpoint's name.

        Raises
        ------
        SnapshotFailed, CheckpointError, OSError
            As ``CheckpointManager.complete_snapshot``.
        """
        outcome = self._outcomes.get(response.request_id)
        try:
            name = self.manager.complete_snapshot(response)
        except BaseException as error:
            if outcome is not None:
                self._settle(outcome, error)
            raise
        if outcome is not None:
            if name is None:
                self._settle(outcome, SnapshotFailed("the request was cancelled or has expired"))
            else:
                outcome.name = name
                if outcome.state is not None:
                    self._states.save(response.actor_slot, outcome.state)
                self._settle(outcome, None)
        return name

    def _settle(self, outcome: Outcome, error: BaseException | None) -> None:
        if not outcome.done.is_set():
            outcome.error = error
            outcome.stage = "failed" if error is not None else "committed"
            outcome.raised = outcome.awaited > 0  # before they wake, and wait no more
            outcome.done.set()

    def _record(
        self, stage: Stage, request: SnapshotRequest, *, t_ns: int, step: int | None = None
    ) -> None:
        self._log.append(Event(stage, request.actor_slot, request.request_id, step=step, t_ns=t_ns))
