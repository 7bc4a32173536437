"""What it costs that a session, or many, live in other processes. Needs the extra `cluster`."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from distributed import Client

from ringnb import actors
from ringnb._support.machine import available_cores
from ringnb._support.text import counted
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.cli.bench.measuring import (
    Row,
    Scale,
    interleaved,
    median_and_p99,
    ratio_row,
    time_each_us,
    time_s,
)
from ringnb.cluster import Ensemble, attach, decompose, launch, open_ensemble, start, stop
from ringnb.cluster.connection import connected
from ringnb.cluster.ensemble_files import EnsembleFiles
from ringnb.cluster.remote_session import RemoteSession
from ringnb.session.session import Session

__all__ = ["cluster"]

_MEMBERS = 4  # for each core
_STEPS = 20_000
_PARTS = 2
_RUN = "bench"


def cluster(scale: Scale) -> Iterator[Row]:
    """A call of a session in another process, attaching to it; an ensemble, stepped and opened."""
    cores = available_cores()
    address = start(cores, idle_timeout=600.0)
    try:
        yield _of_stored(scale)
        yield from _of_one(scale, address)
        yield from _of_divided(scale, address, max(1, cores // _PARTS))
        with connected(address) as client:
            yield _of_many(scale, client, cores)
    finally:
        stop(address)


def _of_one(scale: Scale, address: str) -> Iterator[Row]:
    config = CheckpointConfig(interval=3600.0, storage_path=scale.directory / "run.zarr")
    batches, calls = scale.times(11, 2), scale.times(500, 50)
    with launch(actors.Wave2D((128, 128)), _RUN, address=address, config=config) as session:

        def timed(call: Callable[[], object]) -> list[list[float]]:
            """Return batches of calls, each call in milliseconds."""
            taken = [time_each_us(call, calls) for _ in range(batches)]
            return [[us * 1e-3 for us in batch] for batch in taken]

        note = f"per {calls} calls, the actor paused"
        what = "a call of a session in another process"
        yield from median_and_p99(
            "cluster_call", what, timed(partial(session.counters, 0)), "ms", note
        )
        with connected(address) as client:
            yield _beside_dask(session, client, batches, calls)
        what, taken = "what a panel asks of it at a refresh", timed(session.glance)
        yield from median_and_p99("cluster_glance", what, taken, "ms", note)
        times = range(scale.times(21, 3))
        attached = [time_s(lambda: attach(address, _RUN).detach()) for _ in times]
        yield Row("cluster_attach", "attach to it, and detach", attached, "s", "<=", 2.0)
        session.end(snapshot=False)


def _beside_dask(session: RemoteSession, client: Client, batches: int, calls: int) -> Row:
    """Call a session, and beside it have a worker send back a number, as the engine does it."""
    worker = client.rpc(next(iter(client.scheduler_info()["workers"])))

    def median_us(call: Callable[[], object]) -> float:
        return statistics.median(time_each_us(call, calls))

    pairs = interleaved(
        lambda: median_us(partial(session.counters, 0)),
        lambda: median_us(partial(client.sync, worker.echo, data=0)),
        batches,
    )
    what = "a call of a session in another process / an echo of a worker of Dask"
    return ratio_row("cluster_echo", what, pairs, ("echo", 1e-3, "ms"), at_most=1.25)


def _of_divided(scale: Scale, address: str, width: int) -> Iterator[Row]:
    """Step an actor that is divided over two workers, and checkpoint it, beside a plain session."""
    side, large = 1024, scale.times(4096, 1024)
    steps, times = scale.times(12_000, 200), scale.times(7, 2)
    model, work = actors.Wave2D((side, side)), steps * side * side * 1e-9
    threads = counted(width, "thread")
    with _both(scale, "divided", model, address, width) as (ours, plain):
        pairs = interleaved(
            lambda: work / time_s(partial(ours.run_steps, 0, steps)),
            lambda: work / time_s(partial(plain.run_steps, 0, steps)),
            times,
        )
    what = f"{side} x {side} on two workers / in a session with {threads}, as each of them"
    yield ratio_row(
        *("divided", what, pairs, ("session", 1.0, "Gcells/s")),
        at_least=1.5,
        note=f", {steps:,} steps, over sockets",
    )

    def snapshot_s(session: Session | RemoteSession) -> float:
        """Return how long a checkpoint takes, with the state at the session or at its parts."""
        session.run_steps(0, 1)
        return time_s(partial(session.snapshot, 0, timeout=120.0))

    big = actors.Wave2D((large, large))
    with _both(scale, "gathered", big, address, width) as (ours, plain):
        pairs = interleaved(lambda: snapshot_s(ours), lambda: snapshot_s(plain), times)
    mib = 2 * 4 * large * large >> 20
    what = f"a checkpoint of {mib} MiB from two workers / from a session"
    yield ratio_row(
        *("divided_snapshot", what, pairs, ("session", 1.0, "s")), at_most=1.5, note=", committed"
    )


@contextlib.contextmanager
def _both(
    scale: Scale, name: str, model: actors.Actor, address: str, width: int
) -> Iterator[tuple[RemoteSession, Session]]:
    """Yield a divided session and a plain one, which checkpoint only what they are asked to."""
    configs = [
        CheckpointConfig(
            storage_path=scale.directory / f"{name}_{i}.zarr",
            enabled=False,
            on_close=False,
            max_snapshots=2,
        )
        for i in range(2)
    ]
    with (
        decompose(model, name, address=address, parts=_PARTS, config=configs[0]) as ours,
        Session(model, config=configs[1], lanes=1, width=width) as plain,
    ):
        yield ours, plain
        ours.end(snapshot=False)


def _of_stored(scale: Scale) -> Row:
    """Open an ensemble, which sessions have written as its tasks would."""
    n, steps = scale.times(1000, 100), range(5)
    files = EnsembleFiles(scale.directory / "stored")
    names = [f"m{i}" for i in range(n)]
    tasks = [names[i : i + 64] for i in range(0, n, 64)]
    files.write_about({"steps": steps[-1], "every": 1, "tasks": tasks})
    for i, task in enumerate(tasks):
        config = CheckpointConfig(
            storage_path=files.store(i), enabled=False, max_snapshots=0, on_close=False
        )
        members = [actors.GrayScott((64, 64))] * len(task)
        with Session(members, config=config, kernel_ids=task, lanes=1) as session:
            for step in steps:
                for slot in range(len(task) if step else 0):
                    session.run_steps(slot, 1)
                session.snapshot_all()
    open_ensemble(files.root)  # which imports xarray
    taken = [time_s(lambda: open_ensemble(files.root)) for _ in range(scale.times(11, 2))]
    what = f"open an ensemble of {n:,} members x {len(steps)} checkpoints, lazily"
    note = f"{len(tasks)} stores, a cut of 64 members each time; nothing of it is read yet"
    return Row("ensemble_open", what, taken, "s", "<=", 1.0, note=note)


def _of_many(scale: Scale, client: Client, cores: int) -> Row:
    steps, n = scale.times(_STEPS, _STEPS // 20), cores * _MEMBERS
    every = steps // 4
    members = {f"m{i}": actors.GrayScott((256, 256), feed=0.03 + 0.02 * i / n) for i in range(n)}
    fresh = (scale.directory / str(i) for i in range(10**6))
    workers = list(client.scheduler_info()["workers"])
    work = n * steps * 256 * 256 * 1e-9

    def together() -> float:
        """Return the rate of an ensemble, from its launch to the last checkpoint of all."""
        began = time.perf_counter()
        ensemble = Ensemble(members, next(fresh), steps=steps, every=every, per_task=_MEMBERS)
        ensemble.launch(client)
        ensemble.wait()
        return work / (time.perf_counter() - began)

    def one_by_one() -> float:
        """Return the rate of as many sessions, on each core one after the other."""
        began, names = time.perf_counter(), list(members)
        done = [
            client.submit(
                *(_take, [members[m] for m in names[i::cores]], next(fresh), steps, every),
                workers=[worker],
                pure=False,
            )
            for i, worker in enumerate(workers)
        ]
        client.gather(done)
        return work / (time.perf_counter() - began)

    pairs = interleaved(together, one_by_one, scale.times(5, 1))
    what = (
        f"an ensemble of {n} members of 256 x 256 / as many sessions, one after the other per core"
    )
    note = f", {steps:,} steps, {steps // every} checkpoints of each"
    return ratio_row(
        *("ensemble", what, pairs, ("sessions", 1.0, "Gcells/s")), at_least=0.9, note=note
    )


def _take(members: Sequence[actors.Actor], place: Path, steps: int, every: int) -> None:
    """Take members to their last step one after the other, on one core. On a worker."""
    config = CheckpointConfig(storage_path=place, enabled=False, max_snapshots=0, on_close=False)
    for i, member in enumerate(members):
        with Session(member, config=config, kernel_ids=[f"m{i}"], lanes=1, width=1) as session:
            session.snapshot(0)
            for _ in range(0, steps, every):
                session.run_steps(0, every)
                session.snapshot(0)
