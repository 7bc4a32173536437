"""What a user adds to a checkpoint with zarr is not ringnb's, and no damage."""

from __future__ import annotations

import json
import math
import re
import warnings

import pytest
import zarr
from zarr.storage import MemoryStore

import ringnb as rn
from ringnb.testing.storages import make_snapshot

NAME = "a_0_step_1"


@pytest.fixture(params=["directory", "memory"])
def place(request, tmp_path):
    return tmp_path / "s.zarr" if request.param == "directory" else MemoryStore()


@pytest.fixture
def storage(place):
    with rn.ZarrStorage(place) as storage:
        storage.save(NAME, make_snapshot(1, attrs={"mine": [1, None]}))
        yield storage


def opened(place, path=NAME, **kwargs):
    return zarr.open_group(place, path=path, mode="r+", **kwargs)


def is_sound(storage):
    checkpoint = storage.load(NAME)
    checkpoint.verify()
    (info,) = storage.catalogue()
    assert (info.damaged, info.step, info.id) == (False, 1, checkpoint.id)
    assert checkpoint.user == {"mine": [1, None]}
    assert checkpoint.numpy()["u"].tolist() == make_snapshot(1).fields["u"].tolist()
    return checkpoint


ADDED = {"note": "é", "n": 1.5, "deep": {"a": [1, None]}, "ringnb_": 0, "hole": math.nan}


def test_storage_rule_06_attributes_that_are_added_to_the_group_are_no_damage(storage, place):
    opened(place).attrs.update(ADDED)
    is_sound(storage)
    opened(place, None)[NAME].attrs["via"] = "the store"
    is_sound(storage)
    opened(place, None).attrs["project"] = "x"
    is_sound(storage)


def test_storage_rule_06_attributes_that_are_added_to_an_array_are_no_damage(storage, place):
    opened(place)["u"].attrs.update(ADDED)
    opened(place)["counts"].attrs.update({"units": "1", "long_name": "how many"})
    is_sound(storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zarr, about consolidated metadata
        zarr.consolidate_metadata(place, path=NAME)
    is_sound(storage)


def test_storage_rule_06_an_array_that_is_added_is_no_damage_and_stays(storage, place):
    opened(place).create_array("mine", shape=(3,), dtype="f4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(place, path=NAME)
    is_sound(storage)


def test_storage_rule_15_a_pin_keeps_what_was_added(storage, place):
    opened(place).attrs.update(ADDED)
    storage.pin(NAME, "good")
    assert is_sound(storage).pinned == "good"
    found = dict(opened(place).attrs)
    assert math.isnan(found.pop("hole"))
    assert {k: found[k] for k in ADDED if k != "hole"} == {
        k: ADDED[k] for k in ADDED if k != "hole"
    }
    storage.unpin(NAME)
    opened(place).attrs["more"] = 1
    assert is_sound(storage).pinned is None
    storage.delete(NAME)
    assert storage.list() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.attrs.update({"ringnb": dict(g.attrs["ringnb"]) | {"step": 2}}),
        lambda g: g.attrs.update({"ringnb": dict(g.attrs["ringnb"]) | {"user": {}}}),
        lambda g: g.attrs.update({"ringnb": dict(g.attrs["ringnb"]) | {"more": 1}}),
        lambda g: g["u"].attrs.update({"units": "bar"}),
    ],
    ids=["step", "user", "more", "units"],
)
def test_storage_rule_06_what_ringnb_wrote_cannot_be_changed_that_way(storage, place, change):
    change(opened(place))
    with pytest.raises(rn.CheckpointCorrupt):
        storage.load(NAME).verify()


def test_storage_rule_06_lost_consolidated_metadata_is_named_and_can_be_written_anew(tmp_path):
    place = tmp_path / "s.zarr"
    with rn.ZarrStorage(place, durable=False) as storage:
        storage.save(NAME, make_snapshot(1, attrs={"mine": [1, None]}))
        opened(place, use_consolidated=False).attrs["x"] = 1
        with pytest.raises(rn.CheckpointCorrupt, match=r"zarr\.consolidate_metadata"):
            storage.load(NAME)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(place, path=NAME)
        is_sound(storage)


def test_storage_rule_06_other_metadata_of_the_group_is_covered(tmp_path):
    with rn.ZarrStorage(tmp_path / "s.zarr", durable=False) as storage:
        storage.save(NAME, make_snapshot(1))
        file = tmp_path / "s.zarr" / NAME / "zarr.json"
        raw = file.read_text()
        for old, new in (
            ('"zarr_format":3,"consolidated', '"zarr_format":2,"consolidated'),
            ('"node_type":"group"', '"node_type":"array"'),
            ('"must_understand":false', '"must_understand":true'),
            ('"crc32c"}],"attributes"', '"gzip"}],"attributes"'),
            (re.search('"run":"(.)', raw)[0], '"run":"x'),
        ):
            assert raw.count(old) >= 1
            spaced = json.dumps(json.loads(raw.replace(old, new)), indent=2)
            for text in (raw.replace(old, new), spaced):
                file.write_text(text)
                with pytest.raises(rn.CheckpointCorrupt):
                    storage.load(NAME)
        file.write_text(json.dumps(json.loads(raw), indent=4))
        storage.load(NAME).verify()
