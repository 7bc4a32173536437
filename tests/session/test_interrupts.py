"""Ctrl-C at any point of a call leaves what is true: parents, parameters, buffers, locks."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from interrupt_child import same_bits
from interrupter import Interrupter
from session_rig import memory, quiet

import ringnb as rn
from ringnb._support.children import run_python

CHILD = Path(__file__).with_name("interrupt_child.py")
MODULES = (
    "kernel/client.py",
    "kernel/host.py",
    "kernel/cpu/kernel.py",
    "session/session.py",
    "session/live_state.py",
    "session/transport.py",
    "session/staging.py",
    "session/live_copy.py",
    "session/reporter.py",
    "session/snapshot.py",
    "session/service.py",
    "session/change_tracking.py",
    "checkpoint/schedule.py",
    "checkpoint/manager.py",
    "checkpoint/committing.py",
)


class Rig:
    """A session, two states to restore, and what must hold after every call, interrupted or not."""

    def __init__(self, service):
        self.s = rn.Session(
            rn.actors.GrayScott((12, 12)),
            actors=2,
            config=quiet(),
            storage=memory(),
            service=service,
            lanes=1,
        )
        self.interrupted, self.other = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self.bases = [self.s.snapshot(0, label="base")]
        self.s.run_steps(0, 5)
        self.s.set_params(0, feed=0.02)
        self.bases.append(self.s.snapshot(0, label="base"))
        self.calls = itertools.count(10)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.interrupted.shutdown()
        self.other.shutdown()
        self.s.close()

    def set_params(self):
        self.s.set_params(0, feed=0.02 + 1e-5 * next(self.calls))

    def restore(self):
        self.s.restore(0, self.bases[next(self.calls) % 2])

    def snapshot(self):
        self.s.snapshot(0)

    def state(self):
        self.s.state(0)

    def report(self):
        self.s.report(10, 0, mean=lambda state: state["u"].mean())
        with contextlib.suppress(rn.CheckpointNotFound):
            self.s.reported(0)

    def turn_the_crank(self):
        self.s.send(self.s.manager.request_snapshot(0))
        for response in self.s.receive(timeout=60):
            self.s.manager.complete_snapshot(response)

    def elsewhere(self, call, *args):
        """Make a call on another thread, which must find no lock held."""
        return self.other.submit(call, *args).result(60)

    def check(self):
        s = self.s
        claimed = s.params(0)
        now = self.elsewhere(s.snapshot, 0)
        assert now.params == claimed
        # Its state is that of its parent, for nothing steps; and the lines never meet.
        parent = s.storage.load(now.parent)
        assert now.step == parent.step
        assert same_bits(now, parent)
        assert s.kernel.staging_taken(0) == 0
        assert s.statistics().with_kernel == s._client.outstanding == s.manager.pending_count == 0
        # What was confirmed stays confirmed: the next change starts from it.
        self.elsewhere(s.inject, 1, (0, 0), 1)


@pytest.mark.filterwarnings("ignore:.*brings back its own parameters")
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "stride", [pytest.param(8, marks=pytest.mark.part), pytest.param(4, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("service", "call"),
    [
        (True, Rig.set_params),
        (True, Rig.restore),
        (True, Rig.snapshot),
        (True, Rig.state),
        (True, Rig.report),
        (False, Rig.set_params),
        (False, Rig.restore),
        (False, Rig.snapshot),
        (False, Rig.state),
        (False, Rig.turn_the_crank),
    ],
)
def test_an_interrupt_at_any_point_leaves_what_is_true(service, call, stride):
    gc.collect()  # no other test's kernel is to end in the middle of this one
    with Rig(service) as rig:
        interrupter = Interrupter(*MODULES)
        for point in itertools.count(1, stride):
            try:
                if not rig.interrupted.submit(interrupter.run, lambda: call(rig), point).result(60):
                    break
                rig.check()
            except BaseException as error:
                error.add_note(f"interrupted at point {point}: {interrupter.where}")
                raise
        assert point > stride  # how many points there are depends on the Python


@pytest.mark.parametrize(
    ("service", "seconds"),
    [
        pytest.param("service", 1.5, marks=pytest.mark.part),
        pytest.param("service", 4, marks=pytest.mark.slow),
        pytest.param("by hand", 4, marks=pytest.mark.slow),
    ],
)
def test_a_storm_of_ctrl_c_leaves_what_is_true(service, seconds):
    done = run_python(CHILD, str(seconds), "400", "7", service, timeout=seconds + 120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["interrupts"] > 5 * seconds
    wrong = (
        "wrong_parents",
        "wrong_bits",
        "stale_params",
        "staging_taken",
        "unanswered",
        "pending",
    )
    assert [found[name] for name in wrong] == [0] * len(wrong), found
