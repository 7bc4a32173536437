"""Lesson 1: an actor steps while the notebook is busy, and a command is only put into a queue.

`cost_of_a_launch` and `RingIndices` look at a kernel from outside: what it costs to start one, and
who has moved which index of its rings. `check_01` times a learner's command on a live kernel and
compares the state that results.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import final

import numpy as np

from ringnb._support.text import format_table, rows_table
from ringnb.actors import Actor, Wave2D
from ringnb.course.checks import Passed, learners_code, require, trial_session, wait_while
from ringnb.kernel import layout
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.kernel.host import LaneKernel
from ringnb.messages.commands import Command
from ringnb.session.session import Session

__all__ = ["RingIndices", "check_01", "cost_of_a_launch", "rate_during"]

_STEPS, _PACE = (50, 40, 60, 45, 55), 100.0  # steps differ, so that no constant passes every round
_LIMIT_S = 0.1  # a call takes microseconds, on a busy machine longer; the steps take 0.4 s or more
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


def cost_of_a_launch(actor: Actor, launches: int = 20) -> float:
    """Measure how long it takes to launch a CPU kernel, let it take one step, and end it.

    The actor was compiled before, and its memory is not counted: only threads start and end.

    Parameters
    ----------
    actor : Actor
        What the kernel hosts.
    launches : int, default 20
        How many kernels are launched, one after the other.

    Returns
    -------
    float
        Median, seconds.
    """
    took = []
    for _ in range(launches):
        kernel = CpuKernel([actor])
        begin = time.perf_counter()
        kernel.launch()
        try:
            kernel.push_nowait(0, Command.RUN_STEPS, 1, 0, (1,))
            until = time.monotonic() + _PATIENCE_S
            while kernel.counters(0).step < 1 and time.monotonic() < until:
                time.sleep(0)
        finally:
            kernel.stop()
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


@final
class RingIndices:
    """A table of the four indices of a session's rings: what they were, and who has moved them.

    Parameters
    ----------
    session : Session
        A session; the rings are those of its first lane.
    """

    _WORDS = (
        ("H2K_HEAD", "host", layout.H2K_HEAD),
        ("H2K_TAIL", "kernel", layout.H2K_TAIL),
        ("K2H_HEAD", "kernel", layout.K2H_HEAD),
        ("K2H_TAIL", "host", layout.K2H_TAIL),
    )

    def __init__(self, session: Session) -> None:
        kernel = session.kernel
        if not isinstance(kernel, LaneKernel):
            msg = f"kernel must have rings in memory of the host, got {kernel!r}"
            raise TypeError(msg)
        self._control = kernel.shared(0).control
        self._rows: list[tuple[str, list[int]]] = []
        self.note("at the beginning")

    def note(self, what: str) -> None:
        """Read the indices now.

        Parameters
        ----------
        what : str
            What has happened since they were read before.
        """
        self._rows.append((what, [int(self._control[at]) for _, _, at in self._WORDS]))

    def moved(self) -> list[str]:
        """Return the names of the indices that the last `note` has found moved."""
        if len(self._rows) < 2:
            return []
        (_, before), (_, after) = self._rows[-2:]
        return [w[0] for w, a, b in zip(self._WORDS, before, after, strict=True) if a != b]

    def _table(self) -> tuple[list[str], list[tuple[object, ...]]]:
        header = [f"{name} ({writer})" for name, writer, _ in self._WORDS]
        rows: list[tuple[object, ...]] = []
        before = self._rows[0][1]
        for what, values in self._rows:
            pairs = zip(values, before, strict=True)
            rows.append((what, *(str(v) if v == b else f"{b} → {v}" for v, b in pairs)))
            before = values
        return ["what happened", *header], rows

    def _repr_html_(self) -> str:
        """Show them as a table."""
        header, rows = self._table()
        return rows_table("Indices of the rings; in brackets: who writes each", header, rows)

    def __repr__(self) -> str:
        """Show them as lines."""
        header, rows = self._table()
        return "\n".join(format_table(header, [[str(cell) for cell in row] for row in rows]))


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
