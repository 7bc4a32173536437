"""Whole runs go by hand, and nothing goes that something else needs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from manager_rig import Rig
from zarr.storage import MemoryStore

import ringnb as rn
from ringnb.checkpoint.pruning import prune_runs
from ringnb.testing.memory_storage import MemoryStorage


@pytest.fixture(params=["memory", "directory", "object store"])
def storage(request, tmp_path):
    if request.param == "memory":
        yield MemoryStorage()
        return
    place = MemoryStore() if request.param == "object store" else tmp_path / "s.zarr"
    with rn.ZarrStorage(place, durable=False) as storage:
        yield storage


def run(storage, slot, steps, start=None, value=0.0, **config):
    """Do a run of one actor: from a checkpoint, or afresh."""
    rig = Rig(storage, **({"max_snapshots": 0} | config))
    rig.add(slot)
    rig.m.note_restored(slot, None if start is None else storage.load(start))
    return [rig.commit(slot, step=step, value=value) for step in steps]


def pruned(runs):
    return [e.name for r in runs for e in r.delete]


def test_whole_runs_go_but_each_actors_newest(storage):
    old = run(storage, 0, (1, 2)) + run(storage, 1, (1,))
    middle = run(storage, 0, (11, 12))
    new = run(storage, 0, (21,)) + run(storage, 1, (22,))
    other = run(storage, 0, (31,), name_prefix="other")  # another history, of one run
    shown = prune_runs(storage, dry_run=True)
    assert [(r.kernel_id, r.run.count, r.run.first_step) for r in shown] == [
        *(("k0", 2, 1), ("k0", 2, 11), ("k1", 1, 1)),
    ]
    assert repr(shown[0]).endswith("of 'k0': 2 of 2 checkpoints, 32 B>")
    assert len(storage.list()) == 8
    assert pruned(prune_runs(storage, 2)) == old[:2]
    assert prune_runs(storage, 2) == []
    assert pruned(prune_runs(storage)) == [*middle, old[2]]
    assert sorted(storage.list()) == sorted(new + other)


def test_pins_and_what_a_run_that_stays_branches_from_stay(storage):
    one = run(storage, 0, (1, 2, 3))
    two = run(storage, 0, (12, 13), start=one[0])
    three = run(storage, 0, (23,), start=two[0])
    across = run(storage, 1, (5,), start=one[1])  # another actor's run
    if not isinstance(storage, MemoryStorage):
        storage.pin(one[2], "paper")
    keep = {e.name: why for r in prune_runs(storage, dry_run=True) for e, why in r.keep}
    assert keep.pop(two[0]) == keep.pop(one[1]) == "a run that stays continues from it"
    if not isinstance(storage, MemoryStorage):
        assert keep == {one[2]: "it is pinned: paper"}
        assert pruned(prune_runs(storage)) == [one[0], two[1]]
        assert set(storage.list()) == {one[1], one[2], two[0], *three, *across}
    # The first run branches no more from what is gone: nothing else goes at a second try.
    prune_runs(storage)
    assert prune_runs(storage) == []


def test_the_newest_that_verifies_and_the_newest_good_one_stay(tmp_path):
    with rn.ZarrStorage(tmp_path / "s.zarr", durable=False) as storage:
        one = run(storage, 0, (1, 2))
        with pytest.warns(rn.CheckpointWarning):
            two = bad(storage)
        (three,) = run(storage, 0, (21,))
        chunk(tmp_path / "s.zarr" / three).write_bytes(b"rubbish")
        (shown,) = prune_runs(storage, dry_run=True)
        assert {e.name for e, _ in shown.keep} == {one[1]}
        stays = {e.name for r in prune_runs(storage) for e, _ in r.keep}
        assert stays == {one[1]}
        assert set(storage.list()) == {one[1], two, three}
        chunk(tmp_path / "s.zarr" / two).write_bytes(b"rubbish")
        chunk(tmp_path / "s.zarr" / one[1]).write_bytes(b"rubbish")
        assert prune_runs(storage) == [], "if none verifies nobody knows which one is needed"


def chunk(folder):
    return next((folder / "u").glob("c*"))


def bad(storage):
    """Do a run whose only state is not finite."""
    return run(storage, 0, (11,), value=np.nan)[0]


def test_copies_what_is_damaged_and_what_is_not_ours_stay(tmp_path):
    path = tmp_path / "s.zarr"
    with rn.ZarrStorage(path, durable=False) as storage:
        one = run(storage, 0, (1, 2, 3))
        new = run(storage, 0, (21,))
        shutil.copytree(path / one[0], path / "KEEP_the_good_one")
        (path / one[1] / "zarr.json").write_text("{")
        (path / one[2] / "notes.txt").write_text("mine")
        (path / "results").mkdir()
        assert pruned(prune_runs(storage)) == [one[0], one[2]]
        assert set(storage.list()) == {"KEEP_the_good_one", one[1], *new}
        assert (path / one[2] / "notes.txt").read_text() == "mine"
        assert (path / "results").is_dir()


def test_a_manager_prunes_its_actors_runs_and_keeps_the_live_one(storage):
    one, two = run(storage, 0, (1, 2)), run(storage, 0, (11, 12))
    others = run(storage, 1, (1,)) + run(storage, 1, (2,))
    three = run(storage, 0, (21,))
    rig = Rig(storage)
    rig.add()
    rig.m.note_restored(0, storage.load(one[0]))  # live, but no commit continues from it yet
    shown = rig.m.prune_runs(dry_run=True)
    assert pruned(shown) == [one[1], *two]
    assert {e.name: why for r in shown for e, why in r.keep} == {
        one[0]: "the live state continues from it"
    }
    assert pruned(rig.m.prune_runs()) == [one[1], *two]
    assert [e.name for e in rig.log.select("retired")] == [one[1], *two]
    assert set(storage.list()) == {one[0], *three, *others}
    # The run that a live actor goes on with stays, whatever was committed last.
    live = [rig.commit(step=3), rig.commit(step=4)]
    run(storage, 0, (31,))
    rig.m.prune_runs()
    assert set(live) <= set(storage.list())
    for wrong in (0, -1, True, 1.5):
        with pytest.raises((TypeError, ValueError), match="keep_runs"):
            rig.m.prune_runs(wrong)


def test_only_what_was_shown_goes(storage):
    one = run(storage, 0, (1,))
    two = run(storage, 0, (2,))
    shown = {e.id for r in prune_runs(storage, dry_run=True) for e in r.delete}
    run(storage, 0, (3,))
    assert pruned(prune_runs(storage, only=shown)) == one
    assert two[0] in storage.list()
