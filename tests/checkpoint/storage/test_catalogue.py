"""The catalogue of a store, against a list that is sorted anew each time."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

import ringnb as rn
from ringnb.checkpoint.storage.catalogue import Catalogue, entry_of
from ringnb.checkpoint.storage.document import estimate_place
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.testing.storages import make_snapshot

ACTORS = [("a", "model_0"), ("a", "model_1"), ("b", "model_0")]
names = st.sampled_from([f"a_0_step_{n}" for n in range(8)])
changes = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), names, st.sampled_from(ACTORS)),
        st.tuples(st.just("damage"), names),
        st.tuples(st.just("drop"), names),
    ),
    max_size=30,
)


@given(changes=changes)
def test_storage_rule_05_it_lists_unplaced_damage_first_and_then_commit_order(changes):
    numbers = itertools.count(1)
    catalogue, model = Catalogue(), {}
    for change, name, *actor in changes:
        if change == "commit":
            if name in model:
                continue  # a name that is taken is refused
            prefix, kernel_id = actor[0]
            entry = CheckpointInfo(name, prefix, kernel_id, sequence=next(numbers))
            model[name] = entry
            catalogue.put(entry)
        elif change == "damage":
            model[name] = CheckpointInfo(name, damaged=True)
            catalogue.put(model[name])
        else:
            model.pop(name, None)
            catalogue.drop(name)
        listed = catalogue.entries()
        sound = sorted((e for e in model.values() if not e.damaged), key=lambda e: e.sequence)
        assert {e.name for e in listed[: len(model) - len(sound)]} == {
            e.name for e in model.values() if e.damaged
        }
        assert listed[len(model) - len(sound) :] == sound
        assert catalogue.last_sequence == max((e.sequence for e in sound), default=0)
        for actor_key in ACTORS:
            history = [e for e in sound if (e.name_prefix, e.kernel_id) == actor_key]
            assert catalogue.history(*actor_key) == history
    assert sorted(Catalogue(reversed(model.values())).entries()) == sorted(catalogue.entries())


@pytest.mark.parametrize(
    ("name", "raw", "is_listed"),
    [
        ("a_0_step_1", None, True),  # the name says that it was a checkpoint
        ("a_0_step_1", b"{", True),
        ("results", None, False),
        ("results", b'{"attributes": {}}', False),
        ("results", b'{"attributes": {"ringnb": {}}}', True),  # the document says so
    ],
)
def test_storage_rule_14_what_was_a_checkpoint_is_damaged_and_all_else_is_not_listed(
    name, raw, is_listed
):
    expected = CheckpointInfo(name, damaged=True) if is_listed else None
    assert entry_of(name, raw, None) == expected


def at(minute):
    return datetime(2026, 1, 1, 12, minute, tzinfo=UTC)


def sound(number, minute=None):
    return CheckpointInfo(
        f"a_0_step_{number}",
        sequence=number,
        created_at=at(number if minute is None else minute),
    )


def damaged(name, number=None, minute=None):
    moment = None if minute is None else at(minute)
    return CheckpointInfo(name, damaged=True, estimated=(number, moment))


@pytest.mark.parametrize(
    ("entry", "behind"),
    [
        (damaged("x"), 0),
        (damaged("x", 3), 1),
        (damaged("x", -5), 0),
        (damaged("x", 99), 3),
        (damaged("x", 3, 50), 1),  # the number says more than the time
        (damaged("x", 4, 50), 3),  # but not one that another has
        (damaged("x", None, 0), 0),
        (damaged("x", None, 5), 2),
        (damaged("x", None, 6), 3),
        (damaged("x", None, 7), 3),
    ],
)
def test_storage_rule_14_damage_is_listed_where_it_seems_to_have_stood(entry, behind):
    entries = [sound(2), sound(4), sound(6)]
    catalogue = Catalogue([entry, *entries])
    assert catalogue.entries() == [*entries[:behind], entry, *entries[behind:]]
    assert (catalogue.first_sequence, catalogue.last_sequence) == (2, 6)
    assert catalogue.history("", "") == entries
    assert Catalogue([entry]).entries() == [entry]


@given(order=st.permutations([*"abcdefgh"]))
def test_storage_rule_14_the_order_of_damage_is_always_the_same(order):
    found = {
        "a": damaged("a", 3),
        "b": damaged("b", 3),
        "c": damaged("c", None, 3),
        "d": damaged("d", None, 2),
        "e": damaged("e"),
        "f": damaged("f", 5),
        "g": sound(1),
        "h": sound(4),
    }
    listed = Catalogue(found[key] for key in order).entries()
    assert "".join(k for e in listed for k, v in found.items() if v == e) == "egdcabhf"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"ringnb":{"step":1,"sequence":7,"x', (7, None)),
        (b'"sequence":-7}', (-7, None)),
        (b'"sequence":7', (None, None)),  # it may go on
        (b'"sequence":"7"', (None, None)),
        (b'"sequence":9999999999999999999999,', (None, None)),
        (b'"created_at":"2026-01-01T12:05:00+00:00"', (None, at(5))),
        (b'"created_at":"2026-01-01T12:05:00"', (None, None)),
        (b'"created_at":"rubb\xffish"', (None, None)),
        (b"", (None, None)),
    ],
)
def test_storage_rule_14_what_a_damaged_document_still_states(raw, expected):
    assert estimate_place(raw) == expected


def test_storage_rule_14_a_damaged_document_does_not_change_the_place_of_its_checkpoint(
    storage, path
):
    names = [f"a_0_step_{n}" for n in (3, 1, 2, 5)]
    for second, name in enumerate(names):
        storage.save(name, make_snapshot(second))
        for found in (path / name, *(path / name).rglob("*")):  # what a clock would have made
            os.utime(found, (1_900_000_000 + second,) * 2)
    documents = {name: (path / name / "zarr.json").read_bytes() for name in names}
    taken_out = {n: raw.replace(b'"created_at"', b'"created-at"') for n, raw in documents.items()}
    for name in names:
        document = path / name / "zarr.json"
        raw = documents[name]
        for bad in (raw.replace(b'"step"', b'"stop"'), raw[: len(raw) // 2], taken_out[name]):
            document.write_bytes(bad)
            assert storage.list() == rn.ZarrStorage(path).list() == names
        document.write_bytes(raw)
    assert not any(entry.damaged for entry in storage.catalogue())


def test_storage_rule_14_time_stamps_place_what_states_nothing(storage, path):
    names = [f"a_0_step_{n}" for n in (3, 1, 2)]
    moments = []
    for name in names:
        storage.save(name, make_snapshot(1))
        moments.append(storage.load(name).created_at.timestamp() + 1e-4)
        for found in (path / name, *(path / name).rglob("*")):
            os.utime(found, (moments[-1],) * 2)
    for number, name in enumerate(names):
        document = path / name / "zarr.json"
        raw = document.read_bytes()
        document.write_bytes(b"rubbish")
        assert rn.ZarrStorage(path).list() == names
        document.unlink()  # the field's folder still says when
        assert rn.ZarrStorage(path).list() == names
        document.write_bytes(raw)
        os.utime(document, (moments[number],) * 2)
    assert [entry.sequence for entry in rn.ZarrStorage(path).catalogue()] == [1, 2, 3]


def test_storage_rule_14_damage_in_a_zarr_store_is_placed_by_what_it_states():
    storage = rn.ZarrStorage(MemoryStore())
    names = [f"a_0_step_{n}" for n in (3, 1, 2)]
    for name in names:
        storage.save(name, make_snapshot(1))
    raw = storage._backend._get(f"{names[1]}/zarr.json")
    storage._backend._set(f"{names[1]}/zarr.json", raw.replace(b'"step"', b'"stop"'))
    assert storage.list() == names
    assert [entry.damaged for entry in storage.catalogue()] == [False, True, False]
    storage.save("a_0_step_9", make_snapshot(9))
    assert storage.load("a_0_step_9").sequence == 4
