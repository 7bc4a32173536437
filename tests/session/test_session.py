"""Sessions: life, stepping, state and parameters, bad input."""

from __future__ import annotations

import contextlib
import gc
import itertools
import textwrap
import threading
import time

import numpy as np
import pytest
from session_rig import SHAPE, memory, quiet, reference, state_of
from waiting import until

import ringnb as rn
from ringnb._support.children import run_python
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.messages.snapshots import SnapshotRequest
from ringnb.testing import MemoryStorage
from ringnb.testing.kernels import Mixer, advance


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


def test_step_and_time_of_one_look_belong_together():
    with rn.Session(rn.actors.GrayScott((32, 32)), config=quiet(), storage=memory()) as session:
        session.resume()
        looks = [
            session.glance() for _ in range(3000)
        ]  # in which it tells new steps a hundred times
    assert {look.times[0] - look.actors[0].step for look in looks} == {0.0}


def test_pause_ends_a_blocked_run_steps_and_clears_the_budget(session):
    reached = []
    runner = threading.Thread(target=lambda: reached.append(session.run_steps(0, 2**40)))
    runner.start()
    until(lambda: session.current_step(0))
    session.pause(0)
    runner.join(60)
    step = session.current_step(0)
    assert reached == [step]
    assert session.counters(0).budget == 0
    assert session.run_steps(0, 1) == step + 1


def test_resume_runs_freely_and_pause_stops_at_a_step_boundary(session):
    session.set_pace(2000)  # the NumPy reference has to keep up
    session.resume()
    until(lambda: min(session.current_step(0), session.current_step(1)) >= 5)
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


def test_the_log_says_at_which_step_the_live_actor_was_changed(session):
    session.run_steps(0, 4)
    session.inject(0, at=(2, 3), amplitude=0.5)
    was = session.params(0)["add"]
    session.set_params(0, add=was)  # which changes nothing
    session.run_steps(0, 2)
    session.set_params(0, add=was + 1)
    assert [
        (e.stage, e.step, e.detail) for e in session.events.select("disturbed", "adjusted")
    ] == [
        ("disturbed", 4, "cell y 2, x 3 by 0.5"),
        ("adjusted", 6, f"add {was:g} → {was + 1:g}"),
    ]


def test_an_actor_is_due_once_the_kernel_runs_and_not_while_it_is_compiled(monkeypatch):
    launch, ended = CpuKernel.launch, []

    def note_the_end(kernel):
        launch(kernel)
        ended.append(time.monotonic_ns())

    monkeypatch.setattr(CpuKernel, "launch", note_the_end)
    with rn.Session(Mixer(SHAPE), storage=memory()) as session:
        until(lambda: session.events.select("due"))
        assert min(e.t_ns for e in session.events) >= ended[0]


def test_several_actor_types_share_a_session():
    population = [Mixer(SHAPE), rn.actors.Life((16, 16)), rn.actors.Wave2D((16, 16))]
    with rn.Session(population, config=quiet(), storage=memory(), lanes=1) as s:
        for slot in range(3):
            s.run_steps(slot, 10)
            assert s.snapshot(slot).kernel_type == population[slot].kernel_type
        assert s.manager.registered[1].kernel_id == "life_1"


def test_statistics_can_be_read_in_a_notebook(session):
    session.run_steps(0, 3)
    session.run_steps(1, 4)
    session.snapshot(0)
    shown = session.statistics()._repr_html_()
    assert "2 actors, 0 of them running" in shown
    assert "7 of all actors" in shown
    assert f"{session.manager.total_completed} committed, 0 failed" in shown


def every_call(s, checkpoint):
    return {
        "run_steps": lambda: s.run_steps(0, 1),
        "resume": s.resume,
        "pause": s.pause,
        "set_pace": lambda: s.set_pace(10),
        "current_step": lambda: s.current_step(0),
        "counters": lambda: s.counters(0),
        "inject": lambda: s.inject(0, at=(0, 0)),
        "read_region": lambda: s.read_region(0, rn.Region("u")),
        "write_region": lambda: s.write_region(0, rn.Region("u"), 1),
        "params": lambda: s.params(0),
        "set_params": lambda: s.set_params(0, add=1),
        "snapshot": lambda: s.snapshot(0),
        "save_changes": s.save_changes,
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


def test_a_session_closes_though_its_manager_was_closed_before():
    session = rn.Session(Mixer(SHAPE), config=quiet(), storage=memory(), service=False)
    session.manager.close()
    session.close()
    assert session.closed
    assert not session.kernel.alive


def test_close_raises_what_failed_in_the_background_after_everything_is_closed(tmp_path):
    before = set(threading.enumerate())
    session = rn.Session(Mixer(SHAPE), config=quiet(storage_path=tmp_path / "s.zarr"))
    session.snapshot(0)
    started = set(threading.enumerate()) - before
    session.keep_failure(ZeroDivisionError("a bug in the background"))
    with pytest.raises(ZeroDivisionError, match="a bug in the background"):
        session.close()
    assert session.closed
    assert not session.kernel.alive
    assert started
    assert not any(thread.is_alive() for thread in started)
    session.close()


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
    names = [thread.name for thread in threads]
    assert {"ringnb-writer", "ringnb-service", "ringnb-lane0-0"} <= set(names)
    del s
    gc.collect()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_an_exception_in_the_block_is_not_replaced(tmp_path):
    with pytest.raises(RuntimeError, match="mine"):
        with rn.Session(Mixer(SHAPE), config=quiet(), storage=memory()) as s:
            raise RuntimeError("mine")
    assert s.closed


def test_a_script_that_never_closes_exits_cleanly(tmp_path):
    code = """
        import sys, ringnb as rn
        config = rn.CheckpointConfig(interval=0.01, storage_path=sys.argv[1])
        s = rn.Session(rn.actors.Heat2D((64, 64)), actors=2, config=config)
        s.resume()
        print(s.snapshot(0).name.startswith("checkpoint_0_step_"))
    """
    path = tmp_path / "s.zarr"
    done = run_python("-c", textwrap.dedent(code), path, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    with contextlib.closing(rn.ZarrStorage(path)) as storage:
        assert storage.list()
        for name in storage.list():
            storage.load(name).verify()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.run_steps(2, 1), ValueError, "slot 2 does not exist.*0..1"),
        (lambda s: s.run_steps(-1, 1), ValueError, "slot -1"),
        (lambda s: s.run_steps("0", 1), TypeError, "slot must be an integer"),
        (lambda s: s.run_steps(True, 1), TypeError, "slot must be an integer"),
        (lambda s: s.run_steps(0, 0), ValueError, r"steps must lie in 1\.\."),
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
        (lambda s: s.restore(0, 5), TypeError, "Checkpoint, a name, 'latest'"),
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
        ({"service": 1}, TypeError, "service must be True or False"),
        ({"config": {}}, TypeError, "CheckpointConfig"),
        ({"storage": "path"}, TypeError, "storage must be a CheckpointStorage"),
        ({"kernel_ids": ["a", "b"]}, ValueError, "each of the 1 slots"),
        ({"actors": 2, "kernel_ids": ["a", "a"]}, ValueError, "'a'"),
        ({"width": 0}, ValueError, "width"),
        ({"backend": "cpu", "threads": 64}, ValueError, "threads=64 .*lanes and width"),
        ({"ring_capacity": 5}, ValueError, "power of two"),
        ({"max_steps_per_second": -1}, ValueError, "max_steps_per_second"),
    ],
)
def test_bad_arguments_of_a_session_start_nothing(arguments, error, message):
    threads = threading.active_count()
    options = {"actor": Mixer(SHAPE), "config": quiet(), "storage": memory(), **arguments}
    with pytest.raises(error, match=message):
        rn.Session(**options)
    gc.collect(1)  # what is as new as this
    assert threading.active_count() <= threads


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


class _Unwritable(MemoryStorage):
    def why_unwritable(self):
        return "the file system of '/data' is read-only"


def test_a_store_that_cannot_be_written_is_told_when_the_session_begins():
    storage = _Unwritable()
    with pytest.warns(
        rn.CheckpointWarning, match="can save no checkpoint: the file system"
    ) as told:
        rn.Session(Mixer(SHAPE), config=quiet(enabled=True), storage=storage).close()
    assert [w.filename for w in told] == [__file__]
    rn.Session(Mixer(SHAPE), config=quiet(), storage=storage).close()  # one that only looks on


def test_an_actor_is_saved_until_it_is_stepped_or_changed():
    with rn.Session(rn.actors.Wave2D((8, 8)), config=quiet(), storage=memory()) as session:
        assert not session.is_saved(0)
        session.snapshot(0)
        assert session.is_saved(0)
        session.run_steps(0, 1)
        assert not session.is_saved(0)
        session.restore(0, "latest")
        assert session.is_saved(0)
        session.inject(0, at=(1, 1))
        session.keep_failure(ZeroDivisionError("a bug in the background"))
        assert not session.is_saved(0)
        with pytest.raises(ZeroDivisionError):  # left for a call that does something
            session.pause(0)
        with pytest.raises(ValueError, match="slot 1 does not exist"):
            session.is_saved(1)
