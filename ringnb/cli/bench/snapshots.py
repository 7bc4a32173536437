"""Cases about a running session: what a checkpoint costs the actor, and what a restore takes."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from ringnb import actors
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cli.bench.measuring import (
    Row,
    Scale,
    interleaved,
    padded_params,
    percentile,
    ratio_row,
    stepping_rate,
    time_s,
)
from ringnb.cli.bench.stepping import levels_of
from ringnb.cli.bench.stores import bench_snapshot
from ringnb.kernel.atomics import call_step, copy_bytes, flush_subnormals, now_ns
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cpu.compile import compile_actor
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.messages.commands import Command
from ringnb.session.recorder import Recorder
from ringnb.session.session import Session
from ringnb.testing.mixer import running

__all__ = [
    "checkpointed_rates",
    "persisting",
    "read_files",
    "recording",
    "restoring",
    "stall",
    "whole_snapshot",
    "with_checkpoints",
]


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
    for key, n, steps in [("stall", 512, 40), ("stall_large", 4096, 2)][: scale.times(2, 1)]:
        wave = actors.Wave2D((n, n))
        with running(CpuKernel([wave])) as client:
            pairs = interleaved(
                functools.partial(_stall_ns, client, steps),
                _copy_after_steps(wave, n, steps),
                scale.times(61, 21) if n < 4096 else 9,
            )
        yield ratio_row(
            key,
            f"stall of the actor at a snapshot, {8 * n * n >> 20} MiB / memcpy of its state",
            pairs,
            ("memcpy", 1e-6, "ms"),
            at_most=1.2,
        )


def _stall_ns(client: KernelClient, steps: int) -> float:
    kernel: Any = client.kernel
    client.call(0, Command.RUN_STEPS, (steps,))
    # Behind the steps on the same ring: taken when they are done.
    client.wait_until(lambda: kernel.counters(0).budget == 0, None)
    index = client.call(0, Command.SNAPSHOT).value
    _, facts = kernel.staged(0, index, 0)
    kernel.release_staging(0, index)
    return float(facts.end_ns - facts.begin_ns)


def _copy_after_steps(wave: actors.Wave2D, n: int, steps: int) -> Callable[[], float]:
    """Return a function that steps, copies the state with memcpy and returns nanoseconds of the copy."""
    params, code = padded_params(wave), compile_actor(wave)
    levels = levels_of((n, n))  # kept alive here: compiled code gets addresses
    targets = np.zeros((2, 8 * n * n), np.uint8)
    scratch = np.zeros(8, np.int64)
    turn = 0

    def memcpy() -> float:
        """Take the two targets in turn."""
        nonlocal turn
        turn ^= 1
        pointers = (levels[0].ctypes.data, levels[1].ctypes.data, params.ctypes.data)
        target = targets[turn].ctypes.data
        return float(
            _step_then_copy(code.step_addresses[0], *pointers, n, n, steps, target, scratch)
        )

    return memcpy


def checkpointed_rates(session: Session, seconds: float, turns: int) -> list[tuple[float, float]]:
    """Return steps per second of a running session, with automatic checkpoints and without, in turn."""

    def rate(*, enabled: bool) -> float:
        """Step for a while."""
        session.manager.reconfigure(enabled=enabled)
        return stepping_rate(session, seconds)

    return interleaved(
        lambda: rate(enabled=True), lambda: rate(enabled=False), turns, warm_up=False
    )


def with_checkpoints(scale: Scale) -> Iterator[Row]:
    """Free running with a checkpoint every second, against free running."""
    config = CheckpointConfig(
        interval=1.0, enabled=False, storage_path=scale.directory / "rate.zarr", max_snapshots=3
    )
    with Session(actors.Wave2D((512, 512)), config=config, width=1) as session:
        session.resume()
        time.sleep(0.3)
        pairs = checkpointed_rates(session, scale.times(3, 2), scale.times(9, 2))
        taken = session.manager.total_completed
    yield ratio_row(
        "rate",
        "stepping 512 x 512 with a checkpoint every second / without, one-thread team",
        pairs,
        ("without", 1e-3, "ksteps/s"),
        at_least=0.98,
        note=f", {taken} checkpoints",
    )


def persisting(scale: Scale) -> Iterator[Row]:
    """Kernel and notebook while 128 MiB are made durable, again and again."""
    fields = {"a": np.random.default_rng(1).random((2, 4096, 4096), np.float32)}
    storage = ZarrStorage(scale.directory / "persist.zarr")
    stop = threading.Event()
    writing = threading.Event()

    def write() -> None:
        """Make them durable as long as that is wanted."""
        i = 0
        while not stop.is_set():
            if writing.wait(0.05):
                i += 1
                storage.save(f"bench_0_step_{i}", bench_snapshot(fields, i))
                storage.delete(f"bench_0_step_{i}")

    writer = threading.Thread(target=write)
    config = CheckpointConfig(storage_path=scale.directory / "unused.zarr", enabled=False)
    late: list[float] = []

    def stepping(width: int | None) -> Session:
        """Return a session that steps without a pause."""
        session = Session(actors.Wave2D((512, 512)), config=config, width=width)
        session.resume()
        time.sleep(0.3)
        return session

    with stepping(1) as one_thread, contextlib.ExitStack() as more:
        writer.start()

        def rate(session: Session, *, busy: bool) -> float:
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
                lambda: rate(one_thread, busy=True),
                lambda: rate(one_thread, busy=False),
                scale.times(9, 2),
            )
            one_thread.pause()
            late.clear()
            team = more.enter_context(stepping(None))
            for _ in range(scale.times(9, 2)):
                rate(team, busy=True)
        finally:
            stop.set()
            writer.join()
            storage.close()
    yield ratio_row(
        "rate_persisting",
        "stepping 512 x 512 while 128 MiB are made durable without a pause / alone, one-thread team",
        pairs,
        ("alone", 1e-3, "ksteps/s"),
        at_least=0.8,
    )
    what = "lateness of a 1 ms tick of the main thread meanwhile, all cores stepping: p99"
    yield Row("heartbeat", what, late, "ms", "<=", 10.0)


def recording(scale: Scale) -> Iterator[Row]:
    """What a loop of one's own waits for at a save of a `Recorder`, against a copy of its arrays."""
    small = np.zeros(512)
    config = CheckpointConfig(storage_path=scale.directory / "recorder.zarr", max_snapshots=2)
    with Recorder(config, name="bench") as rec:

        def save(**arrays: Any) -> float:
            """Save, then wait for the commit, which is not measured."""
            took = time_s(lambda: rec.save(1, **arrays))
            rec.save_changes(timeout=60.0)
            return took

        taken = [save(u=small) * 1e6 for _ in range(scale.times(201, 51))]
        what = "what a loop waits for at Recorder.save of 4 KiB: all but the copy"
        # Some hundred lines of Python, whose caches the last commit has used for itself.
        yield Row("recorder_tiny", what, taken[1:], "us", "<=", 150.0)
        other = np.zeros(8 << 20)  # work of the loop that takes the last copy out of the caches
        for mib in (16, 128)[: scale.times(2, 1)]:
            u, v = np.random.default_rng(1).random((2, mib << 16))
            copies = np.zeros((2, mib << 16))

            def copy(u: Any = u, v: Any = v, copies: Any = copies) -> float:
                """Copy the same arrays to where the last copy was."""
                np.add(other, 1.0, out=other)
                np.multiply(u, 1.5, out=v)
                return time_s(functools.partial(_copy_both, copies, u, v))

            def compute_and_save(u: Any = u, v: Any = v) -> float:
                np.add(other, 1.0, out=other)
                np.multiply(u, 1.5, out=v)
                return save(u=u, v=v)

            yield ratio_row(
                f"recorder_{mib}",
                f"what a loop waits for at Recorder.save, {mib} MiB / copy of its arrays",
                interleaved(compute_and_save, copy, scale.times(31, 11) if mib < 100 else 9),
                ("copy", 1e3, "ms"),
                at_most=1.2,
            )


def _copy_both(copies: Any, u: Any, v: Any) -> None:
    np.copyto(copies[0], u)
    np.copyto(copies[1], v)


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
    what = "session.snapshot() of a 4 KiB actor: request, capture, durable commit, retention"
    yield Row("snapshot_tiny", what, taken, "ms")


def restoring(scale: Scale) -> Iterator[Row]:
    """A restore into the live actor, against a plain read of the same files."""
    n = 4096
    store = scale.directory / "restore.zarr"
    config = CheckpointConfig(enabled=False, storage_path=store)
    with Session(actors.Wave2D((n, n)), config=config) as session:
        session.run_steps(0, 3)
        name = session.snapshot(0, timeout=60.0).name
        files = sorted(path for path in (store / name).rglob("*") if path.is_file())
        buffer = memoryview(bytearray(sum(f.stat().st_size for f in files)))
        pairs = interleaved(
            lambda: time_s(lambda: session.restore(0, name)),
            lambda: time_s(lambda: read_files(files, buffer)),
            scale.times(21, 7),
        )
    yield ratio_row(
        "restore",
        f"restore of {8 * n * n >> 20} MiB into the live actor, every byte verified / "
        "plain read of the same files",
        pairs,
        ("plain read", 1e3, "ms"),
        at_most=1.5,
    )


def read_files(files: list[Path], buffer: memoryview) -> None:
    """Read files one after the other into memory that is there."""
    at = 0
    for path in files:
        with path.open("rb", buffering=0) as file:
            while got := file.readinto(buffer[at:]):
                at += got
