"""The whole cockpit: every panel, each usable alone, under one status line."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import final

from ipywidgets import Box, Widget

from ringnb.panels.core.controller import Controller
from ringnb.panels.core.history import EventsPanel
from ringnb.panels.core.live import Live
from ringnb.panels.core.panel import Panel
from ringnb.panels.deck.actors import ActorPanel
from ringnb.panels.deck.timeline import TimelinePanel
from ringnb.panels.keep.retention import RetentionPanel
from ringnb.panels.keep.schedule import CheckpointPanel
from ringnb.panels.learn.faults import FaultPanel
from ringnb.panels.learn.lifecycle import LifecyclePanel
from ringnb.panels.learn.prediction import PredictPanel
from ringnb.panels.stage.compare import ComparePanel
from ringnb.panels.stage.fields import FieldPanel
from ringnb.panels.stage.parameters import ParametersPanel
from ringnb.session.session import Session

__all__ = ["Cockpit", "PANELS", "close_panels", "open_panel"]

_PARTS: dict[str, type[Panel]] = {
    "actor": ActorPanel,
    "checkpoint": CheckpointPanel,
    "lifecycle": LifecyclePanel,
    "timeline": TimelinePanel,
    "field": FieldPanel,
    "retention": RetentionPanel,
    "compare": ComparePanel,
    "parameters": ParametersPanel,
    "events": EventsPanel,
    "faults": FaultPanel,
    "predict": PredictPanel,
}
PANELS: tuple[str, ...] = tuple(_PARTS)

# A panel over the whole width, or a stack that is put beside the next one. The stacks of a pair are
# about equally high, and on a narrow page, one below the other, they still make sense.
_LAYOUT: tuple[str | tuple[str, ...], ...] = (
    ("actor", "predict"),
    ("checkpoint",),
    "lifecycle",
    ("timeline", "field"),
    ("retention", "compare", "parameters"),
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
        for place in _LAYOUT:
            if isinstance(place, str):
                part: Widget = _panel(self._controller, place)
                part.add_class("ringnb-wide")
            else:
                part = Box([_panel(self._controller, name) for name in place])
                part.add_class("ringnb-stack")
            rows.append(part)
        grid = Box(rows)
        grid.add_class("ringnb-cockpit-grid")
        self.add_class("ringnb-cockpit")
        return [grid]


def _panel(controller: Controller, name: str) -> Panel:
    """Return a panel of a controller, made if it was not there."""
    panel = controller.views.get(name)
    if panel is None:
        kind = Cockpit if name == Cockpit.key else _PARTS[name]
        panel = controller.views[name] = kind(controller)
    assert isinstance(panel, Panel)
    return panel


# Each is held by its session's finaliser.
_controllers: weakref.WeakSet[Controller] = weakref.WeakSet()
_lock = threading.Lock()


def _controller_of(session: Session) -> Controller | None:
    """Return the controller of a session or, after a restart, of its successor."""
    candidates = (session,) if session.successor is None else (session.successor, session)
    return next((c for one in candidates for c in _controllers if c.serves(one)), None)


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
    if name is not None and name not in _PARTS:
        msg = f"there is no panel {name!r}: use one of {', '.join(PANELS)}, or None for the cockpit"
        raise ValueError(msg)
    with _lock:
        current = session.successor or session
        controller = _controller_of(session)
        if controller is None:
            controller = Controller(current)
            controller.views[Live.key] = Live(controller)
            _controllers.add(controller)
        current.on_displaced(close_panels)  # the output of the cell's next run replaces the panels
        controller.replace(current)  # a cell may have called `remake`
        panel = _panel(controller, Cockpit.key if name is None else name)
    controller.display.poke()
    return panel


def close_panels(session: Session) -> None:
    """End the threads of a session's panels and close their widgets. Idempotent, any thread.

    Parameters
    ----------
    session : Session
        The session.
    """
    with _lock:
        controller = _controller_of(session)
        if controller is None:
            return
        _controllers.discard(controller)
    controller.dispose()
