"""The whole cockpit: every panel, each usable alone, under one status line."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import final

from ipywidgets import Box, Widget

from ringnb.panels.actors import ActorPanel
from ringnb.panels.core.controller import Desk
from ringnb.panels.core.panel import Panel
from ringnb.panels.events import EventsPanel
from ringnb.panels.faults import FaultPanel
from ringnb.panels.fields import ComparePanel, FieldPanel
from ringnb.panels.lifecycle import LifecyclePanel
from ringnb.panels.prediction import PredictPanel
from ringnb.panels.retention import RetentionPanel
from ringnb.panels.schedule import CheckpointPanel
from ringnb.panels.timeline import TimelinePanel
from ringnb.session.session import Session

__all__ = [
    "Cockpit",
    "PANELS",
    "PARTS",
    "close_panels",
    "open_panel",
]


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


PANELS: tuple[str, ...] = tuple(PARTS)

# Each is held by its session's finaliser.
_desks: weakref.WeakSet[Desk] = weakref.WeakSet()
_lock = threading.Lock()


def close_panels(session: Session) -> None:
    """End the threads of a session's panels and close their widgets. Idempotent, any thread.

    Parameters
    ----------
    session : Session
        Whose.
    """
    with _lock:
        desk = _desk_of(session)
        if desk is None:
            return
        _desks.discard(desk)
    desk.dispose()


def _desk_of(session: Session) -> Desk | None:
    """Return the desk of a session or, after a restart, of the one in its place."""
    line = (session,) if session.successor is None else (session.successor, session)
    return next((desk for one in line for desk in _desks if desk.serves(one)), None)


def open_panel(session: Session, name: str | None = None) -> Panel:
    """Return a panel over a session; see ``Session.panel``.

    Parameters
    ----------
    session : Session
        Open or closed. One that was restarted has the panels of its successor.
    name : str, optional
        One of `PANELS`; the cockpit by default.

    Returns
    -------
    Panel
        The same one at every call.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name is not None and name not in PARTS:
        msg = f"there is no panel {name!r}: use one of {', '.join(PANELS)}, or none for the cockpit"
        raise ValueError(msg)
    with _lock:
        desk, live = _desk_of(session), session.successor or session
        if desk is None:
            desk = Desk(live)
            _desks.add(desk)
        live.on_displaced(close_panels)  # the cell's new output takes the place of the panels
        desk.replace(live)  # by a `remake` in a cell, say
        wanted = tuple(PARTS) if name is None else (name,)
        for one in wanted:
            if one not in desk.panels:
                desk.panels[one] = PARTS[one](desk)
        if name is not None:
            return desk.panels[name]
        if "cockpit" not in desk.panels:
            desk.panels["cockpit"] = Cockpit(desk)
        desk.pump.poke()
        return desk.panels["cockpit"]
