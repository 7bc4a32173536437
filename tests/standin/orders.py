"""Run by test_standin.py with a weak memory: fails soon if an order that the kernel rests on is missing.

``orders.py``: with all of them; prints how often a kernel of long launches was launched, and one of
short ones. A new launch sees all that was written before, so only a long one shows that the orders are
there. ``orders.py NAME...``: prints, for each name, how a process ends that lacks this order.
"""

from __future__ import annotations

import os
import signal
import sys

import numpy as np

from ringnb.kernel.client import KernelClient
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.messages.commands import Command
from ringnb.testing import device_proofs as proofs
from ringnb.testing.kernels import Mixer, advance, captured

SHAPE, STEPS = (40, 40), 100
COMMANDS = 100
LONG_S, SHORT_S = 60.0, 0.005


def launched(launch_s):
    # One is captured straight into the host's memory, one is fetched from the card's.
    actors = [Mixer(SHAPE), proofs.counter((20, 20)), proofs.counter((92, 92))]
    kernel = CudaKernel(actors, width=4, threads=256, launch_s=launch_s)
    kernel.launch()
    return kernel, KernelClient(kernel)


def answer():
    """Answer some commands, in one launch, and do nothing else."""
    kernel, client = launched(LONG_S)
    for _ in range(COMMANDS):
        client.call(0, Command.PAUSE)
    kernel.stop()


def prove(launch_s, enough_s):
    """Step, capture and answer; a kernel that takes longer than `enough_s` is stuck."""
    kernel, client = launched(launch_s)
    signal.alarm(enough_s)
    client.call(0, Command.RUN_STEPS, (STEPS,))
    assert client.wait_until(lambda: kernel.counters(0).step >= STEPS, enough_s)
    np.testing.assert_array_equal(captured(client, 0)[0], advance(Mixer(SHAPE).start(0), 0, STEPS))
    for _ in range(2 * 64):  # round the ring, with nothing for the other blocks to do
        client.call(0, Command.PAUSE)
    for turn in range(20):
        slot, step = 1 + turn % 2, 1 + turn // 2
        client.call(slot, Command.RUN_STEPS, (1,))
        assert client.wait_until(
            lambda slot=slot, at=step: kernel.counters(slot).step >= at, enough_s
        )
        reply = client.call(slot, Command.SNAPSHOT)
        view, facts = kernel.staged(0, reply.value, slot)
        assert view.min() == view.max() == facts.step == step
        assert kernel.staged_checksum(0, reply.value, slot) == facts.checksum
        kernel.release_staging(0, reply.value)
    kernel.stop()
    signal.alarm(0)
    return kernel.launches


def without(name):
    """Start a process without an order; return its number."""
    if pid := os.fork():  # nothing has asked for the card yet
        return pid
    os.environ["STANDIN_WITHOUT"] = name
    status = 1
    try:
        prove(LONG_S, 8)
        status = 0
    finally:
        os._exit(status)


def main():
    signal.signal(signal.SIGALRM, lambda *_: os._exit(3))  # stuck: as good a notice as any
    if names := sys.argv[1:]:
        started = [without(name) for name in names]
        for name, pid in zip(names, started, strict=True):
            print(name, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return
    answer()
    print(prove(LONG_S, 60), prove(SHORT_S, 60))


if __name__ == "__main__":
    main()
