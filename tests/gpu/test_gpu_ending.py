"""However the host's process ends, the device is free afterwards: no kernel is left spinning."""

from __future__ import annotations

import signal
import time

import pytest

from . import ending


@pytest.fixture
def device_is_free():
    """Check that another process steps as fast after a test as before: it has the device to itself."""
    alone = ending.measured_rate("cuda")
    yield
    deadline = time.monotonic() + 10 * ending.TIMES
    while (rate := ending.measured_rate("cuda")) < 0.75 * alone:
        # Two processes take turns on a device, so a kernel left spinning halves the rate.
        assert time.monotonic() < deadline, f"{rate:.0f} steps/s, {alone:.0f} before: not alone"


@pytest.mark.usefixtures("device_is_free")
class TestTheDeviceIsFree:
    def test_after_kill_9(self):
        status, _, _ = ending.killed("cuda")
        assert status == -signal.SIGKILL

    def test_after_the_interpreter_s_end_without_a_close(self):
        status, _, err = ending.ended(ending.started("leave", "cuda"))
        assert (status, err) == (0, "")

    def test_after_an_exception(self):
        status, _, err = ending.ended(ending.started("fail", "cuda"))
        assert status == 1
        assert "the notebook cell failed" in err

    def test_after_ctrl_c(self):
        status, _, err = ending.interrupted("cuda")
        assert status in (1, 130, -signal.SIGINT)
        assert "KeyboardInterrupt" in err


def test_the_kernel_of_a_stopped_process_stops_and_goes_on_with_it():
    """By SIGSTOP, for 3 s: it steps for a quarter of a second of these, and is there afterwards."""
    status, out, err = ending.stopped_for(3.0, "cuda")
    assert status == 0, err
    alive, steps, busy_s = out.split()
    assert alive == "True"
    assert int(steps) > 0
    assert float(busy_s) < 2.0


def test_memory_comes_back_after_twenty_kernels():
    """Closed kernels free what they had, or a notebook's afternoon fills the card."""
    from numba import cuda

    from ringnb.kernel.cuda.kernel import CudaKernel
    from ringnb.testing.kernels import Mixer

    def cycle():
        kernel = CudaKernel([Mixer((2048, 2048))])
        kernel.launch()
        kernel.stop()

    cycle()
    cuda.synchronize()
    before = cuda.current_context().get_memory_info().free
    for _ in range(20):
        cycle()
    cuda.synchronize()
    # One kernel's 160 MiB may wait for Numba's deferred frees.
    assert before - cuda.current_context().get_memory_info().free < 400 << 20
