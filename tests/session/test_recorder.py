"""Checkpoints of a loop of one's own: what is saved, when, what it waits for, how it ends."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import re
import signal
import sys
import threading
import warnings
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from session_rig import FULL, SHAPE, Gate, memory, quiet
from waiting import until

import ringnb as rn
from ringnb.session import live
from ringnb.session import recorder as recorder_module
from ringnb.testing.clock import ManualClock
from ringnb.testing.kernels import Mixer


def recorder(storage=None, name="loop", **options):
    config = options.pop("config", None) or rn.CheckpointConfig(interval=60.0, max_snapshots=0)
    return rn.Recorder(config, memory() if storage is None else storage, name=name, **options)


def settle(rec):
    assert rec.save_changes()
    rec._asked = False


def advance(u, step):
    return u * 0.75 + np.sin(step + np.arange(u.size, dtype=u.dtype)).reshape(u.shape)


def run(rec, until, start=None):
    """Run a loop from where it was; return its state."""
    step, state = rec.latest() or (0, {"u": np.zeros((3, 4)) if start is None else start})
    u = state["u"]
    while step < until:
        u = advance(u, step)
        step += 1
        if rec.due(step):
            rec.save(step, time=step / 8, u=u)
    return u


def test_a_loop_that_goes_on_in_another_process_ends_with_the_same_bits(tmp_path):
    config = rn.CheckpointConfig(storage_path=tmp_path / "loop.zarr", max_snapshots=0)
    with rn.Recorder(config, name="a", every=10) as rec:
        run(rec, 27)
    with rn.Recorder(config, name="a", every=10) as rec:
        ended = run(rec, 40)
        assert rec.checkpoint.step == 20
        assert rec.checkpoint.time == 2.5
        assert [c.step for c in rec.history()] == [10, 20, 30, 40]
    with rn.Recorder(storage=memory(), name="b") as rec:
        assert run(rec, 40).tobytes() == ended.tobytes()


def test_latest_gives_arrays_of_ones_own_or_none():
    with recorder() as rec:
        assert rec.latest() is None
        assert rec.checkpoint is None
        rec.save(
            3, {"not-a-name": [1, 2]}, time=0.5, v=np.arange(3)[::-1], flag=True, attrs={"b": 2}
        )
        step, state = rec.latest()
        assert step == 3
        assert (rec.checkpoint.time, rec.checkpoint.user) == (0.5, {"b": 2})
        assert rec.checkpoint.backend == "python"
        state["v"][0] = 7
        assert state["v"].tolist() == [7, 1, 0]
        assert state["flag"].shape == ()
        assert state["not-a-name"].tolist() == [1, 2]


def test_a_save_copies_and_returns_before_the_commit():
    storage = Gate(memory())
    storage.open.clear()
    with recorder(storage) as rec:
        u = np.full(5, 1.0)
        rec.save(1, u=u)
        u[:] = 2.0
        assert storage.entered.wait(60)
        assert storage.list() == []
        assert not rec.due(2)  # one in flight
        storage.open.set()
        assert rec.latest()[1]["u"].tolist() == [1.0] * 5


def test_a_second_save_waits_for_the_first_and_takes_its_copy():
    storage = Gate(memory())
    storage.open.clear()
    with recorder(storage) as rec:
        rec.save(1, u=np.zeros(4))
        second = threading.Thread(target=rec.save, args=(2,), kwargs={"u": np.ones(4)})
        second.start()
        second.join(0.02)
        assert second.is_alive()
        storage.open.set()
        second.join(60)
        settle(rec)
        # A state of another form, and fields that are no more.
        rec.save(3, v=np.ones(2, np.float32))
        assert [(c.step, c.fields) for c in sorted(rec.history(), key=lambda c: c.step)][:2] == [
            (1, ("u",)),
            (2, ("u",)),
        ]
        assert set(rec.latest()[1]) == {"v"}
        assert rec.restore("checkpoint_0_step_2")[1]["u"].tolist() == [1.0] * 4
        assert rec.restore(rec.history()[0])[1]["u"].tolist() == [0.0] * 4


def test_it_is_due_by_the_clock():
    clock = ManualClock()
    with recorder(clock=clock) as rec:
        assert rec.due(0)  # nothing is there yet
        rec.save(0, u=np.zeros(2))
        settle(rec)
        assert not rec.due(1)
        clock.advance(59.0)
        assert not rec.due(2)
        clock.advance(1.0)
        assert rec.due(3)
        assert not rec.due(0)  # which is saved
        rec.save(3, u=np.zeros(2))
        settle(rec)
        rec.manager.reconfigure(interval=1.0)
        clock.advance(1.0)
        assert rec.due(4)
        rec.manager.reconfigure(enabled=False)
        assert not rec.due(4)


def test_it_is_due_at_every_multiple_however_the_loop_steps():
    with recorder(every=100) as rec:
        due = [
            step for step in range(0, 700, 30) if rec.due(step) and rec.save(step, u=[0]) is None
        ]
        assert due == [120, 210, 300, 420, 510, 600]
        rec.restore("checkpoint_0_step_120")
        assert not rec.due(150)
        assert rec.due(200)


def test_runs_are_as_those_of_a_session(caplog):
    storage = memory()
    with recorder(storage) as rec:
        for step in (1, 2, 3):
            rec.save(step, u=[step])
    with caplog.at_level(logging.WARNING, "ringnb"), recorder(storage) as rec:
        rec.save(1, u=[1])  # it begins afresh
        assert "rec.latest()" in caplog.text
        settle(rec)
        assert len(rec.manager.runs(0)) == 2
    with recorder(storage) as rec:
        rec.latest()
        rec.save(2, u=[2])
        settle(rec)
        assert len(rec.manager.runs(0)) == 2  # goes on
        rec.restore("checkpoint_0_step_2")
        rec.save(4, u=[4])
        settle(rec)
        assert rec.manager.runs(0)[-1].parent == "checkpoint_0_step_2"


def test_retention_keeps_the_newest():
    config = rn.CheckpointConfig(max_snapshots=2)
    with recorder(config=config) as rec:
        for step in range(5):
            rec.save(step, u=[step])
        settle(rec)
        assert rec.manager.list_checkpoints(0) == ["checkpoint_0_step_3", "checkpoint_0_step_4"]


def test_what_a_commit_meets_is_raised_by_the_next_call_once():
    storage, clock = Gate(memory()), ManualClock()
    with recorder(storage, clock=clock) as rec:
        storage.error = FULL
        rec.save(1, u=[1])
        until(lambda: not rec._copy.locked())
        with pytest.raises(OSError, match="No space left"):
            rec.due(1)
        assert not rec.due(1)
        clock.advance(2.0)
        storage.error = None
        assert rec.due(1)  # the same state again
        rec.save(1, u=[1])
        assert rec.latest()[0] == 1
        storage.error = FULL
        rec.save(2, u=[2])
        with pytest.raises(OSError, match="No space left"):
            rec.save(3, u=[3])  # which has waited for it
        storage.error = None
    assert storage.list() == ["checkpoint_0_step_1"]


def test_close_raises_what_the_last_commit_has_met_and_is_closed():
    storage = Gate(memory())
    rec = recorder(storage)
    storage.error = FULL
    rec.save(1, u=[1])
    with pytest.raises(OSError, match="No space left"):
        rec.close()
    rec.close()
    assert rec.closed
    with pytest.raises(rn.CheckpointError, match="closed"):
        rec.save(2, u=[2])
    with pytest.raises(rn.CheckpointError, match="closed"):
        rec.due(2)


def test_what_ends_a_block_is_never_hidden():
    storage = Gate(memory())
    with pytest.warns(rn.CheckpointWarning, match="No space left"):
        with pytest.raises(ZeroDivisionError):
            with recorder(storage) as rec:
                storage.error = FULL
                rec.save(1, u=[1])
                1 / 0
    assert rec.closed


def test_close_saves_the_last_state_once():
    storage, at = memory(), [7]
    with recorder(storage, last=lambda rec: rec.save(at[0], u=[at[0]])) as rec:
        rec.save(7, u=[7])
    assert storage.list() == ["checkpoint_0_step_7"]
    with pytest.raises(KeyboardInterrupt):
        with recorder(storage, last=lambda rec: rec.save(at[0], u=[at[0]])) as rec:
            rec.latest()
            at[0] = 9
            raise KeyboardInterrupt
    assert storage.list() == ["checkpoint_0_step_7", "checkpoint_0_step_9"]
    with recorder(storage, config=quiet(), last=lambda rec: rec.save(11, u=[0])):
        pass  # on_close is False there
    assert len(storage.list()) == 2


def test_close_saves_a_last_state_again_whose_commit_has_failed():
    storage = Gate(memory())

    def last(rec):
        storage.error = None
        rec.save(1, u=[1])

    rec = recorder(storage, last=last)
    storage.error = FULL
    rec.save(1, u=[1])
    with pytest.raises(OSError, match="No space left"):
        rec.close()
    assert storage.list() == ["checkpoint_0_step_1"]


def test_close_waits_no_longer_than_configured():
    storage = Gate(memory())
    storage.open.clear()
    config = rn.CheckpointConfig(on_close_timeout=0.01)
    rec = recorder(storage, config=config)
    rec.save(1, u=[1])
    with pytest.warns(rn.CheckpointWarning, match="still being written"):
        rec.close()
    assert live.unsaved.pop() == "recorder 'loop'"
    storage.open.set()
    until(lambda: storage.list() == ["checkpoint_0_step_1"])


def test_a_commit_that_had_not_begun_when_it_was_closed_is_made_or_told(monkeypatch):
    helper = []
    monkeypatch.setattr(recorder_module, "hand_over", helper.append)
    for error, found in ((None, ["checkpoint_0_step_1"]), (FULL, [])):
        storage = Gate(memory())
        storage.error = error
        rec = recorder(storage, config=rn.CheckpointConfig(on_close_timeout=0.01))
        rec.save(1, u=[1])
        with pytest.warns(rn.CheckpointWarning, match="still being written"):
            rec.close()
        live.unsaved.pop()
        with told(error):
            helper.pop()()
        assert storage.list() == found
        assert "state: closed" in repr(rec.manager)


def told(error):
    if error is None:
        return contextlib.nullcontext()
    return pytest.warns(rn.CheckpointWarning, match="'loop'.*No space left")


def test_who_waits_for_the_copy_does_not_wait_for_ever_once_it_is_closed():
    rec = recorder()
    rec.save(1, u=[1])
    rec.close()
    assert rec.glance().being_written == 0
    rec = recorder(last=lambda rec: interrupt())
    rec.save(1, u=[1])
    with pytest.raises(KeyboardInterrupt):
        rec.close()
    assert rec.glance().being_written == 0


def interrupt():
    raise KeyboardInterrupt


def test_a_simulated_time_is_told_of_the_step_that_it_was_saved_with():
    with recorder() as rec:
        rec.save(8, time=1.0, u=[1])
        assert rec.glance().times == (1.0,)
        settle(rec)
        rec.due(9)
        assert rec.glance().times == (None,)
        rec.latest()
        assert rec.glance().times == (1.0,)


def test_a_dropped_recorder_is_collected_and_its_store_is_free(tmp_path):
    config = rn.CheckpointConfig(storage_path=tmp_path / "loop.zarr")
    rec = rn.Recorder(config, name="loop")
    rec.save(1, u=[1])
    settle(rec)
    ref = weakref.ref(rec)
    del rec
    gc.collect()
    live.await_endings()
    assert ref() is None
    with rn.Recorder(config, name="loop") as rec:
        assert rec.latest()[0] == 1


@pytest.mark.parametrize("guard", ["warn", "pause"])
def test_a_bad_state_warns_and_stops_the_loop_if_asked_to(guard):
    config = rn.CheckpointConfig(guard=guard, max_snapshots=0)
    with recorder(config=config) as rec:
        rec.save(1, u=[1.0])
        with pytest.warns(rn.CheckpointWarning, match="not good at step 2"):
            rec.save(2, u=[np.nan])
            settle(rec)
        if guard == "pause":
            with pytest.raises(rn.CheckpointError, match=r"not good.*latest\(good=True\)"):
                rec.due(3)
        assert rec.latest()[0] == 2
        assert rec.latest(good=True)[0] == 1


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (((1,), {}), ValueError, "no field"),
        (((-1,), {"u": [1]}), ValueError, "step"),
        (((1.5,), {"u": [1]}), TypeError, "step"),
        (((1, [1, 2]), {}), TypeError, "mapping of field name"),
        (((1,), {"u": ["text"]}), TypeError, "only bool, integer"),
        (((1,), {"u": np.ma.array([1], mask=[1])}), TypeError, "masked"),
        (((1,), {"u": [1], "time": "now"}), TypeError, "time must be a number"),
        (((1,), {"u": [1], "attrs": {"a": object()}}), TypeError, "attrs"),
    ],
)
def test_what_cannot_be_saved_is_refused_at_once(arguments, error, match):
    with recorder() as rec:
        with pytest.raises(error, match=match):
            rec.save(*arguments[0], **arguments[1])
        rec.save(1, u=[1])
        assert rec.latest()[0] == 1


def test_bad_arguments_leave_no_recorder_behind():
    with pytest.raises(ValueError, match="every"):
        recorder(every=0)
    with pytest.raises(TypeError, match="last"):
        recorder(last=3)
    with pytest.raises(TypeError, match="kernel_id"):
        recorder(name=7)
    with pytest.raises(TypeError, match="pickled"):
        with recorder() as rec:
            rec.__reduce__()
    assert not [s for s in live.open_sessions() if isinstance(s, rn.Recorder)]
    assert "closed" in repr(rec)
    assert "loop" in rec._repr_html_()


def test_a_session_goes_on_from_a_loop():
    storage, state = memory(), np.arange(143, dtype=np.int32).reshape(SHAPE)
    actor = Mixer(SHAPE)
    with recorder(storage, "mixer_0", kernel_type=actor.kernel_type, params={"add": 0.5}) as rec:
        rec.save(12, u=state, u_previous=state)
    with rn.Session(actor, config=quiet(), storage=storage) as s:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rn.CheckpointWarning)  # of the code
            assert s.restore(0, "latest") == 12
        assert s.state(0)["u"].tobytes() == state.tobytes()


# -- signals ------------------------------------------------------------------------------------


@pytest.fixture
def handler():
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda function: signal.signal(signal.SIGUSR1, function)
    signal.signal(signal.SIGUSR1, before)


def send_soon(number):
    main = threading.main_thread().ident
    threading.Timer(0.02, signal.pthread_kill, (main, number)).start()


def test_a_signal_makes_the_next_step_due(handler):
    clock = ManualClock()
    with recorder(clock=clock) as rec:
        rec.save(0, u=[0])
        settle(rec)
        handler(signal.SIG_DFL)
        rn.checkpoint_on_signal(signal.SIGUSR1, then="continue")
        assert not rec.due(1)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert rec.due(2)
        rec.save(2, u=[2])
        settle(rec)
        assert not rec.due(3)


def test_a_handler_saves_while_a_save_waits(handler):
    storage = Gate(memory())
    storage.open.clear()
    saved = []

    def save_too(_number, _frame):
        storage.open.set()
        rec.save(3, u=[3])
        saved.append(rec.due(4))

    with recorder(storage) as rec:
        handler(save_too)
        rec.save(1, u=[1])
        send_soon(signal.SIGUSR1)
        rec.save(2, u=[2])  # waits for the first: the handler comes meanwhile
        settle(rec)
        assert saved
    assert sorted(storage.list()) == [f"checkpoint_0_step_{n}" for n in (1, 2, 3)]


def test_ctrl_c_ends_the_wait_for_a_commit():
    storage = Gate(memory())
    storage.open.clear()
    with recorder(storage) as rec:
        rec.save(1, u=[1])
        send_soon(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            rec.save(2, u=[2])
        storage.open.set()
        settle(rec)
    assert storage.list() == ["checkpoint_0_step_1"]


def test_no_call_takes_a_lock_of_the_recorder_on_the_main_thread(handler):
    handler(lambda *_: None)
    with recorder() as rec:
        threads = []

        class Array:
            def __array__(self, dtype=None, copy=None):
                return np.ones(2)

        fill = rec._fill
        rec._fill = lambda f: (threads.append(threading.current_thread()), fill(f))
        rec.save(1, u=Array())
        assert threads
        assert threading.main_thread() not in threads


def test_who_is_unregistered_is_told():
    with recorder() as rec:
        rec.manager.unregister_actor(0)
        rec.save(1, u=[1])
        with pytest.raises(rn.SnapshotFailed, match="unregistered"):
            rec.save(2, u=[2])


# -- the page, with objects that behave as those of the programs that it names --------------------


@pytest.fixture(scope="module")
def page():
    text = Path(rn.session.__file__).with_name("README.md").read_text(encoding="utf-8")
    names = {"np": np}
    for block in re.findall(r"```python\n(class .*?)```", text, re.DOTALL):
        exec(block, names)
    return names


class Quantity:
    def __init__(self, value, unit):
        self.value, self.unit = value, unit

    def value_in_unit(self, unit):
        return self.value * (self.unit / unit)


def test_the_reporter_for_openmm_saves_what_it_is_given(page, monkeypatch):
    unit = SimpleNamespace(nanometer=1e-9, picosecond=1e-12, second=1.0)
    monkeypatch.setitem(sys.modules, "openmm", SimpleNamespace(unit=unit))
    state = SimpleNamespace(
        getTime=lambda: Quantity(4.0, 1e-12),
        getPositions=lambda **_: Quantity(np.ones((5, 3)), 1e-9),
        getVelocities=lambda **_: Quantity(np.zeros((5, 3)), 1e-9 / 1e-12),
    )
    context = SimpleNamespace(createCheckpoint=lambda: b"all of it")
    simulation = SimpleNamespace(currentStep=1500, context=context)
    with recorder() as rec:
        reporter = page["CheckpointReporter"](rec, 1000)
        assert reporter.describeNextReport(simulation)[:3] == (500, True, True)
        simulation.currentStep = 2000
        reporter.report(simulation, state)
        step, found = rec.latest()
        assert step == 2000
        assert rec.checkpoint.time == pytest.approx(4e-12)
        assert found["positions"].shape == (5, 3)
        assert found["context"].tobytes() == b"all of it"


class Tensor:
    def __init__(self, values):
        self.values = values

    def detach(self):
        return self

    cpu = detach

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype or np.float32)


def test_the_callback_for_lightning_saves_weights_when_it_is_due(page):
    module = SimpleNamespace(
        state_dict=lambda: {"layer.weight": Tensor([[1, 2]]), "layer.steps": Tensor(3)}
    )
    trainer = SimpleNamespace(global_step=1, current_epoch=0)
    with recorder(every=2) as rec:
        callback = page["CheckpointCallback"](rec)
        for trainer.global_step in range(1, 6):
            callback.on_train_batch_end(trainer, module, None, None, 0)
        trainer.current_epoch = 1
        callback.on_train_end(trainer, module)
        assert [c.step for c in rec.history()] == [2, 4, 5]
        assert rec.latest()[1]["layer.weight"].tolist() == [[1.0, 2.0]]
        assert rec.checkpoint.user == {"epoch": 1}
        callback.on_train_end(trainer, module)
        assert len(rec.history()) == 3


def test_a_random_generator_goes_on_as_the_page_says():
    rng = np.random.default_rng(1)
    with recorder() as rec:
        rec.save(1, u=[1], attrs={"random": json.dumps(rng.bit_generator.state)})
        expected = rng.random(5)
        rec.latest()
        rng.bit_generator.state = json.loads(rec.checkpoint.user["random"])
        assert rng.random(5).tolist() == expected.tolist()
