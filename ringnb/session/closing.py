"""The end of a session: a last checkpoint of what has changed, then everything is released.

`close_parts` is what ``Session.close`` does. A last checkpoint that fails neither keeps the session from
being closed nor hides the exception that has ended the ``with`` block.
"""

from __future__ import annotations

import contextlib
import math
import time

from ringnb._support.off_main import check_interrupted
from ringnb._support.text import counted
from ringnb.errors import CheckpointError
from ringnb.kernel.base import AbstractKernel, Gate
from ringnb.session.service import SnapshotService
from ringnb.session.snapshot import save_changes

__all__ = ["close_parts", "save_last"]

_POLL_S = 0.005
_GRACE_S = 0.5  # beyond the deadline, for a commit that is about to end


def close_parts(
    service: SnapshotService, kernel: AbstractKernel, *, last: bool
) -> KeyboardInterrupt | None:
    """Take a last checkpoint, if wanted and configured; end threads and kernel, release the store.

    Returns the interrupt that has ended the last checkpoint.
    """
    manager, config = service.manager, service.manager.config
    deadline = time.monotonic() + config.on_close_timeout_s if config.on_close else math.inf
    interrupt = None
    try:
        wanted = last and config.on_close
        if wanted and not save_last(service, kernel, config.on_close_timeout_s):
            service.unsaved += map(service.name_of, service.changed())
    except KeyboardInterrupt as error:
        # Who stops waiting for the checkpoint still wants the store released.
        interrupt, deadline = error, time.monotonic()
        service.unsaved += map(service.name_of, service.changed())
    try:
        service.reporter.stop(deadline + _GRACE_S)
    except KeyboardInterrupt as error:
        interrupt, deadline = interrupt or error, time.monotonic()
    # A kernel that does not answer keeps the writer waiting, with nothing to write.
    if not service.stop(deadline + _GRACE_S) and service.depths()[2]:
        service.warn(
            "the session was closed while a checkpoint was still being written: it is committed if "
            "the process lives long enough. CheckpointConfig(on_close_timeout=...) allows more time"
        )
    # Before the kernel ends: who waits for a snapshot is told that it was cancelled. A manager that
    # its user has closed already says CheckpointError; the rest must be closed all the same.
    with contextlib.suppress(CheckpointError):
        manager.cancel_all_pending()
    try:
        kernel.stop("the session was closed")
        kernel.release()
    except TimeoutError as error:
        service.warn(f"the session was closed, but {error}")
    except KeyboardInterrupt as error:
        interrupt = error
    finally:
        manager.close()
    return interrupt


def save_last(service: SnapshotService, kernel: AbstractKernel, limit_s: float) -> bool:
    """Commit what has changed since the last checkpoint, warn of what failed; return if all is saved."""
    deadline = time.monotonic() + limit_s
    # One at a time: each would have all actors captured once more.
    if not service.saving_last.acquire(blocking=False):
        while not service.saving_last.acquire(timeout=_POLL_S):
            check_interrupted()
            if time.monotonic() >= deadline:
                return not service.changed()
        limit_s = max(0.0, deadline - time.monotonic())
    try:
        return _save_last(service, kernel, limit_s)
    finally:
        service.saving_last.release()


def _save_last(service: SnapshotService, kernel: AbstractKernel, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    if not kernel.alive or not service.changed():
        return True
    if not service.running:
        # A crank that stands still would hold up the lane, and its request the actor.
        for lane in range(kernel.lanes):
            with contextlib.suppress(Exception):  # a kernel without gates: nothing to open
                kernel.set_gate(lane, Gate.OPEN)
        with contextlib.suppress(CheckpointError):
            while service.cancel_forsaken() and time.monotonic() < deadline:
                time.sleep(_POLL_S)
                check_interrupted()
        if not service.changed():
            return True
        limit_s = max(0.0, deadline - time.monotonic())
    failed = save_changes(service, limit_s, kernel.check_alive)
    if failed:
        slot, error = next(iter(failed.items()))
        others = f" and {counted(len(failed) - 1, 'other actor')}" if len(failed) > 1 else ""
        service.warn(
            f"the last state of {service.name_of(slot)}{others} was not saved: "
            f"{type(error).__name__}: {error}"
        )
    return not failed
