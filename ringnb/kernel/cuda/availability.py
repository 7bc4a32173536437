"""Which `numba.cuda` this process has: the GPU's, the simulator's, or none, and why.

Numba decides once, when ``numba.cuda`` is first imported. So code that needs one of the two comes here
first; after that the other one takes a new process.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ringnb._support.version import installed_version
from ringnb.errors import BackendUnavailable
from ringnb.kernel.cuda.errors import why_not_built

__all__ = [
    "driver_present",
    "gpu_for_auto",
    "load",
    "notice_fallback",
    "toolkit_versions",
    "why_unavailable",
]

_LOG = logging.getLogger("ringnb")
_HARMFUL = (
    ("CUDA_LAUNCH_BLOCKING", "every launch would wait for its end, and copies wait with it"),
    ("NV_NSIGHT_INJECTION_TRANSPORT_TYPE", "a kernel that answers its host cannot be replayed"),
)
_CONNECTIONS = (
    8,
    32,
)  # queues to the card: fewest with which streams do not wait for each other, most there are
_PARTS = {
    "NVVM": ("nvidia-nvvm", "nvidia-cuda-nvcc-cu12"),
    "NVRTC": ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"),
    "nvJitLink": ("nvidia-nvjitlink", "nvidia-nvjitlink-cu12"),
    "cudadevrt": ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12"),
}
_LIBRARIES = ("nvrtc", "nvvm", "cudadevrt")
_DRIVER_FILES = (
    *("/proc/driver/nvidia/version", "/dev/nvidiactl"),
    "/usr/lib/wsl/lib/libcuda.so.1",  # of WSL 2, where Windows has the driver
)
_LOWEST = (7, 0)  # loads and stores with a scope and an order
_INSTALL = "pip install 'ringnb[cuda13]' (driver 580 or newer) or 'ringnb[cuda12]'"
_REMEDY = "; or use backend='cpu'"
_noticed: set[str] = set()


def load(*, simulate: bool) -> Any:
    """Import numba-cuda's `numba.cuda` for the GPU or for the simulator.

    Raises `BackendUnavailable` if it is not installed, or this process has imported the other one.
    """
    backend = "cudasim" if simulate else "cuda"
    if not _numba_cuda_installed():
        plain = "pip install 'numba-cuda>=0.30,<0.31'" if simulate else _INSTALL
        msg = (
            f"backend {backend!r} needs the package numba-cuda, which is missing: {plain}{_REMEDY}"
        )
        raise BackendUnavailable(msg)
    from numba import config

    if "numba.cuda" not in sys.modules and simulate:
        config.ENABLE_CUDASIM = 1  # read by numba.cuda when it is imported, and never again
    try:
        with _older_numpy():
            from numba import cuda

            if not simulate and getattr(cuda, "implementation", None) == "NVIDIA":
                importlib.import_module("numba.cuda.np.arrayobj")  # what is compiled needs it
    except ImportError as error:
        msg = f"backend {backend!r}: numba.cuda cannot be imported: {error}. {_INSTALL}{_REMEDY}"
        raise BackendUnavailable(msg) from error
    # numba-cuda takes the place of Numba's own numba.cuda by a .pth file of site-packages, which is not
    # run for a directory on PYTHONPATH: then the old one is there, with other rules.
    if getattr(cuda, "implementation", None) != "NVIDIA":
        msg = (
            f"backend {backend!r} needs numba-cuda's numba.cuda, this one is "
            f"{getattr(cuda, 'implementation', 'unknown')!r} at {cuda.__file__}: install numba-cuda "
            f"into site-packages, so that its .pth file runs{_REMEDY}"
        )
        raise BackendUnavailable(msg)
    if bool(config.ENABLE_CUDASIM) != simulate:
        other = "the simulator's" if config.ENABLE_CUDASIM else "the GPU's"
        first = (
            "call Session(backend='cudasim') before anything imports numba.cuda, or set "
            "NUMBA_ENABLE_CUDASIM=1"
            if simulate
            else "unset NUMBA_ENABLE_CUDASIM"
        )
        msg = (
            f"backend {backend!r}: this process has imported {other} numba.cuda, and Numba decides once "
            f"per process. Start a new one and {first}{_REMEDY}"
        )
        raise BackendUnavailable(msg)
    return cuda


@contextlib.contextmanager
def _older_numpy() -> Iterator[None]:
    """Show numba-cuda 0.30, while it is imported, what it knows NumPy to be before 2.5."""
    lent = not hasattr(np, "row_stack")
    if lent:
        vars(np)["row_stack"] = np.vstack
    try:
        with warnings.catch_warnings():
            # Its times without a unit; where warnings are errors it could not be imported.
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        if lent:
            vars(np).pop("row_stack", None)


def driver_present() -> bool:
    """Return whether the NVIDIA kernel driver is loaded; asks the file system only."""
    return any(map(os.path.exists, _DRIVER_FILES))


def why_unavailable(number: int = 0) -> str | None:
    """Say in one line what keeps a GPU here from running the kernel, and the remedy; None if nothing."""
    for name, why in _HARMFUL:
        if os.environ.get(name) and os.environ[name] != "0":
            return f"{name}={os.environ[name]} is set: {why}. Unset it"
    # Before anything of CUDA is imported: the driver reads it once, when it is initialised.
    given = os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", str(_CONNECTIONS[1]))
    if not given.isdecimal() or int(given) < _CONNECTIONS[0]:
        return (
            f"CUDA_DEVICE_MAX_CONNECTIONS={given} is set: copies would wait behind the kernel. "
            f"Unset it, or set {_CONNECTIONS[0]} or more"
        )
    try:
        cuda = load(simulate=False)
    except BackendUnavailable as error:
        return str(error).removesuffix(_REMEDY)
    missing = [library for library in _LIBRARIES if not _library_found(library)]
    if missing:
        return f"the toolkit libraries {' and '.join(missing)} are not found: {_INSTALL}"
    try:
        gpu = _look_at_gpu(cuda, number)
    except Exception as error:  # noqa: BLE001 - what the driver says is the finding
        return _no_driver(f" ({type(error).__name__}: {' '.join(str(error).split())})")
    if isinstance(gpu, int):
        if gpu == 0:
            return _no_driver()
        return f"there is no GPU {number} here: this process sees {gpu}, counted from 0"
    return _why_unfit(gpu) or _why_nothing_is_built(cuda, number)


def toolkit_versions() -> dict[str, str]:
    """Return the installed parts of the CUDA toolkit that make code for a GPU, by name."""
    found = {}
    for part, packages in _PARTS.items():
        versions = [version for name in packages if (version := installed_version(name))]
        if versions:
            found[part] = versions[0]
    return found


def _why_nothing_is_built(cuda: Any, number: int) -> str | None:
    """Say what keeps a kernel that does nothing from being compiled and loaded, or None."""
    try:
        _build_nothing(cuda, number)
    except Exception as error:  # noqa: BLE001 - the compilers have several, and what they say is the finding
        return why_not_built(error, toolkit_versions())
    return None


@functools.cache
def _build_nothing(cuda: Any, number: int) -> None:
    """Compile, link and load a kernel that does nothing; a failure is not kept, it may go by."""

    def nothing(words: Any) -> None:
        cuda.cg.this_grid()  # cooperative, so the library cudadevrt is linked as well
        words[0] = 0

    with cuda.gpus[number]:
        kernel = cuda.jit("void(int64[::1])", lto=False)(nothing)
        for definition in kernel.overloads.values():
            definition.bind()


def _no_driver(trouble: str = "") -> str:
    there = driver_present()
    what = "the NVIDIA driver does not answer" if there else "no NVIDIA driver is loaded"
    return f"{what}{trouble}: install it, or run on a machine with a GPU; nvidia-smi must list one"


class _Gpu(NamedTuple):
    """What decides whether a GPU can host the kernel."""

    name: str
    capability: tuple[int, int]
    lowest: tuple[int, int]  # that the installed toolkit compiles for
    cooperative: bool
    maps_host_memory: bool


def _look_at_gpu(cuda: Any, number: int) -> _Gpu | int:
    """Ask the driver about a device; return how many there are if it is none of them. Initialises it."""
    if not cuda.is_available() or number >= len(cuda.gpus):
        return len(cuda.gpus) if cuda.is_available() else 0
    from numba.cuda.cudadrv import nvrtc

    device = cuda.gpus[number]
    return _Gpu(
        name=device.name.decode() if isinstance(device.name, bytes) else device.name,
        capability=tuple(device.compute_capability),
        lowest=max(_LOWEST, min(tuple(cc[:2]) for cc in nvrtc.get_supported_ccs())),
        cooperative=bool(device.COOPERATIVE_LAUNCH),
        maps_host_memory=bool(device.CAN_MAP_HOST_MEMORY),
    )


def _why_unfit(gpu: _Gpu) -> str | None:
    """Say why this GPU cannot host the kernel, or None."""
    if gpu.capability < gpu.lowest:
        has, needs = (".".join(map(str, cc)) for cc in (gpu.capability, gpu.lowest))
        older = (
            " (CUDA 13 dropped it: pip install 'ringnb[cuda12]')" if gpu.lowest > _LOWEST else ""
        )
        return f"{gpu.name} has compute capability {has}, needed is {needs} or more{older}"
    if not (gpu.cooperative and gpu.maps_host_memory):
        lacks = "map memory of the host" if gpu.cooperative else "launch cooperatively"
        return f"{gpu.name} cannot {lacks}, as this machine has it set up: use another GPU"
    return None


def _numba_cuda_installed() -> bool:
    return importlib.util.find_spec("numba_cuda") is not None


def _library_found(name: str) -> bool:
    try:
        if name == "cudadevrt":  # static: Numba links it into every cooperative kernel
            from numba.cuda.cudadrv.libs import get_cudalib

            return Path(get_cudalib(name, static=True)).exists()
        from cuda.pathfinder import load_nvidia_dynamic_lib

        load_nvidia_dynamic_lib(name)
    except Exception:  # noqa: BLE001 - it has several, and the finding is the same
        return False
    return True


def _extra_installed() -> bool:
    """Return whether one of the cuda extras is there; numba-cuda alone is what the simulator needs."""
    try:
        importlib.metadata.version("cuda-toolkit")
    except importlib.metadata.PackageNotFoundError:
        return False
    return _numba_cuda_installed()


def gpu_for_auto(number: int = 0) -> bool:
    """Return whether ``backend="auto"`` takes a GPU, which has passed all checks and run a small kernel.

    Where a driver or a cuda extra speaks for a GPU that it does not take, the log says once why. Where
    nothing does, nothing of CUDA is imported.
    """
    if driver_present():
        reason = why_unavailable(number)
        if reason is None:
            from ringnb.kernel.cuda.self_test import why_not_trusted

            reason = why_not_trusted(number)
        if reason is None:
            return True
    elif _extra_installed():
        reason = _no_driver()
    else:
        return False
    notice_fallback(reason)
    return False


def notice_fallback(reason: str) -> None:
    """Log once why ``backend="auto"`` takes the CPU."""
    # A log record: a warning may end a program that makes errors of them.
    reason = reason.removesuffix(_REMEDY)
    if reason not in _noticed:
        _noticed.add(reason)
        _LOG.warning("backend='auto' uses the CPU: %s. ringnb doctor says more", reason)
