"""The directory beside a store in which ringnb works."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import ringnb as rn
from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.directory.work_area import WorkArea, work_area_of
from ringnb.testing.storages import make_snapshot

NAME = "checkpoint_0_step_7"


@pytest.fixture
def area(path):
    path.mkdir()
    area = WorkArea(path)
    area.make()
    return area


def test_storage_rule_20_the_work_area_lies_inside_where_the_parent_cannot_be_written(
    tmp_path, monkeypatch
):
    path = tmp_path / "store.zarr"
    path.mkdir()
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda p, mode: False if str(p) == str(tmp_path) else real(p, mode)
    )
    storage = rn.ZarrStorage(path)
    storage.save(NAME, make_snapshot())
    assert sorted(os.listdir(path)) == [".ringnb", NAME, "zarr.json"]
    assert os.listdir(tmp_path) == ["store.zarr"]
    assert storage.list() == [NAME]
    assert storage.folders == (path, path / ".ringnb")
    storage.close()


def test_storage_rule_20_it_lies_beside_the_store_and_stays_where_it_is(path, monkeypatch):
    beside = path.parent / ".store.zarr.ringnb"
    assert work_area_of(path) == beside  # of a store that does not exist yet
    path.mkdir()
    assert work_area_of(path) == beside
    beside.mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert work_area_of(path) == beside  # it is there already
    (path / ".ringnb").mkdir()
    assert work_area_of(path) == path / ".ringnb"


def test_it_is_made_with_what_is_above_it_and_made_again(tmp_path):
    store = tmp_path / "a" / "b" / "store.zarr"
    area = WorkArea(store)
    area.make()
    assert sorted(os.listdir(area.path)) == ["staging", "trash"]
    area.make()
    assert not store.exists()
    new = [Path(path) for path in area.new_staging(2) + area.new_staging(1)]
    assert len(set(new)) == 3
    assert {path.parent for path in new} == {area.path / "staging"}
    assert not any(path.exists() for path in new)


def test_storage_rule_13_a_sweep_removes_only_what_ringnb_named(area):
    killed = Path(*area.new_staging(1))
    (killed / "u").mkdir(parents=True)
    (killed / "u" / "c.0").write_bytes(b"half")
    deleted = area.path / "trash" / ("0" * 32)
    deleted.write_bytes(b"a document")
    mine = area.path / "staging" / "notes"
    mine.write_text("years")
    area.sweep()
    assert not killed.exists()
    assert not deleted.exists()
    assert mine.read_text() == "years"
    assert not area.littered


def test_storage_rule_20_what_cannot_be_removed_now_is_swept_later(area):
    staged = Path(*area.new_staging(1))
    staged.mkdir()
    (staged / "c.0").write_bytes(b"half")

    def stuck(name, arguments, call):
        if name == "remove_file":
            raise OSError(16, "Device or resource busy")
        return call()

    with files.interposing(stuck):
        area.remove_tree(staged)
        assert area.littered
        area.sweep()
        assert area.littered
    area.sweep()
    assert not area.littered
    assert os.listdir(area.path / "staging") == []


def test_storage_rule_13_a_link_in_what_is_removed_is_not_followed(area, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work").write_text("years")
    staged = area.path / "trash" / ("0" * 32)
    staged.mkdir()
    (staged / "link").symlink_to(tmp_path / "mine" / "work")
    (staged / "folder").symlink_to(tmp_path / "mine", target_is_directory=True)
    area.remove_tree(staged)
    assert (tmp_path / "mine" / "work").read_text() == "years"


def test_it_is_found_again_where_it_was_made_by_hand(storage, path):
    storage.save(NAME, make_snapshot())
    storage.close()
    os.rename(path.parent / ".store.zarr.ringnb", path / ".ringnb")
    storage.save("a_0_step_1", make_snapshot())
    assert not (path.parent / ".store.zarr.ringnb").exists()
    assert storage.list() == [NAME, "a_0_step_1"]


def test_a_deletion_without_a_trash_says_so_and_not_that_there_is_no_checkpoint(
    tmp_path, monkeypatch
):
    with rn.ZarrStorage(tmp_path / "s.zarr") as storage:
        storage.save("checkpoint_0_step_1", make_snapshot(1))
        gone = tmp_path / "gone" / "x"
        monkeypatch.setattr(WorkArea, "new_trash", lambda *_: gone)
        with pytest.raises(FileNotFoundError):
            storage.delete("checkpoint_0_step_1")
        [error] = storage.delete_many(["checkpoint_0_step_1"])
        assert isinstance(error, FileNotFoundError)
        storage.load("checkpoint_0_step_1").verify()
