"""The same array, stored durably and loaded again, by ringnb and by peers: against a file's bytes."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cli.bench.measuring import Row, Scale, ratio_row, time_s
from ringnb.cli.bench.peers.child.savers import sample
from ringnb.cli.bench.peers.environment import Environment
from ringnb.cli.bench.peers.peer import Peer
from ringnb.cli.bench.peers.rounds import Measure, in_turn, start_peers
from ringnb.cli.bench.snapshots import read_files
from ringnb.cli.bench.stores import bench_snapshot, write_durably

__all__ = ["storage"]

_PEERS = {
    "numpy": "np.save",
    "tensorstore": "tensorstore",
    "zarr": "zarr",
    "h5py": "h5py",
    "orbax": "Orbax",
    "torch": "torch.save",
}
_SHAPE = (2, 4096, 4096)  # float32: 128 MiB


def storage(scale: Scale, env: Environment) -> Iterator[Row]:
    """128 MiB saved durably and loaded again: ringnb and other libraries against raw bytes."""
    array = sample(_SHAPE)
    live = np.zeros_like(array)
    with contextlib.ExitStack() as stack:
        peers, absent = start_peers(
            stack, env, "storage", _PEERS, scale.directory, shape=list(_SHAPE)
        )
        ours = stack.enter_context(ZarrStorage(scale.directory / "ringnb.zarr"))
        measures: dict[str, Measure] = {
            "raw": functools.partial(_raw, scale.directory / "raw", array, live),
            "ringnb": _ours(ours, array, live),
        }
        for name, peer in peers.items():
            measures[name] = _theirs(peer, scale.directory / f"peer-{name}")
        samples = in_turn(measures, scale.times(11, 3), absent)
        assert np.array_equal(live, array)
    size = f"{math.prod(_SHAPE) >> 18} MiB"
    for at, action, baseline in (
        (0, f"save {size} durably", "raw write + fsync"),
        (1, f"load {size} into a new array", "plain read into memory that is there"),
        (2, f"load {size} into memory that is there", "plain read"),
    ):
        for name, title in {"ringnb": "ringnb, checked" if at else "ringnb", **_PEERS}.items():
            key, what = (
                f"peer_{('save', 'load', 'fill')[at]}_{name}",
                f"{action}: {title} / {baseline}",
            )
            if name in absent:
                if at < 2:
                    yield Row(key, what, (), "x", note=absent[name])
            elif at < len(samples[name][0]):
                pairs = [
                    (mine[at], raw[min(at, 1)])
                    for mine, raw in zip(samples[name], samples["raw"], strict=True)
                ]
                note = f"; {peers[name].remark}" if name in peers and not at else ""
                yield ratio_row(key, what, pairs, ("raw", 1e3, "ms"), note=note)


def _raw(path: Path, array: Any, live: Any) -> tuple[float, float]:
    """Write the bytes to one file, and read them back; return the seconds of both."""
    written = time_s(lambda: write_durably(path, [array]))
    read = time_s(lambda: read_files([path], memoryview(live).cast("B")))
    path.unlink()
    return written, read


def _ours(storage: ZarrStorage, array: Any, live: Any) -> Callable[[], tuple[float, ...]]:
    count = itertools.count(1)

    def measure() -> tuple[float, ...]:
        """Commit, load into a new array, load into one that is there; return the seconds."""
        step, loaded = next(count), []
        name = f"bench_0_step_{step}"
        saved = time_s(lambda: storage.save(name, bench_snapshot({"u": array}, step)))
        new = time_s(lambda: loaded.append(np.asarray(storage.load(name)["u"])))
        filled = time_s(lambda: storage.load(name).read_into("u", live))
        storage.delete(name)
        return saved, new, filled

    return measure


def _theirs(peer: Peer, path: Path) -> Callable[[], tuple[float, ...]]:
    first = True

    def measure() -> tuple[float, ...]:
        """Have a peer save and load, and compare what it has loaded the first time."""
        nonlocal first
        saved = peer.ask(save=str(path))
        loaded = peer.ask(load=str(path), check=first)
        first = False
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return saved, loaded

    return measure
