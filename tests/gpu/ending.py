"""Starts processes of ``child.py`` and ends them; with the simulator as well, see test_gpu_proofs.py."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

CHILD = Path(__file__).with_name("child.py")
PROMPTLY_S = 30.0


def started(mode, backend):
    """Start a child and wait until its kernel steps."""
    process = subprocess.Popen(
        [sys.executable, str(CHILD), mode, backend],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    if line != "running\n":
        process.kill()
        raise AssertionError(f"{mode} did not start: {line!r} {process.communicate()[1]}")
    return process


def ended(process):
    """Return exit status, standard output and error of a child that has to end promptly."""
    try:
        out, err = process.communicate(timeout=PROMPTLY_S)
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


def measured_rate(backend):
    """Return steps per second in a new process."""
    done = subprocess.run(
        [sys.executable, str(CHILD), "rate", backend],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)
