"""Restores: what is loaded, what is refused, and that nothing changes then."""

from __future__ import annotations

import numpy as np
import pytest
from session_rig import SHAPE, memory, quiet, reference, state_of
from waiting import until

import ringnb as rn
from ringnb.testing import MemoryStorage
from ringnb.testing.kernels import Mixer, advance


def test_restore_into_the_same_actor_and_into_another(session):
    session.run_steps(0, 9)
    checkpoint = session.snapshot(0)
    session.run_steps(0, 6)
    expected = state_of(session.snapshot(0))
    for slot in (0, 1):
        assert session.restore(slot, checkpoint) == 9
        assert session.current_step(slot) == 9
        session.run_steps(slot, 6)
        np.testing.assert_array_equal(state_of(session.snapshot(slot)), expected)


def test_restore_brings_the_parameters_back(session):
    session.set_params(0, add=3)
    session.run_steps(0, 2)
    checkpoint = session.snapshot(0)
    session.set_params(0, add=99)
    session.restore(0, checkpoint)
    assert session.params(0) == {"add": 3.0}
    session.run_steps(0, 2)
    np.testing.assert_array_equal(
        state_of(session.snapshot(0)), advance(Mixer(SHAPE).start(0), 0, 4, add=3)
    )


def test_restore_clears_the_budget_and_leaves_a_free_actor_free(session):
    checkpoint = session.snapshot(0)
    session.set_pace(100)
    session.run_steps(0, 1000, wait=False)
    session.restore(0, checkpoint)
    assert session.counters(0).budget == 0
    session.set_pace(None)
    session.resume(0)
    assert session.restore(0, checkpoint) == 0
    until(lambda: session.current_step(0) >= 3)


def test_restore_by_name_and_latest(session):
    first = session.snapshot(0)
    session.run_steps(0, 4)
    session.snapshot(0)
    assert session.restore(0, first.name) == 0
    assert session.restore(0, "latest") == 4
    with pytest.raises(rn.CheckpointNotFound, match=r"actor 1, .mixer_1., has no checkpoint"):
        session.restore(1, "latest")
    with pytest.raises(rn.CheckpointNotFound):
        session.restore(0, "checkpoint_0_step_12345")


def test_restore_refuses_what_does_not_fit_and_names_both_sides(session):
    session.run_steps(0, 3)
    with rn.Session(
        [rn.actors.Life(SHAPE), Mixer((12, 13))], config=quiet(), storage=memory()
    ) as other:
        life, larger = other.snapshot(0), other.snapshot(1)
        with pytest.raises(ValueError, match=r"'life'.*'mixer'"):
            session.restore(0, life)
        with pytest.raises(ValueError, match=r"\(12, 13\).*\(11, 13\)"):
            session.restore(0, larger)
    assert session.current_step(0) == 3
    np.testing.assert_array_equal(state_of(session.snapshot(0)), reference(0, 3))


def test_rule_17_a_damaged_checkpoint_is_passed_over_and_leaves_the_actor_untouched(tmp_path):
    path = tmp_path / "store.zarr"
    config = quiet(storage_path=path)
    with rn.Session(Mixer(SHAPE), config=config) as s:
        s.run_steps(0, 5)
        good = s.snapshot(0)
        s.run_steps(0, 5)
        bad = s.snapshot(0)
        chunk = next((path / bad.name / "u_previous").glob("c*"))
        raw = bytearray(chunk.read_bytes())
        raw[10] ^= 4
        chunk.write_bytes(raw)
        s.run_steps(0, 1)
        with pytest.raises(rn.CheckpointCorrupt, match="u_previous"):
            s.restore(0, bad)
        assert s.current_step(0) == 11
        np.testing.assert_array_equal(state_of(s.snapshot(0)), reference(0, 11))
        s.storage.delete("checkpoint_0_step_11")
        with pytest.warns(rn.CheckpointWarning, match=bad.name):
            assert s.restore(0, "latest") == 5
        assert good.step == 5


def test_restore_works_from_memory_and_directory_alike(tmp_path, session):
    session.run_steps(0, 8)
    checkpoint = session.snapshot(0)
    with rn.Session(Mixer(SHAPE), config=quiet(storage_path=tmp_path / "s.zarr")) as other:
        assert other.restore(0, checkpoint) == 8
        assert other.snapshot(0).parent == checkpoint.name


def test_what_is_sent_to_the_kernel_is_noted_though_the_wait_is_interrupted(session, monkeypatch):
    first = session.snapshot(0)
    session.set_params(0, add=99)
    session.snapshot(0)

    def interrupted(call):
        with monkeypatch.context() as patch:
            patch.setattr(type(session._client), "wait_reply", raise_interrupt)
            with pytest.raises(KeyboardInterrupt):
                call()

    def raise_interrupt(*_args):
        raise KeyboardInterrupt

    interrupted(lambda: session.restore(0, first))
    found = session.snapshot(0)
    assert (found.params, found.parent) == (session.params(0), first.name)
    assert found.params == first.params
    interrupted(lambda: session.set_params(0, add=7))
    assert session.snapshot(0).params == session.params(0) == {"add": 7.0}


def test_parameters_that_are_changed_right_after_a_load_start_from_the_loaded_ones(
    session, monkeypatch
):
    session.set_params(0, add=3)
    checkpoint = session.snapshot(0)
    session.set_params(0, add=99)
    load, after = session._client.load, []

    def load_and_look(*args):
        reply = load(*args)
        after.append(session.params(0))  # as another thread that waited for the lane may
        return reply

    monkeypatch.setattr(session._client, "load", load_and_look)
    session.restore(0, checkpoint)
    assert after == [{"add": 3.0}]


def drawing(now, before, params, step, x):
    before[0, x] = now[0, x] + np.random.random()  # noqa: NPY002 - what users write


def keeping(now, before, params, step, x):
    if x > 0:
        before[0, x] = now[0, x] + 1


@pytest.mark.parametrize("update", [drawing, keeping])
def test_what_is_not_replayable_says_so_at_every_restore(update):
    """And is rightly refused without that: runs from one checkpoint do differ."""
    actor = rn.actors.CellActor(update, (8,), dtype="float64", replayable=False)
    with rn.Session(actor, storage=memory(), config=quiet()) as s:
        checkpoint = s.snapshot(0)
        assert "not replayable" in repr(checkpoint)
        ends = []
        for amplitude in (1.0, 2.0, 3.0):
            s.inject(0, 0, amplitude)  # what a restore replaces
            s.run_steps(0, 1)
            with pytest.warns(rn.CheckpointWarning, match=r"slot 0.*replayable=False"):
                s.restore(0, checkpoint)
            s.run_steps(0, 1)
            ends.append(s.snapshot(0).numpy()["u"].tobytes())
    assert len(set(ends)) > 1


def test_where_all_were_renamed_latest_names_them_and_what_makes_them_count(tmp_path):
    path = tmp_path / "s.zarr"
    with rn.Session(Mixer(SHAPE), config=quiet(storage_path=path)) as s:
        s.run_steps(0, 3)
        taken = s.snapshot(0)
        (path / taken.name).rename(path / "KEEP_this")
        with pytest.raises(rn.CheckpointNotFound) as told:
            s.restore(0, "latest")
        assert (
            "1 checkpoint of it, renamed or copied here by hand, count as yours: 'KEEP_this'. "
            f"`ringnb adopt {path} KEEP_this` makes one"
        ) in str(told.value)
        s.run_steps(0, 1)
        assert s.restore(0, "KEEP_this") == 3
        s.storage.adopt(["KEEP_this"])
        assert s.restore(0, "latest") == 3


def test_a_session_goes_on_from_what_the_storage_for_tests_has_kept():
    storage = MemoryStorage()
    with rn.Session(Mixer(SHAPE), config=quiet(), storage=storage) as session:
        session.run_steps(0, 5)
        checkpoint = session.snapshot(0)
        session.run_steps(0, 2)
        expected = state_of(session.snapshot(0))
        session.restore(0, checkpoint)
        session.run_steps(0, 2)
        np.testing.assert_array_equal(state_of(session.snapshot(0)), expected)
    storage.damage_fields(storage.list()[-1])
    session = rn.Session(Mixer(SHAPE), config=quiet(), storage=storage)
    with session, pytest.warns(rn.CheckpointWarning, match="damaged"):
        assert session.restore(0, "latest") == 7
