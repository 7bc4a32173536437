"""Actors that are held at a step: captured exactly there, and always let go."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from session_rig import SHAPE, memory, quiet, reference, state_of
from waiting import until

import ringnb as rn
from ringnb.kernel.base import Gate, QueueFull
from ringnb.messages.commands import Command
from ringnb.session.step_holds import StepHolds
from ringnb.testing.kernels import Mixer


@pytest.fixture(params=[True, False], ids=["service", "by hand"])
def session(request):
    with rn.Session(Mixer(SHAPE), config=quiet(), storage=memory(), service=request.param) as s:
        yield s


def when_asked(session, do):
    """Do something on a thread as soon as somebody wants actor 0 to wait at a step."""

    def run():
        until(lambda: session._service.holds._holds.get(0))
        do()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_snapshot_at_a_step_is_of_that_step_and_the_actor_runs_on(session):
    for _ in range(2):
        at = session.current_step(0) + 3_000
        thread = when_asked(session, lambda: session.resume(0))
        checkpoint = session.snapshot(0, at=at, timeout=60)
        thread.join(60)
        assert checkpoint.step == at
        until(lambda step=at: session.current_step(0) > step)
        session.pause(0)
    standing = session.current_step(0)
    assert session.snapshot(0, at=standing).step == standing
    session.run_steps(0, 1)


def test_the_state_at_a_step_is_that_of_so_many_steps(session):
    thread = when_asked(session, lambda: session.run_steps(0, 200, wait=False))
    np.testing.assert_array_equal(
        state_of(session.snapshot(0, at=123, timeout=60)), reference(0, 123)
    )
    thread.join(60)
    until(lambda: session.current_step(0) == 200)


def test_a_step_that_is_past_or_not_reached_is_refused_and_nobody_is_held(session):
    session.run_steps(0, 10)
    with pytest.raises(rn.SnapshotFailed, match=r"slot 0 cannot be captured at step 9.*past.*10"):
        session.snapshot(0, at=9)
    with pytest.raises(rn.SnapshotTimeout, match=r"did not come to step 12 within 0.05 s.*at 10"):
        session.snapshot(0, at=12, timeout=0.05)
    session.run_steps(0, 10)
    assert session.current_step(0) == 20
    for bad in (0, -1, 1.5):
        with pytest.raises((TypeError, ValueError), match="at"):
            session.snapshot(0, at=bad)


def test_a_restore_ends_the_wait_for_a_step():
    with rn.Session(Mixer(SHAPE), config=quiet(), storage=memory()) as s:
        first = s.snapshot(0)
        raised = []

        def ask():
            with pytest.raises(rn.SnapshotFailed, match="restored meanwhile") as info:
                s.snapshot(0, at=100, timeout=60)
            raised.append(info)

        thread = threading.Thread(target=ask)
        thread.start()
        until(lambda: s._service.holds._holds.get(0) and s._service.holds._holds[0][0].epoch == 0)
        s.restore(0, first)
        thread.join(60)
        assert raised
        s.run_steps(0, 150)


def fill_ring(session, slot):
    """Shut a lane, so that it reads no command, and leave no room for another."""
    session.kernel.set_gate(session.kernel.lane_of(slot), Gate.COMMANDS)
    with pytest.raises(QueueFull):
        while True:
            session._client.submit(slot, Command.HEARTBEAT, timeout_s=0)


def test_an_actor_is_let_go_though_there_was_no_room_to_say_so(session):
    holds: StepHolds = session._service.holds
    hold = holds.ask(0, 3)
    session.run_steps(0, 10, wait=False)
    holds.wait(hold, 60, lambda: None)
    fill_ring(session, 0)
    with pytest.raises(QueueFull):
        holds.ask(0, 5, limit_s=0)
    holds.release(hold, limit_s=0)
    assert session.current_step(0) == 3
    session.kernel.set_gate(0, Gate.OPEN)
    if not session._service.running:
        until(lambda: session.receive() or session.current_step(0) == 10)
    until(lambda: session.current_step(0) == 10)


def test_an_interrupt_when_the_kernel_was_asked_leaves_nobody_held(session, monkeypatch):
    submit = session._client.submit

    def interrupted(*args, **options):
        submit(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session._client, "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session._service.holds.ask(0, 3)
    session.run_steps(0, 10, wait=False)
    if not session._service.running:
        until(lambda: session.receive() or session.current_step(0) == 10)
    until(lambda: session.current_step(0) == 10)


def test_the_schedule_of_an_actor_whose_lane_is_full_delays_no_other():
    with rn.Session(Mixer(SHAPE), actors=2, lanes=2, config=quiet(), storage=memory()) as s:
        fill_ring(s, 0)
        s.snapshot_every(5)
        s.run_steps(1, 20)
        until(lambda: any(e.stage == "committed" and e.step == 20 for e in s.events))
        assert s.failure is None
        s.kernel.set_gate(0, Gate.OPEN)
        s.run_steps(0, 20)
        until(lambda: sum(e.stage == "committed" and e.step == 20 for e in s.events) == 2)


def test_several_wishes_are_met_in_the_order_of_their_steps():
    with rn.Session(Mixer(SHAPE), config=quiet(), storage=memory(), service=False) as s:
        holds: StepHolds = s._service.holds
        late, early, same = holds.ask(0, 40), holds.ask(0, 20), holds.ask(0, 20)
        s.set_pace(2_000)
        s.run_steps(0, 100, wait=False)
        for hold in (early, same):
            holds.wait(hold, 30, lambda: None)
        assert not holds.is_sole_at(0, 20)
        holds.release(early)
        assert holds.is_sole_at(0, 20)
        assert s.snapshot(0).step == 20  # still held for the other
        holds.release(same)
        holds.wait(late, 30, lambda: None)
        assert s.current_step(0) == 40
        holds.release(late)
        until(lambda: s.current_step(0) == 100)
