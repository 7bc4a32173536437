"""Reports: every row is of its step, durable, and on the line that was there when it was captured."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from session_rig import SHAPE, Gate, being_saved, memory, quiet, reference
from waiting import until

import ringnb as rn
from ringnb.errors import KernelStopped
from ringnb.testing.kernels import Mixer


def total(state):
    return int(state["u"].sum())


def totals(steps, slot=0):
    return [int(reference(slot, step)[0].sum()) for step in steps]


@pytest.fixture
def store(tmp_path):
    return tmp_path / "waves.zarr"


@pytest.fixture
def opened(store):
    """Open sessions over one store; they are closed at the end."""
    sessions = []

    def make(**options):
        config = quiet(storage_path=store, **options.pop("config", {}))
        sessions.append(rn.Session(Mixer(SHAPE), config=config, **options))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


def test_every_row_is_of_its_step(session):
    session.report(30, total=total)
    session.run_steps(0, 100)
    report = session.reported(0)
    assert report.steps.tolist() == [0, 30, 60, 90]
    assert report["total"].tolist() == totals([0, 30, 60, 90])
    assert np.isnan(report.times).all()
    assert (report.names, len(report), report.abandoned) == (("total",), 4, 0)
    session.run_steps(1, 30)
    assert session.reported(1).steps.tolist() == [0, 30]  # by default all actors are reported
    assert session.reported(1)["total"].tolist() == totals([0, 30], slot=1)


def test_an_actor_that_runs_freely_leaves_out_no_row(session):
    session.report(7, 0, total=total)
    session.resume(0)
    until(lambda: session.current_step(0) >= 200)
    session.pause(0)
    last = session.current_step(0)
    report = session.reported(0)
    assert report.steps.tolist() == list(range(0, last + 1, 7))
    some = report.steps[::9]
    assert report["total"][::9].tolist() == totals(some)


def test_a_slow_function_holds_the_actor_at_the_next_multiple(session):
    going, seen = threading.Event(), []

    def slow(state):
        seen.append(state.step)
        if state.step == 10:
            going.wait(60)
        return state.step

    session.report(10, 0, slow=slow)
    session.resume(0)
    until(lambda: session.current_step(0) >= 20)
    time.sleep(0.02)  # it could take thousands of steps meanwhile
    assert (session.current_step(0), seen) == (20, [0, 10])
    going.set()
    session.pause(0)
    assert session.reported(0)["slow"].tolist() == session.reported(0).steps.tolist()


@pytest.mark.slow
def test_every_row_is_of_its_step_in_the_simulator():
    options = {"backend": "cudasim", "config": quiet(), "storage": memory()}
    with rn.Session(Mixer(SHAPE), **options) as s:
        s.report(4, total=total)
        s.run_steps(0, 10)
        assert s.state(0).step == 10
        assert s.reported().steps.tolist() == [0, 4, 8]
        assert s.reported()["total"].tolist() == totals([0, 4, 8])


def test_it_ends_and_begins_again_on_the_same_line(session):
    session.report(10, 0, total=total)
    session.run_steps(0, 25)
    session.report(None)
    session.run_steps(0, 25)
    assert session.reported(0).steps.tolist() == [0, 10, 20]
    session.report(20, 0, twice=total)
    session.run_steps(0, 30)
    report = session.reported(0)
    assert report.steps.tolist() == [0, 10, 20, 60, 80]
    np.testing.assert_array_equal(np.isnan(report["total"]), [False, False, False, True, True])
    assert report["twice"][3:].tolist() == totals([60, 80])
    assert report.abandoned == 0


def test_rows_have_the_simulated_time():
    actor = rn.actors.Heat2D((16, 16), alpha=1.0, dx=1.0)
    with rn.Session(actor, config=quiet(), storage=memory()) as s:
        s.report(5, hottest=lambda state: state["temperature"].max())
        s.run_steps(0, 10)
        s.set_params(0, diffusion_number=0.25)
        s.run_steps(0, 5)
        report = s.reported()
        assert report.times.tolist() == [0.0, 5 * 0.2, 10 * 0.2, 2 + 5 * 0.25]
        assert all(np.diff(report["hottest"]) < 0)


def test_what_lies_beyond_a_restored_step_is_abandoned_and_computed_again_with_the_same_bits(
    opened, store
):
    s = opened()
    s.report(10, total=total)
    s.run_steps(0, 25)
    checkpoint = s.snapshot(0)
    s.run_steps(0, 30)
    once = s.reported()
    assert once.steps.tolist() == [0, 10, 20, 30, 40, 50]
    s.restore(0, checkpoint)
    back = s.reported()
    assert back.steps.tolist() == [0, 10, 20]
    assert back.abandoned == 3
    s.run_steps(0, 30)
    again = s.reported()
    assert again.steps.tolist() == once.steps.tolist()
    assert again["total"].tobytes() == once["total"].tobytes()
    assert again.abandoned == 3
    # A checkpoint of the new line, and back to the first one: a branch of the branch.
    s.snapshot(0)
    s.restore(0, checkpoint)
    s.inject(0, (3, 4), 5)
    s.run_steps(0, 10)
    other = s.reported()
    assert other.steps.tolist() == [0, 10, 20, 30]
    assert other["total"][:3].tolist() == once["total"][:3].tolist()
    assert other["total"][3] != once["total"][3]
    s.close()
    later = rn.Report.open(store)
    assert later.steps.tolist() == [0, 10, 20, 30]
    assert [line.origin is None for line in later.lines] == [True, False, False]
    assert later.lines[0].run == checkpoint.run


def test_a_row_shows_the_state_before_what_changes_it_at_its_step(session):
    session.run_steps(0, 10)
    checkpoint = session.snapshot(0)
    session.report(10, 0, total=total)
    for _ in range(10):
        session.inject(0, (3, 4), 5)
        session.run_steps(0, 10)
        session.restore(0, checkpoint)
    lines = session.reported(0).lines
    assert [line.steps.tolist() for line in lines] == [[10, 20]] * 10 + [[10]]
    assert {line.values["total"][0] for line in lines} == set(totals([10]))
    assert len({line.values["total"][1] for line in lines[:-1]}) == 1


def test_a_new_session_goes_on_with_the_line_of_the_checkpoint(opened, store):
    s = opened()
    s.report(10, total=total)
    s.run_steps(0, 25)
    s.snapshot(0)
    s.run_steps(0, 30)  # what this computes is lost, as by a crash
    s.close()
    s = opened()
    assert s.restore(0, "latest") == 25
    s.report(10, total=total)
    s.run_steps(0, 10)
    report = s.reported()
    assert report.steps.tolist() == [0, 10, 20, 30]
    assert report["total"].tolist() == totals([0, 10, 20, 30])
    assert report.abandoned == 3
    s.snapshot(0)
    s.close()
    s = opened()  # a fresh start, at step 0, is no part of that
    s.report(10, total=total)
    s.run_steps(0, 10)
    assert s.reported().steps.tolist() == [0, 10]
    assert len(s.reported().lines) == 3
    s.restore(0, "latest")
    assert s.reported().steps.tolist() == [0, 10, 20, 30]


def test_rows_before_a_checkpoint_are_on_the_disk_with_it(opened, store):
    s = opened()
    s.report(10, total=total)
    s.run_steps(0, 35)
    s.snapshot(0)
    assert rn.Report.open(store).steps.tolist() == [0, 10, 20, 30]  # as after a kill now


def test_the_store_itself_holds_checkpoints_only(opened, store):
    s = opened()
    s.report(10, total=total)
    s.run_steps(0, 10)
    name = s.snapshot(0).name
    s.reported()
    assert {p.name for p in store.iterdir()} == {"zarr.json", name}
    assert (store.parent / "waves.reports.zarr" / "mixer_0" / "000001" / "zarr.json").exists()


def test_a_slow_disk_delays_no_row():
    gate = Gate(memory())
    with rn.Session(Mixer(SHAPE), actors=2, lanes=1, config=quiet(), storage=gate) as s:
        s.report(10, total=total)
        with being_saved(s, gate, 0, 1):
            s.run_steps(0, 100, timeout=60)
            assert s.reported(0).steps.tolist() == list(range(0, 101, 10))


def test_a_function_that_fails_ends_the_report_and_is_told(session):
    def fails(state):
        if state.step == 20:
            raise ZeroDivisionError("of my own")
        return 1

    session.report(10, 0, fails=fails)
    with pytest.raises(ZeroDivisionError, match="of my own"):
        session.run_steps(0, 100)
        session.reported(0)
    assert session.run_steps(0, 100) == 200  # nothing holds it any more
    assert session.reported(0).steps.tolist() == [0, 10]
    session.report(10, 0, words=lambda state: "many")
    with pytest.raises(TypeError, match=r"'words' returned 'many' \(str\).*number"):
        session.reported(0)


@pytest.mark.parametrize(
    ("every", "functions", "error", "message"),
    [
        (0, {"f": total}, ValueError, "every"),
        (10, {}, ValueError, "nothing to report"),
        (10, {"f": 3}, TypeError, "f must be a function of a State, got 3"),
        (10, {"step": total}, ValueError, "'step' would hide"),
        (10, {"_": total}, ValueError, None),
    ],
)
def test_what_cannot_be_reported_is_refused(session, every, functions, error, message):
    if message is None:
        session.report(every, 0, **functions)  # a name as any field may have
        return
    with pytest.raises(error, match=message):
        session.report(every, 0, **functions)
    with pytest.raises(rn.CheckpointNotFound, match=r"session\.report\("):
        session.reported(0)


def test_it_needs_the_service(by_hand):
    with pytest.raises(ValueError, match="service=True"):
        by_hand.report(10, total=total)


def test_a_disk_that_is_full_loses_no_row(opened, store):
    s = opened()
    s.report(10, total=total)
    s.run_steps(0, 10)
    assert len(s.reported()) == 2
    blocked = store.parent / "waves.reports.zarr" / "mixer_0" / "000001"
    hidden = blocked.with_name("hidden")
    blocked.rename(hidden)
    with pytest.warns(rn.CheckpointWarning, match="rows of a report could not be written"):
        s.run_steps(0, 10)
        s._service.reporter.catch_up(0)
        assert not s._service.reporter.settle()
    hidden.rename(blocked)
    assert s.reported().steps.tolist() == [0, 10, 20]


def test_a_report_where_nothing_can_be_written_is_kept_in_memory(opened, store):
    (store.parent / "waves.reports.zarr").write_text("a file of the user's")
    s = opened()
    with pytest.warns(rn.CheckpointWarning, match="kept in memory only"):
        s.report(10, total=total)
    s.run_steps(0, 10)
    assert s.reported().steps.tolist() == [0, 10]


def test_a_session_that_was_remade_goes_on_reporting(opened):
    s = opened()
    s.report(10, total=total)
    s.run_steps(0, 10)
    s.kernel.stop("pulled the plug")
    with pytest.raises(KernelStopped):
        s.reported()
    again = s.remake()
    again.run_steps(0, 20)
    assert again.reported().steps.tolist() == [0, 10, 20]
    again.close()


def test_a_session_that_is_dropped_takes_its_reporter_along(opened):
    with rn.Session(Mixer(SHAPE), config=quiet(), storage=memory()) as s:
        s.report(10, total=total)
        s.run_steps(0, 10)
        thread = s._service.reporter._thread
    thread.join(60)
    assert not thread.is_alive()
    gc.collect()


@pytest.mark.slow
def test_a_process_that_is_killed_again_and_again_has_the_curve_of_one_that_is_not(tmp_path):
    def start(store):
        command = [sys.executable, Path(__file__).with_name("report_child.py"), tmp_path / store]
        return subprocess.Popen([*command, "3000"], stdout=subprocess.PIPE, text=True)

    with start("once.zarr") as once:
        assert once.stdout.readline() == "0\n"
    began = []
    for seconds in (0.15, 0.25, 0.1, 0.2, None):
        with start("often.zarr") as child:
            began.append(int(child.stdout.readline()))
            if seconds is not None:
                time.sleep(seconds)
                child.kill()
        assert child.returncode == (0 if seconds is None else -signal.SIGKILL)
    assert began[-1] > 0
    reports = [rn.Report.open(tmp_path / store) for store in ("once.zarr", "often.zarr")]
    assert reports[0].steps.tolist() == list(range(0, 3001, 50))
    for column in ("steps", "times"):
        assert getattr(reports[0], column).tobytes() == getattr(reports[1], column).tobytes()
    assert reports[0]["v"].tobytes() == reports[1]["v"].tobytes()
