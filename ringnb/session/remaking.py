"""What a session takes over from the one that it replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringnb.session.session import Session

__all__ = ["take_over"]


def take_over(old: Session, new: Session) -> None:
    """Give a session that is made like another what calls have set there; the other may be closed."""
    for slot in range(len(new.actors)):
        if (steps := old.snapshot_interval_steps(slot)) is not None:
            new.snapshot_every(steps, slot)
        if new.pace(slot) != (pace := old.pace(slot)):
            new.set_pace(pace, slot)
    for link, joined in old.links.items():
        if not joined:
            new.cut(link)
