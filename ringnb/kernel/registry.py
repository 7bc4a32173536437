"""Which kernels run in this process, and what becomes of them when it forks or ends.

A kernel is entered before it starts and taken out once it has ended. At the end of the interpreter
every kernel that still runs is stopped, before finalisers free memory and unload code under it; in a
forked child, to which threads and CUDA contexts do not come along, it counts as stopped, and says so.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol

__all__ = ["Mortal", "enter", "leave", "running"]


class Mortal(Protocol):
    """What this module asks of a kernel.

    Attributes
    ----------
    lost_in_fork : str
        What it runs on that a forked child does not get, in the plural.
    """

    lost_in_fork: str

    def fail(self, reason: str) -> None:
        """Record why it does not run any more."""

    def stop(self, reason: str = ...) -> None:
        """End it and wait."""


_live: weakref.WeakSet[Mortal] = weakref.WeakSet()


def enter(kernel: Mortal) -> None:
    """Count a kernel among those that run.

    Parameters
    ----------
    kernel : Mortal
        About to start.

    Notes
    -----
    Registered anew for every kernel: what is registered last runs first at the end of the interpreter,
    before the finalisers of whatever was allocated until now.
    """
    _live.add(kernel)
    atexit.unregister(_stop_all)
    atexit.register(_stop_all)


def leave(kernel: Mortal) -> None:
    """Take a kernel out that has ended.

    Parameters
    ----------
    kernel : Mortal
        Entered before; if not, nothing happens.
    """
    _live.discard(kernel)


def running() -> list[Mortal]:
    """Return the kernels that run."""
    return list(_live)


def _stop_all() -> None:
    for kernel in running():
        kernel.stop("the interpreter is exiting")


def _forked() -> None:
    for kernel in running():
        kernel.fail(
            f"this process ({os.getpid()}) was forked from the one that runs it, and "
            f"{kernel.lost_in_fork} do not survive a fork"
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
