"""What has been asked of actors and has no outcome yet.

Every request has the same timeout, so the order of issue is the order of expiry, and a queue that gives
up any member in O(1) is enough. A ticket whose answer is being saved has left that queue: it can neither
expire nor be cancelled, but its actor still counts as asked.

`ringnb.checkpoint.schedule` owns one `Asked` and decides what an outcome means; `completion` matches
answers with it. This module reads no clock.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, final

from ringnb.checkpoint.ticket import Ticket
from ringnb.messages.snapshots import SnapshotRequest

if TYPE_CHECKING:
    from ringnb.checkpoint.ticket import ScheduledActor

__all__ = ["Asked"]


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
