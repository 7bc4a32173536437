"""Which actors have changed since they were last saved: one that stands still is not saved again.

An automatic checkpoint of an actor that stands holds nothing new, and retention would let it push out
one that does: an hour's pause would leave nothing but copies. So the service asks here first. Snapshots
that somebody asks for are taken whatever this says.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple, final

from ringnb.kernel.base import ActorCounters

__all__ = ["SavedStates", "State"]


class State(NamedTuple):
    """What tells one state of an actor from another, without looking at its cells.

    Attributes
    ----------
    step, epoch : int
        Its step, and how often it was loaded.
    touches : int
        How often it was disturbed, or its parameters were changed.
    """

    step: int
    epoch: int
    touches: int


@final
class SavedStates:
    """The state in which each actor was last saved.

    Notes
    -----
    Every method may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._touches: Counter[int] = Counter()
        self._saved: dict[int, tuple[State, ...]] = {}

    def touch(self, slot: int) -> None:
        """Note that an actor was changed between two steps.

        Parameters
        ----------
        slot : int
            The actor. It is noted when the kernel has answered: a snapshot that comes in between then
            counts as older than the change, which costs one checkpoint too many and never one too few.
        """
        with self._lock:
            self._touches[slot] += 1

    def touches(self, slot: int) -> int:
        """Return how often an actor was changed between two steps.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        int
            To be read before its SNAPSHOT is sent.
        """
        return self._touches[slot]

    def save(self, slot: int, state: State) -> None:
        """Note in which state an actor is saved.

        Parameters
        ----------
        slot : int
            The actor.
        state : State
            What is in the newest checkpoint of its history.
        """
        with self._lock:
            self._saved[slot] = (state,)

    def expect(self, slot: int, state: State) -> None:
        """Note a saved state that an actor is about to be loaded with, beside the one that it is in.

        Parameters
        ----------
        slot : int
            The actor.
        state : State
            What it will be: nobody can say when the kernel takes it, only that it has.
        """
        with self._lock:
            self._saved[slot] = (*self._saved.get(slot, ())[-1:], state)

    def holds(self, slot: int, now: ActorCounters) -> bool:
        """Return whether an actor is saved as it stands.

        Parameters
        ----------
        slot : int
            The actor.
        now : ActorCounters
            Its counters.

        Returns
        -------
        bool
            False for one that was never saved.
        """
        with self._lock:
            return State(now.step, now.epoch, self._touches[slot]) in self._saved.get(slot, ())
