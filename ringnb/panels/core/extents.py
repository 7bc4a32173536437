"""The lowest and highest value of a field in each checkpoint that was read so far."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import final

from ringnb.checkpoint.storage.records import CheckpointInfo

__all__ = ["Extents"]

_MOST_KEPT = 20_000  # checkpoints and fields
_Ends = tuple[float, float]


@final
class Extents:
    """What pictures of one range need; each reader of a checkpoint notes its ends. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: OrderedDict[tuple[str, str, int], _Ends] = OrderedDict()
        self._found: dict[
            tuple[str, str | None], tuple[Sequence[CheckpointInfo], _Ends | None]
        ] = {}

    def note(self, info: CheckpointInfo, field: str, low: float | None, high: float | None) -> None:
        """Take in the ends of a field of one checkpoint; None or nan if no value is finite."""
        if low is None or high is None or math.isnan(low) or math.isnan(high):
            return
        key = field, info.name, info.sequence
        with self._lock:
            # A plane of it may have been read, or all.
            lowest, highest = before = self._ends.get(key, (low, high))
            ends = min(lowest, low), max(highest, high)
            if key in self._ends and ends == before:
                return
            self._ends[key] = ends
            self._found.clear()
            while len(self._ends) > _MOST_KEPT:
                self._ends.popitem(last=False)

    def of(self, history: Sequence[CheckpointInfo], field: str, run: str | None) -> _Ends | None:
        """Return the ends of a run of an actor's history, or None if none of it was read.

        Of what is stored now: what was retired cannot be looked at, and dulls no picture for ever. Nor
        does what another run has done: it may have been left for that.
        """
        with self._lock:
            # The same history is the same object, while nothing of it changes.
            of, found = self._found.get((field, run), (None, None))
            if of is not history:
                known = (
                    self._ends.get((field, e.name, e.sequence)) for e in history if e.run == run
                )
                ends = [one for one in known if one is not None]
                found = (
                    (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None
                )
                self._found[field, run] = history, found
            return found
