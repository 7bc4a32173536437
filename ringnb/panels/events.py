"""The events panel: what happened, when, to whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from ipywidgets import Dropdown, Widget

from ringnb._support.text import counted
from ringnb.messages.events import LIFECYCLE, TROUBLES, events_table
from ringnb.panels.core.panel import Panel, row
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.widgets import Listing

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
        self.level = self.control(
            Dropdown(options=list(_LEVELS), description="Show"), lambda _: self._desk.pump.poke()
        )
        self._list = Listing(label="Events, oldest first")
        return [row(self.level), self._list]

    def show(self, state: SessionState) -> None:
        """Put the newest events."""
        wanted = _LEVELS[self.level.value]
        chosen = [e for e in state.events if wanted is None or e.stage in wanted][-_MOST:]
        if not chosen:
            none = f"Nothing to show: {counted(state.appended, 'event')} so far"
            if state.appended and wanted is not None:
                none += f", none of them among the {self.level.value}"
            self.put(self._list, html=f"<p>{none}.</p>", text=none)
            return
        told = counted(state.appended, "event")
        caption = f"The last {len(chosen)} of {told}, times since the session began"
        html, text = events_table(chosen, state.began_ns, caption)
        self.put(self._list, html=html, text=text)
