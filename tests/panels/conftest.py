"""The session that most tests of panels look at."""

from __future__ import annotations

import pytest

import ringnb as rn
from ringnb.panels.core.limits import PROFILES, Profile


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.setitem(PROFILES, "default", Profile(refresh_s=0.02))
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr", max_snapshots=4)
    with rn.Session(
        rn.actors.Wave2D((24, 24)), actors=2, config=config, max_steps_per_second=2000
    ) as session:
        session.inject(0, at=(5, 7), amplitude=1.0)
        yield session
