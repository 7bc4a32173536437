"""Lesson 4: how often to checkpoint, measured by killing processes.

Every interval is tried with the same lifetimes. A child process works, stops, commits, works on; at the
end of its lifetime it gets a SIGKILL, and the next child continues from the newest checkpoint. The
result is read from the store alone: the steps that survived, compared with the steps that were possible.

A checkpoint stops the work here, as in the model of J. W. Young, "A first order approximation to the
optimum checkpoint interval", Communications of the ACM 17 (9), 1974.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ringnb.actors import Heat2D
from ringnb.checkpoint import CheckpointConfig, ZarrStorage
from ringnb.course.checks import Passed, ask_number, require
from ringnb.errors import RingnbError
from ringnb.session.session import Session

__all__ = [
    "Risk",
    "Sweep",
    "Trial",
    "check_04",
    "daly",
    "lifetimes",
    "look_at_risk",
    "measure_cost",
    "simulate",
    "steps_at_risk",
    "sweep",
]

PACE = 200.0  # steps per second of work: the unit in which work is counted
_SIDE = 1448  # 8 MiB of state
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Trial:
    """The result of one interval.

    Attributes
    ----------
    interval_s : float
        Seconds of work between two checkpoints.
    alive_s : float
        Seconds from the first step of a child to its kill, summed over all children.
    kept_s : float
        Seconds of work whose steps are in the store at the end.
    costs_s : tuple of float
        Seconds for which each commit stopped the work.
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
        """Fraction of the time spent on checkpoints, or on work that was lost."""
        return 1 - self.kept_s / self.alive_s


@dataclass(frozen=True)
class Sweep:
    """Several intervals, tried with the same kills.

    Attributes
    ----------
    trials : tuple of Trial
        One for each interval, in rising order.
    mtbf_s : float
        Mean of the lifetimes, seconds.
    """

    trials: tuple[Trial, ...]
    mtbf_s: float

    @property
    def cost_s(self) -> float:
        """Median time for which a checkpoint stopped the work, over all trials."""
        return statistics.median(cost for trial in self.trials for cost in trial.costs_s)

    @property
    def parabola(self) -> tuple[float, float, float]:
        """Least-squares fit of ``wasted`` as a function of the base-2 logarithm of the interval."""
        x = [math.log2(t.interval_s) for t in self.trials]
        a, b, c = np.polyfit(x, [t.wasted for t in self.trials], 2).tolist()
        return a, b, c

    @property
    def best_s(self) -> float:
        """The interval that wastes least: the minimum of the parabola, NaN if it has none."""
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
        Seed of the generator.

    Returns
    -------
    list of float
        Seconds. One from each of `count` equally likely ranges, in random order: so even a few of them
        represent the distribution well.
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
    """Measure what each interval wastes, with real processes and real kills.

    Parameters
    ----------
    place : pathlib.Path
        A directory for one store per interval.
    intervals : sequence of float
        Seconds of work between checkpoints.
    lives : sequence of float
        After how many seconds each child is killed; the same for every interval.
    told : callable, optional
        Called after each kill with the number of kills so far.

    Returns
    -------
    Sweep
        The results.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "ringnb.course.processes.preloaded"])
    ordered = sorted(intervals)
    stores = [place / f"interval-{index}.zarr" for index in range(len(ordered))]
    alive = [0.0] * len(ordered)
    costs: list[list[float]] = [[] for _ in ordered]
    kills = 0
    for life in lives:
        # The intervals take turns, so that other load on this machine affects all of them alike.
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
    """Measure for how long a checkpoint stops the sweep's actor.

    Parameters
    ----------
    place : pathlib.Path
        A directory for a store.
    checkpoints : int, default 10
        How many to take.

    Returns
    -------
    float
        Median, seconds.
    """
    with _plate(place / "cost.zarr") as session:
        return statistics.median(_work_and_commit(session, 0.01) for _ in range(checkpoints))


def daly(cost_s: float, mtbf_s: float) -> float:
    """Return the best interval after J. T. Daly, for checkpoints that are not cheap.

    "A higher order estimate of the optimum checkpoint interval for restart dumps", Future Generation
    Computer Systems 22 (3), 2006, equation 37.

    Parameters
    ----------
    cost_s : float
        Seconds for which a checkpoint stops the work.
    mtbf_s : float
        Mean time between failures, seconds.

    Returns
    -------
    float
        Seconds of work between two checkpoints; the MTBF if a checkpoint costs two of them or more.
    """
    if cost_s >= 2 * mtbf_s:
        return mtbf_s
    ratio = cost_s / (2 * mtbf_s)
    return math.sqrt(2 * cost_s * mtbf_s) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - cost_s


def simulate(
    interval_s: float,
    cost_s: float,
    mtbf_s: float,
    *,
    latency_s: float = 0.0,
    failures: int = 20_000,
    seed: int = 0,
) -> float:
    """Return the fraction of the time that is wasted, over many failures, by counting.

    Parameters
    ----------
    interval_s : float
        Seconds of work between two checkpoints.
    cost_s : float
        Seconds for which a checkpoint stops the work.
    mtbf_s : float
        Mean time between failures, seconds.
    latency_s : float, default 0.0
        Seconds from the end of the stop until the checkpoint is committed; the work goes on meanwhile.
    failures : int, default 20000
        How many.
    seed : int, default 0
        Of the lifetimes.

    Returns
    -------
    float
        From 0 to 1. A restart costs nothing here.
    """
    lives = np.random.default_rng(seed).exponential(mtbf_s, failures)
    # A process that lived for so long has committed so many.
    commits = np.floor(np.maximum(lives - latency_s, 0) / (interval_s + cost_s))
    return float(1 - interval_s * commits.sum() / lives.sum())


def steps_at_risk(session: Session, slot: int) -> int:
    """Return how many steps would be lost if the process were killed now.

    Parameters
    ----------
    session : Session
        The session.
    slot : int
        The actor.

    Returns
    -------
    int
        Steps since the newest checkpoint that is committed; all of them if there is none.
    """
    step = session.current_step(slot)  # first: a commit that comes meanwhile makes the loss smaller
    newest = session.manager.load_latest(slot)
    return max(0, step - (newest.step if newest is not None else 0))


class Risk(NamedTuple):
    """What a kill at a random moment would have cost, and what the commits were like.

    Attributes
    ----------
    apart_s : float
        Median seconds from one copy of the state to the next.
    latency_s : float
        Median seconds from a copy to its commit.
    lost_s : float
        Mean loss, seconds of work.
    """

    apart_s: float
    latency_s: float
    lost_s: float


def look_at_risk(session: Session, slot: int, seconds: float = 2.0) -> Risk:
    """Ask at many moments what would be lost if a running actor were killed then.

    Parameters
    ----------
    session : Session
        It takes checkpoints by itself, several of them in this time.
    slot : int
        The actor, which runs.
    seconds : float, default 2.0
        For how long.

    Returns
    -------
    Risk
        What was found.

    Raises
    ------
    RingnbError
        If there were fewer than two commits.
    """
    losses = []
    begin, first = time.monotonic_ns(), session.current_step(slot)
    end = begin + round(seconds * 1e9)
    while time.monotonic_ns() < end:
        time.sleep(0.01)
        losses.append(steps_at_risk(session, slot))
    rate = (session.current_step(slot) - first) / ((time.monotonic_ns() - begin) / 1e9)
    mine = [e for e in session.events if e.actor_slot == slot]
    copied = {e.request_id: e.t_ns for e in mine if e.stage == "captured"}
    commits = [e for e in mine if e.stage == "committed" and e.t_ns >= begin]
    if len(commits) < 2 or rate <= 0:
        msg = f"{len(commits)} commits in {seconds:g} s: use a shorter interval, or look longer"
        raise RingnbError(msg)
    times = sorted(copied[e.request_id] for e in commits)
    return Risk(
        statistics.median(b - a for a, b in itertools.pairwise(times)) / 1e9,
        statistics.median(e.t_ns - copied[e.request_id] for e in commits) / 1e9,
        statistics.fmean(losses) / rate,
    )


def _plate(store: Path) -> Session:
    """Start a session with the actor of all trials."""
    config = CheckpointConfig(storage_path=store, enabled=False, max_snapshots=2)
    return Session(Heat2D((_SIDE, _SIDE)), config=config)


def _work_and_commit(session: Session, interval_s: float) -> float:
    """Step for a while, pause, commit; return the seconds that the commit took."""
    session.set_pace(PACE)  # again, or the actor would catch up on the steps of the last pause
    session.resume(0)
    time.sleep(interval_s)
    session.pause(0)
    begin = time.monotonic()
    session.snapshot(0, timeout=_PATIENCE_S)
    return time.monotonic() - begin


def _child(pipe: Connection, store: Path, interval_s: float) -> None:
    """Work and commit until killed; runs in a child process."""
    with _plate(store) as session:
        if session.manager.list_checkpoints(0):
            session.restore(0, "latest")
        pipe.send(None)
        while True:
            pipe.send(_work_and_commit(session, interval_s))


def _one_life(
    context: ForkServerContext, store: Path, interval_s: float, life_s: float
) -> tuple[float, list[float]]:
    """Start a child, kill it after its lifetime; return how long it worked and what commits cost."""
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
        with suppress(EOFError):  # the child's end of the pipe is closed
            while ours.poll():
                costs.append(float(ours.recv()))
    finally:
        child.kill()
        child.join()
        ours.close()
    return lived, costs


def _newest_step(store: Path) -> int:
    """Return the step of the newest checkpoint, 0 if there is none."""
    with ZarrStorage(store) as storage:
        names = storage.list()
        return storage.load(names[-1]).step if names else 0


def check_04(best_interval: Callable[[float, float], object], measured: Sweep) -> Passed:
    """Check a formula for the best interval against a sweep.

    Parameters
    ----------
    best_interval : callable
        ``best_interval(cost_s, mtbf_s)`` returns seconds.
    measured : Sweep
        The sweep to compare with.

    Returns
    -------
    Passed
        The interval of the formula, and that of the sweep.

    Raises
    ------
    CheckFailed
        If they differ by more than a factor of 2, or the formula is wrong for other machines.
    """
    hint = "set the derivative of cost/T + T/(2*mtbf) with respect to T to zero and solve for T"

    def ask(cost_s: float, mtbf_s: float) -> float:
        """Call the learner's function."""
        return ask_number("best_interval", best_interval, cost_s, mtbf_s, unit="seconds", hint=hint)

    mine, best = ask(measured.cost_s, measured.mtbf_s), measured.best_s
    require(
        math.isfinite(best),
        "the sweep has no valley: the intervals in the middle wasted as much as those at the ends",
        "the machine was busy with something else: run the sweep again, with more lifetimes",
    )
    require(
        0.5 <= mine / best <= 2,
        f"your formula gives {mine:.3g} s, the sweep gives {best:.3g} s",
        hint,
    )
    for cost_s, mtbf_s in ((1.0, 50.0), (4.0, 50.0), (60.0, 86400.0)):
        wanted, got = math.sqrt(2 * cost_s * mtbf_s), ask(cost_s, mtbf_s)
        require(
            0.8 <= got / wanted <= 1.25,
            f"it fits this sweep; but with a checkpoint of {cost_s:g} s and a failure every {mtbf_s:g} "
            f"s the best interval is about {wanted:.3g} s, and your formula gives {got:.3g} s",
            "one number that fits this sweep is not a formula: " + hint,
        )
    return Passed(f"your formula gives {mine:.3g} s, the sweep gives {best:.3g} s")
