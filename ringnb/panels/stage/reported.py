"""The report panel: the newest of the numbers that a session records at every so many steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, final

import numpy as np
from ipywidgets import Widget

from ringnb._support.text import counted
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.stage.widgets import Curves
from ringnb.session.reporter import RecentRows

__all__ = ["ReportPanel"]

_PERIOD_S = 1.0
_POINTS = 200  # of a curve, at most


@final
class ReportPanel(Panel):
    """Shows what `Session.report` has recorded last; see `Panel`."""

    key = "report"
    title = "Reported numbers"
    needs_kernel = True

    def build(self) -> Sequence[Widget]:
        """Make the curves."""
        self._shown: tuple[int, float] = (-1, 0.0)  # of which actor, and when
        self.curves = Curves(board=self._controller.board, hand=self._controller.hand)
        return [self.curves]

    def show(self, state: SessionState) -> None:
        """Put the newest rows, once a second."""
        slot, now = min(self._controller.slot, len(state.actors) - 1), time.monotonic()
        if slot == self._shown[0] and now - self._shown[1] < _PERIOD_S:
            return
        self._shown = slot, now
        self.put(self.curves, **_traits(self.session.recent_reported(slot)))


def _traits(found: RecentRows | None) -> dict[str, Any]:
    """Return what the page draws: per number its name, range, newest value, and points in 0..1000."""
    if found is None or not found.rows:
        return {"curves": [], "words": ""}
    at = np.unique(np.linspace(0, len(found.rows) - 1, _POINTS).astype(int))
    steps = np.array([found.rows[i][0] for i in at], np.float64)
    first, last = int(steps[0]), int(steps[-1])
    x = np.round(1000 * (steps - first) / max(1, last - first)).astype(int).tolist()
    curves = []
    for number, name in enumerate(found.names):
        values = np.array([row[2][number] for row in found.rows])
        low, high = _range(values)
        y = 1000 * (values[at] - low) / (high - low or 1.0)
        # A number that is not finite leaves a gap.
        points = [[a, round(b) if np.isfinite(b) else None] for a, b in zip(x, y, strict=True)]
        newest, ends = f"{values[-1]:.5g}", [f"{low:.4g}", f"{high:.4g}"]
        curves.append({"name": name, "newest": newest, "range": ends, "points": points})
    words = f"{counted(len(found.rows), 'row')}, every {found.every:,} steps: step {first:,} to {last:,}"
    return {"curves": curves, "words": words}


def _range(values: Any) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
