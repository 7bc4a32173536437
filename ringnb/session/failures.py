"""How long automatic snapshots have been failing, so that one full disk is told in one sentence.

A failed snapshot is retried soon, and fails again until somebody makes room. Each failure is a warning,
all of one kind in the words of the first: Python shows the same words from the same place once, where
it is not told otherwise. This module talks to nobody; `ringnb.session.service` warns, and says when
it is over.
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
        self._words: dict[tuple[type[Exception], object], str] = {}
        self._slots: set[int] = set()
        self._failures = 0

    @property
    def lasts(self) -> bool:
        """Whether anything has failed that was not made good."""
        return self._failures > 0

    def failed(self, slot: int, error: Exception, words: str) -> str:
        """Count a failure.

        Parameters
        ----------
        slot : int
            The actor.
        error : Exception
            What its snapshot failed of.
        words : str
            What is to be said of it.

        Returns
        -------
        str
            What was said of the first of its kind in this outage: of its class, and the system's error
            number or the kernel's reason.
        """
        # Not the message of a storage: it names the checkpoint or a file, another one each time.
        why = str(error) if isinstance(error, SnapshotFailed) else getattr(error, "errno", None)
        self._slots.add(slot)
        self._failures += 1
        return self._words.setdefault((type(error), why), words)

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
        self._words.clear()
        self._slots.clear()
        return ended
