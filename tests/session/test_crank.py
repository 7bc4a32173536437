"""The crank: everything is stopped between any two stages, and what it says of that is true."""

from __future__ import annotations

import time

import pytest
from waiting import until

import ringnb as rn
from ringnb.checkpoint.storage.directory import backend
from ringnb.checkpoint.storage.directory.barrier import Barrier
from ringnb.session.crank import POSITIONS, Crank


def opened(tmp_path, **kwargs):
    config = rn.CheckpointConfig(
        interval=3600, max_snapshots=1, storage_path=tmp_path / "s.zarr", request_timeout=60
    )
    return rn.Session(rn.actors.Wave2D((24, 24)), config=config, service=False, **kwargs)


@pytest.mark.parametrize("at_once", [False, True], ids=["each-file", "file-system"])
def test_each_turn_moves_one_request_by_one_stage(tmp_path, monkeypatch, at_once):
    # Which of the two it is depends on what else the disk has to do.
    barrier = (lambda folder, _: Barrier(folder)) if at_once else lambda *_: None
    monkeypatch.setattr(backend, "open_barrier", barrier)
    with opened(tmp_path) as session:
        session.resume()
        crank = Crank(session)
        kernel = session.kernel
        assert crank.next_step == "Request"
        crank.turn()
        assert session.manager.pending_count == 1
        assert kernel.statistics().h2k_depth == (0,)
        crank.turn()  # send
        assert kernel.statistics().h2k_depth == (1,)
        before = session.current_step(0)
        until(lambda: session.current_step(0) > before)  # it steps on, the command is not read
        assert kernel.statistics().h2k_depth == (1,)
        crank.turn()  # capture
        assert kernel.statistics().h2k_depth == (0,)
        assert kernel.statistics().staging_taken == (1,)
        assert kernel.statistics().k2h_depth == (0,)  # not answered
        captured = session.current_step(0)
        time.sleep(0.05)
        assert session.current_step(0) == captured  # the lane is stopped
        crank.turn()  # answer
        assert kernel.statistics().k2h_depth == (1,)
        crank.turn()  # receive
        assert kernel.statistics().k2h_depth == (0,)
        assert session.storage.list() == []
        crank.turn()  # write
        staged = list((tmp_path / ".s.zarr.ringnb" / "staging").iterdir())
        assert len(staged) == 1  # all there ...
        assert (staged[0] / "zarr.json").exists()
        assert session.storage.list() == []  # ... and not to be seen
        crank.turn()  # publish
        (name,) = session.storage.list()
        session.storage.load(name).verify()
        assert session.manager.total_completed == 0  # nobody was told yet
        said = crank.turn()  # retire
        assert name in said
        assert session.manager.total_completed == 1
        assert crank.position == "idle"
        assert session.storage.load(name).step == captured


def test_nothing_older_is_deleted_before_the_new_one_is_there(tmp_path):
    with opened(tmp_path) as session:
        crank = Crank(session)
        while crank.turn() and crank.position != "idle":
            pass
        (first,) = session.storage.list()
        session.run_steps(0, 3)
        while crank.position != "committed":
            crank.turn()
        assert len(session.storage.list()) == 2
        assert f"retired: {first}" in crank.turn()
        assert len(session.storage.list()) == 1


@pytest.mark.parametrize("turns", range(1, 9))
def test_a_session_may_close_at_any_stage(tmp_path, turns):
    session = opened(tmp_path)
    session.resume()
    crank = Crank(session)
    for _ in range(turns):
        crank.turn()
    began = time.monotonic()
    session.close()
    assert time.monotonic() - began < 10
    crank.close()
    with rn.Session(
        rn.actors.Wave2D((24, 24)),
        config=rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr"),
    ) as again:
        again.snapshot(0).verify()  # the store is free and whole


@pytest.mark.parametrize("turns", range(1, 8))
def test_close_lets_everything_go_on(tmp_path, turns):
    with opened(tmp_path) as session:
        crank = Crank(session)
        for _ in range(turns):
            crank.turn()
        crank.close()
        assert crank.position == "idle"
        session.run_steps(0, 5, timeout=60)
        assert session.statistics().kernel.staging_taken == (0,) or turns < 5


def test_a_lost_answer_blocks_the_actor_until_it_is_cancelled(tmp_path):
    with opened(tmp_path) as session:
        crank = Crank(session)
        with pytest.raises(ValueError, match="no answer to lose"):
            crank.lose()
        for _ in range(3):
            crank.turn()
        assert crank.position == POSITIONS[3]
        request = crank.request.request_id
        assert str(request) in crank.lose()
        with pytest.raises(ValueError, match="its answer is lost"):
            crank.turn()
        assert session.manager.cancel_pending(request)
        crank.turn()
        assert crank.request.request_id != request


def test_a_cancelled_request_stores_nothing(tmp_path):
    with opened(tmp_path) as session:
        crank = Crank(session)
        for _ in range(5):
            crank.turn()
        assert crank.cancel()
        assert "ignored" in crank.turn()
        assert session.storage.list() == []
        assert not crank.cancel()


def test_a_commit_that_fails_leaves_the_crank_idle(tmp_path):
    with opened(tmp_path) as session:
        crank = Crank(session)
        for _ in range(5):
            crank.turn()
        session.faults.fill_disk()
        with pytest.raises(OSError, match="No space left"):
            crank.turn()
        assert crank.position == "idle"
        assert session.statistics().kernel.staging_taken == (0,)


def test_it_needs_a_session_without_a_service(tmp_path):
    with rn.Session(rn.actors.Life((8, 8)), storage=rn.ZarrStorage("memory://crank")) as session:
        with pytest.raises(ValueError, match="service=False"):
            Crank(session)


def test_a_store_without_gates_commits_in_one_go():
    storage = rn.ZarrStorage("memory://crank-by-hand")
    with rn.Session(rn.actors.Life((8, 8)), storage=storage, service=False) as session:
        crank = Crank(session)
        said = [crank.turn() for _ in range(6)]
        assert said[-1].startswith("committed")
        assert crank.position == "idle"
