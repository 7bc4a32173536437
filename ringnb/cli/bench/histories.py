"""Cases about long histories: a store of ten thousand checkpoints, and commits into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ringnb.checkpoint.committing import retire
from ringnb.checkpoint.retention import keep_last
from ringnb.checkpoint.storage.records import Snapshot
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cli.bench.measuring import Row, Scale, absolute, interleaved, ratios, time_s
from ringnb.cli.bench.stores import open_and_list

__all__ = ["histories"]


class _Growing:
    """A store to which one actor commits, keeping five, beside those of others."""

    def __init__(self, path: Path, others: int) -> None:
        self.path = path
        self._step = 0
        # A long history is made without waiting for the disk; what is measured does wait.
        with ZarrStorage(path, durable=False) as quick:
            for _ in range(others):
                self._save(quick, "other")
            for _ in range(5):
                self._save(quick, "mine")
        self.storage = ZarrStorage(path)

    def _save(self, storage: ZarrStorage, kernel_id: str) -> None:
        self._step += 1
        cells = np.full((8, 8), self._step % 256, np.uint8)
        snapshot = Snapshot(
            {"cells": cells}, kernel_id, kernel_id, "bench", 0, self._step, self._step
        )
        storage.save(f"{kernel_id}_0_step_{self._step}", snapshot)

    def commit(self) -> float:
        """Commit durably and retire, as the manager does; return seconds."""

        def both() -> None:
            """Save, then delete the oldest."""
            self._save(self.storage, "mine")
            retire(self.storage, "mine", "mine", keep_last(5), protect=())

        return time_s(both)


def histories(scale: Scale) -> Iterator[Row]:
    """Open and list ten thousand checkpoints; commit beside them, and beside ten."""
    count = 1000 if scale.quick else 10_000
    long, short = (
        _Growing(scale.directory / "long.zarr", count - 5),
        _Growing(scale.directory / "short.zarr", 5),
    )
    pairs = interleaved(long.commit, short.commit, scale.times(101, 31))
    yield Row(
        "commit_long",
        f"durable commit with retention, {count:,} checkpoints there / 10 there",
        ratios(pairs),
        "x",
        "<=",
        1.2,
        absolute(pairs, "10 there", 1e3, "ms"),
    )
    path = long.path
    long.storage.close()
    del long
    opened, listed = open_and_list(path, scale.times(7, 3))
    yield Row("open_many", f"open a store of {count:,} checkpoints", opened, "s", "<=", 1.0)
    yield Row(
        "list_many",
        f"list {count:,} checkpoints again",
        [1e3 * s for s in listed],
        "ms",
        "<=",
        20.0,
    )
