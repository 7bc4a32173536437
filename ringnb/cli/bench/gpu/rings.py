"""Commands to the live kernel: what it takes to send one, and to have it answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ringnb.cli.bench.gpu.budget import Budget
from ringnb.cli.bench.gpu.card import Card, Sizes
from ringnb.cli.bench.measuring import (
    Row,
    Scale,
    median_and_p99,
    round_trip,
    time_each_us,
)
from ringnb.kernel.base import AbstractKernel
from ringnb.kernel.client import KernelClient
from ringnb.messages.commands import Command
from ringnb.testing.device_proofs import counter, timer
from ringnb.testing.mixer import running

__all__ = ["commands"]

_LOOK_NS = 20_000_000


def commands(card: Card, scale: Scale, budget: Budget) -> Iterator[Row]:
    """Send a command to the live kernel, and have it answered; idle, and stepping without a pause."""
    kernel: Any = card.kernel([counter((512, 512) if card.backend == "cuda" else (4, 4))])
    with running(kernel) as client:
        clock = timer(client, max(0.05, min(1.0, budget.left_s / 10)))
        for busy, part in zip((False, True), budget.split(2), strict=True):
            client.call(0, Command.RESUME if busy else Command.PAUSE)
            yield from _of_one_kind(client, card.sizes, scale, part, busy=busy)
    yield Row(
        "gpu_clock",
        "step in which the kernel's clock (%globaltimer) counts",
        [float(clock.resolution_ns)],
        "ns",
        note=f"{clock.rate:.6f} of its seconds per second of the host's",
    )


def _of_one_kind(
    client: KernelClient, sizes: Sizes, scale: Scale, budget: Budget, *, busy: bool
) -> Iterator[Row]:
    kernel = client.kernel
    submitted: list[list[float]] = []
    bare: list[list[float]] = []
    called: list[list[float]] = []
    batch = sizes.batch // (10 if busy else 1)
    for _ in budget.turns(3, scale.times(20, 5)):
        submitted.append(_submissions(kernel, batch, sizes.burst))
        bare.append(time_each_us(lambda: round_trip(kernel, _LOOK_NS), batch))
        called.append(time_each_us(lambda: client.call(0, Command.HEARTBEAT), batch))
    state = "stepping 512 x 512 without a pause" if busy else "idle"
    key = "gpu_busy" if busy else "gpu"
    for name, what, batches, target in (
        ("submit", f"send a command to the live kernel, {state}", submitted, None),
        ("ring", f"command round trip, Python to {state} kernel to Python", bare, 5.0),
        ("client", "the same through KernelClient.call, safe for all threads", called, None),
    ):
        most = None if busy else target
        yield from median_and_p99(
            f"{key}_{name}", what, batches, "us", f"per {batch}", (most, None)
        )


def _submissions(kernel: AbstractKernel, n: int, burst: int) -> list[float]:
    """Time pushes alone; the kernel reads them meanwhile, their answers are taken off between bursts."""
    taken: list[float] = []
    while len(taken) < n:
        taken += time_each_us(lambda: kernel.push_nowait(0, Command.HEARTBEAT, 1, 0), burst)
        answered = 0
        while answered < burst:
            if kernel.peek(0) is None:
                kernel.check_alive()
            else:
                kernel.advance(0)
                answered += 1
    return taken[:n]
