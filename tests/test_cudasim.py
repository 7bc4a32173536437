"""The CUDA kernel's source in Numba's simulator: the contract of all kernels, and what is its own."""

from __future__ import annotations

import pytest

from ringnb.kernel.cuda import CudaKernel
from ringnb.testing.kernels import KernelTests

pytest.importorskip("numba_cuda")


class TestSimulatedCudaKernel(KernelTests):
    shape = (5, 7)

    def make(self, actors, **options):
        return CudaKernel(actors, simulate=True, **options)
