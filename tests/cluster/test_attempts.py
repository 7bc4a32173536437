"""Workers that are retired, stopped for a while, or killed for their memory: one attempt at a time."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from types import SimpleNamespace

import dask
import numpy as np
import pytest
import waiting
from distributed import Client, LocalCluster
from ensembles import assert_as_if_alone, members

import ringnb as rn
from ringnb import cluster
from ringnb.cluster import attempt
from ringnb.cluster.ensemble_files import EnsembleFiles

pytestmark = pytest.mark.slow
EVERY = 2000
# The scheduler waits for ten heartbeats all the same.
_TTL = {"distributed.scheduler.worker-ttl": "1s"}


@pytest.fixture(scope="module")
def client():
    options = {"n_workers": 0, "dashboard_address": ":0", "host": "127.0.0.1"}
    options["scheduler_kwargs"] = {"dashboard": False}
    with dask.config.set(_TTL), LocalCluster(**options) as local, Client(local) as client:
        yield client


@pytest.fixture
def worker(client, tmp_path):
    """Start workers as a user does; each is (process, address)."""
    with contextlib.ExitStack() as started:

        def start(*options):
            known = set(client.scheduler_info(n_workers=-1)["workers"])
            address = client.scheduler.address
            command = [sys.executable, "-m", "distributed.cli.dask_worker", address, *options]
            with (tmp_path / "log").open("ab") as log:
                process = subprocess.Popen(
                    [*command, "--no-dashboard", "--local-directory", str(tmp_path)],
                    stdout=log,
                    stderr=log,
                )
            started.callback(process.wait)
            started.callback(process.kill)
            # A stopped one does not end by itself.
            started.callback(process.send_signal, signal.SIGCONT)
            waiting.until(lambda: set(client.scheduler_info(n_workers=-1)["workers"]) - known, 120)
            return process, (set(client.scheduler_info(n_workers=-1)["workers"]) - known).pop()

        yield start
    waiting.until(lambda: not client.scheduler_info(n_workers=-1)["workers"], 60)


@pytest.fixture
def ensemble(tmp_path):
    return cluster.Ensemble(members(), tmp_path / "e", steps=10**9, every=EVERY)


def least(ensemble):
    return min(ensemble.status().steps.values())


def owner(client, ensemble):
    """Return the worker that has the ensemble's only task, and which were lost with it."""
    (run,) = ensemble.runs(client)
    return run.worker, run.losses, run.why


def assert_undisturbed(ensemble, client):
    """End it. Each multiple was committed once, in order, and the last state is that of no loss."""
    ensemble.end()
    ended = ensemble.wait(120)
    (step,) = set(ended.steps.values())
    cuts = [e.step for e in rn.ZarrStorage(ensemble.root / "0000.zarr").catalogue()]
    assert cuts == list(range(0, step + 1, EVERY))
    assert_as_if_alone(ensemble.open(), step)


def test_a_retired_worker_hands_over(client, worker, ensemble, config):
    _, first = worker("--no-nanny", "--nthreads", "2")
    ensemble.launch(client)
    life = rn.actors.Life((32, 32))
    with cluster.launch(life, "retired", address=client, config=config, running=True) as session:
        waiting.until(lambda: least(ensemble) >= EVERY, 120)
        session.set_pace(200.0)
        second = worker("--no-nanny", "--nthreads", "2")[1]
        step, at = session.current_step(0), least(ensemble)
        client.retire_workers([first])
        waiting.until(lambda: owner(client, ensemble)[0] == second, 120)
        waiting.until(lambda: session.record().state == "running", 120)
        with pytest.warns(rn.ClusterWarning, match="lost its worker"):
            assert session.statistics().actors[0].step >= step  # it was saved on the way
        assert session.record().losses == (first,)
        waiting.until(lambda: least(ensemble) >= at + 3 * EVERY, 120)
        assert owner(client, ensemble)[1] == (first,)
        session.end()
    assert_undisturbed(ensemble, client)


def test_a_stopped_worker_that_comes_back_commits_no_more(client, worker, ensemble):
    process, first = worker("--no-nanny", "--nthreads", "1")
    ensemble.launch(client)
    waiting.until(lambda: least(ensemble) >= EVERY, 120)
    second = worker("--no-nanny", "--nthreads", "1")[1]
    process.send_signal(signal.SIGSTOP)
    waiting.until(lambda: owner(client, ensemble)[0] == second, 120)
    # It does not run beside the other, which has the store: it says what it waits for.
    waiting.until(lambda: "is being written by" in owner(client, ensemble)[2], 120)
    assert str(process.pid) in owner(client, ensemble)[2]
    at = least(ensemble)
    process.send_signal(signal.SIGCONT)
    waiting.until(lambda: least(ensemble) >= at + 3 * EVERY, 120)
    waiting.until(lambda: owner(client, ensemble)[2] == "", 120)
    assert owner(client, ensemble)[:2] == (second, (first,))
    assert_undisturbed(ensemble, client)


def test_an_object_store_gets_no_commit_of_a_stopped_worker_that_comes_back(client, worker, s3):
    """It has no lock: what is there in the end is one line of checkpoints, without forks."""
    process, first = worker("--no-nanny", "--nthreads", "1")
    config = rn.CheckpointConfig(interval=1.0, max_snapshots=0, storage_path="s3://bucket/stopped")
    life = rn.actors.Life((32, 32))
    with cluster.launch(life, "stopped", address=client, config=config, running=True) as session:
        session.set_pace(200.0)
        storage = rn.ZarrStorage(config.storage_path)
        waiting.until(lambda: len(storage.list()) > 2, 120)
        second = worker("--no-nanny", "--nthreads", "1")[1]
        # Right after a commit: between the scheduler's answer and its document one is still let through.
        at = len(storage.list())
        waiting.until(lambda: len(storage.list()) > at, 120)
        process.send_signal(signal.SIGSTOP)
        waiting.until(lambda: session.record().losses == (first,), 120)
        waiting.until(lambda: session.record().state == "running", 120)
        assert session.record().worker == second
        at = len(storage.list())
        waiting.until(lambda: len(storage.list()) > at, 120)
        process.send_signal(signal.SIGCONT)
        process.wait(120)  # it finds that nobody knows it any more, and saves nothing at the end
        at = len(storage.list())
        waiting.until(lambda: len(storage.list()) > at + 2, 120)
        with pytest.warns(rn.ClusterWarning, match="lost its worker"):
            session.statistics()
        session.end()
    line = storage.catalogue()
    assert [e.parent_id for e in line[1:]] == [e.id for e in line[:-1]]
    steps = [e.step for e in line]
    assert steps == sorted(steps)


def test_a_task_that_needs_too_much_memory_is_given_up(client, worker, tmp_path, monkeypatch):
    monkeypatch.setattr("ringnb.cluster.member_task._GIVE_UP", (1, float("inf")))

    class Hungry(rn.actors.Life):
        def start(self, slot=0):
            held = np.ones((200, 1 << 20))  # 1.6 GiB
            while held.any():
                pass

    ensemble = cluster.Ensemble({"a": Hungry((32, 32))}, tmp_path / "e", steps=10, every=5)
    worker("--nthreads", "1", "--memory-limit", "1GiB")
    ensemble.launch(client)
    with pytest.raises(rn.RunLost, match="it has lost 2 workers, the last was"):
        ensemble.wait(120)
    assert len(owner(client, ensemble)[1]) == 2
    assert not EnsembleFiles(ensemble.root).has_failed("a")  # which says nothing of the member


def test_who_waits_for_steps_takes_little_from_them(monkeypatch):
    clock = SimpleNamespace(now=0.0)

    def sleep(seconds):
        slept.append(seconds)
        clock.now += seconds

    monkeypatch.setattr(attempt, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))

    def looks(step_s, steps):
        """Return the looks until the steps are done, and how late the last one is."""
        clock.now = began = clock.now + 1.0
        slept.clear()
        while (done := int((clock.now - began) / step_s)) < steps:
            attempt.doze(began, done, steps - done)
        return len(slept), clock.now - began - steps * step_s

    slept = []
    for step_s, steps in ((1e-6, 1000), (1e-4, 20_000), (1.0, 1), (5.0, 3)):
        count, late_s = looks(step_s, steps)
        assert count < 12 + 25 * step_s * steps
        assert late_s <= max(0.0006, min(0.05, step_s * steps))
