"""What the round trip of a command consists of: cache lines, compiled code, calls from Python."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

from numba import njit

from ringnb import actors
from ringnb.cli.bench.measuring import (
    Row,
    Scale,
    interleaved,
    percentile,
    ratio_row,
    round_trip,
    time_each_us,
    time_s,
)
from ringnb.kernel import layout, ring
from ringnb.kernel.atomics import cpu_pause, load_acquire, now_ns, store_release
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.messages.commands import Command
from ringnb.testing.mixer import running

__all__ = ["parts"]

_TURNS = 2000
_SPIN_NS = 1_000_000
_HEARTBEAT = int(Command.HEARTBEAT)


@njit(nogil=True)
def _throw(word: Any, turns: int, clock: Any) -> Any:  # pragma: no cover - compiled
    """Write a cache line and wait until the other thread has written it; nanoseconds in all."""
    began = now_ns(clock)
    for turn in range(0, 2 * turns, 2):
        store_release(word, 0, turn + 1)
        while load_acquire(word, 0) != turn + 2:
            cpu_pause()
    return now_ns(clock) - began


@njit(nogil=True)
def _catch(word: Any, turns: int) -> None:  # pragma: no cover - compiled
    for turn in range(0, 2 * turns, 2):
        while load_acquire(word, 0) != turn + 1:
            cpu_pause()
        store_release(word, 0, turn + 2)


@njit(nogil=True)
def _ask(port: Any, turns: int, clock: Any) -> Any:  # pragma: no cover - compiled
    """Do what `measuring.round_trip` does, without Python in between; nanoseconds in all."""
    began = now_ns(clock)
    for _ in range(turns):
        ring.push(port, _HEARTBEAT, 1, 0, 0, 0, 0, 0, _SPIN_NS)
        while not ring.peek(port):
            cpu_pause()
        ring.advance(port)
    return now_ns(clock) - began


def _line_us() -> float:
    """Return how long a cache line takes to another core and back."""
    word, clock = layout.lines(layout.LINE), layout.lines(layout.LINE)
    other = threading.Thread(target=_catch, args=(word, 5 * _TURNS))
    other.start()
    try:
        return float(_throw(word, 5 * _TURNS, clock)) / (5 * _TURNS) / 1e3
    finally:
        other.join()


def _each_us(call: Callable[[], object]) -> float:
    """Return how long a call takes in a loop, the loop included."""

    def loop() -> None:
        for _ in itertools.repeat(None, _TURNS):
            call()

    return time_s(loop) / _TURNS * 1e6


def parts(scale: Scale) -> Iterator[Row]:
    """The round trip of a command in compiled code, in calls from Python, and as a cache line's."""
    times = scale.times(20, 4)
    _throw(layout.lines(layout.LINE), 0, layout.lines(layout.LINE))  # compile
    _catch(layout.lines(layout.LINE), 0)
    lines = [_line_us() for _ in range(times)]
    yield Row("ring_line", "one cache line to another core and back", lines, "us")
    kernel, clock = CpuKernel([actors.Life((8, 8))]), layout.lines(layout.LINE)
    with running(kernel):
        port = kernel.ports[0]
        _ask(port, 0, clock)
        bare = functools.partial(round_trip, kernel, _SPIN_NS)
        pairs = interleaved(
            lambda: percentile(time_each_us(bare, _TURNS), 50),
            lambda: float(_ask(port, _TURNS, clock)) / _TURNS / 1e3,
            times,
        )
    what = "command round trip, Python to idle kernel to Python / the same in compiled code"
    yield ratio_row("ring_python", what, pairs, ("compiled", 1, "us"))
    # A ring without a kernel, longer than all pushes: what a call takes where no other core takes part.
    idle = CpuKernel([actors.Life((8, 8))], capacity=1 << 16)  # whose memory the port points to
    alone = idle.ports[0]
    calls: dict[str, Callable[[], object]] = {
        "push": lambda: ring.push(alone, _HEARTBEAT, 1, 0, 0, 0, 0, 0, 0),
        "peek": lambda: ring.peek(alone),
        "advance": lambda: ring.advance(alone),
    }
    for name, call in calls.items():
        call()
        taken = [_each_us(call) for _ in range(times)]
        yield Row(f"ring_{name}", f"the compiled call `{name}` of it alone", taken, "us")
