"""Choosing an actor: from a list while that can be read, by its number where there are too many.

A list of 100,000 names is sent to every view of it, megabytes each. Either control has an integer
``value``, the slot, so that nobody needs to know which of the two it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from ipywidgets import BoundedIntText, Dropdown

from ringnb.panels.core.state import ActorState

__all__ = ["MOST_LISTED", "slot_picker"]

MOST_LISTED = 200


def slot_picker(
    actors: Sequence[ActorState], description: str, *, none: str | None = None
) -> Dropdown | BoundedIntText:
    """Make a control that chooses a slot.

    Parameters
    ----------
    actors : sequence of ActorState
        What there is to choose from.
    description : str
        Its label.
    none : str, optional
        What -1 means, where that may be chosen; it is chosen at first.

    Returns
    -------
    ipywidgets.Dropdown or ipywidgets.BoundedIntText
        The slot is its ``value``; a number that is no slot becomes the nearest one.
    """
    style = {"description_width": "initial"}
    if len(actors) > MOST_LISTED:
        last = actors[-1].slot
        also = "" if none is None else f", -1: {none}"
        return BoundedIntText(
            value=0 if none is None else -1,
            min=0 if none is None else -1,
            max=last,
            description=f"{description} (slot, 0 to {last:,}{also})",
            style=style,
        )
    options = [] if none is None else [(none, -1)]
    options += [(f"{a.slot}: {a.kernel_id}", a.slot) for a in actors]
    return Dropdown(options=options, description=description, style=style)
