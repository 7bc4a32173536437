"""Cases about the rings: how fast the kernel answers, and what it costs while it is idle."""

from __future__ import annotations

import functools
import inspect
import os
import signal
import time
from collections.abc import Callable, Iterator

from ringnb import actors
from ringnb.cli.bench.measuring import (
    Row,
    Scale,
    interleaved,
    median_and_p99,
    percentile,
    ratio_row,
    round_trip,
    time_each_us,
)
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.messages.commands import Command
from ringnb.session.session import Session
from ringnb.testing import MemoryStorage
from ringnb.testing.mixer import running

__all__ = ["busy_answers", "idle_answers", "idling", "session_calls"]


def idle_answers(scale: Scale) -> Iterator[Row]:
    """Python to the idle kernel and back: bare rings, and the client that everything uses."""
    kernel = CpuKernel([actors.Life((8, 8))])
    with running(kernel) as client:
        bare = functools.partial(round_trip, kernel, 1_000_000)
        batches = scale.times(20, 8)
        time_each_us(bare, 1000)
        rings = [time_each_us(bare, 2000) for _ in range(batches)]
        calls = [
            time_each_us(lambda: client.call(0, Command.HEARTBEAT), 2000) for _ in range(batches)
        ]
    note = "per 2000 round trips"
    what = "command round trip, Python to idle kernel to Python"
    yield from median_and_p99("ring", what, rings, "us", note, (2.0, 20.0))
    what = "the same through KernelClient.call, safe for all threads"
    yield from median_and_p99("client", what, calls, "us", note)


def session_calls(scale: Scale) -> Iterator[Row]:
    """A call of a session, which works in signal handlers, against the same call without that."""
    plain = inspect.unwrap(Session.run_steps)
    before = signal.getsignal(signal.SIGTERM)
    with Session(actors.Life((8, 8)), storage=MemoryStorage()) as session:
        session.run_steps(0, 1)

        def typical_us(call: Callable[..., object]) -> float:
            return percentile(time_each_us(lambda: call(session, 0, 1), 400), 50)

        for key, what, handler in (
            ("call", "session.run_steps(0, 1)", signal.SIG_DFL),
            ("call_handled", "the same in a program that handles SIGTERM", lambda *_: None),
        ):
            signal.signal(signal.SIGTERM, handler)
            try:
                pairs = interleaved(
                    lambda: typical_us(Session.run_steps),
                    lambda: typical_us(plain),
                    scale.times(40, 8),
                )
            finally:
                signal.signal(signal.SIGTERM, before)
            limit = 1.05 if key == "call" else None
            compared = f"{what} / the bare call, which no handler may interrupt"
            yield ratio_row(key, compared, pairs, ("bare", 1, "us"), at_most=limit)


def busy_answers(scale: Scale) -> Iterator[Row]:
    """A command to a kernel whose lane steps a large actor without a pause."""
    for key, n, command, most in (
        ("busy", 512, Command.HEARTBEAT, 2.0),
        ("busy_boundary", 512, Command.RESUME, 2.0),
        ("busy_large", 2048, Command.HEARTBEAT, 2.0),
        ("busy_large_boundary", 2048, Command.RESUME, None),
    ):
        with running(CpuKernel([actors.Wave2D((n, n))])) as client:
            client.call(0, Command.RESUME)
            time.sleep(0.2)
            call = functools.partial(client.call, 0, command)
            batches = [
                [t / 1e3 for t in time_each_us(call, 200)] for _ in range(scale.times(15, 3))
            ]
        what = f"answer of a kernel that steps {n} x {n} without a pause"
        if command is Command.RESUME:
            what += ", at a step boundary"
        yield from median_and_p99(key, what, batches, "ms", "per 200 commands", (most, most))


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
            wakes.append(time_each_us(lambda: session.run_steps(0, 1), 1)[0] / 1e3)
    yield Row("idle_cpu", "an idle session's share of one core", shares, "%", "<=", 2.0)
    yield Row("wake", "one step of a session that was asleep", wakes, "ms", "<=", 2.0)
