"""Cases about incremental checkpoints: what they save where much repeats, cost where nothing does."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from zarr.storage import MemoryStore

from ringnb import actors
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cli.bench.measuring import Row, Scale, interleaved, ratio_row, time_s
from ringnb.cli.bench.stores import bench_snapshot
from ringnb.session.session import Session

__all__ = ["incremental"]

Fields = dict[str, Any]


def _wave(side: int, count: int) -> list[Fields]:
    """Return states of a wave that has not gone far yet, 20 steps apart."""
    at = side // 2
    start = np.zeros((2, side, side), np.float32)
    start[:, at - 4 : at + 4, at - 4 : at + 4] = 1.0
    return _states(actors.Wave2D((side, side), start=start), count)


def _life(side: int, count: int) -> list[Fields]:
    """Return states of an R-pentomino in an empty field, 20 generations apart."""
    cells = np.zeros((side, side), np.uint8)
    at = side // 2
    cells[at - 1 : at + 2, at - 1 : at + 2] = [[0, 1, 1], [1, 1, 0], [0, 1, 0]]
    return _states(actors.Life((side, side), start=cells), count)


def _states(actor: Any, count: int) -> list[Fields]:
    config = CheckpointConfig(enabled=False, max_snapshots=0)
    found = []
    with Session(actor, config=config, storage=ZarrStorage(MemoryStore())) as session:
        for _ in range(count):
            session.run_steps(0, 20)
            found.append(session.snapshot(0, timeout=60.0).numpy())
    return found


def _noise(side: int, count: int) -> list[Fields]:
    rng = np.random.default_rng(3)
    return [{"u": rng.random((side, side), np.float32)} for _ in range(count)]


def incremental(scale: Scale) -> Iterator[Row]:
    """Durable commits of successive states, incremental against full, in turn."""
    side = 1024 if scale.quick else 2048
    cases: list[tuple[str, str, Callable[[int, int], list[Fields]], float | None]] = [
        ("wave", f"Wave2D {side} x {side}, a wave that began in the middle", _wave, 1.0),
        ("life", f"Life {side} x {side}, an R-pentomino", _life, None),
        ("noise", f"{side} x {side} float32, nothing repeats", _noise, None),
    ]
    for key, what, make, target in cases:
        yield from _compare(scale, key, what, make(side, 6), target)


def _compare(
    scale: Scale, key: str, what: str, states: list[Fields], target: float | None
) -> Iterator[Row]:
    paths = [scale.directory / f"{kind}-{key}.zarr" for kind in ("share", "full")]
    share, full = ZarrStorage(paths[0], incremental=True), ZarrStorage(paths[1])
    nbytes = sum(a.nbytes for a in states[0].values())
    commit_shared, commit_full = _committing(share, states), _committing(full, states)
    added: list[float] = []

    def commit_and_weigh() -> float:
        """Note, too, what the newest checkpoint alone holds."""
        took = commit_shared()
        added.append(share.freed_by(share.list()[-1:]) / nbytes)
        return took

    pairs = interleaved(commit_and_weigh, commit_full, scale.times(15, 5))
    share.close()
    full.close()
    yield ratio_row(
        f"incremental_{key}",
        f"incremental / full durable commit: {what}",
        pairs,
        ("full", 1e3, "ms"),
        at_most=target,
    )
    what = "bytes that an incremental commit of it adds / bytes of the state"
    yield Row(f"added_{key}", what, added[2:], "x")
    for path in paths:
        shutil.rmtree(path)


def _committing(storage: ZarrStorage, states: list[Fields]) -> Callable[[], float]:
    """Return a function that commits the next state and deletes the one before the previous."""
    steps = itertools.count()

    def commit() -> float:
        step = next(steps)
        snapshot = bench_snapshot(states[step % len(states)], step)
        took = time_s(lambda: storage.save(f"bench_0_step_{step}", snapshot))
        if step > 1:
            storage.delete(f"bench_0_step_{step - 2}")
        return took

    return commit
