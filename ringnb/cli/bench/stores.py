"""Cases about storage: durable commits against raw writes, and stores of many checkpoints."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ringnb.checkpoint.storage.directory.work_area import WorkArea
from ringnb.checkpoint.storage.records import Snapshot
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cli.bench.measuring import Row, Scale, absolute, interleaved, ratios, time_s

__all__ = ["bench_snapshot", "commits", "many", "open_and_list"]

_COUNT = 1000


def bench_snapshot(fields: dict[str, Any], step: int) -> Snapshot:
    """Return fields as a snapshot of the one actor that the benchmark commits."""
    return Snapshot(fields, "bench", "bench_0", "bench", 0, step, step)


def _raw(path: Path, parts: list[Any]) -> None:
    """Write the bytes durably with as little as it takes: one file, fsync, rename, fsync."""
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
        storage = ZarrStorage(scale.directory / f"commit-{label}.zarr")
        raw = scale.directory / f"raw-{label}"
        parts = list(fields.values())
        count = [0]

        def save() -> float:
            count[0] += 1  # noqa: B023 - called in this turn of the loop
            name = f"bench_0_step_{count[0]}"  # noqa: B023
            took = time_s(lambda: storage.save(name, bench_snapshot(fields, count[0])))  # noqa: B023
            storage.delete(name)  # noqa: B023
            return took

        def write() -> float:
            took = time_s(lambda: _raw(raw, parts))  # noqa: B023
            raw.unlink()  # noqa: B023
            return took

        small = nbytes <= 2**24
        pairs = interleaved(save, write, scale.times(31, 11) if small else scale.times(9, 4))
        storage.close()
        shutil.rmtree(scale.directory / f"commit-{label}.zarr")
        if target is None:
            yield Row(
                "commit_4KiB",
                "durable commit of 4 KiB",
                [1e3 * ours for ours, _ in pairs],
                "ms",
                "<=",
                5.0,
                absolute(pairs, "raw write + fsync", 1e3, "ms"),
            )
        else:
            yield Row(
                f"commit_{label}",
                f"durable commit of {label[:-3]} MiB / raw write + fsync of the same bytes",
                ratios(pairs),
                "x",
                "<=",
                target,
                absolute(pairs, "raw", 1e3, "ms"),
            )


def open_and_list(path: Path, repetitions: int) -> tuple[list[float], list[float]]:
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
    writer = ZarrStorage(path, durable=False)
    cells = {"cells": np.zeros((8, 8), np.uint8)}
    for step in range(_COUNT):
        writer.save(f"bench_0_step_{step}", bench_snapshot(cells, step))
    writer.close()
    del writer
    time.sleep(0.2)  # a listing is remembered once the directory's time stamp is that old
    opened, listed = open_and_list(path, scale.times(15, 7))
    storage = ZarrStorage(path)
    storage.list()
    storage.delete("bench_0_step_0")  # takes the lock
    deleted, gone = [], []
    empty = WorkArea.remove_tree  # what comes after the name is gone, and nobody sees

    def noting(side: WorkArea, trash: Path) -> None:
        """Note when the visible part of a delete is over."""
        gone.append(time.perf_counter())
        empty(side, trash)

    with mock.patch.object(WorkArea, "remove_tree", noting):
        for step in range(1, scale.times(51, 21)):
            began = time.perf_counter()
            storage.delete(f"bench_0_step_{step}")
            deleted.append((gone[-1] - began) * 1e3)
    storage.close()
    yield Row(
        "open_1000", "open a store of 1000 checkpoints", [1e3 * s for s in opened], "ms", "<=", 50.0
    )
    yield Row("list_1000", "list it again", [1e3 * s for s in listed], "ms", "<=", 1.0)
    yield Row(
        "delete",
        "delete a checkpoint of it: until its name is gone, durably",
        deleted,
        "ms",
        "<=",
        1.0,
    )
