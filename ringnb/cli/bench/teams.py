"""Cases about many cores: what a kernel chooses by itself, against the best that a user could set."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator, Sequence

import numpy as np

from ringnb import actors
from ringnb._support.machine import available_cores
from ringnb.actors.base import Actor
from ringnb.cli.bench.measuring import Row, Scale, interleaved, ratio_row
from ringnb.cli.bench.stepping import copying
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.messages.commands import Command
from ringnb.testing.mixer import running

__all__ = ["free_rate", "passes", "teams"]


class _StepByStep(actors.Wave2D):
    """A wave whose kernel does not know how far it reads."""

    reach = None  # type: ignore[assignment]  # as the base class allows


def teams(scale: Scale) -> Iterator[Row]:
    """The number of lanes and threads that a kernel takes by default, against each that makes sense."""
    sizes = (64, 512, 128, 1024, 2048, 4096)[: scale.times(6, 2)]
    cases: dict[str, tuple[str, list[Actor]]] = {
        f"team_{n}": (f"one wave of {n} x {n}", [actors.Wave2D((n, n))]) for n in sizes
    }
    cases["team_two"] = ("two waves of 512 x 512", [actors.Wave2D((512, 512))] * 2)
    cases["team_hundred"] = ("a hundred waves of 64 x 64", [actors.Wave2D((64, 64))] * 100)
    for key, (what, population) in cases.items():
        yield _compared(scale, key, what, population)


def passes(scale: Scale) -> Iterator[Row]:
    """Several steps in one pass over a grid that does not fit the caches, against one; all cores."""
    for n in (2048, 4096)[: scale.times(2, 1)]:
        with (
            running(CpuKernel([actors.Wave2D((n, n))])) as several,
            running(CpuKernel([_StepByStep((n, n))])) as one,
        ):
            pairs = interleaved(
                lambda client=several: free_rate(client, scale),  # type: ignore[misc]  # bound here
                lambda client=one: free_rate(client, scale),  # type: ignore[misc]  # bound here
                scale.times(11, 2),
            )
            memcpy = copying(16 * n * n)
            moved = interleaved(
                lambda client=several: 12 * free_rate(client, scale),  # type: ignore[misc]  # bound here
                memcpy,
                scale.times(11, 2),
            )
        yield ratio_row(
            f"passes_{n}",
            f"a wave of {n} x {n}, several steps in a pass / one, all cores",
            pairs,
            ("one", 1, "Gcells/s"),
            at_least=2.0,
        )
        yield ratio_row(
            f"passes_{n}_memory",
            "the same as if 12 bytes were moved per cell and step / memcpy bandwidth, one thread",
            moved,
            ("memcpy", 1, "GB/s"),
        )


def _compared(scale: Scale, key: str, what: str, population: Sequence[Actor]) -> Row:
    """Measure a population as it is hosted by default, and in every other way, in turn."""
    cores = available_cores()
    ways = {f"lanes={n}, width={cores // n}": (n, cores // n) for n in {1, cores}}
    ways["lanes=1, width=1"] = (1, 1)
    with contextlib.ExitStack() as stack:

        def hosted(lanes: int | None, width: int | None) -> KernelClient:
            """Launch a kernel that lives as long as the others."""
            return stack.enter_context(running(CpuKernel(population, lanes=lanes, width=width)))

        default = hosted(None, None)
        others = {name: hosted(*way) for name, way in ways.items() if way[0] <= len(population)}
        found: dict[str, list[float]] = {name: [] for name in others}
        ours = []
        for _ in range(scale.times(11, 2)):
            ours.append(free_rate(default, scale))
            for name, client in others.items():
                found[name].append(free_rate(client, scale))
    best = max(found, key=lambda name: statistics.median(found[name]))
    return ratio_row(
        key,
        f"{what}: threads chosen by default / the best setting",
        list(zip(ours, found[best], strict=True)),
        (best, 1, "Gcells/s"),
        at_least=0.95,
    )


def free_rate(client: KernelClient, scale: Scale) -> float:
    """Return the cells that all actors of a kernel update in a nanosecond, running freely."""
    kernel = client.kernel
    slots, cells = range(len(kernel.actors)), int(np.prod(kernel.actors[0].shape))

    def steps() -> int:
        """Count them."""
        return sum(kernel.counters(slot).step for slot in slots)

    for slot in slots:
        client.call(slot, Command.RESUME)
    time.sleep(scale.times(100, 20) / 1000)  # until the team is chosen, and its caches are full
    first, began = steps(), time.perf_counter_ns()
    time.sleep(scale.times(300, 50) / 1000)
    rate = (steps() - first) * cells / (time.perf_counter_ns() - began)
    for slot in slots:
        client.call(slot, Command.PAUSE)
    return rate
