"""From an answer to a checkpoint: match it, check it, commit it, retire what is too old, tell of it.

The steps are ordered so that a bad answer changes nothing, a good one is claimed by exactly one thread,
borrowed data is given back as soon as it is saved, and the counters tell what the store holds. The new
checkpoint is durable before anything older is deleted. What works on the store runs without the
manager's lock, and so does the observer, who watches and has no say.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, final

from ringnb.checkpoint.retention import Policy, choose
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.records import SaveReceipt, Snapshot
from ringnb.errors import CheckpointError, CheckpointNotFound, SnapshotFailed, StoreLocked
from ringnb.messages.events import Event, EventSink, Stage
from ringnb.messages.snapshots import SnapshotResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from ringnb.checkpoint.manager_state import ManagerState
    from ringnb.checkpoint.schedule import Ticket
    from ringnb.checkpoint.storage.base import CheckpointStorage
    from ringnb.checkpoint.storage.records import CheckpointInfo, SaveReceipt, Snapshot
    from ringnb.messages.snapshots import SnapshotRequest

__all__ = [
    "Announcer",
    "Completion",
    "release",
    "retire",
    "save_as_new",
]


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
        captured = getattr(response.data, "params", None)
        snapshot = Snapshot(
            fields=response.data,
            name_prefix=self._state.config.name_prefix,
            kernel_id=actor.kernel_id,
            kernel_type=actor.kernel_type,
            actor_slot=actor.actor_slot,
            step=response.step,
            request_id=response.request_id,
            params=actor.params if captured is None else captured,
            backend=actor.backend,
            parent=ticket.lineage.parent,
            field_attrs=actor.fields,
        )
        actor.check_dims(snapshot.fields)
        return snapshot

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


_LOST_RACES = 100
logger = logging.getLogger("ringnb.checkpoint")


def save_as_new(storage: CheckpointStorage, snapshot: Snapshot) -> tuple[str, SaveReceipt | None]:
    """Save under ``{name_prefix}_{actor_slot}_step_{step}``, or that with the first free suffix.

    Parameters
    ----------
    storage : CheckpointStorage
        The store.
    snapshot : Snapshot
        What to save.

    Returns
    -------
    tuple of str and SaveReceipt or None
        The name it got, and what the storage says about the commit.

    Raises
    ------
    Exception
        What the storage raises, unless that was only because the name had just been taken.
    """
    name = f"{snapshot.name_prefix}_{snapshot.actor_slot}_step_{snapshot.step}"
    for _ in range(_LOST_RACES):
        chosen = _free_name(storage, name)
        try:
            return chosen, storage.save(chosen, snapshot)
        except StoreLocked:
            raise
        except CheckpointError:
            # Another manager may have committed this name since it was found free. Only then is
            # another name the remedy; any other failure is the caller's to hear about.
            if not storage.exists(chosen):
                raise
    msg = (
        f"no free name for {name!r} after {_LOST_RACES} attempts: the store reports every name as "
        "taken right after a failed save; check it with storage.list()"
    )
    raise CheckpointError(msg)


def _free_name(storage: CheckpointStorage, name: str) -> str:
    if not storage.exists(name):
        return name
    # One listing instead of a look-up for each of what may be hundreds of repeats of one step.
    taken = set(storage.list())
    suffix = 2
    while (candidate := f"{name}.{suffix}") in taken or storage.exists(candidate):
        suffix += 1
    return candidate


def retire(
    storage: CheckpointStorage,
    name_prefix: str,
    kernel_id: str,
    policy: Policy,
    protect: Collection[str],
    receipt: SaveReceipt | None = None,
) -> list[CheckpointInfo]:
    """Delete what retention no longer keeps of an actor.

    Parameters
    ----------
    storage : CheckpointStorage
        The store.
    name_prefix, kernel_id : str
        Whose history this is.
    policy : Policy
        What stays.
    protect : collection of str
        Names that stay whatever the policy says.
    receipt : SaveReceipt, optional
        Of the commit of this actor that this follows.

    Returns
    -------
    list of CheckpointInfo
        What was deleted, oldest first.

    Notes
    -----
    A store or a policy that fails here is logged and not raised: what was committed stands, and the
    next commit reads the history again and so tries again by itself.
    """
    try:
        if receipt is None:
            history = storage.history(name_prefix, kernel_id)
        else:
            history = storage.history_after(receipt, name_prefix, kernel_id)
        doomed = choose(history, policy, storage.load, protect=protect)
    except Exception:
        logger.warning(
            "the history of actor %r could not be read for retention (%r); the next commit tries again",
            kernel_id,
            policy,
            exc_info=True,
        )
        return []
    gone = []
    for info in doomed:
        try:
            storage.delete(info.name)
        except CheckpointNotFound:
            continue  # another manager on this store retired it first
        except Exception:
            logger.warning(
                "%r could not be retired; the next commit tries again", info.name, exc_info=True
            )
        else:
            gone.append(info)
    return gone


def release(data: object) -> None:
    """Give a snapshot's data back to whoever lent it, if it was lent.

    Parameters
    ----------
    data : object
        What a response carried; anything without a ``release`` method is left alone.
    """
    give_back = getattr(data, "release", None)
    if isinstance(data, memoryview) or not callable(give_back):
        return  # a memoryview's release() would take the caller's own view away
    try:
        give_back()
    except Exception:
        logger.exception("a snapshot's data could not be given back: %r", type(data))


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
