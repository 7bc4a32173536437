"""A card of Numba's simulator for the cases of ``ringnb bench --gpu``, and the smallest sizes for it."""

from __future__ import annotations

import time

import numpy as np

from ringnb.cli.bench.gpu.card import Card, Sizes
from ringnb.kernel.cuda.availability import load
from ringnb.kernel.cuda.kernel import CudaKernel

# The targets of a card of the H100's class.
PROMISED = {
    "gpu_wave_3d": (">=", 200.0),
    "gpu_wave_3d_ceiling": (">=", 0.8),
    "gpu_ring_median": ("<=", 5.0),
    "gpu_snapshot_1024_acknowledged": ("<=", 10.3),
    "gpu_snapshot_65536_acknowledged": ("<=", 10.3),
    "gpu_snapshot_16777216_stall": ("<=", 1.2),
    "gpu_snapshot_1073741824_stall": ("<=", 1.2),
    "gpu_busy_snapshot_1073741824_stall": ("<=", 1.2),
    "gpu_rate": (">=", 0.98),
}


class FakeDriver:
    """Answers as the driver does, and copies host memory."""

    calls: list

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, arguments))
            return (0, 7) if name == "cuEventCreate" else (0,)

        return call


class SimulatedCard(Card):
    """A card of Numba's simulator: two threads, host memory, the host's clock, no graphs."""

    backend = "cudasim"

    def __init__(self, sizes):
        self.sizes, self.measured = sizes, {}
        self._cuda = load(simulate=True)
        self._driver, self.handle = FakeDriver(), 1

    def words(self, content):
        made = self._cuda.device_array(content.shape, np.int64)
        np.asarray(made)[...] = content
        return made

    def empty(self, n):
        return self.words(np.zeros(n, np.int64))

    def pinned(self, n):
        return np.zeros(n, np.int64)

    def address(self, array):
        return np.asarray(array).ctypes.data

    def copy(self, target, source):
        np.asarray(target)[...] = np.asarray(source)

    def compile(self, body, signature):
        return self._cuda.jit(body)

    def launcher(self, kernel, threads_needed):
        return kernel[1, 2]

    def time_s(self, work):
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    def record(self, work):
        return work

    def kernel(self, actors, **options):
        return CudaKernel(actors, simulate=True, **options)


TINY = Sizes(
    copied=512,
    waves={"wave_2d": (4, 5), "wave_3d": (3, 4, 5)},
    snapshots=(1 << 10,),
    reference=(1 << 10,),
    checkpointed=(4, 4, 4),
    batch=10,
    burst=4,
    reference_batch=3,
    steps_per_graph=2,
    sample_s=0.001,
)
