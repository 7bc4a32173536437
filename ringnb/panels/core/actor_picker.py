"""Choosing an actor: from a list while that can be read, by its number where there are too many.

A list of 100,000 names is sent to every view of it, megabytes each. Either control has an integer
``value``, the slot, so that no caller needs to know which of the two it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from ipywidgets import BoundedIntText, Dropdown

from ringnb.panels.core.state import ActorState
from ringnb.panels.core.widgets import WHOLE_LABEL

__all__ = ["MOST_LISTED", "slot_picker"]

MOST_LISTED = 200


def slot_picker(
    actors: Sequence[ActorState], description: str, *, none: str | None = None
) -> Dropdown | BoundedIntText:
    """Make a control whose ``value`` is a slot; -1 may be chosen if `none` says what that means."""
    if len(actors) > MOST_LISTED:
        last = len(actors) - 1
        also = "" if none is None else f", -1: {none}"
        lowest = 0 if none is None else -1
        return BoundedIntText(
            value=lowest,
            min=lowest,
            max=last,
            description=f"{description} (slot, 0 to {last:,}{also})",
            style=WHOLE_LABEL,
        )
    options = [] if none is None else [(none, -1)]
    options += [(f"{a.slot}: {a.kernel_id}", a.slot) for a in actors]
    return Dropdown(options=options, description=description, style=WHOLE_LABEL)
