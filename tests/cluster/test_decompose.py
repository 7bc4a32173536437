"""One actor over the workers of a host, with its real processes."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import waiting

import ringnb as rn
from ringnb import cluster
from ringnb.cluster import division_trial


def wave():
    return rn.actors.Wave2D((48, 40))


def live_through(session):
    session.run_steps(0, 50)
    session.set_params(0, damping=0.01)
    session.inject(0, at=(24, 3), amplitude=2.0)
    session.run_steps(0, 70)
    rows = rn.Region("pressure", slice(23, 25))
    session.write_region(0, rows, session.read_region(0, rows) * 0.5)
    return session.snapshot(0)


def files_of(checkpoint, config):
    """Return what lies in a checkpoint's directory, but for the document that says when it was made."""
    folder = Path(config.storage_path) / checkpoint.name
    files = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert files.pop(Path("zarr.json"))
    return files


def test_a_divided_actor_is_as_a_whole_one(address, config, tmp_path):
    alone_in = rn.CheckpointConfig(interval=3600.0, storage_path=tmp_path / "alone.zarr")
    with rn.Session(wave(), config=alone_in, lanes=1, width=1) as alone:
        whole = live_through(alone)
        alone.run_steps(0, 30)
        last = alone.state(0)
    with cluster.decompose(
        wave(), "divided", address=address, parts=2, config=config, halo=5
    ) as session:
        made = live_through(session)
        assert made.step == 120
        # One checkpoint in the layout of the whole: nobody can tell how many have written it.
        assert files_of(made, config) == files_of(whole, alone_in)
        made.verify()
        session.run_steps(0, 30)
        state = session.state(0)
        np.testing.assert_array_equal(state["pressure"], last["pressure"])
        assert session.restore(0, made) == 120
        assert session.params(0)["damping"] == 0.01
        session.end()
    # Any number of parts, none as well, goes on from it.
    with (
        pytest.warns(rn.CheckpointWarning, match=r"damping = 0\.01"),
        rn.Session(wave(), config=config, lanes=1, width=1) as alone,
    ):
        assert alone.restore(0, made.name) == 120
        alone.run_steps(0, 30)
        np.testing.assert_array_equal(alone.state(0)["pressure"], last["pressure"])
    with (
        pytest.warns(rn.CheckpointWarning, match=r"damping = 0\.01"),
        cluster.decompose(
            wave(), "alone", address=address, parts=1, config=config, restore=made.name
        ) as session,
    ):
        assert session.current_step(0) == 120
        session.run_steps(0, 30)
        np.testing.assert_array_equal(session.state(0)["pressure"], last["pressure"])
        session.end()


def test_what_cannot_be_divided_is_refused_before_anything_begins(address, config):
    def slanted(now, then, params, step, y, x):
        then[0, y, x] = now[0, y, x] + y

    options = {"address": address, "config": config}
    with pytest.raises(rn.NotDecomposable, match="depends on position"):
        cluster.decompose(rn.actors.CellActor(slanted, (32, 32)), "refused", parts=2, **options)
    with pytest.raises(rn.NotDecomposable, match="48 rows cannot be divided into 20 parts"):
        cluster.decompose(wave(), "refused", parts=20, **options)
    with pytest.raises(rn.NotDecomposable, match="halo=24 may do"):
        cluster.decompose(wave(), "refused", parts=2, halo=25, **options)
    with pytest.raises(TypeError, match="launch takes several"):
        cluster.decompose([wave()], "refused", parts=2, **options)
    with pytest.raises(rn.RunNotFound):
        cluster.attach(address, "refused")


def test_it_takes_what_launch_takes():
    takes = inspect.signature(cluster.decompose).parameters
    launched = inspect.signature(cluster.launch).parameters
    assert set(takes) - set(launched) == {"parts", "halo", "reach"}
    # There is one actor, which has a lane of its own on each worker, and what supervises it is the run.
    assert set(launched) - set(takes) == {
        *("actors", "kernel_ids", "backend", "lanes", "supervise", "links")
    }
    for name in set(takes) & set(launched):
        assert takes[name].default == launched[name].default


def test_an_update_that_raises_ends_the_run_and_says_where(address, config):
    def counts(now, then, params, step, y, x):
        if now[0, y, x] == 25.0:
            raise ValueError("it is 25")
        then[0, y, x] = now[0, y, x] + (now[0, y, x] > 0.0)

    start = np.zeros((48, 6))
    start[40, 2] = 1.0
    actor = rn.actors.CellActor(
        counts, shape=(48, 6), fields={"n": "float64"}, start={"n": start}, boundscheck=True
    )
    with cluster.decompose(
        actor, "raises", address=address, parts=2, config=config, reach=1
    ) as session:
        assert session.run_steps(0, 20) == 20
        with pytest.raises((rn.KernelStopped, rn.RunLost), match="at the cell y = 40, x = 2"):
            session.run_steps(0, 10)
        waiting.until(lambda: session.record().state == "failed")
        assert "at the cell y = 40, x = 2" in session.record().why
        assert session.record().losses == ()


def test_a_worker_of_a_part_and_that_of_the_session_are_killed(address, tmp_path):
    with pytest.warns(rn.ClusterWarning):
        found = division_trial.disturb(address, 2, 0, tmp_path)
    assert (found["kills"], found["losses"]) == (2, 2)
    assert found["steps"] > 0
