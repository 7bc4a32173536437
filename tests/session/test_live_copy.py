"""The state of a live actor: of one step boundary, stored nowhere."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from session_rig import SHAPE, Gate, being_saved, memory, quiet, reference

import ringnb as rn
from ringnb import plots
from ringnb.kernel.base import Gate as Stop
from ringnb.messages.commands import Command
from ringnb.testing.kernels import Mixer


def levels(state):
    return np.stack([state["u"], state["u_previous"]])


def test_a_state_is_of_one_step_while_the_actor_runs(session):
    session.set_pace(2000)  # the NumPy reference has to keep up
    session.resume(0)
    seen = [session.state(0) for _ in range(5)]
    session.pause(0)
    for state in seen:
        np.testing.assert_array_equal(levels(state), reference(0, state.step))
    assert session.storage.list() == []
    assert session.kernel.statistics().staging_taken == (0,) * session.kernel.lanes


def test_a_state_says_what_it_is(session):
    session.set_params(1, add=9)
    session.run_steps(1, 3)
    state = session.state(1)
    assert (state.step, state.time, state.params) == (3, None, {"add": 9.0})
    assert (state.kernel_id, state.kernel_type, state.actor_slot) == ("mixer_1", "mixer", 1)
    assert state.fields == tuple(state) == ("u", "u_previous")
    assert "live" in state.name
    assert "live" in repr(state)
    assert "mixer_1" in state._repr_html_()
    with pytest.raises(KeyError, match=r"no field 'v'.*\['u', 'u_previous'\]"):
        state["v"]
    with pytest.raises(ValueError, match="read-only"):
        state["u"][0, 0] = 1
    own = state.numpy()
    own["u"][:] = 0
    assert state["u"].any()
    dataset = state.to_xarray()
    assert dataset["u"].dims == ("y", "x")
    assert (dataset.attrs["step"], dataset.attrs["live"], dataset.attrs["param_add"]) == (3, 1, 9)


def test_a_state_has_the_simulated_time_and_plots_take_it():
    actor = rn.actors.Wave2D((16, 16))
    with rn.Session(actor, config=quiet(), storage=memory()) as s:
        s.run_steps(0, 10)
        state, stored = s.state(0), s.snapshot(0)
    assert state.time == stored.time == 10 * actor.dt_s
    live, drawn = (plots.field(one).images[0].get_array() for one in (state, stored))
    np.testing.assert_array_equal(live, drawn)
    assert "(live)\nstep 10, t = " in plots.field(state).get_title()
    assert "equal in every bit" in plots.difference(stored, state).get_title()
    assert len(plots.series([stored, state], "max").lines) == 2
    assert state.to_xarray().equals(stored.to_xarray())


def test_a_session_by_hand_gives_its_state_beside_a_response_that_is_held(by_hand):
    by_hand.run_steps(0, 4)
    request = by_hand.manager.request_snapshot(0)
    by_hand.send(request)
    (held,) = by_hand.receive(10)
    by_hand.run_steps(0, 4)
    np.testing.assert_array_equal(levels(by_hand.state(0)), reference(0, 8))
    assert by_hand.manager.complete_snapshot(held) == "checkpoint_0_step_4"


def test_without_a_free_buffer_it_says_so_in_time_and_spoils_nothing(by_hand):
    requests = [by_hand.manager.request_snapshot(slot) for slot in (0, 1)]
    for request in requests:
        by_hand.send(request)
    held = by_hand.receive(10) + by_hand.receive(0.0)
    while len(held) < 2:
        held += by_hand.receive(10)
    with pytest.raises(rn.SnapshotTimeout, match="staging buffers of its lane"):
        by_hand.state(0, timeout=0.02)
    for response in held:
        assert by_hand.manager.complete_snapshot(response) is not None
    assert by_hand.state(0).step == 0


@pytest.mark.slow
def test_looking_again_and_again_fails_no_snapshot():
    # The service and those who look share two buffers per lane: nobody may be told that none is free.
    with rn.Session(Mixer(SHAPE), actors=2, lanes=1, config=quiet(), storage=memory()) as s:
        s.resume()
        ended = threading.Event()

        def look():
            while not ended.is_set():
                s.state(0)

        lookers = [threading.Thread(target=look) for _ in range(2)]
        for thread in lookers:
            thread.start()
        names = [s.snapshot(slot).name for _ in range(5) for slot in (0, 1)]
        ended.set()
        for thread in lookers:
            thread.join(60)
        assert len(set(names)) == 10
        assert s.statistics().failed == 0
        assert not s.events.select("failed")


def test_a_slow_disk_leaves_a_buffer_to_look_with():
    gate = Gate(memory())
    with rn.Session(Mixer(SHAPE), config=quiet(), storage=gate) as s:
        s.run_steps(0, 5)
        with being_saved(s, gate, 0):
            s.run_steps(0, 5)
            assert s.state(0).step == 10


def test_a_full_ring_holds_up_neither_the_senders_of_its_lane_nor_the_end():
    options = {"config": quiet(), "storage": memory(), "ring_capacity": 2}
    with rn.Session(Mixer(SHAPE), **options) as s:
        s.kernel.set_gate(0, Stop.COMMANDS)
        waiting = [s._client.submit(0, Command.HEARTBEAT) for _ in range(2)]
        looking = threading.Thread(target=s.state, args=(0,))
        looking.start()
        with pytest.raises(rn.SnapshotTimeout, match="H2K ring is full"):
            s.state(0, timeout=0.02)
        sent = []
        other = threading.Thread(
            target=lambda: sent.append(s._service.transport.send_into_free(0, list))
        )
        other.start()
        other.join(60)
        assert sent == [True]
        s.kernel.set_gate(0, Stop.OPEN)
        looking.join(60)
        assert all(s._client.wait_reply(one).ok for one in waiting)
        assert s.state(0).step == 0
