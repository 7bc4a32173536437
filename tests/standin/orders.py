"""Run by test_standin.py with a weak memory: fails soon if an order that the kernel rests on is missing.

``orders.py SECONDS LAUNCH``: how long the kernel may take, longer than that, it is stuck; and how long
a launch lasts. A new launch sees all that was written before, so only a long one shows that the orders
are there.
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
ENOUGH_S = int(sys.argv[1])


def main():
    signal.signal(signal.SIGALRM, lambda *_: os._exit(3))  # stuck: as good a notice as any
    actors = [Mixer(SHAPE), proofs.counter((20, 20))]
    kernel = CudaKernel(actors, width=4, threads=256, launch_s=float(sys.argv[2]))
    kernel.launch()
    signal.alarm(ENOUGH_S)
    client = KernelClient(kernel)
    client.call(0, Command.RUN_STEPS, (STEPS,))
    assert client.wait_until(lambda: kernel.counters(0).step >= STEPS, ENOUGH_S)
    np.testing.assert_array_equal(captured(client, 0)[0], advance(Mixer(SHAPE).start(0), 0, STEPS))
    for _ in range(2 * 64):  # round the ring, with nothing for the other blocks to do
        client.call(0, Command.PAUSE)
    for step in range(1, 11):
        client.call(1, Command.RUN_STEPS, (1,))
        assert client.wait_until(lambda: kernel.counters(1).step >= step, ENOUGH_S)  # noqa: B023
        reply = client.call(1, Command.SNAPSHOT)
        view, facts = kernel.staged(0, reply.value, 1)
        assert view.min() == view.max() == facts.step == step
        assert kernel.staged_checksum(0, reply.value, 1) == facts.checksum
        kernel.release_staging(0, reply.value)
    kernel.stop()
    print("held", kernel.launches, flush=True)


if __name__ == "__main__":
    main()
