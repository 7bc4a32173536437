"""The device of the stand-in driver: a process that runs the kernel on the host's pages.

``device.py PAGES``: started by the driver at a cooperative launch. It outlives the host, like a device.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import sys
from pathlib import Path

import numba
import numpy as np

numba.config.ENABLE_CUDASIM = 1

from numba import cuda  # noqa: E402
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray  # noqa: E402

from ringnb.kernel import cuda_layout, layout  # noqa: E402
from ringnb.kernel.cuda_program import build  # noqa: E402

BASE, ARENA, MAP_FIXED = 0x200000000000, 1 << 30, 0x10


def map_pages(pages):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    file = os.open(pages, os.O_RDWR)
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    at = libc.mmap(BASE, ARENA, protection, mmap.MAP_SHARED | MAP_FIXED, file, 0)
    assert at == BASE, os.strerror(ctypes.get_errno())


def argument(words, ndim):
    """Take one array's words, in Numba's order, and return the array."""
    _, _, size, itemsize, address = (next(words) for _ in range(5))
    shape = [next(words) for _ in range(ndim)]
    for _ in range(ndim):
        next(words)  # strides
    assert itemsize == 8
    memory = (ctypes.c_int64 * size).from_address(address)
    return np.frombuffer(memory, np.int64).reshape(shape)


def main(pages):
    print(f"device: process {os.getpid()}", flush=True)
    kinds, dimensions = pickle.loads(Path(f"{pages}.kinds").read_bytes())
    words = iter(np.fromfile(f"{pages}.arguments", np.int64).tolist())
    map_pages(pages)
    arrays = [argument(words, ndim) for ndim in dimensions]
    facts, control, lanes = arrays[10], arrays[0], arrays[8]
    facts[cuda_layout.F_WIDTH] = 1  # the simulator's grid has one block, which serves all lanes
    sys.setswitchinterval(1e-4)
    cuda.jit(build(kinds))[1, 2](*(FakeCUDAArray(a) for a in arrays))
    reasons = [
        int(control[lane * layout.CTL_WORDS + cuda_layout.STATE_REASON])
        for lane in range(len(lanes))
    ]
    print(f"device: left by {sorted(set(reasons))}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
