"""What waits for the running GPU kernel, and for how long: calls of other CUDA code, one by one.

Each is made on a thread of its own, first alone, then while an actor steps freely. A line says how
long it took and how many steps the actor made meanwhile; what waits for more than ``LIMIT_S`` is a
failure. The actor has a few blocks, and leaves a multiprocessor free; with ``--full`` it takes all of
the card.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ringnb import actors
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cuda.availability import load
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.messages.commands import Command

TIMES = int(os.environ.get("RINGNB_STAGE_TIMES", "1"))  # as slow: the card in software, see .ci/gpu
LIMIT_S = 1.0 * TIMES
GIVE_UP_S = 10.0 * TIMES
N = 1 << 19  # words: 4 MiB
CELLS = 4  # that a thread computes together


def calls(cuda: Any) -> dict[str, Callable[[], object]]:
    """Return the calls, by what they do."""
    from cuda.core import Device, StreamOptions  # noqa: PLC0415 - the driver is set up by now

    warnings.filterwarnings("ignore", message=".*Grid size")
    device = Device()
    device.set_current()
    core = device.create_stream(options=StreamOptions(nonblocking=True))
    stream = cuda.external_stream(int(core.handle))
    event = device.create_event()
    pinned, page = cuda.pinned_array(N, np.int64), np.zeros(N, np.int64)
    there, other = (cuda.device_array(N, np.int64, stream=stream) for _ in range(2))
    kept: list[object] = []

    def twice(words: Any) -> None:
        for i in range(cuda.grid(1), words.size, cuda.gridsize(1)):
            words[i] = 2 * words[i]

    def loaded() -> Any:
        kernel = cuda.jit("void(int64[::1])", lto=False)(twice)
        for definition in kernel.overloads.values():
            definition.bind()
        return kernel

    ready = loaded()
    ready[64, 128, stream](there)
    core.sync()

    def done() -> None:
        core.record(event)
        while not event.is_done:
            time.sleep(0)

    def then_done(work: Callable[[], object]) -> Callable[[], object]:
        return lambda: (work(), done())

    return {
        "device to host, pinned, a stream of its own": then_done(
            lambda: there.copy_to_host(pinned, stream=stream)
        ),
        "host to device, pinned": then_done(lambda: there.copy_to_device(pinned, stream=stream)),
        "device to device": then_done(lambda: other.copy_to_device(there, stream=stream)),
        "a kernel that was loaded before": then_done(lambda: ready[64, 128, stream](there)),
        "a stream is made": lambda: kept.append(
            device.create_stream(options=StreamOptions(nonblocking=True))
        ),
        "an event is made": lambda: kept.append(device.create_event()),
        "memory is allocated": lambda: kept.append(cuda.device_array(N, np.int64, stream=stream)),
        "pinned memory is allocated": lambda: kept.append(cuda.pinned_array(N, np.int64)),
        "device to host, pageable": lambda: there.copy_to_host(page, stream=stream),
        "a kernel is compiled and loaded": loaded,
        "a kernel on the default stream": lambda: (ready[64, 128](there), there.copy_to_host()),
        "the device is synchronised": cuda.synchronize,
    }


def made(cuda: Any, call: Callable[[], object], until: Callable[..., bool]) -> tuple[float, str]:
    """Make a call on a thread of its own; return its seconds, and what went wrong."""
    trouble: list[BaseException] = []

    def make() -> None:
        try:
            with cuda.gpus[0]:
                call()
        except BaseException as error:  # noqa: BLE001 - it is what this is to find out
            trouble.append(error)

    began = time.perf_counter()
    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    until(lambda: not thread.is_alive(), GIVE_UP_S)
    took = time.perf_counter() - began
    said = f"{type(trouble[0]).__name__}: {trouble[0]}" if trouble else ""
    return took, "WAITS" if thread.is_alive() else said


def alone(done: Callable[[], bool], seconds: float) -> bool:
    """Wait with no kernel there."""
    until = time.monotonic() + seconds
    while not done() and time.monotonic() < until:
        time.sleep(0.0002)
    return done()


def main() -> int:
    """Make the calls; return 1 if one waited for too long."""
    os.environ["STANDIN_PATIENT"] = "1"  # else the card in software refuses what waits
    cuda = load(simulate=False)
    full = "--full" in sys.argv[1:]
    threads = 2048 * cuda.gpus[0].MULTIPROCESSOR_COUNT  # as many as a card ever has together
    n = math.isqrt(CELLS * threads) + 1 if full else 64
    kernel = CudaKernel([actors.Wave2D((n, n))], reserve=0 if full else 1)
    ours = calls(cuda)  # all that they need is there before the kernel
    before = {what: made(cuda, call, alone) for what, call in ours.items()}
    kernel.launch()
    client = KernelClient(kernel)
    client.call(0, Command.RESUME)
    failed = False
    for what, call in ours.items():
        step = kernel.counters(0).step
        took, trouble = made(cuda, call, client.wait_until)
        needs, trouble_alone = before[what]
        said = trouble or trouble_alone or f"{1e3 * took:9.3f} ms, alone {1e3 * needs:9.3f} ms"
        print(f"{what:<46}{said}  ({kernel.counters(0).step - step} steps)", flush=True)
        # With the actor's host beside it, on a core that is shared, the call may take twice as long.
        failed |= bool(trouble or trouble_alone) or took > LIMIT_S + 2 * needs
    print(f"{kernel.statistics().width} blocks, {kernel.launches} launches")
    kernel.stop()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
