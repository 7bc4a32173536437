"""The whole cockpit: every panel, each usable alone, under one status line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from ipywidgets import Box, Widget

from ringnb.panels.acting import ActorPanel
from ringnb.panels.base import Panel
from ringnb.panels.checkpointing import CheckpointPanel
from ringnb.panels.drawing import ComparePanel, FieldPanel
from ringnb.panels.eventlist import EventsPanel
from ringnb.panels.faultboard import FaultPanel
from ringnb.panels.lifecycle import LifecyclePanel
from ringnb.panels.prediction import PredictPanel
from ringnb.panels.retaining import RetentionPanel
from ringnb.panels.timeline import TimelinePanel

__all__ = ["PARTS", "Cockpit"]

PARTS: dict[str, type[Panel]] = {
    "actor": ActorPanel,
    "checkpoint": CheckpointPanel,
    "lifecycle": LifecyclePanel,
    "timeline": TimelinePanel,
    "field": FieldPanel,
    "retention": RetentionPanel,
    "compare": ComparePanel,
    "events": EventsPanel,
    "faults": FaultPanel,
    "predict": PredictPanel,
}
# A panel over the whole width, or a stack that stands beside the next one. The stacks of a pair are
# about equally high, and on a narrow page one below the other they still make sense.
_PLACES: tuple[str | tuple[str, ...], ...] = (
    ("actor", "predict"),
    ("checkpoint",),
    "lifecycle",
    ("timeline", "field"),
    ("retention", "compare"),
    "faults",
    "events",
)


@final
class Cockpit(Panel):
    """All panels of a session; see `Panel`."""

    key = "cockpit"
    title = "ringnb cockpit"

    def build(self) -> Sequence[Widget]:
        """Put the panels side by side."""
        rows: list[Widget] = []
        for place in _PLACES:
            if isinstance(place, str):
                self._desk.panels[place].add_class("ringnb-wide")
                rows.append(self._desk.panels[place])
            else:
                stack = Box([self._desk.panels[name] for name in place])
                stack.add_class("ringnb-stack")
                rows.append(stack)
        grid = Box(rows)
        grid.add_class("ringnb-cockpit-grid")
        self.add_class("ringnb-cockpit")
        return [grid]
