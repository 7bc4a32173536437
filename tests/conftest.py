"""What every test module needs: a headless matplotlib, and processes that can be interrupted."""

from __future__ import annotations

import os
import signal

import numba

os.environ.setdefault("MPLBACKEND", "Agg")

# A job in the background of a shell ignores SIGINT, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Choose the GPU's `numba.cuda` for ``pytest -m gpu``, and the simulator's for all else.

    Numba decides at the first import of numba.cuda, for the whole process, whichever test comes first.
    What needs the other one starts a process of its own.
    """
    numba.config.ENABLE_CUDASIM = int(config.option.markexpr.strip() != "gpu")
