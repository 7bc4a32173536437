"""``python -m ringnb.cluster.scale``: what very large ensembles cost, from measurements on this machine.

A scheduler is one process, so it is a queue with one server: how long each kind of message keeps it busy
is measured with a real one, then a day's load of many workers is let arrive. Stores are measured with
one of them, and multiplied. Nothing here was tried with a thousand workers.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
from distributed import Client, LocalCluster
from distributed.scheduler import heartbeat_interval

from ringnb._support.text import format_bytes, say
from ringnb.actors.gray_scott import GrayScott
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cluster.ensemble_data import open_ensemble
from ringnb.cluster.ensemble_files import EnsembleFiles
from ringnb.cluster.launching import ready
from ringnb.cluster.member_task import TaskOptions, submit_task
from ringnb.session.session import Session

__all__ = ["Costs", "Load", "main", "measure", "shortest_interval_s", "simulate"]

_SIDE = 64  # cells of a member along each axis
_PER_STORE = 64  # members
_CUTS = 5
_MOST_BUSY = 0.7  # beyond that a queue grows long


class Costs(NamedTuple):
    """What was measured: seconds of one processor, but for the commit, and bytes."""

    submit_s: (
        float  # a task: claim, submission, until the scheduler has it; the client's part included
    )
    note_s: float  # what a task tells after a checkpoint
    heartbeat_s: float  # of a worker
    runs_s: float  # of each task, where all are listed
    spec_bytes: int  # a task as the scheduler holds it, 64 members
    commit_s: float  # a durable cut of 64 members
    commit_bytes: int
    files: float  # of a cut
    document_s: float  # to list a cut that was never looked at
    look_s: float  # to look again at a store in which nothing is new
    open_s: float  # a cut in `open_ensemble`


class Load(NamedTuple):
    """How a scheduler fares."""

    busy: float  # part of the time
    median_s: float  # how long a message waits until its turn comes
    p99_s: float


def measure(folder: Path, *, tasks: int = 200, messages: int = 1000) -> Costs:
    """Measure a scheduler with so many tasks and messages, and a store of cuts in a folder."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            protocol="tcp://",
            host="127.0.0.1",
            dashboard_address=":0",  # its port may be taken, also where there is no dashboard
            scheduler_kwargs={"dashboard": False},
        ) as local,
        Client(local) as client,
    ):
        ready(client)
        spec = _spec(EnsembleFiles(folder / "none"))
        names = [f"scale-{i:04d}" for i in range(tasks)]
        began = time.process_time()
        for name in names:
            submit_task(client, name, name, name, spec, resources={"nobody has it": 1})
        submit_s = (time.process_time() - began) / tasks
        (worker,) = local.workers.values()
        metrics = client.sync(worker.get_metrics)
        scheduler = client.scheduler

        async def note() -> None:
            """Tell what a task tells; that it is not running changes what is done for it little."""
            await scheduler.ringnb_note(run=names[0], key=names[0], worker="", progressed=True)

        async def beat() -> None:
            """Send a heartbeat as the worker does."""
            await scheduler.heartbeat_worker(
                address=worker.address,
                now=time.time(),
                metrics=metrics,
                executing={},
                extensions={},
            )

        note_s = _each_s(lambda: client.sync(_repeat, note, messages), messages)
        heartbeat_s = _each_s(lambda: client.sync(_repeat, beat, messages), messages)
        runs_s = _each_s(lambda: client.sync(scheduler.ringnb_runs), tasks)
    return Costs(submit_s, note_s, heartbeat_s, runs_s, len(spec), *_measure_store(folder))


def simulate(costs: Costs, workers: int, interval_s: float, seconds: float, seed: int) -> Load:
    """Let the messages of so many workers arrive, each with a task that commits every so often."""
    random_ = random.Random(seed)  # noqa: S311 - repeatable, no secret
    beat_s = heartbeat_interval(workers)

    def of(period_s: float, cost_s: float) -> Iterator[tuple[float, float]]:
        """Yield arrivals of one worker, of one kind, with what each costs."""
        at = random_.uniform(0.0, period_s)
        while at < seconds:
            yield at, cost_s
            at += period_s * random_.uniform(0.9, 1.1)

    arrivals = sorted(
        arrival
        for _ in range(workers)
        for period_s, cost_s in ((beat_s, costs.heartbeat_s), (interval_s, costs.note_s))
        for arrival in of(period_s, cost_s)
    )
    free, busy, waits = 0.0, 0.0, []
    for at, cost_s in arrivals:
        waits.append(max(0.0, free - at))
        free = max(at, free) + cost_s
        busy += cost_s
    waits.sort()
    return Load(busy / max(seconds, free), statistics.median(waits), waits[int(0.99 * len(waits))])


def shortest_interval_s(costs: Costs, workers: int) -> float:
    """Return how often each of so many workers may commit at most; inf if heartbeats are too many."""
    left = _MOST_BUSY - workers / heartbeat_interval(workers) * costs.heartbeat_s
    return workers * costs.note_s / left if left > 0 else math.inf


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, reckon, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m ringnb.cluster.scale", description="Say what a very large ensemble costs."
    )
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between checkpoints")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        costs = measure(Path(folder))
    for row in _rows(costs, options.workers, options.members, options.interval):
        say("| " + " | ".join(row) + " |")
    return 0


def _rows(costs: Costs, workers: int, members: int, interval_s: float) -> Iterator[tuple[str, ...]]:
    load = simulate(costs, workers, interval_s, 60.0 * interval_s, 0)
    disks = workers / interval_s * costs.commit_s
    ways = [64, 1024]
    tasks = [-(-members // per) for per in ways]
    yield (f"{workers:,} workers, {members:,} members", *(f"{per} per task" for per in ways))
    yield "---", *("---" for _ in ways)
    yield "tasks", *(f"{n:,}" for n in tasks)
    yield "launch", *(f"{n * costs.submit_s:,.0f} s" for n in tasks)
    size = [costs.spec_bytes * per / _PER_STORE for per in ways]
    yield (
        "the scheduler's memory for them",
        *(format_bytes(int(n * one)) for n, one in zip(tasks, size, strict=True)),
    )
    yield "scheduler busy", *(f"{load.busy:.0%}" for _ in ways)
    yield "a message waits, 99 of 100", *(f"{load.p99_s * 1e3:.1f} ms" for _ in ways)
    shortest = shortest_interval_s(costs, workers)
    yield "shortest time between checkpoints", *(f"{shortest:.2g} s" for _ in ways)
    growth = [per / _PER_STORE for per in ways]
    yield "disks like this one", *(f"{disks * g:,.0f}" for g in growth)
    written = workers / interval_s * costs.commit_bytes
    yield "written", *(f"{format_bytes(int(written * g))}/s" for g in growth)
    yield f"files of {_CUTS} checkpoints", *(f"{n * _CUTS * costs.files:,.0f}" for n in tasks)
    yield (
        f"first look at {_CUTS} checkpoints",
        *(f"{n * _CUTS * costs.document_s * g:,.0f} s" for n, g in zip(tasks, growth, strict=True)),
    )
    yield (
        "another look: stores, scheduler",
        *(f"{n * costs.look_s:,.1f} s, {n * costs.runs_s:,.2f} s" for n in tasks),
    )
    yield (
        f"open_ensemble of {_CUTS} checkpoints",
        *(f"{n * _CUTS * costs.open_s * g:,.0f} s" for n, g in zip(tasks, growth, strict=True)),
    )


def _spec(files: EnsembleFiles) -> bytes:
    members = {f"member_{i:07d}": (_member(i), i) for i in range(_PER_STORE)}
    spec: bytes = cloudpickle.dumps((members, TaskOptions(files, 0, 10**6, 10**3, 0)))
    return spec


def _member(i: int) -> GrayScott:
    return GrayScott((_SIDE, _SIDE), feed=0.03 + 1e-6 * i)


async def _repeat(call: Callable[[], Any], times: int, together: int = 20) -> None:
    for _ in range(times // together):
        await asyncio.gather(*(call() for _ in range(together)))


def _each_s(
    call: Callable[[], object], times: int, clock: Callable[[], float] = time.process_time
) -> float:
    """Return what each of so many parts of a call takes: of the processor, whatever else it does."""
    began = clock()
    call()
    return (clock() - began) / times


def _measure_store(folder: Path) -> tuple[float, int, float, float, float, float]:
    """Return what is measured of one store; see `Costs`."""
    files = EnsembleFiles(folder / "one")
    names = [f"m{i}" for i in range(_PER_STORE)]
    files.write_about({"steps": _CUTS, "every": 1, "tasks": [names]})
    config = CheckpointConfig(storage_path=files.store(0), enabled=False, on_close=False)
    commits = []
    with Session(
        [_member(i) for i in range(_PER_STORE)],
        config=config,
        kernel_ids=names,
        lanes=1,
    ) as session:
        for _ in range(_CUTS):
            for slot in range(_PER_STORE):
                session.run_steps(slot, 1)
            commits.append(_each_s(session.snapshot_all, 1, time.perf_counter))  # the disk, too
    written = [path for path in files.store(0).rglob("*") if path.is_file()]
    # A copy, of which this process knows nothing yet.
    files = EnsembleFiles(shutil.copytree(files.root, folder / "copy"))
    storage = ZarrStorage(files.store(0))
    document_s = _each_s(storage.catalogue, _CUTS)
    looks = [_each_s(storage.catalogue, 1) for _ in range(20)]
    open_ensemble(files.root)  # which imports xarray
    opened = [_each_s(lambda: open_ensemble(files.root), _CUTS) for _ in range(3)]
    nbytes = sum(path.stat().st_size for path in written) // _CUTS
    return (
        statistics.median(commits),
        nbytes,
        len(written) / _CUTS,
        document_s,
        statistics.median(looks),
        min(opened),
    )


if __name__ == "__main__":
    raise SystemExit(main())
