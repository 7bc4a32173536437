"""Waves in the persistent kernel, against one launch per step and against the replay of a CUDA graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from ringnb import actors
from ringnb.actors.base import Actor
from ringnb.cli.bench.gpu.bandwidth import bandwidth
from ringnb.cli.bench.gpu.budget import Budget
from ringnb.cli.bench.gpu.card import Card, Sizes
from ringnb.cli.bench.measuring import (
    Row,
    Scale,
    padded_params,
    percentile,
    ratio_row,
    run_steps,
)
from ringnb.testing.mixer import running

__all__ = ["noise", "waves"]

_BYTES_PER_CELL = 12  # float32: now and before are read, before is written
_TARGETS = {"wave_3d": (200.0, 0.8)}  # Gcells/s, and a fraction of the bandwidth


def noise(shape: tuple[int, ...]) -> Actor:
    """Return a wave (2-D or 3-D) that starts from noise: zeros would take less power than data does."""
    start = np.random.default_rng(0).random(shape, np.float32)
    return (actors.Wave2D if len(shape) == 2 else actors.Wave3D)(shape, damping=0.001, start=start)


def waves(card: Card, scale: Scale, budget: Budget) -> Iterator[Row]:
    """Steps of 2-D and 3-D waves: cells per second, of the ceiling, and against launches and graphs."""
    ceiling = bandwidth(card, budget.part(0.05)).ceiling
    parts = budget.split(len(card.sizes.waves))
    for (key, shape), part in zip(card.sizes.waves.items(), parts, strict=True):
        yield from _wave(card, scale, part, key, shape, ceiling)


def _wave(
    card: Card, scale: Scale, budget: Budget, key: str, shape: tuple[int, ...], ceiling: float
) -> Iterator[Row]:
    wave = noise(shape)
    cells = int(np.prod(shape))
    launched, replayed = _one_launch_per_step(card, wave)
    turns = scale.times(10, 4)
    steps = _steps_for(launched, card.sizes)
    # The persistent kernel takes the whole card: half of the baseline comes before, half after it.
    by_launch, by_graph = [], []
    for _ in budget.part(0.25).turns(2, turns // 2):
        by_launch.append(launched(steps))
        by_graph.append(replayed(steps))
    ours = _persistent(card, wave, budget.part(0.6), turns, steps)
    while len(by_launch) < len(ours):
        by_launch.append(launched(steps))
        by_graph.append(replayed(steps))
    rates = [cells / s / 1e9 for s in ours]
    what = f"{type(wave).__name__} {' x '.join(map(str, shape))}"
    rate_target, share_target = _TARGETS.get(key, (None, None))
    if scale.quick:
        rate_target = share_target = None  # they are for the full size
    yield Row(
        f"gpu_{key}",
        f"{what} in the persistent kernel",
        rates,
        "Gcells/s",
        ">=" if rate_target else None,
        rate_target,
    )
    moved = [_BYTES_PER_CELL * rate for rate in rates]
    if cells * 2 * wave.dtype.itemsize > 1 << 28:  # not in the card's cache
        yield Row(
            f"gpu_{key}_ceiling",
            f"the same, {_BYTES_PER_CELL} bytes moved per cell / copy bandwidth",
            [m / ceiling for m in moved],
            "x",
            ">=" if share_target else None,
            share_target,
            f"{percentile(moved, 50):.4g} GB/s of {ceiling:.4g} GB/s",
        )
    for name, word, theirs in (
        ("launch", "one launch per step, from Python", by_launch),
        ("graph", f"replay of a CUDA graph of {card.sizes.steps_per_graph} launches", by_graph),
    ):
        pairs = [(r, cells / s / 1e9) for r, s in zip(rates, theirs, strict=False)]
        what = f"the same / {word}, the same cell function"
        yield ratio_row(f"gpu_{key}_{name}", what, pairs, (word, 1, "Gcells/s"))


def _one_launch_per_step(
    card: Card, wave: Actor
) -> tuple[Callable[[int], float], Callable[[int], float]]:
    """Return two functions of a number of steps: seconds per step, by launches and by replays."""
    from ringnb.cli.bench.gpu import kernels

    levels = np.ascontiguousarray(wave.start(0))
    words = -(-levels[0].nbytes // 8)
    content = np.zeros(2 * words, np.int64)
    for i in range(2):
        content[i * words :].view(wave.dtype)[: levels[i].size] = levels[i].reshape(-1)
    state = card.words(content)
    own = card.words(padded_params(wave).view(np.int64))
    grid = (1,) * (3 - len(wave.shape)) + wave.shape
    body = kernels.one_step(wave)
    launch = card.launcher(card.compile(body, kernels.ONE_STEP_SIGNATURE), int(np.prod(wave.shape)))
    nf = len(wave.fields)

    def steps(n: int) -> None:
        now, before = 0, words
        for step in range(n):
            launch(state, now, before, own, step, nf, *grid)
            now, before = before, now

    card.time_s(lambda: steps(2))  # whatever a first launch does must not happen in the recording
    per_graph = card.sizes.steps_per_graph
    replay = card.record(lambda: steps(per_graph))

    def replays(n: int) -> None:
        for _ in range(n):
            replay()

    def launched(n: int) -> float:
        return card.time_s(lambda: steps(n)) / n

    def replayed(n: int) -> float:
        times = max(1, n // per_graph)
        return card.time_s(lambda: replays(times)) / (times * per_graph)

    return launched, replayed


def _steps_for(launched: Callable[[int], float], sizes: Sizes) -> int:
    """Return how many steps make a sample: whole graphs."""
    graph = sizes.steps_per_graph
    launched(graph)
    each = launched(graph)
    return max(graph, int(sizes.sample_s / each) // graph * graph)


def _persistent(card: Card, wave: Actor, budget: Budget, turns: int, steps: int) -> list[float]:
    """Return seconds per step in the persistent kernel, by the host's clock, the commands included."""
    found = []
    with running(card.kernel([wave])) as client:
        run_steps(client, steps)
        for _ in budget.turns(3, turns):
            began = time.perf_counter()
            run_steps(client, steps)
            found.append((time.perf_counter() - began) / steps)
    return found
