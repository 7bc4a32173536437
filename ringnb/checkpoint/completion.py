"""From an answer to a checkpoint: match it, check it, commit it, retire what is too old.

`CheckpointManager.complete_snapshot` is this module's only caller. The steps are ordered so that a
bad answer changes nothing, a good one is claimed by exactly one thread, borrowed data is given back
as soon as it is saved, and the counters tell what the store holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from ringnb.checkpoint.commit import release, retire, save_as_new
from ringnb.checkpoint.registration import check_params
from ringnb.checkpoint.storage import CheckpointStorage, SaveReceipt, Snapshot
from ringnb.errors import SnapshotFailed
from ringnb.messages.snapshots import SnapshotResponse, normalise_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringnb.checkpoint.announcer import Announcer
    from ringnb.checkpoint.state import ManagerState
    from ringnb.checkpoint.ticket import Ticket

__all__ = ["Completion"]


@final
class Completion:
    """Completes the snapshots of one manager.

    Parameters
    ----------
    state : ManagerState
        The manager's.
    storage : CheckpointStorage
        Where checkpoints go.
    announce : Announcer
        Who is told.
    on_last_save : callable
        Called when a closed manager's last commit has ended.
    """

    def __init__(
        self,
        state: ManagerState,
        storage: CheckpointStorage,
        announce: Announcer,
        on_last_save: Callable[[], None],
    ) -> None:
        self._state = state
        self._storage = storage
        self._announce = announce
        self._on_last_save = on_last_save

    def complete(self, response: SnapshotResponse) -> str | None:
        """Do what `CheckpointManager.complete_snapshot` promises.

        Parameters
        ----------
        response : SnapshotResponse
            The answer.

        Returns
        -------
        str or None
            The checkpoint's name, or None if the request is not pending.
        """
        given: object = response
        if not isinstance(given, SnapshotResponse):
            msg = f"response must be a SnapshotResponse, got {given!r} ({type(given).__name__})"
            raise TypeError(msg)
        state = self._state
        with state.lock:
            ticket = self._match(response)
        snapshot = None
        if ticket is not None and response.success:
            snapshot = self._snapshot(ticket, response)  # may copy, so not under the lock
        with state.lock:
            asked = state.schedule.asked
            if ticket is not None and asked.waiting(response.request_id) is not ticket:
                ticket = None  # expired, or claimed by another thread, while it was being checked
            if ticket is None:
                busy = asked.saving(response.request_id)
            elif snapshot is None:
                state.failed += 1
                state.schedule.end(ticket, state.clock(), "failure")
            else:
                asked.begin_save(ticket, response.data)
                state.saves += 1
        if ticket is None:
            # Delivered twice, the same response still lends its data to the save in progress.
            if busy is None or busy.saving is not response.data:
                release(response.data)
            state.check_open()
            return None
        if snapshot is None:
            release(response.data)
            raise self._refused(ticket, response)
        return self._commit(ticket, snapshot, response.data)

    def _match(self, response: SnapshotResponse) -> Ticket | None:
        ticket = self._state.schedule.asked.waiting(response.request_id)
        if ticket is not None and ticket.request.actor_slot != response.actor_slot:
            msg = (
                f"response {response.request_id} comes from slot {response.actor_slot}, but slot "
                f"{ticket.request.actor_slot} was asked: carry each response back under the "
                "request_id of its own request"
            )
            raise ValueError(msg)
        return ticket

    def _snapshot(self, ticket: Ticket, response: SnapshotResponse) -> Snapshot:
        actor = ticket.scheduled.actor
        fields = normalise_fields(response.data)
        actor.check_dims(fields)
        captured = getattr(response.data, "params", None)
        return Snapshot(
            fields=fields,
            name_prefix=self._state.config.name_prefix,
            kernel_id=actor.kernel_id,
            kernel_type=actor.kernel_type,
            actor_slot=actor.actor_slot,
            step=response.step,
            request_id=response.request_id,
            params=actor.params if captured is None else check_params(captured),
            backend=actor.backend,
            parent=ticket.lineage.parent,
            field_attrs=actor.fields,
        )

    def _refused(self, ticket: Ticket, response: SnapshotResponse) -> SnapshotFailed:
        actor = ticket.scheduled.actor
        why = response.error or "the kernel gave no reason"
        self._announce.failed(actor.actor_slot, response.request_id, response.step, why)
        return SnapshotFailed(
            f"the snapshot of actor {actor.kernel_id!r} in slot {actor.actor_slot} failed: {why}; "
            "it is retried, or ask again with request_snapshot"
        )

    def _commit(self, ticket: Ticket, snapshot: Snapshot, data: object) -> str:
        state = self._state
        try:
            name, receipt = self._save(ticket, snapshot, data)
            self._announce.committed(snapshot, name, receipt)
            gone = retire(
                self._storage,
                snapshot.name_prefix,
                snapshot.kernel_id,
                state.config.policy,
                protect=(name,),
                receipt=receipt,
            )
            self._announce.retired(snapshot.actor_slot, gone)
            return name
        finally:
            with state.lock:
                state.saves -= 1
                last = state.closed and state.saves == 0
            if last:
                self._on_last_save()

    def _save(
        self, ticket: Ticket, snapshot: Snapshot, data: object
    ) -> tuple[str, SaveReceipt | None]:
        state = self._state
        try:
            name, receipt = save_as_new(self._storage, snapshot)
        except BaseException as error:  # an interrupt too must not leave the actor asked for ever
            release(data)
            with state.lock:
                state.failed += 1
                state.schedule.end(ticket, state.clock(), "failure")
            why = str(error) or type(error).__name__
            self._announce.failed(snapshot.actor_slot, snapshot.request_id, snapshot.step, why)
            raise
        release(data)  # first of all, so that the next request finds a free buffer
        with state.lock:
            state.completed += 1
            ticket.lineage.parent = name
            state.schedule.end(ticket, state.clock(), "success")
        return name, receipt
