"""The rows of the history: messages, or stages of snapshots. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ringnb._support.text import name_actors
from ringnb.messages.events import LIFECYCLE, TROUBLES, Event
from ringnb.panels.core.messages import Message
from ringnb.panels.core.state import SessionState

__all__ = ["PARTS", "rows_of"]

_MOST_STAGES = 200
_MILESTONES = frozenset(stage.name for stage in LIFECYCLE if stage.outcome)
_MESSAGES: dict[str, Callable[[Message], bool]] = {
    "everything": lambda _: True,
    "problems": lambda m: m.kind in ("warning", "problem"),
}
_STAGES: dict[str, Callable[[Event], bool]] = {
    "milestones": lambda e: e.stage in _MILESTONES,
    "stages": lambda _: True,
}
PARTS = (*_MESSAGES, *_STAGES)


def rows_of(part: str, messages: Sequence[Message], state: SessionState) -> list[dict[str, Any]]:
    """Return the rows of one of `PARTS`, newest first: see `Message.row`, `_stage_row`."""
    if part in _MESSAGES:
        return [m.row(whole=True) for m in reversed(messages) if _MESSAGES[part](m)]
    wanted = [e for e in state.events if _STAGES[part](e)][-_MOST_STAGES:]
    return [_stage_row(e, state.began_ns) for e in reversed(wanted)]


def _stage_row(event: Event, began_ns: int) -> dict[str, Any]:
    """Return a row; ``when`` is in seconds since the session began."""
    facts = [f"actor {event.actor_slot}"]
    if event.request_id is not None:
        facts.append(f"request {event.request_id}")
    if event.step is not None:
        facts.append(f"step {event.step:,}")
    if event.name:
        facts.append(event.name)
    text = ", ".join(facts)
    return {
        "kind": "warning" if event.stage in TROUBLES else "stage",
        "word": event.stage,
        "when": f"{(event.t_ns - began_ns) / 1e9:.3f} s",
        "text": f"{text}: {name_actors(event.detail)}" if event.detail else text,
    }
