"""The background threads of a session: they poll, send, receive and commit.

* The *service thread* polls the manager, pushes commands while a lane has a free staging buffer, and
  takes replies off the rings; `SnapshotService.turn` is one turn of it.
* The *cutter thread*, if actors are linked, takes what is requested of one of them as a cut of all that
  are linked with it.
* The *writer thread* completes snapshots: a slow disk delays no command. Small ones that are there
  already it completes together, if that makes the storage faster; it never waits for more.

None knows the session that owns them, so that an abandoned session can be collected.

Nothing that goes wrong in the background is silent. An automatic snapshot that fails is an event and a
`CheckpointWarning`, with the same text for each failure of one kind, and the manager retries it; when
actors are saved again, one line of the log says so. An unexpected exception is kept, and raised by
`SnapshotService.check`, with which every call of the session begins.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import final

import numpy as np

from ringnb._support.off_main import placed, warn_caller
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.errors import CheckpointError, CheckpointWarning, KernelStopped, SnapshotFailed
from ringnb.kernel.base import QueueFull
from ringnb.kernel.client import KernelClient
from ringnb.kernel.layout import state_nbytes
from ringnb.messages.commands import Command
from ringnb.messages.events import Event, EventLog
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse
from ringnb.session.change_tracking import ChangeTracker
from ringnb.session.failures import RepeatedFailures
from ringnb.session.reporter import Reporter
from ringnb.session.step_holds import StepHolds
from ringnb.session.step_schedule import StepSchedule
from ringnb.session.transport import Capture, RequestStatus, SnapshotTransport

__all__ = ["SnapshotService"]

_LOG = logging.getLogger("ringnb")
_TICK_S = 0.1  # a manager that is reconfigured does not wake the service: it looks so often
_STEP_TICK_S = 0.01  # how soon after a commit an actor is held for the next by the step count
_MOST_TOGETHER = 256  # the first of a group waits for the last
_MOST_DETACHED_BYTES = 64 << 20  # of states that were copied and wait for the disk
_LAST_ANSWERS_S = 2.0  # how long `stop` waits for answers to commands that were sent


@final
class SnapshotService:
    """Takes snapshots from the manager's request to the commit. Any thread.

    Without `start` it has no threads, and the caller uses `transport` and `complete` by hand.
    """

    def __init__(
        self,
        client: KernelClient,
        manager: CheckpointManager,
        log: EventLog,
        changes: ChangeTracker,
        cut_group: Callable[[SnapshotService, Sequence[int], float], None] | None = None,
    ) -> None:
        self.manager = manager
        self.transport = SnapshotTransport(client, log, changes, self._wake_for_backlog)
        self.holds = StepHolds(client)
        self.step_schedule = StepSchedule(self.holds, client.kernel.counters, self._request_at)
        self.reporter = Reporter(client, self.transport, manager, self.keep_failure, self.warn)
        self.client = client
        self._kernel = client.kernel
        self.changes = changes
        self._backlog: list[deque[SnapshotRequest]] = [deque() for _ in range(self._kernel.lanes)]
        self._to_write: queue.SimpleQueue[Capture | None] = queue.SimpleQueue()
        self._cut_group = cut_group  # `ringnb.session.cut.cut_group`, which knows this module
        self._to_cut: queue.SimpleQueue[Sequence[int] | None] = queue.SimpleQueue()
        # By a group's first slot, what the step schedule has requested last. Service thread only.
        self._cuts_at: dict[int, RequestStatus] = {}
        self._writing = 0
        self._detached_bytes = 0
        self._lock = threading.Lock()  # guards the two numbers above
        # Without a lock, for every call looks here, also on the main thread: see `off_main`.
        self._kept: deque[BaseException] = deque()
        self._failures = RepeatedFailures()
        most = getattr(manager.storage, "group_bytes", 0)
        self._start_steps = np.array([actor.start_step for actor in self._kernel.actors], np.int64)
        nbytes = map(state_nbytes, self._kernel.actors)
        self._together = [n if n <= most else 0 for n in nbytes]  # by slot, see `_nbytes_together`
        self.unsaved: list[str] = []  # actors whose last state could not be saved at the end
        self.saving_last = threading.Lock()
        self.asking = threading.RLock()  # held from a request until who waits for it is counted
        self.cutting = threading.RLock()  # held by the thread that takes a cut
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        log.subscribe(self._on_bad, "bad")

    # -- life ------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether background threads do the work."""
        return bool(self._threads)

    def start(self) -> None:
        """Start the service thread, the cutter thread if actors are linked, and the writer thread."""
        bodies = {"service": self._serve, "cutter": self._cut, "writer": self._write}
        if not any(map(self.group_of, range(len(self._kernel.actors)))):
            del bodies["cutter"]
        for name, body in bodies.items():
            thread = threading.Thread(target=placed(body), name=f"ringnb-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, deadline_s: float = math.inf) -> bool:
        """Stop polling, commit what was captured already, end the threads; return whether they ended.

        `deadline_s`: until when to wait for a commit under way, by ``time.monotonic()``. Idempotent.
        """
        self._stopping.set()
        self._kernel.wake()
        for thread in self._threads:
            while thread.is_alive():
                if thread is not self._threads[0] and time.monotonic() > deadline_s:
                    return False  # one that commits: the service thread ends soon in any case
                thread.join(0.2)  # in short waits, so that Ctrl-C is heard
        return True

    @property
    def failure(self) -> BaseException | None:
        """What the next `check` would raise."""
        return next(iter(list(self._kept)), None)

    def keep_failure(self, error: BaseException) -> None:
        """Let the next `check` raise an error, unless it has an earlier one to raise."""
        if not self._kept:
            self._kept.append(error)

    def check(self) -> None:
        """Raise, once, an unexpected exception of a background thread."""
        if not self._kept:
            return
        try:
            failure = self._kept.popleft()
        except IndexError:
            return  # another thread was faster
        raise failure

    @contextlib.contextmanager
    def _keeping_failures(self) -> Iterator[None]:
        """Keep what is raised for the next `check`; not KernelStopped, which every call raises."""
        try:
            yield
        except KernelStopped:
            pass
        except BaseException as error:  # noqa: BLE001 - e.g. SystemExit in an observer
            self.keep_failure(error)

    def depths(self) -> tuple[int, int, int]:
        """Return how many requests wait to be sent, are with the kernel, are being written."""
        writing = self._writing + self.transport.answers_waiting
        return sum(map(len, self._backlog)), self.transport.unanswered, writing

    # -- the service thread ----------------------------------------------------------------------

    def enqueue(self, request: SnapshotRequest, *, awaited: bool = False) -> RequestStatus:
        """Have a request sent, unless it was before; `awaited` counts the caller as one who waits."""
        status = self._add(request, awaited=awaited)
        self._kernel.wake()
        return status

    def cancel_forsaken(self) -> bool:
        """Cancel each request that no call brings to an end; return if one is being saved, and left.

        Without background threads. The end may also be up to a call that a signal has interrupted, in
        whose handler this is.
        """
        left = False
        with self.asking:
            for request in self.manager.pending:
                if not self.transport.open_status(request).awaited:
                    left |= not self.manager.cancel_pending(request.request_id)
        return left

    def _add(self, request: SnapshotRequest, *, awaited: bool = False) -> RequestStatus:
        """Put a request into the backlog once. The service thread, which sends it next, wakes no one."""
        status = self.transport.open_status(request, awaited=awaited)
        if group := self.group_of(request.actor_slot):
            self._to_cut.put(group)  # more than once does no harm
        elif status.stage == "requested" and not status.queued:
            # In this order: interrupted in between, it is put in twice, and sent once.
            self._backlog[self._kernel.lane_of(request.actor_slot)].append(request)
            status.queued = True
        return status

    def _wake_for_backlog(self, lane: int) -> None:
        # A request leaves the backlog only when it is sent: one that `turn` has just found no buffer
        # for is seen here, and one that was not there yet is seen by `turn`.
        if self._backlog[lane]:
            self._kernel.wake()

    def _serve(self) -> None:
        """Body of the service thread."""
        while not self._stopping.is_set() and self._kernel.alive:
            try:
                self.turn()
            except KernelStopped:
                break
            except BaseException as error:  # noqa: BLE001 - kept, and raised by the next call
                self.keep_failure(error)
                self._stopping.wait(_TICK_S)
        with self._keeping_failures():
            # Commands under way are answered within a slice; what was captured is committed.
            deadline = time.monotonic() + _LAST_ANSWERS_S
            while self._kernel.alive and self.transport.unanswered and time.monotonic() < deadline:
                self.client.pump(0.01)
        self._hand_over()
        # Whatever happened: without it the writer, the cutter, and `stop`, would wait forever.
        self._to_write.put(None)
        self._to_cut.put(None)

    def turn(self) -> None:
        """Request what is due, send what fits, wait for answers for a tick at most, hand them over."""
        for request in self.manager.poll_due_snapshots(unless=self._is_being_saved):
            self._add(request)
        self.holds.settle()
        if by_steps := self.step_schedule.active:
            self.step_schedule.turn()
        for lane, backlog in enumerate(self._backlog):  # a full lane delays no other
            # `send` does nothing if it was cancelled or has expired meanwhile.
            spare = self.reporter.spare(lane)
            while backlog and self.transport.send_into_free(
                lane, partial(self.transport.send, backlog[0]), spare=spare
            ):
                backlog.popleft()
        tick_s = _STEP_TICK_S if by_steps else _TICK_S
        wait_s = self.manager.seconds_until_next()
        if not self.transport.answers_waiting:
            self.transport.pump(tick_s if wait_s is None else min(max(wait_s, 0.001), tick_s))
        self._hand_over()

    def _is_being_saved(self, slot: int) -> bool:
        # Runs under the manager's lock: it must not call the manager.
        return self.changes.is_being_saved(slot, self._kernel.counters(slot))

    def changed(self) -> list[int]:
        """Return the registered actors that have changed since they were saved."""
        registered, progress = self.manager.registered, self._kernel.progress()
        # Of very many actors most may be as they began: these need no look at each.
        begun = (progress.steps != self._start_steps) | (progress.epochs != 0)
        return [
            slot
            for slot in sorted({*np.flatnonzero(begun).tolist(), *self.changes.modified()})
            if slot in registered
            and self.changes.has_changed(
                slot, self._kernel.counters(slot), self._kernel.actors[slot].start_step
            )
        ]

    def _request_at(self, slot: int, at: int) -> RequestStatus | bool | None:
        """Request a snapshot of an actor that is held; see `StepSchedule`. Service thread only."""
        group = self.group_of(slot)
        if group:
            # Linked actors come to their multiples together: one cut is enough.
            last = self._cuts_at.get(group[0])
            if last is not None and not (last.was_answered or last.done.is_set()):
                if self.holds.is_held_at(last.request.actor_slot, last.at):
                    return last
            elif self._is_being_saved(slot):
                return False
        wanted = self.manager.request_snapshot(slot)
        if wanted is None:
            return False
        status = self.transport.open_status(wanted)
        if status.stage != "requested":
            # It was sent earlier, may have been captured before the step, and stays the actor's only
            # one until it is committed.
            return None
        status.at = self.capture_at(slot, at)
        if group:
            self._cuts_at[group[0]] = status
        return self._add(wanted)

    def capture_at(self, slot: int, at: int) -> int:
        """Return what `RequestStatus.at` is to be for an actor that is held at a step."""
        return at if self.group_of(slot) or self.holds.is_sole_at(slot, at) else 0

    def _hand_over(self) -> None:
        """Give answered requests to the writer thread. Service thread only."""
        while (capture := self.transport.take()) is not None:
            if self._backlog[capture.lane]:
                self._detach(capture)
            with self._lock:
                self._writing += 1
            self._to_write.put(capture)

    def _detach(self, capture: Capture) -> None:
        """Copy a small state, so that the next request of its lane need not wait for the disk."""
        nbytes = self._nbytes_together(capture)
        if nbytes == 0 or self._detached_bytes + nbytes > _MOST_DETACHED_BYTES:
            return
        try:
            response = self.transport.respond(capture)
        except KernelStopped:
            return  # the writer thread finds the same
        if response.success:
            response.data.detach()
            with self._lock:
                self._detached_bytes += nbytes
        capture.response = response

    def _nbytes_together(self, capture: Capture) -> int:
        """Return the bytes of a state that gains by being saved with others; 0 if it does not."""
        return self._together[capture.status.request.actor_slot]

    # -- the cutter thread -----------------------------------------------------------------------

    def group_of(self, slot: int) -> Sequence[int]:
        """Return the slots of the actors that links join with one; none if there are no others."""
        group = () if self._cut_group is None else self._kernel.deal.group_of[slot]
        return group if len(group) > 1 else ()

    def _cut(self) -> None:
        """Body of the cutter thread; None in its queue ends it."""
        while (group := self._to_cut.get()) is not None:
            with self._keeping_failures():
                self.take_group(group, self.manager.config.request_timeout_s)

    def take_group(self, group: Sequence[int], limit_s: float) -> None:
        """Take what is requested of linked actors as one cut of them, if anything is. Any thread."""
        assert self._cut_group is not None  # `group_of` returned it
        with self._lock:
            self._writing += 1
        try:
            self._cut_group(self, group, limit_s)
        finally:
            with self._lock:
                self._writing -= 1

    def check_going_on(self) -> None:
        """Raise KernelStopped if a cut in the background is pointless."""
        self._kernel.check_alive()
        if self._stopping.is_set():
            msg = "the session is being closed"
            raise KernelStopped(msg)

    def tell(self, statuses: Sequence[RequestStatus], result: str | Exception) -> None:
        """Tell the user how a cut ended, once."""
        if isinstance(result, Exception):
            self._report(statuses[0], result)
        elif self._failures.count > 0:
            for status in statuses:
                self._log_recovery(status.request.actor_slot, status.name or result)

    # -- the writer thread -----------------------------------------------------------------------

    def _write(self) -> None:
        """Body of the writer thread; None in its queue ends it."""
        for group in self._groups():
            with self._keeping_failures():
                self._commit(group)
            with self._lock:
                self._writing -= len(group)

    def _groups(self) -> Iterator[list[Capture]]:
        """Yield what is in the queue: small ones together, as many as are there, large ones alone."""
        group: list[Capture] = []
        while True:
            try:
                capture = self._to_write.get(block=not group)
            except queue.Empty:
                yield group
                group = []
                continue
            together = capture is not None and self._nbytes_together(capture) > 0
            if group and (not together or len(group) >= _MOST_TOGETHER):
                yield group
                group = []
            if capture is None:
                return
            group.append(capture)
            if not together:
                yield group
                group = []

    def _commit(self, group: list[Capture]) -> None:
        """Commit answered requests, and tell the user how each ended. Writer thread only."""
        # Where there is a checkpoint, all rows before it are durable.
        self.reporter.settle_before([c.status.request.actor_slot for c in group])
        for capture, result in zip(group, self._complete(group), strict=True):
            if isinstance(result, KernelStopped):
                continue  # every call raises it
            if isinstance(result, Exception):
                self._report(capture.status, result)
            elif result is not None and self._failures.count > 0:
                self._log_recovery(capture.status.request.actor_slot, result)

    def _on_bad(self, event: Event) -> None:
        """Pause an actor whose state is not good, if that is asked for; on the thread that committed."""
        if self.manager.config.state_guard.mode != "pause":
            return
        try:
            # The reply is not waited for: this thread may be the one that takes it off the ring.
            self.client.submit(event.actor_slot, Command.PAUSE)
        except (KernelStopped, QueueFull) as error:
            _LOG.warning("slot %d could not be paused by the guard: %s", event.actor_slot, error)

    def complete(self, capture: Capture) -> str | None:
        """Commit an answered request and end its status; raises as the manager does. Any thread."""
        [result] = self._complete([capture])
        if isinstance(result, Exception):
            raise result
        return result

    def _complete(self, group: list[Capture]) -> list[str | Exception | None]:
        """Commit answered requests together, and end the status of each; return what came of it."""
        responses: list[SnapshotResponse] = []
        results: list[str | Exception | None] = [None] * len(group)
        places: list[int] = []
        try:
            for place, capture in enumerate(group):
                try:
                    responses.append(capture.response or self.transport.respond(capture))
                    places.append(place)
                except Exception as error:  # noqa: BLE001 - of this one: the others go on
                    results[place] = error
            versions = {
                status.request.actor_slot: status.version
                for status in (capture.status for capture in group)
                if status.version is not None
            }
            with self.changes.saving(versions):
                completed = self.manager.complete_snapshots(responses)
            for place, result in zip(places, completed, strict=True):
                results[place] = result
        except BaseException as error:
            for capture in group:
                capture.status.end(error)
            raise
        finally:
            for response in responses:
                response.release()
            for capture in group:
                capture.free()
            self._forget_detached(group)
        for capture, result in zip(group, results, strict=True):
            if isinstance(result, str):
                capture.status.name = result
                if (version := capture.status.version) is not None:
                    slot = capture.status.request.actor_slot
                    self.reporter.note_commit(slot, version.epoch, result)
            failure = result if isinstance(result, Exception) else None
            if result is None:
                failure = SnapshotFailed("the request was cancelled or has expired")
            capture.status.end(failure)
        return results

    def _forget_detached(self, group: list[Capture]) -> None:
        for capture in group:
            response, capture.response = capture.response, None
            if response is not None and response.success:
                with self._lock:
                    self._detached_bytes -= self._nbytes_together(capture)

    def _report(self, status: RequestStatus, error: Exception) -> None:
        """Warn of a failed automatic snapshot, or keep an unexpected error."""
        slot = status.request.actor_slot
        if status.raised or status.awaited:
            return  # raised where it is waited for
        if not isinstance(error, SnapshotFailed | CheckpointError | OSError):
            self.keep_failure(error)
            return
        text = (
            f"snapshot of {self.name_of(slot)} failed and will be retried: "
            f"{type(error).__name__}: {error}"
        )
        self.warn(self._failures.record_failure(slot, error, text))

    def warn(self, text: str) -> None:
        """Warn; where warnings are errors, the next `check` raises it."""
        try:
            warn_caller(text, CheckpointWarning)
        except CheckpointWarning as raised:
            self.keep_failure(raised)

    def _log_recovery(self, slot: int, name: str) -> None:
        """Log that what was warned of is over, if it is."""
        failures = self._failures.record_commit(slot, self.manager.registered.keys())
        if failures:
            _LOG.warning(
                "snapshots are saved again: %s is at %r; %d failed before, see session.events",
                self.name_of(slot),
                name,
                failures,
            )

    def name_of(self, slot: int) -> str:
        """Return how messages name an actor."""
        actor = self.manager.registered.get(slot)  # None if it was unregistered meanwhile
        return f"slot {slot}" if actor is None else f"actor {actor.kernel_id!r} (slot {slot})"
