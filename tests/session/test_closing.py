"""A session that ends leaves a last checkpoint of what has changed, in time, and hides nothing by it."""

from __future__ import annotations

import signal
import threading
import time
import warnings

import pytest
from session_rig import FULL, SHAPE, Gate, memory, quiet
from waiting import until

import ringnb as rn
from ringnb._support.children import run_python
from ringnb.session import live
from ringnb.session.crank import POSITIONS, Crank
from ringnb.testing import MemoryStorage
from ringnb.testing.kernels import Mixer


def ending(storage, actors=1, service=True, **changes):
    return rn.Session(
        Mixer(SHAPE),
        actors=actors,
        config=quiet(on_close=True, **changes),
        storage=storage,
        service=service,
    )


def steps_of(storage, kernel_id="mixer_0"):
    return [e.step for e in storage.history("checkpoint", kernel_id)]


@pytest.mark.parametrize("service", [True, False], ids=["service", "by hand"])
def test_what_has_changed_is_committed_and_nothing_else(service):
    storage = memory()
    with ending(storage, actors=4, service=service) as s:
        s.run_steps(0, 5)
        s.run_steps(1, 7)
        s.snapshot(1)
        s.inject(2, at=(1, 1))
    assert [steps_of(storage, f"mixer_{slot}") for slot in range(4)] == [[5], [7], [0], []]
    with ending(storage, actors=4, service=service) as s:
        assert s.restore(0, "latest") == 5
        s.restore(2, "latest")
        s.set_params(2, add=3)
    assert [steps_of(storage, f"mixer_{slot}") for slot in range(4)] == [[5], [7], [0, 0], []]
    assert storage.load(storage.list()[-1]).params == {"add": 3.0}


def test_a_free_running_actor_is_saved_while_it_runs_and_other_sessions_are_not_bound_to():
    storage = memory()
    s = ending(storage)
    s.resume()
    until(lambda: s.current_step(0) > 0)
    s.close()
    assert steps_of(storage)[0] > 0
    with rn.Session(Mixer(SHAPE), config=quiet(), storage=(other := memory())) as s:
        s.run_steps(0, 3)
    assert steps_of(other) == []


def test_the_exception_of_the_block_is_raised_and_the_checkpoint_is_there():
    storage = memory()
    with pytest.raises(ZeroDivisionError, match="mine"), ending(storage) as s:
        s.run_steps(0, 5)
        raise ZeroDivisionError("mine")
    assert steps_of(storage) == [5]


@pytest.mark.parametrize("position", POSITIONS)
def test_a_crank_that_stands_still_holds_up_no_end(position, tmp_path):
    storage = rn.ZarrStorage(tmp_path / "s.zarr")
    s = ending(storage, service=False)
    crank = Crank(s)
    s.run_steps(0, 5)
    while crank.position != position:
        crank.turn()
    began = time.monotonic()
    s.close()
    assert time.monotonic() - began < 20
    assert steps_of(storage)[-1] == 5


@pytest.mark.parametrize("raised", [None, RuntimeError("mine")], ids=["close", "exception"])
def test_a_disk_that_is_full_is_a_warning_and_the_session_is_closed(raised):
    storage = Gate(memory())
    storage.error = FULL
    s = ending(storage, actors=2)
    s.run_steps(0, 5)
    s.run_steps(1, 5)
    text = "last state of actor 'mixer_0' .slot 0. and 1 other actor was not saved.*No space left"
    if raised is None:
        with pytest.warns(rn.CheckpointWarning, match=text):
            s.close()
    else:
        with (
            pytest.warns(rn.CheckpointWarning, match=text),
            pytest.raises(RuntimeError, match="mine"),
        ):
            with s:
                raise raised
    assert s.closed
    assert not s.kernel.alive


def test_where_warnings_are_errors_it_is_raised_after_all_is_closed():
    storage = Gate(memory())
    storage.error = FULL
    s = ending(storage)
    s.run_steps(0, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(rn.CheckpointWarning, match="was not saved"):
            s.close()
    assert s.closed


def shut(storage):
    storage.open.clear()
    return storage


def test_it_is_bounded_by_its_deadline_and_a_late_commit_is_not_lost():
    storage = shut(Gate(inner := memory()))
    s = ending(storage, on_close_timeout=0.2)
    s.run_steps(0, 5)
    began = time.monotonic()
    with pytest.warns(rn.CheckpointWarning) as warned:
        s.close()
    assert time.monotonic() - began < 20
    assert ["not committed within 0.2 s" in str(w.message) for w in warned] == [True, False]
    assert "on_close_timeout" in str(warned[1].message)
    assert s.closed
    storage.open.set()
    until(lambda: steps_of(inner) == [5])


def test_an_interrupt_ends_the_wait_and_the_session_is_closed():
    storage = shut(Gate(memory()))
    s = ending(storage)
    s.run_steps(0, 5)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.warns(rn.CheckpointWarning, match="still being written"):
            with pytest.raises(KeyboardInterrupt):
                s.close()
        assert s.closed
        assert not s.kernel.alive
    finally:
        signal.signal(signal.SIGALRM, before)
        storage.open.set()


def test_two_threads_close_it_once():
    storage = memory()
    s = ending(storage)
    s.run_steps(0, 5)
    threads = [threading.Thread(target=s.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    s.close()
    for thread in threads:
        thread.join()
    assert steps_of(storage) == [5]


def test_a_dead_kernel_and_a_closed_manager_have_nothing_to_save():
    s = ending(MemoryStorage())
    s.run_steps(0, 5)
    s.kernel.fail("a thread died")
    s.close()
    # By hand: a service's thread may find the manager closed first, and `close` raise that in the end.
    s = ending(MemoryStorage(), service=False)
    s.run_steps(0, 5)
    s.manager.close()
    with pytest.warns(rn.CheckpointWarning, match="not saved: CheckpointError: the manager is"):
        s.close()
    assert s.closed


EXIT = """
import sys, ringnb as rn
config = rn.CheckpointConfig(enabled=False, storage_path=sys.argv[1])
session = rn.Session(rn.actors.Life((8, 8)), config=config)
session.run_steps(0, 7)
1 / 0
"""


def test_the_end_of_the_interpreter_leaves_it_too(tmp_path):
    done = run_python("-c", EXIT, tmp_path / "s.zarr", timeout=120)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("ZeroDivisionError: division by zero")
    assert steps_of(rn.ZarrStorage(tmp_path / "s.zarr"), "life_0") == [7]


def test_changes_are_saved_in_the_middle_of_a_run_as_well():
    storage = memory()
    with ending(storage, actors=2) as s:
        s.run_steps(1, 5)
        assert s.save_changes()
        assert s.save_changes(timeout=1)
        assert [steps_of(storage, f"mixer_{slot}") for slot in range(2)] == [[], [5]]


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"on_close": 1}, TypeError), ({"on_close_timeout": 0}, ValueError)],
)
def test_its_settings_are_checked(changes, error):
    with pytest.raises(error, match=next(iter(changes))):
        quiet(**changes)


def test_at_the_end_the_session_that_began_last_is_saved_last():
    """What it has computed is then the newest, where several have actors of one name in one store."""
    storage = memory()
    began = [ending(storage, service=False) for _ in range(6)]
    steps = [9, 2, 7, 1, 8, 3]
    for session, step in zip(began, steps, strict=True):
        session.run_steps(0, step)
    live.close_all()
    assert all(session.closed for session in began)
    assert steps_of(storage)[-6:] == steps
