"""What panels ask the kernel of a remote session."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from ringnb.cluster.glance import Glance
from ringnb.cluster.remote_part import Ask
from ringnb.kernel.base import Gate, Progress

__all__ = ["RemoteKernel"]


@final
class RemoteKernel:
    """The kernel of a session in another process. Its memory is not to be seen from here."""

    def __init__(self, ask: Ask, last: Callable[[], Glance]) -> None:
        self._ask, self._last = ask, last

    @property
    def stopped_because(self) -> str | None:
        """Why it does not run, as of the last glance; None while it does."""
        return self._last().stopped_because

    @property
    def alive(self) -> bool:
        """Whether it runs, as of the last glance."""
        return self.stopped_because is None

    def lane_of(self, slot: int) -> int:  # noqa: ARG002 - as of any kernel
        """Return the first lane: no lane can be stopped from here."""
        return 0

    def gate(self, lane: int) -> Gate:  # noqa: ARG002 - likewise
        """Return that a lane is stopped nowhere: the crank turns only in its own process."""
        return Gate.OPEN

    def progress(self) -> Progress:
        """Return where all actors are."""
        progress: Progress = self._ask("kernel.progress", ((), {}))
        return progress
