"""Cases about stepping: the persistent loop against plain jitted loops and against memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import njit

from ringnb import actors
from ringnb.cli.bench.measuring import (
    Row,
    Scale,
    interleaved,
    padded_params,
    ratio_row,
    run_steps,
    time_s,
)
from ringnb.kernel.atomics import call_step, flush_subnormals
from ringnb.kernel.cpu.compile import compile_actor
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.messages.commands import Command
from ringnb.testing.mixer import running

__all__ = ["against_memory", "against_plain_loops", "copying", "levels_of", "models"]


@njit(nogil=True)
def _same_loop(
    function: int, a: int, b: int, params: int, ny: int, nx: int, steps: int
) -> None:  # pragma: no cover - compiled
    """Call the actor's own compiled step `steps` times: no rings, no slices, no bookkeeping."""
    flush_subnormals()
    for step in range(steps):
        call_step(function, a, b, params, step, 1, 1, ny, nx, 0, ny)
        a, b = b, a


@njit(nogil=True)
def _handwritten(
    a: Any, b: Any, courant2: Any, damping: Any, steps: int
) -> None:  # pragma: no cover - compiled
    """Step a wave the way one writes it by hand, walls included."""
    flush_subnormals()
    f = np.float32
    ny, nx = a.shape
    d = f(0.5 * damping)
    scale = f(1.0 / (1.0 + 0.5 * damping))
    for _ in range(steps):
        for y in range(ny):
            for x in range(nx):
                u = a[y, x]
                north = a[y - 1, x] if y > 0 else f(0)
                south = a[y + 1, x] if y < ny - 1 else f(0)
                west = a[y, x - 1] if x > 0 else f(0)
                east = a[y, x + 1] if x < nx - 1 else f(0)
                lap = (north + south) + (west + east) - f(4) * u
                b[y, x] = scale * (f(2) * u - (f(1) - d) * b[y, x] + f(courant2) * lap)
        a, b = b, a


def levels_of(shape: tuple[int, int]) -> Any:
    """Return a wave's two level buffers, kept apart as the kernel keeps them, and their memory."""
    rows, columns = shape
    gap = 8 * columns + 1040
    block = np.zeros(2 * rows * columns + gap + 16, np.float32)
    at = (-block.ctypes.data % 64) // 4
    a = block[at : at + rows * columns].reshape(shape)
    b = block[at + rows * columns + gap :][: rows * columns].reshape(shape)
    start = actors.Wave2D(shape).start()
    a[:], b[:] = start[0], start[1]
    return a, b, block


def against_plain_loops(scale: Scale) -> Iterator[Row]:
    """The persistent loop against one jitted call that does nothing but step."""
    shape = (512, 512)
    wave = actors.Wave2D(shape, damping=0.001)
    params = padded_params(wave)
    code = compile_actor(wave)
    a, b, _block = levels_of(shape)
    steps = int(scale.times(500, 250) / 1000 * 3e9 / (shape[0] * shape[1]))
    pointers = (a.ctypes.data, b.ctypes.data, params.ctypes.data)
    with running(CpuKernel([wave], width=1)) as client:

        def persistent() -> float:
            return time_s(lambda: run_steps(client, steps))

        def plain() -> float:
            return time_s(lambda: _same_loop(code.step_addresses[0], *pointers, *shape, steps))

        def by_hand() -> float:
            return time_s(lambda: _handwritten(a, b, params[0], params[1], steps))

        n = scale.times(15, 3)
        same = interleaved(persistent, plain, n)
        hand = interleaved(persistent, by_hand, n)
    cells = steps * shape[0] * shape[1] / 1e9
    yield ratio_row(
        "loop",
        "stepping 512 x 512 in the persistent loop / the same loop as one jitted call",
        [(cells / p, cells / q) for p, q in same],
        ("one call", 1, "Gcells/s"),
        at_least=0.97,
    )
    yield ratio_row(
        "handwritten",
        "the same / a hand-written jitted loop",
        [(cells / p, cells / q) for p, q in hand],
        ("by hand", 1, "Gcells/s"),
    )


def copying(nbytes: int) -> Callable[[], float]:
    """Return what measures memcpy of so many bytes: GB/s, two bytes moved per byte copied."""
    source, target = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)

    def copy_four_times() -> None:
        """Copy."""
        for _ in range(4):
            np.copyto(target, source)

    return lambda: 2 * nbytes * 4 / time_s(copy_four_times) / 1e9


def against_memory(scale: Scale) -> Iterator[Row]:
    """A wave larger than the caches that we may count on, against memcpy, one thread each."""
    shape = (2048, 2048)
    steps = 24
    nbytes = 4 * shape[0] * shape[1]
    kernel = CpuKernel([actors.Wave2D(shape)], width=1)
    with running(kernel) as client:

        def wave() -> float:
            began = kernel.counters(0).busy_ns
            run_steps(client, steps)
            return 3 * nbytes * steps / (kernel.counters(0).busy_ns - began)

        pairs = interleaved(wave, copying(4 * nbytes), scale.times(21, 7))
    yield ratio_row(
        "memory",
        "stepping 2048 x 2048, 12 bytes moved per cell / memcpy bandwidth",
        pairs,
        ("memcpy of 64 MiB", 1, "GB/s"),
        at_least=0.9,
    )


def models(scale: Scale) -> Iterator[Row]:
    """How fast every actor steps, one thread: cells updated per second."""
    population = {
        "wave_2d": actors.Wave2D((512, 512)),
        "wave_3d": actors.Wave3D((96, 96, 96)),
        "heat_2d": actors.Heat2D((512, 512)),
        "gray_scott": actors.GrayScott((512, 512)),
        "life": actors.Life((512, 512)),
        "ising_2d": actors.Ising2D((512, 512)),
    }
    for name, actor in population.items():
        kernel = CpuKernel([actor], width=1)
        with running(kernel) as client:
            client.call(0, Command.RESUME)
            time.sleep(0.05)
            rates = []
            for _ in range(scale.times(7, 3)):
                before = kernel.counters(0)
                time.sleep(scale.times(200, 60) / 1000)
                after = kernel.counters(0)
                cells = (after.step - before.step) * int(np.prod(actor.shape))
                rates.append(cells / (after.busy_ns - before.busy_ns))
        shape = " x ".join(map(str, actor.shape))
        yield Row(f"model_{name}", f"{type(actor).__name__} {shape}, one thread", rates, "Gcells/s")
