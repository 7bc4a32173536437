"""The CUDA kernel's source in Numba's simulator: the contract of all kernels, and what is its own."""

from __future__ import annotations

import numpy as np
import pytest

import ringnb as rn
from ringnb.errors import BackendUnavailable, KernelStopped
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cuda import CudaKernel
from ringnb.messages import Command
from ringnb.testing.kernels import KernelTests, Mixer

pytest.importorskip("numba_cuda")


class TestSimulatedCudaKernel(KernelTests):
    shape = (5, 7)

    def make(self, actors, **options):
        return CudaKernel(actors, simulate=True, **options)


def test_a_checkpoint_goes_from_the_simulator_to_the_cpu_and_back(tmp_path):
    store = tmp_path / "s.zarr"
    config = rn.CheckpointConfig(storage_path=store, enabled=False)
    wave = rn.actors.Wave2D((9, 12))
    fields = {}
    for backend, other in (("cudasim", "cpu"), ("cpu", "cudasim")):
        with rn.Session(wave, backend=backend, config=config) as s:
            assert s.backend == backend
            s.inject(0, at=(3, 4), amplitude=0.5)
            s.run_steps(0, 12)
            name = s.snapshot(0).name
            s.run_steps(0, 9)
            fields[backend] = s.snapshot(0).numpy()["pressure"]
        with rn.Session(wave, backend=other, config=config) as s:
            assert s.restore(0, name) == 12
            s.run_steps(0, 9)
            np.testing.assert_array_equal(s.snapshot(0).numpy()["pressure"], fields[backend])


def test_a_lost_heartbeat_ends_the_kernel(monkeypatch):
    monkeypatch.setattr("ringnb.kernel.cuda._BEAT_S", 1000.0)
    kernel = CudaKernel([Mixer((5, 7))], simulate=True, lease_s=0.5)
    kernel.launch()
    client = KernelClient(kernel)
    client.call(0, Command.RESUME)
    with pytest.raises(KernelStopped, match=r"no heartbeat of this process for 0\.5 s"):
        client.wait_until(lambda: False, 20)
    kernel.stop()


def test_a_second_kernel_is_refused_while_one_runs():
    kernel = CudaKernel([Mixer((5, 7))], simulate=True)
    kernel.launch()
    try:
        with pytest.raises(BackendUnavailable, match="Close the other session"):
            CudaKernel([Mixer((5, 7))], simulate=True)
    finally:
        kernel.stop()


def test_the_gpu_is_refused_in_a_process_with_the_simulator():
    with pytest.raises(BackendUnavailable, match=r"backend 'cuda'.*Start a new one"):
        rn.Session(Mixer((5, 7)), backend="cuda")


def test_launch_blocking_is_refused(monkeypatch):
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    with pytest.raises(BackendUnavailable, match=r"CUDA_LAUNCH_BLOCKING=1 is set.*backend='cpu'"):
        rn.Session(Mixer((5, 7)), backend="cuda")
