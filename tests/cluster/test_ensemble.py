"""Ensembles: members at the same steps, whatever happens to workers and to other members."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import waiting

import ringnb as rn
from ringnb import cluster
from ringnb.cluster.connection import connected

STEPS, EVERY = 400, 100


def members():
    return {f"m{n}": rn.actors.GrayScott((24, 24), feed=0.03 + 0.004 * n) for n in range(3)}


def test_a_lost_worker_changes_no_bit_and_a_failing_member_stops_no_other(address, tmp_path):
    steps = 200_000  # a worker is lost before they are taken
    much = np.full((24, 24), 1e30, np.float32)
    actors = members() | {"blown": rn.actors.GrayScott((24, 24), start={"u": much, "v": much})}
    ensemble = cluster.Ensemble(actors, tmp_path / "e", steps=steps, every=steps // 4, per_task=2)
    ensemble.launch(address)
    with pytest.raises(rn.RunExists, match="on its way"):
        ensemble.launch(address)
    waiting.until(lambda: max(ensemble.status().steps.values()) >= 0, 120)
    with connected(address) as client:
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    # The notebook may go, and another one come.
    other = cluster.Ensemble(actors, tmp_path / "e", steps=steps, every=steps // 4, per_task=2)
    waiting.until(lambda: other.status().done, 240)
    assert other.status(address).losses >= 1
    assert list(other.status().failed) == ["blown"]
    assert "not good" in other.status().failed["blown"]
    page = other.status()._repr_html_()
    assert "3 of 4 members at step 200,000, 1 failed" in page
    assert page.count("done</td>") == 3
    assert page.count("failed: its state is not good") == 1

    data = cluster.open_ensemble(tmp_path / "e")
    assert dict(data.sizes) == {"member": 3, "step": 5, "y": 24, "x": 24}
    assert data.attrs["failed"] == ["blown"]
    config = rn.CheckpointConfig(storage_path=tmp_path / "alone.zarr", enabled=False)
    with rn.Session(list(members().values()), config=config) as alone:
        for slot, name in enumerate(members()):
            alone.run_steps(slot, steps)
            for field, values in alone.state(slot).numpy().items():
                here = data[field].sel(member=name, step=steps)
                np.testing.assert_array_equal(here.to_numpy(), values)


def test_an_ensemble_that_is_ended_goes_on_where_it_was(address, tmp_path):
    ensemble = cluster.Ensemble(members(), tmp_path / "e", steps=10**9, every=EVERY)
    ensemble.launch(address)
    with pytest.raises(TimeoutError, match="it goes on"):
        ensemble.wait(0.01)
    waiting.until(lambda: min(ensemble.status().steps.values()) >= EVERY, 120)
    ensemble.end()
    ended = ensemble.wait(60)  # which would never be done
    at = ended.steps
    assert not ended.done
    assert not any(step % EVERY for step in at.values())
    more = cluster.Ensemble(members(), tmp_path / "e", steps=max(at.values()) + EVERY, every=EVERY)
    more.launch(address)
    assert set(more.wait(120).steps.values()) == {max(at.values()) + EVERY}


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"every": 0}, "every"), ({"steps": 0}, "steps"), ({"members": {}}, "members")],
)
def test_wrong_arguments(tmp_path, changes, word):
    given = {"members": members(), "root": tmp_path, "steps": 10, "every": 5}
    with pytest.raises(ValueError, match=word):
        cluster.Ensemble(**given | changes)


def test_one_that_was_never_launched_is_not_waited_for(tmp_path):
    ensemble = cluster.Ensemble(members(), tmp_path, steps=10, every=5)
    with pytest.raises(rn.RunNotFound, match="launch it"):
        ensemble.wait()
    with pytest.raises(FileNotFoundError, match="there is no ensemble in"):
        ensemble.open()
