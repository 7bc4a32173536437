"""The way of a snapshot request, drawn."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

from ringnb.panels.core.widgets import script

__all__ = ["LifecycleView"]


class LifecycleView(anywidget.AnyWidget):
    """The stations of a snapshot request, and the requests on their way."""

    _esm = script("lifecycle", Path(__file__).parent / "static")
    scene = traitlets.Dict().tag(sync=True)  # see `ringnb.panels.learn.lifecycle_scene.scene_of`
