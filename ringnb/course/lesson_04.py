"""Lesson 4: how often to checkpoint, found out by killing processes.

Each interval faces the same lifetimes. A child process works, stops, commits, works on; when its
lifetime is over it gets a SIGKILL, and the next child goes on from the newest checkpoint. What an
interval is worth is read from the store alone: the steps that survived, against those that the time
would have allowed.

A checkpoint stops the work here, as in the model of J. W. Young, "A first order approximation to the
optimum checkpoint interval", Communications of the ACM 17 (9), 1974.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np

from ringnb.actors import Heat2D
from ringnb.checkpoint import CheckpointConfig, ZarrStorage
from ringnb.course.checks import CheckFailed, Passed, learners_code, require
from ringnb.session.session import Session

__all__ = ["Sweep", "Trial", "check_04", "lifetimes", "measure_cost", "sweep"]

PACE = 200.0  # steps per second of work: the unit in which work is counted
_SIDE = 1448  # 8 MiB of state
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Trial:
    """What one interval was worth.

    Attributes
    ----------
    interval_s : float
        Seconds of work between two checkpoints.
    alive_s : float
        Seconds from the children's first step to their kill, summed.
    kept_s : float
        Seconds of work whose steps are in the store at the end.
    costs_s : tuple of float
        How long each commit kept the child from working.
    kills : int
        Children killed.
    """

    interval_s: float
    alive_s: float
    kept_s: float
    costs_s: tuple[float, ...]
    kills: int

    @property
    def wasted(self) -> float:
        """Fraction of the time that left nothing behind: checkpoints, and work that was lost."""
        return 1 - self.kept_s / self.alive_s


@dataclass(frozen=True)
class Sweep:
    """Several intervals against the same kills.

    Attributes
    ----------
    trials : tuple of Trial
        By interval.
    mtbf_s : float
        Mean of the lifetimes.
    """

    trials: tuple[Trial, ...]
    mtbf_s: float

    @property
    def cost_s(self) -> float:
        """Median time that a checkpoint kept a child from working, over all trials."""
        return statistics.median(cost for trial in self.trials for cost in trial.costs_s)

    @property
    def parabola(self) -> tuple[float, float, float]:
        """Least squares through ``wasted`` over the base-2 logarithm of the interval."""
        x = [math.log2(t.interval_s) for t in self.trials]
        a, b, c = np.polyfit(x, [t.wasted for t in self.trials], 2).tolist()
        return a, b, c

    @property
    def best_s(self) -> float:
        """The interval that wastes least: the lowest point of the parabola, NaN if it has none."""
        a, b, _ = self.parabola
        return 2 ** (-b / (2 * a)) if a > 0 else math.nan


def lifetimes(count: int, mtbf_s: float, seed: int = 0) -> list[float]:
    """Draw lifetimes from an exponential distribution.

    Parameters
    ----------
    count : int
        How many.
    mtbf_s : float
        Mean time between failures, seconds.
    seed : int, default 0
        Of the generator.

    Returns
    -------
    list of float
        Seconds. One from each of `count` equally likely ranges, in random order: a few of them then
        represent the distribution better than as many independent ones.
    """
    rng = np.random.default_rng(seed)
    quantiles = (np.arange(count) + rng.random(count)) / count
    drawn: list[float] = rng.permutation(-mtbf_s * np.log1p(-quantiles)).tolist()
    return drawn


def sweep(
    place: Path,
    intervals: Sequence[float],
    lives: Sequence[float],
    *,
    told: Callable[[int], object] = lambda _: None,
) -> Sweep:
    """Measure what each interval is worth, with real processes and real kills.

    Parameters
    ----------
    place : pathlib.Path
        A directory for one store per interval.
    intervals : sequence of float
        Seconds of work between checkpoints.
    lives : sequence of float
        After how many seconds each child is killed; the same for every interval.
    told : callable, optional
        Gets the number of kills so far, after each.

    Returns
    -------
    Sweep
        What was measured.
    """
    context = _nursery()
    ordered = sorted(intervals)
    stores = [place / f"interval-{index}.zarr" for index in range(len(ordered))]
    alive = [0.0] * len(ordered)
    costs: list[list[float]] = [[] for _ in ordered]
    kills = 0
    for life in lives:
        # The intervals take turns: whatever else this machine does meanwhile, it does to all of them.
        for index, interval in enumerate(ordered):
            lived, seen = _one_life(context, stores[index], interval, life)
            alive[index] += lived
            costs[index] += seen
            kills += 1
            told(kills)
    trials = [
        Trial(interval, alive[i], _newest_step(stores[i]) / PACE, tuple(costs[i]), len(lives))
        for i, interval in enumerate(ordered)
    ]
    return Sweep(tuple(trials), statistics.fmean(lives))


def measure_cost(place: Path, checkpoints: int = 10) -> float:
    """Measure how long a checkpoint of the sweep's actor keeps it from working.

    Parameters
    ----------
    place : pathlib.Path
        A directory for a store.
    checkpoints : int, default 10
        How many to take.

    Returns
    -------
    float
        Seconds, the median.
    """
    with _working(place / "cost.zarr") as session:
        return statistics.median(_work_and_commit(session, 0.01) for _ in range(checkpoints))


def _working(store: Path) -> Session:
    config = CheckpointConfig(storage_path=store, enabled=False, max_snapshots=2)
    return Session(Heat2D((_SIDE, _SIDE)), config=config)


def _work_and_commit(session: Session, interval_s: float) -> float:
    session.set_pace(
        PACE
    )  # anew, or the actor would catch up on the steps it missed while it stood
    session.resume(0)
    time.sleep(interval_s)
    session.pause(0)
    begin = time.monotonic()
    session.snapshot(0, timeout=_PATIENCE_S)
    return time.monotonic() - begin


def _child(pipe: Connection, store: Path, interval_s: float) -> None:
    """Work and commit until killed; the body of a child process."""
    with _working(store) as session:
        if session.manager.list_checkpoints(0):
            session.restore(0, "latest")
        pipe.send(None)
        while True:
            pipe.send(_work_and_commit(session, interval_s))


def _one_life(
    context: ForkServerContext, store: Path, interval_s: float, life_s: float
) -> tuple[float, list[float]]:
    """Start a child, kill it when its life is over; return how long it lived and its costs."""
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(theirs, store, interval_s), daemon=True)
    child.start()
    theirs.close()
    try:
        if not ours.poll(_PATIENCE_S):
            msg = f"child {child.pid} was not ready after {_PATIENCE_S:g} s"
            raise TimeoutError(msg)
        ours.recv()
        begin = time.monotonic()
        time.sleep(life_s)
        child.kill()
        lived = time.monotonic() - begin
        child.join()
        costs = []
        try:
            while ours.poll():
                costs.append(float(ours.recv()))
        except EOFError:
            pass
    finally:
        child.kill()
        child.join()
        ours.close()
    return lived, costs


def _newest_step(store: Path) -> int:
    with ZarrStorage(store) as storage:
        names = storage.list()
        return storage.load(names[-1]).step if names else 0


def _nursery() -> ForkServerContext:
    """Return a context whose children start from a process that has imported this module."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def check_04(best_interval: Callable[[float, float], object], measured: Sweep) -> Passed:
    """Check a formula for the best interval against a sweep.

    Parameters
    ----------
    best_interval : callable
        ``best_interval(cost_s, mtbf_s)`` returns seconds.
    measured : Sweep
        What was measured.

    Returns
    -------
    Passed
        Both numbers.

    Raises
    ------
    CheckFailed
        If they differ by more than a factor of 2, or the formula cannot be right elsewhere.
    """
    hint = "set the derivative of cost/T + T/(2*mtbf) by T to zero and solve for T"

    def ask(cost_s: float, mtbf_s: float) -> float:
        """Ask the learner's function."""
        with learners_code(hint):
            value = best_interval(cost_s, mtbf_s)
        if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
            fact = f"best_interval({cost_s:g}, {mtbf_s:g}) returned {value!r}, not seconds"
            raise CheckFailed(fact, hint)
        return float(value)

    mine, best = ask(measured.cost_s, measured.mtbf_s), measured.best_s
    require(
        math.isfinite(best),
        "the sweep found no valley: it wasted no less in the middle than at its ends",
        "the machine was busy with something else; run the sweep again, with more lifetimes",
    )
    require(
        0.5 <= mine / best <= 2,
        f"your formula says {mine:.3g} s, the kills say {best:.3g} s",
        hint,
    )
    for cost_s, mtbf_s in ((1.0, 50.0), (4.0, 50.0), (60.0, 86400.0)):
        wanted, got = math.sqrt(2 * cost_s * mtbf_s), ask(cost_s, mtbf_s)
        require(
            0.8 <= got / wanted <= 1.25,
            f"here it fits, but with a checkpoint of {cost_s:g} s and a failure every {mtbf_s:g} s the "
            f"least is wasted at about {wanted:.3g} s, and your formula says {got:.3g} s",
            "a number that fits this sweep is no formula: " + hint,
        )
    return Passed(f"your formula says {mine:.3g} s, the kills say {best:.3g} s")
