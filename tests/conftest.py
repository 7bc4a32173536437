"""What every test module needs: a headless matplotlib, and processes that can be interrupted."""

from __future__ import annotations

import os
import signal

import numba

os.environ.setdefault("MPLBACKEND", "Agg")

# A job in the background of a shell ignores SIGINT, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Numba decides at the first import of numba.cuda whether it is the GPU's or the simulator's. In this
# process it is the simulator's, whichever test comes first; what needs the other one starts its own.
numba.config.ENABLE_CUDASIM = 1
