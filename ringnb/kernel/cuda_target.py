"""Which `numba.cuda` this process has: the GPU's, the simulator's, or none, and why.

Numba decides once, when ``numba.cuda`` is first imported. So whoever needs one of the two comes here
first; after that the other one takes a new process.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ringnb.errors import BackendUnavailable

__all__ = ["driver_present", "load", "notice_fallback", "why_unavailable"]

_LOG = logging.getLogger("ringnb")
_INSTALL = "pip install 'ringnb[cuda13]' (driver 580 or newer) or 'ringnb[cuda12]'"
_REMEDY = "; or use backend='cpu'"
_NUMPY_TOO_NEW = (2, 5)
_noticed: set[str] = set()


def load(*, simulate: bool) -> Any:
    """Import `numba.cuda` for the GPU or for the simulator.

    Parameters
    ----------
    simulate : bool
        Which of the two.

    Returns
    -------
    module
        ``numba.cuda`` of the package numba-cuda.

    Raises
    ------
    BackendUnavailable
        If it is not installed, or this process has imported the other one.
    """
    backend = "cudasim" if simulate else "cuda"
    if importlib.util.find_spec("numba_cuda") is None:
        plain = "pip install 'numba-cuda>=0.30,<0.31'" if simulate else _INSTALL
        msg = (
            f"backend {backend!r} needs the package numba-cuda, which is missing: {plain}{_REMEDY}"
        )
        raise BackendUnavailable(msg)
    if tuple(int(n) for n in np.__version__.split(".")[:2]) >= _NUMPY_TOO_NEW:
        msg = (
            f"backend {backend!r}: numba-cuda 0.30 does not work with NumPy {np.__version__}: "
            f"pip install 'numpy<2.5'{_REMEDY}"
        )
        raise BackendUnavailable(msg)
    from numba import config  # noqa: PLC0415 - slow to import

    if "numba.cuda" not in sys.modules and simulate:
        config.ENABLE_CUDASIM = 1  # read by numba.cuda when it is imported, and never again
    try:
        from numba import cuda  # noqa: PLC0415
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


def driver_present() -> bool:
    """Return whether the NVIDIA kernel driver is loaded; asks the file system only."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def why_unavailable() -> str | None:
    """Say what keeps the GPU kernel from running here, and the remedy.

    Returns
    -------
    str or None
        One line; None if a GPU is usable.
    """
    for name, why in (
        ("CUDA_LAUNCH_BLOCKING", "every launch would wait for the kernel's end, which never comes"),
        (
            "NV_NSIGHT_INJECTION_TRANSPORT_TYPE",
            "a profiler that replays kernels waits for their end",
        ),
    ):
        if os.environ.get(name) and os.environ[name] != "0":
            return f"{name}={os.environ[name]} is set: {why}. Unset it"
    try:
        cuda = load(simulate=False)
    except BackendUnavailable as error:
        return str(error).removesuffix(_REMEDY)
    # Modules that are loaded at their first use wait for running kernels: for ever, here.
    os.environ.setdefault("CUDA_MODULE_LOADING", "EAGER")
    missing = [
        wheel
        for wheel, library in (("nvrtc", "nvrtc"), ("nvvm", "nvvm"))
        if not _library_found(library)
    ]
    if missing:
        return f"the toolkit libraries {' and '.join(missing)} are not found: {_INSTALL}"
    try:
        usable = cuda.is_available()
        trouble = ""
    except Exception as error:  # noqa: BLE001 - whatever the driver says is the finding
        usable, trouble = False, f" ({type(error).__name__}: {' '.join(str(error).split())})"
    if not usable:
        what = (
            "the NVIDIA driver does not answer"
            if driver_present()
            else "no NVIDIA driver is loaded"
        )
        return (
            f"{what}{trouble}: install it, or run on a machine with a GPU; nvidia-smi must list one"
        )
    device = cuda.get_current_device()
    if device.KERNEL_EXEC_TIMEOUT:
        name = device.name.decode() if isinstance(device.name, bytes) else device.name
        return (
            f"{name} drives a display, and its watchdog ends any kernel after seconds: use a GPU "
            "without a display (CUDA_VISIBLE_DEVICES), or switch the watchdog off"
        )
    return None


def _library_found(name: str) -> bool:
    from cuda.pathfinder import load_nvidia_dynamic_lib  # noqa: PLC0415

    try:
        load_nvidia_dynamic_lib(name)
    except Exception:  # noqa: BLE001 - it has several, and the finding is the same
        return False
    return True


def notice_fallback(reason: str) -> None:
    """Say once per process that ``backend="auto"`` took the CPU although a GPU is near.

    A log record and not a warning: it must not end a program that turns warnings into errors.

    Parameters
    ----------
    reason : str
        From `why_unavailable`.
    """
    if reason not in _noticed:
        _noticed.add(reason)
        _LOG.warning("backend='auto' uses the CPU: %s. ringnb doctor says more", reason)
