"""Addresses: what is none, and where nobody is any more."""

from __future__ import annotations

import os
import signal

import pytest
import waiting

import ringnb as rn
from ringnb import cli, cluster

LIFE = rn.actors.Life((16, 16))


@pytest.mark.parametrize(
    ("address", "kind", "words"),
    [
        ("tls://127.0.0.1:1", rn.ClusterUnavailable, "no host of this machine has the address"),
        ("waves", ValueError, "write it as 'tls://"),
        ("http://127.0.0.1:80", ValueError, "write it as 'tls://"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_a_wrong_address_is_refused_in_a_sentence(state_home, address, kind, words):
    with pytest.raises(kind, match=words):
        cluster.attach(address, "waves")


def test_what_cannot_outlive_its_worker_is_refused(address, config):
    for wrong, kind, words in (
        ("waves.zarr", TypeError, "must be a CheckpointConfig"),
        (rn.CheckpointConfig(storage_path="memory://waves"), ValueError, "end with its worker"),
    ):
        with pytest.raises(kind, match=words):
            cluster.launch(LIFE, "waves", address=address, config=wrong)
    assert "waves" not in [run.name for run in cluster.runs(address)]


def test_a_session_that_was_ended_says_so(address, config):
    session = cluster.launch(LIFE, "ended", address=address, config=config)
    session.end()
    with pytest.raises(rn.KernelStopped, match="'ended' was ended"):
        session.current_step(0)


def test_one_that_is_detached_says_so_also_with_a_client_of_the_user(address, config):
    with cluster.connection.connected(address) as client:
        session = cluster.launch(LIFE, "left", address=client, config=config)
        session.detach()
        with pytest.raises(rn.KernelStopped, match="attach again"):
            session.current_step(0)
        cluster.attach(client, "left").end()


def test_a_host_that_does_not_answer_hides_no_other(address, capsys, monkeypatch):
    hung = cluster.HostInfo("tls://127.0.0.1:1", 1, 1, 1, "")
    monkeypatch.setattr(cluster, "hosts", lambda there=cluster.hosts(): (hung, *there))
    assert cli.main(["host", "ls"]) == 0
    said = capsys.readouterr().out
    assert said.index("does not answer: ringnb host stop tls://127.0.0.1:1 ") < said.index(address)


@pytest.mark.slow
def test_a_host_that_was_killed_is_a_cluster_that_is_not_there(state_home, config):
    here = cluster.start(1)
    cluster.launch(LIFE, "killed", address=here, config=config).detach()
    session = cluster.attach(here, "killed", timeout=1.0)
    (host,) = [host for host in cluster.hosts() if host.address == here]
    os.kill(host.pid, signal.SIGKILL)
    with pytest.raises(rn.ClusterUnavailable):
        session.pause()
    waiting.until(lambda: session.closed, 60)  # Dask's client has given up
    with pytest.raises(rn.ClusterUnavailable, match="went away"):
        session.pause()
    with pytest.raises(rn.ClusterUnavailable, match="no host of this machine"):
        cluster.attach(here, "killed")
    session.detach()
