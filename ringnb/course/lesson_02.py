"""Lesson 2: three ways to copy the state of a running actor.

`copy_live` reads the kernel's own memory while the kernel changes it. The result is a state that the
simulation was never in; nothing is simulated here.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb.actors import Wave2D
from ringnb.course.checks import (
    CheckFailed,
    Passed,
    learners_code,
    require,
    trial_session,
    wait_while,
)
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.plots.history import wave_energy
from ringnb.session.session import Session

__all__ = ["Cut", "check_02", "copy_live", "copy_paused", "copy_snapshot", "energy_error"]

_TOLERANCE = 1e-3
_PATIENCE_S = 30.0
# Set by `check_02` on its own thread only, so that copies elsewhere are not slowed down or broken off.
_least_steps = ContextVar("least steps between two slabs", default=0)
_breaks = ContextVar("whether a copy fails after its first slab", default=False)
_looks: ContextVar[Callable[[], None]] = ContextVar("called before each slab", default=lambda: None)


@dataclass(frozen=True)
class Cut:
    """A copy of an actor's state, and what it cost.

    Attributes
    ----------
    how : str
        "chaotic", "barrier" or "actor".
    fields : dict of str to array
        As in a checkpoint.
    params : dict of str to float
        The actor's parameters.
    slabs : tuple of (int, int, int)
        First row, row after the last, and the actor's step when they were copied. The kernel publishes
        its step counter at the end of each slice of steps, so it may be a little old.
    stood_still_s : float
        Seconds during which the actor could not step.
    """

    how: str
    fields: dict[str, npt.NDArray[Any]]
    params: dict[str, float]
    slabs: tuple[tuple[int, int, int], ...]
    stood_still_s: float

    @property
    def energy(self) -> float:
        """Energy of the state, arbitrary units."""
        return wave_energy(self.fields, self.params)

    @property
    def steps(self) -> tuple[int, int]:
        """Smallest and largest step of its slabs."""
        seen = [step for _, _, step in self.slabs]
        return min(seen), max(seen)


def copy_live(session: Session, slot: int, *, slabs: int = 8, let_step: int = 0) -> Cut:
    """Copy a wave's live memory, slab by slab, without asking the kernel.

    Parameters
    ----------
    session : Session
        A session whose kernel keeps state in host memory.
    slot : int
        The wave.
    slabs : int, default 8
        Pieces, from the first row to the last.
    let_step : int, default 0
        Between two pieces, wait until a running actor has taken this many steps. A copy of gigabytes
        takes as long as many steps; a small one must be slowed down to show the same effect.

    Returns
    -------
    Cut
        Inconsistent, unless the actor was paused.
    """
    kernel = session.kernel
    if not isinstance(kernel, CpuKernel):
        msg = f"backend {session.backend!r} keeps its state outside host memory: use backend='cpu'"
        raise TypeError(msg)
    live = kernel.live_levels(slot)
    out = [np.empty_like(level) for level in live]
    edges = np.linspace(0, live[0].shape[1], slabs + 1).astype(int).tolist()
    let_step = max(let_step, _least_steps.get())
    seen: list[tuple[int, int, int]] = []
    for first, end in itertools.pairwise(edges):
        if seen and _breaks.get():
            msg = "no memory is left for the rest of the copy (this error is part of the check)"
            raise MemoryError(msg)
        if seen:
            _wait_for(session, slot, seen[-1][2] + let_step)
        _looks.get()()
        seen.append((first, end, session.current_step(slot)))
        for level, copy in zip(live, out, strict=True):
            copy[:, first:end] = level[:, first:end]
    names = ("pressure", "pressure_previous")
    fields = {name: copy[0] for name, copy in zip(names, out, strict=True)}
    return Cut("chaotic", fields, session.params(slot), tuple(seen), 0.0)


def _wait_for(session: Session, slot: int, step: int) -> None:
    """Wait until an actor has reached a step or has been paused."""

    def on_its_way() -> bool:
        return session.current_step(slot) < step and session.counters(slot).running

    if not wait_while(on_its_way, _PATIENCE_S, poll_s=0):
        msg = f"slot {slot} did not reach step {step} within {_PATIENCE_S:g} s; is it too slow?"
        raise TimeoutError(msg)


def copy_paused(session: Session, slot: int, *, slabs: int = 8) -> Cut:
    """Pause a wave, copy its live memory, resume it: a barrier.

    Parameters
    ----------
    session : Session
        As for `copy_live`.
    slot : int
        The wave.
    slabs : int, default 8
        Pieces.

    Returns
    -------
    Cut
        Of one step.
    """
    ran = session.counters(slot).running
    begin = time.monotonic()
    session.pause(slot)
    try:
        cut = copy_live(session, slot, slabs=slabs)
    finally:
        if ran:
            session.resume(slot)
    return Cut("barrier", cut.fields, cut.params, cut.slabs, time.monotonic() - begin)


def copy_snapshot(session: Session, slot: int) -> Cut:
    """Let the kernel copy a wave at a step boundary, and read what was committed.

    Parameters
    ----------
    session : Session
        The session.
    slot : int
        The wave.

    Returns
    -------
    Cut
        Of one step. The actor waited only while its state was copied in memory.
    """
    checkpoint = session.snapshot(slot)
    fields = checkpoint.numpy()
    rows = fields["pressure"].shape[0]
    stall_s = session.counters(slot).last_stall_ns / 1e9
    params = session.params(slot)
    return Cut("actor", fields, params, ((0, rows, checkpoint.step),), stall_s)


def energy_error(cut: Cut, energy: float) -> float:
    """Return how far a cut's energy is from the correct value.

    Parameters
    ----------
    cut : Cut
        The cut.
    energy : float
        The correct value, which a wave without damping conserves.

    Returns
    -------
    float
        Relative error, >= 0.
    """
    return abs(cut.energy / energy - 1)


@contextlib.contextmanager
def _set(variable: ContextVar[Any], value: object) -> Iterator[None]:
    """Set a context variable for the length of a block."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def check_02(my_cut: Callable[[Session, int], Cut]) -> Passed:
    """Check a way of copying a running wave.

    Parameters
    ----------
    my_cut : callable
        ``my_cut(session, slot)`` returns a `Cut` of a running actor and leaves it running.

    Returns
    -------
    Passed
        What was measured.

    Raises
    ------
    CheckFailed
        If a cut is inconsistent, or the actor is paused afterwards, also after a copy that failed.
    """
    errors, others_ran = [], [True]
    mine, other = 1, 0  # a slot that is not the first, and an actor that must not notice anything
    with trial_session(Wave2D((192, 192)), actors=2) as session:
        energy, other_energy = (copy_paused(session, slot).energy for slot in (mine, other))
        session.set_pace(4000)

        def look() -> None:
            """Note whether the other actor runs while the copy is made."""
            others_ran.append(session.counters(other).running)

        for runs in (True, True, False):
            session.resume(mine)
            (session.resume if runs else session.pause)(other)
            begun = session.current_step(mine)
            _wait_for(session, mine, begun + 100)
            others_ran.clear()
            # A state this small is often copied within one step; a lucky copy must not pass.
            hint = "start from course.copy_live(session, slot, slabs=8)"
            with _set(_least_steps, 1), _set(_looks, look), learners_code(hint):
                cut = my_cut(session, mine)
            if not isinstance(cut, Cut):
                fact = f"my_cut returned {cut!r}, not a cut"
                raise CheckFailed(fact, "return what course.copy_live(session, slot) returns")
            _check_cut(cut, begun + 100, energy, other_energy)
            errors.append(energy_error(cut, energy))
            _check_running(session, mine, "the copy")
            require(
                all(ran == runs for ran in others_ran),
                f"my_cut was called for slot {mine}, and slot {other} was "
                f"{'paused' if runs else 'running'} during the copy",
                "without a slot, pause and resume mean all actors: session.pause(slot)",
            )
            require(
                session.counters(other).running == runs,
                f"my_cut was called for slot {mine}, and slot {other}, which was "
                f"{'running, is paused' if runs else 'paused, is running'} after it",
                "without a slot, pause and resume mean all actors: session.resume(slot)",
            )
        # my_cut may let the error through or handle it: either is right.
        with _set(_breaks, True), contextlib.suppress(Exception):
            my_cut(session, mine)
        _check_running(
            session,
            mine,
            "a copy that failed half-way",
            "the exception leaves my_cut before the resume: put the copy into a try block and the "
            "resume into its finally block",
        )
    return Passed(f"three cuts of a running wave, energy off by at most {max(errors):.1e}")


def _check_cut(cut: Cut, since: int, energy: float, other_energy: float) -> None:
    """Raise `CheckFailed` unless a cut is of one step, of the right actor, and of now."""
    require(
        cut.how != "chaotic" or len(cut.slabs) > 1,
        "a state of this size, copied in one piece, fits into one step only by luck",
        "leave slabs=8 as it is, and keep the actor from stepping between two slabs",
    )
    error, (first, last) = energy_error(cut, energy), cut.steps
    require(
        first < last or error < _TOLERANCE or energy_error(cut, other_energy) >= _TOLERANCE,
        "the copy is that of another actor",
        "my_cut gets the slot of the actor to copy: pass it on",
    )
    require(
        first == last and error < _TOLERANCE,
        f"rows of steps {first} to {last} in one copy, energy off by {error:.1%}",
        "the actor must not step between the first slab and the last: where can you pause it?",
    )
    require(
        first >= since,
        f"the copy is of step {first}, and the actor had taken {since} steps before my_cut was called",
        "make a new copy in each call",
    )


def _check_running(
    session: Session,
    slot: int,
    after: str,
    hint: str = "after a pause, resume the actor, also if the copy fails: try … finally",
) -> None:
    """Raise `CheckFailed` if an actor is paused."""
    require(session.counters(slot).running, f"the actor is still paused after {after}", hint)
