"""Cases about storage: durable commits against raw writes, and stores of many checkpoints."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ringnb.checkpoint.committing import retire
from ringnb.checkpoint.retention import keep_last
from ringnb.checkpoint.storage.directory.work_area import WorkArea
from ringnb.checkpoint.storage.records import Snapshot
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cli.bench.measuring import Row, Scale, absolute, interleaved, ratio_row, time_s

__all__ = ["bench_snapshot", "commits", "guards", "groups", "histories", "many", "write_durably"]

_COUNT = 1000
_RUN = "0" * 16


def bench_snapshot(fields: dict[str, Any], step: int) -> Snapshot:
    """Return fields as a snapshot of the one actor that the benchmark commits."""
    return Snapshot(fields, "bench", "bench_0", "bench", 0, step, step)


def write_durably(path: Path, parts: list[Any]) -> None:
    """Write bytes durably with as little as it takes: one file, fsync, rename, fsync."""
    staged = path.with_suffix(".staged")
    fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        for part in parts:
            view = memoryview(part).cast("B")
            while view:
                view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    staged.rename(path)
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _committing(
    storage: ZarrStorage, fields: dict[str, Any], **changes: Any
) -> Callable[[], float]:
    """Return a function that commits the fields, deletes them, and returns the commit's seconds."""
    count = itertools.count(1)

    def save() -> float:
        step = next(count)
        name = f"bench_0_step_{step}"
        snapshot = replace(bench_snapshot(fields, step), **changes)
        took = time_s(lambda: storage.save(name, snapshot))
        storage.delete(name)
        return took

    return save


def commits(scale: Scale) -> Iterator[Row]:
    """A durable commit of four fields and a small one, against a raw durable write."""
    rng = np.random.default_rng(7)
    sizes = [("4KiB", 2**12, None), ("16MiB", 2**24, 2.2), ("128MiB", 2**27, 2.0)]
    if not scale.quick:
        sizes.append(("512MiB", 2**29, 1.7))
    for label, nbytes, target in sizes:
        side = int((nbytes / 16) ** 0.5)
        fields: dict[str, Any] = {f"f{i}": rng.random((side, side), np.float32) for i in range(4)}
        if nbytes > 2**12:
            fields["sums"] = rng.random(64)
        else:
            fields = {"cells": rng.integers(0, 2, (64, 64), np.uint8)}
        raw = scale.directory / f"raw-{label}"
        parts = list(fields.values())

        def write(raw: Path = raw, parts: list[Any] = parts) -> float:
            took = time_s(lambda: write_durably(raw, parts))
            raw.unlink()
            return took

        path = scale.directory / f"commit-{label}.zarr"
        turns = scale.times(31, 11) if nbytes <= 2**24 else scale.times(9, 4)
        with ZarrStorage(path) as storage:
            pairs = interleaved(_committing(storage, fields), write, turns)
        shutil.rmtree(path)
        if target is None:
            ours = [1e3 * took for took, _ in pairs]
            note = absolute(pairs, "raw write + fsync", 1e3, "ms")
            yield Row("commit_4KiB", "durable commit of 4 KiB", ours, "ms", "<=", 5.0, note)
        else:
            what = f"durable commit of {label[:-3]} MiB / raw write + fsync of the same bytes"
            yield ratio_row(f"commit_{label}", what, pairs, ("raw", 1e3, "ms"), at_most=target)


def guards(scale: Scale) -> Iterator[Row]:
    """A commit whose values are looked at for being finite, against one whose values are not."""
    side = 1024 if scale.quick else 4096
    fields = {"u": np.random.default_rng(3).random((side, side), np.float32)}
    with (
        ZarrStorage(scale.directory / "guarded.zarr") as guarded,
        ZarrStorage(scale.directory / "plain.zarr") as plain,
    ):
        looking = _committing(guarded, fields)
        pairs = interleaved(looking, _committing(plain, fields, examine=False), scale.times(31, 9))
    what = f"durable commit of {side * side >> 18} MiB of float32, guard on / off"
    yield ratio_row("guard", what, pairs, ("off", 1e3, "ms"), at_most=1.05)


def groups(scale: Scale) -> Iterator[Row]:
    """Durable commits of many small actors: as groups, against one after the other."""
    count, together = (100, 50) if scale.quick else (1000, 250)
    cells = np.random.default_rng(5).integers(0, 2, (64, 64), np.uint8)
    snapshots = [
        (
            f"bench_{slot}_step_1",
            Snapshot({"cells": cells}, "bench", f"b{slot}", "bench", slot, 1, 1),
        )
        for slot in range(count)
    ]
    stores = map(scale.directory.joinpath, map("groups-{}.zarr".format, itertools.count()))

    def save(by: int) -> float:
        """Save all to a new store, so many at a time. It stays: deletions would slow the disk down."""
        with ZarrStorage(next(stores)) as storage:
            storage.save("bench_0_step_0", bench_snapshot({"cells": cells}, 0))
            return time_s(lambda: _save_by(storage, snapshots, by))

    pairs = interleaved(lambda: save(together), lambda: save(1), scale.times(5, 2))
    what = f"durable commits of {count:,} actors of 4 KiB, {together} at a time / one by one"
    yield ratio_row("groups", what, pairs, ("one by one", 1.0, "s"), at_most=0.1)


def _save_by(storage: ZarrStorage, snapshots: list[tuple[str, Snapshot]], by: int) -> None:
    for first in range(0, len(snapshots), by):
        results = storage.save_many(snapshots[first : first + by])
        assert not any(isinstance(result, Exception) for result in results)


def _open_and_list(path: Path, repetitions: int) -> tuple[list[float], list[float]]:
    """Return the seconds that opening a store takes, and listing it once more.

    What a process remembers of a store lives as long as a storage on it: there must be none.
    """
    opened, listed = [], []
    for _ in range(repetitions):
        storage = ZarrStorage(path)
        opened.append(time_s(storage.list))
        listed.append(time_s(storage.list))
        del storage
    return opened, listed


def many(scale: Scale) -> Iterator[Row]:
    """A store of a thousand small checkpoints: open, list, delete."""
    path = scale.directory / "many.zarr"
    with ZarrStorage(path, durable=False) as writer:
        cells = {"cells": np.zeros((8, 8), np.uint8)}
        for step in range(_COUNT):
            writer.save(f"bench_0_step_{step}", bench_snapshot(cells, step))
    del writer
    time.sleep(0.2)  # a listing is remembered once the directory's time stamp is that old
    opened, listed = _open_and_list(path, scale.times(15, 7))
    deleted, gone = [], []
    remove = WorkArea.remove_checkpoint  # runs after the name is gone

    def noting(work_area: WorkArea, trash: Path, keys: set[str] | None = None) -> None:
        """Note when the visible part of a delete is over."""
        gone.append(time.perf_counter())
        remove(work_area, trash, keys)

    with ZarrStorage(path) as storage, mock.patch.object(WorkArea, "remove_checkpoint", noting):
        storage.list()
        storage.delete("bench_0_step_0")  # takes the lock
        for step in range(1, scale.times(51, 21)):
            began = time.perf_counter()
            storage.delete(f"bench_0_step_{step}")
            deleted.append((gone[-1] - began) * 1e3)
    opened, listed = [1e3 * s for s in opened], [1e3 * s for s in listed]
    yield Row("open_1000", "open a store of 1000 checkpoints", opened, "ms", "<=", 50.0)
    yield Row("list_1000", "list it again", listed, "ms", "<=", 1.0)
    what = "delete a checkpoint of it: until its name is gone, durably"
    yield Row("delete", what, deleted, "ms", "<=", 1.0)


class _Growing:
    """A store to which one actor commits, keeping five, beside checkpoints of another."""

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
        fields = {"cells": np.full((8, 8), self._step % 256, np.uint8)}
        snapshot = Snapshot(
            fields, kernel_id, kernel_id, "bench", 0, self._step, self._step, run=_RUN
        )
        storage.save(f"{kernel_id}_0_step_{self._step}", snapshot)

    def _save_and_retire(self) -> None:
        self._save(self.storage, "mine")
        retire(self.storage, "mine", "mine", _RUN, keep_last(5), protect=())

    def commit(self) -> float:
        """Commit durably and retire, as the manager does; return seconds."""
        return time_s(self._save_and_retire)


def histories(scale: Scale) -> Iterator[Row]:
    """Open and list ten thousand checkpoints; commit beside them, and beside ten."""
    count = 1000 if scale.quick else 10_000
    long = _Growing(scale.directory / "long.zarr", count - 5)
    short = _Growing(scale.directory / "short.zarr", 5)
    pairs = interleaved(long.commit, short.commit, scale.times(101, 31))
    yield ratio_row(
        "commit_long",
        f"durable commit with retention, {count:,} checkpoints there / 10 there",
        pairs,
        ("10 there", 1e3, "ms"),
        at_most=1.2,
    )
    path = long.path
    long.storage.close()
    del long
    opened, listed = _open_and_list(path, scale.times(7, 3))
    yield Row("open_many", f"open a store of {count:,} checkpoints", opened, "s", "<=", 1.0)
    listed = [1e3 * s for s in listed]
    yield Row("list_many", f"list {count:,} checkpoints again", listed, "ms", "<=", 20.0)
