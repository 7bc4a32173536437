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


@pytest.fixture
def names(session):
    """Three checkpoints of actor 0."""
    made = []
    for _ in range(3):
        session.run_steps(0, 20)
        made.append(session.snapshot(0).name)
    return made
