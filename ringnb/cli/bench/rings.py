"""Cases about the rings: how fast the kernel answers, and what it costs when nobody asks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from ringnb import actors
from ringnb.cli.bench.measuring import Row, Scale, percentile
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.messages.commands import Command
from ringnb.session.session import Session
from ringnb.testing import MemoryStorage

__all__ = ["busy_answers", "idle_answers", "idling"]


def _round_trips(call: Callable[[], object], n: int) -> list[float]:
    """Time calls one by one, in microseconds."""
    taken = []
    for _ in range(n):
        began = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - began) / 1e3)
    return taken


def idle_answers(scale: Scale) -> Iterator[Row]:
    """Python to the idle kernel and back: bare rings, and the client that everything uses."""
    kernel = CpuKernel([actors.Life((8, 8))])
    kernel.launch()
    try:

        def bare() -> None:
            kernel.push_nowait(0, Command.HEARTBEAT, 1, 0, (), spin_ns=1_000_000)
            while kernel.peek(0) is None:
                pass
            kernel.advance(0)

        batches = scale.times(20, 8)
        _round_trips(bare, 1000)
        rings = [_round_trips(bare, 2000) for _ in range(batches)]
        client = KernelClient(kernel)
        calls = [
            _round_trips(lambda: client.call(0, Command.HEARTBEAT), 2000) for _ in range(batches)
        ]
    finally:
        kernel.stop()
    for name, what, found, limits in (
        ("ring", "command round trip, Python to idle kernel to Python", rings, (2.0, 20.0)),
        ("client", "the same through KernelClient.call, safe for all threads", calls, (None, None)),
    ):
        for percent, word, limit in ((50, "median", limits[0]), (99, "p99", limits[1])):
            yield Row(
                f"{name}_{word}",
                f"{what}: {word}",
                [percentile(batch, percent) for batch in found],
                "us",
                "<=" if limit else None,
                limit,
                "per 2000 round trips" if percent == 50 else "",
            )


def busy_answers(scale: Scale) -> Iterator[Row]:
    """A command to a kernel whose lane steps a large actor without a pause."""
    kernel = CpuKernel([actors.Wave2D((512, 512))])
    kernel.launch()
    try:
        client = KernelClient(kernel)
        client.call(0, Command.RESUME)
        time.sleep(0.2)
        batches = [
            [t / 1e3 for t in _round_trips(lambda: client.call(0, Command.HEARTBEAT), 200)]
            for _ in range(scale.times(15, 4))
        ]
    finally:
        kernel.stop()
    for percent, word in ((50, "median"), (99, "p99")):
        yield Row(
            f"busy_{word}",
            f"answer of a kernel that steps 512 x 512 without a pause: {word}",
            [percentile(batch, percent) for batch in batches],
            "ms",
            "<=",
            2.0,
            "per 200 commands" if percent == 50 else "",
        )


def idling(scale: Scale) -> Iterator[Row]:
    """What an idle session takes of a core, all its threads together, and how soon it wakes."""
    population = [actors.Life((8, 8)), actors.Life((8, 8))]
    shares, wakes = [], []
    with Session(population, storage=MemoryStorage()) as session:
        for _ in range(scale.times(5, 2)):
            session.run_steps(0, 1)
            time.sleep(1.0)  # idle for a second: asleep by now
            times, began = os.times(), time.perf_counter()
            time.sleep(1.0)
            after = os.times()
            used = (after.user + after.system) - (times.user + times.system)
            shares.append(100 * used / (time.perf_counter() - began))
            wakes.append(_round_trips(lambda: session.run_steps(0, 1), 1)[0] / 1e3)
    yield Row("idle_cpu", "an idle session's share of one core", shares, "%", "<=", 2.0)
    yield Row("wake", "one step of a session that was asleep", wakes, "ms", "<=", 2.0)
