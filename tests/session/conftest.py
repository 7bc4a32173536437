"""Sessions to test with."""

from __future__ import annotations

import pytest
from session_rig import SHAPE, memory, quiet

import ringnb as rn
from ringnb.testing.kernels import Mixer


@pytest.fixture
def session():
    with rn.Session(Mixer(SHAPE), actors=2, config=quiet(), storage=memory()) as s:
        yield s


@pytest.fixture
def by_hand():
    """A session whose snapshots are sent and received by hand, both actors on one lane."""
    config = rn.CheckpointConfig(interval=3600.0)
    with rn.Session(
        Mixer(SHAPE), actors=2, config=config, storage=memory(), service=False, lanes=1
    ) as s:
        yield s
