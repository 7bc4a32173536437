"""The checkpoint manager: who is due, which answer belongs to which request, what is kept.

A session, or a user who turns the crank by hand, polls it for requests, carries them to a kernel and
brings the answers back. It knows no kernel and owns no thread. `ringnb.checkpoint.schedule` decides
about time, `ringnb.checkpoint.committing` works on the store, `ringnb.checkpoint.history` reads it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn, Self, final

from ringnb._support.checks import check_json, check_slot, check_text, refuse_pickle
from ringnb._support.text import facts_table
from ringnb.checkpoint.budget import StoreBudget
from ringnb.checkpoint.committing import (
    EventEmitter,
    Saving,
    check_response,
    check_slots,
    delete_all,
    judge,
    make_snapshot,
    release,
    retire_after,
    save_all,
    snapshot_failed,
)
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.cutting import (
    Parents,
    Parts,
    answering,
    cut_key,
    finish_cut,
    lineages_in,
    run_of_cuts,
    save_cut,
    singles,
    slots_by_key,
    slots_of,
    stored_names,
)
from ringnb.checkpoint.history import (
    find_latest,
    fits_type,
    newest_of,
    newest_sound,
    of_actor,
    read_history,
)
from ringnb.checkpoint.pruning import PrunedRun, check_discard, find_by_name, prune_runs
from ringnb.checkpoint.registration import RegisteredActor
from ringnb.checkpoint.retention import (
    Policy,
    RetentionPreview,
    check_policy,
    check_preview,
    preview_runs,
)
from ringnb.checkpoint.runs import Lineage, RunInfo, list_runs
from ringnb.checkpoint.schedule import PendingRequest, Schedule
from ringnb.checkpoint.storage.base import CheckpointStorage, check_storage
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import CheckpointError
from ringnb.messages.events import EventSink
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse

__all__ = ["CheckpointManager"]

_NO_ANSWER = "no answer within request_timeout"


@final
class CheckpointManager:
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
    raise `CheckpointError`. A method that reads the store raises what the storage raises.
    """

    def __init__(
        self,
        config: CheckpointConfig,
        storage: CheckpointStorage | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        observer: EventSink | None = None,
    ) -> None:
        if not isinstance(config, CheckpointConfig):
            msg = f"config must be a CheckpointConfig, got {config!r} ({type(config).__name__})"
            raise TypeError(msg)
        if not callable(clock):
            msg = f"clock must be callable, got {clock!r} ({type(clock).__name__})"
            raise TypeError(msg)
        self._events = EventEmitter(observer)
        self._budget = StoreBudget()
        self._clock = clock
        self._owns_storage = storage is None
        if storage is None:
            self._storage: CheckpointStorage = ZarrStorage(str(config.storage_path))
        else:
            self._storage = check_storage(storage)
        # The lock guards what follows, and nothing else. It is never held while the storage works or
        # the observer runs: a slow disk delays no other actor, and an observer may call the manager.
        self._lock = threading.Lock()
        self._config = config  # replaced, never changed
        self._schedule = Schedule(config.interval_s, config.request_timeout_s)
        self._completed = 0
        self._failed = 0
        # Commits in progress, with the retention that follows each.
        self._saves: set[PendingRequest] = set()
        self._closed = False

    def _check_open(self) -> None:
        if self._closed:
            msg = "the manager is closed and does nothing any more: make a new CheckpointManager"
            raise CheckpointError(msg)

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
        code: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Any] | None = None,
    ) -> None:
        """Register an actor; one that is registered in the slot already is replaced.

        It is due at once if it has no checkpoint, and an interval from now if it has history. Its newest
        run goes on, unless `note_restored` says otherwise.

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
        code : mapping, optional
            What it runs, recorded with every checkpoint: JSON values by name.
        arrays : mapping, optional
            Arrays that it reads and never changes, kept once beside the store; their digests are in
            ``code["arrays"]``, by name.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed, or `kernel_id` is registered in another slot.
        """
        actor = RegisteredActor.make(
            actor_slot,
            kernel_id,
            kernel_type,
            params=params,
            backend=backend,
            fields=fields,
            code=code,
            arrays=arrays,
            name_prefix=self._config.name_prefix,
        )
        self.register_all([actor])

    def register_all(self, actors: Sequence[RegisteredActor]) -> None:
        """Register actors, checked already, as `register_actor` does; of many, the store is read once.

        Parameters
        ----------
        actors : sequence of RegisteredActor
            The actors.

        Raises
        ------
        ValueError
            If the identity of one is registered in another slot. Those before it are registered then.
        """
        self._check_open()
        found = newest_of(self._storage, actors)
        dropped: list[SnapshotRequest] = []
        with self._lock:
            self._check_open()
            now = self._clock()
            for actor, last in zip(actors, found, strict=True):
                parent = None if last is None else Lineage(last.name, last.id, last.run)
                dropped += self._schedule.add(actor, now, parent)
        self._events.ended("cancelled", dropped, "the actor was replaced in its slot")

    def unregister_actor(self, actor_slot: int) -> None:
        """Forget an actor and drop its pending request; its checkpoints stay.

        Parameters
        ----------
        actor_slot : int
            Its slot. An empty one is left as it is.
        """
        slot = check_slot(actor_slot)
        with self._lock:
            self._check_open()
            dropped = self._schedule.remove(slot)
        self._events.ended("cancelled", dropped, "the actor was unregistered")

    def note_restored(
        self,
        actor_slot: int,
        checkpoint: Checkpoint | str | None,
        *,
        earlier: Collection[int] | None = None,
    ) -> str | None:
        """Note which checkpoint an actor's live state now continues from.

        It holds for requests issued from now on. A request issued before continues the old line,
        unless the caller knows that its state will be captured after the restore. The next commit
        continues the run of the checkpoint if that is the newest of its run, else it begins a run.

        Parameters
        ----------
        actor_slot : int
            The actor's slot.
        checkpoint : Checkpoint or str or None
            The checkpoint it was restored from, or its name; None if it started afresh.
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
        parent = None
        if isinstance(checkpoint, str):
            parent = Lineage(check_text(checkpoint, "checkpoint"))
        elif checkpoint is not None:
            parent = Lineage(checkpoint.name, checkpoint.id)
        with self._lock:
            self._check_open()
            before = self._schedule.note_restored(slot, parent, earlier)
        return None if before is None else before.name

    # --- requests ---

    def poll_due_snapshots(
        self, *, unless: Callable[[int], bool] | None = None
    ) -> list[SnapshotRequest]:
        """Expire what was not answered in time, and issue a request to every actor that is due.

        The work grows with the actors due or expired, not with those registered or pending.

        Parameters
        ----------
        unless : callable, optional
            Called with the slot of each actor that is due. One for which it returns True has nothing
            new to save: it gets no request, and is due again an interval from now. It runs under the
            manager's lock, so it must not call the manager.

        Returns
        -------
        list of SnapshotRequest
            New requests, oldest due first, ties by slot; empty while disabled.
        """
        with self._lock:
            self._check_open()
            now = self._clock()
            expired = self._schedule.expire(now)
            self._failed += len(expired)
            issued = self._schedule.request_due(now, unless) if self._config.enabled else []
        self._events.ended("expired", expired, _NO_ANSWER)
        self._events.requested(now, issued, due=True)
        return [request for _, request in issued]

    def request_snapshot(
        self, actor_slot: int, *, attrs: Mapping[str, Any] | None = None
    ) -> SnapshotRequest | None:
        """Issue a request now, whether the actor is due or not and whether polling is enabled or not.

        Parameters
        ----------
        actor_slot : int
            The actor's slot.
        attrs : mapping, optional
            The user's own metadata, JSON values by name, recorded in the checkpoint. They take the
            place of those that the pending request was given before.

        Returns
        -------
        SnapshotRequest or None
            The one request pending for the actor, which may have been issued before; None if no
            actor is registered in the slot.

        Raises
        ------
        TypeError, ValueError
            If `attrs` is not a mapping of JSON values; nothing is requested then.
        """
        slot = check_slot(actor_slot)
        checked = None if attrs is None else check_json(attrs, "attrs")
        with self._lock:
            self._check_open()
            now = self._clock()
            expired = self._schedule.expire(now)
            self._failed += len(expired)
            request, new = self._schedule.request(slot, now, checked) or (None, False)
        self._events.ended("expired", expired, _NO_ANSWER)
        if request is not None and new:
            self._events.requested(now, [(now, request)], due=False)
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
        with self._lock:
            self._check_open()
            cancelled = self._schedule.cancel(request_id, self._clock())
        self._events.ended("cancelled", cancelled)
        return bool(cancelled)

    def cancel_all_pending(self) -> None:
        """Cancel every request whose answer is not being saved already."""
        with self._lock:
            self._check_open()
            cancelled = self._schedule.cancel_all(self._clock())
        self._events.ended("cancelled", cancelled)

    def seconds_until_next(self, actor_slot: int | None = None) -> float | None:
        """Return how long until a poll has something to do.

        Parameters
        ----------
        actor_slot : int, optional
            Only until this actor gets a request by itself: after a failure, until the next try.

        Returns
        -------
        float or None
            Seconds until an actor is due or a request expires, 0.0 if one is now; None if nothing
            will happen before the next registration, request or answer.
        """
        slot = None if actor_slot is None else check_slot(actor_slot)
        with self._lock:
            self._check_open()
            at = self._schedule.next_event_s(slot, polling=self._config.enabled)
            return None if at is None else max(0.0, at - self._clock())

    # --- answers ---

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
        [result] = self.complete_snapshots([response])
        if isinstance(result, Exception):
            raise result
        return result

    def complete_snapshots(
        self, responses: Iterable[SnapshotResponse]
    ) -> list[str | Exception | None]:
        """Commit the answers to several requests together, then retire what is too old.

        Many small checkpoints become durable in little more time than one. Each is there as a whole or
        not, and what becomes of one is independent of the others.

        Parameters
        ----------
        responses : iterable of SnapshotResponse
            What the kernel answered. The data need stay valid only until this returns, and is released
            when all of it is needed no more.

        Returns
        -------
        list of str, Exception or None
            For each what `complete_snapshot` would return, or the exception that it would raise.
        """
        results: list[str | Exception | None] = []
        saving: dict[int, tuple[PendingRequest, Saving]] = {}
        try:
            try:
                for place, response in enumerate(responses):
                    results.append(None)
                    try:
                        self._begin(response, place, saving)
                    except Exception as error:  # noqa: BLE001 - returned: the others go on
                        results[place] = error
                save_all(self._storage, [s for _, s in saving.values()])
            except BaseException as error:
                # An interrupt: it must not leave a request pending for ever.
                for _, s in saving.values():
                    s.error = error if s.name is None else s.error
                raise
            finally:
                try:
                    self._end_all(saving.values())
                except BaseException:  # an interrupt: what was ended is not ended again
                    self._end_all(saving.values())
                    raise
            # Only now: the new checkpoints are durable before anything older is deleted.
            self._retire([s for _, s in saving.values()])
        finally:
            self._forget_saves([pending for pending, _ in saving.values()])
        for place, (_, s) in saving.items():
            results[place] = s.error if isinstance(s.error, Exception) else s.name
        return results

    def commit_cut(
        self, parts: Parts, parents: Parents, attrs: Mapping[str, Any] | None = None
    ) -> str:
        """Commit the states of several actors as one checkpoint: a reader sees all of them, or none.

        Parameters
        ----------
        parts : sequence of SnapshotResponse
            A state of each actor. A request that waits for one ends with the commit, as it does with
            `complete_snapshot`. The data is released when it is needed no more.
        parents : mapping of int to Lineage or None
            By slot, what `lineage` returned before the capture. The actor's next checkpoint continues
            from the cut, unless that has changed since.
        attrs : mapping, optional
            The user's own metadata, JSON values by name; by default that of the requests.

        Returns
        -------
        str
            The name, ``{name_prefix}_cut_step_{step}``, with the largest step of the parts.

        Raises
        ------
        TypeError, ValueError
            If a part is not a successful answer of a registered actor, or cannot be stored.
        Exception
            What the storage raised. Nothing is stored then.
        """
        self._check_open()
        with answering(self._schedule, self._lock, self._clock, self._events, parts) as wanted:
            store, failed = (self._storage, self._config), 1
            try:
                with self._lock:
                    self._saves.update(wanted)
                saving = save_cut(*store, self.registered, parts, parents, attrs, wanted)
                with self._lock:
                    failed, self._completed = 0, self._completed + 1
                    now, saved = self._clock(), lineages_in(saving)
                    live = self._schedule.note_cut(saved, now, parents, wanted)
                    newly_bad = self._schedule.note_bad(saved, saving.bad_slots)
                freed = finish_cut(*store, saving, live, self._events, parts, newly_bad=newly_bad)
                self._keep_budget([saving], freed)
                return str(saving.name)
            finally:
                self._forget_saves(wanted, failed)

    def _forget_saves(self, ended: Collection[PendingRequest], failed: int = 0) -> None:
        with self._lock:
            self._failed += failed
            self._saves.difference_update(ended)
            last = self._closed and bool(ended) and not self._saves
        if last:
            self._close_storage()  # `close` left this to the last commit in progress

    def _begin(
        self,
        response: SnapshotResponse,
        place: int,
        saving: dict[int, tuple[PendingRequest, Saving]],
    ) -> None:
        """Check an answer and add it to those that are being saved, unless no request waits for it."""
        check_response(response)
        with self._lock:
            pending = self._schedule.waiting(response.request_id)
        if pending is None:
            self._ignore(response)
            return
        actor, parent = pending.scheduled.actor, pending.parent
        check_slots(response, actor)
        snapshot = None  # as it stays if the kernel could not take it
        if response.success:
            guard = self._config.state_guard
            # Without the lock, because it may copy the data.
            snapshot = make_snapshot(response, actor, parent, pending.attrs, guard)
        with self._lock:
            if self._schedule.waiting(response.request_id) is not pending:
                pending = None  # it expired, or another thread took it, while the data was checked
            elif snapshot is None:
                self._failed += 1
                self._schedule.fail(pending, self._clock())
            else:
                # Entered first, so that whatever comes next, an interrupt too, finds it to be ended.
                saving[place] = pending, Saving(pending.parent, response, snapshot)
                self._saves.add(pending)
                self._schedule.begin_save(pending, response.data)
        if pending is None:
            self._ignore(response)
            return
        if snapshot is None:
            release(response.data)
            why = response.error or "the kernel gave no reason"
            self._events.failed(response, why)
            raise snapshot_failed(actor, why)

    def _ignore(self, response: SnapshotResponse) -> None:
        """Release an answer that no request waits for; then CheckpointError if the manager is closed."""
        with self._lock:
            saving = self._schedule.saving(response.request_id)
            # Delivered twice, the same response still lends its data to the save in progress.
            lent = saving is not None and saving.data is response.data
        if not lent:
            release(response.data)
        self._check_open()

    def _end_all(self, saving: Collection[tuple[PendingRequest, Saving]]) -> None:
        """Release the data, and end the requests as succeeded or failed, if that was not done."""
        for _, s in saving:  # before all else: the next requests need free buffers
            release(s.response.data)
        for pending, s in saving:
            self._end(pending, s)

    def _end(self, pending: PendingRequest, saving: Saving) -> None:
        response, snapshot, name = saving.response, saving.snapshot, saving.name
        with self._lock:
            if self._schedule.has_ended(pending):
                pass
            elif name is None:
                self._failed += 1
                self._schedule.fail(pending, self._clock())
            else:
                self._completed += 1
                saved = Lineage(name, snapshot.id, snapshot.run)
                self._schedule.succeed(pending, self._clock(), saved)
        if saving.told:
            return
        saving.told = True
        if name is None:
            self._events.failed(response, str(saving.error) or type(saving.error).__name__)
        else:
            self._events.committed(response, name, saving.receipt)
            was_bad, actor = pending.scheduled.is_bad, pending.scheduled.actor
            pending.scheduled.is_bad = judge(self._events, actor, saving, was_bad=was_bad)

    def _retire(self, saving: Iterable[Saving]) -> None:
        """Delete what retention no longer keeps of actors that were just saved."""
        saved = [s for s in saving if s.name is not None]
        with self._lock:
            lineages = [self._schedule.lineage(s.snapshot.actor_slot) for s in saved]
        protect = [None if lineage is None else lineage.name for lineage in lineages]
        retired = retire_after(self._storage, saved, self._config.policy, protect)
        for slot, info in retired:
            self._events.retired(slot, info)
        if saved:
            self._keep_budget(saved, sum(info.nbytes for _, info in retired))

    def _keep_budget(self, saved: Sequence[Saving], freed: int) -> list[CheckpointInfo]:
        """Delete what is too much for the whole store, other actors' checkpoints included."""
        budget = self._config.store_budget
        if budget is None:
            return []
        deleted = self._budget.enforce(self._storage, budget, saved, freed, self._live_lineages)
        for info in deleted:
            self._events.retired(info.actor_slot, info)
        return deleted

    # --- the store ---

    def load_latest(
        self,
        actor_slot: int,
        *,
        fits: Callable[[Checkpoint], str | None] | None = None,
        good: bool = False,
    ) -> Checkpoint | None:
        """Open the newest checkpoint of an actor, of any run, that verifies and fits.

        Parameters
        ----------
        actor_slot : int
            The actor's slot. The identity registered there decides; for an empty slot, all
            checkpoints recorded under the slot count.
        fits : callable, optional
            Called with each candidate, newest first; returns why it does not fit the actor, None if it
            does. By default one of the actor's registered type fits.
        good : bool, default False
            Whether to look only at those whose state was not found to be bad.

        Returns
        -------
        Checkpoint or None
            None if there is no checkpoint at all.

        Raises
        ------
        CheckpointCorrupt
            If there are checkpoints and none of them verifies.
        CheckpointNotFound
            If there are checkpoints and none of them fits; the message says why.

        Warns
        -----
        CheckpointWarning
            If some had to be passed over, as damaged or because they do not fit; it names them.
        """
        prefix, slot, kernel_id = self._actor_key(actor_slot)
        with self._lock:
            actor = self._schedule.actor(slot)
        if fits is None:
            fits = fits_type(None if actor is None else actor.kernel_type)
        return find_latest(self._storage, prefix, slot, kernel_id, fits, good=good)

    def list_checkpoints(self, actor_slot: int) -> list[str]:
        """Return the names of an actor's checkpoints, oldest commit first.

        Parameters
        ----------
        actor_slot : int
            The actor's slot, as for `load_latest`.

        Returns
        -------
        list of str
            Without those whose metadata is damaged.
        """
        return [e.name for e in self.history(actor_slot)]

    def history(self, actor_slot: int) -> list[CheckpointInfo]:
        """Return what the store says of an actor's checkpoints, oldest commit first.

        Parameters
        ----------
        actor_slot : int
            The actor's slot, as for `load_latest`.

        Returns
        -------
        list of CheckpointInfo
            Step, time, size and pin of each; without those whose metadata is damaged.
        """
        return read_history(self._storage, *self._actor_key(actor_slot))

    def _histories(self) -> list[tuple[int, list[CheckpointInfo]]]:
        return [(slot, self.history(slot)) for slot in self.registered]

    def _cuts(self) -> list[CheckpointInfo]:
        return self._storage.history(*cut_key(self._config.name_prefix))

    def runs(self, actor_slot: int) -> list[RunInfo]:
        """Return the runs of an actor: each is one line of checkpoints, without forks.

        Parameters
        ----------
        actor_slot : int
            The actor's slot, as for `load_latest`.

        Returns
        -------
        list of RunInfo
            That with the oldest checkpoint first.
        """
        key, known = self._actor_key(actor_slot), self._storage.catalogue()
        return list_runs(of_actor(known, *key), self._run(key[1]), known)

    def lineage(self, actor_slot: int) -> Lineage | None:
        """Return what an actor's live state continues from.

        Parameters
        ----------
        actor_slot : int
            The actor's slot.

        Returns
        -------
        Lineage or None
            The checkpoint by `name` and `id`, and the `run` that the state goes on with; a run of None
            is decided at the next commit. None if the state began afresh, or the slot is empty.
        """
        with self._lock:
            return self._schedule.lineage(check_slot(actor_slot))

    def preview_retention(self, policy: Policy | None = None) -> RetentionPreview:
        """Say what a policy, and then the store's budget, would delete now. Nothing changes.

        Parameters
        ----------
        policy : Policy, optional
            By default the configured one.

        Returns
        -------
        RetentionPreview
            What would stay, what would be deleted, and what that frees.

        Raises
        ------
        TypeError
            If it is not a policy.
        """
        policy = self._config.policy if policy is None else check_policy(policy, "policy")
        runs = [(singles(h), self._run(s), self._always_kept(s)) for s, h in self._histories()]
        runs.append(run_of_cuts(self._cuts(), self._live_lineages()))
        preview = preview_runs(self._storage, policy, runs)
        budget = self._config.store_budget
        return self._budget.preview(self._storage, budget, preview, self._live_lineages())

    def apply_retention(self, *, shown: RetentionPreview | None = None) -> list[str]:
        """Delete what policy and budget do not keep, without waiting for a commit.

        Parameters
        ----------
        shown : RetentionPreview, optional
            What somebody has seen and agreed to: its policy holds from now on, and exactly what it
            deletes is deleted. By default what the configured policy deletes now.

        Returns
        -------
        list of str
            What was deleted. The newest checkpoint that verifies stays, whatever the policy says.

        Raises
        ------
        CheckpointError
            If other checkpoints would go by now than `shown` says. Nothing has changed then: neither
            the policy nor the store.
        """
        self._check_open()
        shown = self.preview_retention() if shown is None else self._adopt(shown)
        slots = slots_by_key(self._config.name_prefix, self.registered)
        deleted = delete_all(self._storage, shown.delete)
        for e in deleted:
            self._events.retired(slots.get((e.name_prefix, e.kernel_id), e.actor_slot), e)
        return [e.name for e in (*deleted, *self._keep_budget([], 0))]

    def _adopt(self, shown: RetentionPreview) -> RetentionPreview:
        """Adopt the policy of a preview, or refuse."""
        before = None
        while True:
            with self._lock:
                now = self._completed, self._schedule.lineages(), self._config
                # What has changed while it was looked may change what goes: then it looks again. A
                # later commit deletes by the new policy, as it should; here only what was shown goes.
                if now == before:
                    self._config = self._config.changed(retention=shown.policy)
                    self._budget.look_again()
                    return shown
            before = now
            check_preview(shown, self.preview_retention(shown.policy))

    def discard(self, name: str, *, dry_run: bool = False) -> int:
        """Delete one checkpoint of a registered actor by hand, under retention's promises.

        Parameters
        ----------
        name : str
            The checkpoint.
        dry_run : bool, default False
            Only say what it would free.

        Returns
        -------
        int
            Bytes freed, counted as in `RetentionPreview`.

        Raises
        ------
        CheckpointNotFound
            If no registered actor has a checkpoint of this name whose metadata is sound.
        CheckpointError
            If it is pinned, or the newest of its actor that verifies.
        """
        slot, info = find_by_name(name, [(0, self._cuts()), *self._histories()])
        check_discard(info, self._newest_sound(*slots_of(info, slot, self.registered)))
        freed = self._storage.freed_by([name])
        if not dry_run:
            self._storage.delete(name)
            self._events.retired(slot, info)
        return freed

    def prune_runs(
        self, keep_runs: int = 1, *, dry_run: bool = False, only: Collection[str] | None = None
    ) -> list[PrunedRun]:
        """Delete whole runs of the registered actors by hand, but the newest of each.

        The run that a live actor goes on with stays, and the checkpoint that it continues from.

        Parameters
        ----------
        keep_runs : int, default 1
            How many runs of each actor stay, those with the newest commits.
        dry_run : bool, default False
            Only say what would go.
        only : collection of str, optional
            Ids of the checkpoints that may go: those of a preview that was shown. By default all may.

        Returns
        -------
        list of PrunedRun
            As `ringnb.checkpoint.pruning.prune_runs`, which says what else stays.

        Raises
        ------
        TypeError, ValueError
            If `keep_runs` is not an integer >= 1.
        """
        slots = slots_by_key(self._config.name_prefix, self.registered)
        self._check_open()
        stay = [*stored_names(lives := self._live_lineages()), *(x.run for x in lives if x.run)]
        pruned = prune_runs(
            self._storage, keep_runs, dry_run=dry_run, actors=slots, stay=stay, only=only
        )
        for run in [] if dry_run else pruned:
            self._events.retired(slots[run.name_prefix, run.kernel_id], *run.delete)
        return pruned

    def _run(self, slot: int) -> str | None:
        """Return the id of the run that an actor goes on with; None before its first commit."""
        lineage = self.lineage(slot)
        return None if lineage is None else lineage.run

    def _live_lineages(self) -> list[Lineage]:
        with self._lock:
            return self._schedule.lineages()

    def _always_kept(self, slot: int) -> list[str]:
        """Return what no policy deletes: the newest that verifies, and what the live state is from."""
        live = self.lineage(slot)
        return [*([] if live is None else [live.name]), *self._newest_sound(slot)]

    def _newest_sound(self, *slots: int) -> list[str]:
        return [n for s in slots for n in newest_sound(self._storage, *self._actor_key(s))]

    def _actor_key(self, actor_slot: int) -> tuple[str, int, str | None]:
        """Return prefix, slot and identity, by which the store knows a slot's checkpoints."""
        slot = check_slot(actor_slot)
        with self._lock:
            self._check_open()
            actor = self._schedule.actor(slot)
        return self._config.name_prefix, slot, None if actor is None else actor.kernel_id

    # --- configuration and the end ---

    def reconfigure(self, **changes: Any) -> None:
        """Change how checkpoints are taken, while running. If one change is refused, none is made.

        Parameters
        ----------
        **changes : object
            Any of ``interval``, ``max_snapshots``, ``enabled``, ``request_timeout``, ``retention``,
            ``store_budget``, ``on_close``, ``on_close_timeout``, ``guard``. Due times follow a new
            interval at once. What is kept changes with the next commit; a new ``max_snapshots`` takes
            the place of a ``retention`` policy.

        Raises
        ------
        TypeError, ValueError
            If a value is not allowed, or ``storage_path`` or ``name_prefix`` is to change.
        """
        with self._lock:
            self._check_open()
            self._config = self._config.changed(**changes)
            self._budget.look_again()
            self._schedule.retime(self._config.interval_s, self._config.request_timeout_s)

    def close(self) -> None:
        """Drop what is pending, and close the storage if the manager made it. Idempotent.

        It does not wait: a commit in progress on another thread ends as usual, and the storage is
        closed right after the last of them.
        """
        with self._lock:
            if self._closed:
                return
            cancelled = self._schedule.cancel_all(self._clock())
            self._closed = True
            idle = not self._saves
        self._events.ended("cancelled", cancelled, "the manager was closed")
        if idle:
            self._close_storage()

    def _close_storage(self) -> None:
        if self._owns_storage:
            self._storage.close()

    def __enter__(self) -> Self:
        """Return the manager itself."""
        self._check_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close."""
        self.close()

    # --- what can be seen at any time, also after it was closed ---

    @property
    def config(self) -> CheckpointConfig:
        """The configuration that holds now."""
        return self._config

    @property
    def is_enabled(self) -> bool:
        """Whether automatic snapshots are taken."""
        return self._config.enabled

    @property
    def storage(self) -> CheckpointStorage:
        """Where checkpoints go."""
        return self._storage

    @property
    def pending_count(self) -> int:
        """Requests without an outcome yet, those whose answer is being saved included."""
        with self._lock:
            return self._schedule.pending_count

    @property
    def pending(self) -> tuple[SnapshotRequest, ...]:
        """The requests that `pending_count` counts, oldest first."""
        with self._lock:
            return self._schedule.pending()

    @property
    def registered(self) -> Mapping[int, RegisteredActor]:
        """The registered actors by slot, a read-only copy."""
        with self._lock:
            return self._schedule.actors()

    @property
    def total_completed(self) -> int:
        """Snapshots committed by this manager."""
        return self._completed

    @property
    def total_failed(self) -> int:
        """Snapshots that failed in the kernel, in the storage, or by expiry."""
        return self._failed

    def __reduce__(self) -> NoReturn:
        """Refuse: TypeError."""
        refuse_pickle("a CheckpointManager", "pickle its config, and make a manager from that")

    def __repr__(self) -> str:
        """Summarise the state."""
        summary = ", ".join(f"{k}: {v}" for k, v in self._summary().items())
        return f"<{type(self).__name__} {summary}>"

    def _repr_html_(self) -> str:
        """Show the state as a small table."""
        return facts_table(type(self).__name__, self._summary())

    def _summary(self) -> dict[str, object]:
        config = self._config
        return {
            "state": "closed" if self._closed else "enabled" if config.enabled else "disabled",
            "every": f"{config.interval_s:g} s",
            "keeps": config.retention or config.max_snapshots or "all",
            "actors": len(self.registered),
            "pending": self.pending_count,
            "completed": self._completed,
            "failed": self._failed,
            "storage": self._storage,
        }
