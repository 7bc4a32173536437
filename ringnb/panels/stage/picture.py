"""A picture with words."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

from ringnb.panels.core.widgets import script

__all__ = ["Picture"]


class Picture(anywidget.AnyWidget):
    """An image with alternative text and a caption."""

    _esm = script("picture", Path(__file__).parent / "static")
    png = traitlets.Bytes().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    stale = traitlets.Bool().tag(sync=True)  # it shows what is no longer so
