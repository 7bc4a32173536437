"""How long automatic snapshots have been failing, so that one full disk is one warning.

A failed snapshot is retried soon, and fails again until somebody makes room: each of these is an event,
but a notebook cell that repeats one sentence every few seconds is read by nobody. This module talks to
nobody; `ringnb.service` warns, and says when it is over.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import final

from ringnb.errors import SnapshotFailed

__all__ = ["Outage"]


@final
class Outage:
    """The failures since every actor could be saved.

    It lasts as long as one actor is left whose last snapshot failed. Actors share a storage: of eight
    on a full disk the first one speaks for all, and one that fails alone is not hidden by the others.

    Notes
    -----
    One thread at a time: the writer's.
    """

    def __init__(self) -> None:
        self._kinds: set[tuple[type[Exception], object]] = set()
        self._slots: set[int] = set()
        self._failures = 0

    @property
    def lasts(self) -> bool:
        """Whether anything has failed that was not made good."""
        return self._failures > 0

    def failed(self, slot: int, error: Exception) -> bool:
        """Count a failure.

        Parameters
        ----------
        slot : int
            The actor.
        error : Exception
            What its snapshot failed of.

        Returns
        -------
        bool
            Whether it is the first of its kind in this outage: of its class, and the system's error
            number or the kernel's reason.
        """
        # Not the message of a storage: it names the checkpoint or a file, another one each time.
        why = str(error) if isinstance(error, SnapshotFailed) else getattr(error, "errno", None)
        kind = (type(error), why)
        first = kind not in self._kinds
        self._kinds.add(kind)
        self._slots.add(slot)
        self._failures += 1
        return first

    def committed(self, slot: int, registered: AbstractSet[int]) -> int:
        """Note a commit.

        Parameters
        ----------
        slot : int
            The actor.
        registered : set of int
            The actors that are there: of one that has gone no commit will come.

        Returns
        -------
        int
            How many failures there were, if this commit ends the outage; 0 if it does not, or none was.
        """
        self._slots.discard(slot)
        if self._slots & registered:
            return 0
        ended, self._failures = self._failures, 0
        self._kinds.clear()
        self._slots.clear()
        return ended
