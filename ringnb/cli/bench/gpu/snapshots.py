"""Snapshots of the live kernel, stage by stage and size by size, and the cost of checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ringnb._support.text import format_bytes
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.cli.bench.gpu.budget import Budget
from ringnb.cli.bench.gpu.card import Card
from ringnb.cli.bench.gpu.stepping import noise
from ringnb.cli.bench.measuring import Row, Scale, percentile, ratio_row
from ringnb.cli.bench.snapshots import checkpointed_rates
from ringnb.kernel.cuda.layout import STRAIGHT_BYTES
from ringnb.kernel.layout import T_BEGIN, T_END, tail_words
from ringnb.messages.commands import Command
from ringnb.session.session import Session
from ringnb.testing.device_proofs import counter
from ringnb.testing.mixer import running

__all__ = ["checkpoints", "stages"]

_LOOK_NS = 50_000_000
_SMALL = 1 << 16
_FIRST = 1000  # command ids beyond the client's
_CLOCK = "in steps of the kernel's clock, see there"


class _Stages(NamedTuple):
    """Microseconds of one snapshot."""

    acknowledged: float
    """Host: from before the push until the answer is seen."""
    received: float
    """Host: until every byte is in its memory."""
    copied: float
    """Kernel: from the command seen until all is stored; the actor waits for this.

    And for the bus, with the answer, where a small state is stored straight into the host's memory.
    """
    published: float
    """Kernel: from there until the answer is written."""


def stages(card: Card, scale: Scale, budget: Budget) -> Iterator[Row]:
    """Snapshots of 1 KiB to 1 GiB, idle and stepping: seen, copied, published, received; the stall."""
    sizes = card.sizes.snapshots
    for size, part in zip(sizes, budget.split(len(sizes)), strict=True):
        # As many rows as columns, or twice as many; no grid has fewer than 3 of either.
        cells = size // 8
        columns = 1 << (cells.bit_length() - 1) // 2
        copies = _device_copies(card, size, part.part(0.1))
        kernel: Any = card.kernel([counter((cells // columns, columns))])
        with running(kernel) as client:
            for busy, half in zip((False, True), part.split(2), strict=True):
                client.call(0, Command.RESUME if busy else Command.PAUSE)
                found = [_one(kernel, _FIRST + i) for i in half.turns(10, scale.times(300, 50))]
                yield from _rows(size, found, copies, busy=busy)


def _device_copies(card: Card, size: int, budget: Budget) -> list[float]:
    """Return microseconds of the driver's copy of as many bytes, while no kernel lives."""
    source, target = card.words(np.zeros(size // 8, np.int64)), card.empty(size // 8)
    card.time_s(lambda: card.copy(target, source))
    return [1e6 * card.time_s(lambda: card.copy(target, source)) for _ in budget.turns(5, 50)]


def _one(kernel: Any, command_id: int) -> _Stages:
    """Take one snapshot by hand, check what came, and give the buffer back."""
    began = time.perf_counter_ns()
    kernel.push_nowait(0, Command.SNAPSHOT, command_id, 0, (), spin_ns=_LOOK_NS)
    answered = time.perf_counter_ns()
    # The push looks for an answer before it returns. Only a very large state takes longer than that.
    while (reply := kernel.peek(0)) is None:
        kernel.check_alive()
        answered = time.perf_counter_ns()
    assert reply.command_id == command_id
    assert reply.ok, reply
    view, facts = kernel.staged(0, reply.value, 0)  # waits for the copy engine
    received = time.perf_counter_ns()
    # The first and the last cell of a counter hold its step, or this timed something else.
    assert view.flat[0] == view.flat[-1] == facts.step == reply.step
    # As the kernel stamped them, by the clock that stamped the answer.
    tail = tail_words(kernel._memory[0].staging[reply.value], kernel.actors[0]).tolist()
    begin_ns, end_ns = tail[T_BEGIN], tail[T_END]
    kernel.advance(0)
    kernel.release_staging(0, reply.value)
    return _Stages(
        (answered - began) / 1e3,
        (received - began) / 1e3,
        (end_ns - begin_ns) / 1e3,
        (reply.stamp_ns - end_ns) / 1e3,
    )


def _rows(size: int, found: list[_Stages], copies: list[float], *, busy: bool) -> Iterator[Row]:
    state = "stepping" if busy else "idle"
    key = f"{'gpu_busy_' if busy else 'gpu_'}snapshot_{size}"
    name = f"snapshot of {format_bytes(size)}, {state} kernel"
    acknowledged = [s.acknowledged for s in found]
    # A stepping kernel answers at the end of its slice of steps; the target is for the way and the copy.
    judged = 10.3 if size <= _SMALL and not busy else None
    yield Row(
        f"{key}_acknowledged",
        f"{name}: sent to acknowledged",
        acknowledged,
        "us",
        "<=" if judged else None,
        judged,
        f"p99 {percentile(acknowledged, 99):.3g} us",
    )
    way = [s.acknowledged - s.copied - s.published for s in found]
    for stage, what, samples, note in (
        ("copied", "on the card, command seen to copied", [s.copied for s in found], _CLOCK),
        ("published", "on the card, copied to published", [s.published for s in found], ""),
        ("way", "the way there and back: the rest of sent to acknowledged", way, ""),
        ("received", "sent to received, every byte", [s.received for s in found], ""),
    ):
        yield Row(f"{key}_{stage}", what, samples, "us", note=note)
    pairs = [(s.copied, c) for s, c in zip(found, copies, strict=False)]
    stalls = size >= 1 << 24  # below, the clock's step and the launch of a copy decide
    apart = ", without the wait for the bus" if size <= STRAIGHT_BYTES else ""  # stamped before
    yield ratio_row(
        f"{key}_stall",
        f"stall of the {state} actor, {format_bytes(size)}{apart} / the driver's copy of its bytes",
        pairs,
        ("copy", 1, "us"),
        at_most=1.2 if stalls else None,
    )


def checkpoints(card: Card, scale: Scale, budget: Budget) -> Iterator[Row]:
    """Free running with a checkpoint every second, against free running."""
    seconds = scale.times(3, 2) if card.backend == "cuda" else 0.2
    shape = card.sizes.checkpointed
    config = CheckpointConfig(
        interval=min(1.0, seconds),
        enabled=False,
        storage_path=scale.directory / "rate.zarr",
        max_snapshots=2,
    )
    with Session(noise(shape), backend=card.backend, config=config) as session:
        session.resume()
        time.sleep(0.3)
        pairs = []
        for _ in budget.turns(2, scale.times(5, 2)):
            pairs += checkpointed_rates(session, seconds, 2)
        taken = session.manager.total_completed
    what = " x ".join(map(str, shape))
    yield ratio_row(
        "gpu_rate",
        f"stepping {what} with a checkpoint every second / without",
        pairs,
        ("without", 1e-3, "ksteps/s"),
        at_least=0.98,
        note=f", {taken} checkpoints",
    )
