"""Checkpoints of a device: restored there bit for bit, and carried to the CPU and back.

One kernel has an actor of each kind: on a lent card most of the time would be the compiler's.
"""

from __future__ import annotations

import numpy as np
import pytest

import ringnb as rn
from ringnb.testing.device_proofs import differs

from .stepping import stepped

ACTORS = {
    "fdtd_2d": lambda: rn.actors.Wave2D((130, 97), damping=0.001),
    "fdtd_3d": lambda: rn.actors.Wave3D((32, 34, 36)),
    "heat_2d": lambda: rn.actors.Heat2D((130, 97)),
    "gray_scott": lambda: rn.actors.GrayScott((130, 97)),
    "life": lambda: rn.actors.Life((130, 97)),
    "ising_2d": lambda: rn.actors.Ising2D((130, 98)),
}
BEFORE, AFTER = 11, 20


def session(store, backend):
    config = rn.CheckpointConfig(storage_path=store, enabled=False, max_snapshots=0)
    return rn.Session([make() for make in ACTORS.values()], backend=backend, config=config)


def each(s, do, *what):
    """Do something with every slot, and return what came of it."""
    return [do(slot, *(w[slot] for w in what)) for slot in range(len(s.actors))]


def steps(s, n):
    each(s, lambda slot: s.run_steps(slot, n))


def fields(s):
    return each(s, lambda slot: s.snapshot(slot).numpy())


def went_on(s, names):
    """Restore a checkpoint of each actor and step on."""
    assert each(s, s.restore, names) == [BEFORE] * len(names)
    steps(s, AFTER)
    return fields(s)


def apart(ours, theirs):
    """Say which kinds' fields differ by more than they may."""
    return [
        told
        for kind, mine, other in zip(ACTORS, ours, theirs, strict=True)
        for name in mine
        if (told := differs(kind, mine[name], other[name]))
    ]


def assert_same(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        for name, expected in other.items():
            np.testing.assert_array_equal(mine[name], expected)


def test_a_restored_run_is_bit_identical(tmp_path, device):
    with session(tmp_path / "s.zarr", device) as s:
        steps(s, BEFORE)
        names = each(s, lambda slot: s.snapshot(slot).name)
        steps(s, AFTER)
        never_stopped = fields(s)
        assert_same(went_on(s, names), never_stopped)
    with session(tmp_path / "s.zarr", device) as s:
        assert_same(went_on(s, names), never_stopped)


@pytest.mark.parametrize("origin", ["cuda", "cpu"])
def test_a_checkpoint_goes_on_on_the_other_side(tmp_path, origin, device):
    """And each kind's actor computes there what the other side's computes."""
    origin, other = (device, "cpu") if origin == "cuda" else ("cpu", device)
    store = tmp_path / "s.zarr"
    with session(store, origin) as s:
        steps(s, BEFORE)
        checkpoints = each(s, s.snapshot)
        names, as_stored = [c.name for c in checkpoints], [c.numpy() for c in checkpoints]
        ours = went_on(s, names)
    with session(store, other) as s:
        each(s, s.restore, names)
        assert_same(fields(s), as_stored)  # carried over exactly
        assert apart(ours, went_on(s, names)) == []


def test_each_kind_computes_what_the_cpu_computes(device):
    found = [stepped([make() for make in ACTORS.values()], b, BEFORE) for b in (device, "cpu")]
    assert apart(*found) == []
