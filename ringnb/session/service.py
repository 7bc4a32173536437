"""The background threads of a session: they poll, send, receive and commit.

Its threads:

* the *service thread* polls the manager, pushes commands while a lane has a free staging buffer, and
  takes replies off the rings;
* the *writer thread* completes snapshots, one at a time: a slow disk delays no command.

Neither knows the session that owns them, so that a session nobody holds can be collected.

What goes wrong in the background is never silent: a failed automatic snapshot is an event, the first
one of a kind a `CheckpointWarning` as well, and the manager retries it; when that has helped, one line
of the log says so. Anything unexpected is kept and raised by `SnapshotService.check`, with which every
call of the session begins.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from ringnb.errors import CheckpointError, CheckpointWarning, KernelStopped, SnapshotFailed
from ringnb.kernel.client import KernelClient
from ringnb.messages.events import EventLog
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse, StagedFields
from ringnb.session.change_tracking import SavedStates
from ringnb.session.failures import Outage
from ringnb.session.step_schedule import StepSchedule
from ringnb.session.transport import Answer, Outcome, SnapshotCarrier

__all__ = ["SnapshotService"]

_LOG = logging.getLogger("ringnb")
_TICK_S = 0.1
_STEPWISE_TICK_S = 0.01  # how late a snapshot by the step count may be asked for


@final
class SnapshotService(SnapshotCarrier):
    """A carrier with threads; without `start` it has none, and the caller turns the crank.

    Parameters
    ----------
    client : KernelClient
        The kernel.
    log : EventLog
        Where the lifecycle is recorded.
    states : SavedStates
        What is saved of every actor: one that has not changed since is not saved again by itself.

    Attributes
    ----------
    stepwise : StepSchedule
        Actors that are snapshotted by their step count.
    """

    def __init__(self, client: KernelClient, log: EventLog, states: SavedStates) -> None:
        super().__init__(client, log, states)
        self.stepwise = StepSchedule()
        self._backlog: deque[SnapshotRequest] = deque()
        self._to_write: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._writing = 0
        self._failure: BaseException | None = None
        self._outage = Outage()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def running(self) -> bool:
        """Whether background threads do the work."""
        return bool(self._threads)

    def start(self) -> None:
        """Start the service thread and the writer thread."""
        for name, body in (("service", self._serve), ("writer", self._write)):
            thread = threading.Thread(target=body, name=f"ringnb-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Stop polling, commit what was captured already, end the threads. Idempotent."""
        self._stopping.set()
        self._kernel.wake()
        for thread in self._threads:
            while thread.is_alive():  # in short waits, so that Ctrl-C is heard
                thread.join(0.2)

    @property
    def failure(self) -> BaseException | None:
        """What the next `check` would raise."""
        return self._failure

    def keep_failure(self, error: BaseException) -> None:
        """Let the next `check` raise this, unless it has something to raise already.

        Parameters
        ----------
        error : BaseException
            What was caught by somebody who cannot raise it to the user.
        """
        self._failure = self._failure or error

    def check(self) -> None:
        """Raise what a background thread died of or stumbled over, once.

        Raises
        ------
        BaseException
            Whatever it was.
        """
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def enqueue(self, request: SnapshotRequest, *, awaited: bool = False) -> Outcome:
        """Take a request for sending, unless it was taken before.

        Parameters
        ----------
        request : SnapshotRequest
            A request of the manager.
        awaited : bool, default False
            Count the caller among those who wait for it, before it can end.

        Returns
        -------
        Outcome
            The one outcome of this request.
        """
        with self._lock:
            outcome = self._outcomes.get(request.request_id)
            known = outcome is not None
            outcome = outcome or self._new_outcome(request)
            outcome.awaited += awaited
            if known:
                return outcome
            self._backlog.append(request)
        self._kernel.wake()
        return outcome

    def _serve(self) -> None:
        while not self._stopping.is_set() and self._kernel.alive:
            try:
                self._turn()
            except KernelStopped:
                break
            except BaseException as error:  # noqa: BLE001 - kept, and raised by the next call
                self.keep_failure(error)
                self._stopping.wait(_TICK_S)
        with self._keeping_failures():
            # Commands under way are answered within a slice; what was captured is committed.
            deadline = time.monotonic() + 2.0
            while self._kernel.alive and any(self._unanswered) and time.monotonic() < deadline:
                self._client.pump(0.01)
        while (answer := self.take()) is not None:
            self._pass_on(answer)
        # Whatever happened: else the writer, and `stop`, would wait for ever.
        self._to_write.put(None)

    @contextmanager
    def _keeping_failures(self) -> Iterator[None]:
        """Keep what nobody expected for the next `check`; of a stopped kernel every call tells."""
        try:
            yield
        except KernelStopped:
            pass
        except BaseException as error:  # noqa: BLE001 - e.g. SystemExit in an observer
            self.keep_failure(error)

    def _turn(self) -> None:
        for request in self.manager.poll_due_snapshots(unless=self._is_saved):
            self.enqueue(request)
        for slot in self.stepwise.due(lambda slot: self._kernel.counters(slot).step):
            wanted = self.manager.request_snapshot(slot)
            if wanted is not None:
                self.enqueue(wanted)
        self._send_backlog()
        tick_s = _STEPWISE_TICK_S if self.stepwise.active else _TICK_S
        wait_s = self.manager.seconds_until_next()
        wait_s = tick_s if wait_s is None else min(max(wait_s, 0.001), tick_s)
        if not self._inbox:
            self.pump(wait_s)
        while (answer := self.take()) is not None:
            self._pass_on(answer)

    def _is_saved(self, slot: int) -> bool:
        return self._states.holds(slot, self._kernel.counters(slot))

    def _send_backlog(self) -> None:
        """Send what fits, oldest first within a lane; a full lane holds up no other."""
        full = {lane for lane in range(self._kernel.lanes) if self.free_buffers(lane) <= 0}
        held: list[SnapshotRequest] = []
        while self._backlog and len(full) < self._kernel.lanes:
            request = self._backlog.popleft()
            lane = self._kernel.lane_of(request.actor_slot)
            outcome = self._outcomes.get(request.request_id)
            if outcome is not None and outcome.done.is_set():
                continue  # cancelled or expired before it was sent
            if lane in full:
                held.append(request)
                continue
            self.send(request)
            if self.free_buffers(lane) <= 0:
                full.add(lane)
        self._backlog.extendleft(reversed(held))

    def _pass_on(self, answer: Answer) -> None:
        with self._lock:
            self._writing += 1
        self._to_write.put(answer)

    def _write(self) -> None:
        while (answer := self._to_write.get()) is not None:
            with self._keeping_failures():
                self._commit(answer)
            with self._lock:
                self._writing -= 1

    def _commit(self, answer: Answer) -> None:
        response: SnapshotResponse | None = None
        try:
            response = self.respond(answer)
            name = self.complete(response)
            if name is not None and self._outage.lasts:
                self._report_commit(answer.request.actor_slot, name)
        except KernelStopped:
            raise
        except Exception as error:  # noqa: BLE001 - reported, whatever it is
            self._report(answer.request, error)
        finally:
            if response is not None and isinstance(response.data, StagedFields):
                response.data.release()

    def _report(self, request: SnapshotRequest, error: Exception) -> None:
        """Warn of a failed automatic snapshot, or keep an error that nobody expected."""
        outcome = self._outcomes.get(request.request_id)
        if outcome is not None and (outcome.raised or outcome.awaited):
            return  # raised where it is waited for
        if not isinstance(error, SnapshotFailed | CheckpointError | OSError):
            self.keep_failure(error)
            return
        words = (
            f"snapshot of {self._named(request.actor_slot)} failed and will be retried: "
            f"{type(error).__name__}: {error}"
        )
        try:
            words = self._outage.failed(request.actor_slot, error, words)
            warnings.warn(words, CheckpointWarning, stacklevel=2)
        except CheckpointWarning as raised:  # warnings are errors here: the next call raises it
            self.keep_failure(raised)

    def _report_commit(self, slot: int, name: str) -> None:
        """Say that what was warned of is over, if it is."""
        failures = self._outage.committed(slot, self.manager.registered.keys())
        if failures:
            _LOG.warning(
                "snapshots are saved again: %s is at %r; %d failed before, see session.events",
                self._named(slot),
                name,
                failures,
            )

    def _named(self, slot: int) -> str:
        actor = self.manager.registered.get(slot)  # none if it was unregistered meanwhile
        return f"slot {slot}" if actor is None else f"actor {actor.kernel_id!r} (slot {slot})"

    def depths(self) -> tuple[int, int, int]:
        """Return how many requests wait to be sent, are with the kernel, are being written."""
        return len(self._backlog), sum(self._unanswered), self._writing + len(self._inbox)
