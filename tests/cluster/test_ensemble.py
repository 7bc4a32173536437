"""Ensembles: members at the same steps, whatever happens to workers and to other members."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import waiting
from ensembles import assert_as_if_alone, members

import ringnb as rn
from ringnb import cluster
from ringnb.cluster.connection import connected
from ringnb.cluster.ensemble_files import EnsembleFiles
from ringnb.cluster.ensemble_trial import run_ensemble
from ringnb.testing import ManualClock

STEPS, EVERY = 400, 100


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
    assert_as_if_alone(data, steps)


def test_an_ensemble_that_is_ended_goes_on_where_it_was(address, tmp_path):
    ensemble = cluster.Ensemble(members(), tmp_path / "e", steps=10**9, every=EVERY)
    ensemble.launch(address)
    with pytest.raises(TimeoutError, match="it goes on"):
        ensemble.wait(0.01)
    waiting.until(lambda: min(ensemble.status().steps.values()) >= EVERY, 120)
    panel = ensemble.panel()
    waiting.until(lambda: [card["state"] for card in panel._view.cards] == ["running"] * 3)
    ensemble.end()
    ended = ensemble.wait(60)  # which would never be done
    at = ended.steps
    assert not ended.done
    assert not any(step % EVERY for step in at.values())
    waiting.until(lambda: panel.line.board.life.startswith("The ensemble has ended"))
    assert [card["state"] for card in panel._view.cards] == ["stopped"] * 3
    assert panel._ensemble._client is None
    ensemble.launch(address)
    waiting.until(lambda: panel.line.board.life == "running")
    waiting.until(lambda: [card["state"] for card in panel._view.cards] == ["running"] * 3)
    panel.close()
    ensemble.end()
    at = ensemble.wait(60).steps
    waiting.until(lambda: panel._ensemble._client is None)
    more = cluster.Ensemble(members(), tmp_path / "e", steps=max(at.values()) + EVERY, every=EVERY)
    more.launch(address)
    assert set(more.wait(120).steps.values()) == {max(at.values()) + EVERY}


def test_a_launch_that_finds_no_cluster_changes_nothing(address, tmp_path):
    ensemble = cluster.Ensemble(members(), tmp_path / "e", steps=10**9, every=EVERY)
    with pytest.raises(rn.ClusterUnavailable):
        ensemble.launch("tls://127.0.0.1:1")
    assert ensemble.runs() == ()  # no cluster is known
    with pytest.raises(rn.RunNotFound, match="launch it"):
        ensemble.wait()
    ensemble.launch(address)
    ensemble.end()
    ensemble.wait(120)
    with pytest.raises(rn.ClusterUnavailable):
        ensemble.launch("tls://127.0.0.1:1")
    assert EnsembleFiles(ensemble.root).stops
    assert [run.state for run in ensemble.runs()] == ["ended"]  # of the cluster that is known


def test_a_root_that_cannot_be_written_is_no_lost_scheduler(address, tmp_path):
    ensemble = cluster.Ensemble(members(), tmp_path / "e", steps=10, every=5)
    (ensemble.root / "stop").mkdir(parents=True)  # where a file is to be removed
    with pytest.raises((IsADirectoryError, PermissionError)):
        ensemble.launch(address)
    assert ensemble.runs(address) == ()


def test_a_member_that_raises_stops_no_other_and_costs_them_no_interval(address, tmp_path):
    def counting(now, then, params, step, x):
        if params[0] > 0 and step == 50:
            raise ValueError("too much")
        then[0, x] = now[0, x] + 1

    actors = {
        name: rn.actors.CellActor(counting, (8,), params={"fails": fails}, boundscheck=True)
        for name, fails in {"a": 0.0, "raises": 1.0, "b": 0.0}.items()
    }
    ensemble = cluster.Ensemble(actors, tmp_path / "e", steps=100, every=20)
    ensemble.launch(address)
    status = ensemble.wait(120)
    assert list(status.failed) == ["raises"]
    assert "too much" in status.failed["raises"]
    assert status.steps == {"a": 100, "raises": 40, "b": 100}
    found = [(e.kernel_id, e.step) for e in EnsembleFiles(ensemble.root).entries(0)]
    for name in ("a", "b"):
        assert [step for who, step in found if who == name] == list(range(0, 101, 20))


@pytest.mark.slow
def test_workers_and_hosts_that_are_killed_cost_an_interval_and_no_bit(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))  # the trial sets one of its own
    found = run_ensemble(2, 0, tmp_path)
    assert (found.kills, found.hosts) == (2, 1)
    assert found.losses >= 1
    assert found.checkpoints == 4 * (found.steps // 200_000 + 1)


def test_what_an_earlier_version_has_left_is_opened_and_gone_on_with(address, tmp_path):
    """It committed each member by itself."""
    files = EnsembleFiles(tmp_path / "e")
    files.write_about({"steps": EVERY, "every": EVERY, "tasks": [["m0", "m1"], ["m2"]]})
    for task, names in enumerate(files.about["tasks"]):
        config = rn.CheckpointConfig(storage_path=files.store(task), enabled=False, on_close=False)
        actors = [members()[name] for name in names]
        with rn.Session(actors, config=config, kernel_ids=names) as session:
            for slot in range(len(names)):
                session.snapshot(slot)
                session.run_steps(slot, EVERY)
                session.snapshot(slot)
    assert cluster.open_ensemble(files.root)["step"].to_numpy().tolist() == [0, EVERY]
    ensemble = cluster.Ensemble(members(), files.root, steps=2 * EVERY, every=EVERY)
    ensemble.launch(address)
    ensemble.wait(120)
    data = ensemble.open()
    assert data["member"].to_numpy().tolist() == list(members())
    assert data["step"].to_numpy().tolist() == [0, EVERY, 2 * EVERY]
    for slot, name in enumerate(members()):
        entries = [e for e in files.entries(slot // 2) if e.kernel_id == name]
        for e in entries:
            stored = files.storage(slot // 2).load(e.name)["v"][:]
            np.testing.assert_array_equal(data["v"].sel(member=name, step=e.step), stored)
        assert len(entries) == 3


def test_many_members_are_few_files(tmp_path):
    many = dict.fromkeys((f"m{n}" for n in range(1000)), rn.actors.Life((8, 8)))
    tasks = cluster.Ensemble(many, tmp_path, steps=10, every=5)._tasks
    assert [len(tasks), len(tasks[0])] == [16, 63]
    assert len(cluster.Ensemble(members(), tmp_path, steps=10, every=5)._tasks) == 1


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


def test_a_wait_ends_in_time_though_looks_take_long(tmp_path, monkeypatch):
    clock = ManualClock()

    class Time:
        """Time that passes while it is slept, and in looks."""

        monotonic = staticmethod(clock)
        sleep = staticmethod(clock.advance)

    EnsembleFiles(tmp_path).write_about({"steps": 10, "every": 5, "tasks": [["m0", "m1", "m2"]]})
    ensemble = cluster.Ensemble(members(), tmp_path, steps=10, every=5)
    status = cluster.Ensemble.status

    def slow(self):
        clock.advance(4.0)
        return status(self)

    monkeypatch.setattr(cluster.Ensemble, "status", slow)
    monkeypatch.setattr("ringnb.cluster.ensemble.time", Time)
    began = clock()
    with pytest.raises(TimeoutError, match="it goes on"):
        ensemble.wait(30.0)
    assert clock() - began <= 30.0 + 4.0
