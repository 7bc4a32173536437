"""Very many actors as one byte each: what the map of the cockpit colours, frames and lists."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol, final

import numpy as np
import numpy.typing as npt

from ringnb._support.text import format_bytes
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.kernel.base import Progress
from ringnb.panels.core.pixels import pack

__all__ = ["MOST_CARDS", "SHOWN", "Largest", "Newest", "dots_of"]

MOST_CARDS = 24  # with more actors there are dots, as in `static/dots.js`

# What the dots may show: its key, and how the page calls it.
SHOWN = {
    "behind": "steps behind the fastest",
    "state": "running or standing",
    "largest": "largest value, newest checkpoint",
    "age": "age of the newest checkpoint",
}
_MOST_TROUBLES = 1000  # listed, and framed on the map


@final
class Largest:
    """The largest magnitude in newest checkpoints: each is read once, as nothing else tells it.

    The drawer's thread calls `read`, the display loop's the other.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Of which field, and by a checkpoint's name its number and value. Replaced with the field, so
        # that what the drawer still reads of the one before goes nowhere.
        self._found: tuple[str | None, dict[str, tuple[int, float]]] = None, {}

    def look(
        self, newest: Mapping[int, CheckpointInfo], field: str | None
    ) -> tuple[dict[int, float], list[CheckpointInfo]]:
        """Return what is known by slot, and what is still to be read."""
        if field != self._found[0]:
            self._found = field, {}
        found, known, lacking = self._found[1], {}, []
        for slot, e in newest.items():
            sequence, value = found.get(e.name, (None, 0.0))
            if sequence == e.sequence:
                known[slot] = value
            else:
                lacking.append(e)
        if len(found) > 2 * len(newest):  # mostly of what was retired since
            names = {e.name for e in newest.values()}
            self._found = field, {name: of for name, of in found.copy().items() if name in names}
        return known, lacking

    def read(
        self,
        wanted: Iterable[CheckpointInfo],
        largest: Callable[[CheckpointInfo, str | None], float],
        limit_s: float,
    ) -> None:
        """Read one after the other until a time limit."""
        (field, found), end = self._found, self._clock() + limit_s
        for e in wanted:
            found[e.name] = e.sequence, largest(e, field)
            if self._clock() >= end:
                return


class Newest(Protocol):
    """What dots tell of an actor's newest checkpoint."""

    @property
    def good(self) -> bool:
        """Whether its values are as they should be."""

    @property
    def created_at(self) -> datetime | None:
        """When it was made; None if that is not known."""


def dots_of(
    progress: Progress,
    newest: Mapping[int, Newest],
    stored: tuple[int, int],
    shown: str,
    largest: Mapping[int, float] | None = None,
    *,
    ended: bool = False,
) -> dict[str, Any]:
    """Return the map of all actors, and what is listed beside it.

    ``packed`` unpacks (`static/pixels.js`) to bytes (rows, columns), the last row first; slot 0 is the
    first of the first row. A byte is 0 for an actor whose newest checkpoint is not good, 1 for one of
    which nothing is known, and up to 255 the lighter the better: the fewer steps behind, the newer, the
    larger. What lies behind the last actor is undefined. ``newest`` and ``largest`` are what is known by
    slot, ``stored`` is how many checkpoints there are and their bytes; with ``ended`` none runs.
    """
    steps, _, running = progress
    if ended:
        running = np.zeros_like(running)
    bad = [slot for slot, e in newest.items() if not e.good]
    values, kind, more = np.full(len(steps), np.nan), "", {}
    if shown == "state":
        values, kind = running.astype(np.float64), "two"
    elif shown == "largest":
        known = largest or {}
        values[list(known)] = list(known.values())
        more = {"read": f"{len(known):,} of {len(newest):,}"}
    elif shown == "age":
        now = time.time()
        for slot, e in newest.items():
            if e.created_at is not None:
                values[slot] = max(0.0, now - e.created_at.timestamp())
    else:
        values = (steps.max(initial=0) - steps).astype(np.float64)
    there = np.isfinite(values)
    high = float(values.max(initial=0.0, where=there))
    low = min(high, float(values.min(initial=np.inf, where=there))) if shown == "largest" else 0.0
    if high <= low:
        high = low + 1.0
    level = (np.where(there, values, low) - low) / (high - low)
    if shown in ("behind", "age"):
        level = 1.0 - level
    least = 1 if there.all() else 2
    data = np.rint((255 - least) * level).astype(np.uint8) + np.uint8(least)
    data[~there] = 1
    data[bad] = 0
    moving = int(np.count_nonzero(running))
    counts = {"running": moving, "ended" if ended else "standing": len(steps) - moving}
    return {
        "shown": shown,
        "kind": kind,
        "low": low,
        "high": high,
        "least": least,
        "counts": counts,
        "more": more,
        "bad": len(bad),
        "troubles": sorted(bad)[:_MOST_TROUBLES],
        "stored": f"{stored[0]:,}, {format_bytes(stored[1])}",
        **_square(data),
    }


def _square(data: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Lay bytes out in rows, as nearly square as can be, and pack them."""
    columns = math.isqrt(max(0, len(data) - 1)) + 1
    rows = -(-len(data) // columns)
    grid = np.full(rows * columns, data[-1], np.uint8)
    grid[: len(data)] = data
    packed = pack(grid.reshape(rows, columns)[::-1].copy())
    return {"rows": rows, "columns": columns, "packed": packed}
