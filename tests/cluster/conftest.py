"""One host for the tests of a module, in a state directory of its own."""

from __future__ import annotations

import pytest

import ringnb as rn


@pytest.fixture(scope="module")
def state_home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("state")
        patch.setenv("XDG_STATE_HOME", str(home))
        yield home


@pytest.fixture(scope="module")
def address(state_home):
    from ringnb import cluster

    address = cluster.start(2)
    yield address
    for host in cluster.hosts():
        cluster.stop(host.address)


@pytest.fixture
def config(tmp_path):
    return rn.CheckpointConfig(interval=3600.0, storage_path=tmp_path / "s.zarr")
