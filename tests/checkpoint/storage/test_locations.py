"""From a path, a URL or a zarr store to the place that it means."""

from __future__ import annotations

import os
import sys

import pytest
import zarr

import ringnb as rn
from ringnb.testing.storages import make_snapshot

NAME = "checkpoint_0_step_7"
ONE = "checkpoint_0_step_1"


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("", "not a directory path"),
        ("a\0b", "not a directory path"),
        ("memory://", "has no name"),
        ("s3://", "has no bucket"),
        ("file://elsewhere/x", "not a URL of a local directory"),
        ("file:///", "not a URL of a local directory"),
        ("gs://bucket/x", "are known"),
    ],
)
def test_places_that_are_none_are_refused(place, why):
    with pytest.raises(ValueError, match=why):
        rn.ZarrStorage(place)


@pytest.mark.parametrize("place", [None, 5, b"bytes", {}])
def test_places_of_the_wrong_type_are_refused(place):
    with pytest.raises((TypeError, ValueError)):
        rn.ZarrStorage(place)


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    rn.ZarrStorage("~/store.zarr").save(ONE, make_snapshot(1))
    assert (tmp_path / "home" / "store.zarr" / ONE).is_dir()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("given", ["s.zarr", "store of zarr", "group of zarr"])
def test_storage_rule_21_a_relative_path_means_the_same_store_after_a_chdir(
    given, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with rn.ZarrStorage("s.zarr") as first:
        first.save(ONE, make_snapshot(1))
    if given == "group of zarr":
        checkpoint = rn.Checkpoint(zarr.open_group(f"s.zarr/{ONE}", mode="r"))
    else:
        store = given if given == "s.zarr" else zarr.storage.LocalStore("s.zarr")
        storage = rn.ZarrStorage(store)
    monkeypatch.chdir(tmp_path / "elsewhere")
    if given != "group of zarr":
        storage.save("checkpoint_0_step_2", make_snapshot(2))
        assert storage.list() == [ONE, "checkpoint_0_step_2"]
        storage.close()
        checkpoint = storage.load(ONE)
    checkpoint.verify()
    assert os.listdir(tmp_path / "elsewhere") == []


def test_storage_rule_21_a_restart_after_a_chdir_goes_on_in_the_same_store(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    config = rn.CheckpointConfig(storage_path="s.zarr")
    for folder in (tmp_path, tmp_path / "elsewhere"):
        monkeypatch.chdir(folder)
        with rn.CheckpointManager(config) as manager:
            manager.storage.save(
                f"checkpoint_0_step_{len(manager.storage.list())}", make_snapshot()
            )
            seen = manager.storage.list()
    assert seen == ["checkpoint_0_step_0", "checkpoint_0_step_1"]


def test_storage_rule_12_a_link_to_a_store_is_the_same_store(storage, path, tmp_path):
    storage.save("a_0_step_0", make_snapshot())
    link = tmp_path / "link.zarr"
    link.symlink_to(path)
    other = rn.ZarrStorage(link)
    other.save("a_0_step_1", make_snapshot())
    assert storage.list() == ["a_0_step_0", "a_0_step_1"]
    other.close()


def test_a_zarr_local_store_is_a_directory(path):
    storage = rn.ZarrStorage(zarr.storage.LocalStore(path))
    storage.save(NAME, make_snapshot())
    storage.close()
    assert (path.parent / ".store.zarr.ringnb").is_dir()
    read_only = rn.ZarrStorage(zarr.storage.LocalStore(path, read_only=True))
    assert read_only.list() == [NAME]
    with pytest.raises(rn.CheckpointError, match="read-only"):
        read_only.save("a_0_step_0", make_snapshot())


def test_without_obstore_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ImportError, match=r"ringnb\[s3\]"):
        rn.ZarrStorage("s3://bucket/x")
