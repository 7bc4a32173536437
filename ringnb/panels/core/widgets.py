"""The widgets that ipywidgets does not have, as anywidgets; `library` says where their scripts are.

Two kinds, never mixed, so that every widget has one writer:

* *displays* (`Board`, and every `View`): the display loop writes them (a predict card, which has no
  loop, its own board), they send nothing;
* the one *control*, `Hand`: the page writes it, the kernel never.

A view holds board and hand of its session: what it shows comes from the one, what it asks for goes by
the other. ``common.js`` says how: ``part(model, "board")``, ``send(board, hand, ...)``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from ipywidgets import (
    Box,
    Dropdown,
    FloatText,
    IntText,
    Layout,
    Widget,
    widget_serialization,
)

from ringnb.panels.core.library import Library, is_shared, library

__all__ = [
    "Actions",
    "Board",
    "Chooser",
    "Hand",
    "LIVE_CONTROL",
    "ONLY_ONE",
    "Say",
    "View",
    "WHOLE_LABEL",
    "box",
    "button_state",
    "close_all",
    "dropdown",
    "integer_field",
    "number_field",
    "pushes_reach_the_page",
    "row",
    "serve_beside_cells",
]

ONLY_ONE = "This session has only one actor"  # why a button for several is disabled
LIVE_CONTROL = "rn-live-control"  # the class of one that `controls.js` refuses once nothing runs
_VIEW = (Path(__file__).parent / "view.js").read_text(encoding="utf-8")
WHOLE_LABEL = {"description_width": "initial"}  # the style of a control whose label is not cut off


def serve_beside_cells(widget: Widget) -> None:
    """Have a control's messages served while a cell runs, by the thread that the front end asks for."""
    # JupyterLab asks for a thread of its own. ipykernel 7.1 and later overrule that: they hand a
    # message to the loop that wrote to the widget last, which is the busy one for every widget that a
    # cell has made. Their rule is good for replies, and nothing here waits for one.
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda _data, asked_for: asked_for


def pushes_reach_the_page() -> bool:
    """Return whether the front end delivers what threads beside the cells send."""
    # Google Colab delivers only what is sent while it waits for a cell or a click.
    return "google.colab" not in sys.modules


def row(*widgets: Widget) -> Box:
    """Put widgets side by side, wrapping on a narrow page."""
    return box("ringnb-row", widgets)


def box(classes: str, children: Sequence[Widget]) -> Box:
    """Put widgets into a box of these classes."""
    # At once: `add_class` sends another message.
    return Box(list(children), _dom_classes=tuple(classes.split()), layout=library().layout)


class Bounded(traitlets.HasTraits):
    """Of a number field: it never holds what is out of bounds, and says so when that is refused.

    ipywidgets' own bounded fields take the nearest number instead, and say nothing.
    """

    min, max = -math.inf, math.inf
    in_force: float | None = None  # in the session, where a cell may have set what no user may
    refused: Callable[[str], None] | None = None
    _held: float = 0.0

    @traitlets.validate("value")
    def _hold(self, proposal: Any) -> Any:
        value = proposal["value"]
        if value == self.in_force or self.min <= value <= self.max:
            self._held = value
        elif self.refused is not None:
            self.refused(
                f"{value:,.15g} is refused, write {self.min:,.15g} to {self.max:,.15g}; it stays "
                f"{self._held:,.15g}"
            )
        return self._held  # where a page has set it, `value` of now is the refused one


class IntegerField(Bounded, IntText):
    """A field for an integer."""


class NumberField(Bounded, FloatText):
    """A field for a number."""


def integer_field(
    description: str, value: int, most: int = 10**9, least: int = 1, **options: Any
) -> Any:
    """Make a field for an integer, from 1 on unless another one is the least."""
    field = IntegerField(value=value, description=description, style=WHOLE_LABEL, **options)
    field.min, field.max = least, most
    return field


def number_field(description: str, value: float, least: float, most: float, **options: Any) -> Any:
    """Make a field for a number."""
    field = NumberField(value=value, description=description, style=WHOLE_LABEL, **options)
    field.min, field.max = least, most
    return field


def dropdown(description: str, options: Iterable[str], **more: Any) -> Any:
    """Make a list to choose one option from."""
    return Dropdown(options=list(options), description=description, style=WHOLE_LABEL, **more)


def button_state(disabled: bool, why: str, **flags: Any) -> dict[str, Any]:
    """Return the flags of a button; while it is disabled, its tooltip and a click on it say why."""
    return {"disabled": disabled, **({"why": why.rstrip(".")} if disabled else {}), **flags}


def close_all(widget: Widget) -> None:
    """Close a widget, all below it, and the widgets that hold their layouts and styles."""
    for child in getattr(widget, "children", ()):
        close_all(child)
    for looks in (getattr(widget, "layout", None), getattr(widget, "style", None)):
        if isinstance(looks, Widget) and not is_shared(looks):
            looks.close()
    widget.close()


class Board(Widget):
    """What every view of one session shows. The kernel writes it, no view of its own; see `Say`."""

    library = traitlets.Instance(Library).tag(sync=True, **widget_serialization)
    # The kernel's clock, in seconds: sent once a second while the panels' threads live.
    beat = traitlets.Float().tag(sync=True)
    life = traitlets.Unicode("running").tag(sync=True)  # "running", or why nothing runs
    backend = traitlets.Unicode().tag(sync=True)  # and of a session of another process, where it is
    unheard = traitlets.Bool().tag(sync=True)  # the session's process does not answer: all is old
    # When the selected actor's next checkpoint is due, by the clock of the beat: the page counts down.
    due_at: Any = traitlets.Float(None, allow_none=True).tag(sync=True)
    # And in words, see `news.next_of`.
    next_checkpoint = traitlets.Dict({"words": "", "counts": False, "none": True}).tag(sync=True)
    actor = traitlets.Dict().tag(sync=True)  # of the selected one: slot, kernel_id, step, rate, ...
    flags = traitlets.Dict().tag(sync=True)  # by action: disabled, pressed, label, why
    messages: Any = traitlets.List().tag(sync=True)  # newest last, see `Message.row`
    playhead = traitlets.Dict().tag(sync=True)  # what is looked at: run, step, name, follows
    chosen = traitlets.Dict().tag(sync=True)  # names, by a chooser's key; "" for the newest
    # Ids of the newest messages that the kernel has received from controls.
    acknowledged: Any = traitlets.List().tag(sync=True)

    @traitlets.default("library")
    def _find_library(self) -> Library:
        return library()


class Hand(Widget):
    """What every view of one session sends by. The page writes it; no view of its own."""

    def connect(self, receive: Callable[[str, dict[str, Any]], None]) -> None:
        """Pass the name of each action, ``do``, and the page's message to ``receive``."""

        def take(_widget: Any, content: Any, _buffers: Any) -> None:
            """Take what the front end sent."""
            if isinstance(content, dict) and isinstance(content.get("do"), str):
                receive(content["do"], content)

        self.on_msg(take)
        serve_beside_cells(self)


class View(anywidget.AnyWidget):
    """A widget that shows the board and sends by the hand; a script of the library draws it."""

    _esm = traitlets.Unicode(_VIEW).tag(sync=True)
    _anywidget_id = traitlets.Unicode("ringnb.View").tag(sync=True)
    shows = traitlets.Unicode().tag(sync=True)  # by its name, which script
    board = traitlets.Instance(Board).tag(sync=True, **widget_serialization)
    hand = traitlets.Instance(Hand).tag(sync=True, **widget_serialization)

    @traitlets.default("layout")
    def _share_layout(self) -> Layout:
        return library().layout

    def add_traits(self, **more: Any) -> None:
        """Add those that the class lacks: for each, traitlets makes this widget a class of its own.

        anywidget asks for what is above, which would be a third of the time in which a cockpit opens.
        """
        new = {name: trait for name, trait in more.items() if not self.has_trait(name)}
        if new:
            super().add_traits(**new)


class Say(View):
    """The head of a panel that is alone, and the message line; in another panel it shows nothing."""

    shows = traitlets.Unicode("say").tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    region = traitlets.Unicode().tag(sync=True)  # the panel's accessible name
    title = traitlets.Unicode().tag(sync=True)
    beats = traitlets.Bool(True).tag(sync=True)  # whether silence of the kernel is shown
    # The history: which part of it is open ("" if none is), whether it stays open, and its rows.
    part = traitlets.Unicode().tag(sync=True)
    stays = traitlets.Bool().tag(sync=True)
    rows: Any = traitlets.List().tag(sync=True)


class Actions(View):
    """A row of buttons, which show the board's ``flags``."""

    shows = traitlets.Unicode("actions").tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)  # the row's accessible name
    actions: Any = traitlets.List().tag(sync=True)  # name, label and help of each


class Chooser(View):
    """Chooses one of its ``items``."""

    shows = traitlets.Unicode("chooser").tag(sync=True)
    key = traitlets.Unicode().tag(sync=True)  # which of the board's ``chosen``
    label = traitlets.Unicode().tag(sync=True)  # its accessible name
    # The text of the option that chooses none in particular.
    follow = traitlets.Unicode("the newest (follow)").tag(sync=True)
    items: Any = traitlets.List().tag(sync=True)  # checkpoints, oldest first: name, text, bad
