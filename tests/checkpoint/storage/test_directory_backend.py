"""A store in a directory: failing disks, kills, and what is not ringnb's."""

from __future__ import annotations

import itertools
import json
import os
import signal

import pytest
import zarr
from processes import other_process

import ringnb as rn
from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.directory.listing import Listing
from ringnb.testing.storages import make_snapshot

NAME = "checkpoint_0_step_7"
ONE, TWO = "checkpoint_0_step_1", "checkpoint_0_step_2"


# -- what is not ringnb's --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["directory", "file", "zarr group", "newer", "rubbish"])
def test_storage_rule_13_a_place_that_is_no_ringnb_store_is_refused_and_left_alone(path, kind):
    if kind == "file":
        path.write_text("mine")
    elif kind == "zarr group":
        zarr.open_group(path, mode="w", attributes={"owner": "me"})
    else:
        path.mkdir()
        content = {
            "directory": ("notes.txt", "mine"),
            "newer": ("zarr.json", json.dumps({"attributes": {"ringnb": {"format": 2}}})),
            "rubbish": ("zarr.json", "{"),
        }[kind]
        (path / content[0]).write_text(content[1])
    before = sorted(str(p) for p in path.parent.rglob("*"))
    storage = rn.ZarrStorage(path)
    for call in (storage.list, lambda: storage.load(NAME), lambda: storage.exists(NAME)):
        with pytest.raises(rn.CheckpointError, match="is not a ringnb store"):
            call()
    with pytest.raises(rn.CheckpointError, match="is not a ringnb store"):
        storage.save(NAME, make_snapshot())
    storage.close()
    assert sorted(str(p) for p in path.parent.rglob("*")) == before


def test_storage_rule_13_a_store_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    storage = rn.ZarrStorage(tmp_path / "file" / "store.zarr")
    with pytest.raises(rn.CheckpointError, match="is a file"):
        storage.save(ONE, make_snapshot(1))
    assert (tmp_path / "file").read_text() == "x"


def test_storage_rule_13_a_store_that_is_made_while_another_looks_is_no_foreign_directory(
    path, monkeypatch
):
    from ringnb.checkpoint.storage.directory import backend as directory
    from ringnb.checkpoint.storage.format import root_document

    path.mkdir()
    real = os.listdir

    def listdir(where):
        (path / "zarr.json").write_bytes(root_document(None))
        return real(where)

    monkeypatch.setattr(directory.os, "listdir", listdir)
    assert rn.ZarrStorage(path).list() == []


def test_storage_rule_13_reading_a_missing_store_creates_nothing(storage, path):
    assert storage.list() == []
    assert os.listdir(path.parent) == []


def test_storage_rule_13_a_foreign_file_is_never_deleted(storage, path):
    storage.save(NAME, make_snapshot())
    note = path / NAME / "u" / "notes.txt"
    note.write_text("mine")
    storage.load(NAME).verify()
    storage.delete(NAME)
    assert note.read_text() == "mine"
    assert [p for p in (path / NAME).rglob("*") if p.is_file()] == [note]


def test_storage_rule_13_foreign_groups_and_files_in_the_store_are_passed_over(storage, path):
    storage.save(NAME, make_snapshot())
    zarr.open_group(path / "results", mode="w")
    (path / "notes.txt").write_text("mine")
    assert storage.list() == [NAME]
    with pytest.raises(rn.CheckpointError):
        storage.delete("results")
    assert (path / "results" / "zarr.json").exists()


@pytest.mark.parametrize("foreign", ["directory", "link", "file"])
def test_storage_rule_13_what_was_put_into_a_checkpoint_does_not_matter_and_is_never_deleted(
    storage, path, foreign
):
    storage.save(ONE, make_snapshot(1))
    mine = path.parent / "mine"
    mine.mkdir()
    (mine / "work").write_text("years")
    added = path / ONE / "added"
    if foreign == "directory":
        added.mkdir()
    elif foreign == "link":
        added.symlink_to(mine, target_is_directory=True)
    else:
        added.write_text("note")
    storage.load(ONE).verify()
    storage.delete(ONE)
    assert os.path.lexists(added)
    assert os.listdir(path / ONE) == ["added"]
    assert (mine / "work").read_text() == "years"
    assert storage.list() == []


# -- failing disks and kills -----------------------------------------------------------------------


def operations_of(act):
    """Run `act` and return the file operations it consists of, in order."""
    seen = []

    def note(name, arguments, call):
        seen.append(name)
        return call()

    with files.interposing(note):
        act()
    return seen


def failing_at(n, error, act):
    """Run `act` with the n-th file operation failing; return what it raised."""
    counter = itertools.count()

    def fail(name, arguments, call):
        if next(counter) == n:
            raise error
        return call()

    with files.interposing(fail):
        try:
            act()
        except OSError as raised:
            return raised
    return None


@pytest.mark.parametrize("number", [5, 28, 13], ids=["EIO", "ENOSPC", "EACCES"])
def test_storage_rule_01_a_failing_disk_leaves_older_checkpoints_and_no_litter(tmp_path, number):
    probe = rn.ZarrStorage(tmp_path / "probe.zarr")
    probe.save("a_0_step_0", make_snapshot())
    operations = operations_of(lambda: probe.save("a_0_step_1", make_snapshot(1)))
    probe.close()
    assert len(operations) >= 20
    for n in range(len(operations)):
        path = tmp_path / f"{n}.zarr"
        storage = rn.ZarrStorage(path)
        storage.save("a_0_step_0", make_snapshot())
        error = OSError(number, os.strerror(number))
        raised = failing_at(n, error, lambda s=storage: s.save("a_0_step_1", make_snapshot(1)))
        assert raised is error, operations[n]
        assert storage.list() == ["a_0_step_0"]
        storage.load("a_0_step_0").verify()
        storage.save("a_0_step_1", make_snapshot(1))  # and the next one works
        storage.load("a_0_step_1").verify()
        storage.close()
        area = tmp_path / f".{n}.zarr.ringnb"
        assert os.listdir(area / "staging") == os.listdir(area / "trash") == []


def test_storage_rule_01_a_failing_first_save_leaves_nothing(tmp_path):
    for n in range(80):
        storage = rn.ZarrStorage(tmp_path / f"{n}.zarr")
        raised = failing_at(n, OSError(28, "full"), lambda s=storage: s.save(NAME, make_snapshot()))
        if raised is None:
            break
        assert storage.list() == []
        storage.save(NAME, make_snapshot())
        storage.load(NAME).verify()
        storage.close()
    assert 20 < n < 79


def test_storage_rule_01_a_failing_delete_keeps_the_checkpoint_or_finishes_later(tmp_path):
    for n in range(20):
        storage = rn.ZarrStorage(tmp_path / f"{n}.zarr")
        storage.save("a_0_step_0", make_snapshot())
        storage.save("a_0_step_1", make_snapshot(1))
        raised = failing_at(n, OSError(5, "I/O error"), lambda s=storage: s.delete("a_0_step_0"))
        names = storage.list()
        assert names in (["a_0_step_1"], ["a_0_step_0", "a_0_step_1"])
        for name in names:
            storage.load(name).verify()
        storage.close()
        storage.save("a_0_step_2", make_snapshot(2))  # sweeps
        storage.close()
        assert os.listdir(tmp_path / f".{n}.zarr.ringnb" / "trash") == []
        if raised is None and n > 8:
            break


def killed_at(pipe, path, stop_at):
    storage = rn.ZarrStorage(path)
    storage.save("a_0_step_0", make_snapshot())
    numbers = itertools.count(1)

    def deadly(name, arguments, call):
        if next(numbers) == stop_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return call()

    with files.interposing(deadly):
        storage.save("a_0_step_1", make_snapshot(1))
        storage.delete("a_0_step_0")


@pytest.mark.parametrize("stop_at", [1, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30])
def test_storage_rule_01_a_kill_at_any_operation_leaves_whole_checkpoints(path, stop_at):
    with other_process(killed_at, path, stop_at) as (process, _):
        process.join(30)
        assert process.exitcode == -signal.SIGKILL
    storage = rn.ZarrStorage(path)
    names = storage.list()
    assert names
    assert set(names) <= {"a_0_step_0", "a_0_step_1"}
    for name in names:
        storage.load(name).verify()
    storage.save("a_0_step_2", make_snapshot(2))
    storage.close()
    area = path.parent / ".store.zarr.ringnb"
    assert os.listdir(area / "staging") == os.listdir(area / "trash") == []


def test_storage_rule_02_durable_syncs_every_file_and_directory_before_the_rename(storage, path):
    storage.save("a_0_step_0", make_snapshot())
    log = []

    def note(name, arguments, call):
        if name == "sync_file":
            log.append(os.readlink(f"/proc/self/fd/{arguments[0]}"))
        elif name == "sync_directory":
            log.append(str(arguments[0]))
        elif name == "rename":
            log.append(name)
        return call()

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    assert files.sync_file.__wrapped__ is os.fsync
    with files.interposing(note):
        storage.save("a_0_step_1", make_snapshot(1))
    at = log.index("rename")
    before = {p.split("/staging/")[1].partition("/")[2] for p in log[:at]}
    expected = {"", "zarr.json", "u", "u/zarr.json", "u/c.0.0"}
    assert before == expected | {"counts", "counts/zarr.json", "counts/c.0"}
    assert log[at + 1 :] == [str(path)]


def test_storage_rule_02_a_directory_is_synced_itself(tmp_path, monkeypatch):
    """What the test above takes for granted of the operation that it sees."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    files.sync_directory(tmp_path)
    assert synced == [tmp_path.stat().st_ino]


# -- numbers ---------------------------------------------------------------------------------------


def test_storage_rule_05_a_listing_that_fails_at_the_first_write_does_not_reuse_numbers(
    storage, path, monkeypatch
):
    with rn.ZarrStorage(path) as first:
        first.save(ONE, make_snapshot(1))
    with monkeypatch.context() as patch:
        patch.setattr(Listing, "last_sequence", lambda _: (_ for _ in ()).throw(OSError(5, "I/O")))
        with pytest.raises(OSError, match="I/O"):
            storage.save(TWO, make_snapshot(2))
    storage.save(TWO, make_snapshot(2))
    assert [(c.name, c.sequence) for c in storage.catalogue()] == [(ONE, 1), (TWO, 2)]


def test_storage_rule_05_an_interrupt_right_after_the_rename_does_not_give_its_number_twice(
    storage, monkeypatch
):
    from ringnb.checkpoint.storage.directory import files

    real = files.rename

    def interrupted(source, target):
        real(source, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            storage.save(ONE, make_snapshot(1))
    storage.save(TWO, make_snapshot(2))
    sequences = [c.sequence for c in storage.catalogue()]
    assert len(set(sequences)) == len(sequences)
