"""Very many actors as one byte each: what the map of the cockpit colours, frames and lists."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb._support.text import format_bytes
from ringnb.panels.core.pixels import pack
from ringnb.panels.core.state import SessionState
from ringnb.session.session import Session

__all__ = ["SHOWN", "dots_of"]

# What the dots may show: its key, and how the page calls it.
SHOWN = {
    "behind": "steps behind the fastest",
    "state": "running or standing",
    "age": "age of the newest checkpoint",
}
_MOST_TROUBLES = 1000  # listed, and framed on the map


def dots_of(session: Session, state: SessionState, shown: str) -> dict[str, Any]:
    """Return the map of all actors, and what is listed beside it.

    ``packed`` unpacks (`static/pixels.js`) to bytes (rows, columns), the last row first; slot 0 is the
    first of the first row. A byte is 0 for an actor whose newest checkpoint is not good, 1 to 255 for
    ``low`` to ``high``; what lies behind the last actor is undefined.
    """
    steps, running = session.kernel.progress()
    if state.ended:
        running = np.zeros_like(running)
    newest = state.histories.newest()
    bad = [slot for slot, e in newest.items() if not e.good]
    if shown == "state":
        values, kind = running.astype(np.float64), "two"
    elif shown == "age":
        now = time.time()
        values, kind = np.full(len(steps), np.nan), ""
        for slot, e in newest.items():
            if e.created_at is not None:
                values[slot] = max(0.0, now - e.created_at.timestamp())
    else:
        values, kind = (steps.max(initial=0) - steps).astype(np.float64), ""
    known = np.isfinite(values)
    high = max(1.0, float(values.max(initial=0.0, where=known)))
    # Light is good: the fastest, the running, the newest. What has no checkpoint is as old as can be.
    level = values / high if shown == "state" else 1.0 - np.where(known, values, high) / high
    data = np.rint(254.0 * level).astype(np.uint8) + np.uint8(1)
    data[bad] = 0
    moving = int(np.count_nonzero(running))
    counts = {"running": moving, "ended" if state.ended else "standing": len(steps) - moving}
    stored = state.histories.totals
    return {
        "shown": shown,
        "kind": kind,
        "high": high,
        "counts": counts,
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
