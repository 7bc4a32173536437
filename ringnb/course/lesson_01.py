"""Lesson 1: an actor steps while the notebook is busy, and a command is only put into a queue.

`check_01` times a learner's command on a live kernel and compares the state that results.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ringnb.actors import Wave2D
from ringnb.course.checks import Passed, learners_code, require, trial_session, wait_while
from ringnb.session.session import Session

__all__ = ["check_01", "rate_during"]

_STEPS, _PACE = (50, 40, 60, 45, 55), 100.0  # steps differ, so that no constant passes every round
_LIMIT_S = 0.005
_PATIENCE_S = 30.0
_QUEUE = "queue exactly `steps` steps, for `slot`: session.run_steps(slot, steps, wait=False)"


def rate_during(session: Session, slot: int, cell: Callable[[], object]) -> float:
    """Measure how fast an actor steps while a function runs.

    Parameters
    ----------
    session : Session
        The session.
    slot : int
        The actor.
    cell : callable
        Runs on the calling thread.

    Returns
    -------
    float
        Steps per second.
    """
    step, begin = session.current_step(slot), time.monotonic()
    cell()
    return (session.current_step(slot) - step) / (time.monotonic() - begin)


def check_01(clap: Callable[[Session, int, int], object]) -> Passed:
    """Check the learner's own command on a live kernel.

    Parameters
    ----------
    clap : callable
        ``clap(session, slot, steps)`` raises the middle cell by 1 and queues `steps` steps.

    Returns
    -------
    Passed
        What was measured.

    Raises
    ------
    CheckFailed
        If it waits for the steps, or the state is not the one that the two commands give.
    """
    ny, nx = shape = (64, 48)
    wave = Wave2D(shape, start=Wave2D(shape).start(0))  # both slots start alike
    took, rate = [], 0.0
    with trial_session(wave, actors=2) as session:
        at = 0
        for turn, steps in enumerate(_STEPS):
            session.set_pace(_PACE)  # so that waiting for the steps would take half a second
            begin = time.monotonic()
            with learners_code(
                "use session.inject(slot, at=…) and session.run_steps(slot, steps, …)"
            ):
                clap(session, 1, steps)
            took.append(time.monotonic() - begin)
            if turn == 0:
                rate = rate_during(session, 1, lambda: _sleep(session))
            session.set_pace(None)
            wait_while(lambda: session.counters(1).budget > 0, _PATIENCE_S)
            other = session.current_step(0)
            fact = f"slot 0 went to step {other}; clap was called for slot 1"
            require(other == at, fact, _QUEUE)
            session.inject(0, (ny // 2, nx // 2), 1.0)
            at = session.run_steps(0, steps)
            require(
                session.current_step(1) == at,
                f"after clap(session, 1, {steps}) the actor went from step {at - steps} to "
                f"{session.current_step(1)}",
                _QUEUE,
            )
        quickest = min(took)  # a busy machine makes some slow, but waiting makes all of them slow
        require(
            quickest < _LIMIT_S,
            f"clap took {1000 * quickest:.1f} ms, as long as the steps it asked for",
            "it is enough to queue a command: run_steps has an argument that says not to wait",
        )
        require(
            rate > 0,
            "the actor did not step while the cell slept",
            "leave the actor running: do not pause it in clap",
        )
        wanted, mine = (session.snapshot(slot).numpy()["pressure"] for slot in (0, 1))
    require(
        bool(np.array_equal(mine, wanted)),
        "the wave is not the one that a clap of 1.0 in the middle cell makes",
        "the middle of shape (ny, nx) is (ny // 2, nx // 2), and the clap comes before the steps",
    )
    return Passed(
        f"clap returned after {1000 * quickest:.2f} ms; while the cell slept, the actor took "
        f"{rate:.0f} steps a second (its pace: {_PACE:.0f})"
    )


def _sleep(session: Session) -> None:
    """Sleep for 0.1 s; on a busy machine longer, until the running actor has stepped."""
    step = session.current_step(1)
    time.sleep(0.1)
    wait_while(lambda: session.current_step(1) == step and session.counters(1).running, 2.0)
