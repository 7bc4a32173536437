"""What the manager tells its observer.

The manager calls this outside its lock. An observer watches and has no say: whatever it raises is
logged, and checkpointing goes on. This module imports nothing of the manager.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, final

from ringnb.messages.events import Event, EventSink, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringnb.checkpoint.storage import CheckpointInfo, SaveReceipt, Snapshot
    from ringnb.messages.snapshots import SnapshotRequest

__all__ = ["Announcer"]

logger = logging.getLogger("ringnb.checkpoint")


@final
class Announcer:
    """Turns what happened into `Event` values for an observer, if there is one.

    Parameters
    ----------
    observer : callable or None
        Called with each event, on the thread that caused it.
    """

    def __init__(self, observer: EventSink | None) -> None:
        given: object = observer
        if given is not None and not callable(given):
            msg = f"observer must be callable or None, got {given!r} ({type(given).__name__})"
            raise TypeError(msg)
        self._observer = observer

    def tell(self, event: Event) -> None:
        """Hand one event to the observer.

        Parameters
        ----------
        event : Event
            What happened.
        """
        if self._observer is None:
            return
        try:
            self._observer(event)
        except Exception:
            logger.exception("the observer failed on %r; checkpointing goes on", event)

    def asked(
        self, now_s: float, asked: Sequence[tuple[float, SnapshotRequest]], *, due: bool
    ) -> None:
        """Tell of actors that were asked for a snapshot.

        Parameters
        ----------
        now_s : float
            The manager's clock when they were asked, seconds.
        asked : sequence of tuple of float and SnapshotRequest
            When each actor became due by that clock, and its request.
        due : bool
            Whether they were asked because they were due.
        """
        if self._observer is None:
            return
        now_ns = time.monotonic_ns()
        for due_s, r in asked:
            if due:
                # The manager's clock may be injected, an event's is not: the lateness carries over.
                late_ns = round((now_s - due_s) * 1e9)
                self.tell(Event("due", r.actor_slot, r.request_id, t_ns=now_ns - late_ns))
            self.tell(Event("requested", r.actor_slot, r.request_id, t_ns=now_ns))

    def expired(self, requests: Iterable[SnapshotRequest]) -> None:
        """Tell of requests that were not answered in time.

        Parameters
        ----------
        requests : iterable of SnapshotRequest
            Those that expired.
        """
        self.ended("expired", requests, "no answer within request_timeout")

    def ended(self, stage: Stage, requests: Iterable[SnapshotRequest], detail: str = "") -> None:
        """Tell of requests that ended without an answer.

        Parameters
        ----------
        stage : str
            ``expired`` or ``cancelled``.
        requests : iterable of SnapshotRequest
            Those that ended.
        detail : str, optional
            Why.
        """
        if self._observer is None:
            return
        for r in requests:
            self.tell(Event(stage, r.actor_slot, r.request_id, detail=detail))

    def failed(self, actor_slot: int, request_id: int, step: int, detail: str) -> None:
        """Tell of a snapshot that the kernel or the storage failed to make.

        Parameters
        ----------
        actor_slot, request_id, step : int
            The actor, the request, and the step it was answered with.
        detail : str
            What went wrong.
        """
        self.tell(Event("failed", actor_slot, request_id, step, detail=detail))

    def committed(self, snapshot: Snapshot, name: str, receipt: SaveReceipt | None) -> None:
        """Tell of a commit.

        Parameters
        ----------
        snapshot : Snapshot
            What was committed.
        name : str
            Under which name.
        receipt : SaveReceipt or None
            The storage's stamps; without them both stages carry the present moment.
        """
        if self._observer is None:
            return
        now_ns = time.monotonic_ns()
        written_ns = committed_ns = now_ns
        if receipt is not None:
            written_ns, committed_ns = receipt.written_ns, receipt.committed_ns
        slot, request_id, step = snapshot.actor_slot, snapshot.request_id, snapshot.step
        self.tell(Event("written", slot, request_id, step, name, t_ns=written_ns))
        self.tell(Event("committed", slot, request_id, step, name, t_ns=committed_ns))

    def retired(self, actor_slot: int, gone: Iterable[CheckpointInfo]) -> None:
        """Tell of checkpoints that retention deleted.

        Parameters
        ----------
        actor_slot : int
            The actor whose commit made them go.
        gone : iterable of CheckpointInfo
            Those deleted.
        """
        for info in gone:
            self.tell(Event("retired", actor_slot, step=info.step, name=info.name))
