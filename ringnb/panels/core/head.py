"""The cockpit's head: tabs, the selected actor and its state, where it runs."""

from __future__ import annotations

from typing import Any

import traitlets

from ringnb.panels.core.widgets import View

__all__ = ["Head"]


class Head(View):
    """Shows tabs and state, and names the parts of the cockpit's grid."""

    shows = traitlets.Unicode("head").tag(sync=True)
    # Slot and kernel id of each actor, or of none if they are too many to list: then the last slot.
    actors: Any = traitlets.List().tag(sync=True)
    last = traitlets.Int().tag(sync=True)
    parts = traitlets.Dict().tag(sync=True)  # names of the panels in the grid, by their keys
