"""The stage's widgets: what is shown, as data without a view, and the one view of it."""

from __future__ import annotations

from pathlib import Path

import traitlets
from ipywidgets import Widget, widget_serialization

from ringnb.panels.core.pixels import tables_script
from ringnb.panels.core.widgets import View, script

__all__ = ["Aim", "Picture", "Stage"]

_STATIC = Path(__file__).parent / "static"
_CSS = (_STATIC / "stage.css").read_text(encoding="utf-8")


class Picture(Widget):
    """A picture as data, so that several views show it and one message brings it. A display."""

    info = traitlets.Dict().tag(sync=True)  # what `pictures.draw` says of it; empty if there is none
    pixels = traitlets.Bytes().tag(sync=True)
    more = traitlets.Bytes().tag(sync=True)  # a second one, for a swipe
    view = traitlets.Dict().tag(sync=True)  # how it is made: what the controls show


class Stage(View):
    """Shows a picture, or what it is compared with, or both side by side."""

    _esm = tables_script() + script("pixels") + script("stage", _STATIC)
    _css = _CSS
    picture = traitlets.Instance(Picture, allow_none=True).tag(sync=True, **widget_serialization)
    compare = traitlets.Instance(Picture, allow_none=True).tag(sync=True, **widget_serialization)


class Aim(View):
    """The button that lets a click in the picture disturb a cell."""

    _esm = script("aim", _STATIC)
    _css = _CSS
    picture = traitlets.Instance(Picture).tag(sync=True, **widget_serialization)
