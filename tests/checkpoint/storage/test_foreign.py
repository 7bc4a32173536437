"""What ringnb did not write: never damage, never deleted, never in the way."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil

import numpy as np
import pytest
import zarr
from stopping import stopped_at
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

import ringnb as rn
from ringnb.checkpoint.storage.directory import files
from ringnb.cli import command_line as cli
from ringnb.testing.storages import make_snapshot

ONE, TWO, THREE = (f"checkpoint_0_step_{n}" for n in (1, 2, 3))

# What JupyterLab, macOS, Windows, NFS, a NAS, editors and sync clients leave behind.
DROPPINGS = [
    *(".ipynb_checkpoints/zarr-checkpoint.json", ".DS_Store", "._zarr.json", ".nfs00000000c0ffee"),
    *("@eaDir/zarr.json@SynoEAStream", "zarr.json~", ".zarr.json.swp", "Thumbs.db", "desktop.ini"),
    *("zarr (conflicted copy).json", "zarr.json.tmp", "~$zarr.json", "notes.txt", "empty/"),
    *(".~lock.zarr.json#", "zarr.sync-conflict-20261128-220140-ABCDEFG.json", "caf\u00e9.txt"),
]
# What they make of the name of a directory.
ODD_NAMES = [
    *(f"{TWO} (copy)", f"{TWO} 2", f"{TWO}~", f"{TWO} [conflict]", f"Kopie \u00fcber {TWO}"),
    *(f"{TWO}, again", f"#{TWO}#", "\u68c0\u67e5\u70b9_0_step_2", f"{TWO}\nnewline", "x" * 241),
    *(os.fsdecode(b"checkpoint\xff_0_step_2"), "ZARR.JSON.d'", "__pycache__"),
]


def drop(folder, dropping):
    """Put a file, or an empty directory, somewhere below a directory."""
    target = folder / dropping
    if dropping.endswith("/"):
        target.mkdir(parents=True)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("mine")
    return target


def tree(folder):
    """Return what lies below a directory, with content."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }


@pytest.fixture
def three(storage):
    for n in (1, 2, 3):
        storage.save(f"checkpoint_0_step_{n}", make_snapshot(n))
    return storage


# -- beside the files of a checkpoint ----------------------------------------------------------------


@pytest.mark.parametrize("where", ["", "u"])
@pytest.mark.parametrize("dropping", DROPPINGS)
def test_storage_rule_13_a_file_beside_ours_is_no_damage_and_stays(three, path, dropping, where):
    dropped = drop(path / TWO / where, dropping)
    drop(path, dropping)
    assert three.list() == [ONE, TWO, THREE]
    assert not any(entry.damaged for entry in three.catalogue())
    three.load(TWO).verify()
    three.load(TWO).numpy()
    assert cli.main(["verify", "--repair", str(path)]) == 0
    assert three.list() == [ONE, TWO, THREE]
    three.delete(TWO)
    if dropping.startswith(".nfs"):
        return  # the system removes it when it is closed
    assert dropped.exists()
    assert dropped.is_dir() or dropped.read_text() == "mine"
    assert not [p for p in (path / TWO).rglob("*") if p.is_file() and p != dropped]
    assert three.list() == [ONE, THREE]
    assert three.foreign()
    for storage in (three, rn.ZarrStorage(path)):
        assert storage.list() == [ONE, THREE]
        assert storage.exists(TWO)  # the name is taken, by the user
        with pytest.raises(rn.CheckpointNotFound):
            storage.load(TWO)
        with pytest.raises(rn.CheckpointNotFound):
            storage.delete(TWO)
    assert cli.main(["verify", "--repair", str(path)]) == 0
    assert dropped.exists()


def test_storage_rule_13_a_name_that_a_user_keeps_gets_the_next_suffix(path):
    config = rn.CheckpointConfig(storage_path=path, max_snapshots=1, enabled=False)
    with rn.CheckpointManager(config) as manager:
        manager.register_actor(0, "model_0", "model")

        def commit(step):
            request = manager.request_snapshot(0)
            state = {"u": np.full(4, float(step))}
            response = rn.SnapshotResponse(request.request_id, 0, True, state, step)
            return manager.complete_snapshot(response)

        assert commit(1) == ONE
        (path / ONE / "notes.txt").write_text("mine")
        assert commit(2) == TWO
        assert manager.list_checkpoints(0) == [TWO]
        assert commit(1) == f"{ONE}.2"
        assert manager.list_checkpoints(0) == [f"{ONE}.2"]
        assert manager.load_latest(0).step == 1
        assert (path / ONE / "notes.txt").read_text() == "mine"
        # The user tidies up: neither the empty directory nor its removal is damage.
        (path / ONE / "notes.txt").unlink()
        assert manager.load_latest(0).name == f"{ONE}.2"
        assert manager.storage.list() == [f"{ONE}.2"]
        (path / ONE).rmdir()
        assert commit(1) == ONE


def test_storage_rule_13_an_array_that_was_added_with_zarr_stays(three, path):
    group = zarr.open_group(path / TWO, mode="r+")
    for name, data in (("analysis", np.arange(10.0)), ("mean", np.array(3.5))):
        group.create_array(name, data=data)
    three.load(TWO).verify()
    three.delete(TWO)
    assert three.list() == [ONE, THREE]
    assert zarr.open_array(path / TWO / "analysis", mode="r")[9] == 9
    assert zarr.open_array(path / TWO / "mean", mode="r")[()] == 3.5


def test_storage_rule_13_what_a_user_left_is_no_damage_even_if_it_looks_like_ours(three, path):
    array = zarr.open_array(path / TWO / "u", mode="r+")
    array.resize((6, 4))
    array[3:] = 7.0  # a chunk more, beside ours
    three.delete(TWO)
    assert three.list() == [ONE, THREE]
    assert not three.exists(TWO)
    assert dict(three.foreign()).keys() == {f"{TWO}-user"}
    assert [p.name for p in (path / f"{TWO}-user").rglob("*") if p.is_file()] == ["c.1.0"]


def test_storage_rule_13_what_a_user_left_is_in_no_sum(three, path):
    before = three.freed_by([TWO])
    (path / TWO / "big.bin").write_bytes(bytes(100_000))
    assert three.freed_by([TWO]) == before


def test_storage_rule_13_an_export_holds_what_was_committed(three, path, tmp_path):
    drop(path / TWO, ".ipynb_checkpoints/zarr-checkpoint.json")
    drop(path, f"{TWO} (copy)/zarr.json")
    assert cli.main(["export", str(path), str(tmp_path / "a.zip")]) == 0
    with rn.ZarrStorage(tmp_path / "other.zarr") as other:
        assert cli.main(["import", str(tmp_path / "a.zip"), str(tmp_path / "other.zarr")]) == 0
        assert other.list() == [ONE, TWO, THREE]
        assert other.foreign() == []


@pytest.mark.parametrize("kind", ["kill", "EIO once"])
def test_storage_rule_13_a_users_files_outlive_a_kill_at_any_moment(tmp_path, kind):
    mine = ("notes.txt", "u/.DS_Store", "mine/zarr.json", "mine/c/0", "u/c.7.0")
    for n in itertools.count():
        path = tmp_path / f"{n}.zarr"
        storage = rn.ZarrStorage(path, durable=n % 2 == 0)
        storage.save(ONE, make_snapshot(1))
        storage.save(TWO, make_snapshot(2))
        for dropping in mine:
            drop(path / TWO, dropping)
        whole = tree(path / TWO)
        if kind == "kill":
            stopped = stopped_at(n, lambda s=storage: s.delete(TWO))
        else:
            stopped = failed_at(n, lambda s=storage: s.delete(TWO))
        storage.close()
        with rn.ZarrStorage(path) as after:
            after.save(THREE, make_snapshot(3))
            # With a file that looks like a chunk it comes back under a name that is not a checkpoint's.
            left = tree(path / TWO) if TWO in after.list() else tree(path / f"{TWO}-user")
            if TWO in after.list():
                after.load(TWO).verify()
                assert left == whole
            else:
                assert after.list() == [ONE, THREE]
                assert {k: v for k, v in left.items() if v is not None} == dict.fromkeys(
                    mine, b"mine"
                )
            assert not any(entry.damaged for entry in after.catalogue())
            work_area = path.parent / f".{path.name}.ringnb"
            assert os.listdir(work_area / "trash") == os.listdir(work_area / "staging") == []
        if not stopped:
            break
    assert n > 8


def failed_at(n, act):
    counter = itertools.count()
    failed = []

    def fail(name, arguments, call):
        if next(counter) == n:
            failed.append(name)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return call()

    with files.interposing(fail):
        with contextlib.suppress(OSError):
            act()
    return bool(failed)


def test_storage_rule_13_a_file_that_is_still_open_over_nfs_does_not_come_back(three, path):
    """NFS renames an open file that is removed to .nfs...; it vanishes when it is closed."""
    hidden = path / TWO / "u" / ".nfs0000000000c0ffee"
    hidden.write_text("open")
    three.delete(TWO)
    assert not (path / TWO).exists()
    trash = path.parent / ".store.zarr.ringnb" / "trash"
    (kept,) = trash.iterdir()
    (kept / "u" / hidden.name).unlink()
    three.save("checkpoint_0_step_4", make_snapshot(4))
    assert os.listdir(trash) == []


def test_storage_rule_20_the_remains_of_a_deletion_without_its_document_are_swept(three, path):
    """After a power cut the document may be gone from the disk, and chunks may not."""
    three.close()
    trash = path.parent / ".store.zarr.ringnb" / "trash"
    shutil.move(path / TWO, trash / f"0123456789ab.{TWO}")
    (trash / f"0123456789ab.{TWO}" / "zarr.json").unlink()
    (trash / f"0123456789ab.{TWO}" / "counts" / "zarr.json").write_bytes(b"")
    with rn.ZarrStorage(path) as storage:
        storage.save("checkpoint_0_step_4", make_snapshot(4))
        assert storage.foreign() == []
    assert os.listdir(trash) == []


def test_storage_rule_20_what_came_back_gets_the_first_name_that_is_free(three, path):
    trash = path.parent / ".store.zarr.ringnb" / "trash"
    three.close()
    (trash / f"0123456789ab.{TWO}").mkdir()
    (trash / f"0123456789ab.{TWO}" / "notes.txt").write_text("mine")
    with rn.ZarrStorage(path) as storage:
        storage.delete(ONE)
        assert (path / f"{TWO}.2" / "notes.txt").read_text() == "mine"
        assert storage.list() == [TWO, THREE]


# -- beside the checkpoints ----------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ODD_NAMES)
@pytest.mark.parametrize("what", ["copy", "empty", "file"])
def test_storage_rule_13_a_name_that_we_would_not_give_is_passed_over(
    three, path, odd, what, capsys
):
    if what == "copy":
        try:
            shutil.copytree(path / TWO, path / odd)
        except OSError:
            pytest.skip("this file system does not take the name")
    elif what == "empty":
        (path / odd).mkdir()
    else:
        (path / odd).write_text("mine")
    for storage in (three, rn.ZarrStorage(path)):
        assert storage.list() == [ONE, TWO, THREE]
        assert [entry.name for entry in storage.catalogue()] == [ONE, TWO, THREE]
        ((name, why),) = storage.foreign()
        assert name == odd
        assert (
            why
            == {
                "copy": why if "rename it" in why else "",
                "empty": "a directory without zarr.json",
                "file": "a file",
            }[what]
        )
    for command in (["ls"], ["ls", "--all"], ["ls", "--json"], ["verify"], ["verify", "--repair"]):
        assert cli.main([*command, str(path)]) == 0
    assert cli.main(["export", str(path), str(path.parent / "a.zip")]) == 0
    capsys.readouterr()
    assert cli.main(["ls", "--all", "--json", str(path)]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed["foreign"]] == [odd]
    three.save("checkpoint_0_step_4", make_snapshot(4))
    assert os.path.lexists(path / odd)
    config = rn.CheckpointConfig(storage_path=path, max_snapshots=2)
    three.close()
    with rn.CheckpointManager(config) as manager:
        manager.register_actor(0, "model_0", "model")
        assert manager.load_latest(0).step == 4
        assert manager.preview_retention(rn.retention.keep_last(1))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("mine", "a group of zarr: "),
        ("shown", "a group of zarr with 'mine': "),
        ("array", r"an array of zarr, float32 \(3, 4\): "),
        ("torn", "a directory whose zarr.json is none of zarr's: "),
        ("notes.txt", "a file: "),
        ("folder", "a directory without zarr.json: "),
        ("inner", "a store of its own: "),
    ],
)
def test_storage_rule_13_what_is_no_checkpoint_is_not_called_damaged(three, path, name, what):
    for group in ("mine", "shown"):
        zarr.create_group(path / group).create_array("mine", shape=3, dtype="f4")
    with pytest.warns(zarr.errors.ZarrUserWarning):
        zarr.consolidate_metadata(path / "shown")
    zarr.create_array(path / "array", shape=(3, 4), dtype="f4")
    rn.ZarrStorage(path / "inner").save(ONE, make_snapshot(1))
    (path / "notes.txt").write_text("mine")
    (path / "folder").mkdir()
    (path / "torn").mkdir()
    (path / "torn" / "zarr.json").write_text("{")
    with pytest.raises(
        rn.CheckpointNotFound, match=f"^'{name}' in {path} is not a checkpoint, but {what}"
    ):
        three.load(name)
    with pytest.raises(rn.CheckpointNotFound, match="never committed"):
        three.load("nothing")
    (path / TWO / "zarr.json").write_text("{")
    with pytest.raises(rn.CheckpointCorrupt, match="damaged"):
        three.load(TWO)


def test_storage_rule_13_ls_all_names_what_is_not_ours_and_why(three, path, capsys):
    (path / "results").mkdir()
    (path / "notes.txt").write_text("mine")
    (path / ".DS_Store").write_text("mine")
    zarr.open_group(path / "analysis", mode="w")
    shutil.copytree(path / TWO, path / f"{TWO} (copy)")
    assert cli.main(["ls", str(path)]) == 0
    assert "results" not in capsys.readouterr().out
    assert cli.main(["ls", "--all", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    lines = lines[lines.index("Not ringnb's, and left alone:") + 2 :]
    assert [line.split("  ")[0] for line in lines] == [
        *(".DS_Store", "analysis", f"{TWO} (copy)", "notes.txt", "results"),
    ]
    assert lines[2].endswith("to use it")


def test_storage_rule_13_a_copy_that_is_being_made_is_seen_when_it_is_whole(three, path):
    whole = path.parent / "whole"
    shutil.copytree(path / TWO, whole)
    three.delete(TWO)
    (path / TWO).mkdir()
    assert three.list() == [ONE, THREE]
    shutil.copytree(whole, path / TWO, dirs_exist_ok=True)
    assert three.list() == [ONE, TWO, THREE]


def test_storage_rule_14_a_checkpoint_that_lost_its_document_is_damaged_whatever_lies_beside(
    three, path
):
    drop(path / TWO, ".ipynb_checkpoints/zarr-checkpoint.json")
    (path / TWO / "zarr.json").unlink()
    assert sorted(three.list()) == [ONE, TWO, THREE]
    with pytest.raises(rn.CheckpointCorrupt, match="is missing"):
        three.load(TWO)
    with pytest.raises(rn.CheckpointCorrupt):
        three.delete(TWO)


@pytest.mark.parametrize("name", ["loop", TWO])
def test_storage_rule_13_links_in_a_circle_do_not_stop_a_store(storage, path, name):
    storage.save(ONE, make_snapshot(1))
    (path / name).symlink_to(name)
    for look in (storage, rn.ZarrStorage(path)):
        assert [n for n in look.list() if n != name] == [ONE]
        assert look.foreign() or name == TWO
    assert cli.main(["ls", "--all", str(path)]) == 0
    with pytest.raises((rn.CheckpointCorrupt, rn.CheckpointNotFound)):
        storage.load(name)
    storage.save(THREE, make_snapshot(3))
    assert os.path.lexists(path / name)


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_storage_rule_14_a_document_that_cannot_be_read_is_damage_of_one_checkpoint(
    three, path, monkeypatch, error, capsys
):
    """As of another user's files, or of a bad sector."""
    real = os.open

    def refusing(name, *arguments, **more):
        if f"{TWO}/zarr.json" in os.fspath(name):
            raise OSError(error, os.strerror(error), name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(os, "open", refusing)
    os.utime(path / TWO / "zarr.json")  # else what is known of it is not read again
    storage = rn.ZarrStorage(path)
    assert sorted(storage.list()) == [ONE, TWO, THREE]
    with pytest.raises(rn.CheckpointCorrupt, match=os.strerror(error)):
        storage.load(TWO)
    assert cli.main(["ls", str(path)]) == 0
    assert cli.main(["verify", str(path)]) == 1
    assert os.strerror(error) in capsys.readouterr().out


# -- where a store may begin -------------------------------------------------------------------------


STRAYS = [
    *(".DS_Store", ".ipynb_checkpoints/x-checkpoint.json", ".git/HEAD", ".nfs01", "lost+found/"),
    *("Thumbs.db", "desktop.ini", "@eaDir/x", ".gitignore", "$RECYCLE.BIN/"),
]


@pytest.mark.parametrize("stray", [*STRAYS, "all of them"])
def test_storage_rule_13_a_store_begins_where_only_stray_files_lie(storage, path, stray):
    path.mkdir()
    for dropping in STRAYS if stray == "all of them" else [stray]:
        drop(path, dropping)
    before = tree(path)
    assert not storage.is_created
    assert storage.list() == []
    storage.save(ONE, make_snapshot(1))
    assert storage.list() == [ONE]
    assert before.items() <= tree(path).items()


@pytest.mark.parametrize("work", ["notes.txt", "data/", ".zgroup", ".zarray", "~", "Thumbs.db.txt"])
def test_storage_rule_13_a_directory_that_holds_work_is_refused(storage, path, work):
    drop(path, work)
    drop(path, ".DS_Store")
    before = tree(path)
    for look in (storage.list, lambda: storage.save(ONE, make_snapshot(1))):
        with pytest.raises(rn.CheckpointError, match="not empty"):
            look()
    assert tree(path) == before


# -- object stores -----------------------------------------------------------------------------------


def test_storage_rule_13_a_store_inside_a_store_is_a_store_of_its_own(three, path, capsys):
    with rn.ZarrStorage(path / "inner.zarr", durable=False) as inner:
        inner.save("a", make_snapshot(1))
    shutil.copytree(path / "inner.zarr", path / "my copy (2)")
    before = tree(path)
    for words in (["ls"], ["verify"], ["verify", "--repair"]):
        assert cli.main([*words, str(path)]) == 0
        assert "inner" not in capsys.readouterr().out
    assert cli.main(["verify", "--repair", str(path), "inner.zarr"]) == 1
    assert "has no checkpoint 'inner.zarr'" in capsys.readouterr().err
    assert tree(path) == before
    assert [why for name, why in three.foreign() if name in {"inner.zarr", "my copy (2)"}] == [
        "a store of its own",
        "a store of its own",
    ]
    assert rn.ZarrStorage(path / "inner.zarr").list() == ["a"]


def test_storage_rule_13_a_checkpoint_is_no_store(three, path, capsys):
    name = three.list()[0]
    before = tree(path)
    place = path / name
    for words in (["ls"], ["verify"], ["prune", "--yes"], ["adopt"]):
        assert cli.main([*words, str(place)]) == 1
        assert "it is a checkpoint, and the store is the directory" in capsys.readouterr().err
    with pytest.raises(rn.CheckpointError, match="it is a checkpoint"):
        rn.ZarrStorage(place).save("a", make_snapshot(1))
    assert tree(path) == before


def put(store, key):
    sync(store.set(key, default_buffer_prototype().buffer.from_bytes(b"mine")))


def test_storage_rule_13_in_an_object_store_what_is_not_ours_is_passed_over_and_stays():
    store = zarr.storage.MemoryStore()
    put(store, ".DS_Store")
    put(store, "lost+found/x")
    storage = rn.ZarrStorage(store)
    for n in (1, 2):
        storage.save(f"checkpoint_0_step_{n}", make_snapshot(n))
    copied = {
        f"{TWO} (copy){key.removeprefix(TWO)}": value
        for key, value in store._store_dict.items()
        if key.startswith(f"{TWO}/")
    }
    store._store_dict.update(copied)
    mine = [
        *(f"{ONE}/notes.txt", f"{ONE}/u/.DS_Store", f"{ONE} (copy)/zarr.json", "caf\u00e9/x"),
        *(f"{ONE}/mine/notes.txt", "notes.txt"),
    ]
    for key in mine:
        put(store, key)
    storage.load(ONE).verify()
    assert storage.list() == [ONE, TWO]
    assert dict(storage.foreign()).keys() >= {f"{ONE} (copy)", "caf\u00e9", "notes.txt"}
    storage.delete(ONE)
    assert storage.list() == [TWO]
    with pytest.raises(rn.CheckpointNotFound):
        storage.load(ONE)
    storage.save(ONE, make_snapshot(1))  # the name is free here: nothing of ours lies under it
    storage.load(ONE).verify()
    storage.delete(ONE)
    keys = set(store._store_dict)
    assert copied.items() <= store._store_dict.items()
    assert {*mine, ".DS_Store", "lost+found/x"} <= keys
    assert {key for key in keys if key.startswith(f"{ONE}/")} == {
        key for key in mine if key.startswith(f"{ONE}/")
    }


def test_storage_rule_13_an_object_store_that_holds_work_is_refused():
    store = zarr.storage.MemoryStore()
    put(store, "data/x")
    put(store, ".DS_Store")
    with pytest.raises(rn.CheckpointError, match="data/x"):
        rn.ZarrStorage(store).list()
