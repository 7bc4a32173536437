"""The device as the cases see it while no kernel lives on it: memory, launches, graphs, a stopwatch.

All work goes to one non-blocking stream. Graphs and the reference's way of copying go to the driver
itself (``cuda.bindings``), everything else through Numba.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ringnb._support.version import installed_version
from ringnb.actors.base import Actor
from ringnb.errors import BackendUnavailable, RingnbError
from ringnb.kernel.cuda.availability import load, why_unavailable
from ringnb.kernel.cuda.compile import ieee_arithmetic, launch_bounds
from ringnb.kernel.cuda.kernel import CudaKernel

__all__ = ["Card", "DriverError", "Sizes", "checked"]

_PACKAGES = (
    *("numba-cuda", "cuda-core", "cuda-bindings", "nvidia-nvjitlink", "nvidia-nvjitlink-cu12"),
    *("nvidia-nvvm", "nvidia-cuda-nvcc-cu12"),
)
_WAIT_S = 60.0
_THREADS = 256  # of a block that is launched for comparison


class DriverError(RingnbError):
    """The CUDA driver refused a call."""


class Sizes(NamedTuple):
    """What is measured: bytes, grids, repetitions."""

    copied: int = 1 << 30  # bytes copied to find the bandwidth
    waves: dict[str, tuple[int, ...]] = {  # noqa: RUF012 - read only
        "wave_2d_small": (512, 512),
        "wave_2d": (8192, 8192),
        "wave_3d": (512, 512, 512),
    }
    # Bytes of a state.
    snapshots: tuple[int, ...] = (1 << 10, 1 << 16, 1 << 20, 1 << 24, 1 << 28, 1 << 30)
    reference: tuple[int, ...] = (1 << 10, 1 << 16, 1 << 24)  # bytes copied in the reference's way
    checkpointed: tuple[int, ...] = (256, 256, 256)  # of the wave checkpointed every second
    batch: int = 1000  # commands that are timed one by one
    burst: int = 32  # pushes in a row, half a ring: a push never waits for room
    reference_batch: int = 200  # snapshots in the reference's way
    steps_per_graph: int = 100
    sample_s: float = 0.3  # of stepping


QUICK = Sizes(
    copied=1 << 28,
    waves={"wave_2d_small": (512, 512), "wave_3d": (256, 256, 256)},
    snapshots=(1 << 10, 1 << 16, 1 << 24),
    checkpointed=(128, 128, 128),
)


def checked(answer: tuple[Any, ...], call: str) -> Any:
    """Return what follows the status in a driver call's answer: None, one value, or a tuple.

    Raise `DriverError`, which names the call, if the status is not success.
    """
    status, *rest = answer
    if int(status) != 0:
        msg = f"{call} failed: {getattr(status, 'name', status)}"
        raise DriverError(msg)
    return rest[0] if len(rest) == 1 else tuple(rest) or None


class Card:
    """The current CUDA device; raise `BackendUnavailable`, which says why, if it cannot be used."""

    def __init__(self, sizes: Sizes) -> None:
        reason = why_unavailable()
        if reason is not None:
            msg = f"ringnb bench --gpu cannot run here: {reason}"
            raise BackendUnavailable(msg)
        self.sizes = sizes
        self.measured: dict[str, Any] = {}
        """What one case has measured and others refer to."""
        self._cuda = load(simulate=False)
        from cuda.bindings import driver
        from cuda.core import Device, EventOptions

        self._driver = driver
        core = Device()
        core.set_current()
        self._core_stream = core.create_stream()  # non-blocking, and kept: Numba does not own it
        self.handle = driver.CUstream(int(self._core_stream.handle))
        self._stream = self._cuda.external_stream(int(self._core_stream.handle))
        # Not Numba's events, which log an error whenever the answer to a query is no.
        timing = EventOptions(timing_enabled=True)
        self._begin, self._end = core.create_event(timing), core.create_event(timing)

    def describe(self) -> dict[str, Any]:
        """Return what card, driver and packages these are; no serial number."""
        device = self._cuda.get_current_device()
        name = device.name.decode() if isinstance(device.name, bytes) else device.name
        free, total = self._cuda.current_context().get_memory_info()
        version = int(checked(self._driver.cuDriverGetVersion(), "cuDriverGetVersion"))
        return {
            "name": name,
            "compute_capability": list(device.compute_capability),
            "multiprocessors": int(device.MULTIPROCESSOR_COUNT),
            "memory_bytes": int(total),
            "memory_free_bytes": int(free),
            "cuda_driver": f"{version // 1000}.{version % 1000 // 10}",
            "nvidia_driver": _nvidia_driver(),
            "packages": {name: v for name in _PACKAGES if (v := installed_version(name))},
        }

    # -- memory ------------------------------------------------------------------------------------

    def words(self, content: npt.NDArray[np.int64]) -> Any:
        """Return device memory that holds a copy of `content`."""
        made = self._cuda.to_device(content, stream=self._stream)
        self._stream.synchronize()
        return made

    def empty(self, n: int) -> Any:
        """Return `n` words of device memory."""
        return self._cuda.device_array(n, np.int64, stream=self._stream)

    def pinned(self, n: int) -> npt.NDArray[np.int64]:
        """Return `n` pinned words of the host."""
        made: npt.NDArray[np.int64] = self._cuda.pinned_array(n, np.int64)
        return made

    def copy(self, target: Any, source: Any) -> None:
        """Enqueue the driver's copy from device memory to device memory."""
        target.copy_to_device(source, stream=self._stream)

    def address(self, array: Any) -> int:
        """Return where a device array lies."""
        return int(array.__cuda_array_interface__["data"][0])

    # -- launches ----------------------------------------------------------------------------------

    def compile(self, body: Callable[..., None], signature: str) -> Any:
        """Compile and load a kernel, in the persistent kernel's way: its arithmetic and registers."""
        bounds = launch_bounds(_THREADS)
        with ieee_arithmetic():
            return self._cuda.jit(signature, launch_bounds=bounds, lto=False)(body)

    def launcher(self, kernel: Any, threads_needed: int) -> Callable[..., None]:
        """Return a function of the kernel's arguments that enqueues a launch of so many threads at most.

        There are no more than are on the card together: then each has many items, as in the persistent
        kernel, and what it does before the first is as rare.
        """
        together = self._cuda.get_current_device().MULTIPROCESSOR_COUNT * launch_bounds(_THREADS)[1]
        blocks = max(1, min(-(-threads_needed // _THREADS), together))
        return self.configured(kernel, blocks, _THREADS)

    def configured(self, kernel: Any, blocks: int, threads: int) -> Callable[..., None]:
        """Return a function of the kernel's arguments that enqueues a launch of just such a grid."""
        with warnings.catch_warnings():
            # Numba takes a grid of fewer than 128 blocks for a beginner's mistake.
            warnings.filterwarnings("ignore", message=".*Grid size")
            launch: Callable[..., None] = kernel[blocks, threads, self._stream]
        return launch

    def time_s(self, work: Callable[[], None]) -> float:
        """Return the seconds, between two events on the stream, for what `work` enqueues.

        `work` must wait for nothing.
        """
        self._core_stream.record(self._begin)
        work()
        self._core_stream.record(self._end)
        until = time.monotonic() + _WAIT_S
        while not self._end.is_done:
            if time.monotonic() > until:
                msg = f"the device did not finish within {_WAIT_S:g} s"
                raise TimeoutError(msg)
        return float(self._end - self._begin) / 1e3

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record launches of loaded kernels as a CUDA graph; return what enqueues a replay of it."""
        driver, handle = self._driver, self.handle
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        checked(driver.cuStreamBeginCapture(handle, mode), "cuStreamBeginCapture")
        work()
        graph = checked(driver.cuStreamEndCapture(handle), "cuStreamEndCapture")
        made = checked(driver.cuGraphInstantiate(graph, 0), "cuGraphInstantiate")

        def replay() -> None:
            """Enqueue one replay."""
            checked(driver.cuGraphLaunch(made, handle), "cuGraphLaunch")

        return replay

    def kernel(self, actors: Sequence[Actor], **options: Any) -> CudaKernel:
        """Return a persistent kernel, not launched."""
        return CudaKernel(actors, **options)

    @property
    def backend(self) -> str:
        """What a `Session` calls it."""
        return "cuda"


def _nvidia_driver() -> str:
    """Return the kernel driver's version, from NVML."""
    try:
        from cuda.bindings import nvml

        nvml.init_v2()
        return str(nvml.system_get_driver_version())
    except Exception as error:  # noqa: BLE001 - it is for the record only
        return f"unknown ({type(error).__name__})"
