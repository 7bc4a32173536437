"""Runs in a host, with its real processes: the notebook dies, a worker dies, all goes on."""

from __future__ import annotations

import contextlib
import inspect
import os
import pickle
import re
import signal
import stat
import threading
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
import waiting

import ringnb as rn
from ringnb import cluster
from ringnb._support.children import PythonChild
from ringnb.cluster import trial
from ringnb.cluster.connection import connected

LAUNCHER = Path(__file__).with_name("launcher.py")
LIFE = rn.actors.Life((32, 32))


def pid_of(address, session):
    """Return the process of the worker that has a run."""
    with connected(address) as client:
        return client.run(os.getpid)[session.record().worker]


@pytest.fixture
def session(address, config, request):
    with cluster.launch(LIFE, request.node.name, address=address, config=config) as session:
        yield session
        session.end()


def test_a_run_outlives_the_process_that_has_launched_it(address, tmp_path):
    store = tmp_path / "s.zarr"
    with PythonChild(LAUNCHER, address, "outlives", store, log=tmp_path / "log") as child:
        step = int(next(child.lines(120)))
        child.kill()
    with cluster.attach(address, "outlives") as session:
        first = session.current_step(0)
        assert first >= step
        waiting.until(lambda: session.current_step(0) > first)  # it runs
        # It is the same session, and none that was restored.
        assert session.counters(0).epoch == 0
        assert session.record().losses == ()
        session.end()
    with pytest.raises(rn.KernelStopped, match="was ended"):
        cluster.attach(address, "outlives")


def test_the_calls_of_a_session(session, config):
    assert session.run_steps(0, 10) == 10
    assert session.run_steps(0, 5, wait=False) <= 15
    waiting.until(lambda: session.current_step(0) == 15)
    kept = session.snapshot(0, label="fifteen")
    assert (kept.step, kept.name in session.storage.list()) == (15, True)
    assert session.storage.load(kept.name).pinned == "fifteen"
    kept.unpin()  # the worker does it: it has the store's lock
    session.inject(0, at=(3, 3))
    session.run_steps(0, 10)
    assert session.restore(0, kept) == 15
    np.testing.assert_array_equal(session.state(0)["alive"], kept["alive"][:])
    session.manager.reconfigure(interval=500.0)
    assert session.manager.config.interval == 500.0
    assert [e.name for e in session.manager.history(0)] == session.manager.list_checkpoints(0)
    session.snapshot_every(100)
    assert session.snapshot_interval_steps(0) == 100
    assert session.statistics().completed >= 2  # a new actor is due at once, which may be a third
    with pytest.raises(ValueError, match="slot 1 does not exist"):
        session.run_steps(1, 1)
    with pytest.raises(TimeoutError, match="it goes on"):
        session.set_pace(1.0)
        session.run_steps(0, 100, timeout=0.01)


def test_no_call_of_a_session_is_forgotten(session):
    there, here = {n for n in dir(rn.Session) if n[0] != "_"}, set(dir(session))
    # The rings are the worker's, and a later run of a cell displaces no session but its own.
    assert there - here == {"send", "receive", "tell_displaced"}
    for name in there & set(dir(cluster.RemoteSession)):
        call = getattr(rn.Session, name)
        if callable(call):
            given = inspect.signature(getattr(cluster.RemoteSession, name)).parameters
            assert list(given) == list(inspect.signature(call).parameters), name
    takes = inspect.signature(cluster.launch).parameters
    # What a machine of one's own is tuned by, and a store that only this process has.
    assert set(inspect.signature(rn.Session).parameters) - set(takes) == {
        *("width", "threads", "device", "reserve", "ring_capacity", "max_steps_per_second"),
        *("storage", "service"),
    }


def test_linked_actors_go_on_together(address, config):
    """From their newest cut: what one of them has alone is of another step."""
    edge = [rn.Region("temperature", slice(y, y + 1)) for y in range(8)]
    links = [rn.Link(0, edge[6], 1, edge[0]), rn.Link(1, edge[1], 0, edge[7])]
    plates = [rn.actors.Heat2D((8, 8))] * 2
    with pytest.raises(ValueError, match="slot 1 does not exist"):
        cluster.launch(plates[0], "linked", address=address, config=config, links=links)
    with cluster.launch(plates, "linked", address=address, config=config, links=links) as session:
        assert session.links == dict.fromkeys(links, True)
        session.run_steps(0, 10)
        cut = session.snapshot_all("ten")
        assert (cut.parts, cut.pinned, cut.step) == ((0, 1), "ten", 10)
        there = session.read_region(1, edge[3])
        np.testing.assert_array_equal(there, cut.part(1)["temperature"][3:4])
        session.write_region(1, edge[3], 7.0)
        assert (session.read_region(1, edge[3]) == 7.0).all()
        assert session.restore_all(cut) == 10
        np.testing.assert_array_equal(session.read_region(1, edge[3]), there)
        session.cut(links[0])
        session.run_steps(1, 5)
        session.snapshot_all()
        session.run_steps(1, 5)
        session.snapshot(0, at=20)  # newer; of one of them, or of both
        session.resume(0)
        session.pause(1)  # both of them: neither runs again

        os.kill(pid_of(address, session), signal.SIGKILL)
        waiting.until(lambda: session.record().losses and session.record().state == "running", 120)
        with pytest.warns(rn.ClusterWarning):
            actors = session.statistics().actors
        assert actors[0].step == actors[1].step >= 15
        assert not any(c.running for c in actors)
        assert session.links == {links[0]: False, links[1]: True}
        session.join(links[0])
        assert session.links[links[0]]
        session.end()
    with rn.Session(plates[0], config=config) as alone:
        alone.run_steps(0, alone.restore(0, "latest"))
        alone.snapshot(0)  # newer than what both have
    with cluster.launch(plates, "together", address=address, config=config, links=links) as session:
        assert session.current_step(0) == session.current_step(1) == actors[0].step
        session.end()


def test_a_supervised_session_is_followed_to_the_kernel_that_replaces_it(address, config):
    def raising(now, then, params, step, x):
        if params[0] > 1 and step == 30:
            raise ValueError("too much")
        then[0, x] = now[0, x] + 1

    model = rn.actors.CellActor(raising, (8,), params={"gain": 1.0}, boundscheck=True)
    options = {"address": address, "config": config, "supervise": True}
    with cluster.launch(model, "supervised", **options) as session:
        session.run_steps(0, 10)
        session.snapshot(0)
        session.set_params(0, gain=2.0)
        with contextlib.suppress(rn.KernelStopped, rn.ClusterUnavailable):
            session.run_steps(0, 100)
        waiting.until(lambda: session.glance().supervision.restarts == 1)
        waiting.until(lambda: session.current_step(0) == 110)  # with the stored parameters
        assert session.supervisor.counts.failures == 1
        assert session.record().losses == ()
        session.end()


def test_a_lost_worker_costs_the_steps_since_the_newest_checkpoint(address, session):
    session.run_steps(0, 100)
    session.snapshot(0)
    session.set_pace(50.0)
    session.resume()
    waiting.until(lambda: session.current_step(0) > 100)
    old = session.record().worker
    os.kill(pid_of(address, session), signal.SIGKILL)
    waiting.until(lambda: session.record().losses and session.record().state == "running", 120)
    with pytest.warns(rn.ClusterWarning, match="lost its worker"):
        assert session.statistics().actors[0].step >= 100
    assert session.counters(0).epoch == 1  # it was restored
    assert session.counters(0).running  # and goes on as it was asked to
    assert session.pace(0) == 50.0
    assert session.record().losses == (old,)


def test_a_read_waits_for_a_run_of_which_all_workers_are_gone(address, session):
    session.run_steps(0, 10)
    session.snapshot(0)
    with pytest.raises(TypeError, match=r"cannot be pickled .* attach\(address, name\)"):
        pickle.dumps(session)
    with connected(address) as client:
        pids = client.run(os.getpid)
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    assert session.current_step(0) == 10
    with pytest.warns(rn.ClusterWarning):
        session.statistics()
    # It may have come to another worker before that was killed, too.
    assert 1 <= session.losses <= len(pids)


def test_a_call_under_way_when_the_worker_is_lost_is_not_made_again(address, session):
    session.set_pace(1.0)
    pid = pid_of(address, session)
    raised = []

    def step():
        try:
            session.run_steps(0, 1000)
        except rn.ClusterUnavailable as error:
            raised.append(str(error))

    thread = threading.Thread(target=step)
    thread.start()
    waiting.until(lambda: session.counters(0).running)
    os.kill(pid, signal.SIGKILL)
    thread.join(60)
    assert raised
    waiting.until(lambda: session.record().losses and session.record().state == "running", 120)
    with pytest.warns(rn.ClusterWarning):
        assert not session.statistics().actors[0].running


def test_names_of_runs(address, session, config):
    with pytest.raises(rn.RunExists, match="test_names_of_runs"):
        cluster.launch(LIFE, session.name, address=address, config=config)
    with pytest.raises(rn.RunNotFound, match="no run 'nobody'"):
        cluster.attach(address, "nobody")
    (found,) = [run for run in cluster.runs(address) if run.name == session.name]
    assert (found.state, found.store) == ("running", config.storage_path)


def test_a_store_has_one_run(address, session, config, tmp_path):
    with pytest.raises(rn.RunExists, match="'test_a_store_has_one_run' writes the store"):
        cluster.launch(LIFE, "second", address=address, config=config)
    other = rn.CheckpointConfig(storage_path=tmp_path / "t.zarr")
    with rn.Session(LIFE, config=other) as here:
        here.snapshot(0)
        with pytest.raises(rn.RunLost, match=f"is being written by process {os.getpid()}"):
            cluster.launch(LIFE, "third", address=address, config=other)
    with cluster.launch(LIFE, "third", address=address, config=other) as third:
        third.end()


def test_a_session_that_cannot_be_opened_says_why(address, tmp_path):
    (tmp_path / "file").write_text("no store")
    config = rn.CheckpointConfig(storage_path=tmp_path / "file")
    with pytest.raises(rn.RunLost, match="file"):
        cluster.launch(LIFE, "fails", address=address, config=config)
    with pytest.raises(rn.RunLost, match="file"):
        cluster.attach(address, "fails")


def test_only_its_user_gets_in(address, state_home):
    for file in state_home.rglob("*.pem"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (folder,) = {file.parent for file in state_home.rglob("*.pem")}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with pytest.raises((OSError, ValueError, TypeError, RuntimeError)):
        from distributed import Client

        Client(address, timeout=2)


def test_the_python_of_the_readme_runs(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path(cluster.__file__).with_name("README.md").read_text(encoding="utf-8")
    names = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)), names)
    assert names["session"].closed
    (run,) = [run for run in cluster.runs(address) if run.name == "waves"]
    assert run.state == "ended"


@pytest.mark.slow
def test_notebooks_that_are_killed_lose_no_step(tmp_path, monkeypatch, state_home):
    monkeypatch.setenv("XDG_STATE_HOME", str(state_home))  # the trial sets one of its own
    forkserver.ensure_running()  # as after any test that uses it: with the environment of now
    found = trial.run(3, 0, tmp_path)
    assert (found["kills"], found["lost"]) == (3, 0)
    assert found["steps"] > 0


def test_a_host_that_is_stopped_saves_its_runs(address, config):
    """The last one of this module: it ends the host."""
    with cluster.launch(LIFE, "saved", address=address, config=config) as session:
        session.run_steps(0, 7)
    cluster.stop(address)
    assert cluster.hosts() == ()
    assert rn.ZarrStorage(config.storage_path).list()[-1] == "checkpoint_0_step_7"
    with pytest.raises(rn.ClusterUnavailable, match="no host"):
        cluster.stop(address)
