"""A small store for the tests of commands, a card for those of the benchmark."""

from __future__ import annotations

import pytest

import ringnb as rn


@pytest.fixture(scope="package")
def pristine(tmp_path_factory):
    """Three checkpoints of two actors, for reading only."""
    store = tmp_path_factory.mktemp("cli") / "s.zarr"
    config = rn.CheckpointConfig(storage_path=store, enabled=False, max_snapshots=0)
    with rn.Session(rn.actors.Wave2D((32, 32)), actors=2, config=config) as s:
        s.inject(0, at=(8, 8))
        for slot in (0, 1, 0):
            s.run_steps(slot, 10)
            s.snapshot(slot)
    return store


@pytest.fixture
def card():
    pytest.importorskip("numba_cuda")
    from simulated_card import TINY, SimulatedCard

    return SimulatedCard(TINY)
