"""A store in a directory: failing disks, kills, and what is not ringnb's."""

from __future__ import annotations

import itertools
import json
import os
import signal

import numpy as np
import pytest
import zarr
from processes import other_process

import ringnb as rn
from ringnb.checkpoint.storage.directory import backend as directory
from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.directory.barrier import Barrier
from ringnb.checkpoint.storage.directory.listing import Listing
from ringnb.testing.storages import make_snapshot

NAME = "checkpoint_0_step_7"
ONE, TWO = "checkpoint_0_step_1", "checkpoint_0_step_2"


WAYS = {"barrier": lambda folder, _: Barrier(folder), "fsyncs": lambda *_: None}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """How small commits get onto the disk, whatever the machine has to write at the time."""
    monkeypatch.setattr(directory, "open_barrier", WAYS[request.param])
    if request.param == "barrier" and not files.can_sync_filesystem:
        pytest.skip("needs syncfs")
    return request.param


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
def test_storage_rule_01_a_failing_disk_leaves_older_checkpoints_and_no_litter(
    tmp_path, way, number
):
    probe = rn.ZarrStorage(tmp_path / "probe.zarr")
    probe.save("a_0_step_0", make_snapshot())
    operations = operations_of(lambda: probe.save("a_0_step_1", make_snapshot(1)))
    probe.close()
    assert len(operations) >= {"barrier": 16, "fsyncs": 20}[way]
    assert operations.count("sync_filesystem") == (way == "barrier")
    for n in range(len(operations)):
        path = tmp_path / f"{n}.zarr"
        storage = rn.ZarrStorage(path)
        storage.save("a_0_step_0", make_snapshot())
        error = OSError(number, os.strerror(number))
        raised = failing_at(n, error, lambda s=storage: s.save("a_0_step_1", make_snapshot(1)))
        if operations[n] == "sync_filesystem":  # of whatever program: each file is synced then
            assert raised is None
        else:
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


def killed_at(pipe, path, way, stop_at):
    directory.open_barrier = WAYS[way]
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


@pytest.mark.parametrize(
    ("way", "stop_at"),
    [*(("fsyncs", n) for n in range(1, 31, 3)), ("barrier", 14), ("barrier", 15)],
)
def test_storage_rule_01_a_kill_at_any_operation_leaves_whole_checkpoints(path, way, stop_at):
    with other_process(killed_at, path, way, stop_at) as (process, _):
        process.join(60)
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


def test_storage_rule_02_durable_syncs_every_file_and_directory_before_the_rename(
    storage, path, way
):
    storage.save("a_0_step_0", make_snapshot())
    log, written = [], []

    def note(name, arguments, call):
        if name == "sync_file":
            log.append(os.readlink(f"/proc/self/fd/{arguments[0]}"))
        elif name == "sync_directory":
            log.append(str(arguments[0]))
        elif name in {"rename", "sync_filesystem"}:
            log.append(name)
        elif name == "write_data":
            written.append(len(log))
        return call()

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    assert files.sync_file.__wrapped__ is os.fsync
    with files.interposing(note):
        storage.save("a_0_step_1", make_snapshot(1))
    at = log.index("rename")
    assert log[at + 1 :] == [str(path)]
    if way == "barrier":  # for all that was written
        assert log[:at] == ["sync_filesystem"]
        assert written == [0] * 5
        return
    before = {p.split("/staging/")[1].partition("/")[2] for p in log[:at]}
    expected = {"", "zarr.json", "u", "u/zarr.json", "u/c.0.0"}
    assert before == expected | {"counts", "counts/zarr.json", "counts/c.0"}


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


# -- groups ----------------------------------------------------------------------------------------

GROUP = [f"a_{slot}_step_1" for slot in range(3)]


def group(names=GROUP, **changes):
    return [(name, make_snapshot(1, kernel_id=name, **changes)) for name in names]


def pair():
    """Two with as few files as possible."""
    return group(GROUP[:2], fields={"u": np.zeros(3)}, field_attrs={})


def in_turn(monkeypatch):
    monkeypatch.setattr(directory, "_WORKERS", 1)


def test_storage_rule_23_a_group_is_on_the_disk_before_the_first_name_is_seen(storage, path, way):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    storage.save(NAME, make_snapshot())
    log = []

    def note(name, arguments, call):
        if name.startswith("sync_"):
            first = arguments[0]
            where = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else str(first)
            log.append((name, where))
        elif name in {"rename", "write_data"}:
            log.append((name, ""))
        return call()

    with files.interposing(note):
        results = storage.save_many(group())
    assert not any(isinstance(result, Exception) for result in results)
    kinds = [kind for kind, _ in log]
    published = kinds.index("rename")
    assert kinds[published:] == ["rename"] * 3 + ["sync_directory"]
    assert log[-1][1] == str(path)
    assert kinds[:published].count("write_data") == 3 * 5
    if way == "barrier":
        assert kinds[: published - 1] == ["write_data"] * 15
        assert log[published - 1] == ("sync_filesystem", str(path.parent / ".store.zarr.ringnb"))
    else:
        assert kinds[:published].count("sync_file") == 3 * 5
        assert kinds[:published].count("sync_directory") == 3 * 3
        synced = {where.split("/staging/")[1] for kind, where in log[:published] if where}
        assert len(synced) == 3 * 8
    assert storage.list() == [NAME, *GROUP]
    assert [c.sequence for c in storage.catalogue()] == [1, 2, 3, 4]
    for name in storage.list():
        storage.load(name).verify()


def test_storage_rule_23_without_durability_a_group_waits_for_no_disk(path):
    with rn.ZarrStorage(path, durable=False) as storage:
        storage.save(NAME, make_snapshot())
        assert not {n for n in operations_of(lambda: storage.save_many(group())) if "sync" in n}
        assert storage.list() == [NAME, *GROUP]


def test_storage_rule_23_a_failure_at_any_operation_fails_one_or_all_and_leaves_no_litter(
    tmp_path, way, monkeypatch
):
    in_turn(monkeypatch)
    with rn.ZarrStorage(tmp_path / "probe.zarr") as probe:
        probe.save(NAME, make_snapshot())
        operations = operations_of(lambda: probe.save_many(pair()))
    failed = []
    for n, operation in enumerate(operations):
        storage = rn.ZarrStorage(tmp_path / f"{n}.zarr")
        storage.save(NAME, make_snapshot())
        results = []
        failing_at(n, OSError(5, "I/O"), lambda s=storage, r=results: r.extend(s.save_many(pair())))
        good, bad = [], []
        for snapshot, result in zip(pair(), results, strict=True):
            (bad if isinstance(result, Exception) else good).append(snapshot)
        failed.append((operation, len(bad)))
        assert storage.list() == [NAME, *(name for name, _ in good)], operation
        storage.save_many(bad)  # and the next one works
        assert set(storage.list()) == {NAME, *GROUP[:2]}
        for name in storage.list():
            storage.load(name).verify()
        storage.close()
        area = tmp_path / f".{n}.zarr.ringnb"
        assert os.listdir(area / "staging") == os.listdir(area / "trash") == []
    assert failed[-1] == ("sync_directory", 2), "all names are made durable together"
    # What fails at the barrier may be another program's.
    assert {count for operation, count in failed[:-1] if operation != "sync_filesystem"} == {1}
    assert [count for operation, count in failed if operation == "sync_filesystem"] == (
        [0] if way == "barrier" else []
    )


def test_storage_rule_23_an_interrupt_at_any_operation_leaves_nothing_of_the_group(
    tmp_path, way, monkeypatch
):
    in_turn(monkeypatch)
    with rn.ZarrStorage(tmp_path / "probe.zarr") as probe:
        probe.save(NAME, make_snapshot())
        count = len(operations_of(lambda: probe.save_many(pair())))
    storage = rn.ZarrStorage(tmp_path / "s.zarr")
    storage.save(NAME, make_snapshot())
    for n in range(count):
        with pytest.raises(KeyboardInterrupt):
            failing_at(n, KeyboardInterrupt, lambda: storage.save_many(pair()))
        assert storage.list() == [NAME]
    storage.save_many(pair())
    assert storage.list() == [NAME, *GROUP[:2]]
    sequences = [c.sequence for c in storage.catalogue()]
    assert sequences == sorted(set(sequences))
    storage.close()
    area = tmp_path / ".s.zarr.ringnb"
    assert os.listdir(area / "staging") == os.listdir(area / "trash") == []


def test_storage_rule_23_large_ones_go_by_themselves_and_order_is_kept(storage, way):
    large = make_snapshot(1, fields={"u": np.zeros((600, 600), np.float32)}, field_attrs={})
    snapshots = [*group(), ("large_0_step_1", large), ("b_0_step_1", make_snapshot())]
    storage.save_many(snapshots)
    assert storage.list() == [name for name, _ in snapshots]
    sequences = [c.sequence for c in storage.catalogue()]
    assert sequences == sorted(set(sequences))


def test_storage_rule_23_a_group_shares_chunks_as_single_commits_do(path, way):
    with rn.ZarrStorage(path, incremental=True) as storage:
        storage.save(ONE, make_snapshot(1))
        storage.save_many(
            [(TWO, make_snapshot(1)), ("checkpoint_0_step_3", make_snapshot(1, params={}))]
        )
        for name in (TWO, "checkpoint_0_step_3"):
            assert os.path.samefile(path / ONE / "u" / "c.0.0", path / name / "u" / "c.0.0")
            storage.load(name).verify()


def test_storage_rule_23_deletions_of_a_group_are_durable_before_the_first_file_goes(storage):
    storage.save_many([(NAME, make_snapshot()), *group()])
    storage.pin(GROUP[1], "mine")
    operations = operations_of(lambda: storage.delete_many(GROUP))
    assert operations[:4] == ["rename", "rename", "sync_directory", "remove_file"]
    assert operations.count("sync_directory") == 1
    assert storage.list() == [NAME, GROUP[1]]


def test_storage_rule_23_no_file_goes_if_deletions_cannot_be_made_durable(storage, path):
    storage.save_many([(NAME, make_snapshot()), *group()])
    results = []
    raised = failing_at(
        2, OSError(5, "I/O"), lambda: results.extend(storage.delete_many(GROUP[:2]))
    )
    assert raised is None
    assert [str(error) for error in results] == ["[Errno 5] I/O"] * 2
    trash = path.parent / ".store.zarr.ringnb" / "trash"
    assert len([p for p in trash.rglob("*") if p.is_file()]) == 2 * 5
    storage.save(ONE, make_snapshot(1))  # sweeps
    assert os.listdir(trash) == []
