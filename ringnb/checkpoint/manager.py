"""The checkpoint manager: who is due, which answer belongs to which request, what is kept.

A session, or a user who turns the crank by hand, polls it for requests, carries them to a kernel
and brings the answers back. It knows no kernel and owns no thread. What needs only time lives in
`ringnb.checkpoint.schedule`, what needs only the store in `ringnb.checkpoint.stored` and
`ringnb.checkpoint.committing`, the way of an answer in `ringnb.checkpoint.committing`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self, final

from ringnb._support.checks import check_slot, check_text
from ringnb.checkpoint.committing import Announcer, Completion
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.history import read_history
from ringnb.checkpoint.manager_state import ManagerState
from ringnb.checkpoint.opening import open_storage
from ringnb.checkpoint.registration import RegisteredActor
from ringnb.checkpoint.schedule import Lineage, Schedule
from ringnb.checkpoint.stored import StoredView
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ringnb.checkpoint.storage.base import CheckpointStorage
    from ringnb.messages.events import EventSink

__all__ = ["CheckpointManager"]


@final
class CheckpointManager(StoredView):
    """Schedule snapshots, commit what comes back, enforce retention, find the latest.

    Parameters
    ----------
    config : CheckpointConfig
        When, how many, where.
    storage : CheckpointStorage, optional
        Where checkpoints go. By default the manager makes a `ZarrStorage` at
        ``config.storage_path`` and closes it; a storage that is given stays open.
    clock : callable, default time.monotonic
        Returns seconds and never goes back. Tests pass a `ringnb.testing.clock.ManualClock`.
    observer : callable, optional
        Called with an `Event` for every stage that the manager sees: due, requested, written,
        committed, retired, failed, expired, cancelled. It runs on the thread that caused the event,
        outside the manager's lock; what it raises is logged and otherwise ignored.

    Notes
    -----
    Every method may be called from any thread. After `close` all but `close` and the properties
    raise `CheckpointError`. Whatever reads the store raises what the storage raises.
    """

    def __init__(
        self,
        config: CheckpointConfig,
        storage: CheckpointStorage | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        observer: EventSink | None = None,
    ) -> None:
        given: object = config
        if not isinstance(given, CheckpointConfig):
            msg = f"config must be a CheckpointConfig, got {given!r} ({type(given).__name__})"
            raise TypeError(msg)
        schedule = Schedule(config.interval_s, config.request_timeout_s)
        state, self._announce = ManagerState(config, schedule, clock), Announcer(observer)
        opened, self._owns_storage = open_storage(config, storage)
        super().__init__(state, opened)
        self._completion = Completion(state, opened, self._announce, self._close_storage)

    # --- actors ---

    def register_actor(
        self,
        actor_slot: int,
        kernel_id: str,
        kernel_type: str,
        *,
        params: Mapping[str, Any] | None = None,
        backend: str | None = None,
        fields: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Register an actor; one that sits in the slot already is replaced.

        It is due at once if it has no checkpoint, and an interval from now if it has history.

        Parameters
        ----------
        actor_slot : int
            Its index in the kernel, >= 0.
        kernel_id, kernel_type : str
            Its identity, which owns the history, and its type: 1 to 200 printable characters.
        params : mapping, optional
            Its parameters: JSON scalars by name, recorded with every checkpoint.
        backend : str, optional
            Which kernel runs it.
        fields : mapping, optional
            Per field: ``units``, ``long_name`` and ``dims`` (one name per axis), all optional.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed, or `kernel_id` is registered in another slot.
        """
        actor = RegisteredActor.make(
            actor_slot, kernel_id, kernel_type, params=params, backend=backend, fields=fields
        )
        state = self._state
        state.check_open()
        prefix = state.config.name_prefix
        history = read_history(self._storage, prefix, actor.actor_slot, actor.kernel_id)
        parent = history[-1].name if history else None
        with state.lock:
            state.check_open()
            dropped = state.schedule.add(actor, state.clock(), parent=parent, fresh=not history)
        self._announce.ended("cancelled", dropped, "the actor was replaced in its slot")

    def unregister_actor(self, actor_slot: int) -> None:
        """Forget an actor and drop its pending request; its checkpoints stay.

        Parameters
        ----------
        actor_slot : int
            Its slot. An empty one is left as it is.
        """
        slot = check_slot(actor_slot)
        with self._state.lock:
            self._state.check_open()
            dropped = self._state.schedule.remove(slot)
        self._announce.ended("cancelled", dropped, "the actor was unregistered")

    def note_restored(
        self, actor_slot: int, name: str | None, *, earlier: Collection[int] | None = None
    ) -> str | None:
        """Say which checkpoint an actor's live state now continues from.

        It holds for requests issued from now on: what was asked before continues the old line, unless
        the caller knows that it will be captured later.

        Parameters
        ----------
        actor_slot : int
            The actor's slot.
        name : str or None
            The checkpoint it was restored from; None if it started afresh.
        earlier : collection of int, optional
            Ids of the requests that were captured before the restore; by default all that were issued.

        Returns
        -------
        str or None
            The checkpoint that it continued from until now: the newest of its history, if it was just
            registered.

        Raises
        ------
        ValueError
            If no actor is registered in the slot.
        """
        slot = check_slot(actor_slot)
        parent = None if name is None else check_text(name, "name")
        with self._state.lock:
            self._state.check_open()
            scheduled = self._state.schedule.get(slot)
            if scheduled is None:
                msg = f"no actor is registered in slot {slot}: register it before noting a restore"
                raise ValueError(msg)
            before, scheduled.lineage = scheduled.lineage.parent, Lineage(parent)
            ticket = scheduled.ticket
            if (
                ticket is not None
                and earlier is not None
                and ticket.request.request_id not in earlier
            ):
                ticket.lineage = scheduled.lineage
        return before

    # --- asking ---

    def poll_due_snapshots(
        self, *, unless: Callable[[int], bool] | None = None
    ) -> list[SnapshotRequest]:
        """Expire what was not answered in time, and ask every actor that is due.

        The work grows with the actors due or expired, not with those registered or pending.

        Parameters
        ----------
        unless : callable, optional
            Called with the slot of each actor that is due. One for which it returns True has nothing
            new to save: it is not asked, and is due again an interval from now. It runs under the
            manager's lock, so it must not call the manager.

        Returns
        -------
        list of SnapshotRequest
            New requests, oldest due first, ties by slot; empty while disabled.
        """
        state = self._state
        with state.lock:
            state.check_open()
            now = state.clock()
            expired = state.expire(now)
            asked = state.schedule.ask_due(now, unless) if state.config.enabled else []
        self._announce.expired(expired)
        self._announce.asked(now, asked, due=True)
        return [request for _, request in asked]

    def request_snapshot(self, actor_slot: int) -> SnapshotRequest | None:
        """Ask one actor now, whether it is due or not and whether polling is enabled or not.

        Parameters
        ----------
        actor_slot : int
            The actor's slot.

        Returns
        -------
        SnapshotRequest or None
            The one request pending for the actor, which may have been issued before; None if no
            actor is registered in the slot.
        """
        slot = check_slot(actor_slot)
        state = self._state
        with state.lock:
            state.check_open()
            now = state.clock()
            expired = state.expire(now)
            asked = state.schedule.ask(slot, now)
        self._announce.expired(expired)
        if asked is None:
            return None
        request, new = asked
        if new:
            self._announce.asked(now, [(now, request)], due=False)
        return request

    def cancel_pending(self, request_id: int) -> bool:
        """Cancel a request; its actor is due again an interval from now.

        Parameters
        ----------
        request_id : int
            The request.

        Returns
        -------
        bool
            Whether it was pending. It no longer is once its answer is being saved.
        """
        state = self._state
        with state.lock:
            state.check_open()
            cancelled = state.schedule.cancel(request_id, state.clock())
        self._announce.ended("cancelled", cancelled)
        return bool(cancelled)

    def cancel_all_pending(self) -> None:
        """Cancel every request whose answer is not being saved already."""
        state = self._state
        with state.lock:
            state.check_open()
            cancelled = state.schedule.cancel_all(state.clock())
        self._announce.ended("cancelled", cancelled)

    def seconds_until_next(self) -> float | None:
        """Return how long until a poll has something to do.

        Returns
        -------
        float or None
            Seconds until an actor is due or a request expires, 0.0 if one is now; None if nothing
            will happen before somebody registers, asks or answers.
        """
        state = self._state
        with state.lock:
            state.check_open()
            at = state.schedule.next_event_s(polling=state.config.enabled)
            return None if at is None else max(0.0, at - state.clock())

    def complete_snapshot(self, response: SnapshotResponse) -> str | None:
        """Commit the answer to a request, then retire what is too old.

        Parameters
        ----------
        response : SnapshotResponse
            What the kernel answered. Its data need stay valid only until this returns. A
            ``release`` method of the data is called as soon as the data is needed no more.

        Returns
        -------
        str or None
            The checkpoint's name; None, with nothing stored, if the request is not pending:
            unknown, expired, cancelled, answered already, or its actor unregistered.

        Raises
        ------
        SnapshotFailed
            If the kernel could not take the snapshot; the actor is retried.
        TypeError, ValueError
            If the response is not one, its slot is not the request's, or its data cannot be
            stored. The request stays pending, and the data is not released.
        Exception
            What the storage raised. Nothing is stored, and the actor is retried.
        """
        return self._completion.complete(response)

    # --- configuration and the end ---

    def reconfigure(self, **changes: Any) -> None:
        """Change how checkpoints are taken, while running. If one change is refused, none is made.

        Parameters
        ----------
        **changes : object
            Any of ``interval``, ``max_snapshots``, ``enabled``, ``request_timeout``, ``retention``.
            Due times follow a new interval at once. What is kept changes with the next commit; a new
            ``max_snapshots`` takes the place of a ``retention`` policy.

        Raises
        ------
        TypeError, ValueError
            If a value is not allowed, or ``storage_path`` or ``name_prefix`` is to change.
        """
        state = self._state
        with state.lock:
            state.check_open()
            state.config = state.config.changed(**changes)
            state.schedule.retime(state.config.interval_s, state.config.request_timeout_s)

    def close(self) -> None:
        """Drop what is pending, and close the storage if the manager made it. Idempotent.

        It does not wait: a commit in progress on another thread ends as usual, and the storage is
        closed right after the last of them.
        """
        state = self._state
        with state.lock:
            if state.closed:
                return
            cancelled = state.schedule.cancel_all(state.clock())
            state.closed = True
            idle = state.saves == 0
        self._announce.ended("cancelled", cancelled, "the manager was closed")
        if idle:
            self._close_storage()

    def _close_storage(self) -> None:
        if self._owns_storage:
            self._storage.close()

    def __enter__(self) -> Self:
        """Return the manager itself."""
        self._state.check_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close."""
        self.close()
