"""What a worker does with its run when the scheduler, its own end or its parts come in between."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import waiting
from distributed import Client, Reschedule
from distributed.comm import CommClosedError
from in_process import cluster_of

import ringnb as rn
from ringnb import cluster
from ringnb.cluster import hosted_run, part_host
from ringnb.cluster.attempt import Attempt
from ringnb.cluster.hosted_run import HostedRun
from ringnb.cluster.part_host import PartHost
from ringnb.session.session import Session

LIFE = rn.actors.Life((16, 16))


@pytest.fixture(scope="module")
def local():
    with cluster_of(1) as local:
        yield local


@pytest.fixture(scope="module")
def client(local):
    with Client(local) as client:
        yield client


def test_a_lost_scheduler_is_told_in_words_and_keeps_no_session_open(local, client, config):
    session = cluster.launch(LIFE, "left", address=client, config=config)
    session.run_steps(0, 3)
    note = local.scheduler.handlers["ringnb_note"]

    def lost(*_args, **_given):
        """Fail as a connection does whose other end was killed."""
        msg = "in <rpc of ringnb_note>: Stream is closed"
        raise CommClosedError(msg)

    local.scheduler.handlers["ringnb_note"] = lost
    with pytest.raises(rn.ClusterUnavailable, match=r"its worker .*the call is done"):
        session.resume()
    waiting.until(lambda: session.current_step(0) > 3)  # what was asked is done
    with pytest.raises(rn.ClusterUnavailable, match=r"its worker .*the session is closed"):
        session.end()
    waiting.until(lambda: not client.processing()[next(iter(local.scheduler.workers))])
    local.scheduler.handlers["ringnb_note"] = note
    assert rn.ZarrStorage(config.storage_path).list()[-1] != "checkpoint_0_step_0"
    session.detach()


@pytest.mark.filterwarnings("ignore::ringnb.ClusterWarning")  # whoever looks is told of the loss
def test_a_run_that_is_to_move_does_so_also_if_its_session_fails_at_the_end(
    client, config, monkeypatch
):
    close, moves = Session.close, []

    def failing(session, *args, **given):
        """Close, and raise as for an exception that a background thread has met."""
        close(session, *args, **given)
        if moves == ["done"]:
            moves.append("failed")
            raise RuntimeError("of a background thread")

    def leaving(_attempt):
        """Say once that the worker is about to end."""
        if moves == ["now"]:
            moves[:] = ["done"]
            return True
        return False

    monkeypatch.setattr(Attempt, "leaving", property(leaving))
    monkeypatch.setattr(Session, "close", failing)
    with cluster.launch(LIFE, "moves", address=client, config=config) as session:
        session.run_steps(0, 7)
        moves.append("now")
        waiting.until(lambda: len(session.record().losses) == 1)
        waiting.until(lambda: session.record().state == "running")
        assert moves == ["done", "failed"]
        assert session.run_steps(0, 1) == 8
        session.end()


@pytest.mark.parametrize(
    ("there", "lost"), [(["b"], "a"), (["a"], "b"), ([], "a, b")], ids=["one", "other", "both"]
)
def test_a_worker_with_several_parts_is_lost_once(monkeypatch, there, lost):
    monkeypatch.setattr(hosted_run, "sync", lambda _loop, call: call())
    scheduler = SimpleNamespace(ringnb_workers=lambda: there)
    told = []
    hosted = object.__new__(HostedRun)
    hosted._run, hosted._parts = "plate", SimpleNamespace(lost=True)
    hosted._part_workers, hosted._ended = ["a", "b", "a"], threading.Event()
    hosted._attempt = SimpleNamespace(
        worker=SimpleNamespace(loop=None, scheduler=scheduler),
        tell=lambda **what: told.append(what),
    )
    with pytest.raises(Reschedule):
        hosted._end_for_parts("it hung up")
    assert told == [{"lost": lost}]


def test_parts_that_cannot_be_started_are_no_lost_worker(client, config, monkeypatch):
    async def refuse(*_args, **_given):
        """Start nothing."""
        raise OSError("no port is free")

    monkeypatch.setattr(PartHost, "begin", refuse)
    monkeypatch.setattr(part_host, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(part_host, "_APART_S", 0.0)
    with pytest.raises(rn.RingnbError, match="no port is free"):
        cluster.decompose(
            rn.actors.Heat2D((16, 16)), "none", address=client, parts=2, config=config
        )
    (record,) = [one for one in cluster.runs(client) if one.name == "none"]
    assert (record.state, record.losses) == ("failed", ())
