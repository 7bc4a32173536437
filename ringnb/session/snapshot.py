"""A snapshot that a user asks for: request it, and wait until it is committed.

With background threads the calling thread only waits; without, it does the service's work for this one
request.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from ringnb._support.off_main import check_interrupted
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import SnapshotFailed, SnapshotTimeout
from ringnb.session.service import SnapshotService
from ringnb.session.transport import RequestStatus

__all__ = ["take_snapshot"]


def take_snapshot(
    service: SnapshotService,
    slot: int,
    limit_s: float,
    check: Callable[[], None],
    attrs: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Return a committed checkpoint of a state captured at or after this call.

    `check` raises if waiting is pointless: the kernel stopped, a background thread failed. Raises as
    ``Session.snapshot``; SnapshotFailed also if the slot is not registered.
    """
    manager, transport = service.manager, service.transport
    called_ns, deadline = time.monotonic_ns(), time.monotonic() + limit_s
    while True:
        request = manager.request_snapshot(slot, attrs=attrs)
        if request is None:
            msg = (
                f"slot {slot} is no longer registered with the manager; "
                "register_actor it again, or open a new session"
            )
            raise SnapshotFailed(msg)
        if service.running:
            status = service.enqueue(request, awaited=True)
        else:
            status, _ = transport.open_status(request, awaited=True)
        try:
            ended = _wait(service, status, deadline, check)
        finally:
            transport.stop_awaiting(status)
        if not ended:
            stage = status.stage  # before the cancel, which ends it
            fate = (
                "the request was cancelled"
                if manager.cancel_pending(request.request_id)
                else "it is still being written and may yet be committed"
            )
            msg = (
                f"snapshot of slot {slot} was not committed within {limit_s:g} s "
                f"(last stage: {stage}); {fate}. Allow a longer timeout, or look at "
                "session.statistics()"
            )
            raise SnapshotTimeout(msg)
        # A request that was under way already may have been captured before this call: ask again then.
        stale = status.captured_ns is not None and status.captured_ns < called_ns
        if not stale and status.error is not None:
            raise status.error
        if not stale and status.name is not None:
            return manager.storage.load(status.name)
        # An answer that could not be stored leaves its request pending. Without this, the manager would
        # give out that same request, which has ended here, again and again until it expires.
        manager.cancel_pending(request.request_id)


def _wait(
    service: SnapshotService, status: RequestStatus, deadline: float, check: Callable[[], None]
) -> bool:
    """Wait until a request has ended; return whether it did in time. Without a service, do its work."""
    transport = service.transport
    if not service.running:
        transport.send(status.request)
    while not status.done.is_set():
        check_interrupted()
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if service.running:
            status.done.wait(min(left, 0.1))
            check()
        elif transport.take(status) is None:
            transport.pump(min(left, 0.05))
            check()
        else:
            with contextlib.suppress(Exception):  # kept in the status, raised from there
                service.complete(status)
    return True
