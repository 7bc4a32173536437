"""The events panel: what happened, when, to whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from ipywidgets import Dropdown, Widget

from ringnb.console import counted
from ringnb.markup import rows_table
from ringnb.panels.base import Panel, row
from ringnb.panels.state import SessionState
from ringnb.panels.widgets import Listing

__all__ = ["EventsPanel"]

_MOST = 200
_TROUBLE = frozenset({"failed", "expired", "cancelled", "lost"})
_MILESTONES = _TROUBLE | {"committed", "retired", "restored"}
_LEVELS = {"milestones": _MILESTONES, "every stage": None, "troubles": _TROUBLE}


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
        origin = state.events[0].t_ns if state.events else 0
        header = ("time (s)", "actor", "event", "request", "step", "checkpoint", "remark")
        rows = [
            (
                f"{(e.t_ns - origin) / 1e9:.3f}",
                str(e.actor_slot),
                f"! {e.stage}" if e.stage in _TROUBLE else e.stage,
                "" if e.request_id is None else str(e.request_id),
                "" if e.step is None else f"{e.step:,}",
                e.name or "",
                e.detail,
            )
            for e in chosen
        ]
        classes = ["ringnb-trouble" if e.stage in _TROUBLE else "" for e in chosen]
        if not chosen:
            none = f"Nothing to show: {counted(state.appended, 'event')} so far"
            if state.appended and wanted is not None:
                none += f", none of them among the {self.level.value}"
            self.put(self._list, html=f"<p>{none}.</p>", text=none)
            return
        caption = f"The last {len(chosen)} of {counted(state.appended, 'event')}"
        text = "\n".join("\t".join(cells) for cells in (header, *rows))
        self.put(self._list, html=rows_table(caption, header, rows, classes=classes), text=text)
