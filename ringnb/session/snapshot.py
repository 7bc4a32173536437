"""A snapshot that a user asks for, or the end of a session: request it, wait until it is committed.

With background threads the calling thread only waits; without, it does the service's work for this one
request.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ringnb._support.off_main import check_interrupted
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import SnapshotFailed, SnapshotTimeout
from ringnb.session.service import SnapshotService
from ringnb.session.transport import RequestStatus

__all__ = ["save_changes", "take_snapshot"]


def take_snapshot(
    service: SnapshotService,
    slot: int,
    limit_s: float,
    check: Callable[[], None],
    attrs: Mapping[str, Any] | None = None,
    at: int = 0,
) -> Checkpoint:
    """Return a committed checkpoint of a state captured at or after this call, or at a step.

    `check` raises if waiting is pointless: the kernel stopped, a background thread failed. Raises as
    ``Session.snapshot``; SnapshotFailed also if the slot is not registered.
    """
    deadline = time.monotonic() + limit_s
    with service.holds.holding(slot, at, limit_s, check):
        since_ns, name = time.monotonic_ns(), None
        while name is None:
            status = _request(service, slot, attrs, at)
            name = _outcome(service, status, since_ns, deadline, limit_s, check)
    checkpoint = service.manager.storage.load(name)
    if at and checkpoint.step != at:
        # The capture for a cut that was on its way has ended the wait of all at this step.
        msg = (
            f"slot {slot} was not captured at step {at}: a cut of that step let it go on, and "
            f"{name!r} is of step {checkpoint.step}. Name a step that is ahead of it"
        )
        raise SnapshotFailed(msg)
    return checkpoint


def save_changes(
    service: SnapshotService, limit_s: float, check: Callable[[], None]
) -> dict[int, Exception]:
    """Commit the state of every actor that has changed since it was saved; return what failed, by slot.

    All are requested first: a lane that does not answer delays no other.
    """
    since_ns, deadline = time.monotonic_ns(), time.monotonic() + limit_s
    requested: deque[tuple[int, RequestStatus]] = deque()
    together: set[int] = set()  # linked actors, of which one was requested
    failed: dict[int, Exception] = {}
    try:
        for slot in service.changed():
            if slot in together:
                continue  # one cut has all of them
            try:
                requested.append((slot, _request(service, slot)))
                together.update(service.group_of(slot))
            except Exception as error:  # noqa: BLE001 - returned
                failed[slot] = error
        while requested:
            slot, status = requested.popleft()
            try:
                while _outcome(service, status, since_ns, deadline, limit_s, check) is None:
                    status = _request(service, slot)  # captured too early: another
            except Exception as error:  # noqa: BLE001 - returned
                failed[slot] = error
    finally:
        for _, status in requested:  # an interrupt: nobody waits for these
            service.transport.stop_awaiting(status)
    return failed


def _request(
    service: SnapshotService,
    slot: int,
    attrs: Mapping[str, Any] | None = None,
    at: int = 0,
) -> RequestStatus:
    """Have a snapshot requested, with the caller counted as one who waits for it."""
    with service.asking:
        request = service.manager.request_snapshot(slot, attrs=attrs)
        if request is None:
            msg = (
                f"slot {slot} is no longer registered with the manager; "
                "register_actor it again, or open a new session"
            )
            raise SnapshotFailed(msg)
        if at:  # before it can be sent
            service.transport.open_status(request).at = service.capture_at(slot, at)
        if service.running:
            return service.enqueue(request, awaited=True)
        return service.transport.open_status(request, awaited=True)


def _outcome(
    service: SnapshotService,
    status: RequestStatus,
    since_ns: int,
    deadline: float,
    limit_s: float,
    check: Callable[[], None],
) -> str | None:
    """Wait for a request; return its checkpoint's name, or None if it was captured before `since_ns`."""
    manager, slot = service.manager, status.request.actor_slot
    try:
        ended = _wait(service, status, deadline, check)
    finally:
        service.transport.stop_awaiting(status)
    if not ended:
        stage = status.stage  # before the cancel, which ends it
        if status.awaited:  # by another call, with a deadline of its own: a signal handler's, say
            fate = "another call still waits for it, and it may yet be committed"
        elif manager.cancel_pending(status.request.request_id):
            fate = "the request was cancelled"
        else:
            fate = "it is still being written and may yet be committed"
        msg = (
            f"snapshot of slot {slot} was not committed within {limit_s:g} s "
            f"(last stage: {stage}); {fate}. Allow a longer timeout, or look at "
            "session.statistics()"
        )
        raise SnapshotTimeout(msg)
    # A request that was under way already may have been captured before the call: ask again then.
    stale = status.captured_ns is not None and status.captured_ns < since_ns
    # An answer that could not be stored, or was interrupted before, leaves its request pending. Without
    # this, the manager would give out that same request, which has ended here, until it expires.
    manager.cancel_pending(status.request.request_id)
    # An interrupt was raised where it came, in another call.
    if not stale and status.error is not None and not isinstance(status.error, KeyboardInterrupt):
        raise status.error
    if not stale and status.name is not None:
        return status.name
    if time.monotonic() >= deadline:
        msg = f"snapshot of slot {slot} was not committed within {limit_s:g} s; ask again"
        raise SnapshotTimeout(msg)
    return None


def _wait(
    service: SnapshotService, status: RequestStatus, deadline: float, check: Callable[[], None]
) -> bool:
    """Wait until a request has ended; return whether it did in time. Without a service, do its work."""
    transport = service.transport
    if not service.running:
        if group := service.group_of(status.request.actor_slot):
            service.take_group(group, max(0.0, deadline - time.monotonic()))
        else:
            transport.send(status.request)
    while not status.done.is_set():
        check_interrupted()
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if service.running:
            status.done.wait(min(left, 0.1))
            check()
        elif (capture := transport.take(status)) is None:
            transport.pump(min(left, 0.05))
            check()
        else:
            with contextlib.suppress(Exception):  # kept in the status, raised from there
                service.complete(capture)
    return True
