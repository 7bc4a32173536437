"""The manager on the storage that users have: a directory, and any zarr store."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import pytest
import zarr.storage

from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import CheckpointCorrupt, CheckpointWarning
from ringnb.messages.snapshots import SnapshotResponse
from ringnb.testing.clock import ManualClock


@pytest.fixture(params=["directory", "memory"])
def storage(request, tmp_path):
    if request.param == "directory":
        opened = ZarrStorage(tmp_path / "runs" / "store.zarr", durable=False)
    else:
        opened = ZarrStorage(zarr.storage.MemoryStore())
    yield opened
    opened.close()


def commit(manager, slot, step, value=0.0):
    request = manager.request_snapshot(slot)
    data = {"u": np.full((4, 3), value, "<f4"), "t": np.array([step], "<i8")}
    return manager.complete_snapshot(SnapshotResponse(request.request_id, slot, True, data, step))


def manager_of(storage, **config):
    return CheckpointManager(CheckpointConfig(**config), storage, clock=ManualClock(50.0))


def flip(path):
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_a_life_on_a_real_store(storage):
    m = manager_of(storage, max_snapshots=2)
    assert m.list_checkpoints(0) == []
    assert m.load_latest(0) is None
    m.register_actor(
        0,
        "wave",
        "toy",
        params={"c": 0.5},
        backend="cpu",
        fields={"u": {"units": "Pa", "long_name": "pressure", "dims": ("y", "x")}},
    )
    assert [r.actor_slot for r in m.poll_due_snapshots()] == [0]
    names = [commit(m, 0, step, value) for value, step in enumerate((1000, 999, 999, 5))]
    assert names[2] == "checkpoint_0_step_999.2"
    assert m.list_checkpoints(0) == names[2:]
    latest = m.load_latest(0)
    assert (latest.name, latest.step, latest.parent) == (names[3], 5, names[2])
    assert (latest.kernel_id, latest.kernel_type, latest.backend) == ("wave", "toy", "cpu")
    assert dict(latest.params) == {"c": 0.5}
    np.testing.assert_array_equal(latest.numpy()["u"], np.full((4, 3), 3.0, "<f4"))
    again = manager_of(storage, max_snapshots=2)
    again.register_actor(3, "wave", "toy")
    assert again.poll_due_snapshots() == []  # it has history
    assert again.list_checkpoints(3) == names[2:]
    newest = commit(again, 3, 0)
    assert m.list_checkpoints(0) == [names[3], newest]
    assert m.load_latest(0).parent == names[3]


def test_prefixes_and_identities_on_a_real_store(storage):
    one, two = manager_of(storage, name_prefix="sim"), manager_of(storage, name_prefix="sim_1")
    one.register_actor(1, "same", "toy")
    two.register_actor(2, "same", "toy")
    theirs = commit(two, 2, 5)
    assert one.list_checkpoints(1) == []
    assert one.load_latest(1) is None
    mine = commit(one, 1, 5)
    one.unregister_actor(1)
    assert one.list_checkpoints(1) == [mine]
    assert two.list_checkpoints(2) == [theirs]


def test_damage_on_a_real_store(tmp_path):
    with contextlib.closing(ZarrStorage(tmp_path / "s.zarr", durable=False)) as storage:
        m = manager_of(storage, max_snapshots=2)
        m.register_actor(0, "wave", "toy")
        old, new = commit(m, 0, 1), commit(m, 0, 2)
        flip(min((tmp_path / "s.zarr" / new / "u").glob("c*")))
        with pytest.warns(CheckpointWarning, match=new):
            assert m.load_latest(0).name == old
        flip(tmp_path / "s.zarr" / old / "zarr.json")
    with contextlib.closing(ZarrStorage(tmp_path / "s.zarr", durable=False)) as storage:
        m = manager_of(storage, max_snapshots=2)
        m.register_actor(0, "wave", "toy")
        assert old not in m.list_checkpoints(0)
        with pytest.raises(CheckpointCorrupt, match=old):
            m.load_latest(0)
        for step in (1, 3, 4):
            name = commit(m, 0, step)
        assert old in storage.list()  # its name is taken, it is never retired
        assert len(m.list_checkpoints(0)) == 2
        with pytest.warns(CheckpointWarning, match=old):
            assert m.load_latest(0).name == name


def test_the_manager_makes_and_closes_its_own_storage(tmp_path):
    path = tmp_path / "new" / "own.zarr"
    config = CheckpointConfig(storage_path=path)
    for run in range(2):
        with CheckpointManager(config) as m:
            assert isinstance(m.storage, ZarrStorage)
            assert len(m.list_checkpoints(0)) == run
            m.register_actor(0, "wave", "toy")
            commit(m, 0, run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with CheckpointManager(config) as m:
            assert m.load_latest(0).step == 1
