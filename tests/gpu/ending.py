"""Starts processes of ``child.py`` and ends them; with the simulator as well, see test_gpu_proofs.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ringnb._support.children import run_python

CHILD = Path(__file__).with_name("child.py")
TIMES = int(os.environ.get("RINGNB_STAGE_TIMES", "1"))  # as slow: the card in software, see .ci/gpu
PROMPTLY_S = 30.0 * TIMES


def started(mode, backend):
    """Start a child and wait until its kernel steps."""
    process = subprocess.Popen(
        [sys.executable, str(CHILD), mode, backend],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    if line != "running\n":
        process.kill()
        raise AssertionError(f"{mode} did not start: {line!r} {process.communicate()[1]}")
    return process


def ended(process, said=None):
    """Return exit status, standard output and error of a child that has to end promptly."""
    try:
        out, err = process.communicate(said, timeout=PROMPTLY_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


def interrupted(backend):
    process = started("block", backend)
    time.sleep(0.2)  # into run_steps, most likely; it must end wherever it is
    process.send_signal(signal.SIGINT)
    return ended(process)


def killed(backend):
    process = started("hold", backend)
    process.kill()
    return ended(process)


def stopped_for(seconds, backend):
    """Stop a child by SIGSTOP for some time; return what `ended` does."""
    process = started("hold", backend)
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)  # the time is the point
    process.send_signal(signal.SIGCONT)
    return ended(process, "\n")


def measured_rate(backend):
    """Return steps per second in a new process."""
    done = run_python(CHILD, "rate", backend, timeout=120 * TIMES)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)
