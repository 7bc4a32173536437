"""The guard in a session: a bad state is told, paused if that is asked for, and undone."""

from __future__ import annotations

import numpy as np
import pytest

import ringnb as rn


def grow(now, then, params, step, x):
    then[0, x] = now[0, x] * params[0]


@pytest.mark.parametrize("service", [True, False])
def test_rule_30_a_blow_up_is_told_and_undone(tmp_path, service):
    config = rn.CheckpointConfig(
        storage_path=tmp_path / "s.zarr", interval=1e6, max_snapshots=1, guard="pause"
    )
    actor = rn.actors.CellActor(grow, (8,), params={"gain": 1e6}, start=np.ones((1, 8)))
    with rn.Session(actor, config=config, service=service) as s:
        s.run_steps(0, 3)
        good = s.snapshot(0)
        assert good.good
        s.run_steps(0, 10)
        s.resume(0)
        with pytest.warns(rn.CheckpointWarning, match="latest-good"):
            bad = s.snapshot(0)
        assert [e.name for e in s.events.select("bad")] == [bad.name]
        s.set_pace(None)  # commands are carried out in order: after this one, the pause is done
        step = s.current_step(0)
        assert s.snapshot(0).step == step
        with pytest.warns(rn.CheckpointWarning, match=r"not good.*latest-good"):
            s.restore(0, "latest")
        assert s.restore(0, "latest-good") == good.step
        np.testing.assert_array_equal(s.snapshot(0)["u"][:], good["u"][:])


def test_where_nothing_is_good_no_former_name_is_guessed(tmp_path):
    config = rn.CheckpointConfig(
        storage_path=tmp_path / "s.zarr", enabled=False, guard=lambda *_: "never"
    )
    with rn.Session(rn.actors.CellActor(grow, (8,), params={"gain": 1}), config=config) as s:
        with pytest.warns(rn.CheckpointWarning, match="never"):
            s.snapshot(0)
        with pytest.raises(rn.CheckpointNotFound, match="no checkpoint of a good state") as caught:
            s.restore(0, "latest-good")
        assert "former name" not in str(caught.value)
