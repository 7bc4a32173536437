"""Runs in an object store, which has no lock: the scheduler says whose commits count."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest
import waiting
from distributed import Client
from in_process import cluster_of

import ringnb as rn
from ringnb import cluster
from ringnb.cluster import hosted_run

LIFE = rn.actors.Life((16, 16))
_numbers = itertools.count()


@pytest.fixture
def url(s3):
    return f"s3://bucket/cluster-{next(_numbers)}"


@pytest.fixture(scope="module")
def local():
    with cluster_of(2) as local:
        yield local


@pytest.fixture
def session(local, url):
    config = rn.CheckpointConfig(interval=3600.0, storage_path=url)
    with Client(local) as client:
        with cluster.launch(
            LIFE, url[5:].replace("/", "-"), address=client, config=config
        ) as session:
            yield session
            if not session.closed:
                session.end()


def test_a_worker_that_comes_back_commits_nothing_beside_the_next_one(local, session, url):
    session.run_steps(0, 5)
    kept = session.snapshot(0)
    session.run_steps(0, 5)
    note = local.scheduler.handlers["ringnb_note"]
    wanted = []

    def elsewhere(*args, **given):
        """Answer as the scheduler does when another worker has the run."""
        wanted.append(given)
        return False

    local.scheduler.handlers["ringnb_note"] = elsewhere
    try:
        # The run ends by itself, and may do so while the snapshot is being refused.
        with pytest.warns(rn.CheckpointWarning, match="was not saved: StoreLocked"):
            with pytest.raises(
                rn.StoreLocked, match="of this worker no more: another worker has it"
            ):
                session.snapshot(0)
            waiting.until(lambda: session.record().state == "ended", 60)  # by itself
    finally:
        local.scheduler.handlers["ringnb_note"] = note
    assert wanted
    assert rn.ZarrStorage(url).list()[-1] == kept.name
    session.detach()


def test_while_the_scheduler_does_not_answer_nothing_is_committed(local, session, url):
    kept = session.snapshot(0)
    session.run_steps(0, 3)
    note = local.scheduler.handlers["ringnb_note"]

    def lost(*_args, **_given):
        raise OSError("it is gone")

    local.scheduler.handlers["ringnb_note"] = lost
    with pytest.raises(rn.ClusterUnavailable, match=r"its worker .*nothing was committed"):
        session.snapshot(0)
    assert rn.ZarrStorage(url).list()[-1] == kept.name
    local.scheduler.handlers["ringnb_note"] = note
    assert session.snapshot(0).step == 3


def test_a_commit_waits_not_for_ever_for_a_scheduler_that_is_silent(
    local, session, url, monkeypatch
):
    """It holds the store's lock meanwhile, for which all else that is to be written waits."""
    kept = session.snapshot(0)
    session.run_steps(0, 3)
    note, answers = local.scheduler.handlers["ringnb_note"], threading.Event()
    monkeypatch.setattr(hosted_run, "_ANSWER_S", 0.3)

    async def silent(**_given):
        while not answers.is_set():
            await asyncio.sleep(0.01)

    local.scheduler.handlers["ringnb_note"] = silent
    try:
        with pytest.raises(rn.ClusterUnavailable, match=r"its worker .*nothing was committed"):
            session.snapshot(0)
    finally:
        local.scheduler.handlers["ringnb_note"] = note
        answers.set()
    assert rn.ZarrStorage(url).list()[-1] == kept.name
    assert session.snapshot(0).step == 3
