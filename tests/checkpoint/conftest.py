"""What most tests of the manager begin with."""

from __future__ import annotations

import pytest
from manager_rig import Rig

import ringnb as rn
from ringnb.testing.memory_storage import MemoryStorage


@pytest.fixture
def rig():
    return Rig()


@pytest.fixture(params=["memory", "directory"])
def storage(request, tmp_path):
    if request.param == "memory":
        yield MemoryStorage()
    else:
        with rn.ZarrStorage(tmp_path / "s.zarr", durable=False) as storage:
            yield storage
