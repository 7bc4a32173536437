"""Which actor is due when, and what has been asked of it.

The manager owns one `Schedule` and calls it under its lock, with the time as an argument. An actor is in
one of two states, and each has its own order, so that nothing ever scans all actors: *due at* a time (a
`DueQueue`), or *asked*, with one `Ticket` (`Asked`).

Every request has the same timeout, so the order of issue is the order of expiry, and a queue that gives
up any member in O(1) is enough. A ticket whose answer is being saved has left that queue: it can neither
expire nor be cancelled, but its actor still counts as asked.

This module knows no storage, starts no thread and reads no clock.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, final

from ringnb.messages.snapshots import SnapshotRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringnb.checkpoint.registration import RegisteredActor
    from ringnb.messages.snapshots import SnapshotRequest

__all__ = [
    "Asked",
    "DueQueue",
    "Lineage",
    "Schedule",
    "ScheduledActor",
    "Ticket",
    "retry_delay",
]


_FIRST_RETRY_S = 1.0
_MIN_GARBAGE = 64


def retry_delay(failures: int, interval_s: float) -> float:
    """Return how long to wait after a failed snapshot.

    Parameters
    ----------
    failures : int
        Failures in a row, >= 1.
    interval_s : float
        The interval between automatic snapshots, seconds.

    Returns
    -------
    float
        Seconds: one second or an eighth of the interval, whichever is less, doubled by every
        further failure, and never more than one interval.
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
        """Make a slot due at a time, instead of when it was due before.

        Parameters
        ----------
        slot : int
            The actor's slot.
        due_s : float
            When, seconds of the caller's clock.
        """
        self._due[slot] = due_s
        heapq.heappush(self._heap, (due_s, slot))
        if len(self._heap) > 2 * len(self._due) + _MIN_GARBAGE:
            self._heap = [(due, at) for at, due in self._due.items()]
            heapq.heapify(self._heap)

    def discard(self, slot: int) -> None:
        """Make a slot not due at all; what its entry in the heap says no longer holds.

        Parameters
        ----------
        slot : int
            The actor's slot.
        """
        self._due.pop(slot, None)

    def next_due(self) -> float | None:
        """Return the earliest due time, or None if nothing is due ever.

        Returns
        -------
        float or None
            Seconds of the caller's clock.
        """
        heap = self._heap
        while heap and self._due.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> Iterator[tuple[float, int]]:
        """Take out what is due, oldest first, ties by slot.

        Parameters
        ----------
        now : float
            The time, seconds of the caller's clock.

        Yields
        ------
        tuple of float and int
            When the slot became due, and the slot.
        """
        while (due := self.next_due()) is not None and due <= now:
            slot = heapq.heappop(self._heap)[1]
            del self._due[slot]
            yield due, slot


@final
@dataclass(slots=True, eq=False)
class Lineage:
    """A line of states that continue from one another.

    A request keeps the lineage of the moment it was issued. When an actor is restored it gets a new
    one, so the commit of a state captured before the restore cannot pose as its continuation.

    Attributes
    ----------
    parent : str or None
        The newest checkpoint of the line.
    """

    parent: str | None = None


@final
@dataclass(slots=True, eq=False)
class ScheduledActor:
    """A registered actor, and what decides when it is due.

    Attributes
    ----------
    actor : RegisteredActor
        What was registered.
    lineage : Lineage
        Where its next snapshot continues from.
    since_s : float
        The moment its present wait began, seconds of the manager's clock.
    wait : str
        What it waits for: nothing, an interval, or a retry.
    failures : int
        Failed snapshots since the last success.
    ticket : Ticket or None
        What is asked of it.
    """

    actor: RegisteredActor
    lineage: Lineage
    since_s: float
    wait: Literal["none", "interval", "retry"]
    failures: int = 0
    ticket: Ticket | None = None

    def due_s(self, interval_s: float) -> float:
        """Return when this actor is due.

        Parameters
        ----------
        interval_s : float
            The interval between automatic snapshots, seconds.

        Returns
        -------
        float
            Seconds of the manager's clock.
        """
        if self.wait == "none":
            return self.since_s
        if self.wait == "interval":
            return self.since_s + interval_s
        return self.since_s + retry_delay(self.failures, interval_s)


@final
@dataclass(slots=True, eq=False)
class Ticket:
    """One request, from issue to outcome.

    Attributes
    ----------
    request : SnapshotRequest
        What the caller carries to the kernel.
    scheduled : ScheduledActor
        The actor asked; it may have been replaced in its slot since.
    lineage : Lineage
        The actor's lineage at the moment of issue.
    issued_s : float
        When it was issued, seconds of the manager's clock.
    saving : object or None
        The data being saved, if its answer has arrived.
    """

    request: SnapshotRequest
    scheduled: ScheduledActor
    lineage: Lineage
    issued_s: float
    saving: object = field(default=None, repr=False)


@final
class Asked:
    """The requests of one manager without an outcome. Not thread-safe: the manager's lock guards it."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, Ticket] = OrderedDict()
        self._saving: dict[int, Ticket] = {}
        self._ids = itertools.count(1)

    def issue(self, scheduled: ScheduledActor, now: float) -> SnapshotRequest:
        """Make a request, and note it as the one of its actor.

        Parameters
        ----------
        scheduled : ScheduledActor
            An actor of which nothing is asked.
        now : float
            The time.

        Returns
        -------
        SnapshotRequest
            It waits for its answer from now on.
        """
        request = SnapshotRequest(
            request_id=next(self._ids),
            actor_slot=scheduled.actor.actor_slot,
            buffer_offset=0,
            issued_at=datetime.now(UTC),
        )
        ticket = Ticket(request, scheduled, scheduled.lineage, now)
        scheduled.ticket = ticket
        self._waiting[request.request_id] = ticket
        return request

    def waiting(self, request_id: int) -> Ticket | None:
        """Return the ticket of a request that still waits for its answer.

        Parameters
        ----------
        request_id : int
            The request.

        Returns
        -------
        Ticket or None
            None if it is unknown, has ended, or its answer is being saved.
        """
        return self._waiting.get(request_id)

    def all_waiting(self) -> list[Ticket]:
        """Return the tickets that wait for their answers, oldest first.

        Returns
        -------
        list of Ticket
            A copy.
        """
        return list(self._waiting.values())

    def oldest(self) -> Ticket | None:
        """Return the ticket that has waited longest.

        Returns
        -------
        Ticket or None
            None if none waits.
        """
        return next(iter(self._waiting.values()), None)

    def saving(self, request_id: int) -> Ticket | None:
        """Return the ticket of a request whose answer is being saved.

        Parameters
        ----------
        request_id : int
            The request.

        Returns
        -------
        Ticket or None
            None if no answer to it is being saved at this moment.
        """
        return self._saving.get(request_id)

    def begin_save(self, ticket: Ticket, data: object) -> None:
        """Note that a ticket's answer is being saved: it can neither expire nor be cancelled.

        Parameters
        ----------
        ticket : Ticket
            One that waits.
        data : object
            What is being saved.
        """
        del self._waiting[ticket.request.request_id]
        ticket.saving = data
        self._saving[ticket.request.request_id] = ticket

    def withdraw(self, ticket: Ticket) -> bool:
        """Let a ticket wait no more; a save of its answer goes on.

        Parameters
        ----------
        ticket : Ticket
            Any.

        Returns
        -------
        bool
            Whether it was waiting.
        """
        return self._waiting.pop(ticket.request.request_id, None) is not None

    def close(self, ticket: Ticket) -> None:
        """Forget a ticket: it has its outcome.

        Parameters
        ----------
        ticket : Ticket
            One that waits or is being saved.
        """
        self.withdraw(ticket)
        self._saving.pop(ticket.request.request_id, None)
        ticket.saving = None

    @property
    def pending_count(self) -> int:
        """Requests without an outcome yet, those being saved included."""
        return len(self._waiting) + len(self._awaited_saves())

    def pending(self) -> tuple[SnapshotRequest, ...]:
        """Return the requests without an outcome yet, oldest first.

        Returns
        -------
        tuple of SnapshotRequest
            A copy.
        """
        asked = [*self._waiting.values(), *self._awaited_saves()]
        return tuple(sorted((t.request for t in asked), key=lambda r: r.request_id))

    def _awaited_saves(self) -> list[Ticket]:
        # A save goes on after its actor was unregistered, but then nobody waits for it.
        return [t for t in self._saving.values() if t.scheduled.ticket is t]


@final
class Schedule:
    """All registered actors of one manager. Not thread-safe: the manager's lock guards it.

    Parameters
    ----------
    interval_s : float
        Seconds between a completed snapshot and the next automatic one.
    timeout_s : float
        Seconds after which an unanswered request expires.

    Attributes
    ----------
    asked : Asked
        The requests without an outcome.
    """

    def __init__(self, interval_s: float, timeout_s: float) -> None:
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._actors: dict[int, ScheduledActor] = {}
        self._slot_of: dict[str, int] = {}
        self._due = DueQueue()
        self.asked = Asked()

    # --- who is registered ---

    def add(
        self, actor: RegisteredActor, now: float, *, parent: str | None, fresh: bool
    ) -> list[SnapshotRequest]:
        """Register an actor, in place of any that sits in its slot.

        Parameters
        ----------
        actor : RegisteredActor
            The actor.
        now : float
            The time.
        parent : str or None
            The checkpoint its state continues from.
        fresh : bool
            Whether it has no checkpoint, and so is due at once.

        Returns
        -------
        list of SnapshotRequest
            The unanswered request of the actor it replaced, which is dropped, if any.

        Raises
        ------
        ValueError
            If its identity is registered in another slot.
        """
        other = self._slot_of.get(actor.kernel_id, actor.actor_slot)
        if other != actor.actor_slot:
            msg = (
                f"kernel_id {actor.kernel_id!r} sits in slot {other}, so it cannot sit in slot "
                f"{actor.actor_slot} too: unregister slot {other} first, or choose another id"
            )
            raise ValueError(msg)
        dropped = self.remove(actor.actor_slot)
        scheduled = ScheduledActor(actor, Lineage(parent), now, "none" if fresh else "interval")
        self._actors[actor.actor_slot] = scheduled
        self._slot_of[actor.kernel_id] = actor.actor_slot
        self._due.set(actor.actor_slot, scheduled.due_s(self._interval_s))
        return dropped

    def remove(self, slot: int) -> list[SnapshotRequest]:
        """Forget an actor, and drop what is asked of it.

        Parameters
        ----------
        slot : int
            Its slot; an empty one is left as it is.

        Returns
        -------
        list of SnapshotRequest
            The request dropped, if any; not one whose answer is being saved already.
        """
        scheduled = self._actors.pop(slot, None)
        if scheduled is None:
            return []
        del self._slot_of[scheduled.actor.kernel_id]
        self._due.discard(slot)
        ticket, scheduled.ticket = scheduled.ticket, None
        return [ticket.request] if ticket is not None and self.asked.withdraw(ticket) else []

    def get(self, slot: int) -> ScheduledActor | None:
        """Return the actor in a slot, if any.

        Parameters
        ----------
        slot : int
            The slot.

        Returns
        -------
        ScheduledActor or None
            The live record.
        """
        return self._actors.get(slot)

    def actors(self) -> dict[int, RegisteredActor]:
        """Return all registered actors by slot.

        Returns
        -------
        dict of int to RegisteredActor
            A copy.
        """
        return {slot: s.actor for slot, s in self._actors.items()}

    # --- what is asked ---

    def ask(self, slot: int, now: float) -> tuple[SnapshotRequest, bool] | None:
        """Ask an actor for a snapshot, unless that was done already.

        Parameters
        ----------
        slot : int
            Its slot.
        now : float
            The time.

        Returns
        -------
        tuple of SnapshotRequest and bool, or None
            The one request pending for the actor, and whether it is new; None for an empty slot.
        """
        scheduled = self._actors.get(slot)
        if scheduled is None:
            return None
        if scheduled.ticket is not None:
            return scheduled.ticket.request, False
        self._due.discard(slot)
        return self.asked.issue(scheduled, now), True

    def ask_due(
        self, now: float, unless: Callable[[int], bool] | None = None
    ) -> list[tuple[float, SnapshotRequest]]:
        """Ask every actor that is due, oldest due first, ties by slot.

        Parameters
        ----------
        now : float
            The time.
        unless : callable, optional
            Actors for whose slot it returns True are put off by an interval instead.

        Returns
        -------
        list of tuple of float and SnapshotRequest
            When each became due, and its new request.
        """
        asked = []
        for due, slot in self._due.pop_due(now):
            scheduled = self._actors[slot]
            if unless is not None and unless(slot):
                scheduled.since_s, scheduled.wait = now, "interval"
                self._due.set(slot, scheduled.due_s(self._interval_s))
            else:
                asked.append((due, self.asked.issue(scheduled, now)))
        return asked

    # --- how it ends ---

    def end(
        self, ticket: Ticket, now: float, outcome: Literal["success", "failure", "cancelled"]
    ) -> None:
        """End a ticket and decide when its actor is due again.

        Parameters
        ----------
        ticket : Ticket
            One that waits or is being saved.
        now : float
            The time.
        outcome : str
            ``success`` and ``cancelled`` are followed by a full interval, ``failure`` by a retry.
        """
        self.asked.close(ticket)
        scheduled = ticket.scheduled
        if scheduled.ticket is not ticket:
            return  # unregistered meanwhile: whoever sits in the slot now has its own times
        scheduled.ticket = None
        scheduled.since_s = now
        if outcome == "failure":
            scheduled.failures += 1
            scheduled.wait = "retry"
        else:
            scheduled.wait = "interval"
            if outcome == "success":
                scheduled.failures = 0
        self._due.set(scheduled.actor.actor_slot, scheduled.due_s(self._interval_s))

    def cancel(self, request_id: int, now: float) -> list[SnapshotRequest]:
        """Cancel a request that still waits for its answer.

        Parameters
        ----------
        request_id : int
            The request.
        now : float
            The time.

        Returns
        -------
        list of SnapshotRequest
            The request cancelled, if there was one.
        """
        ticket = self.asked.waiting(request_id)
        if ticket is None:
            return []
        self.end(ticket, now, "cancelled")
        return [ticket.request]

    def cancel_all(self, now: float) -> list[SnapshotRequest]:
        """Cancel every request that still waits for its answer.

        Parameters
        ----------
        now : float
            The time.

        Returns
        -------
        list of SnapshotRequest
            Those cancelled, oldest first.
        """
        waiting = self.asked.all_waiting()
        for ticket in waiting:
            self.end(ticket, now, "cancelled")
        return [ticket.request for ticket in waiting]

    def expire(self, now: float) -> list[SnapshotRequest]:
        """End, as failures, the requests that are older than the timeout.

        Parameters
        ----------
        now : float
            The time.

        Returns
        -------
        list of SnapshotRequest
            Those expired, oldest first.
        """
        expired = []
        while (ticket := self.asked.oldest()) is not None and self._expiry(ticket) <= now:
            self.end(ticket, now, "failure")
            expired.append(ticket.request)
        return expired

    def _expiry(self, ticket: Ticket) -> float:
        # "Older than the timeout": at the timeout itself a request is not older yet.
        return math.nextafter(ticket.issued_s + self._timeout_s, math.inf)

    # --- time ---

    def next_event_s(self, *, polling: bool) -> float | None:
        """Return when there is something to do next.

        Parameters
        ----------
        polling : bool
            Whether due actors are polled; if not, only expiry counts.

        Returns
        -------
        float or None
            Seconds of the manager's clock, possibly in the past; None if there is nothing.
        """
        oldest = self.asked.oldest()
        times = (
            self._due.next_due() if polling else None,
            None if oldest is None else self._expiry(oldest),
        )
        return min((t for t in times if t is not None), default=None)

    def retime(self, interval_s: float, timeout_s: float) -> None:
        """Follow a new interval and a new timeout at once.

        Parameters
        ----------
        interval_s, timeout_s : float
            Seconds, as in the constructor.
        """
        self._timeout_s = timeout_s
        if interval_s == self._interval_s:
            return
        self._interval_s = interval_s
        for slot, scheduled in self._actors.items():
            if scheduled.ticket is None:
                self._due.set(slot, scheduled.due_s(interval_s))
