"""Taking a snapshot by hand: request it, and wait until it is committed.

`ringnb.session.session` calls `take_snapshot` on whatever thread asked. With background threads it
only waits; without, it turns the crank for this one request.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import SnapshotFailed, SnapshotTimeout
from ringnb.session.service import SnapshotService
from ringnb.session.transport import Outcome

__all__ = ["take_snapshot"]


def take_snapshot(
    manager: CheckpointManager,
    service: SnapshotService,
    slot: int,
    limit_s: float,
    check: Callable[[], None],
) -> Checkpoint:
    """Take a snapshot now and commit it.

    Parameters
    ----------
    manager : CheckpointManager
        Issues the request and commits the answer.
    service : SnapshotService
        Carries both.
    slot : int
        The actor.
    limit_s : float
        Seconds until it must be committed.
    check : callable
        Raises if waiting on is pointless: the kernel stopped, a background thread failed.

    Returns
    -------
    Checkpoint
        A state captured at or after this call.

    Raises
    ------
    SnapshotTimeout
        If it is not committed in time; the request is cancelled.
    SnapshotFailed
        If the slot is not registered, or the kernel refused.
    CheckpointError, OSError
        If storage failed.
    """
    called_ns, deadline = time.monotonic_ns(), time.monotonic() + limit_s
    while True:
        request = manager.request_snapshot(slot)
        if request is None:
            msg = (
                f"slot {slot} is not registered with the manager any more; "
                "register_actor it again, or open a new session"
            )
            raise SnapshotFailed(msg)
        if service.running:
            outcome = service.enqueue(request, awaited=True)
        else:
            outcome = service.send(request)
            outcome.awaited += 1
        try:
            finished = _await(service, outcome, deadline, check)
        finally:
            outcome.awaited -= 1
        if not finished:
            stage = outcome.stage  # before the cancel, which is a stage of its own
            cancelled = manager.cancel_pending(request.request_id)
            fate = (
                "the request was cancelled"
                if cancelled
                else "it is still being written and may yet be committed"
            )
            msg = (
                f"snapshot of slot {slot} was not committed within {limit_s:g} s "
                f"(last stage: {stage}); {fate}. Allow a longer timeout, or look at "
                "session.statistics()"
            )
            raise SnapshotTimeout(msg)
        # A request that was under way already may have been captured before this call.
        fresh = outcome.captured_ns is not None and outcome.captured_ns >= called_ns
        if outcome.error is not None and (fresh or outcome.captured_ns is None):
            raise outcome.error
        if fresh and outcome.name is not None:
            return manager.storage.load(outcome.name)


def _await(
    service: SnapshotService, outcome: Outcome, deadline: float, check: Callable[[], None]
) -> bool:
    while not outcome.done.is_set():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if service.running:
            outcome.done.wait(min(left, 0.1))
            check()
            continue
        answer = service.take(outcome.request.request_id)
        if answer is None:
            service.pump(min(left, 0.05))
            check()
            continue
        with contextlib.suppress(Exception):  # kept in the outcome, raised from there
            service.complete(service.respond(answer))
    return True
