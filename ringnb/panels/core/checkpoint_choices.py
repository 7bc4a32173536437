"""Checkpoints as lines to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ringnb._support.text import format_bytes
from ringnb.panels.core.state import SessionState

if TYPE_CHECKING:
    from ringnb.panels.core.controller import Desk

__all__ = ["items_of"]


def items_of(state: SessionState, desk: Desk, *, every: bool = False) -> list[dict[str, Any]]:
    """Return the checkpoints of the actor in hand, oldest first.

    Parameters
    ----------
    state : SessionState
        The session.
    desk : Desk
        Whose actor, and what reading has shown.
    every : bool, default False
        Of every actor.

    Returns
    -------
    list of dict
        ``name``, ``text`` and ``bad`` of each; the text says its status in a word.
    """
    items = []
    for slot, history in enumerate(state.histories):
        if slot != desk.slot and not every:
            continue
        for e in history:
            if e.damaged:
                items.append(
                    {"name": e.name, "text": f"{e.name}: damaged, cannot be read", "bad": 1}
                )
                continue
            verdict = desk.verdicts.get(e.name, "complete")
            pin = f", pinned: {e.pin}" if e.pin is not None else ""
            at = f", {e.created_at:%H:%M:%S}" if e.created_at is not None else ""
            items.append(
                {
                    "name": e.name,
                    # The name first: a narrow page cuts the end, and two may be of one step.
                    "text": f"{e.name}{at}, {format_bytes(e.nbytes)}, {verdict}{pin}",
                    "bad": int(not desk.sound(e)),
                }
            )
    return items
