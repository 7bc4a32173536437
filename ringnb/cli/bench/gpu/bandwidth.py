"""The card's own speed at copying memory, and the reference's way of taking a snapshot."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ringnb._support.text import format_bytes
from ringnb.cli.bench.gpu.budget import Budget
from ringnb.cli.bench.gpu.card import Card, checked
from ringnb.cli.bench.measuring import Row, Scale, percentile

__all__ = ["Bandwidth", "bandwidth", "copying", "reference"]


class Bandwidth(NamedTuple):
    """Bytes moved per nanosecond, read and written, per repetition."""

    driver: list[float]  # by the driver's copy
    kernel: list[float]  # by a kernel that copies words

    @property
    def ceiling(self) -> float:
        """The faster of the two medians, GB/s."""
        return max(percentile(self.driver, 50), percentile(self.kernel, 50))


def bandwidth(card: Card, budget: Budget) -> Bandwidth:
    """Measure how fast the card copies memory; once per run."""
    if "bandwidth" not in card.measured:
        from ringnb.cli.bench.gpu import kernels

        n = card.sizes.copied // 8
        source, target = card.words(np.arange(n)), card.empty(n)
        launch = card.launcher(card.compile(kernels.copy, kernels.COPY_SIGNATURE), n)
        found = Bandwidth([], [])

        def rate(how: Any) -> float:
            return 2 * 8 * n / card.time_s(how) / 1e9

        rate(lambda: launch(source, target))  # to warm up
        for _ in budget.turns(5, 40):
            found.driver.append(rate(lambda: card.copy(target, source)))
            found.kernel.append(rate(lambda: launch(source, target)))
        card.measured["bandwidth"] = found
    known: Bandwidth = card.measured["bandwidth"]
    return known


def copying(card: Card, scale: Scale, budget: Budget) -> Iterator[Row]:  # noqa: ARG001 - as every case
    """How fast the card copies its memory: the ceiling of everything that steps."""
    found = bandwidth(card, budget)
    size = format_bytes(card.sizes.copied)
    for key, what, samples in (
        ("driver", "the driver's copy", found.driver),
        ("kernel", "a kernel that copies words", found.kernel),
    ):
        yield Row(
            f"gpu_copy_{key}",
            f"copy bandwidth of the card's memory, read + written, {size}: {what}",
            samples,
            "GB/s",
        )


def reference(card: Card, scale: Scale, budget: Budget) -> Iterator[Row]:
    """The reference's own way: no kernel runs, the host's time for the three calls of a snapshot."""
    driver = card._driver
    event = checked(driver.cuEventCreate(0), "cuEventCreate")
    word, flag = card.pinned(8), card.empty(8)
    for size, part in zip(
        card.sizes.reference, budget.split(len(card.sizes.reference)), strict=True
    ):
        source, target = card.words(np.zeros(size // 8, np.int64)), card.empty(size // 8)
        where = (card.address(flag), word.ctypes.data, card.address(source), card.address(target))
        batches: list[list[float]] = [[], [], [], []]
        _three_calls(card, event, where, size)
        for _ in part.turns(3, scale.times(20, 5)):
            found = [
                _three_calls(card, event, where, size) for _ in range(card.sizes.reference_batch)
            ]
            for batch, taken in zip(batches, zip(*found, strict=True), strict=True):
                batch.append(percentile(taken, 50))
        for key, what, samples in zip(
            ("capture", "copy", "ack", "total"),
            (
                "enqueue a copy of 4 bytes to the card",
                f"enqueue a copy of {format_bytes(size)} on the card",
                "record an event and wait for it",
                "all three",
            ),
            batches,
            strict=True,
        ):
            yield Row(
                f"gpu_reference_{key}_{size}",
                f"the reference's snapshot of {format_bytes(size)}, no kernel running: {what}",
                samples,
                "us",
                note=f"medians of {card.sizes.reference_batch}" if key == "capture" else "",
            )


def _three_calls(card: Card, event: Any, where: tuple[int, ...], size: int) -> tuple[float, ...]:
    """Make the three calls and return the host's microseconds for each, and for all."""
    driver, stream = card._driver, card.handle
    flag, word, source, target = where
    began = time.perf_counter_ns()
    first = driver.cuMemcpyHtoDAsync(flag, word, 4, stream)
    captured = time.perf_counter_ns()
    second = driver.cuMemcpyDtoDAsync(target, source, size, stream)
    copied = time.perf_counter_ns()
    third = driver.cuEventRecord(event, stream)
    fourth = driver.cuEventSynchronize(event)
    ended = time.perf_counter_ns()
    for call, answer in (
        ("cuMemcpyHtoDAsync", first),
        ("cuMemcpyDtoDAsync", second),
        ("cuEventRecord", third),
        ("cuEventSynchronize", fourth),
    ):
        checked(answer, call)
    marks = (began, captured, copied, ended)
    return (*((b - a) / 1e3 for a, b in itertools.pairwise(marks)), (ended - began) / 1e3)
