"""What every test module needs: a headless matplotlib, and processes that can be interrupted."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("MPLBACKEND", "Agg")

# A job in the background of a shell ignores SIGINT, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
