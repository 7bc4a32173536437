"""Cases about a running session: what a checkpoint costs the actor, and what a restore takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from ringnb import actors
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.storage.records import Snapshot
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cli.bench.measuring import (
    Row,
    Scale,
    absolute,
    interleaved,
    percentile,
    ratios,
    stepping_rate,
    time_s,
)
from ringnb.cli.bench.stepping import _levels
from ringnb.kernel.atomics import call_step, copy_bytes, flush_subnormals, now_ns
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cpu.compile import compile_actor
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.messages.commands import Command
from ringnb.session.session import Session

__all__ = ["persisting", "restoring", "stall", "whole_snapshot", "with_checkpoints"]


@njit(nogil=True)
def _step_then_copy(
    function: int,
    a: int,
    b: int,
    params: int,
    ny: int,
    nx: int,
    steps: int,
    target: int,
    scratch: Any,
) -> Any:  # pragma: no cover - compiled
    """Step, then copy both levels: nanoseconds of the copy, caches as stepping left them."""
    flush_subnormals()
    for step in range(steps):
        call_step(function, a, b, params, step, 1, 1, ny, nx, 0, ny)
        a, b = b, a
    began = now_ns(scratch)
    copy_bytes(target, a, 4 * ny * nx)
    copy_bytes(target + 4 * ny * nx, b, 4 * ny * nx)
    return now_ns(scratch) - began


def stall(scale: Scale) -> Iterator[Row]:
    """What the actor waits for at a snapshot, against a memcpy of the same bytes."""
    sizes = [("stall", 512, 40), ("stall_large", 4096, 2)]
    for key, n, steps in sizes[: scale.times(2, 1)]:
        wave = actors.Wave2D((n, n))
        params = np.array([*wave.start_params(0).values(), *([0.0] * 16)])[:16]
        code = compile_actor(wave)
        a, b, _block = _levels((n, n))
        targets = np.zeros((2, 8 * n * n), np.uint8)
        scratch = np.zeros(8, np.int64)
        kernel = CpuKernel([wave])
        kernel.launch()
        turn = [0]
        try:
            client = KernelClient(kernel)

            def snapshot() -> float:
                client.call(0, Command.RUN_STEPS, (steps,))  # noqa: B023 - called in this turn
                # Behind the steps on the same ring: taken when they are done.
                client.wait_until(lambda: kernel.counters(0).budget == 0, None)  # noqa: B023
                index = client.call(0, Command.SNAPSHOT).value  # noqa: B023
                _, facts = kernel.staged(0, index, 0)  # noqa: B023
                kernel.release_staging(0, index)  # noqa: B023
                return facts.end_ns - facts.begin_ns

            def memcpy() -> float:
                turn[0] ^= 1  # noqa: B023
                return float(
                    _step_then_copy(
                        code.step_address,  # noqa: B023
                        a.ctypes.data,  # noqa: B023
                        b.ctypes.data,  # noqa: B023
                        params.ctypes.data,  # noqa: B023
                        n,  # noqa: B023
                        n,  # noqa: B023
                        steps,  # noqa: B023
                        targets[turn[0]].ctypes.data,  # noqa: B023
                        scratch,  # noqa: B023
                    )
                )

            pairs = interleaved(snapshot, memcpy, scale.times(61, 21) if n < 4096 else 9)
        finally:
            kernel.stop()
        yield Row(
            key,
            f"stall of the actor at a snapshot, {8 * n * n >> 20} MiB / memcpy of its state",
            ratios(pairs),
            "x",
            "<=",
            1.2,
            absolute(pairs, "memcpy", 1e-6, "ms"),
        )


def with_checkpoints(scale: Scale) -> Iterator[Row]:
    """Free running with a checkpoint every second, against free running."""
    seconds = scale.times(3, 2)
    config = CheckpointConfig(
        interval=1.0, enabled=False, storage_path=scale.directory / "rate.zarr", max_snapshots=3
    )
    with Session(actors.Wave2D((512, 512)), config=config) as session:
        session.resume()
        time.sleep(0.3)

        def rate(*, enabled: bool) -> float:
            session.manager.reconfigure(enabled=enabled)
            return stepping_rate(session, seconds)

        pairs = interleaved(
            lambda: rate(enabled=True),
            lambda: rate(enabled=False),
            scale.times(9, 2),
            warm_up=False,
        )
        taken = session.manager.total_completed
    yield Row(
        "rate",
        "stepping 512 x 512 with a checkpoint every second / without, one-thread team",
        ratios(pairs),
        "x",
        ">=",
        0.98,
        absolute(pairs, "without", 1e-3, "ksteps/s") + f", {taken} checkpoints",
    )


def persisting(scale: Scale) -> Iterator[Row]:
    """Kernel and notebook while 128 MiB are made durable, again and again."""
    shape = (4096, 4096)  # two levels of 64 MiB
    fields = {"a": np.random.default_rng(1).random((2, *shape), np.float32)}
    storage = ZarrStorage(scale.directory / "persist.zarr")
    stop = threading.Event()
    writing = threading.Event()

    def write() -> None:
        """Make them durable as long as that is wanted."""
        i = 0
        while not stop.is_set():
            if not writing.wait(0.05):
                continue
            i += 1
            name = f"bench_0_step_{i}"
            storage.save(name, Snapshot(fields, "bench", "k", "t", 0, i, i))
            storage.delete(name)

    writer = threading.Thread(target=write)
    config = CheckpointConfig(storage_path=scale.directory / "unused.zarr", enabled=False)
    late: list[float] = []
    with Session(actors.Wave2D((512, 512)), config=config) as session:
        session.resume()
        time.sleep(0.3)
        writer.start()

        def rate(*, busy: bool) -> float:
            (writing.set if busy else writing.clear)()
            time.sleep(0.3)
            first, began = session.current_step(0), time.perf_counter()
            end = began + scale.times(1500, 1000) / 1000
            ticks = []
            while (now := time.perf_counter()) < end:
                time.sleep(0.001)
                ticks.append((time.perf_counter() - now - 0.001) * 1e3)
            if busy:
                late.append(percentile(ticks, 99))
            return (session.current_step(0) - first) / (time.perf_counter() - began)

        try:
            pairs = interleaved(
                lambda: rate(busy=True), lambda: rate(busy=False), scale.times(9, 2)
            )
        finally:
            stop.set()
            writer.join()
            storage.close()
    yield Row(
        "rate_persisting",
        "stepping 512 x 512 while 128 MiB are made durable without a pause / alone",
        ratios(pairs),
        "x",
        ">=",
        0.8,
        absolute(pairs, "alone", 1e-3, "ksteps/s"),
    )
    yield Row(
        "heartbeat",
        "lateness of a 1 ms tick of the main thread meanwhile: p99",
        late,
        "ms",
        "<=",
        10.0,
    )


def whole_snapshot(scale: Scale) -> Iterator[Row]:
    """`Session.snapshot` of a tiny actor, from the call to the durable checkpoint."""
    config = CheckpointConfig(
        enabled=False, storage_path=scale.directory / "tiny.zarr", max_snapshots=5
    )
    with Session(actors.Life((64, 64)), config=config) as session:
        session.snapshot(0)
        taken = []
        for _ in range(scale.times(101, 31)):
            session.run_steps(0, 1)
            taken.append(time_s(lambda: session.snapshot(0)) * 1e3)
    yield Row(
        "snapshot_tiny",
        "session.snapshot() of a 4 KiB actor: request, capture, durable commit, retention",
        taken,
        "ms",
    )


def restoring(scale: Scale) -> Iterator[Row]:
    """A restore into the live actor, against a plain read of the same files."""
    n = 4096
    config = CheckpointConfig(enabled=False, storage_path=scale.directory / "restore.zarr")
    with Session(actors.Wave2D((n, n)), config=config) as session:
        session.run_steps(0, 3)
        checkpoint = session.snapshot(0, timeout=60.0)
        files = _files(scale.directory / "restore.zarr" / checkpoint.name)
        buffer = bytearray(sum(f.stat().st_size for f in files))

        def plain_read() -> float:
            def read() -> None:
                at = 0
                view = memoryview(buffer)
                for path in files:
                    with path.open("rb", buffering=0) as file:
                        while got := file.readinto(view[at:]):
                            at += got

            return time_s(read)

        pairs = interleaved(
            lambda: time_s(lambda: session.restore(0, checkpoint.name)),
            plain_read,
            scale.times(21, 7),
        )
    yield Row(
        "restore",
        f"restore of {8 * n * n >> 20} MiB into the live actor, every byte verified / "
        "plain read of the same files",
        ratios(pairs),
        "x",
        "<=",
        1.5,
        absolute(pairs, "plain read", 1e3, "ms"),
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
