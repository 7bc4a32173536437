"""ZarrStorage: who owns a store, and what of it; what others did to it is noticed, never deleted."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

import ringnb as rn
from ringnb.checkpoint.storage.directory.listing import Listing
from ringnb.testing.storages import make_snapshot

ONE, TWO = "checkpoint_0_step_1", "checkpoint_0_step_2"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.zarr"


@pytest.fixture
def storage(path):
    storage = rn.ZarrStorage(path)
    yield storage
    storage.close()


def save_elsewhere(path):
    """Save from a second process; return what it says if it may not."""
    code = f"""
        import ringnb as rn
        from ringnb.testing.storages import make_snapshot
        rn.ZarrStorage({str(path)!r}).save("other_0_step_1", make_snapshot(1))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    return done.stderr


def test_a_dropped_storage_frees_its_lock_for_this_process_and_for_others(path):
    storage = rn.ZarrStorage(path)
    storage.save(ONE, make_snapshot(1))
    assert "StoreLocked" in save_elsewhere(path)
    del storage  # never closed
    gc.collect()
    assert save_elsewhere(path) == ""
    rn.ZarrStorage(path).save(TWO, make_snapshot(2))


def test_a_disk_that_cannot_take_the_owners_note_does_not_lock_the_store(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        storage = rn.ZarrStorage(path)
        storage.save(ONE, make_snapshot(1))
    storage.close()
    assert save_elsewhere(path) == ""


def test_a_listing_that_fails_at_the_first_write_does_not_reuse_numbers(storage, path, monkeypatch):
    with rn.ZarrStorage(path) as first:
        first.save(ONE, make_snapshot(1))
    with monkeypatch.context() as patch:
        patch.setattr(Listing, "last_sequence", lambda _: (_ for _ in ()).throw(OSError(5, "I/O")))
        with pytest.raises(OSError, match="I/O"):
            storage.save(TWO, make_snapshot(2))
    storage.save(TWO, make_snapshot(2))
    assert [(c.name, c.sequence) for c in storage.catalogue()] == [(ONE, 1), (TWO, 2)]


def test_an_interrupt_right_after_the_rename_does_not_give_its_number_twice(storage, monkeypatch):
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


def test_a_store_removed_by_hand_is_locked_anew(storage, path):
    storage.save(ONE, make_snapshot(1))
    shutil.rmtree(path)
    shutil.rmtree(path.parent / f".{path.name}.ringnb")
    assert storage.list() == []
    with pytest.warns(rn.CheckpointWarning, match="was removed while it was in use"):
        storage.save(TWO, make_snapshot(2))
    assert storage.list() == [TWO]
    assert "StoreLocked" in save_elsewhere(path)


@pytest.mark.parametrize("foreign", ["directory", "link", "file"])
def test_what_was_put_into_a_checkpoint_is_noticed_and_never_deleted(storage, path, foreign):
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
    with pytest.raises(rn.CheckpointCorrupt, match="added"):
        storage.load(ONE).verify()
    with pytest.raises(rn.CheckpointError, match="added"):
        storage.delete(ONE)
    assert os.path.lexists(added)
    assert (mine / "work").read_text() == "years"
    assert storage.list() == [ONE]


@pytest.mark.parametrize("damage", ["array document", "chunk", "whole field"])
def test_damaged_arrays_do_not_stand_in_the_way_of_retention(storage, path, damage):
    storage.save(ONE, make_snapshot(1))
    field = path / ONE / "u"
    if damage == "array document":
        (field / "zarr.json").write_text("{")
    elif damage == "chunk":
        next(f for f in field.rglob("*") if f.is_file() and f.name != "zarr.json").unlink()
    else:
        shutil.rmtree(field)
    storage.delete(ONE)
    assert storage.list() == []


def test_a_parameter_may_be_called_like_the_digest(storage):
    params = {"document": "0" * 64}
    storage.save(ONE, make_snapshot(1, params=params))
    assert storage.load(ONE).params == params


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel_id": 5},
        {"kernel_type": None},
        {"actor_slot": -1},
        {"step": 1.5},
        {"request_id": -1},
        {"parent": "../x"},
        {"backend": 3},
        {"field_attrs": {"u": {"dims": ("y", None)}}},
    ],
    ids=str,
)
def test_a_snapshot_that_no_reader_would_understand_is_refused(storage, changes):
    with pytest.raises((TypeError, ValueError)):
        storage.save(ONE, make_snapshot(1, **changes))
    assert storage.list() == []


def test_attributes_are_copies(storage):
    storage.save(ONE, make_snapshot(1))
    checkpoint = storage.load(ONE)
    checkpoint.attrs["ringnb"]["digests"]["chunks"].clear()
    checkpoint.verify()


def test_a_store_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    storage = rn.ZarrStorage(tmp_path / "file" / "store.zarr")
    with pytest.raises(rn.CheckpointError, match="is a file"):
        storage.save(ONE, make_snapshot(1))
    assert (tmp_path / "file").read_text() == "x"


def test_a_store_that_is_made_while_another_looks_is_no_foreign_directory(path, monkeypatch):
    from ringnb.checkpoint.storage.directory import backend as directory
    from ringnb.checkpoint.storage.format import root_document

    path.mkdir()
    real = os.listdir

    def listdir(where):
        (path / "zarr.json").write_bytes(root_document())
        return real(where)

    monkeypatch.setattr(directory.os, "listdir", listdir)
    assert rn.ZarrStorage(path).list() == []


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    rn.ZarrStorage("~/store.zarr").save(ONE, make_snapshot(1))
    assert (tmp_path / "home" / "store.zarr" / ONE).is_dir()
    assert not (tmp_path / "~").exists()


def test_a_pin_after_close_does_not_keep_the_store_locked(storage, path):
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
