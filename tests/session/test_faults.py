"""Faults that are set on purpose: each does the real thing, and the design does what it promises."""

from __future__ import annotations

import errno
import time

import pytest
from waiting import until

import ringnb as rn
from ringnb.checkpoint.storage.directory import files
from ringnb.session.fault_injection import flip_bit
from ringnb.testing.memory_storage import MemoryStorage


@pytest.fixture
def session(tmp_path):
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr", max_snapshots=3)
    with rn.Session(rn.actors.Wave2D((24, 24)), config=config) as session:
        yield session


def test_a_lost_answer_expires_and_the_next_request_is_answered(session):
    session.faults.lose_answers(1)
    session.manager.reconfigure(request_timeout=0.05)
    with pytest.raises(rn.SnapshotTimeout, match="has expired: no answer within"):
        session.snapshot(0, timeout=5.0)
    session.manager.reconfigure(request_timeout=30.0)  # a busy machine may need more for the next
    until(lambda: session.events.select("lost"))
    assert session.manager.total_failed == 1
    assert session.snapshot(0).step == 0
    assert session.statistics().kernel.staging_taken == (0,)  # the buffer was given back


def test_a_full_disk_fails_the_commit_whole(session, tmp_path):
    kept = session.snapshot(0)
    session.run_steps(0, 3)
    session.faults.fill_disk()
    with pytest.raises(OSError, match="No space left") as caught:
        session.snapshot(0)
    assert caught.value.errno == errno.ENOSPC
    assert session.storage.list() == [kept.name]
    kept.verify()
    assert list((tmp_path / ".s.zarr.ringnb" / "staging").iterdir()) == []
    session.faults.fill_disk(False)
    assert session.snapshot(0).step == 3


def test_a_disk_that_stays_full_warns_in_the_same_words_and_says_when_it_is_over(session, caplog):
    session.faults.fill_disk()
    session.manager.reconfigure(interval=0.02)
    with pytest.warns(rn.CheckpointWarning) as caught:
        session.manager.reconfigure(enabled=True)
        until(lambda: session.statistics().failed >= 4)
        assert caplog.messages == []
        session.faults.clear()
        until(lambda: caplog.messages)
    assert len(caught) >= 4
    assert len({str(warning.message) for warning in caught}) == 1  # so Python shows it once
    assert "'fdtd_2d_0'" in str(caught[0].message)
    assert "No space left" in str(caught[0].message)
    [over] = caplog.messages
    failed = session.events.select("failed")
    assert (
        f"saved again: actor 'fdtd_2d_0' (slot 0) is at 'checkpoint_0_step_0'; {len(failed)} f"
        in over
    )
    assert len(failed) == session.statistics().failed >= 4  # each of them is an event


def test_a_slow_disk_slows_the_commit_and_not_the_actor(session):
    session.snapshot(0)
    session.faults.slow_disk(0.05)
    session.resume(0)
    before = session.current_step(0)
    began = time.monotonic()
    session.snapshot(0)
    took = time.monotonic() - began
    assert took >= 0.05
    assert session.current_step(0) - before > 100
    session.faults.slow_disk(0)
    assert session.faults.disk_delay_s == 0


def test_a_slow_disk_does_not_hold_up_the_end(tmp_path):
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    session = rn.Session(rn.actors.Wave2D((24, 24)), config=config)
    session.faults.slow_disk(30)
    with pytest.raises(rn.SnapshotTimeout):
        session.snapshot(0, timeout=0.05)
    began = time.monotonic()
    session.close()
    assert time.monotonic() - began < 10


def test_other_stores_of_the_process_are_not_concerned(session, tmp_path):
    session.faults.fill_disk()
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "other.zarr")
    with rn.Session(rn.actors.Life((16, 16)), config=config) as other:
        other.snapshot(0).verify()


def test_a_corrupted_chunk_is_noticed_and_passed_over(session):
    older = session.snapshot(0)
    session.run_steps(0, 5)
    newer = session.snapshot(0)
    where = session.faults.corrupt(newer.name)
    assert newer.name in where
    with pytest.raises(rn.CheckpointCorrupt):
        newer.verify()
    with pytest.warns(rn.CheckpointWarning, match=newer.name):
        assert session.restore(0, "latest") == older.step
    with pytest.raises(rn.CheckpointNotFound):
        session.faults.corrupt("checkpoint_0_step_77")


def test_no_further_damage_mends_the_first(session):
    checkpoint = session.snapshot(0)
    places = [session.faults.corrupt(checkpoint.name)]
    for _ in range(20):  # more than a byte has bits
        places.append(session.faults.corrupt(checkpoint.name))
        with pytest.raises(rn.CheckpointCorrupt):
            checkpoint.verify()
    assert len(set(places)) == len(places)


def test_damage_under_another_name_does_not_mend_a_shared_chunk(tmp_path):
    storage = rn.ZarrStorage(tmp_path / "s.zarr", incremental=True)
    config = rn.CheckpointConfig(enabled=False)
    with rn.Session(rn.actors.Wave2D((24, 24)), storage=storage, config=config) as session:
        pair = [session.snapshot(0), session.snapshot(0)]
        for checkpoint in pair:
            session.faults.corrupt(checkpoint.name)
        for checkpoint in pair:
            with pytest.raises(rn.CheckpointCorrupt):
                checkpoint.verify()


def test_what_is_all_zeros_cannot_be_damaged_further(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "chunk").write_bytes(b"\x03\x00\x00")  # its 1s lie before the middle
    assert [flip_bit(tmp_path, "c")[:13] for _ in range(2)] == ["bit 0 of byte", "bit 1 of byte"]
    assert (tmp_path / "c" / "chunk").read_bytes() == bytes(3)
    with pytest.raises(ValueError, match=r"no bit of .* is 1:"):
        flip_bit(tmp_path, "c")


def test_a_killed_kernel_is_dead_and_another_takes_its_place(session):
    session.run_steps(0, 7)
    session.snapshot(0)
    session.faults.kill_kernel()
    with pytest.raises(rn.KernelStopped, match="fault switch"):
        session.run_steps(0, 1)
    assert session.glance().actors[0].step == 7  # a look is still allowed
    with session.remake() as again:
        assert again.restore(0, "latest") == 7
        assert again.manager.config == session.manager.config
    assert session.closed


def test_the_disks_switches_need_a_directory():
    with rn.Session(rn.actors.Life((8, 8)), storage=MemoryStorage()) as session:
        with pytest.raises(ValueError, match="local directory"):
            session.faults.fill_disk()
        with pytest.raises(ValueError, match="local directory"):
            session.faults.slow_disk(1)
        with pytest.raises(ValueError, match="n must be at least 0"):
            session.faults.lose_answers(-1)


def test_clear_sets_everything_back(session):
    session.faults.lose_answers(3)
    session.faults.slow_disk(1)
    session.faults.fill_disk()
    assert repr(session.faults) == "<Faults: loses 3 answers, writes take 1 s longer, disk full>"
    session.faults.clear()
    assert repr(session.faults) == "<Faults: none>"
    session.snapshot(0)


def test_interposers_nest_and_go(tmp_path):
    seen = []

    def outer(name, arguments, call):
        seen.append(("outer", name))
        return call()

    def inner(name, arguments, call):
        seen.append(("inner", name))
        return call()

    with files.interposing(inner), files.interposing(outer):
        files.make_directory(tmp_path / "a")
    files.make_directory(tmp_path / "b")
    assert seen == [("outer", "make_directory"), ("inner", "make_directory")]
    assert (tmp_path / "b").is_dir()


def test_a_label_pins_the_checkpoint(session):
    labelled = session.snapshot(0, label="before the storm")
    assert labelled.pinned == "before the storm"
    for _ in range(4):
        session.run_steps(0, 1)
        session.snapshot(0)
    assert labelled.name in session.storage.list()
