"""Which actor is due when, and what has been asked of it.

The manager owns one `Schedule` and calls it under its lock, with the time as an argument. An actor
is in one of two states, and each has its own order, so that nothing ever scans all actors:

- *due at* a time: a `DueQueue`;
- *asked*, with one `Ticket`: `Asked`.

This module knows no storage, starts no thread and reads no clock.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, final

from ringnb.checkpoint.asked import Asked
from ringnb.checkpoint.due import DueQueue
from ringnb.checkpoint.ticket import Lineage, ScheduledActor

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringnb.checkpoint.registration import RegisteredActor
    from ringnb.checkpoint.ticket import Ticket
    from ringnb.messages.snapshots import SnapshotRequest

__all__ = ["Schedule"]


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
