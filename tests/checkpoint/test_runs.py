"""Rules 20 to 23: runs, and which of them retention and "latest" look at."""

from __future__ import annotations

import re

import pytest
from manager_rig import Rig

import ringnb as rn
from ringnb.checkpoint.committing import Saving, save_all
from ringnb.checkpoint.runs import Lineage, continue_run, list_runs
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.testing.memory_storage import MemoryStorage
from ringnb.testing.storages import make_snapshot


def fresh(storage, **config):
    """Return the rig of a process that starts its actor afresh, as a session does."""
    rig = Rig(storage, **config)
    rig.add()
    rig.m.note_restored(0, None)
    return rig


def run_of(rig, name):
    return rig.storage.load(name).run


def test_rule_20_a_fresh_start_begins_a_run_and_the_first_has_no_parent(storage):
    rig = fresh(storage)
    first, second = rig.commit(step=1), rig.commit(step=2)
    other = fresh(storage)
    third = other.commit(step=1)
    loaded = [storage.load(n) for n in (first, second, third)]
    assert all(re.fullmatch("[0-9a-f]{16}", x) for c in loaded for x in (c.id, c.run))
    assert len({c.id for c in loaded}) == 3
    assert loaded[0].run == loaded[1].run != loaded[2].run
    assert [(c.parent, c.parent_id) for c in loaded] == [
        (None, None),
        (first, loaded[0].id),
        (None, None),
    ]


def test_rule_20_restoring_the_newest_of_a_run_continues_it_an_older_one_branches(storage):
    rig = fresh(storage)
    first, second = rig.commit(step=1), rig.commit(step=2)
    again = fresh(storage)
    again.m.note_restored(0, second)
    third = again.commit(step=3)
    assert run_of(rig, third) == run_of(rig, second)
    branching = fresh(storage)
    branching.m.note_restored(0, storage.load(first))
    fourth = branching.commit(step=2)
    assert run_of(rig, fourth) not in {run_of(rig, first)}
    assert storage.load(fourth).parent == first
    assert storage.load(fourth).parent_id == storage.load(first).id
    # The newest of the first run is still its newest: another run's later commit changes nothing.
    branching.m.note_restored(0, third)
    assert run_of(rig, branching.commit(step=9)) == run_of(rig, third)


def test_rule_20_a_checkpoint_that_is_gone_or_anothers_begins_a_run(storage):
    rig = fresh(storage)
    first = rig.commit(step=1)
    gone = storage.load(first)
    rig.commit(step=2)
    storage.delete(first)
    rig.m.note_restored(0, gone)
    name = rig.commit(step=3)
    assert storage.load(name).parent == first
    assert storage.load(name).parent_id == gone.id
    assert len(rig.m.runs(0)) == 2


def test_rule_20_a_request_captured_before_the_restore_stays_in_the_old_run(storage):
    rig = fresh(storage)
    first = rig.commit(step=1)
    request = rig.m.request_snapshot(0)
    rig.m.note_restored(0, first)
    late = rig.complete(request, step=2)
    assert run_of(rig, late) == run_of(rig, first)
    # So what was restored is the newest of its run no more.
    assert run_of(rig, rig.commit(step=5)) != run_of(rig, first)


def test_rule_20_a_manager_alone_continues_the_newest_run(storage):
    rig = fresh(storage)
    name = rig.commit(step=1)
    alone = Rig(storage)
    alone.add()
    assert run_of(rig, alone.commit(step=2)) == run_of(rig, name)


def test_rule_20_runs_are_listed(storage):
    rig = fresh(storage)
    first, _ = rig.commit(step=1), rig.commit(step=5)
    branch = fresh(storage)
    branch.m.note_restored(0, first)
    branch.commit(step=3)
    one, two = branch.m.runs(0)
    assert (one.parent, one.count, one.first_step, one.last_step) == (None, 2, 1, 5)
    assert (two.parent, two.count, two.first_step, two.last_step) == (first, 1, 3, 3)
    assert two.parent_id == storage.load(first).id
    assert (one.is_current, two.is_current) == (False, True)
    assert one.nbytes == 2 * two.nbytes > 0
    assert one.began_at <= two.began_at
    assert [r.is_current for r in rig.m.runs(0)] == [True, False]


def test_rule_20_a_run_whose_beginning_was_retired_has_no_parent_of_its_own(storage):
    rig = fresh(storage, max_snapshots=2)
    for step in range(5):
        rig.commit(step=step)
    (run,) = rig.m.runs(0)
    assert (run.count, run.first_step, run.last_step) == (2, 3, 4)
    assert (run.parent, run.parent_id) == (None, None), "what its oldest continues from is gone"


def test_rule_20_the_steps_of_a_run_are_its_smallest_and_largest_and_it_begins_in_another():
    history = [
        CheckpointInfo(
            name, step=step, sequence=n, id=name, run=run, parent=parent, parent_id=parent
        )
        for n, (name, step, run, parent) in enumerate(
            [
                ("adopted", 30, "two", "b"),
                ("a", 10, "one", "gone"),
                ("b", 20, "two", "a"),
                ("c", 25, "two", "b"),
            ]
        )
    ]
    two, one = list_runs(history, "two", history)
    assert (two.parent, two.first_step, two.last_step, two.is_current) == ("a", 20, 30, True)
    assert (one.parent, one.first_step, one.last_step, one.is_current) == (None, 10, 10, False)
    # What it begins in may be another actor's, and is told by its id: a name may be used again.
    assert list_runs(history[2:], None, history)[0].parent == "a"
    again = [history[1]._replace(id="another"), *history[2:]]
    assert list_runs(again, None, again)[1].parent is None


def test_rule_21_retention_looks_at_the_current_run_only(storage):
    rig = fresh(storage, max_snapshots=2)
    kept = [rig.commit(step=step) for step in (1, 2, 3)][1:]
    again = fresh(storage, max_snapshots=1)
    assert again.m.apply_retention() == []
    assert again.m.preview_retention().delete == ()
    for step in (1, 2, 3):
        again.commit(step=step)
    assert [n for n in storage.list() if n in kept] == kept
    assert len(storage.list()) == 3
    assert {e.name for e in again.m.preview_retention().keep} == set(storage.list())


def test_rule_21_what_a_run_branches_from_and_what_the_live_state_continues_from_stay(storage):
    rig = fresh(storage, max_snapshots=2)
    first, second = rig.commit(step=1), rig.commit(step=2)
    other = fresh(storage)
    other.m.note_restored(0, first)
    other.commit(step=7)
    for step in (3, 4, 5):
        rig.commit(step=step)
    assert first in storage.list()
    assert second not in storage.list()
    rig.m.note_restored(0, "checkpoint_0_step_4")  # live, but no commit continues from it yet
    rig.m.reconfigure(max_snapshots=1)
    assert "checkpoint_0_step_4" not in rig.m.apply_retention()


def test_rule_21_a_run_of_another_actor_may_branch_from_it(storage):
    rig = fresh(storage, max_snapshots=1)
    first = rig.commit(step=1)
    other = Rig(storage)
    other.add(1)
    other.m.note_restored(1, storage.load(first))
    other.commit(1, step=5)
    rig.commit(step=2)
    assert first in storage.list()


def test_rule_23_latest_is_of_any_run_and_must_fit(storage):
    rig = fresh(storage)
    rig.commit(step=1)
    other = Rig(storage)
    other.m.register_actor(0, "k0", "another type")
    newest = other.commit(step=9)
    with pytest.warns(rn.CheckpointWarning, match=rf"do not fit.*{newest}.*another type"):
        assert rig.m.load_latest(0).step == 1
    assert other.m.load_latest(0).name == newest
    with pytest.raises(rn.CheckpointNotFound, match=rf"none of the 2 .*{newest}.*too small"):
        rig.m.load_latest(0, fits=lambda c: "too small")


def test_rule_33_metadata_of_ones_own_is_recorded_and_checked_before_the_commit(storage):
    rig = fresh(storage)
    attrs = {"mass": 1.5, "tags": ["a", {"b": None}]}
    request = rig.m.request_snapshot(0, attrs=attrs)
    attrs["mass"] = 2.0
    name = rig.complete(request, step=1)
    assert storage.load(name).user == {"mass": 1.5, "tags": ["a", {"b": None}]}
    for bad, error in (
        ({"x": object()}, TypeError),
        ({"x": float("nan")}, ValueError),
        (3, TypeError),
    ):
        with pytest.raises(error, match="attrs"):
            rig.m.request_snapshot(0, attrs=bad)
    assert rig.m.pending_count == 0


def test_a_lineage_that_knows_its_run_needs_no_look_at_the_store():
    storage, snapshot = MemoryStorage(), make_snapshot(1, run="1" * 16)
    storage.fail_list = OSError("listed")

    def saved(lineage):
        saving = Saving(lineage, None, snapshot)
        save_all(storage, [saving])
        storage.delete(saving.name)
        return saving.snapshot

    assert saved(None) is snapshot
    assert saved(Lineage("a", "2" * 16, "1" * 16)) is snapshot
    with pytest.raises(OSError, match="listed"):
        continue_run(storage, snapshot, Lineage("a", "2" * 16))


def test_the_manager_says_what_a_live_state_continues_from(storage):
    rig = fresh(storage)
    assert rig.m.lineage(0) is None
    first, second = rig.commit(step=1), rig.commit(step=2)
    made = storage.load(second)
    assert rig.m.lineage(0) == Lineage(second, made.id, made.run)
    rig.m.note_restored(0, storage.load(first))
    continued = rig.m.lineage(0)
    assert (continued.name, continued.run) == (first, None)
    assert rig.m.lineage(7) is None


def test_the_catalogue_holds_the_parameters(storage):
    storage.save("a", make_snapshot(params={"c": 1.5, "order": "first"}))
    (entry,) = storage.catalogue()
    assert entry.params == (("c", 1.5), ("order", "first"))
