"""The task that takes some members of an ensemble to their last step. On a worker."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle
import numpy as np
from distributed import Client, Reschedule
from distributed.comm.addressing import get_address_host
from distributed.utils import sync

from ringnb._support.machine import available_cores
from ringnb.checkpoint.storage.cut_record import split_name
from ringnb.cluster.attempt import Attempt, doze
from ringnb.cluster.ensemble_files import EnsembleFiles
from ringnb.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointNotFound,
    ClusterUnavailable,
    SnapshotFailed,
    SnapshotTimeout,
)

if TYPE_CHECKING:  # which needs Numba; the scheduler imports this module, too
    from ringnb.session.session import Session

__all__ = ["TaskOptions", "submit_task", "take_members"]

_GIVE_UP = 9, float("inf")  # so many losses without a new checkpoint in between, whenever
_PATIENCE_S = 3600.0  # a busy disk, or another writer of the store, is no failure of a member
_MOST_UNEXPLAINED = 3  # failures in a row of members together, none of which fails alone
_LONG_S = 0.01  # for the steps of one member


class TaskOptions(NamedTuple):
    """What a task is told beside its members."""

    files: EnsembleFiles
    task: int
    steps: int
    every: int
    keep: int
    tasks: int = 1  # of the ensemble
    width: int | None = None  # threads of its kernel, which its worker says


def submit_task(
    client: Client, run: str, key: str, store: str, spec: bytes, **options: Any
) -> bool:
    """Submit a task of members for `take_members`; False if its name or its store is taken.

    It is the scheduler's when this returns. `options` are for ``client.submit``.
    """
    scheduler = client.scheduler
    if client.sync(scheduler.ringnb_claim, run=run, key=key, store=store, give_up=_GIVE_UP):
        return False
    future = client.submit(take_members, run, key, spec, key=key, pure=False, **options)
    client.sync(scheduler.ringnb_wait, run=run, seconds=60.0, submitted=True)
    future.release()
    return True


def take_members(run: str, key: str, spec: bytes) -> None:
    """Take members on from their newest checkpoints; what they need is in the store and in `spec`."""
    attempt = Attempt(run, key)
    attempt.begin()
    members, options = cloudpickle.loads(spec)
    store = str(options.files.store(options.task))
    with attempt.writing(store, _PATIENCE_S):
        attempt.tell(opened=True)
        options = options._replace(width=_width(attempt, options.tasks))
        try:
            _take_each(attempt, members, options)
        except Reschedule:
            raise
        except Exception as error:
            attempt.fail(f"{type(error).__name__}: {error}")
            raise


def _take_each(attempt: Attempt, members: Mapping[str, Any], options: TaskOptions) -> None:
    """Take members to their last step, without those that fail on the way."""
    files, unexplained = options.files, 0
    _fail_bad(members, options)
    while going := {name: one for name, one in members.items() if not files.has_failed(name)}:
        try:
            if not _take(going, attempt, options):
                return
        except Exception as error:
            if _is_of_none(error):
                raise
            # One of them has ended the kernel of all, within the interval that was under way: it is
            # found by taking each alone through that, and the others go on together.
            unexplained += 1
            for name, member in going.items():
                try:
                    _take({name: member}, attempt, options, intervals=1)
                except Exception as its:
                    if _is_of_none(its):
                        raise
                    files.fail(name, f"{type(its).__name__}: {its}")
                    unexplained = 0
            if unexplained > _MOST_UNEXPLAINED:
                raise


def _fail_bad(members: Mapping[str, Any], options: TaskOptions) -> None:
    """Note which members fail by their newest states: an attempt may be lost when it has committed."""
    files = options.files
    for name, newest in files.newest([options.task]).items():
        if newest.good or name not in members or files.has_failed(name):
            continue
        # A cut is not good as one of its members is not.
        with contextlib.suppress(
            CheckpointCorrupt, CheckpointNotFound
        ):  # it goes on from older ones
            stored = files.storage(options.task).load(newest.name)
            if not all(np.isfinite(array).all() for array in stored.numpy().values()):
                files.fail(name, _not_good(newest.step, "; ".join(stored.bad)))


def _not_good(step: int, why: str) -> str:
    return f"its state is not good at step {step}: {why}"


def _is_of_none(error: Exception) -> bool:
    """Return whether an exception says nothing of a member: a full disk, the end of this worker."""
    if isinstance(error, CheckpointCorrupt):
        return False
    others = (ClusterUnavailable, CheckpointError, SnapshotFailed, SnapshotTimeout, OSError)
    return isinstance(error, (Reschedule, *others))


def _take(
    members: Mapping[str, Any], attempt: Attempt, options: TaskOptions, intervals: int | None = None
) -> bool:
    """Take members on together, from multiple to multiple; return True as soon as one has failed.

    Through all intervals to the last step, or only so many.
    """
    from ringnb.checkpoint.config import CheckpointConfig  # noqa: PLC0415 - see above
    from ringnb.session.session import Session  # noqa: PLC0415 - likewise

    files, steps, every = options.files, options.steps, options.every
    config = CheckpointConfig(
        storage_path=files.store(options.task),
        enabled=False,
        max_snapshots=options.keep,
        on_close=False,  # nothing between two multiples: every member has the same steps
    )
    actors = [_placed(*member) for member in members.values()]
    names = list(members)
    with Session(actors, config=config, kernel_ids=names, lanes=1, width=options.width) as session:
        bad: dict[int, str] = {}
        session.events.subscribe(lambda event: bad.update({event.actor_slot: event.detail}), "bad")

        def commit() -> bool:
            """Commit one cut of all; return whether a member has failed, which is noted.

            Reschedule if this attempt is not wanted any more.
            """
            session.snapshot_all(timeout=_PATIENCE_S)
            # First of all: what is told may not be answered, and the newest checkpoint is a bad one.
            for slot, why in bad.items():
                files.fail(names[slot], _not_good(at[slot], why))
            if not attempt.tell(progressed=True):
                raise Reschedule
            return bool(bad)

        took_s = math.inf  # what the last interval took all of them
        at = _begin(session, names, options)
        if -1 in at.values():
            at = {slot: max(0, step) for slot, step in at.items()}
            if commit():
                return True
        while not files.stops and (left := [step for step in at.values() if step < steps]):
            # Those that are behind first: then all come to the same multiples.
            target = min(steps, (min(left) // every + 1) * every)
            moving = {slot: step for slot, step in at.items() if step < target}
            # One at a time keeps its state in the cache. But to wait for each takes a moment.
            one_by_one, began = took_s > _LONG_S * len(moving), time.monotonic()
            for some in [{slot: moving[slot]} for slot in moving] if one_by_one else [moving]:
                for slot, step in some.items():
                    session.run_steps(slot, target - step, wait=False)
                _wait(session, some, target, attempt)
            took_s = time.monotonic() - began
            at.update(dict.fromkeys(moving, target))
            if commit():
                return True
            if intervals is not None and (intervals := intervals - 1) <= 0:
                break
    return False


def _width(attempt: Attempt, tasks: int) -> int | None:
    """Return 1 where tasks keep all cores of this machine busy: a team that is tried only costs then."""
    worker = attempt.worker
    try:
        there = sync(worker.loop, worker.scheduler.ringnb_workers)
    except (OSError, RuntimeError):  # lost, or the worker is ending: a commit will tell
        return None
    here = sum(get_address_host(at) == get_address_host(worker.address) for at in there)
    at_once = min(tasks, worker.state.nthreads * len(there))  # the others wait for a place
    return 1 if at_once * here >= available_cores() * len(there) else None


def _begin(session: Session, names: list[str], options: TaskOptions) -> dict[int, int]:
    """Have members go on from their newest checkpoints; return the step of each, -1 if it has none."""
    newest = options.files.newest([options.task])
    parts = [split_name(newest[name].name if name in newest else "") for name in names]
    cut, slot_there = parts[0]
    if slot_there is not None and all(one[0] == cut for one in parts):
        # Each byte is read once for all. One by one they go on from what is older, if it is damaged.
        with contextlib.suppress(CheckpointCorrupt, CheckpointNotFound):
            session.restore_all(cut)
            return {slot: session.current_step(slot) for slot in range(len(names))}
    at = {}
    for slot in range(len(names)):
        try:
            at[slot] = session.restore(slot, "latest")
        except CheckpointNotFound:
            at[slot] = -1
    return at


def _wait(session: Session, moving: Mapping[int, int], target: int, attempt: Attempt) -> None:
    """Wait until members, which were at these steps, are at one; Reschedule if this worker is to end."""
    began = time.monotonic()
    waiting = list(moving)
    while waiting:
        slot = waiting[-1]
        step = session.counters(slot).step
        if step >= target:
            waiting.pop()
            continue
        if attempt.leaving:
            raise Reschedule
        doze(began, step - moving[slot], target - step)


def _placed(actor: Any, place: int) -> Any:
    """Return an actor that starts as in the slot `place`, whatever slot it has in its task's kernel."""
    placed = copy.copy(actor)
    vars(placed)["start"] = lambda _slot=0: actor.start(place)
    vars(placed)["start_params"] = lambda _slot=0: actor.start_params(place)
    return placed
