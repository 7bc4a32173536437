"""All actors captured at one step and committed as one, and all put back."""

from __future__ import annotations

import signal
import sys
import threading
import warnings

import numpy as np
import pytest
import xarray
import zarr
from session_rig import SHAPE, Gate, memory, quiet, reference, state_of
from waiting import until

import ringnb as rn
from ringnb.checkpoint.pruning import prune_runs
from ringnb.checkpoint.storage.archive import export_archive
from ringnb.session.cut import take_cut
from ringnb.session.live_copy import copy_states
from ringnb.testing.kernels import Mixer

STORES = {
    "directory": lambda path: rn.ZarrStorage(path / "cuts.zarr"),
    "object store": lambda _: memory(),
    "memory": lambda _: rn.testing.memory_storage.MemoryStorage(),
}


@pytest.fixture(params=STORES)
def storage(request, tmp_path):
    import ringnb.testing.memory_storage  # noqa: F401 - for STORES

    return STORES[request.param](tmp_path)


def session(storage, actors=3, **options):
    options = {"config": quiet(max_snapshots=3), **options}
    return rn.Session(Mixer(SHAPE), actors=actors, storage=storage, **options)


def test_actors_that_run_free_are_captured_at_one_step_and_run_on(storage):
    with session(storage, lanes=2) as s:
        s.set_pace(5_000)
        s.run_steps(1, 20)  # it has a lead
        s.resume()
        cut = s.snapshot_all("a label", timeout=60, attrs={"why": "a test"})
        [step] = {cut.part(slot).step for slot in cut.parts}
        assert cut.name == f"checkpoint_cut_step_{step}"
        assert (cut.parts, cut.step, cut.pinned) == ((0, 1, 2), step, "a label")
        assert cut.user == {"why": "a test"}
        for slot in range(3):
            np.testing.assert_array_equal(state_of(cut.part(slot)), reference(slot, step))
        until(lambda: min(s.current_step(slot) for slot in range(3)) > step)
    assert storage.list() == [cut.name]


@pytest.mark.parametrize("service", [True, False])
def test_a_paused_actor_is_captured_as_it_is_and_a_budget_where_it_ends(service):
    with session(memory(), service=service) as s:
        s.set_pace(2_000, 2)
        s.run_steps(0, 7)
        s.resume(1)
        s.run_steps(2, 3, wait=False)
        cut = s.snapshot_all(timeout=60)
        assert [cut.part(slot).step for slot in (0, 2)] == [7, 3]
        assert cut.step == cut.part(1).step > 7
        s.run_steps(0, 1)  # nobody is held


def test_all_go_back_and_step_on_as_before(storage):
    with session(storage) as s:
        for slot in range(3):
            s.run_steps(slot, 10 + slot)
        cut = s.snapshot_all()
        for slot in range(3):
            s.run_steps(slot, 50)
        s.set_params(1, add=9)
        assert s.restore_all("latest") == 12
        assert [s.current_step(slot) for slot in range(3)] == [10, 11, 12]
        assert s.params(1) == cut.part(1).params
        for slot in range(3):
            s.run_steps(slot, 5)
            np.testing.assert_array_equal(state_of(s.snapshot(slot)), reference(slot, 15 + slot))
        s.resume(0)
        assert s.restore_all(cut.name) == s.restore_all(cut) == 12
        until(lambda: s.current_step(0) > 100)
    with session(storage) as s:  # another process on the same store
        assert s.restore_all("latest") == 12
        s.run_steps(2, 5)
        np.testing.assert_array_equal(state_of(s.snapshot(2)), reference(2, 17))


def test_a_part_is_the_newest_of_its_actor_and_is_restored_alone(storage):
    with session(storage) as s:
        first = s.snapshot(1)
        for slot in range(3):
            s.run_steps(slot, 4)
        cut = s.snapshot_all()
        part = cut.part(1)
        assert part.name == f"{cut.name}:1"
        assert part.parent == first.name
        assert s.manager.list_checkpoints(1) == [first.name, part.name]
        assert s.manager.list_checkpoints(0) == [f"{cut.name}:0"]
        s.run_steps(1, 4)
        later = s.snapshot(1)
        assert (later.parent, later.run) == (part.name, part.run)
        s.restore(1, part.name)
        assert s.current_step(1) == 4
        s.run_steps(1, 1)
        branch = s.snapshot(1)
        assert (branch.parent_id, branch.run != part.run) == (part.id, True)
        assert s.restore(0, "latest") == 4
        assert storage.load(part.name).verify() is None
        with pytest.raises(ValueError, match=rf"restore_all\('{cut.name}'\).*'{cut.name}:0'"):
            s.restore(1, cut.name)
        with pytest.raises(rn.CheckpointError, match=r"part of a cut.*discard"):
            s.manager.discard(part.name)
        with pytest.raises(rn.CheckpointNotFound, match=r"is of slots \[0, 1, 2\]"):
            storage.load(f"{cut.name}:7")
        with pytest.raises(rn.CheckpointNotFound, match="of one actor"):
            later.part(0)


def test_an_export_of_a_part_is_of_its_cut(tmp_path):
    storage = rn.ZarrStorage(tmp_path / "cuts.zarr")
    with session(storage) as s:
        cut = s.snapshot_all()
        s.snapshot(0)
    assert export_archive(storage, tmp_path / "one.zip", [f"{cut.name}:1"]) == [cut.name]


def test_what_is_in_a_cut_counts_as_saved():
    with session(memory(), config=quiet(on_close=True)) as s:
        s.run_steps(0, 3)
        s.snapshot_all()
        assert s.save_changes()
        assert s.statistics().completed == 1


def test_retention_counts_cuts_and_checkpoints_of_one_actor_apart(storage):
    with session(storage, actors=2) as s:
        names = []
        for _ in range(5):
            s.run_steps(0, 1)
            s.snapshot(0)
            names.append(s.snapshot_all().name)
        kept = storage.list()
        assert [name for name in kept if "cut" in name] == names[-3:]
        assert len(kept) == 6
        assert s.manager.preview_retention().delete == ()
        s.manager.discard(names[-2])
        assert names[-2] not in storage.list()
        s.restore(1, f"{names[-3]}:1")  # the live state continues from it
        for _ in range(4):
            s.snapshot(0)
            s.snapshot_all()
        assert names[-3] in storage.list()


def test_a_cut_that_does_not_fit_restores_no_actor():
    storage = memory()
    with session(storage, actors=2) as s:
        s.run_steps(0, 3)
        cut, single = s.snapshot_all(), s.snapshot(0)
    with session(storage, actors=3) as s:
        s.run_steps(0, 5)
        with pytest.raises(ValueError, match=r"no state of actor 2, 'mixer_2'"):
            s.restore_all(cut)
        with pytest.raises(rn.CheckpointNotFound, match="no cut of these 3 actors"):
            s.restore_all("latest")
        with pytest.raises(ValueError, match="is of one actor"):
            s.restore_all(single)
        with pytest.raises(TypeError, match="a cut, its name"):
            s.restore_all(7)
        assert s.current_step(0) == 5
    other = [Mixer(SHAPE), Mixer((5, 6))]
    with rn.Session(other, config=quiet(), storage=storage) as s:
        s.run_steps(0, 5)
        with pytest.raises(ValueError, match="shape"):
            s.restore_all(cut)
        assert s.current_step(0) == 5


def test_a_damaged_cut_restores_no_actor(tmp_path):
    storage = rn.ZarrStorage(tmp_path / "cuts.zarr")
    with session(storage, actors=2) as s:
        s.run_steps(0, 3)
        good = s.snapshot_all()
        s.run_steps(0, 3)
        bad = s.snapshot_all()
        chunk = next((tmp_path / "cuts.zarr" / bad.name / "u_previous").glob("c*"))
        raw = bytearray(chunk.read_bytes())
        raw[40] ^= 1
        chunk.write_bytes(raw)
        with pytest.raises(rn.CheckpointCorrupt):
            s.restore_all(bad.name)
        assert s.current_step(0) == 6
        with pytest.warns(rn.CheckpointWarning, match=rf"passed over .*{bad.name}.*{good.name}"):
            assert s.restore_all("latest") == 3
        with pytest.raises(rn.CheckpointCorrupt):
            bad.part(1).verify()
        good.part(1).verify()


def test_a_cut_that_cannot_be_committed_stores_nothing_and_holds_nobody():
    gate = Gate(memory())
    with session(gate) as s:
        s.set_pace(5_000)
        s.resume()
        gate.error = OSError(28, "No space left on device")
        with pytest.raises(OSError, match="No space"):
            s.snapshot_all(timeout=60)
        assert gate.list() == []
        step = s.current_step(0)
        until(lambda: s.current_step(0) > step)
        gate.error = None
        assert s.snapshot_all(timeout=60).parts == (0, 1, 2)
        assert (s.statistics().failed, s.statistics().completed) == (1, 1)


def test_an_interrupt_while_actors_are_let_go_leaves_none_held(monkeypatch):
    with session(memory()) as s:
        holds, told = s._service.holds, []
        tell = holds._tell_kernel

        def interrupted(slot):
            """Be interrupted, once, as in the wait for room on the ring."""
            if slot == 1 and not holds._holds[slot] and not told:
                told.append(slot)
                raise KeyboardInterrupt
            tell(slot)

        monkeypatch.setattr(holds, "_tell_kernel", interrupted)
        s.set_pace(2_000)
        s.set_pace(1e-3, 2)  # for which the others wait in vain
        s.resume()
        with pytest.raises(KeyboardInterrupt):
            s.snapshot_all(timeout=0.5)
        steps = [s.current_step(slot) for slot in range(2)]
        until(lambda: all(s.current_step(slot) > steps[slot] + 100 for slot in range(2)))


@pytest.mark.parametrize("loaded", [0, 1, 2])
def test_actors_of_which_some_were_loaded_stay_paused(loaded, monkeypatch):
    with session(memory()) as s:
        s.set_pace(2_000)
        cut = s.snapshot_all()
        s.run_steps(0, 5)
        s.resume()
        restore, error = s._live.restore, KeyboardInterrupt()

        def interrupted(slot, prepared):
            """Be interrupted when so many were loaded, or find nothing to load."""
            if slot == loaded:
                raise error
            return restore(slot, prepared)

        monkeypatch.setattr(s._live, "restore", interrupted)
        with (
            pytest.raises(KeyboardInterrupt),
            pytest.warns(rn.CheckpointWarning, match=rf"{loaded} of 3 actors were loaded, and all"),
        ):
            s.restore_all(cut)
        assert not any(s.counters(slot).running for slot in range(3))
        monkeypatch.setattr(s._live, "restore", restore)
        assert s.restore_all(cut) == 0
        s.resume()
        error = rn.CheckpointCorrupt("a byte is another one")
        monkeypatch.setattr(s._live, "restore", interrupted)
        if loaded == 0:  # then nothing was changed
            with pytest.raises(rn.CheckpointCorrupt):
                s.restore_all(cut)
            assert all(s.counters(slot).running for slot in range(3))


def test_an_interrupt_while_another_cut_is_waited_for_takes_none():
    with session(memory()) as s:
        taken, go_on = threading.Event(), threading.Event()

        def take():
            with s._service.cutting:
                taken.set()
                go_on.wait(60)

        def interrupt():
            """Press Ctrl-C, once the call is in its wait."""
            until(lambda: any(map(in_take_cut, sys._current_frames().values())))
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        threads = [threading.Thread(target=one) for one in (take, interrupt)]
        threads[0].start()
        assert taken.wait(60)
        threads[1].start()
        with pytest.raises(KeyboardInterrupt):
            s.snapshot_all(timeout=60)
        # Whoever still waited for the other cut would take one now.
        until(lambda: not any(map(in_take_cut, sys._current_frames().values())))
        go_on.set()
        for thread in threads:
            thread.join(60)
        assert s.storage.list() == []


def in_take_cut(frame):
    while frame is not None and frame.f_code is not take_cut.__code__:
        frame = frame.f_back
    return frame is not None


def test_a_snapshot_at_a_step_at_which_a_cut_lets_the_actor_go_is_refused(monkeypatch):
    with session(memory(), actors=1) as s:
        s.set_pace(2_000)

        def capture_for_the_cut(slot, at):
            """Capture as a cut does that has decided before another wanted the same step."""
            list(copy_states(s._client, s._service.transport, [(slot, at)], 60.0))
            until(lambda: s.current_step(slot) > at)
            return 0  # two have wanted it

        monkeypatch.setattr(s._service, "capture_at", capture_for_the_cut)
        s.resume()
        with pytest.raises(rn.SnapshotFailed, match="not captured at step 500: a cut of that step"):
            s.snapshot(0, timeout=60, at=500)


def test_actors_that_cannot_meet_in_time_are_told_of_and_let_go():
    with session(memory(), actors=2, lanes=2) as s:
        s.run_steps(0, 50_000)
        s.set_pace(100)
        s.resume()
        with pytest.raises(
            rn.SnapshotTimeout, match=r"actors? did not, slot 1 is at \d+.*pause\(\)"
        ):
            s.snapshot_all(timeout=0.2)
        step = s.current_step(0)
        until(lambda: s.current_step(0) > step)
        s.pause()
        assert s.snapshot_all().part(0).step >= step


def test_an_actor_that_is_paused_while_the_others_are_waited_for_stays_as_it_is():
    with session(memory(), actors=2, lanes=2) as s:
        s.run_steps(0, 50_000)
        s.set_pace(100)
        s.resume()
        cuts = []
        thread = threading.Thread(target=lambda: cuts.append(s.snapshot_all(timeout=60)))
        thread.start()
        until(lambda: s._service.holds._holds.get(1))
        s.pause(1)
        thread.join(60)
        [cut] = cuts
        assert cut.part(1).step == s.current_step(1) < 50_000 <= cut.part(0).step


def test_a_cut_of_several_models_is_readable_without_ringnb(tmp_path):
    actors = [rn.actors.Life((16, 16)), rn.actors.Wave2D((8, 9)), rn.actors.Life((16, 16))]
    actors += [rn.actors.Life((5, 6))]
    with rn.Session(actors, config=quiet(), storage=rn.ZarrStorage(tmp_path / "s.zarr")) as s:
        for slot in range(4):
            s.run_steps(slot, slot + 1)
        cut = s.snapshot_all()
        parts = [cut.part(slot) for slot in cut.parts]
        assert [part.kernel_type for part in parts] == [actor.kernel_type for actor in actors]
        assert [part.fields for part in parts] == [actor.stored_fields for actor in actors]
    group = zarr.open_group(tmp_path / "s.zarr" / cut.name, mode="r")
    assert {n: a.shape[0] for n, a in group.arrays()} == {
        "life.alive": 2,
        "fdtd_2d.pressure": 1,
        "fdtd_2d.pressure_previous": 1,
        "life.2.alive": 1,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = xarray.open_zarr(tmp_path / "s.zarr" / cut.name)
        np.testing.assert_array_equal(data["life.alive"][1], parts[2].numpy()["alive"])
        whole = xarray.open_datatree(tmp_path / "s.zarr", engine="zarr", consolidated=False)
        assert cut.name in whole.children


def test_runs_of_cuts_are_pruned_but_for_one_from_which_an_actor_goes_on(tmp_path):
    storage = rn.ZarrStorage(tmp_path / "s.zarr")
    with session(storage, actors=2) as s:
        old = [s.snapshot_all().name for _ in range(2)]
        s.run_steps(0, 1)
        s.snapshot_all()
    with session(storage, actors=2) as s:
        s.restore(0, f"{old[0]}:0")  # an older one: a run branches from it
        s.run_steps(0, 1)
        s.snapshot(0)
        s.snapshot_all()  # of which actor 1 began afresh: another run of cuts
        before = storage.list()
        pruned = s.manager.prune_runs(dry_run=True)
        assert storage.list() == before
        assert {run.kernel_id for run in prune_runs(storage)} == {run.kernel_id for run in pruned}
    kept = storage.list()
    assert old[0] in kept
    assert old[1] not in kept
    with session(storage, actors=2) as s:
        assert s.restore_all("latest") == 1


def test_a_cut_stays_that_has_the_newest_state_of_any_of_its_actors():
    storage = memory()
    with session(storage, actors=2) as s:
        first = s.snapshot_all().name
        with pytest.raises(rn.CheckpointError, match="newest sound one"):
            s.manager.discard(first)
        s.run_steps(0, 1)
        s.snapshot(0)
        with pytest.raises(rn.CheckpointError, match="newest sound one"):  # of the other
            s.manager.discard(first)
    with session(storage, actors=1) as s:  # another run of cuts, without the other actor
        s.run_steps(0, 2)
        s.snapshot_all()
    assert prune_runs(storage) == []
    assert first in storage.list()
    with session(storage, actors=2) as s:
        s.snapshot(1)
        s.manager.discard(first)
        assert first not in storage.list()


def fade(now, then, params, step, x):
    then[0, x] = now[0, x] * 0.5


def positive(fields, step, params):
    return bool((fields["u"] > 0).all())


@pytest.mark.parametrize("bad", [np.nan, -8.0])
def test_the_guard_pauses_whose_state_in_a_cut_is_not_good(bad):
    models = [rn.actors.CellActor(fade, (4,), start=np.full((1, 4), v)) for v in (1.0, bad, 2.0)]
    config = quiet(guard=["pause", lambda f, step, params: positive(f, step, params)])
    with rn.Session(models, config=config, storage=memory()) as s:
        s.set_pace(1)
        s.resume()
        with pytest.warns(rn.CheckpointWarning, match="cut .* is not good"):
            cut = s.snapshot_all(timeout=60)
        assert not cut.good
        until(lambda: not s.counters(1).running)
        assert [s.counters(slot).running for slot in range(3)] == [True, False, True]
        [told] = [event for event in s.events if event.stage == "bad"]
        assert (told.actor_slot, told.name) == (1, f"{cut.name}:1")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert not s.snapshot_all(timeout=60).good
            s.snapshot(1, timeout=60)
        assert caught == [], "of the first in a row, as of snapshots of one actor"
        s.write_region(2, rn.Region("u"), bad)
        with pytest.warns(rn.CheckpointWarning, match="cut .* is not good"):  # another actor's
            s.snapshot_all(timeout=60)
