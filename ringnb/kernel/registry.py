"""Which kernels run in this process, and what becomes of them when it forks or ends.

A kernel is entered before it starts and taken out once it has ended.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from typing import Protocol

__all__ = ["RunningKernel", "enter", "leave", "leave_running", "left_running", "running"]


class RunningKernel(Protocol):
    """What this module asks of a kernel."""

    lost_in_fork: str
    """What it runs on that a forked child does not get, in the plural."""

    def fail(self, reason: str) -> None:
        """Record why it does not run any more."""

    def stop(self, reason: str = ...) -> None:
        """End it and wait."""


_live: weakref.WeakSet[RunningKernel] = weakref.WeakSet()
_left: list[RunningKernel] = []


def enter(kernel: RunningKernel) -> None:
    """Count a kernel among those that run; it is about to start."""
    _live.add(kernel)
    # Registered anew for every kernel: what is registered last runs first at the end of the
    # interpreter. So every kernel is stopped before the finalisers of what was allocated until now
    # free memory and unload code under it.
    atexit.unregister(_stop_all)
    atexit.register(_stop_all)


def leave(kernel: RunningKernel) -> None:
    """Take a kernel out that has ended, if it is in."""
    _live.discard(kernel)


def leave_running(kernel: RunningKernel) -> None:
    """Take a kernel out whose step does not end, and keep it: that step uses its memory."""
    _left.append(kernel)
    leave(kernel)


def left_running() -> list[RunningKernel]:
    """Return the kernels whose step did not end when they were stopped."""
    return list(_left)


def running() -> list[RunningKernel]:
    """Return the kernels that run."""
    return list(_live)


def _stop_all() -> None:
    for kernel in running():
        with contextlib.suppress(TimeoutError):  # what it says to do is done: the process ends
            kernel.stop("the interpreter is exiting")


def _forked() -> None:
    # In the child: threads and CUDA contexts stay behind in the parent.
    for kernel in running():
        kernel.fail(
            f"this process ({os.getpid()}) was forked from the one that runs it, and "
            f"{kernel.lost_in_fork} do not survive a fork"
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
