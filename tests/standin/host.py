"""Run by test_standin.py with the stand-in driver: the CUDA backend's host side, as on a device.

``host.py``: prints ``proved`` once everything held, then holds a live kernel until it is killed.
"""

from __future__ import annotations

import gc
import logging
import time
import warnings
from pathlib import Path

import numpy as np
from numba import cuda

from ringnb.kernel.client import KernelClient
from ringnb.kernel.cuda.availability import why_unavailable
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.messages.commands import Command
from ringnb.testing import device_proofs as proofs
from ringnb.testing.kernels import Mixer, advance, captured, restored


def measure():
    """What ``ringnb bench --gpu`` does, small and without its long waits: no figure of a card's."""
    from ringnb.cli.bench import gpu
    from ringnb.cli.bench.gpu.budget import Budget
    from ringnb.cli.bench.gpu.card import Card, Sizes
    from ringnb.cli.bench.measuring import Scale

    sizes = Sizes(
        copied=1 << 12,
        waves={"wave_3d": (8, 9, 10)},
        snapshots=(1 << 10, 1 << 16),
        reference=(1 << 10,),
        batch=10,
        burst=4,
        reference_batch=3,
        steps_per_graph=2,
        sample_s=0.001,
    )
    card = Card(sizes)
    assert card.describe()["name"] == "stand-in"
    for name in ("copy", "waves", "commands", "stages", "reference"):
        rows = list(gpu.CASES[name].measure(card, Scale(True, Path()), Budget(0)))
        assert rows
        assert all(row.median >= 0 for row in rows), rows
    source, target = card.words(np.arange(512)), card.empty(512)
    card.copy(target, source)
    np.testing.assert_array_equal(target.copy_to_host(stream=card._stream), np.arange(512))


def prove(client):
    kernel = client.kernel
    client.call(0, Command.RUN_STEPS, (5,))
    assert client.wait_until(lambda: kernel.counters(0).step == 5, 60)
    state, reply = captured(client, 0)
    start = Mixer((5, 7)).start(0)
    np.testing.assert_array_equal(state, advance(start, 0, 5))
    assert restored(client, 0, state, reply.step, 7).epoch == 1
    client.call(0, Command.RUN_STEPS, (3,))
    assert client.wait_until(lambda: kernel.counters(0).step == 8, 60)
    np.testing.assert_array_equal(captured(client, 0)[0], advance(start, 0, 8))


def main():
    warnings.simplefilter("error")
    logging.basicConfig(level=logging.WARNING)  # so that Numba's log is seen if it says anything
    assert why_unavailable() is None
    measure()
    garbage = [cuda.device_array(8, np.int64) for _ in range(30)]
    actors = [Mixer((5, 7)), proofs.counter((92, 92))]
    kernel = CudaKernel(actors, lanes=2, width=1, threads=64)
    kernel.launch()
    client = KernelClient(kernel)
    prove(client)
    assert not kernel._arrays._copies[0]  # its state is small, and was there with each answer
    garbage.clear()  # more than Numba lets wait, and none may be freed now
    gc.collect()
    for _ in range(10):
        reply = client.call(1, Command.SNAPSHOT)
        view, facts = kernel.staged(1, reply.value, 1)
        assert view.min() == view.max() == facts.step
        kernel.release_staging(1, reply.value)
        client.call(1, Command.RUN_STEPS, (1,))
    client.call(0, Command.RESUME)
    print("proved", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main()
