"""The events panel: what happened, when, to which actor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from ipywidgets import Widget

from ringnb._support.text import counted
from ringnb.messages.events import LIFECYCLE, TROUBLES, events_table
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.widgets import Listing, dropdown, row

__all__ = ["EventsPanel"]

_MOST = 200
_MILESTONES = frozenset(stage.name for stage in LIFECYCLE if stage.outcome)
_LEVELS = {"milestones": _MILESTONES, "every stage": None, "troubles": TROUBLES}


@final
class EventsPanel(Panel):
    """Lists the lifecycle log; see `Panel`."""

    key = "events"
    title = "Events"

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        self.level = self.control(dropdown("Show", _LEVELS), lambda _: self._controller.note_use())
        self.listing = Listing(label="Events, oldest first")
        return [row(self.level), self.listing]

    def show(self, state: SessionState) -> None:
        """Put the newest events."""
        wanted = _LEVELS[self.level.value]
        chosen = [e for e in state.events if wanted is None or e.stage in wanted][-_MOST:]
        so_far = counted(state.appended, "event")
        if chosen:
            caption = f"The last {len(chosen)} of {so_far}, times since the session began"
            html, text = events_table(chosen, state.began_ns, caption)
        else:
            text = f"Nothing to show: {so_far} so far"
            if state.appended and wanted is not None:
                text += f", none of them among the {self.level.value}"
            html = f"<p>{text}.</p>"
        self.put(self.listing, html=html, text=text)
