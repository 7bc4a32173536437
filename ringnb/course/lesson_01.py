"""Lesson 1: an actor that steps beside the notebook, and commands that are only queued.

`check_01` times a learner's command on a live kernel and compares the state it leaves.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import zarr

from ringnb.actors import Wave2D
from ringnb.checkpoint import CheckpointConfig, ZarrStorage
from ringnb.course.checks import Passed, learners_code, require
from ringnb.session.session import Session

__all__ = ["check_01", "rate_during"]

_STEPS, _PACE = (50, 40, 60, 45, 55), 100.0  # of each round: a number that fits one is no answer
_LIMIT_S = 0.005
_PATIENCE_S = 30.0
_QUEUE = "queue exactly `steps` steps, for `slot`: session.run_steps(slot, steps, wait=False)"


def rate_during(session: Session, slot: int, cell: Callable[[], object]) -> float:
    """Measure how fast an actor steps while something else runs.

    Parameters
    ----------
    session : Session
        The session.
    slot : int
        The actor.
    cell : callable
        What runs meanwhile, on the calling thread.

    Returns
    -------
    float
        Steps per second.
    """
    step, begin = session.current_step(slot), time.monotonic()
    cell()
    return (session.current_step(slot) - step) / (time.monotonic() - begin)


def check_01(clap: Callable[[Session, int, int], object]) -> Passed:
    """Check a command of the learner's own on a live kernel.

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
        If it waits for the steps, or leaves another state than the two commands would.
    """
    ny, nx = shape = (64, 48)
    wave = Wave2D(shape, start=Wave2D(shape).start(0))  # both slots start alike
    storage = ZarrStorage(zarr.storage.MemoryStore())
    config = CheckpointConfig(enabled=False)
    took, rates = [], []
    with Session(wave, actors=2, config=config, storage=storage) as session:
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
                rates.append(rate_during(session, 1, lambda: _sleep(session)))
            session.set_pace(None)
            _let_finish(session)
            stepped = session.current_step(0)
            require(
                stepped == at, f"slot 0 went to step {stepped}, and slot 1 was asked for", _QUEUE
            )
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
            "a command only has to be queued: run_steps has an argument that says not to wait",
        )
        require(
            rates[0] > 0,
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
        f"clap returned after {1000 * quickest:.2f} ms; while the cell slept the actor took "
        f"{rates[0]:.0f} steps a second, its pace being {_PACE:.0f}"
    )


def _sleep(session: Session) -> None:
    """Sleep for a tenth of a second, and on until the actor, if it runs, has stepped."""
    step, until = session.current_step(1), time.monotonic() + 2.0
    time.sleep(0.1)
    while session.current_step(1) == step and time.monotonic() < until:  # on a busy machine
        if not session.counters(1).running:
            return
        time.sleep(0.01)


def _let_finish(session: Session) -> None:
    until = time.monotonic() + _PATIENCE_S
    while session.counters(1).budget > 0 and time.monotonic() < until:
        time.sleep(0.002)
