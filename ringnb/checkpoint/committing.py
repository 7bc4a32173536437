"""What the manager does to the store and for its observer, without holding its lock.

`CheckpointManager.complete_snapshots` calls them in this order: `check_response` and `check_slots` look
at each answer, `make_snapshot` joins it with what was registered, `save_all` commits them under free
names, `release` gives borrowed data back, and `retire_after` deletes what retention no longer keeps. An
`EventEmitter` reports each stage.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, final

from ringnb.checkpoint.guard import Guard, warn_of_bad_state
from ringnb.checkpoint.notices import describe_error, warn
from ringnb.checkpoint.registration import RegisteredActor
from ringnb.checkpoint.retention import Policy, choose_in_run
from ringnb.checkpoint.runs import Lineage, continue_run
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.cut_record import CUT, part_name
from ringnb.checkpoint.storage.document import describe_bad
from ringnb.checkpoint.storage.format import free_name
from ringnb.checkpoint.storage.records import CheckpointInfo, SaveReceipt, Snapshot, new_id
from ringnb.errors import CheckpointError, CheckpointNotFound, SnapshotFailed, StoreLocked
from ringnb.messages.events import Event, EventSink
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse

__all__ = [
    "EventEmitter",
    "Saving",
    "check_response",
    "check_slots",
    "delete_all",
    "judge",
    "make_snapshot",
    "release",
    "retire",
    "retire_after",
    "save_all",
    "snapshot_failed",
]

_MAX_ATTEMPTS = 100
_NO_GUARD = Guard("off")
logger = logging.getLogger("ringnb.checkpoint")


def check_response(response: object) -> None:
    """Raise TypeError for what is not an answer to a request."""
    if not isinstance(response, SnapshotResponse):
        msg = f"response must be a SnapshotResponse, got {response!r} ({type(response).__name__})"
        raise TypeError(msg)


def check_slots(response: SnapshotResponse, actor: RegisteredActor) -> None:
    """Raise ValueError if an answer comes from another slot than its request was issued to."""
    if actor.actor_slot != response.actor_slot:
        msg = (
            f"response {response.request_id} comes from slot {response.actor_slot}, but its request "
            f"was issued to slot {actor.actor_slot}: carry each response back under the request_id of "
            "its own request"
        )
        raise ValueError(msg)


def snapshot_failed(actor: RegisteredActor, why: str) -> SnapshotFailed:
    """Return the error of a snapshot that the kernel could not take."""
    return SnapshotFailed(
        f"the snapshot of actor {actor.kernel_id!r} in slot {actor.actor_slot} failed: {why}; it is "
        "retried, or request it again with request_snapshot"
    )


def make_snapshot(
    response: SnapshotResponse,
    actor: RegisteredActor,
    parent: Lineage | None,
    attrs: Mapping[str, Any] | None = None,
    guard: Guard = _NO_GUARD,
) -> Snapshot:
    """Join an answer with what was registered; TypeError or ValueError if it cannot be stored."""
    # Parameters may have changed since the registration: those at the capture are the state's.
    captured = getattr(response.data, "params", None)
    snapshot = Snapshot(
        fields=response.data,
        name_prefix=actor.name_prefix,
        kernel_id=actor.kernel_id,
        kernel_type=actor.kernel_type,
        actor_slot=actor.actor_slot,
        step=response.step,
        request_id=response.request_id,
        params=actor.params if captured is None else captured,
        backend=actor.backend,
        parent=None if parent is None else parent.name,
        field_attrs=actor.fields,
        run=new_id() if parent is None or parent.run is None else parent.run,
        parent_id=None if parent is None else parent.id,
        attrs=attrs or {},
        code=actor.code,
        examine=guard.mode != "off",
        clock=getattr(response.data, "clock", None),
        arrays=actor.arrays,
        reduced=getattr(response.data, "reduced", {}),
    )
    if guard.invariants:
        numbers = {**snapshot.params, **snapshot.reduced}
        broken = guard.broken(snapshot.fields, snapshot.step, numbers)
        snapshot = replace(snapshot, bad=broken)
    for name, array in snapshot.fields.items():
        dims = actor.fields.get(name, {}).get("dims")
        if dims is not None and len(dims) != array.ndim:
            msg = (
                f"field {name!r} has {array.ndim} axes but is registered with dims {dims!r}: "
                "register the actor with one dimension name per axis"
            )
            raise ValueError(msg)
    return snapshot


@final
@dataclass(slots=True, eq=False)
class Saving:
    """An answer that is being saved, and what came of it: a name or an error."""

    lineage: Lineage | None
    response: SnapshotResponse
    snapshot: Snapshot
    name: str | None = None
    receipt: SaveReceipt | None = None
    error: BaseException | None = None
    told: bool = False  # whether the observer was told how it ended
    bad_slots: Sequence[int] = ()  # of a cut: whose states are not good

    @property
    def bad(self) -> Sequence[Mapping[str, Any]]:
        """What is not good in the state: as it was found while it was written, if it was."""
        return self.snapshot.bad if self.receipt is None else self.receipt.bad

    @contextlib.contextmanager
    def noting_error(self) -> Iterator[None]:
        """Note an exception in place of raising it: the others of its group go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - see above
            self.error = error


def save_all(storage: CheckpointStorage, saving: Sequence[Saving]) -> None:
    """Save all, together if there are several, and note what came of each.

    Names are ``{name_prefix}_{actor_slot}_step_{step}``, or that with the first free suffix.
    """
    left = list(saving)
    for s in left:
        if s.lineage is not None and s.lineage.run is None:
            with s.noting_error():
                s.snapshot = continue_run(storage, s.snapshot, s.lineage)
    for _ in range(_MAX_ATTEMPTS):
        names: dict[str, Saving] = {}
        for s in left:
            with s.noting_error():
                names[_free_name(storage, _name_of(s.snapshot))] = s
        if names:
            _try_to_save(storage, names)
        left = [s for s in left if s.error is None and s.name is None]
        if not left:
            return
    for s in left:
        msg = (
            f"no free name for {_name_of(s.snapshot)!r} after {_MAX_ATTEMPTS} attempts: the store "
            "reports every name as taken right after a failed save; check it with storage.list()"
        )
        s.error = CheckpointError(msg)


def _try_to_save(storage: CheckpointStorage, saving: Mapping[str, Saving]) -> None:
    """Save under these names; note a name or an error, or neither where only the name was taken."""
    pairs = [(name, s.snapshot) for name, s in saving.items()]
    results: list[Any]
    try:
        one = len(pairs) == 1
        results = [storage.save(*pairs[0])] if one else _method(storage, "save_many")(pairs)
    except Exception as error:  # noqa: BLE001 - noted: it is that of each
        results = [error] * len(pairs)
    for (name, s), result in zip(saving.items(), results, strict=True):
        if not isinstance(result, Exception):
            s.name, s.receipt = name, result
        elif not _was_taken(storage, name, result):
            s.error = result


def _was_taken(storage: CheckpointStorage, name: str, error: Exception) -> bool:
    """Return whether a save failed because another manager had just committed under its name."""
    if not isinstance(error, CheckpointError) or isinstance(error, StoreLocked):
        return False
    try:
        return storage.exists(name)
    except (CheckpointError, OSError):
        return False


def _method(storage: CheckpointStorage, name: str) -> Callable[..., Any]:
    """Return a method that a storage has, or the default of one that only looks like a storage."""
    return getattr(storage, name, None) or partial(getattr(CheckpointStorage, name), storage)


def _name_of(snapshot: Snapshot) -> str:
    which = CUT if snapshot.cut else snapshot.actor_slot
    return f"{snapshot.name_prefix}_{which}_step_{snapshot.step}"


def _free_name(storage: CheckpointStorage, name: str) -> str:
    if not storage.exists(name):
        return name
    # One listing instead of a look-up for each of what may be hundreds of repeats of one step.
    taken = {name, *storage.list()}
    return free_name(name, lambda n: n in taken or storage.exists(n))


def retire(
    storage: CheckpointStorage,
    name_prefix: str,
    kernel_id: str,
    run: str,
    policy: Policy,
    protect: Collection[str],
) -> list[CheckpointInfo]:
    """Delete what retention no longer keeps of an actor's run; return that, oldest first."""
    return delete_all(storage, _to_retire(storage, name_prefix, kernel_id, run, policy, protect))


def retire_after(
    storage: CheckpointStorage,
    saved: Sequence[Saving],
    policy: Policy,
    protect: Sequence[str | None],
) -> list[tuple[int, CheckpointInfo]]:
    """Delete what retention no longer keeps of the actors that were just saved, together.

    `protect` has one more name that stays for each. Return what was deleted, with the actors' slots.
    """
    slots: dict[str, int] = {}
    to_delete: list[CheckpointInfo] = []
    for s, name in zip(saved, protect, strict=True):
        snapshot = s.snapshot
        key = (snapshot.name_prefix, snapshot.kernel_id, snapshot.run)
        keep = [n for n in (s.name, name) if n is not None]
        found = _to_retire(storage, *key, policy, keep, s.receipt)
        slots.update((info.name, snapshot.actor_slot) for info in found)
        to_delete += found
    return [(slots[info.name], info) for info in delete_all(storage, to_delete)]


def _to_retire(
    storage: CheckpointStorage,
    name_prefix: str,
    kernel_id: str,
    run: str,
    policy: Policy,
    protect: Collection[str],
    receipt: SaveReceipt | None = None,
) -> list[CheckpointInfo]:
    """Return what retention no longer keeps of an actor's run, oldest first.

    Names in `protect` stay whatever the policy says, and so do those at which another run begins. A
    `receipt` of the commit just made saves the storage reading what it knows. A store or a policy that
    fails is logged and not raised: the commit is valid without it, and the next one reads the history
    again and so tries again.
    """
    try:
        if receipt is None:
            history = storage.history(name_prefix, kernel_id)
        else:
            history = storage.history_after(receipt, name_prefix, kernel_id)
        branch_points = frozenset() if receipt is None else receipt.branch_points
        return choose_in_run(
            history, run, policy, storage.load, protect=protect, branch_points=branch_points
        )
    except Exception as error:
        logger.warning(
            "the history of actor %r could not be read for retention (%r); the next commit tries again",
            kernel_id,
            policy,
            exc_info=True,
        )
        if not isinstance(error, CheckpointError | OSError):  # a bug, which no later commit mends
            # In the same words each time: Python shows them once.
            warn(
                f"retention deletes nothing of actor {kernel_id!r}: {policy!r} failed with "
                f"{describe_error(error)}. Set another with reconfigure(retention=...); each commit "
                "tries again"
            )
        return []


def delete_all(
    storage: CheckpointStorage, to_delete: Sequence[CheckpointInfo]
) -> list[CheckpointInfo]:
    """Delete checkpoints; return those that were. A failure is logged: the next commit tries again."""
    names = [info.name for info in to_delete]
    try:
        if len(names) == 1:
            storage.delete(names[0])
            errors: list[Exception | None] = [None]
        else:
            errors = _method(storage, "delete_many")(names) if names else []
    except Exception as error:  # noqa: BLE001 - logged below
        errors = [error] * len(names)
    retired = []
    for info, why in zip(to_delete, errors, strict=True):
        if why is None:
            retired.append(info)
        elif not isinstance(why, CheckpointNotFound):  # else another manager retired it first
            logger.warning(
                "%r could not be retired; the next commit tries again", info.name, exc_info=why
            )
    return retired


def release(data: object) -> None:
    """Give a response's data back to its lender; data without a ``release`` method is left alone."""
    give_back = getattr(data, "release", None)
    if isinstance(data, memoryview) or not callable(give_back):
        return  # a memoryview's release() would take the caller's own view away
    try:
        give_back()
    except Exception:
        logger.exception("a snapshot's data could not be given back: %r", type(data))


@final
class EventEmitter:
    """Turns what happened into `Event` values for an observer, if there is one.

    The observer runs on the thread that caused the event, and must be called without the manager's
    lock: it may call the manager.
    """

    def __init__(self, observer: EventSink | None) -> None:
        if observer is not None and not callable(observer):
            msg = f"observer must be callable or None, got {observer!r} ({type(observer).__name__})"
            raise TypeError(msg)
        self._observer = observer

    def requested(
        self, now_s: float, issued: Sequence[tuple[float, SnapshotRequest]], *, due: bool
    ) -> None:
        """Report requests, each with when its actor became due, by the manager's clock like `now_s`."""
        if self._observer is None:
            return
        now_ns = time.monotonic_ns()
        for due_s, r in issued:
            if due:
                # The manager's clock may be injected, an event's is not: the lateness carries over.
                late_ns = round((now_s - due_s) * 1e9)
                self._emit(Event("due", r.actor_slot, r.request_id, t_ns=now_ns - late_ns))
            self._emit(Event("requested", r.actor_slot, r.request_id, t_ns=now_ns))

    def ended(
        self,
        stage: Literal["expired", "cancelled"],
        requests: Iterable[SnapshotRequest],
        detail: str = "",
    ) -> None:
        """Report requests that ended without an answer, and why."""
        if self._observer is None:
            return
        for r in requests:
            self._emit(Event(stage, r.actor_slot, r.request_id, detail=detail))

    def failed(self, response: SnapshotResponse, detail: str) -> None:
        """Report an answer that the kernel or the storage failed to make a checkpoint of."""
        slot, request_id = response.actor_slot, response.request_id
        self._emit(Event("failed", slot, request_id, response.step, detail=detail))

    def committed(self, response: SnapshotResponse, name: str, receipt: SaveReceipt | None) -> None:
        """Report a commit, with the storage's stamps if it gave any."""
        written_ns = committed_ns = time.monotonic_ns()
        if receipt is not None:
            written_ns, committed_ns = receipt.written_ns, receipt.committed_ns
        slot, request_id, step = response.actor_slot, response.request_id, response.step
        self._emit(Event("written", slot, request_id, step, name, t_ns=written_ns))
        self._emit(Event("committed", slot, request_id, step, name, t_ns=committed_ns))

    def committed_cut(self, saving: Saving) -> None:
        """Report the commit of a cut: of each actor in it, under the name of its part."""
        if self._observer is None or saving.name is None:
            return
        now_ns = time.monotonic_ns()
        done_ns = now_ns if saving.receipt is None else saving.receipt.committed_ns
        for e in saving.snapshot.cut["parts"]:
            name, slot = part_name(saving.name, e["actor_slot"]), e["actor_slot"]
            request_id = e["request_id"] or None
            self._emit(Event("committed", slot, request_id, e["step"], name, t_ns=done_ns))

    def bad(self, response: SnapshotResponse, name: str, detail: str) -> None:
        """Report a checkpoint of a state that is not good."""
        slot, request_id, step = response.actor_slot, response.request_id, response.step
        self._emit(Event("bad", slot, request_id, step, name, detail=detail))

    def retired(self, actor_slot: int, *retired: CheckpointInfo) -> None:
        """Report checkpoints that were deleted."""
        for info in retired:
            self._emit(Event("retired", actor_slot, step=info.step, name=info.name))

    def _emit(self, event: Event) -> None:
        if self._observer is None:
            return
        try:
            self._observer(event)
        except Exception:
            logger.exception("the observer failed on %r; checkpointing goes on", event)


def judge(events: EventEmitter, actor: RegisteredActor, saving: Saving, *, was_bad: bool) -> bool:
    """Tell of a state that was saved if it is not good; warn of the first of an actor; return if not."""
    name = str(saving.name)
    if saving.bad:
        why = "; ".join(describe_bad(saving.bad))
        events.bad(saving.response, name, why)
        if not was_bad:
            warn_of_bad_state(actor, saving.snapshot.step, name, why)
    return bool(saving.bad)
