"""From a path, a URL or a zarr store to the place that it means."""

from __future__ import annotations

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
