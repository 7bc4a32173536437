"""The quick start's exercise: go back to the oldest checkpoint of an actor."""

from __future__ import annotations

from collections.abc import Callable

from ringnb.actors import Wave2D
from ringnb.course.checks import Passed, learners_code, require, trial_session
from ringnb.course.lesson_07 import same_bits
from ringnb.session.session import Session

__all__ = ["check_00"]


def check_00(go_back: Callable[[Session, int], object]) -> Passed:
    """Check a way back to the oldest checkpoint of an actor.

    Parameters
    ----------
    go_back : callable
        ``go_back(session, slot)`` restores the actor's oldest checkpoint and returns its step.

    Returns
    -------
    Passed
        Where the actor went on.

    Raises
    ------
    CheckFailed
        If the actor is elsewhere, or another step is returned.
    """
    hint = (
        "session.manager.list_checkpoints(slot) is oldest first; session.restore returns the step"
    )
    with trial_session(Wave2D((48, 48)), actors=2) as session:
        session.run_steps(0, 10)
        session.snapshot(0)  # the oldest of the store is another actor's
        session.run_steps(1, 30)
        oldest = session.snapshot(1)
        for _ in range(2):
            session.run_steps(1, 20)
            newest = session.snapshot(1)
        with learners_code(hint):
            returned = go_back(session, 1)
        other, step = session.current_step(0), session.current_step(1)
        require(other == 10, f"slot 0 went to step {other}; go_back was called for slot 1", hint)
        require(
            step == oldest.step,
            f"the actor is at step {step}, its oldest checkpoint is of step {oldest.step}",
            hint,
        )
        fact = f"go_back returned {returned!r} and not {oldest.step}"
        require(returned == oldest.step, fact, hint)
        require(
            same_bits(session.snapshot(1), oldest),
            "the actor is at the right step, but with another state",
            hint,
        )
    return Passed(f"back from step {newest.step} to step {step}, in every bit")
