"""What most tests of the storage begin with."""

from __future__ import annotations

import pytest

import ringnb as rn
from ringnb.testing.storages import make_snapshot


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.zarr"


@pytest.fixture
def storage(path):
    with rn.ZarrStorage(path) as storage:
        yield storage


@pytest.fixture
def folder(storage, path):
    """The directory of a checkpoint, and the only one in the store."""
    storage.save("checkpoint_0_step_7", make_snapshot(7))
    return path / "checkpoint_0_step_7"
