"""The events panel: the history of messages and of snapshots' stages, open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from ipywidgets import Widget

from ringnb.panels.core.panel import Panel

__all__ = ["EventsPanel"]


@final
class EventsPanel(Panel):
    """Shows the history; see `Panel`."""

    key = "events"
    title = "History"

    def build(self) -> Sequence[Widget]:
        """Open the history of the message line."""
        self.line.stays = True
        self._controller.open_history(self.key, "milestones")
        return []
