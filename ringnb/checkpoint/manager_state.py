"""What one lock guards in a checkpoint manager.

`ringnb.checkpoint.manager` and `ringnb.checkpoint.committing` share one `ManagerState`. The lock
guards memory only: nobody may hold it while the storage works or an observer is called, so that a
slow disk delays no poll and no request of another actor, and an observer may call the manager.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from ringnb.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringnb.checkpoint.config import CheckpointConfig
    from ringnb.checkpoint.schedule import Schedule
    from ringnb.messages.snapshots import SnapshotRequest

__all__ = ["ManagerState"]


@final
@dataclass(slots=True, eq=False)
class ManagerState:
    """The mutable state of one manager.

    Attributes
    ----------
    config : CheckpointConfig
        The configuration that holds now; replaced, never changed.
    schedule : Schedule
        Who is due, and what is asked of whom.
    clock : callable
        Returns seconds and never goes back.
    completed, failed : int
        Snapshots committed, and snapshots that failed in the kernel, in the storage or by expiry.
    saves : int
        Commits in progress.
    closed : bool
        Whether the manager was closed.
    lock : threading.Lock
        Guards all of the above.
    """

    config: CheckpointConfig
    schedule: Schedule
    clock: Callable[[], float]
    completed: int = 0
    failed: int = 0
    saves: int = 0
    closed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Check the one thing that a user injects."""
        clock: object = self.clock
        if not callable(clock):
            msg = f"clock must be callable, got {clock!r} ({type(clock).__name__})"
            raise TypeError(msg)

    def check_open(self) -> None:
        """Refuse to work for a manager that was closed.

        Raises
        ------
        CheckpointError
            If it was.
        """
        if self.closed:
            msg = "the manager is closed and does nothing any more: make a new CheckpointManager"
            raise CheckpointError(msg)

    def expire(self, now: float) -> list[SnapshotRequest]:
        """Expire what was not answered in time, and count it. Call it with the lock held.

        Parameters
        ----------
        now : float
            The time, seconds of the manager's clock.

        Returns
        -------
        list of SnapshotRequest
            Those expired, oldest first.
        """
        expired = self.schedule.expire(now)
        self.failed += len(expired)
        return expired
