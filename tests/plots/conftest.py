"""A storage in memory, and checkpoints of any fields in it."""

from __future__ import annotations

import pytest
import zarr

import ringnb as rn
from ringnb.testing.storages import make_snapshot


@pytest.fixture
def storage():
    return rn.ZarrStorage(zarr.storage.MemoryStore())


@pytest.fixture
def stored(storage):
    """Return a function that stores fields and gives the checkpoint."""

    def store(step=7, *, u=None, attrs=None, **changes):
        if u is not None:
            dims = ("z", "y", "x")[3 - u.ndim :]
            described = {"units": "Pa", "long_name": "pressure", "dims": dims} | (attrs or {})
            changes = {"fields": {"u": u}, "field_attrs": {"u": described}} | changes
        name = f"checkpoint_0_step_{step}"
        storage.save(name, make_snapshot(step, **changes))
        return storage.load(name)

    return store
