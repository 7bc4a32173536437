"""A wave in a session of its own, for the lessons that look at one; other processes for lesson 4."""

from __future__ import annotations

import processes
import pytest
import zarr

import ringnb as rn


@pytest.fixture(scope="session", autouse=True)
def server():
    processes.start_server()


@pytest.fixture
def wave():
    config = rn.CheckpointConfig(enabled=False)
    storage = rn.ZarrStorage(zarr.storage.MemoryStore())
    with rn.Session(
        rn.actors.Wave2D((96, 96)), config=config, storage=storage, max_steps_per_second=4000
    ) as session:
        session.run_steps(0, 101)  # odd: the buffers have swapped roles
        yield session
