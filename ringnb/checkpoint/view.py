"""What can be seen of a checkpoint manager at any time, also after it was closed.

`ringnb.checkpoint.manager` derives from `ManagerView`; sessions and panels read it. Nothing here
changes anything, reads the store or does more than a moment's work under the lock.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ringnb._support.text import facts_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringnb.checkpoint.config import CheckpointConfig
    from ringnb.checkpoint.manager_state import ManagerState
    from ringnb.checkpoint.registration import RegisteredActor
    from ringnb.checkpoint.storage.base import CheckpointStorage
    from ringnb.messages.snapshots import SnapshotRequest

__all__ = ["ManagerView"]


class ManagerView:
    """Read-only properties of a manager.

    Parameters
    ----------
    state : ManagerState
        The manager's.
    storage : CheckpointStorage
        Where its checkpoints go.
    """

    def __init__(self, state: ManagerState, storage: CheckpointStorage) -> None:
        self._state = state
        self._storage = storage

    @property
    def config(self) -> CheckpointConfig:
        """The configuration that holds now."""
        return self._state.config

    @property
    def is_enabled(self) -> bool:
        """Whether automatic snapshots are taken."""
        return self._state.config.enabled

    @property
    def storage(self) -> CheckpointStorage:
        """Where checkpoints go."""
        return self._storage

    @property
    def pending_count(self) -> int:
        """Requests without an outcome yet, those whose answer is being saved included."""
        with self._state.lock:
            return self._state.schedule.asked.pending_count

    @property
    def pending(self) -> tuple[SnapshotRequest, ...]:
        """The requests that `pending_count` counts, oldest first."""
        with self._state.lock:
            return self._state.schedule.asked.pending()

    @property
    def registered(self) -> Mapping[int, RegisteredActor]:
        """The registered actors by slot, a read-only copy."""
        with self._state.lock:
            return MappingProxyType(self._state.schedule.actors())

    @property
    def total_completed(self) -> int:
        """Snapshots committed by this manager."""
        return self._state.completed

    @property
    def total_failed(self) -> int:
        """Snapshots that failed in the kernel, in the storage, or by expiry."""
        return self._state.failed

    def __repr__(self) -> str:
        """Summarise the state."""
        summary = ", ".join(f"{k}: {v}" for k, v in self._summary().items())
        return f"<{type(self).__name__} {summary}>"

    def _repr_html_(self) -> str:
        """Show the state as a small table."""
        return facts_table(type(self).__name__, self._summary())

    def _summary(self) -> dict[str, object]:
        state, config = self._state, self._state.config
        return {
            "state": "closed" if state.closed else "enabled" if config.enabled else "disabled",
            "every": f"{config.interval_s:g} s",
            "keeps": config.retention or config.max_snapshots or "all",
            "actors": len(self.registered),
            "pending": self.pending_count,
            "completed": state.completed,
            "failed": state.failed,
            "storage": self._storage,
        }
