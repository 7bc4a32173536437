"""Which actors are saved again by themselves: those that have changed."""

from __future__ import annotations

import pytest
from session_rig import SHAPE
from waiting import until

import ringnb as rn
from ringnb.kernel.base import ActorCounters
from ringnb.session.change_tracking import ChangeTracker, StateVersion
from ringnb.testing.kernels import Mixer


@pytest.fixture
def beside_a_runner(tmp_path):
    """Make sessions in which slot 1 runs; what is done after five of its checkpoints was not to come."""

    def make(**options):
        config = rn.CheckpointConfig(
            interval=0.01, max_snapshots=3, storage_path=tmp_path / "s.zarr"
        )
        session = rn.Session(Mixer(SHAPE), actors=2, config=config, **options)
        session.resume(1)
        return session

    return make


def pass_time(session):
    done = len(session.events.select("committed", actor_slot=1))
    until(lambda: len(session.events.select("committed", actor_slot=1)) >= done + 5)
    return session.manager.list_checkpoints(0)


def test_an_actor_that_does_not_change_is_not_checkpointed_again_by_itself(beside_a_runner):
    with beside_a_runner() as s:
        assert pass_time(s) == ["checkpoint_0_step_0"]  # it had no history: its start is kept
        s.inject(0, (3, 4))
        assert pass_time(s) == ["checkpoint_0_step_0", "checkpoint_0_step_0.2"]
        s.set_params(0, **s.params(0))
        s.run_steps(0, 7)
        kept = pass_time(s)
        assert kept[-1] == "checkpoint_0_step_7"
        assert pass_time(s) == kept
        by_hand = s.snapshot(0).name  # a snapshot that is asked for is always taken
        assert pass_time(s)[-1] == by_hand == "checkpoint_0_step_7.2"


def test_looking_around_in_an_old_store_loses_nothing(beside_a_runner):
    with beside_a_runner() as s:
        for _ in range(3):
            s.run_steps(0, 5)
            s.snapshot(0)
    with beside_a_runner() as s:
        history = pass_time(s)
        assert history[-1].startswith("checkpoint_0_step_15")  # not the new start
        assert s.restore(0, "latest") == 15
        assert pass_time(s) == history
        # Going back is news: the next process is to continue from there. How far back that is depends
        # on how many states were also saved by themselves.
        back = s.restore(0, history[0])
        went_back = pass_time(s)
        assert went_back[:-1] == history
        assert went_back[-1].partition(".")[0] == f"checkpoint_0_step_{back}"  # a run of its own
        assert s.manager.load_latest(0).step == s.current_step(0) == back < 15
        assert pass_time(s) == went_back
        again = s.remake()
        again.resume(1)
        with again:
            assert pass_time(again) == went_back


def test_what_is_due_again_before_its_commit_is_noted_is_not_saved_twice(
    beside_a_runner, monkeypatch
):
    asked = []
    is_being_saved, mark_saved = ChangeTracker.is_being_saved, ChangeTracker.mark_saved

    def noting(self, slot, now):
        asked.append(slot)
        return is_being_saved(self, slot, now)

    def late(self, slot, version):
        asks = asked.count(0)
        until(lambda: slot != 0 or asked.count(0) > asks)
        mark_saved(self, slot, version)

    monkeypatch.setattr(ChangeTracker, "is_being_saved", noting)
    monkeypatch.setattr(ChangeTracker, "mark_saved", late)
    with beside_a_runner() as s:
        assert pass_time(s) == ["checkpoint_0_step_0"]


def counters(step, epoch=0):
    return ActorCounters(step, 0, False, epoch, True, 0, 0, 0)


def test_an_actor_is_saved_until_its_version_changes():
    changes = ChangeTracker()
    assert not changes.is_saved(0, counters(5))
    changes.mark_saved(0, StateVersion(5, 0, 0))
    assert changes.is_saved(0, counters(5))
    assert not changes.is_saved(0, counters(6))
    assert not changes.is_saved(0, counters(5, epoch=1))
    assert not changes.is_saved(1, counters(5))
    changes.mark_modified(0)
    assert not changes.is_saved(0, counters(5))


def test_from_before_a_restore_of_the_newest_until_it_is_confirmed_the_actor_is_saved():
    changes = ChangeTracker()
    changes.mark_saved(0, StateVersion(5, 0, 0))
    changes.mark_modified(0)
    changes.mark_saved(0, StateVersion(9, 0, 1))
    changes.expect_saved(0, StateVersion(5, 1, changes.modifications(0)))
    assert changes.is_saved(0, counters(9))
    assert changes.is_saved(0, counters(5, epoch=1))
    changes.mark_loaded(0, 1, 5, saved=True)
    assert changes.is_saved(0, counters(5, epoch=1))
    assert not changes.is_saved(0, counters(9))


def test_what_was_expected_of_a_load_that_did_not_happen_is_forgotten_with_the_next():
    changes = ChangeTracker()
    changes.expect_saved(0, StateVersion(5, 1, 0))
    changes.mark_loaded(0, 1, 5, saved=False)
    assert not changes.is_saved(0, counters(5, epoch=1))


def test_a_version_is_being_saved_until_its_commit_ends():
    changes = ChangeTracker()
    with changes.saving({0: StateVersion(5, 0, 0)}):
        assert changes.is_being_saved(0, counters(5))
        assert not changes.is_being_saved(0, counters(6))
        assert not changes.is_saved(0, counters(5))  # it may fail yet
    assert not changes.is_being_saved(0, counters(5))
    changes.mark_saved(0, StateVersion(5, 0, 0))
    assert changes.is_being_saved(0, counters(5))


def test_a_change_after_the_capture_is_not_saved():
    changes = ChangeTracker()
    version = StateVersion(5, 0, changes.modifications(0))
    changes.mark_modified(0)
    changes.mark_saved(0, version)
    assert not changes.is_saved(0, counters(5))
