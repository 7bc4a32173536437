"""What the panel of an ensemble looks at: its stores, and what the cluster says of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, final

from distributed import Client

from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.cluster.connection import connect
from ringnb.cluster.ensemble_files import EnsembleFiles
from ringnb.cluster.run_info import RunInfo
from ringnb.errors import ClusterError

__all__ = ["EnsembleMembers", "MembersSeen"]


class MembersSeen(NamedTuple):
    """How far the members are."""

    newest: Mapping[str, CheckpointInfo | None]  # by member, in order
    failed: Mapping[str, str]
    last: int


@final
class EnsembleMembers:
    """Looks at an ensemble. One thread; it has a connection of its own, if a cluster is known.

    ``runs`` returns what a cluster says of the tasks, by their numbers; ``address`` is that of the
    cluster now, None if none is known.
    """

    def __init__(
        self,
        title: str,
        files: EnsembleFiles,
        tasks: Sequence[Sequence[str]],
        last: int,
        runs: Callable[[Client, float], Mapping[int, RunInfo]],
        address: Callable[[], str | Client | None],
    ) -> None:
        self.title = title
        self._files, self._tasks, self._last = EnsembleFiles(files.root), tasks, last
        self._runs, self._address = runs, address
        self._task_of = {name: i for i, names in enumerate(tasks) for name in names}
        self._client: tuple[str, Client] | None = None  # that was made here, and for which address

    def look(self) -> MembersSeen:
        """Return how far all members are."""
        found = self._files.newest(range(len(self._tasks)))
        newest = {name: found.get(name) for name in self._task_of}
        return MembersSeen(newest, self._files.failed(), self._last)

    def load(self, info: CheckpointInfo) -> Checkpoint:
        """Open what `look` has found."""
        return self._files.storage(self._task_of[info.kernel_id]).load(info.name)

    def connect(self, timeout: float) -> Client | None:
        """Return a client of the cluster, made at the first call; None if no cluster is known.

        ClusterUnavailable if it does not answer in time.
        """
        address = self._address()
        if address is None or isinstance(address, Client):
            return address
        if self._client is None or self._client[0] != address:
            self.close()
            self._client = address, connect(address, timeout)
        return self._client[1]

    def task_states(
        self, client: Client, timeout: float
    ) -> dict[str, tuple[str, str, tuple[str, ...]]]:
        """Return state, reason and lost workers of each member's task.

        ClusterUnavailable if the cluster does not answer in time.
        """
        try:
            runs = self._runs(client, timeout)
        except ClusterError:
            self.close()  # another one is made at the next look
            raise
        return {
            name: (run.state, run.why, run.losses)
            for i, run in runs.items()
            for name in self._tasks[i]
        }

    def close(self) -> None:
        """Close the connection that was made here; it is made again when it is needed."""
        client, self._client = self._client, None
        if client is not None:
            client[1].close()
