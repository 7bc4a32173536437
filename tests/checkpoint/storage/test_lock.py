"""One writer per store: between processes, between storages of a process, and after a death."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest
from processes import elsewhere, other_process

import ringnb as rn
from ringnb.checkpoint.storage.directory.lock import lock_of
from ringnb.testing.storages import make_snapshot

NAME = "checkpoint_0_step_7"
ONE, TWO = "checkpoint_0_step_1", "checkpoint_0_step_2"


def hold(pipe, path):
    with rn.ZarrStorage(path) as storage:
        storage.save("a_0_step_0", make_snapshot())
        pipe.send("holding")
        pipe.recv()


@contextlib.contextmanager
def holder(path):
    """Another process that has written; at the end of the block it has closed its storage."""
    with other_process(hold, path) as (process, pipe):
        assert pipe.recv() == "holding"
        yield process
        with contextlib.suppress(BrokenPipeError):  # it was killed
            pipe.send("close")
        process.join(60)


def save(path):
    rn.ZarrStorage(path).save("other_0_step_1", make_snapshot(1))


def is_refused(path):
    """Try to save from a second process; return its `StoreLocked`, or None if it could."""
    refusal = elsewhere(save, path)
    assert refusal is None or isinstance(refusal, rn.StoreLocked), refusal
    return refusal


def test_storage_rule_11_the_second_writer_is_refused_with_pid_and_host_and_may_read(storage, path):
    with holder(path) as process:
        with pytest.raises(rn.StoreLocked, match=f"process {process.pid} on host") as caught:
            storage.save(NAME, make_snapshot())
        assert socket.gethostname() in str(caught.value)
        with pytest.raises(rn.StoreLocked):
            storage.delete("a_0_step_0")
        storage.load("a_0_step_0").verify()
        assert storage.list() == ["a_0_step_0"]
    storage.save(NAME, make_snapshot())
    assert storage.load(NAME).sequence == 2


def test_storage_rule_11_a_killed_holder_is_replaced_at_once(storage, path):
    with holder(path) as process:
        process.kill()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    storage.save(NAME, make_snapshot())


def test_storage_rule_11_close_gives_the_lock_up_but_not_for_others_of_the_process(storage, path):
    other = rn.ZarrStorage(path)
    storage.save("a_0_step_1", make_snapshot())
    other.save("a_0_step_2", make_snapshot())
    storage.close()
    assert is_refused(path)
    other.close()
    assert not is_refused(path)
    assert storage.list() == ["a_0_step_1", "a_0_step_2", "other_0_step_1"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_storage_rule_11_a_forked_child_may_not_write_and_does_not_free_the_lock(storage, path):
    storage.save("a_0_step_1", make_snapshot())
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            storage.save("a_0_step_2", make_snapshot())
        except rn.StoreLocked:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    storage.save("a_0_step_3", make_snapshot())
    assert storage.list() == ["a_0_step_1", "a_0_step_3"]


def test_storage_rule_11_a_dropped_storage_frees_its_lock_for_this_process_and_for_others(path):
    storage = rn.ZarrStorage(path)
    storage.save(ONE, make_snapshot(1))
    assert is_refused(path)
    del storage  # never closed
    gc.collect()
    assert not is_refused(path)
    rn.ZarrStorage(path).save(TWO, make_snapshot(2))


def test_storage_rule_11_a_disk_that_cannot_take_the_owners_note_does_not_lock_the_store(
    path, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        storage = rn.ZarrStorage(path)
        storage.save(ONE, make_snapshot(1))
    storage.close()
    assert not is_refused(path)


def test_storage_rule_11_a_store_removed_by_hand_is_locked_anew(storage, path):
    storage.save(ONE, make_snapshot(1))
    shutil.rmtree(path)
    shutil.rmtree(path.parent / f".{path.name}.ringnb")
    assert storage.list() == []
    with pytest.warns(rn.CheckpointWarning, match="was removed while it was in use"):
        storage.save(TWO, make_snapshot(2))
    assert storage.list() == [TWO]
    assert is_refused(path)


def test_storage_rule_11_a_pin_after_close_does_not_keep_the_store_locked(storage, path):
    storage.save(ONE, make_snapshot(1))
    checkpoint = storage.load(ONE)
    storage.close()
    checkpoint.pin("kept")
    with open(path.parent / f".{path.name}.ringnb" / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(rn.StoreLocked):
            checkpoint.unpin()
    checkpoint.unpin()
    assert storage.load(ONE).pinned is None


# -- the lock alone ------------------------------------------------------------------------------------


@pytest.fixture
def lock_file(tmp_path):
    return tmp_path / "lock"


class Holder:
    """What a storage is to a lock."""


def take(lock_file):
    with open(lock_file) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_storage_rule_11_one_process_takes_the_lock_once_and_frees_it_with_its_last_holder(
    path, lock_file
):
    lock = lock_of(path)
    one, two = Holder(), Holder()
    with lock.mutex, lock.mutex:  # a thread may write within its own write
        assert lock.acquire(lock_file, one)
        assert not lock.acquire(lock_file, two)
        assert not lock.acquire(lock_file, one)
    assert lock.held
    assert not elsewhere(take, lock_file)
    lock.release(one)
    lock.release(one)
    assert lock.held
    lock.release(two)
    assert not lock.held
    assert elsewhere(take, lock_file)
    assert lock.acquire(lock_file, one)
    lock.release(one)


def test_storage_rule_12_a_store_has_one_lock_in_a_process_for_as_long_as_it_is_used(path):
    lock = lock_of(path)
    assert lock_of(path) is lock
    assert lock_of(path.with_name("other.zarr")) is not lock
    lock.sequence = 7
    del lock
    gc.collect()
    assert lock_of(path).sequence == 0  # made anew


def test_storage_rule_11_a_lock_file_that_was_replaced_by_hand_is_taken_anew(path, lock_file):
    lock, holder = lock_of(path), Holder()
    assert lock.acquire(lock_file, holder)
    lock_file.unlink()
    assert lock.acquire(lock_file, holder)
    assert not elsewhere(take, lock_file)
    lock.release(holder)


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"\xff", b'{"pid": 5}'])
def test_storage_rule_11_a_holder_without_a_legible_note_is_another_process(path, lock_file, note):
    lock_file.write_bytes(note)
    with open(lock_file) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(rn.StoreLocked, match="written by another process"):
            lock_of(path).acquire(lock_file, Holder())
    assert lock_file.read_bytes() == note


def test_storage_rule_11_threads_of_a_process_wait_for_each_other(storage, path):
    other = rn.ZarrStorage(path)
    threads = [
        threading.Thread(target=s.save, args=(f"a_{n}_step_{k}", make_snapshot(k)))
        for n, s in enumerate((storage, other))
        for k in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [c.sequence for c in storage.catalogue()] == list(range(1, 11))
    other.close()


# -- one store, reached in two ways --------------------------------------------------------------------


@pytest.fixture(params=["below its parent", "on its own"])
def mounted(path, tmp_path, request):
    """Another path of the same store, through a bind mount, as a container has one."""
    (tmp_path / "other").mkdir()
    with rn.ZarrStorage(path) as storage:
        storage.save("a_0_step_9", make_snapshot())
    where = tmp_path / "other" / ("all" if request.param == "below its parent" else "s.zarr")
    where.mkdir()
    what = path if where.name == "s.zarr" else path.parent
    command = ["mount", "--bind", str(what), str(where)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user cannot mount")
    yield where if where.name == "s.zarr" else where / path.name
    subprocess.run(["umount", str(where)], check=True)


def test_storage_rule_11_a_bind_mount_does_not_take_the_lock_from_the_writer(mounted, path):
    with holder(path) as process:
        refusal = str(is_refused(mounted))
        assert f"process {process.pid} on host {socket.gethostname()!r}" in refusal
        assert rn.ZarrStorage(mounted).list() == ["a_0_step_9", "a_0_step_0"]  # readers never wait
        assert not (path / ".ringnb").exists()  # and nothing moved the writer's work area
    with rn.ZarrStorage(mounted) as storage:
        storage.save(ONE, make_snapshot(1))
        storage.delete("a_0_step_9")
        assert is_refused(path)
    assert not is_refused(path)
    assert rn.ZarrStorage(path).list() == ["a_0_step_0", ONE, "other_0_step_1"]


def test_storage_rule_11_a_writer_goes_on_while_a_bind_mount_is_refused(mounted, path):
    with rn.ZarrStorage(path) as storage:
        for n in range(3):
            storage.save(f"b_0_step_{n}", make_snapshot(n))
            assert f"process {os.getpid()} on host" in str(is_refused(mounted))
        numbers = [entry.sequence for entry in storage.catalogue()]
        assert len(set(numbers)) == 4


def test_storage_rule_11_the_lock_of_the_root_document_is_taken_with_the_first_commit(path):
    with rn.ZarrStorage(path) as storage:
        storage.save(ONE, make_snapshot(1))
        with open(path / "zarr.json", "r+") as document, pytest.raises(BlockingIOError):
            fcntl.flock(document, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(path / "zarr.json", "r+") as document:
        fcntl.flock(document, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(rn.StoreLocked, match=f"process {os.getpid()} .*another path or mount"):
            storage.save(TWO, make_snapshot(2))
    storage.save(TWO, make_snapshot(2))
