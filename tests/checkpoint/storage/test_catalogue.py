"""The catalogue of a store, against a list that is sorted anew each time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringnb.checkpoint.storage.catalogue import Catalogue, entry_of
from ringnb.checkpoint.storage.records import CheckpointInfo

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
def test_storage_rule_05_it_lists_damage_first_and_then_commit_order(changes):
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
