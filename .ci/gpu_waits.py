"""What waits for the running GPU kernel, and for how long: calls of other CUDA code, one by one.

Each is made on a thread of its own while an actor steps freely. A line says how long it took and how
many steps the actor made meanwhile; what takes more than ``LIMIT_S`` is a failure.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ringnb import actors
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cuda.availability import load
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.messages.commands import Command

LIMIT_S = 1.0
GIVE_UP_S = 10.0
N = 1 << 19  # words: 4 MiB


def calls(cuda: Any) -> dict[str, Callable[[], object]]:
    """Return the calls, by what they do."""
    from cuda.core import Device, StreamOptions  # noqa: PLC0415 - the driver is set up by now

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


def main() -> int:
    """Make the calls; return 1 if one waited for too long."""
    cuda = load(simulate=False)
    kernel = CudaKernel([actors.Wave2D((64, 64))])
    ours = calls(cuda)  # all that they need is there before the kernel
    kernel.launch()
    client = KernelClient(kernel)
    client.call(0, Command.RESUME)
    failed = False
    for what, call in ours.items():
        trouble: list[BaseException] = []

        def make(call: Callable[[], object] = call, trouble: list[BaseException] = trouble) -> None:
            try:
                with cuda.gpus[0]:
                    call()
            except BaseException as error:  # noqa: BLE001 - it is what this is to find out
                trouble.append(error)

        before, began = kernel.counters(0).step, time.perf_counter()
        thread = threading.Thread(target=make, daemon=True)
        thread.start()
        client.wait_until(lambda: not thread.is_alive(), GIVE_UP_S)  # noqa: B023
        took = time.perf_counter() - began
        said = "WAITS" if thread.is_alive() else f"{1e3 * took:9.3f} ms"
        said = f"{type(trouble[0]).__name__}: {trouble[0]}" if trouble else said
        print(f"{what:<46}{said}  ({kernel.counters(0).step - before} steps)", flush=True)
        failed |= bool(trouble) or thread.is_alive() or took > LIMIT_S
    print(f"{kernel.launches} launches")
    kernel.stop()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
