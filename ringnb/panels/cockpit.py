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
_WIDE = ("lifecycle", "events")


@final
class Cockpit(Panel):
    """All panels of a session; see `Panel`."""

    key = "cockpit"
    title = "ringnb cockpit"

    def build(self) -> Sequence[Widget]:
        """Put the panels side by side."""
        panels = [self._desk.panels[name] for name in PARTS]
        for name in _WIDE:
            self._desk.panels[name].add_class("ringnb-wide")
        grid = Box(panels)
        grid.add_class("ringnb-cockpit-grid")
        self.add_class("ringnb-cockpit")
        return [grid]
