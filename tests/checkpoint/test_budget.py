"""Rule 21: a budget for the whole store takes from earlier runs, or says why it cannot."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from manager_rig import Rig

import ringnb as rn
from ringnb.checkpoint.budget import to_free
from ringnb.checkpoint.retention import keep_last
from ringnb.checkpoint.runs import Lineage
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.testing.memory_storage import MemoryStorage

SIZE = 16  # bytes of the state that a rig commits


def fresh(storage, *, slot=0, kernel_id=None, **config):
    """Return the rig of a process that starts its actor afresh, as a session does."""
    rig = Rig(storage, **({"max_snapshots": 0} | config))
    rig.add(slot, kernel_id)
    rig.m.note_restored(slot, None)
    return rig


def run(storage, *steps, **config):
    """Commit a run; return its names."""
    rig = fresh(storage, **config)
    return [rig.commit(config.get("slot", 0), step=step) for step in steps]


def test_earlier_runs_go_first_the_oldest_first_but_never_their_newest(storage):
    first = run(storage, 1, 2, 3)
    other = run(storage, 11, 12, 13, slot=7, kernel_id="other", name_prefix="b")
    rig = fresh(storage, store_budget=5 * SIZE)
    names = [rig.commit(step=21)]
    assert storage.list() == [first[2], *other, *names]
    names.append(rig.commit(step=22))
    assert storage.list() == [first[2], *other[1:], *names]
    (*_, event) = rig.log.select("retired")
    assert (event.actor_slot, event.name, event.step) == (7, other[0], 11)
    names += [rig.commit(step=step) for step in (23, 24)]
    # Then its own run, the oldest first.
    assert storage.list() == [first[2], other[2], *names[1:]]


def test_the_run_that_was_continued_last_goes_last(storage):
    (old,) = run(storage, 1)
    other = run(storage, 5, 6)
    again = Rig(storage, max_snapshots=0)
    again.add()
    again.m.note_restored(0, old)
    last = again.commit(step=2)
    rig = fresh(storage, store_budget=4 * SIZE)
    name = rig.commit(step=9)
    assert storage.list() == [old, other[1], last, name]


def test_pins_branch_points_and_what_is_damaged_stay(storage):
    names = run(storage, 1, 2, 3, 4)
    storage.pin(names[0], "mine")
    branch = Rig(storage, max_snapshots=0)
    branch.add()
    branch.m.note_restored(0, names[1])
    begun = branch.commit(step=2)
    rig = fresh(storage, store_budget=1)
    with pytest.warns(rn.CheckpointWarning) as warned:
        last = rig.commit(step=9)
    assert storage.list() == [names[0], names[1], names[3], begun, last]
    (warning,) = warned
    for words in (
        f"hold {5 * SIZE} bytes",
        "store_budget=1,",
        "ringnb prune",
        "unpin",
        "larger store_budget",
    ):
        assert words in str(warning.message)


def test_what_the_live_state_of_any_actor_continues_from_stays(storage):
    names = run(storage, 1, 2, 3, kernel_id="a")
    rig = fresh(storage, store_budget=2 * SIZE)
    rig.add(1, "a")
    rig.m.note_restored(1, names[0])
    with pytest.warns(rn.CheckpointWarning, match="nothing more may go"):
        last = rig.commit(step=7)
    assert storage.list() == [names[0], names[2], last]


def test_it_says_so_once_until_it_fits_again(storage):
    rig = fresh(storage, store_budget=2 * SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = [rig.commit(step=step) for step in range(3)]
        assert storage.list() == names[1:]
    storage.pin(names[2], "mine")
    big = {"u": np.zeros(4 * SIZE, "u1")}
    with pytest.warns(rn.CheckpointWarning, match="nothing more may go") as warned:
        rig.commit(step=8, data=big)
        rig.commit(step=9, data=big)
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rig.m.reconfigure(store_budget=12 * SIZE)
        rig.commit(step=10)
    rig.m.reconfigure(store_budget=SIZE)
    with pytest.warns(rn.CheckpointWarning, match="nothing more may go"):
        rig.commit(step=11)
    rig.m.reconfigure(store_budget=None)
    rig.commit(step=12)
    assert len(storage.list()) == 3


def test_what_was_just_written_stays_even_if_it_is_bad_and_nothing_continues_from_it(storage):
    rig = fresh(storage, store_budget=2 * SIZE)
    good = rig.commit(step=1)
    request = rig.m.request_snapshot(0)
    rig.m.note_restored(0, good)
    rig.m.reconfigure(store_budget=1)
    with pytest.warns(rn.CheckpointWarning):
        bad = rig.complete(request, step=2, value=np.nan)
    assert storage.list() == [good, bad]
    rig.m.apply_retention()
    assert storage.list() == [good]


def test_a_bad_newest_one_does_not_stand_for_its_run(storage):
    rig = fresh(storage)
    good = [rig.commit(step=step) for step in (1, 2)]
    with pytest.warns(rn.CheckpointWarning, match="not good"):
        bad = rig.commit(step=3, value=np.nan)
    rig = fresh(storage, store_budget=2 * SIZE)
    last = rig.commit(step=9)
    assert storage.list() == [good[1], last]
    assert bad not in storage.list()


def test_the_newest_of_a_run_that_verifies_stays_whatever_is_newer():
    storage = MemoryStorage()
    names = run(storage, 1, 2, 3, 4)
    storage.damage_fields(names[2])
    storage.damage_fields(names[3])
    none_sound = run(storage, 11, 12)
    for name in none_sound:
        storage.damage_fields(name)
    rig = fresh(storage, store_budget=2 * SIZE)
    with pytest.warns(rn.CheckpointWarning, match="nothing more may go"):
        last = rig.commit(step=21)
    assert storage.list() == [*names[1:], *none_sound, last]
    load, read = storage.load, []
    storage.load = lambda name: read.append(name) or load(name)
    rig.commit(step=22)
    assert read == [], "what was found out is remembered"


def test_nothing_is_read_without_a_budget_and_little_while_there_is_room():
    storage = MemoryStorage()
    looks = []
    catalogue, load = storage.catalogue, storage.load
    storage.catalogue = lambda: looks.append("catalogue") or catalogue()
    storage.load = lambda name: looks.append(name) or load(name)
    rig = fresh(storage, retention=keep_last(200))
    for step in range(200):
        rig.commit(step=step)
    history, storage.history = storage.history, lambda *_: []  # so that only the budget looks
    looks.clear()
    rig.commit(step=200)
    assert looks == []
    rig.m.reconfigure(store_budget=1000 * SIZE)
    for step in range(201, 301):
        rig.commit(step=step)
    assert 20 <= looks.count("catalogue") <= 40
    assert set(looks) == {"catalogue"}
    # Full, but each commit frees what it takes.
    rig.m.reconfigure(store_budget=300 * SIZE, retention=keep_last(300))
    rig.commit(step=301)
    looks.clear()
    storage.history = history
    for step in range(302, 312):
        rig.commit(step=step)
    assert looks.count("catalogue") <= 13, "ten are the history's, in this storage"
    # A budget that is changed, or taken up again, is looked at anew.
    for budget in (280, 270):
        rig.m.reconfigure(store_budget=budget * SIZE)
        rig.commit(step=400 + budget)
        assert len(catalogue()) == budget
    rig.m.reconfigure(store_budget=300 * SIZE, max_snapshots=0)
    rig.commit(step=500)
    rig.m.reconfigure(store_budget=None)
    for step in range(501, 540):
        rig.commit(step=step)
    rig.m.reconfigure(store_budget=300 * SIZE)
    rig.commit(step=600)
    assert len(catalogue()) == 300


def test_a_failure_is_logged_and_tried_again(caplog):
    storage = MemoryStorage()
    old = run(storage, 1, 2, 3)
    rig = fresh(storage, store_budget=2 * SIZE)
    storage.fail_delete = OSError("read-only file system")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = [rig.commit(step=7)]
    assert "could not be retired; the next commit tries again" in caplog.text
    assert "nothing more may go" not in caplog.text
    storage.fail_delete = None
    history, storage.history = storage.history, lambda *_: []
    storage.fail_list = OSError("gone")
    names.append(rig.commit(step=8))
    assert "store_budget could not be applied; the next commit tries again" in caplog.text
    storage.fail_list, storage.history = None, history
    names.append(rig.commit(step=9))
    assert storage.list() == [old[2], names[2]]


def test_a_group_of_commits_looks_once(storage):
    run(storage, 1, 2, 3, slot=9, kernel_id="x")
    rig = Rig(storage, max_snapshots=0, store_budget=5 * SIZE)
    for slot in range(4):
        rig.add(slot)
    for _ in range(2):
        requests = [rig.m.request_snapshot(slot) for slot in range(4)]
        names = rig.m.complete_snapshots([rig.answer(r, step=5) for r in requests])
    assert storage.list() == ["checkpoint_9_step_3", *names]


def test_the_preview_says_what_apply_then_deletes(storage):
    old = run(storage, 1, 2, 3)
    rig = fresh(storage)
    names = [rig.commit(step=step) for step in (4, 5, 6)]
    rig.m.reconfigure(retention=keep_last(2), store_budget=4 * SIZE)
    preview = rig.m.preview_retention()
    assert [e.name for e in preview.delete] == [names[0], old[0]]
    assert preview.for_budget == {old[0]}
    assert {e.name for e in preview.keep} == {*old[1:], *names[1:]}
    assert "is deleted: store_budget" in preview._repr_html_()
    assert rig.m.apply_retention() == [names[0], old[0]]
    assert rig.m.preview_retention().delete == ()


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "1 GB"])
def test_a_budget_that_is_none_is_refused(value):
    with pytest.raises((TypeError, ValueError), match=r"store_budget must be .*, got"):
        rn.CheckpointConfig(store_budget=value)


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from("ab"),  # actor
        st.sampled_from("rst"),  # run
        st.integers(0, 9),  # bytes
        st.sampled_from(["", "", "", "pin", "bad", "copy", "damaged", "branch", "imported"]),
    ),
    max_size=14,
)


@given(ENTRIES, st.integers(1, 60), st.sampled_from(["r", "s", None]), st.sets(st.integers(0, 13)))
def test_whatever_a_store_holds_the_promises_hold(entries, budget, live, rotten):
    catalogue = [
        CheckpointInfo(
            *(f"c{i}", "p", actor, "toy", 0, i, -i if kind == "imported" else i + 1),
            nbytes=nbytes,
            pin="x" if kind == "pin" else None,
            good=kind != "bad",
            copy="x" if kind == "copy" else None,
            damaged=kind == "damaged",
            is_branch_point=kind == "branch",
            id=f"id{i}",
            run=f"{actor}{run}",
        )
        for i, (actor, run, nbytes, kind) in enumerate(entries)
    ]
    counted = [e for e in catalogue if not e.damaged and e.copy is None and e.sequence > 0]
    lives = [] if live is None else [Lineage("?", "?", f"a{live}")]
    gone, left = to_free(catalogue, budget, lives, {"c5"}, lambda e: int(e.name[1:]) not in rotten)
    names = {e.name for e in gone}
    assert left == sum(e.nbytes for e in counted if e.name not in names)
    stay = [e for e in counted if e.name not in names]
    assert all(
        e in counted and e.pin is None and not e.is_branch_point and e.name != "c5" for e in gone
    )
    for run in {e.run for e in gone}:
        good = [e for e in counted if e.run == run and e.good] or [
            e for e in counted if e.run == run
        ]
        sound = [e for e in good if int(e.name[1:]) not in rotten]
        assert sound[-1] in stay, "the newest good one that verifies"
    # Only as much as needed, and of an earlier run rather than of the current one.
    assert not gone or left + gone[-1].nbytes > budget
    is_live = [e.run == f"a{live}" for e in gone]
    assert is_live == sorted(is_live)
    if left > budget:
        again, _ = to_free(stay, budget, lives, {"c5"}, lambda e: int(e.name[1:]) not in rotten)
        assert again == []
