"""Workers and schedulers that are killed while an ensemble runs. For ``python -m ringnb.cluster.trial``.

A worker is ended with SIGKILL at a random time, and every so often the whole host, scheduler and all:
the next one is started at once, while what is left of the last may still be ending. At the end every
member must be as if nothing had happened.
"""

from __future__ import annotations

import math
import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from ringnb import actors
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.storage.directory.work_area import work_area_of
from ringnb.cluster.connection import connected
from ringnb.cluster.ensemble import Ensemble, EnsembleStatus
from ringnb.cluster.ensemble_files import EnsembleFiles
from ringnb.cluster.local_hosts import hosts, start, stop
from ringnb.cluster.trial_waiting import wait_until
from ringnb.errors import ClusterUnavailable
from ringnb.session.session import Session

__all__ = ["EnsembleFound", "run_ensemble"]

_MEMBERS, _PER_TASK = 8, 2
_EVERY = 200_000
_HOST = 5  # the first kill is of the host, and then each so many
_LOOK_S = 0.1
_MOST_S = 0.5  # from the first new checkpoint of every task to the kill

T = TypeVar("T")


class EnsembleFound(NamedTuple):
    """What a trial has found."""

    kills: int
    hosts: int  # of them
    losses: int  # of tasks, with their workers
    steps: int
    checkpoints: int
    median_s: float  # from a kill until every task that it has met has a new checkpoint
    most_s: float

    def __str__(self) -> str:
        """Say it in a sentence."""
        return (
            f"{self.kills - self.hosts} workers and {self.hosts} hosts killed while {_MEMBERS} members "
            f"took {self.steps:,} steps each: all bit-equal to a run that was left alone, "
            f"{self.checkpoints:,} checkpoints, each multiple once, none half; {self.losses} losses, "
            f"all told; every task had its next checkpoint {self.median_s:.1f} s after the kill "
            f"(median), {self.most_s:.1f} s at most"
        )


def run_ensemble(
    kills: int, seed: int, folder: Path, workers: int = 2, limit_s: float = math.inf
) -> EnsembleFound:
    """Kill so many workers or hosts; AssertionError if a member, a checkpoint or a loss is not right.

    The last kill is no later than `limit_s` after the first: then it is judged what came of fewer.
    """
    random_ = random.Random(seed)  # noqa: S311 - repeatable, no secret
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    members = {f"m{n}": actors.GrayScott((24, 24), feed=0.03 + 0.004 * n) for n in range(_MEMBERS)}
    root, many = folder / "ensemble", 10**12
    ensemble = Ensemble(members, root, steps=many, every=_EVERY, per_task=_PER_TASK)
    tasks = range(_MEMBERS // _PER_TASK)
    losses, killed, seconds = 0, 0, list[float]()

    def until(condition: Callable[[], T | None]) -> T:
        """Wait for the tasks."""
        return wait_until(condition, address, lambda: _newest(root, tasks))

    def ended(some: Ensemble) -> EnsembleStatus:
        """Return how far it is when it has ended."""
        return until(lambda: _ended(some))

    address = start(workers, len(tasks))
    try:
        ensemble.launch(address)
        first_at = time.monotonic()
        while (number := len(seconds)) < kills and time.monotonic() - first_at < limit_s:
            until(lambda: all(step >= 0 for step in _newest(root, tasks)))
            time.sleep(random_.uniform(0.0, _MOST_S))
            if number % _HOST == 0:
                met, before = list(tasks), _newest(root, tasks)
                address = _end_host(ensemble, address, workers)
                killed += 1
            else:
                met, before = _end_worker(ensemble, address, random_.choice, tasks)
                losses += len(met)
            began = time.monotonic()
            until(lambda: all(_newest(root, tasks)[i] > before[i] for i in met))  # noqa: B023 - called here
            seconds.append(time.monotonic() - began)
        ensemble.end()
        steps = max(ended(ensemble).steps.values()) + _EVERY
        last = Ensemble(members, root, steps=steps, every=_EVERY)
        last.launch(address)
        assert ended(last).failed == {}
    finally:
        stop(address)
    found = _judge(EnsembleFiles(root), tasks, steps)
    _compare(last, members, steps)
    median, most = statistics.median(seconds), max(seconds)
    return EnsembleFound(len(seconds), killed, losses, steps, found, median, most)


def _ended(ensemble: Ensemble) -> EnsembleStatus | None:
    """Return how far an ensemble is if it has ended."""
    try:
        return ensemble.wait(5.0)
    except TimeoutError:
        return None


def _newest(root: Path, tasks: range) -> list[int]:
    """Return the newest step of each task, -1 if it has none; damage is an AssertionError."""
    files = EnsembleFiles(root)
    catalogues = [files.storage(i).catalogue() for i in tasks]
    assert not [e.name for found in catalogues for e in found if e.damaged]
    return [found[-1].step if found else -1 for found in catalogues]


def _end_host(ensemble: Ensemble, address: str, workers: int) -> str:
    """Kill scheduler and workers; have the ensemble go on with another host, at once."""
    (pid,) = [host.pid for host in hosts() if host.address == address]
    with connected(address) as client:
        os.kill(pid, signal.SIGKILL)
        try:
            ensemble.runs(client)
        except ClusterUnavailable:
            pass
        else:
            raise AssertionError("nobody is told that the scheduler is lost")
    new = start(workers, _MEMBERS // _PER_TASK)
    ensemble.launch(new)
    return new


def _end_worker(
    ensemble: Ensemble, address: str, choose: Callable[[list[str]], str], tasks: range
) -> tuple[list[int], list[int]]:
    """Kill a worker; return which tasks it had, and where each was. Each must tell the loss."""
    with connected(address) as client:

        def looked() -> Iterator[tuple[int, str, int]]:
            """Yield each task with its worker, and how often it has lost one."""
            for task, run in zip(tasks, ensemble.runs(client), strict=True):
                if run.state == "running" and run.worker is not None:
                    yield task, run.worker, len(run.losses)

        def until(condition: Callable[[], bool]) -> None:
            """Wait for the tasks."""
            wait_until(condition, address, lambda: _newest(ensemble.root, tasks))

        until(lambda: len(list(looked())) == len(tasks))
        found = list(looked())
        worker = choose(sorted({where for _, where, _ in found}))
        (pid,) = client.run(os.getpid, workers=[worker]).values()
        before = _newest(ensemble.root, tasks)
        os.kill(pid, signal.SIGKILL)
        met = {task: lost for task, where, lost in found if where == worker}
        until(lambda: all(len(ensemble.runs(client)[t].losses) > n for t, n in met.items()))
        assert all(ensemble.runs(client)[t].losses[-1] == worker for t in met)
    return list(met), before


def _judge(files: EnsembleFiles, tasks: range, steps: int) -> int:
    """Check that every multiple is there once, in order, whole, and nothing else; return how many."""
    for task in tasks:
        storage = files.storage(task)
        found = [{part.step for part in e.parts} for e in storage.catalogue()]
        # A loss that had cost more than what was under way would have committed a multiple again.
        assert found == [{step} for step in range(0, steps + 1, _EVERY)], (task, found)
        for name in storage.list():
            storage.load(name).verify()
        left = [
            str(path)
            for what in ("staging", "trash")
            for path in (work_area_of(files.store(task)) / what).iterdir()
        ]
        assert not left, left
    return len(tasks) * len(found)


def _compare(ensemble: Ensemble, members: dict[str, actors.GrayScott], steps: int) -> None:
    data = ensemble.open()
    config = CheckpointConfig(storage_path="memory://trial", enabled=False, on_close=False)
    with Session(list(members.values()), config=config) as alone:
        for slot in range(len(members)):
            alone.run_steps(slot, steps, wait=False)
        for slot, name in enumerate(members):
            while alone.counters(slot).step < steps:
                time.sleep(_LOOK_S)
            for field, values in alone.state(slot).numpy().items():
                here = data[field].sel(member=name, step=steps).to_numpy()
                assert np.array_equal(here, values), f"{name}: another state"
