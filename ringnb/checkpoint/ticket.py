"""What the schedule remembers of a registered actor and of a request.

`ringnb.checkpoint.schedule` and `ringnb.checkpoint.asked` make and change these records under the
manager's lock; the manager reads them. This module knows no storage and no queue.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, final

from ringnb.checkpoint.due import retry_delay

if TYPE_CHECKING:
    from ringnb.checkpoint.registration import RegisteredActor
    from ringnb.messages.snapshots import SnapshotRequest

__all__ = ["Lineage", "ScheduledActor", "Ticket"]


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
