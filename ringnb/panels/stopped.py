"""A lane that a crank has stopped answers nobody: say so at once, and which button opens it.

Without this a button would wait for the kernel until its timeout, on the very thread that turns the
crank. Nothing of the panels is imported here.
"""

from __future__ import annotations

from ringnb.kernel.base import Gate
from ringnb.session.session import Session

__all__ = ["LET_THROUGH", "LaneStopped", "see_that_it_answers"]

LET_THROUGH = "Let it through"  # the lifecycle panel's button that opens every gate


class LaneStopped(Exception):
    """A crank has stopped the lane of an actor."""


def see_that_it_answers(session: Session, slot: int) -> None:
    """Raise if a crank has stopped the lane of an actor.

    Parameters
    ----------
    session : Session
        The session.
    slot : int
        The actor that the kernel is to be asked about.

    Raises
    ------
    LaneStopped
        If it would not answer.
    """
    kernel = session.kernel
    if kernel.gate(kernel.lane_of(slot)) != Gate.OPEN:
        msg = (
            f"the crank has stopped the lane of actor {slot}, which would not answer. Press "
            f"{LET_THROUGH!r} in the panel 'lifecycle' (in code: crank.close()), then try again"
        )
        raise LaneStopped(msg)
