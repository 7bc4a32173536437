"""The stage's widgets: a picture as data without a view, a view of it, and the live actor's dials."""

from __future__ import annotations

from typing import Any

import traitlets
from ipywidgets import Widget, widget_serialization

from ringnb.panels.core.widgets import View

__all__ = ["Curves", "Dials", "Picture", "Stage"]


class Picture(Widget):
    """A picture as data, so that several views show it and one message brings it. A display."""

    info = traitlets.Dict().tag(
        sync=True
    )  # what `pictures.draw` says of it; empty if there is none
    pixels = traitlets.Bytes().tag(sync=True)
    more = traitlets.Bytes().tag(sync=True)  # a second one, for a swipe
    view = traitlets.Dict().tag(sync=True)  # how it is made: what the controls show


class Stage(View):
    """Shows a picture, or what it is compared with, or both side by side."""

    shows = traitlets.Unicode("stage").tag(sync=True)
    picture = traitlets.Instance(Picture, allow_none=True).tag(sync=True, **widget_serialization)
    compare = traitlets.Instance(Picture, allow_none=True).tag(sync=True, **widget_serialization)


class Curves(View):
    """Shows numbers that are reported, as curves."""

    shows = traitlets.Unicode("curves").tag(sync=True)
    curves: Any = traitlets.List().tag(sync=True)  # name, newest, range and points of each
    words = traitlets.Unicode().tag(sync=True)  # which rows they are of


class Dials(View):
    """Shows the live actor's parameters, each with a slider."""

    shows = traitlets.Unicode("dials").tag(sync=True)
    dials: Any = traitlets.List().tag(sync=True)  # name, value, low, high, and what it was (there)
    pace = traitlets.Float().tag(sync=True)  # steps per second at most; 0: no limit
    amplitude = traitlets.Float(1.0).tag(sync=True)
    looks_back = traitlets.Bool().tag(sync=True)  # whether the playhead is at something older
    # Whose cells a click may disturb, once it is shown.
    picture = traitlets.Instance(Picture, allow_none=True).tag(sync=True, **widget_serialization)
