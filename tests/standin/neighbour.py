"""Run by test_standin.py: CUDA code that knows nothing of the kernel, and waits for the device.

Prints the seconds that the slowest of it took, and how many steps the actor made meanwhile.
"""

from __future__ import annotations

import time

import numpy as np
from numba import cuda

from ringnb.kernel.client import KernelClient
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.messages.commands import Command
from ringnb.testing import device_proofs as proofs
from ringnb.testing.kernels import captured


def neighbour():
    """Do what waits for a device, and yield before each."""

    @cuda.jit("void(int64[::1])", lto=False)
    def twice(a):
        for i in range(cuda.grid(1), a.size, cuda.gridsize(1)):
            a[i] = 2 * a[i]

    (definition,) = twice.overloads.values()
    yield "load"
    definition.bind()
    yield "allocate and copy"
    there = cuda.to_device(np.arange(100))
    yield "launch"
    twice[128, 32](there)
    yield "synchronise"
    cuda.synchronize()
    yield "copy back"
    np.testing.assert_array_equal(there.copy_to_host(), 2 * np.arange(100))
    yield "end"


def main():
    kernel = CudaKernel([proofs.counter((5, 7))])
    kernel.launch()
    client = KernelClient(kernel)
    client.call(0, Command.RESUME)
    before = kernel.counters(0).step
    took = []
    doing = neighbour()
    next(doing)
    began = time.perf_counter()
    for _ in doing:
        took.append(time.perf_counter() - began)
        assert client.call(0, Command.HEARTBEAT).ok
        began = time.perf_counter()
    step = client.call(0, Command.PAUSE).step
    state, reply = captured(client, 0)
    assert state.min() == state.max() == reply.step == step
    kernel.stop()
    print(max(took), step - before)


if __name__ == "__main__":
    main()
