"""The widgets of the tab Keep: displays, which send by the hand; see `ringnb.panels.core.widgets`."""

from __future__ import annotations

from typing import Any

import traitlets

from ringnb.panels.core.widgets import View

__all__ = ["Sheet", "WhatStays", "When"]


class Sheet(View):
    """The contact sheet, a small picture per checkpoint, and the forecast of the disk below it."""

    shows = traitlets.Unicode("sheet").tag(sync=True)
    actor = traitlets.Unicode().tag(sync=True)  # whose checkpoints they are
    count = traitlets.Int().tag(sync=True)  # how many there are: the newest have tiles
    tiles = traitlets.Dict({"v": 0}).tag(sync=True)  # what the version before lacks, see `SheetLog`
    film = traitlets.Dict().tag(sync=True)  # a batch of small pictures, see `Film.take`
    field = traitlets.Unicode().tag(sync=True)  # which the pictures show; "" for the first
    forecast = traitlets.Dict().tag(sync=True)  # see `retention.RetentionPanel`


class WhatStays(View):
    """The heading of what stays; or, below the choice of a policy, what it does, the disk, and one."""

    shows = traitlets.Unicode("stays").tag(sync=True)
    heads = traitlets.Bool().tag(sync=True)
    in_force = traitlets.Unicode().tag(sync=True)  # the policy, as it is written
    preview = traitlets.Dict().tag(sync=True)  # going, words, more
    disk = traitlets.Dict().tag(sync=True)  # own, free and all in bytes, words, rate
    one = traitlets.Dict().tag(sync=True)  # name, pin (None if it is not pinned)


class When(View):
    """The heading of when; or, below the controls of the interval, what that costs."""

    shows = traitlets.Unicode("when").tag(sync=True)
    heads = traitlets.Bool().tag(sync=True)
    due = traitlets.Unicode().tag(sync=True)  # in words; "" where the board's clock counts down
    cost = traitlets.Unicode().tag(sync=True)
    facts: Any = traitlets.List().tag(sync=True)  # a name and a text each; not in the cockpit
