"""What the steps of the kernel's protocol cost on a card, one by one, while no kernel of ringnb runs.

Loads and stores of words of the host, as they are ordered in the kernel; a word to the card and back;
the barrier of a group of blocks, in grids of several sizes. The instructions are the kernel's own
(`ringnb.kernel.cuda.intrinsics`), compiled as it is: no nvcc is needed. It prints a line for each, and
fails where the card does not do what is expected of it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numba import njit

from ringnb.cli.bench.gpu.card import QUICK, Card
from ringnb.kernel import layout
from ringnb.kernel.atomics import cpu_pause, load_acquire, now_ns, store_release
from ringnb.kernel.cuda.availability import load

SLOT, LINE = layout.SLOT_WORDS, layout.LINE
ACCESSES = (
    "a relaxed load",
    "an acquiring load",
    "an acquiring load, and the seven words behind it",
    "a relaxed store",
    "a releasing store behind one store",
    "a releasing store behind eight stores",
    "a fence behind eight stores",
)
WORDS_AT, FOR_STORES = 64, 256  # where what is loaded lies, all zeros, and what is stored


@njit(nogil=True)
def throw(to_card: Any, to_host: Any, turns: int, clock: Any) -> Any:
    """Write a word and wait until the card has answered it, so many times; return the nanoseconds."""
    began = now_ns(clock)
    for turn in range(1, turns + 1):
        store_release(to_card, 0, turn)
        while load_acquire(to_host, 0) != turn:
            cpu_pause()
    return now_ns(clock) - began


def kernels() -> dict[str, tuple[str, Callable[..., None]]]:
    """Return what runs on the card, by name, with its signature; after `load`."""
    from numba import cuda  # noqa: PLC0415 - which one, `load` has decided

    from ringnb.kernel.cuda import intrinsics as dev  # noqa: PLC0415
    from ringnb.kernel.cuda import layout as cl  # noqa: PLC0415
    from ringnb.kernel.cuda.program import _barrier  # noqa: PLC0415 - the very one

    def accesses(host: Any, took: Any, times: int) -> None:
        """Time each kind of access, in one thread. Where a load's result decides what is loaded next."""
        for kind in range(took.size):
            at = WORDS_AT
            began = dev.now_ns()
            for i in range(times):
                if kind == 0:
                    at += dev.ld_relaxed_sys(host, at)
                elif kind == 1:
                    at += dev.ld_acquire_sys(host, at)
                elif kind == 2:
                    at += dev.ld_acquire_sys(host, at)
                    for j in range(1, SLOT):
                        at += host[at + j]
                elif kind == 3:
                    dev.st_relaxed_sys(host, FOR_STORES, i)
                elif kind == 4:
                    host[FOR_STORES + LINE] = i
                    dev.st_release_sys(host, FOR_STORES, i)
                else:
                    for j in range(SLOT):
                        host[FOR_STORES + LINE + j] = i
                    if kind == 5:
                        dev.st_release_sys(host, FOR_STORES, i)
                    else:
                        dev.fence_sys()
            took[kind] = dev.now_ns() - began + at - WORDS_AT

    def answers(to_card: Any, to_host: Any, turns: int) -> None:
        """Answer each number that the host writes."""
        for turn in range(1, turns + 1):
            while dev.ld_relaxed_sys(to_card, 0) != turn:
                pass
            dev.ld_acquire_sys(to_card, 0)
            dev.st_release_sys(to_host, 0, turn)

    def barriers(mail: Any, took: Any, width: int, times: int) -> None:
        """Come to so many barriers of all blocks."""
        cuda.cg.this_grid()
        began = dev.now_ns()
        for generation in range(1, times + 1):
            _barrier(mail, 0, width, generation)
        if cuda.grid(1) == 0:
            took[0] = dev.now_ns() - began
            took[1] = mail[cl.M_ARRIVED]

    words = "int64[::1]"
    return {
        "accesses": (f"void({words}, {words}, int64)", accesses),
        "answers": (f"void({words}, {words}, int64)", answers),
        "barriers": (f"void({words}, {words}, int64, int64)", barriers),
    }


class Probe:
    """The card, and what runs on it."""

    def __init__(self) -> None:
        self.cuda = load(simulate=False)
        self.card = Card(QUICK)
        self.kernels = {
            name: self.card.compile(body, signature)
            for name, (signature, body) in kernels().items()
        }

    def mapped(self, n: int) -> Any:
        """Return zeroed words of the host that the card reaches."""
        made = self.cuda.mapped_array(n, np.int64)
        np.asarray(made)[...] = 0
        return made

    def launch(self, name: str, blocks: int, threads: int, *arguments: Any) -> Callable[[], None]:
        """Return what enqueues a launch."""
        return partial(self.card.configured(self.kernels[name], blocks, threads), *arguments)

    def accesses(self, times: int) -> Iterator[tuple[str, float]]:
        """Yield each kind of access to a word of the host with its nanoseconds."""
        took = self.mapped(len(ACCESSES))
        launch = self.launch("accesses", 1, 1, self.mapped(1024), took, times)
        launch()  # to warm up
        self.card.time_s(launch)
        yield from zip(ACCESSES, np.asarray(took) / times, strict=True)

    def there_and_back(self, turns: int) -> tuple[str, float]:
        """Return how long a word takes to the card and back, nanoseconds."""
        to_card, to_host, clock = self.mapped(LINE), self.mapped(LINE), np.zeros(8, np.int64)
        host = np.asarray(to_card), np.asarray(to_host)
        throw(*host, 0, clock)  # compiled
        found = []
        for _ in range(5):
            for word in host:
                word[0] = 0
            enqueue = self.launch("answers", 1, 1, to_card, to_host, turns)

            def both(enqueue: Callable[[], None] = enqueue) -> None:
                """Have the card answer, and ask."""
                enqueue()
                found.append(throw(*host, turns, clock) / turns)

            self.card.time_s(both)
        return "a word to the card and back", statistics.median(found)

    def barriers(self, times: int) -> Iterator[tuple[str, float]]:
        """Yield grids with the nanoseconds of a barrier of all their blocks."""
        device = self.cuda.get_current_device()
        all_, threads = device.MULTIPROCESSOR_COUNT, 256
        (definition,) = self.kernels["barriers"].overloads.values()
        most = definition.max_cooperative_grid_blocks(threads)
        for width in sorted({2, 16, all_ - 1, all_, 2 * all_} - {1}):
            if width > most:
                break
            took = self.mapped(2)
            mail = self.card.words(np.zeros(1024, np.int64))
            self.card.time_s(self.launch("barriers", width, threads, mail, took, width, times))
            assert took[1] == width * times, f"{took[1]} arrivals, not {width} x {times}"
            yield f"a barrier of {width} blocks of {threads} threads", took[0] / times


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2000, help="how often each is done")
    times = parser.parse_args().times
    probe = Probe()
    found = [*probe.accesses(times), probe.there_and_back(times), *probe.barriers(times)]
    for what, ns in found:
        print(f"{what:<52}{ns:9.1f} ns", flush=True)
    return 0 if all(ns >= 0 for _, ns in found) else 1  # the clock may count in microseconds


if __name__ == "__main__":
    sys.exit(main())
