"""Lesson 2: three ways to copy the state of an actor that does not hold still.

`copy_live` reads the kernel's own memory while the kernel steps it. What comes out is a state that the
simulation was never in, and nothing here makes it up.
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
import zarr

from ringnb.actors import Wave2D
from ringnb.checkpoint import CheckpointConfig, ZarrStorage
from ringnb.course.checks import CheckFailed, Passed, learners_code, require
from ringnb.kernel.cpu.kernel import HostMemoryKernel
from ringnb.plots.history import wave_energy
from ringnb.session.session import Session

__all__ = ["Cut", "check_02", "copy_live", "copy_paused", "copy_snapshot", "energy_error"]

_TOLERANCE = 1e-3
_PATIENCE_S = 30.0
_least_steps = ContextVar("least steps between two slabs", default=0)
_breaks = ContextVar("whether a copy breaks off after its first slab", default=False)


@dataclass(frozen=True)
class Cut:
    """A copy of an actor's state, and what it took to get it.

    Attributes
    ----------
    how : str
        In a word.
    fields : dict of str to array
        As in a checkpoint.
    params : dict of str to float
        The actor's.
    slabs : tuple of (int, int, int)
        First row, row behind the last, and the actor's step when they were copied, as the kernel had
        last published it: at the end of a slice of steps.
    stood_still_s : float
        How long the actor could not step.
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
        """Smallest and largest step of its parts."""
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
        Wait between two pieces until a running actor has taken this many steps. A copy of gigabytes
        lasts as long as many steps; a small one has to be slowed down to show the same.

    Returns
    -------
    Cut
        Torn, unless the actor stood.
    """
    kernel = session.kernel
    if not isinstance(kernel, HostMemoryKernel):
        msg = f"the memory of backend {session.backend!r} is not the host's: use backend='cpu'"
        raise TypeError(msg)
    live = kernel.live_levels(slot)
    out = [np.empty_like(level) for level in live]
    edges = np.linspace(0, live[0].shape[1], slabs + 1).astype(int).tolist()
    let_step = max(let_step, _least_steps.get())
    seen: list[tuple[int, int, int]] = []
    for first, end in itertools.pairwise(edges):
        if seen and _breaks.get():
            msg = "no memory is left for the rest of the copy (not really: the check is trying you)"
            raise MemoryError(msg)
        if seen:
            _wait_for(session, slot, seen[-1][2] + let_step)
        seen.append((first, end, session.current_step(slot)))
        for level, copy in zip(live, out, strict=True):
            copy[:, first:end] = level[:, first:end]
    names = ("pressure", "pressure_previous")
    fields = {name: copy[0] for name, copy in zip(names, out, strict=True)}
    return Cut("chaotic", fields, session.params(slot), tuple(seen), 0.0)


def _wait_for(session: Session, slot: int, step: int) -> None:
    until = time.monotonic() + _PATIENCE_S
    while session.current_step(slot) < step and session.counters(slot).running:
        if time.monotonic() > until:
            msg = f"slot {slot} did not reach step {step} within {_PATIENCE_S:g} s; is it too slow?"
            raise TimeoutError(msg)
        time.sleep(0)


def copy_paused(session: Session, slot: int, *, slabs: int = 8) -> Cut:
    """Pause a wave, copy its live memory, let it go on: a barrier.

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
        Of one step; the actor stood still while its state was copied in memory.
    """
    checkpoint = session.snapshot(slot)
    fields = checkpoint.numpy()
    rows = fields["pressure"].shape[0]
    stall_s = session.counters(slot).last_stall_ns / 1e9
    params = session.params(slot)
    return Cut("actor", fields, params, ((0, rows, checkpoint.step),), stall_s)


def energy_error(cut: Cut, energy: float) -> float:
    """Return how far a cut's energy is from what it must be.

    Parameters
    ----------
    cut : Cut
        The cut.
    energy : float
        What a wave without damping keeps.

    Returns
    -------
    float
        Relative, without sign.
    """
    return abs(cut.energy / energy - 1)


@contextlib.contextmanager
def _breaking() -> Iterator[None]:
    """Let every copy of live memory fail after its first slab."""
    before = _breaks.set(True)
    try:
        yield
    finally:
        _breaks.reset(before)


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
        If a cut is torn, or the actor stands afterwards, also after a copy that has failed.
    """
    config = CheckpointConfig(enabled=False)
    storage = ZarrStorage(zarr.storage.MemoryStore())
    errors = []
    with Session(Wave2D((192, 192)), config=config, storage=storage) as session:
        energy = copy_paused(session, 0).energy
        session.set_pace(4000)
        session.resume(0)
        for _ in range(3):
            _wait_for(session, 0, session.current_step(0) + 100)
            # A state this small is often copied within one step. Luck must not pass.
            unlucky = _least_steps.set(1)
            try:
                with learners_code("start from course.copy_live(session, slot, slabs=8)"):
                    cut = my_cut(session, 0)
            finally:
                _least_steps.reset(unlucky)
            if not isinstance(cut, Cut):
                fact = f"my_cut returned {cut!r}, not a cut"
                raise CheckFailed(fact, "return what course.copy_live(session, slot) returns")
            require(
                cut.how != "chaotic" or len(cut.slabs) > 1,
                "a state of this size is copied in one piece within one step, by luck",
                "leave slabs=8 as it is, and keep the actor from stepping between the slabs",
            )
            errors.append(energy_error(cut, energy))
            require(
                cut.steps[0] == cut.steps[1] and errors[-1] < _TOLERANCE,
                f"rows of steps {cut.steps[0]} to {cut.steps[1]} in one copy, energy off by "
                f"{errors[-1]:.1%}",
                "the actor must not step between the first slab and the last: where can you pause it?",
            )
            require(
                session.counters(0).running,
                "the actor stands still after the copy",
                "whoever pauses an actor resumes it, also if the copy fails: try … finally",
            )
        with _breaking(), contextlib.suppress(Exception):  # what becomes of the error is its choice
            my_cut(session, 0)
        require(
            session.counters(0).running,
            "the actor stands still after a copy that failed half-way",
            "an exception leaves my_cut before it gets to the resume: put the copy in a try block and "
            "the resume in its finally block",
        )
    return Passed(f"three cuts of a running wave, energy off by at most {max(errors):.1e}")
