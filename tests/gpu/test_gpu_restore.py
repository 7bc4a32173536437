"""Checkpoints of a device: restored there bit for bit, and carried to the CPU and back."""

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
BEFORE, AFTER = 37, 64


def session(kind, store, backend):
    config = rn.CheckpointConfig(storage_path=store, enabled=False, max_snapshots=0)
    return rn.Session(ACTORS[kind](), backend=backend, config=config)


def went_on(kind, store, backend, name):
    """Restore a checkpoint in a session of its own and step on."""
    with session(kind, store, backend) as s:
        assert s.restore(0, name) == BEFORE
        s.run_steps(0, AFTER)
        return s.snapshot(0).numpy()


@pytest.mark.parametrize("kind", ACTORS)
def test_a_restored_run_is_bit_identical(tmp_path, kind, device):
    store = tmp_path / "s.zarr"
    with session(kind, store, device) as s:
        s.run_steps(0, BEFORE)
        name = s.snapshot(0).name
        s.run_steps(0, AFTER)
        never_stopped = s.snapshot(0).numpy()
        assert s.restore(0, name) == BEFORE
        s.run_steps(0, AFTER)
        same_session = s.snapshot(0).numpy()
    another = went_on(kind, store, device, name)
    for field, expected in never_stopped.items():
        np.testing.assert_array_equal(same_session[field], expected)
        np.testing.assert_array_equal(another[field], expected)


@pytest.mark.parametrize("origin", ["cuda", "cpu"])
@pytest.mark.parametrize("kind", ACTORS)
def test_a_checkpoint_goes_on_on_the_other_side(tmp_path, kind, origin, device):
    store = tmp_path / "s.zarr"
    with session(kind, store, origin) as s:
        s.run_steps(0, BEFORE)
        checkpoint = s.snapshot(0)
        as_stored = checkpoint.numpy()
    with session(kind, store, "cpu" if origin == device else device) as s:
        s.restore(0, checkpoint.name)
        for field, there in s.snapshot(0).numpy().items():
            np.testing.assert_array_equal(there, as_stored[field])  # carried over exactly
    ours = went_on(kind, store, device, checkpoint.name)
    theirs = went_on(kind, store, "cpu", checkpoint.name)
    assert [d for f in ours if (d := differs(kind, ours[f], theirs[f]))] == []


def test_one_kernel_with_an_actor_of_each_kind_computes_what_the_cpu_computes(device):
    found = {
        backend: stepped([make() for make in ACTORS.values()], backend, BEFORE)
        for backend in (device, "cpu")
    }
    for kind, ours, theirs in zip(ACTORS, found[device], found["cpu"], strict=True):
        assert [d for field in ours if (d := differs(kind, ours[field], theirs[field]))] == []
