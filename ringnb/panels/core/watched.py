"""What panels look at: a session with its kernel, or a recorder, which has none.

Most panels need no more than `Watched`. What acts on a live actor needs a `SessionLike`, a session of
this process or another's, and says so where there is none (`session_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeGuard

from ringnb.actors.base import Actor
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.kernel.base import ActorCounters, Gate, Progress
from ringnb.messages.events import EventLog
from ringnb.session.recorder import Recorder
from ringnb.session.reporter import RecentRows
from ringnb.session.statistics import SessionStatistics

__all__ = ["NO_KERNEL", "NoKernel", "SessionLike", "Watched", "has_kernel", "session_of"]

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


class KernelLike(Protocol):
    """What panels ask a kernel."""

    @property
    def stopped_because(self) -> str | None:
        """Why it does not run; None while it does."""

    def lane_of(self, slot: int) -> int:
        """Return the lane that owns a slot."""

    def gate(self, lane: int) -> Gate:
        """Return where a lane is stopped."""

    def progress(self) -> Progress:
        """Return where all actors are."""


class SessionLike(Watched, Protocol):
    """What panels need of a session, wherever it lives; each is as `Session` has it."""

    @property
    def actors(self) -> tuple[Actor, ...]:
        """The actor of every slot."""

    @property
    def kernel(self) -> KernelLike:
        """The kernel that hosts the actors."""

    @property
    def faults(self) -> Any:
        """Switches that break it on purpose."""

    def close(self) -> None:
        """End what this process has of it."""

    def remake(self) -> Any:
        """Start another like this one, in its place."""

    def run_steps(self, slot: int, steps: int, wait: bool = True) -> int:
        """Add steps to an actor's budget."""

    def resume(self, slot: int | None = None) -> None:
        """Let actors run freely."""

    def pause(self, slot: int | None = None) -> None:
        """Stop actors at a step boundary."""

    def set_pace(self, max_steps_per_second: float | None, slot: int | None = None) -> None:
        """Limit how fast actors step."""

    def pace(self, slot: int) -> float | None:
        """Return that limit."""

    def counters(self, slot: int) -> ActorCounters:
        """Return an actor's counters."""

    def is_saved(self, slot: int) -> bool:
        """Return whether an actor's state is in a checkpoint."""

    def inject(self, slot: int, at: Sequence[int] | int, amplitude: float = 1.0) -> None:
        """Disturb one cell."""

    def set_params(self, slot: int, **changes: float) -> dict[str, float]:
        """Change parameters of a live actor."""

    def params(self, slot: int) -> dict[str, float]:
        """Return them."""

    def snapshot(self, slot: int, timeout: float = 10.0, *, label: str | None = None) -> Checkpoint:
        """Take a snapshot now and commit it."""

    def restore(self, slot: int, checkpoint: Checkpoint | str) -> int:
        """Write a checkpoint back into a live actor."""

    def recent_reported(self, slot: int = 0) -> RecentRows | None:
        """Return the newest rows of what is being reported."""


def has_kernel(watched: Watched | None) -> TypeGuard[SessionLike]:
    """Return whether it is a session, of this process or another's."""
    return watched is not None and not isinstance(watched, Recorder)


def session_of(watched: Watched) -> SessionLike:
    """Return the session that panels look at; `NoKernel` if it is a recorder."""
    if not has_kernel(watched):
        raise NoKernel(NO_KERNEL)
    return watched
