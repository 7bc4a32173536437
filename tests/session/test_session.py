"""Sessions: stepping, snapshots, restores, the manual crank, failures in the background."""

from __future__ import annotations

import contextlib
import gc
import itertools
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import numpy as np
import pytest
import zarr
from waiting import until

import ringnb as rn
from ringnb.messages.snapshots import SnapshotRequest, StagedFields
from ringnb.session.failures import Outage
from ringnb.testing.kernels import Mixer, advance

SHAPE = (11, 13)


def reference(slot, steps):
    return advance(Mixer(SHAPE).start(slot), 0, steps)


def state_of(checkpoint):
    fields = checkpoint.numpy()
    return np.stack([fields["u"], fields["u_previous"]])


def memory():
    return rn.ZarrStorage(zarr.storage.MemoryStore())


def quiet(**changes):
    """A configuration in which nothing happens by itself."""
    return rn.CheckpointConfig(**{"interval": 3600.0, "enabled": False, **changes})


@pytest.fixture
def session():
    with rn.Session(Mixer(SHAPE), actors=2, config=quiet(), storage=memory()) as s:
        yield s


@pytest.fixture
def crank():
    """A session whose crank is turned by hand, both actors on one lane."""
    config = rn.CheckpointConfig(interval=3600.0)
    with rn.Session(
        Mixer(SHAPE), actors=2, config=config, storage=memory(), service=False, lanes=1
    ) as s:
        yield s


class Gate(rn.CheckpointStorage):
    """A storage whose saves wait at a gate, or fail with what is put in `error`."""

    def __init__(self, inner):
        self.inner = inner
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.error = None

    def save(self, name, snapshot):
        self.entered.set()
        assert self.open.wait(30)
        if self.error is not None:
            raise self.error
        return self.inner.save(name, snapshot)

    def load(self, name):
        return self.inner.load(name)

    def list(self):
        return self.inner.list()

    def delete(self, name):
        self.inner.delete(name)

    def exists(self, name):
        return self.inner.exists(name)

    def close(self):
        self.inner.close()

    def catalogue(self):
        return self.inner.catalogue()


# -- stepping ------------------------------------------------------------------------------------


def test_actors_start_paused_and_run_steps_blocks_until_done(session):
    assert session.current_step(0) == session.current_step(1) == 0
    assert session.run_steps(0, 25) == 25
    assert session.run_steps(0, 5) == 30
    assert session.current_step(1) == 0
    np.testing.assert_array_equal(state_of(session.snapshot(0)), reference(0, 30))


def test_run_steps_without_waiting_adds_to_the_budget(session):
    session.run_steps(0, 400, wait=False)
    session.run_steps(0, 400, wait=False)
    assert session.run_steps(0, 200) == 1000


def test_pause_ends_a_blocked_run_steps_and_clears_the_budget(session):
    reached = []
    runner = threading.Thread(target=lambda: reached.append(session.run_steps(0, 2**40)))
    runner.start()
    while session.current_step(0) == 0:
        time.sleep(0.001)
    session.pause(0)
    runner.join(10)
    step = session.current_step(0)
    assert reached == [step]
    assert session.counters(0).budget == 0
    assert session.run_steps(0, 1) == step + 1


def test_resume_runs_freely_and_pause_stands_at_a_boundary(session):
    session.set_pace(2000)  # the NumPy reference has to keep up
    session.resume()
    while min(session.current_step(0), session.current_step(1)) < 5:
        time.sleep(0.001)
    session.pause()
    steps = [session.current_step(slot) for slot in (0, 1)]
    for slot in (0, 1):
        np.testing.assert_array_equal(
            state_of(session.snapshot(slot)), reference(slot, steps[slot])
        )
        assert session.current_step(slot) == steps[slot]


def test_run_steps_times_out_and_goes_on(session):
    session.set_pace(200)
    with pytest.raises(TimeoutError, match=r"at step \d+ of 40.*it goes on"):
        session.run_steps(0, 40, timeout=0.05)
    session.set_pace(None)
    assert session.run_steps(0, 1) == 41


def test_an_interrupt_of_run_steps_pauses_the_actor(session, monkeypatch):
    monkeypatch.setattr(
        type(session._client), "wait_until", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    call = session._client.call
    with pytest.raises(KeyboardInterrupt):
        session.run_steps(0, 2**40)
    monkeypatch.undo()
    step = call(0, 10).step  # behind the PAUSE on the same ring
    assert not session.counters(0).running
    assert call(0, 10).step == step
    assert session.counters(0).budget == 0


def test_inject_and_set_params_change_the_live_actor(session):
    before = state_of(session.snapshot(0))
    session.inject(0, at=(2, 3), amplitude=9)
    after = state_of(session.snapshot(0))
    assert after[0, 2, 3] - before[0, 2, 3] == 9
    assert session.set_params(1, add=50) == {"add": 50.0}
    session.run_steps(1, 3)
    checkpoint = session.snapshot(1)
    assert checkpoint.params == {"add": 50.0}
    np.testing.assert_array_equal(
        state_of(checkpoint), advance(Mixer(SHAPE).start(1), 0, 3, add=50)
    )


def test_several_actor_types_share_a_session():
    population = [Mixer(SHAPE), rn.actors.Life((16, 16)), rn.actors.Wave2D((16, 16))]
    with rn.Session(population, config=quiet(), storage=memory(), lanes=1) as s:
        for slot in range(3):
            s.run_steps(slot, 10)
            assert s.snapshot(slot).kernel_type == population[slot].kernel_type
        assert s.manager.registered[1].kernel_id == "life_1"


# -- snapshots -----------------------------------------------------------------------------------


def test_snapshot_returns_a_committed_checkpoint(session):
    session.run_steps(1, 12)
    checkpoint = session.snapshot(1)
    assert checkpoint.name == "checkpoint_1_step_12"
    assert (checkpoint.kernel_id, checkpoint.kernel_type) == ("mixer_1", "mixer")
    assert (checkpoint.step, checkpoint.backend, checkpoint.parent) == (12, "cpu", None)
    checkpoint.verify()
    assert session.manager.list_checkpoints(1) == [checkpoint.name]
    assert session.statistics().completed == 1


def test_a_snapshot_of_a_running_actor_is_a_consistent_cut(session):
    session.set_pace(2000)
    session.resume(0)
    for _ in range(5):
        checkpoint = session.snapshot(0)
        np.testing.assert_array_equal(state_of(checkpoint), reference(0, checkpoint.step))


def test_the_state_is_captured_at_or_after_the_call():
    """A request that was under way already must not be taken for the answer."""
    gate = Gate(memory())
    with rn.Session(Mixer(SHAPE), config=quiet(), storage=gate) as s:
        gate.open.clear()
        early = threading.Thread(target=s.snapshot, args=(0, 30.0))
        early.start()
        assert gate.entered.wait(10)  # captured at step 0, now being written
        s.run_steps(0, 7)
        late = []
        second = threading.Thread(target=lambda: late.append(s.snapshot(0, 30.0)))
        second.start()
        gate.open.set()
        early.join(30)
        second.join(30)
        assert late[0].step == 7
        assert [c.rsplit("_", 1)[1] for c in s.manager.list_checkpoints(0)] == ["0", "7"]


def test_a_request_continues_from_what_was_live_when_it_was_captured(crank):
    """Asked before a restore: sent before it, it was captured before; sent after it, after."""
    crank.run_steps(0, 5)
    first = crank.snapshot(0).name
    crank.run_steps(0, 5)
    second = crank.snapshot(0).name
    for sent_first, parent in ((True, second), (False, first)):
        request = crank.manager.request_snapshot(0)
        if sent_first:
            crank.send(request)
        crank.restore(0, first)
        crank.send(request)  # twice does nothing
        (answer,) = crank.receive(timeout=10)
        name = crank.manager.complete_snapshot(answer)
        assert crank.storage.load(name).parent == parent
        crank.restore(0, second)


def test_a_failure_that_is_raised_is_not_warned_of_as_well(session, monkeypatch):
    """However soon whoever waits for it has gone on."""
    report = session._service._report

    def late(request, error):
        raised.wait(10)
        report(request, error)

    raised = threading.Event()
    monkeypatch.setattr(session._service, "_report", late)
    monkeypatch.setattr(
        session.storage, "save", lambda *a: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(OSError, match="full"):
        session.snapshot(0)
    raised.set()
    until(lambda: session.statistics().being_written == 0)  # raises what was left behind


@pytest.fixture
def beside_a_runner(tmp_path):
    """Make sessions in which slot 1 runs; what is done after five of its checkpoints was not to come."""

    def make(**options):
        config = rn.CheckpointConfig(
            interval=0.02, max_snapshots=3, storage_path=tmp_path / "s.zarr"
        )
        session = rn.Session(Mixer(SHAPE), actors=2, config=config, **options)
        session.resume(1)
        return session

    return make


def pass_time(session):
    done = len(session.events.select("committed", actor_slot=1))
    until(lambda: len(session.events.select("committed", actor_slot=1)) >= done + 5)
    return session.manager.list_checkpoints(0)


def test_statistics_can_be_read_in_a_notebook(session):
    session.run_steps(0, 3)
    session.run_steps(1, 4)
    session.snapshot(0)
    shown = session.statistics()._repr_html_()
    assert "2 actors, 0 of them running" in shown
    assert "7 of all actors" in shown
    assert f"{session.manager.total_completed} committed, 0 failed" in shown


def test_an_actor_that_stands_is_not_checkpointed_again_by_itself(beside_a_runner):
    with beside_a_runner() as s:
        assert pass_time(s) == ["checkpoint_0_step_0"]  # it had no history: its start is kept
        s.inject(0, (3, 4))
        assert pass_time(s) == ["checkpoint_0_step_0", "checkpoint_0_step_0.2"]
        s.set_params(0, **s.params(0))
        s.run_steps(0, 7)
        kept = pass_time(s)
        assert kept[-1] == "checkpoint_0_step_7"
        assert pass_time(s) == kept
        by_hand = s.snapshot(0).name  # whoever asks gets one
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
        s.restore(0, history[0])  # going back is news: the next process is to continue from there
        went_back = pass_time(s)
        assert len(went_back) == 3
        assert s.manager.load_latest(0).step == s.current_step(0) < 15
        assert pass_time(s) == went_back
        again = s.remake()
        again.resume(1)
        with again:
            assert pass_time(again) == went_back


def test_snapshots_by_the_step_count():
    life = rn.actors.Life((16, 16))
    with rn.Session(life, actors=2, config=quiet(), storage=memory()) as s:
        s.snapshot_every(100, slot=1)
        s.run_steps(0, 1000)
        for target in range(50, 1001, 50):
            s.run_steps(1, 50)
            until(lambda t=target: len(s.manager.list_checkpoints(1)) >= min(t // 100, 4))
            if target % 100 == 0:
                until(lambda t=target: s.manager.load_latest(1).step == t)
        assert s.manager.list_checkpoints(0) == []
        s.restore(1, s.manager.list_checkpoints(1)[0])  # back to 600
        s.run_steps(1, 99)
        assert s.snapshots_every(1) == 100
        done = s.statistics().completed
        s.run_steps(1, 1)
        until(lambda: s.statistics().completed == done + 1)
        assert s.manager.load_latest(1).step == 700
        s.snapshot_every(None)
        s.run_steps(1, 500)
        s.snapshot(0)  # whatever was asked for before has been answered by then
        assert s.statistics().completed == done + 2
        for bad in (0, -1, 1.5, True):
            with pytest.raises((TypeError, ValueError), match="steps"):
                s.snapshot_every(bad)
    with rn.Session(life, config=quiet(), storage=memory(), service=False) as s:
        with pytest.raises(ValueError, match="needs service=True"):
            s.snapshot_every(10)


def test_what_is_taken_by_the_step_count_is_kept_by_the_step_count():
    config = quiet(retention=rn.retention.keep_every(100))
    with rn.Session(
        rn.actors.Life((16, 16)), config=config, storage=memory(), max_steps_per_second=3000
    ) as s:
        s.snapshot_every(100)
        s.resume(0)
        until(lambda: s.statistics().completed >= 5)
        s.pause(0)
        s.snapshot_every(None)
        s.snapshot(0)  # whatever was asked for before has been answered by then
        windows = {e.step // 100 for e in s.events.select("committed")}
        assert {e.step // 100 for e in s.manager.history(0)} == windows
        assert len(windows) >= 5


def test_automatic_snapshots_come_by_themselves_and_retention_holds():
    config = rn.CheckpointConfig(interval=0.05, max_snapshots=2)
    with rn.Session(
        Mixer(SHAPE), actors=3, config=config, storage=memory(), max_steps_per_second=2000
    ) as s:
        s.resume()
        deadline = time.monotonic() + 20
        while s.statistics().completed < 12 and time.monotonic() < deadline:
            time.sleep(0.01)
        s.pause()
        for slot in range(3):
            names = s.manager.list_checkpoints(slot)
            assert len(names) == 2
            latest = s.storage.load(names[-1])
            np.testing.assert_array_equal(state_of(latest), reference(slot, latest.step))
            assert latest.parent is not None


def test_every_stage_is_logged_in_order(session):
    checkpoint = session.snapshot(0)
    request_id = checkpoint.request_id
    events = [e for e in session.events if e.request_id == request_id]
    by_stage = {e.stage: e.t_ns for e in events}
    order = ["requested", "sent", "captured", "received", "written", "committed"]
    assert set(by_stage) == set(order)
    stamps = [by_stage[stage] for stage in order]
    assert stamps == sorted(stamps)
    assert stamps[-1] - stamps[0] < 10e9
    assert next(e for e in events if e.stage == "committed").name == checkpoint.name


def test_an_automatic_snapshot_is_due_before_it_is_requested():
    with rn.Session(Mixer(SHAPE), config=rn.CheckpointConfig(), storage=memory()) as s:
        deadline = time.monotonic() + 10
        while s.statistics().completed < 1 and time.monotonic() < deadline:
            time.sleep(0.005)
        stages = [e.stage for e in s.events]
    assert stages[:2] == ["due", "requested"]
    assert s.events[0].t_ns <= s.events[1].t_ns


def test_lineage_follows_commits_and_restores(session):
    first = session.snapshot(0)
    session.run_steps(0, 5)
    second = session.snapshot(0)
    session.restore(0, first)
    session.run_steps(0, 5)
    third = session.snapshot(0)
    assert (first.parent, second.parent, third.parent) == (None, first.name, first.name)
    assert third.name == f"{second.name}.2"  # the same step on another branch: both are kept


# -- slow and failing storage --------------------------------------------------------------------


def test_a_slow_disk_delays_no_command_and_no_other_actor():
    gate = Gate(memory())
    with rn.Session(Mixer(SHAPE), actors=2, config=quiet(), storage=gate, lanes=1) as s:
        gate.open.clear()
        writer = threading.Thread(target=s.snapshot, args=(0, 30.0))
        writer.start()
        assert gate.entered.wait(10)
        assert s.run_steps(0, 100) == 100
        assert s.run_steps(1, 100) == 100
        s.inject(1, at=(0, 0))
        with pytest.raises(rn.SnapshotTimeout, match="being written and may yet be committed"):
            s.snapshot(0, timeout=0.05)
        assert s.statistics().being_written >= 1
        gate.open.set()
        writer.join(30)


def test_a_snapshot_that_is_not_committed_in_time_is_cancelled():
    gate = Gate(memory())
    with rn.Session(Mixer(SHAPE), actors=2, config=quiet(), storage=gate, lanes=1) as s:
        gate.open.clear()
        writer = threading.Thread(target=s.snapshot, args=(0, 30.0))
        writer.start()
        assert gate.entered.wait(10)
        with pytest.raises(rn.SnapshotTimeout, match="the request was cancelled"):
            s.snapshot(1, timeout=0.1)
        gate.open.set()
        writer.join(30)
        assert s.manager.pending_count == 0
        assert s.snapshot(1).step == 0


def test_a_manual_snapshot_raises_what_storage_raised():
    gate = Gate(memory())
    with rn.Session(Mixer(SHAPE), config=quiet(), storage=gate) as s:
        gate.error = OSError(28, "No space left on device")
        with pytest.raises(OSError, match="No space left"):
            s.snapshot(0)
        gate.error = None
        assert s.snapshot(0).step == 0
        assert s.statistics().failed == 1


def test_an_automatic_failure_is_an_event_a_warning_and_a_retry():
    gate = Gate(memory())
    gate.error = FULL
    config = rn.CheckpointConfig(interval=0.2)
    with pytest.warns(rn.CheckpointWarning, match=r"'mixer_0'.*will be retried.*No space left"):
        with rn.Session(Mixer(SHAPE), config=config, storage=gate) as s:
            deadline = time.monotonic() + 10
            while not s.events.select("failed") and time.monotonic() < deadline:
                time.sleep(0.005)
            gate.error = None
            while not s.events.select("committed") and time.monotonic() < deadline:
                time.sleep(0.005)
            assert s.statistics().completed >= 1
            assert s.statistics().failed >= 1


FULL, READ_ONLY = OSError(28, "No space left on device"), OSError(30, "Read-only file system")


@pytest.mark.parametrize(
    "error",
    [FULL, READ_ONLY, rn.StoreLocked("by 4711"), rn.SnapshotFailed("why")],
)
def test_an_outage_tells_each_kind_of_failure_in_the_words_of_the_first(error):
    outage = Outage()
    outage.failed(0, PermissionError(13, "Permission denied"), "no")
    outage.failed(0, rn.SnapshotFailed("another reason"), "nor this")
    assert outage.failed(0, error, "first") == "first"
    assert outage.failed(0, type(error)(*error.args), "second") == "first"
    assert outage.failed(1, error, "third") == "first"


def test_an_outage_ends_when_no_actor_is_left_that_fails():
    outage = Outage()
    assert outage.committed(0, {0, 1, 2}) == 0
    outage.failed(0, FULL, "one")
    outage.failed(1, FULL, "two")
    outage.failed(2, FULL, "three")
    assert outage.committed(0, {0, 1, 2}) == 0
    assert outage.failed(1, FULL, "two") == "one"
    assert outage.lasts
    assert outage.committed(1, {0, 1}) == 4  # 2 has gone
    assert not outage.lasts
    assert outage.failed(1, FULL, "two") == "two"


def test_a_failed_commit_of_an_actor_that_has_gone_ends_no_thread():
    gate = Gate(memory())
    gate.open.clear()
    gate.error = FULL
    config = rn.CheckpointConfig(interval=3600.0)
    with rn.Session(Mixer(SHAPE), actors=2, config=config, storage=gate) as s:
        assert gate.entered.wait(10)
        s.manager.unregister_actor(0)
        with pytest.warns(rn.CheckpointWarning, match=r"snapshot of slot 0 failed"):
            gate.open.set()
            until(lambda: s.statistics().failed)
            gate.error = None
            assert s.snapshot(1).step == 0


def test_warnings_as_errors_reach_the_next_call():
    gate = Gate(memory())
    gate.error = OSError(28, "No space left on device")
    config = rn.CheckpointConfig(interval=3600.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s = rn.Session(Mixer(SHAPE), config=config, storage=gate)
        with pytest.raises(rn.CheckpointWarning, match="No space left"):
            while True:
                s.statistics()
                time.sleep(0.005)
    s.close()


def test_an_unexpected_background_exception_is_raised_by_the_next_call_once():
    gate = Gate(memory())
    gate.error = ZeroDivisionError("a bug in a custom storage")
    s = rn.Session(Mixer(SHAPE), config=rn.CheckpointConfig(interval=3600.0), storage=gate)
    with pytest.raises(ZeroDivisionError, match="a bug in a custom storage"):
        while True:
            s.current_step(0)
            time.sleep(0.005)
    assert s.current_step(0) == 0
    s.close()


@pytest.mark.timeout(60)
def test_an_unexpected_exception_in_the_last_pump_keeps_nothing_from_closing(monkeypatch):
    def bug(*_):
        raise ZeroDivisionError("a bug in the pump")

    s = rn.Session(Mixer(SHAPE), storage=memory())
    s._service._unanswered[0] += 1  # so that there is a last pump
    monkeypatch.setattr(s._service._client, "pump", bug)
    with pytest.raises(ZeroDivisionError, match="a bug in the pump"):
        s.close()
    assert s.closed
    assert not any(thread.is_alive() for thread in s._service._threads)


def test_close_commits_what_was_captured():
    gate = Gate(memory())
    s = rn.Session(Mixer(SHAPE), config=rn.CheckpointConfig(interval=3600.0), storage=gate)
    gate.open.clear()
    assert gate.entered.wait(10)
    closer = threading.Thread(target=s.close)
    closer.start()
    gate.open.set()
    closer.join(30)
    assert s.closed
    assert gate.list() == ["checkpoint_0_step_0"]


# -- the manual crank ----------------------------------------------------------------------------


def test_the_crank_turns_one_stage_at_a_time(crank):
    requests = crank.manager.poll_due_snapshots()
    assert [r.actor_slot for r in requests] == [0, 1]
    crank.run_steps(0, 3)
    for request in requests:
        crank.send(request)
    crank.run_steps(1, 4)  # captured before: the ring keeps the order
    answers = crank.receive(timeout=10)
    while len(answers) < 2:
        answers += crank.receive(timeout=10)
    assert [(a.actor_slot, a.step, a.success) for a in answers] == [(0, 3, True), (1, 0, True)]
    assert crank.manager.list_checkpoints(0) == []
    names = [crank.manager.complete_snapshot(a) for a in answers]
    assert names == ["checkpoint_0_step_3", "checkpoint_1_step_0"]
    assert all(a.data.released for a in answers)


def test_the_loop_of_the_documentation_runs_again_and_again(crank):
    for turn in range(5):
        for slot in (0, 1):
            crank.manager.request_snapshot(slot)
        for request in crank.manager.pending:
            crank.send(request)
        done = 0
        while done < 2:
            for answer in crank.receive(timeout=10):
                assert crank.manager.complete_snapshot(answer) is not None
                done += 1
    assert crank.statistics().completed == 10


def test_sending_twice_asks_once(crank):
    request = crank.manager.request_snapshot(0)
    crank.send(request)
    crank.send(request)
    assert len(crank.receive(timeout=10)) == 1
    assert crank.receive(timeout=0.02) == []


def test_a_third_request_while_two_are_held_is_answered_with_the_reason(crank):
    held = []
    for slot in (0, 1):
        crank.send(crank.manager.request_snapshot(slot))
        held += crank.receive(timeout=10)
    crank.manager.cancel_all_pending()
    crank.send(crank.manager.request_snapshot(0))
    (third,) = crank.receive(timeout=10)
    assert not third.success
    assert "no free staging buffer" in third.error
    with pytest.raises(rn.SnapshotFailed, match="no free staging buffer"):
        crank.manager.complete_snapshot(third)
    del held  # dropped responses give their buffers back
    gc.collect()
    crank.send(crank.manager.request_snapshot(0))
    assert crank.receive(timeout=10)[0].success


def test_staged_data_is_read_only_and_refused_after_release(crank):
    crank.send(crank.manager.request_snapshot(0))
    (answer,) = crank.receive(timeout=10)
    assert isinstance(answer.data, StagedFields)
    with pytest.raises(ValueError, match="read-only"):
        answer.data["u"][0, 0] = 1
    crank.manager.complete_snapshot(answer)
    with pytest.raises(KeyError, match="staging buffer was given back"):
        answer.data["u"]


def test_snapshot_cranks_for_its_own_request_only(crank):
    crank.send(crank.manager.request_snapshot(1))
    checkpoint = crank.snapshot(0)
    assert checkpoint.actor_slot == 0
    (other,) = crank.receive(timeout=10)
    assert other.actor_slot == 1
    assert crank.manager.complete_snapshot(other) == "checkpoint_1_step_0"


def test_receive_belongs_to_the_crank(session):
    with pytest.raises(ValueError, match="service=False"):
        session.receive()


# -- restore -------------------------------------------------------------------------------------


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
    while session.current_step(0) < 3:
        time.sleep(0.001)


def test_restore_by_name_and_latest(session):
    first = session.snapshot(0)
    session.run_steps(0, 4)
    session.snapshot(0)
    assert session.restore(0, first.name) == 0
    assert session.restore(0, "latest") == 4
    with pytest.raises(rn.CheckpointNotFound, match=r"mixer_1.*slot 1.*has no checkpoint"):
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


def test_a_damaged_checkpoint_leaves_the_actor_untouched(tmp_path):
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


# -- life ----------------------------------------------------------------------------------------


def every_call(s, checkpoint):
    return {
        "run_steps": lambda: s.run_steps(0, 1),
        "resume": s.resume,
        "pause": s.pause,
        "set_pace": lambda: s.set_pace(10),
        "current_step": lambda: s.current_step(0),
        "counters": lambda: s.counters(0),
        "inject": lambda: s.inject(0, at=(0, 0)),
        "params": lambda: s.params(0),
        "set_params": lambda: s.set_params(0, add=1),
        "snapshot": lambda: s.snapshot(0),
        "restore": lambda: s.restore(0, checkpoint),
        "send": lambda: s.send(SnapshotRequest(1, 0, 0, checkpoint.created_at)),
        "receive": s.receive,
        "statistics": s.statistics,
    }


def test_every_call_after_close_raises_kernel_stopped(session):
    checkpoint = session.snapshot(0)
    session.close()
    session.close()
    for name, call in every_call(session, checkpoint).items():
        with pytest.raises(rn.KernelStopped, match="the session was closed"):
            call()
            pytest.fail(name)
    assert "closed" in repr(session)
    assert len(session.events) > 0  # the log can still be read


def test_every_call_on_a_dead_kernel_raises_kernel_stopped(session):
    checkpoint = session.snapshot(0)
    session.kernel.fail("a thread died")
    for name, call in every_call(session, checkpoint).items():
        with pytest.raises(rn.KernelStopped, match="a thread died"):
            call()
            pytest.fail(name)


def test_an_abandoned_session_ends_its_threads_and_unlocks_its_store(tmp_path):
    before = set(threading.enumerate())
    s = rn.Session(Mixer(SHAPE), config=quiet(storage_path=tmp_path / "s.zarr"))
    s.snapshot(0)
    threads = set(threading.enumerate()) - before
    assert len(threads) == 3
    del s
    gc.collect()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_an_exception_in_the_block_is_not_replaced(tmp_path):
    with pytest.raises(RuntimeError, match="mine"):
        with rn.Session(Mixer(SHAPE), config=quiet(), storage=memory()) as s:
            raise RuntimeError("mine")
    assert s.closed


def test_a_script_that_never_closes_exits_cleanly(tmp_path):
    code = """
        import sys, ringnb as rn
        from ringnb.testing.kernels import Mixer
        config = rn.CheckpointConfig(interval=0.01, storage_path=sys.argv[1])
        s = rn.Session(Mixer((64, 64)), actors=2, config=config)
        s.resume()
        print(s.snapshot(0).name.startswith("checkpoint_0_step_"))
    """
    path = tmp_path / "s.zarr"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    with contextlib.closing(rn.ZarrStorage(path)) as storage:
        assert storage.list()
        for name in storage.list():
            storage.load(name).verify()


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.run_steps(2, 1), ValueError, "slot 2 does not exist.*0..1"),
        (lambda s: s.run_steps(-1, 1), ValueError, "slot -1"),
        (lambda s: s.run_steps("0", 1), TypeError, "slot must be an integer"),
        (lambda s: s.run_steps(True, 1), TypeError, "slot must be an integer"),
        (lambda s: s.run_steps(0, 0), ValueError, "at least 1"),
        (lambda s: s.run_steps(0, -5), ValueError, "steps must lie in"),
        (lambda s: s.run_steps(0, 1.5), TypeError, "steps must be an integer"),
        (lambda s: s.run_steps(0, 2**63), ValueError, "steps must lie in"),
        (lambda s: s.run_steps(0, 1, timeout=float("nan")), ValueError, "timeout must be finite"),
        (lambda s: s.inject(0, at=(1,)), TypeError, "2 integers"),
        (lambda s: s.inject(0, at=(1, 99)), ValueError, "outside the grid"),
        (lambda s: s.inject(0, at=(1, -1)), ValueError, "outside the grid"),
        (lambda s: s.inject(0, at="ab"), TypeError, "2 integers"),
        (lambda s: s.inject(0, at=(1, 1), amplitude=float("inf")), ValueError, "finite"),
        (lambda s: s.inject(0, at=(1, 1), amplitude="x"), TypeError, "must be a number"),
        (lambda s: s.set_params(0, nope=1), ValueError, "no parameter.*add"),
        (lambda s: s.set_params(0, add=float("nan")), ValueError, "add must be finite"),
        (lambda s: s.set_pace(0), ValueError, "max_steps_per_second"),
        (lambda s: s.set_pace(float("nan")), ValueError, "finite"),
        (lambda s: s.snapshot(0, timeout=0), ValueError, "more than 0 seconds"),
        (lambda s: s.snapshot(0, timeout=-1), ValueError, "more than 0 seconds"),
        (lambda s: s.snapshot(0, timeout=None), TypeError, "must be a number"),
        (lambda s: s.snapshot(7), ValueError, "slot 7"),
        (lambda s: s.restore(0, 5), TypeError, "Checkpoint, a name or 'latest'"),
        (lambda s: s.restore(0, "../escape"), ValueError, "escape"),
        (lambda s: s.send("request"), TypeError, "SnapshotRequest"),
        (lambda s: s.current_step(None), TypeError, "slot must be an integer"),
    ],
)
def test_bad_input_is_one_clear_exception_and_changes_nothing(session, call, error, message):
    before = session.statistics()
    with pytest.raises(error, match=message):
        call(session)
    after = session.statistics()
    assert after.actors == before.actors
    assert (after.pending, after.completed, after.failed) == (0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"actor": "wave"}, TypeError, "must be an Actor"),
        ({"actor": []}, TypeError, "must be an Actor"),
        ({"actors": 0}, ValueError, "actors must lie in"),
        ({"actors": 1.0}, TypeError, "actors must be an integer"),
        ({"backend": "gpu"}, ValueError, "backend must be"),
        ({"backend": "cuda"}, rn.BackendUnavailable, "backend='cpu'"),
        ({"service": 1}, TypeError, "service must be a bool"),
        ({"config": {}}, TypeError, "CheckpointConfig"),
        ({"storage": "path"}, TypeError, "storage must be a CheckpointStorage"),
        ({"kernel_ids": ["a", "b"]}, ValueError, "each of the 1 slots"),
        ({"actors": 2, "kernel_ids": ["a", "a"]}, ValueError, "'a'"),
        ({"width": 0}, ValueError, "width"),
        ({"threads": 64}, ValueError, "threads=64 .*use width"),
        ({"ring_capacity": 5}, ValueError, "power of two"),
        ({"max_steps_per_second": -1}, ValueError, "max_steps_per_second"),
    ],
)
def test_bad_arguments_of_a_session_start_nothing(arguments, error, message):
    threads = threading.active_count()
    options = {"actor": Mixer(SHAPE), "config": quiet(), "storage": memory(), **arguments}
    with pytest.raises(error, match=message):
        rn.Session(**options)
    gc.collect()
    assert threading.active_count() == threads


def test_a_store_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(rn.CheckpointError, match=str(tmp_path.name)):
        rn.Session(Mixer(SHAPE), config=quiet(storage_path=tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_the_auto_backend_is_the_cpu(session):
    assert session.backend == "cpu"
    assert len(session.actors) == 2
    assert "2 x mixer on cpu" in repr(session)


def test_many_sessions_may_live_side_by_side():
    sessions = [rn.Session(Mixer(SHAPE), config=quiet(), storage=memory()) for _ in range(4)]
    for n, s in zip(itertools.count(1), sessions, strict=False):
        s.run_steps(0, n)
    assert [s.current_step(0) for s in sessions] == [1, 2, 3, 4]
    for s in sessions:
        s.close()
