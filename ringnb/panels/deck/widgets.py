"""The deck's widgets: all of them displays, which send by the hand; see `ringnb.panels.core.widgets`."""

from __future__ import annotations

from typing import Any

import traitlets

from ringnb.panels.core.widgets import View

__all__ = ["Deck", "Moment", "Transport"]


class Deck(View):
    """Transport and line; its script uses four others, from what knows no page to what draws."""

    shows = traitlets.Unicode("deck").tag(sync=True)
    drag_ms = traitlets.Int(200).tag(sync=True)  # between two places that a drag tells
    slot = traitlets.Int(-1).tag(sync=True)  # of the actor that the rest is about
    actors = traitlets.Dict({"count": 1, "into": None}).tag(
        sync=True
    )  # and which may be branched into
    lanes: Any = traitlets.List().tag(sync=True)  # newest first, see `timeline.lane_row`
    marks = traitlets.Dict({"v": 0}).tag(sync=True)  # what the version before lacks, see `MarkLog`
    # The checkpoint that is looked at: the key of its mark, 0 if none, and its name.
    shown = traitlets.Dict({"key": 0, "name": ""}).tag(sync=True)
    film = traitlets.Dict().tag(sync=True)  # a batch of small pictures, see `Film.take`
    about = traitlets.Dict().tag(sync=True)  # key, title and lines of the mark under the pointer
    field = traitlets.Unicode().tag(sync=True)  # that pictures are of, "" for the first
    traced = traitlets.Unicode().tag(sync=True)  # the name of the field whose values are known


class Moment(View):
    """What is known of what the playhead is at."""

    shows = traitlets.Unicode("moment").tag(sync=True)
    facts: Any = traitlets.List().tag(sync=True)  # a name and a text each
    pinned = traitlets.Bool().tag(sync=True)


class Transport(View):
    """The buttons that act on the live actor, without the line."""

    shows = traitlets.Unicode("live").tag(sync=True)
