"""The widgets that ipywidgets does not have, as anywidgets with their script in ``static/``.

Two kinds, never mixed, so that every widget has one writer:

* *displays* (`Frame`, `Picture`, `Listing`, `LifecycleView`): the pump writes them, they send nothing;
* *controls* (`Actions`, `Chooser`): the front end writes them, the kernel never does once they are made.
  What they show comes from a frame.

JupyterLab sends what widgets have to say to a thread of its own, so that it is served while a cell runs.
ipykernel 7.1 and later overrule that: they hand a message to the loop that wrote to the widget last, and
that is the busy one for every widget that a cell has made. `serve_beside_cells` leaves the choice to the
front end; nothing here waits for a reply, which is what the rule is good for.

The handlers of controls are called on whatever thread Jupyter chose, and only enqueue.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from ipywidgets import Widget, widget_serialization

__all__ = [
    "Actions",
    "Chooser",
    "Frame",
    "LifecycleView",
    "Listing",
    "Picture",
    "pushes_reach_the_page",
    "serve_beside_cells",
]

_STATIC = Path(__file__).parent / "static"


def _script(name: str) -> str:
    return "\n".join(
        (_STATIC / f"{part}.js").read_text(encoding="utf-8") for part in ("common", name)
    )


def serve_beside_cells(widget: Widget) -> None:
    """Have a control's messages served by the thread that the front end asks for.

    Parameters
    ----------
    widget : Widget
        A control; nothing is done where ipykernel does not overrule the front end.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda _data, asked_for: asked_for


def pushes_reach_the_page() -> bool:
    """Return whether the front end delivers what threads beside the cells send.

    Returns
    -------
    bool
        False in Google Colab, which delivers only what is sent while it waits for a cell or a click.
    """
    return "google.colab" not in sys.modules


class Frame(anywidget.AnyWidget):
    """The head of a panel, and the board that its controls read.

    Attributes
    ----------
    name, region, title : str
        The panel's name, its accessible name, its heading.
    beats : bool
        Whether silence of the kernel is shown.
    beat : int
        Counts up once a second while the panel's threads live.
    state : str
        "running", or why nothing runs.
    status, alert, detail : str
        What was done; what went wrong; its traceback.
    trouble : str
        What went wrong in the background. A cockpit says it once, for all panels in it.
    flags : dict
        Per action: ``disabled``, ``pressed``, ``label``, ``why``.
    items : list of dict
        Checkpoints to choose from, oldest first: ``name``, ``text``, ``bad``.
    chosen : dict
        What is chosen, by a chooser's key; "" for the newest.
    heard : list of str
        Ids of the newest messages that the kernel has heard from controls.
    """

    _esm = _script("frame")
    _css = (_STATIC / "panel.css").read_text(encoding="utf-8")
    name = traitlets.Unicode().tag(sync=True)
    region = traitlets.Unicode().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    beats = traitlets.Bool(True).tag(sync=True)
    beat = traitlets.Int().tag(sync=True)
    state = traitlets.Unicode("running").tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)
    alert = traitlets.Unicode().tag(sync=True)
    detail = traitlets.Unicode().tag(sync=True)
    trouble = traitlets.Unicode().tag(sync=True)
    flags = traitlets.Dict().tag(sync=True)
    items: Any = traitlets.List().tag(sync=True)
    chosen = traitlets.Dict().tag(sync=True)
    heard: Any = traitlets.List().tag(sync=True)


class Actions(anywidget.AnyWidget):
    """A row of buttons.

    Attributes
    ----------
    label : str
        The row's accessible name.
    actions : list of (str, str, str)
        Id, label and help of each.
    frame : Frame
        Whose `flags` they show.
    """

    _esm = _script("actions")
    label = traitlets.Unicode().tag(sync=True)
    actions: Any = traitlets.List().tag(sync=True)
    frame = traitlets.Instance(Frame).tag(sync=True, **widget_serialization)

    def on_action(self, handler: Callable[[str], None], heard: Callable[[str], None]) -> None:
        """Call a function with the id of every button that is pressed.

        Parameters
        ----------
        handler : callable
            It only enqueues.
        heard : callable
            Gets the id of every message, so that the front end can be told.
        """
        ids = {action[0] for action in self.actions}

        def receive(_widget: Any, content: Any, _buffers: Any) -> None:
            """Take what the front end sent."""
            if isinstance(content, dict) and content.get("do") in ids:
                heard(str(content.get("id", "")))
                handler(content["do"])

        self.on_msg(receive)
        serve_beside_cells(self)


class Chooser(anywidget.AnyWidget):
    """Chooses one of a frame's items.

    Attributes
    ----------
    key : str
        Which choice of the frame it is.
    label : str
        Its accessible name.
    scrub : bool
        Whether it is a slider with a list, or a list alone.
    follow : str
        The text of the option that chooses none in particular.
    frame : Frame
        Whose `items` and `chosen` it shows.
    """

    _esm = _script("chooser")
    key = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    scrub = traitlets.Bool().tag(sync=True)
    follow = traitlets.Unicode().tag(sync=True)
    frame = traitlets.Instance(Frame).tag(sync=True, **widget_serialization)

    def on_choice(self, handler: Callable[[str, str], None], heard: Callable[[str], None]) -> None:
        """Call a function with the key and the name of every choice.

        Parameters
        ----------
        handler : callable
            ``handler(key, name)``; the name is "" for the newest.
        heard : callable
            Gets the id of every message, so that the front end can be told.
        """

        def receive(_widget: Any, content: Any, _buffers: Any) -> None:
            """Take what the front end sent."""
            name = content.get("choose") if isinstance(content, dict) else None
            if isinstance(name, str):
                heard(str(content.get("id", "")))
                handler(self.key, name)

        self.on_msg(receive)
        serve_beside_cells(self)


class Picture(anywidget.AnyWidget):
    """An image with alternative text and a caption.

    Attributes
    ----------
    png : bytes
        The image.
    alt, caption : str
        What it shows, in words; what it is.
    stale : bool
        Whether it shows what is no longer so.
    """

    _esm = _script("picture")
    png = traitlets.Bytes().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    stale = traitlets.Bool().tag(sync=True)


class Listing(anywidget.AnyWidget):
    """A table with a button that copies it.

    Attributes
    ----------
    label : str
        Its accessible name.
    html, text : str
        The table, and the same as text.
    """

    _esm = _script("listing")
    label = traitlets.Unicode().tag(sync=True)
    html = traitlets.Unicode().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)


class LifecycleView(anywidget.AnyWidget):
    """The stations of a snapshot request, and the requests on their way.

    Attributes
    ----------
    scene : dict
        See `ringnb.panels.lifecycle_scene.scene_of`.
    """

    _esm = _script("lifecycle")
    scene = traitlets.Dict().tag(sync=True)
