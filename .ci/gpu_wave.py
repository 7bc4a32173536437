"""Steps of one wave in the GPU kernel: ``gpu_wave.py SHAPE``, with options for its grid.

First the bits against the CPU's, on a small grid of the same code; then a line of JSON with the rates.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from typing import Any

import numpy as np

from ringnb import actors
from ringnb.actors.base import Actor
from ringnb.kernel.base import AbstractKernel
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.messages.commands import Command
from ringnb.testing.mixer import captured

TURNS = 7


def stepped(kernel: AbstractKernel, steps: int, turns: int) -> tuple[list[float], Any]:
    """Return the seconds per step of each turn, and the state after all; the first is not timed."""
    kernel.launch()
    try:
        client = KernelClient(kernel)
        took = []
        for _ in range(1 + turns):
            began = time.perf_counter()
            goal = client.call(0, Command.RUN_STEPS, (steps,)).value
            client.wait_until(lambda: kernel.counters(0).step >= goal, None)  # noqa: B023
            took.append((time.perf_counter() - began) / steps)
        return took[1:], captured(client, 0)[0]
    finally:
        kernel.stop()


def main() -> int:
    """Compare, measure, print; 1 if the bits differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape")
    for name in ("threads", "width", "reserve", "steps"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--longest", type=int, default=1 << 30, help="no axis has more cells")
    options = parser.parse_args()
    shape = tuple(min(int(n), options.longest) for n in options.shape.split("x"))
    grid = {
        name: number
        for name in ("threads", "width", "reserve")
        if (number := getattr(options, name)) is not None
    }

    def wave(size: tuple[int, ...]) -> Actor:
        start = np.random.default_rng(0).random(size, np.float32)
        return (actors.Wave2D if len(size) == 2 else actors.Wave3D)(
            size, damping=0.001, start=start
        )

    small = tuple(min(n, 40 + 3 * i) for i, n in enumerate(shape))
    _, there = stepped(CudaKernel([wave(small)], **grid), 50, 1)
    _, here = stepped(CpuKernel([wave(small)]), 50, 1)
    same = bool(np.array_equal(there, here))
    cells = math.prod(shape)
    # As many cells in each turn; but a step has its own cost, however few cells it has.
    steps = options.steps or min(100_000, max(2, int(3e10 / cells / (1 if cells > 1e7 else 4))))
    kernel = CudaKernel([wave(shape)], **grid)
    took, _ = stepped(kernel, steps, TURNS)
    found = {
        "shape": list(shape),
        **grid,
        "blocks": kernel.statistics().width,
        "same bits as the CPU": same,
        "us per step": round(1e6 * statistics.median(took), 3),
        "Gcells/s": [
            round(cells / s / 1e9, 3) for s in (max(took), statistics.median(took), min(took))
        ],
    }
    print(json.dumps(found))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
