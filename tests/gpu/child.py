"""Processes that end in all the ways in which a process with a kernel on a device can end.

``child.py MODE BACKEND``: prints ``running`` once the kernel steps, and what happened afterwards.
"""

from __future__ import annotations

import os
import sys
import time

import ringnb as rn
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.messages.commands import Command
from ringnb.testing import MemoryStorage


def wave(backend):
    return rn.actors.Wave2D((1024, 1024) if backend == "cuda" else (6, 8))


def session(backend):
    return rn.Session(wave(backend), backend=backend, storage=MemoryStorage())


def step_freely(s):
    s.resume()
    before = s.current_step(0)
    while s.current_step(0) == before:
        time.sleep(0.001)
    print("running", flush=True)


def leave(backend):
    """End without closing anything."""
    global kept  # the session outlives this function, to the interpreter's end
    kept = session(backend)
    step_freely(kept)


def fail(backend):
    """End with an exception."""
    with session(backend) as s:
        step_freely(s)
        raise RuntimeError("the notebook cell failed")


def block(backend):
    """Be in `run_steps` when a signal comes."""
    with session(backend) as s:
        step_freely(s)
        s.run_steps(0, 2**40)


def hold(backend):
    """Have a kernel until a line comes in, and tell how far it went meanwhile, by its own counters."""
    kernel = CudaKernel([wave(backend)], simulate=backend == "cudasim")
    kernel.launch()
    client = KernelClient(kernel)
    client.call(0, Command.RESUME)
    print("running", flush=True)
    sys.stdin.readline()
    before = kernel.counters(0)
    assert client.wait_until(lambda: kernel.counters(0).step > before.step, 60)
    paused = client.call(0, Command.PAUSE)
    print(kernel.alive, paused.step - before.step, kernel.counters(0).busy_ns / 1e9, flush=True)
    kernel.stop()


def rate(backend):
    """Print steps per second of a kernel that has the card to itself, or not."""
    slower = int(os.environ.get("RINGNB_STAGE_TIMES", "1"))
    steps = 20_000 // slower if backend == "cuda" else 20
    with session(backend) as s:
        s.run_steps(0, steps // 10)
        began = time.perf_counter()
        s.run_steps(0, steps)
        print(steps / (time.perf_counter() - began))


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
