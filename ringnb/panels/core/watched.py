"""What panels look at: a session with its kernel, or a recorder, which has none.

Most panels need no more than `Watched`. What acts on a live actor needs a `Session`, and says so where
there is none (`session_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.messages.events import EventLog
from ringnb.session.session import Session
from ringnb.session.statistics import SessionStatistics

__all__ = ["NO_KERNEL", "NoKernel", "Watched", "session_of"]

NO_KERNEL = "Your own loop computes the steps: a recorder has no kernel"


class NoKernel(Exception):
    """What was asked for needs a kernel."""


class Watched(Protocol):
    """What panels need of a session or a recorder. Any thread; none of it waits for a step."""

    @property
    def backend(self) -> str:
        """Where they run."""

    @property
    def manager(self) -> CheckpointManager:
        """What schedules and keeps checkpoints."""

    @property
    def storage(self) -> CheckpointStorage:
        """Where they are."""

    @property
    def events(self) -> EventLog:
        """What has happened."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

    @property
    def service_runs(self) -> bool:
        """Whether a thread asks again for a snapshot that failed."""

    @property
    def failure(self) -> BaseException | None:
        """What went wrong in the background and was raised by no call yet."""

    def keep_failure(self, error: BaseException) -> None:
        """Have an exception raised by the next call."""

    @property
    def successor(self) -> Watched | None:
        """What goes on in its place after a restart."""

    def on_displaced(self, callback: Callable[[Any], object]) -> None:
        """Have a callback called when a later run of its cell has taken its place."""

    def glance(self, slots: Sequence[int] | None = None) -> SessionStatistics:
        """Return the counters of some actors, whatever its state is."""

    def snapshot_interval_steps(self, slot: int) -> int | None:
        """Return after how many steps an actor is checkpointed; None if not by steps."""

    def snapshot_every(self, steps: int | None, slot: int | None = None) -> None:
        """Have it checkpointed after so many steps."""


def session_of(watched: Watched) -> Session:
    """Return the session that panels look at; `NoKernel` if it is a recorder."""
    if not isinstance(watched, Session):
        raise NoKernel(NO_KERNEL)
    return watched
