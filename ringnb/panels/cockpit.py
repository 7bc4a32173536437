"""The cockpit: head, stage, message line, deck and side in one grid, over every panel of a session.

A panel is put into the grid by its parts: what it shows (`Panel.body`) and its controls for the side
(`Panel.aside`). The tabs change stage and side; message line and deck stay.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final, overload

from ipywidgets import HTML, Box, Widget

from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import CheckpointError
from ringnb.panels.core.actor_picker import MOST_LISTED
from ringnb.panels.core.controller import Controller
from ringnb.panels.core.head import Head
from ringnb.panels.core.history import EventsPanel
from ringnb.panels.core.live import Live
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.watched import NO_KERNEL, Watched, has_kernel
from ringnb.panels.core.widgets import box
from ringnb.panels.deck.actors import ActorPanel
from ringnb.panels.deck.looking import Looking
from ringnb.panels.deck.moments import Moments
from ringnb.panels.deck.timeline import TimelinePanel
from ringnb.panels.keep.retention import RetentionPanel
from ringnb.panels.keep.schedule import CheckpointPanel
from ringnb.panels.learn.faults import FaultPanel
from ringnb.panels.learn.lifecycle import LifecyclePanel
from ringnb.panels.learn.prediction import PredictPanel
from ringnb.panels.members import EnsemblePanel, MembersLike
from ringnb.panels.overview import AllActors
from ringnb.panels.stage.compare import ComparePanel, stage_of
from ringnb.panels.stage.fields import FieldPanel
from ringnb.panels.stage.parameters import ParametersPanel
from ringnb.panels.stage.reported import ReportPanel
from ringnb.panels.still import line_of, still_of

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
    "report": ReportPanel,
    "events": EventsPanel,
    "faults": FaultPanel,
    "predict": PredictPanel,
}
PANELS: tuple[str, ...] = tuple(_PARTS)

# By tab: the panels on the stage, and those in the side, from top to bottom: of a panel that is on the
# stage or in the deck what it has for the side, of any other one the whole.
_TABS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "explore": (("field", "compare"), ("parameters", "timeline", "report")),
    "keep": (("retention",), ("checkpoint", "retention")),
    "learn": (("lifecycle",), ("predict", "lifecycle", "faults")),
}
_DECK = ("timeline",)  # seen in every tab
_NOTHING_TO_LEARN = f"""<p><b>{NO_KERNEL}.</b></p>
<p>This tab follows a snapshot through a running kernel. To see it, open a session beside your loop:
<code>rn.Session(rn.actors.Wave2D((256, 256))).panel()</code></p>"""


@final
class Cockpit(Panel):
    """All panels of a session; see `Panel`."""

    key = "cockpit"
    title = "ringnb cockpit"
    classes = ("ringnb-panel", "rn-cockpit")

    def build(self) -> Sequence[Widget]:
        """Put the panels' parts into the grid, around the message line."""
        actors = self._controller.state.actors
        listed = actors if len(actors) <= MOST_LISTED else ()
        self.head = Head(
            board=self._controller.board,
            hand=self._controller.hand,
            actors=[(a.slot, a.kernel_id) for a in listed],
            last=len(actors) - 1,
            parts={key: kind.title for key, kind in _PARTS.items()},
        )
        live = self._controller.state.has_kernel
        self._controller.on_do("actor.choose", self._choose_actor)
        self._all_actors = AllActors(self._controller)
        stages, sides = [], []
        for tab, names in _TABS.items():
            on_stage, in_side = ([n for n in some if _shows(n, live)] for some in names)
            parts: list[Widget] = []
            if tab == "explore":
                parts = [self._pictures(tab)]
            elif on_stage:
                parts = [self._part(name, tab) for name in on_stage]
            else:
                parts = [box("rn-card", [HTML(_NOTHING_TO_LEARN)])]
            stages.append(box(f"rn-tab-{tab}", parts))
            side = [
                self._aside(name) if name in (*on_stage, *_DECK) else self._part(name, tab)
                for name in in_side
            ]
            sides.append(box(f"rn-tab-{tab}", side))
        grid = box(
            "rn",
            [
                self.head,
                box("rn-stage", [*stages, self._all_actors.view]),
                self.line,
                box("rn-deck", [self._part(name, *_TABS) for name in _DECK]),
                box("rn-side", sides),
            ],
        )
        return [grid]

    def arrange(self) -> list[Widget]:
        """Return the grid alone: the message line is in it."""
        return self.body

    def still(self) -> str:
        """Return the picture of the checkpoint that is looked at, if it can be drawn, and the line."""
        e = self._controller.choices.resolve("main")
        if e is None:
            return ""
        line = line_of(self._controller.choices.of_actor(), e.name)
        with contextlib.suppress(CheckpointError, OSError, ValueError, LookupError):
            return still_of(self.watched.storage.load(e.name)) + line
        return line

    def show(self, state: SessionState) -> None:
        """Put the cards of all actors, if they are open."""
        self._all_actors.show(state)

    def _find(self, name: str) -> Panel:
        return _panel(self._controller, name)

    def _part(self, name: str, *tabs: str) -> Box:
        """Return what a panel shows in some tabs; in the side all of it, on stage and deck its body."""
        panel = self._find(name)
        panel.tabs = (*panel.tabs, *tabs)
        apart = name in _DECK or any(name in on_stage for on_stage, _ in _TABS.values())
        return box(f"rn-in-{name} rn-card", [*panel.body, *(() if apart else panel.aside)])

    def _pictures(self, tab: str) -> Box:
        """Return one view of the field panel and of the comparison, which share a row of tools."""
        field, compare = self._find(FieldPanel.key), self._find(ComparePanel.key)
        assert isinstance(field, FieldPanel)
        assert isinstance(compare, ComparePanel)
        for panel in (field, compare):
            panel.tabs = (*panel.tabs, tab)
        board, hand = self._controller.board, self._controller.hand
        return box("rn-in-field", [stage_of(field, compare, board, hand)])

    def _aside(self, name: str) -> Box:
        """Return a panel's controls for the side."""
        return box(f"rn-in-{name} rn-card", self._find(name).aside)

    def _choose_actor(self, _action: str, args: Mapping[str, Any]) -> None:
        self._controller.picker.value = int(args.get("slot", 0))


def _shows(name: str, live: bool) -> bool:
    """Return whether there is a panel where a kernel runs, or does not."""
    return live or not _PARTS[name].needs_kernel


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


def _controller_of(watched: Watched) -> Controller | None:
    """Return the controller of a session or, after a restart, of its successor."""
    candidates = (watched,) if watched.successor is None else (watched.successor, watched)
    return next((c for one in candidates for c in _controllers if c.serves(one)), None)


@overload
def open_panel(watched: MembersLike) -> EnsemblePanel:
    """Return a new panel over an ensemble."""


@overload
def open_panel(
    watched: Watched,
    name: str | None = None,
    *,
    draw: Callable[[Checkpoint, Any], object] | None = None,
) -> Panel:
    """Return the panel over a session or a recorder, the same one at every call."""


def open_panel(
    watched: Watched | MembersLike,
    name: str | None = None,
    *,
    draw: Callable[[Checkpoint, Any], object] | None = None,
) -> Panel | EnsemblePanel:
    """Return a panel over a session or a recorder, or over an ensemble; see ``Session.panel``.

    Parameters
    ----------
    watched : Session, RemoteSession, Recorder or MembersLike
        Open or closed. A session that was restarted has the panels of its successor. `MembersLike` is
        what looks at an ensemble's members, which have one panel: `name` and `draw` are not for it.
    name : str, optional
        One of `PANELS`; the cockpit by default.
    draw : callable, optional
        What the field panel draws, see `FieldPanel`; by default what it drew until now.

    Returns
    -------
    Panel or EnsemblePanel
        Of a session or a recorder the same one at every call; of an ensemble a new one.

    Raises
    ------
    TypeError, ValueError
        If there is none of that name, or it needs a kernel; if `draw` is no function, or given for
        another panel.
    """
    if isinstance(watched, MembersLike):
        return EnsemblePanel(watched)
    if name is not None and name not in _PARTS:
        msg = f"there is no panel {name!r}: use one of {', '.join(PANELS)}, or None for the cockpit"
        raise ValueError(msg)
    live = has_kernel(watched)
    if name is not None and not _shows(name, live):
        there = ", ".join(n for n in PANELS if _shows(n, live))
        msg = f"{NO_KERNEL}, so there is no panel {name!r}: use one of {there}, or None for the cockpit"
        raise ValueError(msg)
    if draw is not None and not callable(draw):
        msg = f"draw must be a function draw(checkpoint, ax), got {draw!r}"
        raise TypeError(msg)
    if draw is not None and name not in (None, FieldPanel.key):
        msg = f"draw is for the panel {FieldPanel.key!r} and the cockpit, not for {name!r}"
        raise ValueError(msg)
    with _lock:
        current = watched.successor or watched
        controller = _controller_of(watched)
        if controller is None:
            controller = Controller(current)
            controller.views[Live.key] = Live(controller)
            # Before the timeline, which shows what they have just found.
            controller.views[Looking.key] = looking = Looking(controller)
            controller.views[Moments.key] = Moments(controller, looking)
            _controllers.add(controller)
        current.on_displaced(close_panels)  # the output of the cell's next run replaces the panels
        controller.replace(current)  # a cell may have called `remake`
        panel = _panel(controller, Cockpit.key if name is None else name)
        panel.complete()
        if draw is not None:
            field = _panel(controller, FieldPanel.key)
            assert isinstance(field, FieldPanel)
            field.show_own(draw)
    controller.display.poke()
    return panel


def close_panels(watched: Watched) -> None:
    """End the threads of a session's panels and close their widgets. Idempotent, any thread.

    Parameters
    ----------
    watched : Session, RemoteSession or Recorder
        The session, or the recorder.
    """
    with _lock:
        controller = _controller_of(watched)
        if controller is None:
            return
        _controllers.discard(controller)
    controller.dispose()
