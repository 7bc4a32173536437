"""Order, identity and the latest (rules 14 to 17): what a manager reads from the store."""

from __future__ import annotations

import pytest
from manager_rig import Rig

from ringnb.errors import (
    CheckpointCorrupt,
    CheckpointNotFound,
    CheckpointWarning,
)
from ringnb.testing.memory_storage import MemoryStorage


def test_rule_14_order_is_commit_order_not_text_or_step_order():
    rig = Rig(max_snapshots=3)
    rig.add()
    for step in (999, 1000, 9, 10):
        rig.commit(step=step)
    assert rig.m.list_checkpoints(0) == [f"checkpoint_0_step_{s}" for s in (1000, 9, 10)]
    rig.commit(step=5)  # after a restore to an earlier step
    assert rig.m.load_latest(0).step == 5


def test_rule_14_parents_follow_commits_and_restores(rig):
    rig.add()
    first = rig.commit(step=1)
    assert rig.storage.load(first).parent is None
    second = rig.commit(step=2)
    assert rig.storage.load(second).parent == first
    rig.m.note_restored(0, first)
    third = rig.commit(step=2)
    assert rig.storage.load(third).parent == first
    rig.m.note_restored(0, None)
    fourth = rig.commit(step=1)
    assert rig.storage.load(fourth).parent is None
    assert rig.storage.load(rig.commit(step=3)).parent == fourth


def test_rule_14_the_parent_of_a_new_process_is_the_newest_of_the_history(rig):
    rig.add()
    rig.commit(step=9)
    newest = rig.commit(step=3)
    again = Rig(rig.storage)
    again.add(5, "k0")
    assert rig.storage.load(again.commit(5, step=4)).parent == newest


def test_rule_14_a_snapshot_asked_for_before_a_restore_continues_the_old_line(rig):
    rig.add()
    first = rig.commit(step=1)
    second = rig.commit(step=2)
    request = rig.m.request_snapshot(0)
    rig.m.note_restored(0, first)
    third = rig.complete(request, step=3)
    assert rig.storage.load(third).parent == second
    assert rig.storage.load(rig.commit(step=2)).parent == first


def test_rule_14_a_failed_save_is_no_parent(rig):
    rig.add()
    first = rig.commit(step=1)
    rig.storage.fail_save = OSError("full")
    with pytest.raises(OSError, match="full"):
        rig.commit(step=2)
    rig.storage.fail_save = None
    assert rig.storage.load(rig.commit(step=3)).parent == first


def test_rule_14_a_restore_into_an_empty_slot_is_refused(rig):
    with pytest.raises(ValueError, match="no actor is registered in slot 2"):
        rig.m.note_restored(2, "x")


def test_rule_15_history_is_the_identitys_not_the_slots(rig):
    rig.add(0, "a")
    name = rig.commit(step=1)
    rig.add(0, "b")
    assert rig.m.list_checkpoints(0) == []
    assert rig.m.load_latest(0) is None
    rig.add(7, "a")
    assert rig.m.list_checkpoints(7) == [name]
    assert rig.m.load_latest(7).name == name


def test_rule_15_an_empty_slot_lists_all_that_was_recorded_under_it(rig):
    rig.add(0, "a")
    first = rig.commit(step=1)
    rig.add(0, "b")
    second = rig.commit(step=0)
    rig.m.unregister_actor(0)
    assert rig.m.list_checkpoints(0) == [first, second]
    assert rig.m.load_latest(0).name == second


def test_rule_15_prefixes_that_begin_alike_never_mix():
    storage = MemoryStorage()
    one = Rig(storage, name_prefix="sim", max_snapshots=1)
    two = Rig(storage, name_prefix="sim_1", max_snapshots=1)
    one.add(1, "same")
    two.add(2, "same")
    theirs = two.commit(2, step=5)
    assert one.m.list_checkpoints(1) == []
    assert one.m.load_latest(1) is None
    mine = one.commit(1, step=5)
    one.commit(1, step=6)
    assert two.m.list_checkpoints(2) == [theirs]
    assert mine not in storage.list()
    one.m.unregister_actor(1)
    assert one.m.list_checkpoints(1) == ["sim_1_step_6"]


@pytest.mark.parametrize(
    ("prefix", "slot", "other", "other_slot"),
    [
        ("sim", 1, "sim_1", 2),
        ("sim", 1, "sim_1_step_3", 4),
        ("s.m", 1, "sim", 1),
        ("sim", 1, "sim", 11),
    ],
)
def test_rule_15_a_damaged_name_counts_for_its_own_slot_only(prefix, slot, other, other_slot):
    storage = MemoryStorage()
    them = Rig(storage, name_prefix=other)
    them.add(other_slot)
    storage.damage_metadata(them.commit(other_slot, step=5))
    us = Rig(storage, name_prefix=prefix)
    assert us.m.load_latest(slot) is None
    with pytest.raises(CheckpointCorrupt, match="_step_5"):
        them.m.load_latest(other_slot)


def test_rule_15_a_damaged_group_is_never_retired():
    rig = Rig(max_snapshots=1)
    rig.add()
    damaged = rig.commit(step=1)
    rig.storage.damage_metadata(damaged)
    for step in range(2, 5):
        rig.commit(step=step)
    assert damaged in rig.storage.list()
    assert rig.m.list_checkpoints(0) == ["checkpoint_0_step_4"]


def test_rule_16_everything_is_rebuilt_from_the_store(rig):
    rig.add()
    for step in (3, 1, 2):
        rig.commit(step=step)
    again = Rig(rig.storage, max_snapshots=2)
    assert again.m.list_checkpoints(0) == [f"checkpoint_0_step_{s}" for s in (3, 1, 2)]
    again.add()
    assert again.m.load_latest(0).step == 2
    again.commit(step=0)
    assert again.m.list_checkpoints(0) == ["checkpoint_0_step_2", "checkpoint_0_step_0"]


def test_rule_16_a_new_store_is_empty(rig):
    assert rig.m.list_checkpoints(0) == []
    assert rig.m.load_latest(0) is None
    rig.add()
    assert rig.m.list_checkpoints(0) == []
    assert rig.m.load_latest(0) is None


def test_rule_16_managers_on_one_store_see_each_other(rig):
    other = Rig(rig.storage)
    rig.add(0, "a")
    name = rig.commit(step=1)
    assert other.m.list_checkpoints(0) == [name]
    other.add(3, "a")
    newer = other.commit(3, step=0)
    assert rig.m.list_checkpoints(0) == [name, newer]
    assert rig.m.load_latest(0).name == newer


def test_rule_17_damaged_newer_ones_are_passed_over_with_a_warning(rig):
    rig.add()
    names = [rig.commit(step=s) for s in range(4)]
    rig.storage.damage_fields(names[3])
    rig.storage.damage_fields(names[2])
    with pytest.warns(CheckpointWarning, match=rf"{names[3]}.*{names[2]}") as caught:
        assert rig.m.load_latest(0).name == names[1]
    assert caught[0].filename == __file__
    assert names[0] not in str(caught[0].message)


def test_rule_17_damage_older_than_the_newest_is_not_looked_at(rig):
    rig.add()
    rig.storage.damage_fields(rig.commit(step=1))
    newest = rig.commit(step=2)
    assert rig.m.load_latest(0).name == newest


def test_rule_17_damaged_metadata_is_always_warned_about(rig):
    rig.add()
    old = rig.commit(step=1)
    new = rig.commit(step=2)
    rig.storage.damage_metadata(old)
    with pytest.warns(CheckpointWarning, match=old):
        assert rig.m.load_latest(0).name == new
    assert rig.m.list_checkpoints(0) == [new]


@pytest.mark.parametrize("damage", ["damage_fields", "damage_metadata"])
@pytest.mark.parametrize("registered", [True, False])
def test_rule_17_corrupt_if_some_exist_and_none_verifies(rig, damage, registered):
    rig.add()
    names = [rig.commit(step=s) for s in (1, 2)]
    for name in names:
        getattr(rig.storage, damage)(name)
    if not registered:
        rig.m.unregister_actor(0)
    with pytest.raises(CheckpointCorrupt, match=rf"none of the 2 .*{names[0]}") as caught:
        rig.m.load_latest(0)
    assert names[1] in str(caught.value)


def test_rule_17_one_retired_meanwhile_is_passed_over_in_silence(rig):
    rig.add()
    first, second = rig.commit(step=1), rig.commit(step=2)

    def retire(name):
        rig.storage.before_load = None
        rig.storage.delete(name)

    rig.storage.before_load = retire
    assert rig.m.load_latest(0).name == first
    assert second not in rig.storage.list()


def test_rule_17_if_all_seen_were_retired_the_newer_ones_are_found(rig):
    other = Rig(rig.storage, max_snapshots=1)
    rig.add()
    rig.commit(step=1)
    other.add()  # it goes on with the run

    def commit_first(_):
        rig.storage.before_load = None
        other.commit(step=2)

    rig.storage.before_load = commit_first
    assert rig.m.load_latest(0).step == 2


def test_rule_17_a_store_that_changes_without_end_is_given_up(rig):
    rig.add()
    rig.commit(step=1)

    def vanish(name):
        raise CheckpointNotFound(f"no checkpoint {name!r}")

    rig.storage.before_load = vanish
    with pytest.raises(CheckpointNotFound, match="checkpoint_0_step_1"):
        rig.m.load_latest(0)
