"""The two rings of a lane: single producer, single consumer, 64-byte slots.

Indices only grow; a slot is ``index & (capacity - 1)``. The producer writes the slot, then its index
with release ordering; the consumer reads that index with acquire ordering, takes the slot, then
releases its own index. Either side only ever writes its own index, so neither can undo the other.

The host side (`push`, `peek`, `advance`, the waits) is called from Python threads that hold the lane's
producer lock, or the kernel's consumer lock; the kernel side only from the lane's leader.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types

from ringnb.kernel import layout
from ringnb.kernel.atomics import (
    cpu_pause,
    fence,
    load_acquire,
    now_ns,
    pointer_at,
    poll_fd,
    read_fd,
    store_release,
    write_fd,
    yield_thread,
)
from ringnb.kernel.caching import entry_point, inner

# Words of a port: what the host's side of a lane needs, in one array, as Numba takes 100 ns to unpack
# each that Python passes. The reply is used under the consumer lock, the rest under the producer lock;
# the clock uses words 0 and 1.
_SEEN_TAIL = 2  # the H2K tail as this side last saw it
_CONTROL, _H2K, _K2H, _CAPACITY = range(3, 7)  # where the arrays are, and the slots of a ring
REPLY = 8  # the oldest reply, 8 words

PORT = types.int64[::1]  # as Numba calls its type

FULL, PUSHED, ANSWERED = range(3)
"""What `push` returns."""

# -- host side -------------------------------------------------------------------------------------


def open_port(control: layout.Words, h2k: layout.Words, k2h: layout.Words) -> layout.Words:
    """Return a lane's port, which holds addresses: the arrays must live as long as it is used."""
    port = layout.lines(layout.LINE)
    port[_CONTROL : _CAPACITY + 1] = *(a.ctypes.data for a in (control, h2k, k2h)), len(h2k)
    return port


@inner
def _control_of(port: Any) -> Any:
    return carray(pointer_at(port[_CONTROL], np.int64), (layout.CTL_WORDS,))


@inner
def _slots_of(port: Any, ring: int) -> Any:
    return carray(pointer_at(port[ring], np.int64), (port[_CAPACITY], layout.SLOT_WORDS))


@inner
def _take_note(port: Any, control: Any) -> Any:
    """Copy the oldest reply into the port; return whether there is one."""
    tail = load_acquire(control, layout.K2H_TAIL)  # this side's own
    if load_acquire(control, layout.K2H_HEAD) == tail:
        return False
    k2h = _slots_of(port, _K2H)
    i = tail & (port[_CAPACITY] - 1)
    for j in range(layout.SLOT_WORDS):
        port[REPLY + j] = k2h[i, j]
    return True


@entry_point
def load_word(words: Any, index: int) -> Any:
    """Read a shared word from Python."""
    return load_acquire(words, index)


@entry_point
def store_word(words: Any, index: int, value: int) -> None:
    """Write a shared word from Python, ordered before the wake-up test of `wake_lane`."""
    store_release(words, index, value)
    fence()


@entry_point
def bump(words: Any, index: int) -> None:
    """Add one to a word."""
    # Two Python threads, one of them in a finaliser, may bump the same word: this holds the GIL.
    store_release(words, index, load_acquire(words, index) + 1)
    fence()


@inner
def _wake(port: Any, control: Any) -> None:
    if load_acquire(control, layout.ASLEEP) != 0:
        write_fd(port, control[layout.WAKE_FD_WRITE])


@entry_point
def wake_lane(port: Any) -> None:
    """Wake the lane's leader if it sleeps; what it is to see must be published and fenced before."""
    _wake(port, _control_of(port))


@entry_point
def push(
    port: Any,
    kind: int,
    command_id: int,
    slot: int,
    a0: int,
    a1: int,
    a2: int,
    a3: int,
    spin_ns: int,
) -> int:
    """Append a command to the H2K ring, then look for a reply for `spin_ns`.

    `FULL` if it does not fit; `ANSWERED` if a reply was seen, which is in the port then; else `PUSHED`.
    Holds the GIL while it spins: releasing it costs more than a hot lane takes to answer.
    """
    control = _control_of(port)
    head = load_acquire(control, layout.H2K_HEAD)
    capacity = port[_CAPACITY]
    # The tail as this side last saw it is mostly enough: to read it costs a cache miss.
    if head - port[_SEEN_TAIL] >= capacity:
        port[_SEEN_TAIL] = load_acquire(control, layout.H2K_TAIL)
        if head - port[_SEEN_TAIL] >= capacity:
            return FULL
    i, gate = head & (capacity - 1), load_acquire(control, layout.GATE)
    _fill_slot(_slots_of(port, _H2K), i, kind, command_id, slot, a0, a1, a2, a3, gate)
    store_release(control, layout.H2K_HEAD, head + 1)
    # Store, fence, look: the leader announces that it sleeps, fences, and looks at the ring once more
    # before it sleeps. One of the two sees the other, whatever the order, so no wake-up is lost.
    fence()
    _wake(port, control)
    if spin_ns > 0:
        until = now_ns(port) + spin_ns
        while True:
            for _ in range(8):  # looks per look at the clock, which takes as long as one
                if _take_note(port, control):
                    return ANSWERED
                cpu_pause()
            if now_ns(port) >= until:
                break
    return PUSHED


@entry_point
def peek(port: Any) -> Any:
    """Copy the oldest reply on the K2H ring into the port; False if there is none."""
    return _take_note(port, _control_of(port))


@entry_point
def advance(port: Any) -> Any:
    """Take the oldest reply off the K2H ring, and peek at the next one."""
    # An interrupt after this loses no reply: the next one stays on the ring, to be peeked at again.
    control = _control_of(port)
    store_release(control, layout.K2H_TAIL, load_acquire(control, layout.K2H_TAIL) + 1)
    return _take_note(port, control)


@entry_point
def replies_waiting(control: Any) -> Any:
    """Return how many replies wait on a lane's K2H ring."""
    return load_acquire(control, layout.K2H_HEAD) - load_acquire(control, layout.K2H_TAIL)


@entry_point(nogil=True)
def spin_for_reply(control: Any, scratch: Any, spin_ns: int) -> bool:
    """Wait for a reply on one lane without sleeping, for at most `spin_ns` nanoseconds."""
    until = now_ns(scratch) + spin_ns
    while True:
        for _ in range(64):
            if load_acquire(control, layout.K2H_HEAD) != load_acquire(control, layout.K2H_TAIL):
                return True
            cpu_pause()
        if now_ns(scratch) >= until:
            return False
        yield_thread()


@entry_point(nogil=True)
def sleep_for_reply(host: Any, scratch: Any, fd: int, timeout_ms: int) -> None:
    """Sleep on the host's pipe; the caller has announced it and found all rings empty since."""
    if poll_fd(scratch, fd, timeout_ms) > 0:
        read_fd(scratch, fd)
    store_release(host, layout.HOST_ASLEEP, 0)


# -- kernel side -----------------------------------------------------------------------------------


@inner
def room_to_reply(control: Any, facts: Any) -> Any:
    """Return the number of replies that fit on the K2H ring."""
    used = load_acquire(control, layout.K2H_HEAD) - load_acquire(control, layout.K2H_TAIL)
    return facts[layout.F_CAPACITY] - used


@inner
def reply(
    control: Any,
    ring: Any,
    facts: Any,
    scratch: Any,
    kind: int,
    command_id: int,
    slot: int,
    status: int,
    epoch: int,
    step: int,
    value: int,
) -> None:
    """Append a reply, and have `wake_host` called; the caller has made sure of `room_to_reply`."""
    head = load_acquire(control, layout.K2H_HEAD)
    i = head & (facts[layout.F_CAPACITY] - 1)
    _fill_slot(ring, i, kind, command_id, slot, status, epoch, step, value, now_ns(scratch))
    store_release(control, layout.K2H_HEAD, head + 1)


@inner
def wake_host(facts: Any, host: Any, scratch: Any) -> None:
    """Wake the host if it sleeps, after replies: once for many, or it would come for each."""
    fence()  # as in `push`: the host announces its sleep, fences, and looks once more
    if load_acquire(host, layout.HOST_ASLEEP) != 0:
        write_fd(scratch, facts[layout.F_HOST_FD_WRITE])


@inner
def _fill_slot(
    ring: Any, i: int, w0: int, w1: int, w2: int, w3: int, w4: int, w5: int, w6: int, w7: int
) -> None:
    """Write the words of a slot."""
    ring[i, 0] = w0
    ring[i, 1] = w1
    ring[i, 2] = w2
    ring[i, 3] = w3
    ring[i, 4] = w4
    ring[i, 5] = w5
    ring[i, 6] = w6
    ring[i, 7] = w7
