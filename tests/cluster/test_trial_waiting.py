"""What trials take for stuck, and what for slow; by a clock that is advanced."""

from __future__ import annotations

import os

import pytest

from ringnb.cluster import trial_waiting
from ringnb.cluster.local_hosts import HostInfo
from ringnb.cluster.trial_waiting import wait_until
from ringnb.testing import ManualClock

HERE = "tls://127.0.0.1:1"


class Machine:
    """Its host takes a share of a core; time passes while it is slept."""

    def __init__(self, monkeypatch, share):
        self.clock = ManualClock()
        monkeypatch.setattr(trial_waiting, "time", self)
        monkeypatch.setattr(trial_waiting, "_processor_s", lambda _: share * self.clock())

    def monotonic(self):
        return self.clock()

    def sleep(self, seconds):
        self.clock.advance(10 * seconds)


def test_what_works_or_moves_is_waited_for_and_what_only_waits_is_stuck(monkeypatch):
    machine = Machine(monkeypatch, share=0.2)  # of a core, on a machine that is busy with others
    assert wait_until(lambda: machine.clock() > 1000, HERE)

    machine = Machine(monkeypatch, share=0.03)  # heartbeats
    with pytest.raises(AssertionError, match="stuck: for 240 s"):
        wait_until(lambda: False, HERE, lambda: "starting")
    assert machine.clock() < 300
    assert wait_until(lambda: machine.clock() > 2000, HERE, lambda: int(machine.clock() / 100))


def test_what_works_for_ever_ends_all_the_same(monkeypatch):
    Machine(monkeypatch, share=1.0)
    with pytest.raises(AssertionError, match="does not come to an end"):
        wait_until(lambda: False, HERE)


def test_the_time_of_a_hosts_processes_is_found(monkeypatch):
    host = HostInfo(HERE, os.getsid(0), 1, 1, "")
    monkeypatch.setattr(trial_waiting, "hosts", lambda: (host,))
    before = trial_waiting._processor_s(HERE)
    took = os.times()
    assert before >= took.user + took.system - 1  # this process is of the session
    assert trial_waiting._processor_s("tls://other") == 0
