"""Rule 25: a name prefix may hold the actor's identity."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from manager_rig import Rig

import ringnb as rn
from ringnb.checkpoint.naming import damaged_name, expand_prefix
from ringnb.testing.memory_storage import MemoryStorage

PREFIX = re.compile(r"(?![.]|__)[A-Za-z0-9._-]{1,100}")
LITERALS = st.text("ab._-0", max_size=30)
IDS = st.text(min_size=1, max_size=200) | st.text("a.-_ é", min_size=1, max_size=120)


@given(LITERALS, LITERALS, IDS, IDS)
@example("", "", "." * 200, "__")
@example("_", "", "_", "-")
@example("", "_", "_", "0")
@example("", "", "a" * 99, "a" * 100)
@example("", "", "a" * 200, "a" * 199 + "b")
def test_any_identity_makes_a_prefix_that_a_name_allows(before, after, one, other):
    template = f"{before}{{kernel_id}}{after}"
    if template.startswith((".", "__")):
        return
    rn.CheckpointConfig(name_prefix=template)
    prefixes = [expand_prefix(template, kernel_id) for kernel_id in (one, other)]
    for prefix in prefixes:
        assert PREFIX.fullmatch(prefix)
        assert prefix.startswith(before)
        assert prefix.endswith(after)
        for which in ("7", "cut"):
            assert damaged_name(template, 7, None).fullmatch(f"{prefix}_{which}_step_10.2")
    assert prefixes == [expand_prefix(template, kernel_id) for kernel_id in (one, other)]
    if prefixes[0] == prefixes[1] and one != other:
        assert len(prefixes[0]) < 100, "what is shortened is told apart"
        plain = [re.sub(r"[^A-Za-z0-9_-]", "-", kernel_id) for kernel_id in (one, other)]
        assert plain[0][1:] == plain[1][1:]


def test_an_identity_that_looks_like_a_shortened_one_gets_another_prefix():
    shortened = expand_prefix("{kernel_id}", "x" * 150)
    assert re.fullmatch(r"x{83}-[0-9a-f]{16}", shortened)
    assert expand_prefix("{kernel_id}", shortened) != shortened


@pytest.mark.parametrize(
    "given",
    [
        "{kernel_id}{kernel_id}",
        ".{kernel_id}",
        "__{kernel_id}",
        "a/{kernel_id}",
        "{slot}",
        "{kernel_id",
        "a" * 61 + "{kernel_id}",
        "{kernel_id!r}",
    ],
)
def test_a_template_that_is_none_is_refused(given):
    with pytest.raises(ValueError, match=r"name_prefix .* is not allowed") as caught:
        rn.CheckpointConfig(name_prefix=given)
    assert given in str(caught.value)


def test_two_scripts_in_one_store_have_names_that_tell_them_apart(storage):
    rigs = []
    for kernel_id in ("wave/left", "wave/right"):
        rig = Rig(storage, name_prefix="{kernel_id}", max_snapshots=2)
        rig.add(0, kernel_id)
        for step in (1, 2, 3):
            rig.commit(step=step)
        rigs.append(rig)
    assert storage.list() == [
        f"wave-{side}_0_step_{step}" for side in ("left", "right") for step in (2, 3)
    ]
    assert storage.load("wave-left_0_step_2").name_prefix == "wave-left"
    for rig, side in zip(rigs, ("left", "right"), strict=True):
        assert rig.m.list_checkpoints(0) == [f"wave-{side}_0_step_2", f"wave-{side}_0_step_3"]
        assert rig.m.load_latest(0).name == f"wave-{side}_0_step_3"
        assert len(rig.m.runs(0)) == 1
        assert rig.m.preview_retention(rn.retention.keep_last(1)).delete[0].name.startswith("wave")
    again = Rig(storage, name_prefix="{kernel_id}", max_snapshots=0)
    again.add(0, "wave/left")
    assert again.poll() == [], "it has history, so it is due an interval later"
    again.commit(step=4)
    assert storage.load("wave-left_0_step_4").parent == "wave-left_0_step_3"
    again.m.reconfigure(max_snapshots=1)
    assert again.m.apply_retention() == ["wave-left_0_step_2", "wave-left_0_step_3"]


def test_identities_that_look_alike_have_suffixes_and_histories_of_their_own(storage):
    for kernel_id in ("a b", "a/b", "a-b"):
        rig = Rig(storage, name_prefix="x_{kernel_id}", max_snapshots=1)
        rig.add(0, kernel_id)
        rig.commit(step=1)
        rig.commit(step=1)
    assert len(storage.list()) == 3
    assert {n.partition(".")[0] for n in storage.list()} == {"x_a-b_0_step_1"}
    assert [storage.load(n).kernel_id for n in storage.list()] == ["a b", "a/b", "a-b"]


def test_a_slot_without_an_actor_lists_what_this_prefix_may_have_made():
    storage = MemoryStorage()
    actors = [("{kernel_id}", "a b", 0), ("{kernel_id}", "c", 0), ("other", "d", 0)]
    for prefix, kernel_id, slot in [*actors, ("{kernel_id}", "e", 1)]:
        rig = Rig(storage, name_prefix=prefix)
        rig.add(slot, kernel_id)
        rig.commit(slot, step=1)
        rig.commit(slot, step=2)
    reader = Rig(storage, name_prefix="{kernel_id}")
    assert reader.m.list_checkpoints(0) == [f"{p}_0_step_{s}" for p in ("a-b", "c") for s in (1, 2)]
    storage.damage_metadata("c_0_step_2")
    with pytest.warns(rn.CheckpointWarning, match="c_0_step_2"):
        assert reader.m.load_latest(0).name == "c_0_step_1"
    reader.add(0, "a b")
    assert reader.m.load_latest(0).name == "a-b_0_step_2", "the damaged one was another actor's"
    storage.damage_metadata("a-b_0_step_2")
    with pytest.warns(rn.CheckpointWarning, match="a-b_0_step_2"):
        assert reader.m.load_latest(0).name == "a-b_0_step_1"
