"""Choosing an actor: from a list while that can be read, by its number where there are too many.

A list of 100,000 names is sent to every view of it, megabytes each. Either control has an integer
``value``, the slot, so that no caller needs to know which of the two it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from ipywidgets import Dropdown

from ringnb.panels.core.state import ActorState
from ringnb.panels.core.widgets import WHOLE_LABEL, IntegerField, integer_field

__all__ = ["MOST_LISTED", "slot_picker"]

MOST_LISTED = 200


def slot_picker(actors: Sequence[ActorState]) -> Dropdown | IntegerField:
    """Make a control whose ``value`` is the slot of an actor."""
    if len(actors) > MOST_LISTED:
        last = len(actors) - 1
        field: IntegerField = integer_field(f"Actor (0 to {last:,})", 0, last, least=0)
        return field
    options = [(f"{a.slot}: {a.kernel_id}", a.slot) for a in actors]
    return Dropdown(options=options, description="Actor", style=WHOLE_LABEL)
