"""Which actors have changed since they were last saved; the service does not save the others again.

An automatic checkpoint of an actor that has not changed would hold nothing new, and retention would
delete an older one for it: an hour's pause would leave nothing but copies. A snapshot that a user asks
for is always taken.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple, final

from ringnb.kernel.base import ActorCounters

__all__ = ["ChangeTracker", "StateVersion"]


class StateVersion(NamedTuple):
    """Tells one state of an actor from another, without a look at its cells."""

    step: int
    epoch: int  # how often the kernel has loaded it
    modifications: int  # how often it was disturbed, or its parameters were changed


@final
class ChangeTracker:
    """The version of its state in which each actor was last saved. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._modifications: Counter[int] = Counter()
        self._saved: dict[int, StateVersion] = {}
        self._expected: dict[int, StateVersion] = {}  # of loads that are not confirmed yet
        self._saving: dict[int, StateVersion] = {}  # of commits that are not noted yet

    def mark_modified(self, slot: int) -> None:
        """Note that an actor was changed between two steps; call it as the kernel's reply comes in."""
        # Twice for one change does no harm: that costs one checkpoint too many.
        with self._lock:
            self._modifications[slot] += 1

    def modifications(self, slot: int) -> int:
        """Return how often an actor was changed between two steps."""
        return self._modifications[slot]

    def modified(self) -> set[int]:
        """Return the slots of the actors that were changed between two steps."""
        with self._lock:
            return set(self._modifications)

    def mark_saved(self, slot: int, version: StateVersion) -> None:
        """Note the version of an actor that is in the newest checkpoint of its history."""
        with self._lock:
            self._saved[slot] = version

    @contextlib.contextmanager
    def saving(self, versions: Mapping[int, StateVersion]) -> Iterator[None]:
        """Note, by slot, what the block commits; `mark_saved` comes before its end, if it succeeds."""
        with self._lock:
            self._saving.update(versions)
        try:
            yield
        finally:
            with self._lock:
                for slot in versions:
                    self._saving.pop(slot, None)

    def expect_saved(self, slot: int, version: StateVersion) -> None:
        """Note a saved version that an actor is about to be loaded with."""
        with self._lock:
            self._expected[slot] = version

    def mark_loaded(self, slot: int, epoch: int, step: int, *, saved: bool) -> None:
        """Note that an actor was loaded, with a saved version or another, as the reply comes in."""
        with self._lock:
            if saved:
                self._saved[slot] = StateVersion(step, epoch, self._modifications[slot])
            self._expected.pop(slot, None)

    def is_saved(self, slot: int, now: ActorCounters) -> bool:
        """Return whether the state that an actor has now is saved; False if it never was."""
        with self._lock:
            version = StateVersion(now.step, now.epoch, self._modifications[slot])
            # Between the kernel's load and its reply both count, for which of them holds is not known.
            return version in (self._saved.get(slot), self._expected.get(slot))

    def is_being_saved(self, slot: int, now: ActorCounters) -> bool:
        """Return whether the state that an actor has now is saved, or is in a commit under way."""
        # A commit ends, and its actor may be due again, a moment before `mark_saved` is called.
        with self._lock:
            version = StateVersion(now.step, now.epoch, self._modifications[slot])
            if version == self._saving.get(slot):
                return True
        return self.is_saved(slot, now)

    def has_changed(self, slot: int, now: ActorCounters, start_step: int = 0) -> bool:
        """Return whether an actor has been stepped, loaded or changed, and its state is not saved."""
        untouched = now.step == start_step and now.epoch == self._modifications[slot] == 0
        return not untouched and not self.is_saved(slot, now)
