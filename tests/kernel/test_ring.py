"""The two rings of a lane against two queues, whatever the capacity and wherever the indices stand.

Both sides run on one thread here, so this needs no compiled code; that the other side sees a word in
time is what the kernels' own tests are about.
"""

from __future__ import annotations

import os
from collections import deque

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numba import njit

from ringnb.kernel import layout, ring
from ringnb.kernel.base import Gate

WORD = st.integers(-(2**63), 2**63 - 1)
WORDS = st.tuples(*[WORD] * 7)
LAST = 7  # word of a slot: the gate of a command, when a reply was written


# The kernel's side is called by compiled code alone.
@njit
def reply(control, slots, facts, host, scratch, w):
    ring.reply(control, slots, facts, scratch, w[0], w[1], w[2], w[3], w[4], w[5], w[6])
    ring.wake_host(facts, host, scratch)


@njit
def room(control, facts):
    return ring.room_to_reply(control, facts)


class Rings(RuleBasedStateMachine):
    @initialize(
        capacity=st.sampled_from([2, 4, 8, 16, 32, 64]), start=st.sampled_from([0, 1, 2**40 - 3])
    )
    def empty(self, capacity, start):
        self.capacity = capacity
        self.control = np.zeros(layout.CTL_WORDS, np.int64)
        for index in (layout.H2K_HEAD, layout.H2K_TAIL, layout.K2H_HEAD, layout.K2H_TAIL):
            self.control[index] = start
        self.h2k, self.k2h = (np.zeros((capacity, 8), np.int64) for _ in "ab")
        self.port = ring.open_port(self.control, self.h2k, self.k2h)
        self.own = np.zeros(8, np.int64)
        self.facts = np.zeros(layout.FACTS, np.int64)
        self.facts[layout.F_CAPACITY] = capacity
        self.host = np.zeros(layout.HOST_WORDS, np.int64)
        self.commands, self.replies = deque(), deque()
        self.clock = 0

    def check_seen(self, seen):
        """What was seen is the oldest reply, and stays on the ring."""
        assert seen == bool(self.replies)
        if seen:
            slot = self.port[ring.REPLY :]
            assert tuple(slot[:LAST].tolist()) == self.replies[0]
            assert slot[LAST] > 0  # stamped

    @rule(words=WORDS, gate=st.sampled_from(Gate), spin_ns=st.sampled_from([0, 1]))
    def push(self, words, gate, spin_ns):
        self.control[layout.GATE] = gate
        done = ring.push(self.port, *words, spin_ns)
        if len(self.commands) == self.capacity:
            assert done == ring.FULL
            return
        self.commands.append((*words, gate))
        if spin_ns:
            self.check_seen(done == ring.ANSWERED)
        else:
            assert done == ring.PUSHED

    @precondition(lambda self: self.commands)
    @rule()
    def read_a_command(self):
        """As the leader does it."""
        tail = ring.load_word(self.control, layout.H2K_TAIL)
        slot = self.h2k[tail & (self.capacity - 1)]
        assert tuple(slot.tolist()) == self.commands.popleft()
        ring.store_word(self.control, layout.H2K_TAIL, tail + 1)

    @precondition(lambda self: len(self.replies) < self.capacity)
    @rule(words=WORDS)
    def reply(self, words):
        packed = np.array(words, np.int64)
        reply(self.control, self.k2h, self.facts, self.host, self.own, packed)
        self.replies.append(words)

    @rule()
    def peek(self):
        for _ in range(2):  # what is peeked at stays
            self.check_seen(ring.peek(self.port))

    @precondition(lambda self: self.replies)
    @rule()
    def advance(self):
        self.replies.popleft()
        self.check_seen(ring.advance(self.port))

    @rule()
    def spin(self):
        assert ring.spin_for_reply(self.control, self.own, 1) == bool(self.replies)

    @invariant()
    def depths_agree(self):
        if not hasattr(self, "replies"):
            return
        head, tail = (int(self.control[i]) for i in (layout.H2K_HEAD, layout.H2K_TAIL))
        assert head - tail == len(self.commands)
        assert ring.replies_waiting(self.control) == len(self.replies)
        assert room(self.control, self.facts) == self.capacity - len(self.replies)


Rings.TestCase.settings = settings(stateful_step_count=100)
TestRings = Rings.TestCase


def test_a_sleeper_is_woken_by_a_byte_on_its_pipe():
    control, host = np.zeros(layout.CTL_WORDS, np.int64), np.zeros(layout.HOST_WORDS, np.int64)
    slots, scratch = np.zeros((2, 8), np.int64), np.zeros(8, np.int64)
    facts = np.zeros(layout.FACTS, np.int64)
    facts[layout.F_CAPACITY] = 2
    lane, woken_by = os.pipe()
    mine, wakes_me = os.pipe()
    try:
        for fd in (lane, mine):
            os.set_blocking(fd, False)
        port = ring.open_port(control, slots, slots)
        control[layout.WAKE_FD_WRITE] = woken_by
        facts[layout.F_HOST_FD_WRITE] = wakes_me
        ring.push(port, *[0] * 7, 0)
        reply(control, slots, facts, host, scratch, np.zeros(7, np.int64))
        for fd in (lane, mine):  # neither side sleeps: no byte
            with pytest.raises(BlockingIOError):
                os.read(fd, 9)
        control[layout.ASLEEP] = host[layout.HOST_ASLEEP] = 1
        ring.push(port, *[0] * 7, 0)
        reply(control, slots, facts, host, scratch, np.zeros(7, np.int64))
        assert len(os.read(lane, 9)) == 1
        ring.sleep_for_reply(host, scratch, mine, 10_000)
        assert host[layout.HOST_ASLEEP] == 0
    finally:
        for fd in (lane, woken_by, mine, wakes_me):
            os.close(fd)
