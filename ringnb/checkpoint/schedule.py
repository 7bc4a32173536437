"""Which actor is due when, and which requests have no outcome yet.

The manager owns one `Schedule` and calls it with its lock held and the time as an argument. A
registered actor either is due at a time (`DueQueue`) or has one `PendingRequest`; each of the two has
its own order, so nothing scans all actors. This module knows no storage and starts no thread.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast, final

from ringnb.checkpoint.registration import RegisteredActor
from ringnb.checkpoint.runs import Lineage
from ringnb.messages.snapshots import SnapshotRequest

__all__ = ["DueQueue", "PendingRequest", "Schedule", "ScheduledActor", "retry_delay_s"]

_FIRST_RETRY_S = 1.0
_MIN_GARBAGE = 64

Wait: TypeAlias = Literal["nothing", "interval", "retry"]


def retry_delay_s(failures: int, interval_s: float) -> float:
    """Return how long to wait after `failures` >= 1 failed snapshots in a row, in seconds.

    One second or an eighth of the interval, whichever is less; doubled by every further failure, and
    never more than one interval.
    """
    first = min(_FIRST_RETRY_S, interval_s / 8)
    return min(interval_s, math.ldexp(first, min(failures - 1, 64)))


@final
class DueQueue:
    """Due times by slot, earliest first, ties by slot. All operations are O(log n) amortised."""

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def set(self, slot: int, due_s: float) -> None:
        """Make a slot due at a time; an earlier due time of this slot no longer holds."""
        self._due[slot] = due_s
        heapq.heappush(self._heap, (due_s, slot))
        # Entries that no longer hold stay in the heap until they come to its top. Without this a slot
        # that is set again and again, always later, would fill the memory.
        if len(self._heap) > 2 * len(self._due) + _MIN_GARBAGE:
            self._heap = [(due, at) for at, due in self._due.items()]
            heapq.heapify(self._heap)

    def discard(self, slot: int) -> None:
        """Make a slot not due at all."""
        self._due.pop(slot, None)

    def first(self) -> tuple[float, int] | None:
        """Return the earliest due time and its slot, None if no slot is due ever."""
        heap = self._heap
        while heap and self._due.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0] if heap else None


@final
@dataclass(slots=True, eq=False)
class ScheduledActor:
    """A registered actor, and what decides when it is due."""

    actor: RegisteredActor
    parent: Lineage | None  # the checkpoint that its live state continues from
    since_s: float  # when the present wait began
    wait: Wait  # what it waits for
    failures: int = 0  # in a row
    pending: PendingRequest | None = None
    is_bad: bool = False  # whether the state was found not to be good at the last commit

    def due_s(self, interval_s: float) -> float:
        """Return when this actor is due."""
        if self.wait == "nothing":
            return self.since_s
        if self.wait == "interval":
            return self.since_s + interval_s
        return self.since_s + retry_delay_s(self.failures, interval_s)


@final
@dataclass(slots=True, eq=False)
class PendingRequest:
    """A request without an outcome: it waits for its answer, or the answer is being saved."""

    request: SnapshotRequest
    scheduled: ScheduledActor  # which may have been replaced in its slot since
    issued_s: float
    parent: Lineage | None  # the checkpoint that the captured state continues from
    superseded: bool = False  # whether the actor was restored after the capture
    data: object = field(default=None, repr=False)  # what is being saved
    attrs: Mapping[str, Any] | None = None  # the user's own metadata


@final
class Schedule:
    """All registered actors of one manager. Not thread-safe: the manager's lock guards it.

    All times are seconds of the manager's clock. `interval_s` lies between a completed snapshot and
    the next automatic one; a request without an answer expires after `timeout_s`.
    """

    def __init__(self, interval_s: float, timeout_s: float) -> None:
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._actors: dict[int, ScheduledActor] = {}
        self._copy: Mapping[int, RegisteredActor] | None = None  # for `actors`, until one changes
        self._slot_of: dict[str, int] = {}
        self._due = DueQueue()
        # In order of issue, which is the order of expiry, because the timeout is the same for all. An
        # OrderedDict gives its first entry in O(1); a dict skips all that were deleted before it.
        self._waiting: OrderedDict[int, PendingRequest] = OrderedDict()
        # A request whose answer is being saved can neither expire nor be cancelled.
        self._saving: dict[int, PendingRequest] = {}
        self._ids = itertools.count(1)

    # --- actors ---

    def add(
        self, actor: RegisteredActor, now: float, parent: Lineage | None
    ) -> list[SnapshotRequest]:
        """Register an actor, in place of the one in its slot; return the request that this drops.

        Without a `parent` it has no checkpoint, so it is due at once. Raises ValueError if its
        identity is registered in another slot.
        """
        slot = actor.actor_slot
        other = self._slot_of.get(actor.kernel_id, slot)
        if other != slot:
            msg = (
                f"kernel_id {actor.kernel_id!r} is registered in slot {other}, so it cannot be "
                f"registered in slot {slot} too: unregister slot {other} first, or choose another id"
            )
            raise ValueError(msg)
        dropped = self.remove(slot)
        scheduled = ScheduledActor(actor, parent, now, "nothing" if parent is None else "interval")
        self._actors[slot], self._copy = scheduled, None
        self._slot_of[actor.kernel_id] = slot
        self._due.set(slot, scheduled.due_s(self._interval_s))
        return dropped

    def remove(self, slot: int) -> list[SnapshotRequest]:
        """Forget the actor in a slot, if any; return its request, unless the answer is being saved."""
        scheduled = self._actors.pop(slot, None)
        if scheduled is None:
            return []
        self._copy = None
        del self._slot_of[scheduled.actor.kernel_id]
        self._due.discard(slot)
        # A save goes on, but without its actor: `_end` sees that, and `pending` does not count it.
        pending, scheduled.pending = scheduled.pending, None
        if pending is None or self._waiting.pop(pending.request.request_id, None) is None:
            return []
        return [pending.request]

    def actor(self, slot: int) -> RegisteredActor | None:
        """Return the actor in a slot, if any."""
        scheduled = self._actors.get(slot)
        return None if scheduled is None else scheduled.actor

    def actors(self) -> Mapping[int, RegisteredActor]:
        """Return a read-only copy: all registered actors by slot. The same one until that changes."""
        if self._copy is None:
            self._copy = MappingProxyType({slot: s.actor for slot, s in self._actors.items()})
        return self._copy

    def note_restored(
        self, slot: int, parent: Lineage | None, earlier: Collection[int] | None
    ) -> Lineage | None:
        """Note what an actor's live state now continues from; return what it was before.

        Of the requests issued, those in `earlier` (None: all) captured the state before the restore:
        they keep their parent, and their commit is not what the live state continues from. Raises
        ValueError for an empty slot.
        """
        scheduled = self._actors.get(slot)
        if scheduled is None:
            msg = f"no actor is registered in slot {slot}: register it before noting a restore"
            raise ValueError(msg)
        before, scheduled.parent = scheduled.parent, parent
        scheduled.is_bad = False
        pending = scheduled.pending
        if pending is not None:
            request_id = pending.request.request_id
            pending.superseded = (
                earlier is None or request_id in earlier or request_id in self._saving
            )
            if not pending.superseded:
                pending.parent = parent
        return before

    # --- requests ---

    def lineage(self, slot: int) -> Lineage | None:
        """Return what the live state of the actor in a slot continues from."""
        scheduled = self._actors.get(slot)
        return None if scheduled is None else scheduled.parent

    def lineages(self) -> list[Lineage]:
        """Return what the live states of all actors continue from."""
        return [s.parent for s in self._actors.values() if s.parent is not None]

    def request(
        self, slot: int, now: float, attrs: Mapping[str, Any] | None = None
    ) -> tuple[SnapshotRequest, bool] | None:
        """Return an actor's one pending request, and whether it is new; None for an empty slot."""
        scheduled = self._actors.get(slot)
        if scheduled is None:
            return None
        new = scheduled.pending is None
        if new:
            self._issue(scheduled, now)
            self._due.discard(slot)
        pending = cast("PendingRequest", scheduled.pending)
        if attrs is not None:
            pending.attrs = attrs
        return pending.request, new

    def request_due(
        self, now: float, unless: Callable[[int], bool] | None = None
    ) -> list[tuple[float, SnapshotRequest]]:
        """Issue a request to every actor that is due, oldest due first, ties by slot.

        Returns when each became due, and its request. An actor for whose slot `unless` is true gets no
        request, and is due again an interval from now.
        """
        issued = []
        while (first := self._due.first()) is not None and first[0] <= now:
            due, slot = first
            scheduled = self._actors[slot]
            if unless is not None and unless(slot):
                self._wait(scheduled, now, "interval")
                continue
            if scheduled.pending is None:  # else an interrupt came before the next line
                issued.append((due, self._issue(scheduled, now)))
            self._due.discard(slot)
        return issued

    def _issue(self, scheduled: ScheduledActor, now: float) -> SnapshotRequest:
        slot = scheduled.actor.actor_slot
        request = SnapshotRequest(next(self._ids), slot, 0, datetime.now(UTC))
        pending = PendingRequest(request, scheduled, now, scheduled.parent)
        # No call, and so no KeyboardInterrupt, between these two.
        self._waiting[request.request_id] = pending
        scheduled.pending = pending
        return request

    def waiting(self, request_id: int) -> PendingRequest | None:
        """Return a request that waits for its answer; None if it is unknown or does so no longer."""
        return self._waiting.get(request_id)

    def saving(self, request_id: int) -> PendingRequest | None:
        """Return a request whose answer is being saved at this moment."""
        return self._saving.get(request_id)

    def has_ended(self, pending: PendingRequest) -> bool:
        """Return whether a request neither waits for its answer nor is being saved."""
        request_id = pending.request.request_id
        return pending not in (self._waiting.get(request_id), self._saving.get(request_id))

    @property
    def pending_count(self) -> int:
        """Requests without an outcome, those being saved included."""
        return len(self._waiting) + len(self._saves_of_registered())

    def pending(self) -> tuple[SnapshotRequest, ...]:
        """Return the requests that `pending_count` counts, oldest first."""
        requests = [p.request for p in (*self._waiting.values(), *self._saves_of_registered())]
        return tuple(sorted(requests, key=attrgetter("request_id")))

    def _saves_of_registered(self) -> list[PendingRequest]:
        return [p for p in self._saving.values() if p.scheduled.pending is p]

    # --- outcomes ---

    def begin_save(self, pending: PendingRequest, data: object) -> None:
        """Note that the answer to a waiting request is being saved."""
        request_id, pending.data = pending.request.request_id, data
        self._saving[request_id] = pending
        del self._waiting[request_id]

    def succeed(self, pending: PendingRequest, now: float, saved: Lineage) -> None:
        """End a request whose answer was saved."""
        pending.scheduled.failures = 0
        if not pending.superseded:
            pending.scheduled.parent = saved
        self._end(pending, now, "interval")

    def begin_cut(self, request_ids: Iterable[int]) -> list[PendingRequest]:
        """Note that a cut which answers requests is being saved; return those that wait for it."""
        wanted = [p for p in map(self._waiting.get, request_ids) if p is not None]
        for pending in wanted:
            pending.superseded = True  # `note_cut` sees whether its actor was restored meanwhile
            self.begin_save(pending, None)
        return wanted

    def note_cut(
        self,
        saved: Mapping[int, Lineage],
        now: float,
        before: Mapping[int, Lineage | None],
        wanted: Iterable[PendingRequest] = (),
    ) -> list[Lineage]:
        """Note, by slot, that states which continued from `before` were saved; return `lineages`."""
        for pending in wanted:
            self.succeed(pending, now, saved[pending.request.actor_slot])
        for slot, lineage in saved.items():
            scheduled = self._actors.get(slot)
            if scheduled is None or scheduled.parent != before[slot]:
                continue  # unregistered, restored, or saved again since the capture
            scheduled.failures, scheduled.parent = 0, lineage
            if scheduled.pending is None:
                self._wait(scheduled, now, "interval")
        return self.lineages()

    def note_bad(self, saved: Iterable[int], bad: Collection[int]) -> bool:
        """Note, by slot, whose saved state was not good; return whether that is new of any."""
        new = False
        for slot in saved:
            if (scheduled := self._actors.get(slot)) is not None:
                new |= slot in bad and not scheduled.is_bad
                scheduled.is_bad = slot in bad
        return new

    def fail(self, pending: PendingRequest, now: float) -> None:
        """End a request that failed; its actor is retried, later after each failure in a row."""
        pending.scheduled.failures += 1
        self._end(pending, now, "retry")

    def cancel(self, request_id: int, now: float) -> list[SnapshotRequest]:
        """Cancel a request if it waits for its answer; return it."""
        pending = self._waiting.get(request_id)
        if pending is None:
            return []
        self._end(pending, now, "interval")
        return [pending.request]

    def cancel_all(self, now: float) -> list[SnapshotRequest]:
        """Cancel every request that waits for its answer; return them, oldest first."""
        waiting = list(self._waiting.values())
        for pending in waiting:
            self._end(pending, now, "interval")
        return [pending.request for pending in waiting]

    def expire(self, now: float) -> list[SnapshotRequest]:
        """End, as failures, the requests older than the timeout; return them, oldest first."""
        expired = []
        while self._waiting:
            oldest = next(iter(self._waiting.values()))
            if self._expiry_s(oldest) > now:
                break
            self.fail(oldest, now)
            expired.append(oldest.request)
        return expired

    def _end(self, pending: PendingRequest, now: float, wait: Wait) -> None:
        # In this order: an interrupted one can be ended again, and its actor is pending, due, or both.
        scheduled = pending.scheduled
        if scheduled.pending is pending:  # else it was unregistered during the save
            self._wait(scheduled, now, wait)
            scheduled.pending = None
        pending.data = None
        self._waiting.pop(pending.request.request_id, None)
        self._saving.pop(pending.request.request_id, None)

    def _wait(self, scheduled: ScheduledActor, now: float, wait: Wait) -> None:
        scheduled.since_s, scheduled.wait = now, wait
        self._due.set(scheduled.actor.actor_slot, scheduled.due_s(self._interval_s))

    # --- time ---

    def next_event_s(self, slot: int | None = None, *, polling: bool) -> float | None:
        """Return when there is something to do next, possibly in the past; None if there is nothing.

        Unless due actors are polled, only expiry counts. Of one actor it is when it is due.
        """
        if slot is not None:
            scheduled = self._actors.get(slot)
            if scheduled is None or scheduled.pending is not None or not polling:
                return None
            return scheduled.due_s(self._interval_s)
        first = self._due.first() if polling else None
        due = None if first is None else first[0]
        if not self._waiting:
            return due
        expiry = self._expiry_s(next(iter(self._waiting.values())))
        return expiry if due is None else min(due, expiry)

    def _expiry_s(self, pending: PendingRequest) -> float:
        # "Older than the timeout": at the timeout itself a request is not older yet.
        return math.nextafter(pending.issued_s + self._timeout_s, math.inf)

    def retime(self, interval_s: float, timeout_s: float) -> None:
        """Follow a new interval and a new timeout at once. The one method that visits every actor."""
        self._timeout_s = timeout_s
        if interval_s == self._interval_s:
            return
        self._interval_s = interval_s
        for slot, scheduled in self._actors.items():
            if scheduled.pending is None:
                self._due.set(slot, scheduled.due_s(interval_s))
