"""A closed session that is still referenced keeps neither descriptors nor state."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from session_rig import memory, quiet

import ringnb as rn


def closed(shape=(64, 64), **kwargs):
    with rn.Session(
        rn.actors.Heat2D(shape), actors=2, config=quiet(), storage=memory(), **kwargs
    ) as s:
        s.run_steps(0, 2)
        s.snapshot(0)
    return s


@pytest.mark.parametrize("options", [{}, {"service": False}, {"width": 2, "lanes": 2}], ids=repr)
def test_closed_sessions_keep_no_descriptor_and_no_state(options):
    closed(**options)
    before = len(os.listdir("/dev/fd"))
    kept = [closed(**options) for _ in range(5)]
    assert len(os.listdir("/dev/fd")) == before
    for s in kept:
        assert all(not m.blocks and not m.staging for m in s.kernel._memory)
        # What could be read of it before can be read.
        assert "closed" in repr(s)
        assert s._repr_html_()
        assert s.events.select("committed")
        for call in (s.snapshot, s.kernel.live_levels, s.kernel.restore_buffer):
            with pytest.raises(rn.KernelStopped):
                call(0)


def test_an_answer_that_is_kept_beyond_the_end_keeps_its_bytes():
    with rn.Session(rn.actors.Heat2D((8, 8)), config=quiet(), storage=memory(), service=False) as s:
        s.inject(0, (3, 3), 1)
        s.send(s.manager.request_snapshot(0))
        (answer,) = s.receive(timeout=60)
        array = answer.data["temperature"]
        expected = np.array(array)
    np.testing.assert_array_equal(array, expected)
    answer.release()


def test_a_waiting_thread_finds_no_closed_pipe():
    for _ in range(10):
        s = rn.Session(rn.actors.Heat2D((8, 8)), config=quiet(), storage=memory(), service=False)
        done = threading.Event()

        def wait(s=s, done=done):
            with pytest.raises(rn.KernelStopped):
                while True:
                    s.receive(timeout=0.2)
            done.set()

        thread = threading.Thread(target=wait)
        thread.start()
        s.close()
        assert done.wait(60)
        thread.join()
