"""The two rings of a lane: single producer, single consumer, 64-byte slots.

Indices only grow; a slot is ``index & (capacity - 1)``. The producer writes the slot, then its index
with release ordering; the consumer reads that index with acquire ordering, takes the slot, then
releases its own index. Either side only ever writes its own index, so neither can undo the other.

The host side (`push`, `peek`, `advance`, the waits) is called from Python threads that hold the lane's
producer lock, or the kernel's consumer lock; the kernel side only from the lane's leader.
"""

from __future__ import annotations

from typing import Any

from ringnb.kernel import layout
from ringnb.kernel.atomics import (
    cpu_pause,
    fence,
    load_acquire,
    now_ns,
    poll_fd,
    read_fd,
    store_release,
    write_fd,
    yield_thread,
)
from ringnb.kernel.caching import entry_point, inner

# A word of the pushing side's private scratch: the H2K tail as this side last saw it. The clock uses
# words 0 and 1.
_SEEN_TAIL = 7

# -- host side -------------------------------------------------------------------------------------


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


@entry_point
def wake_lane(control: Any, scratch: Any) -> None:
    """Wake the lane's leader if it sleeps; what it is to see must be published and fenced before."""
    if load_acquire(control, layout.ASLEEP) != 0:
        write_fd(scratch, control[layout.WAKE_FD_WRITE])


@entry_point
def push(
    control: Any,
    ring: Any,
    scratch: Any,
    kind: int,
    command_id: int,
    slot: int,
    a0: int,
    a1: int,
    a2: int,
    a3: int,
    spin_ns: int,
) -> bool:
    """Append a command to the H2K ring, then look for a reply for `spin_ns`; False if it is full.

    Holds the GIL while it spins: releasing it costs more than a hot lane takes to answer.
    """
    head = load_acquire(control, layout.H2K_HEAD)
    capacity = ring.shape[0]  # not an argument: each one from Python costs 50 ns
    # The tail as this side last saw it is mostly enough: to read it costs a cache miss.
    if head - scratch[_SEEN_TAIL] >= capacity:
        scratch[_SEEN_TAIL] = load_acquire(control, layout.H2K_TAIL)
        if head - scratch[_SEEN_TAIL] >= capacity:
            return False
    gate = load_acquire(control, layout.GATE)
    _fill_slot(ring, head & (capacity - 1), kind, command_id, slot, a0, a1, a2, a3, gate)
    store_release(control, layout.H2K_HEAD, head + 1)
    # Store, fence, look: the leader announces that it sleeps, fences, and looks at the ring once more
    # before it sleeps. One of the two sees the other, whatever the order, so no wake-up is lost.
    fence()
    wake_lane(control, scratch)
    if spin_ns > 0:
        tail = load_acquire(control, layout.K2H_TAIL)  # this side's own
        until = now_ns(scratch) + spin_ns
        while load_acquire(control, layout.K2H_HEAD) == tail:
            cpu_pause()
            if now_ns(scratch) >= until:
                break
    return True


@entry_point
def peek(control: Any, ring: Any, out: Any) -> bool:
    """Copy the oldest reply on the K2H ring into `out` (8 words); False if there is none."""
    # `advance` takes it off, in a call of its own: an interrupt between the two repeats a reply rather
    # than losing it.
    tail = load_acquire(control, layout.K2H_TAIL)
    if load_acquire(control, layout.K2H_HEAD) == tail:
        return False
    i = tail & (ring.shape[0] - 1)
    for j in range(8):
        out[j] = ring[i, j]
    return True


@entry_point
def advance(control: Any) -> None:
    """Take the oldest reply off the K2H ring."""
    store_release(control, layout.K2H_TAIL, load_acquire(control, layout.K2H_TAIL) + 1)


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
    host: Any,
    scratch: Any,
    kind: int,
    command_id: int,
    slot: int,
    status: int,
    epoch: int,
    step: int,
    value: int,
) -> None:
    """Append a reply; the caller has made sure of `room_to_reply`."""
    head = load_acquire(control, layout.K2H_HEAD)
    i = head & (facts[layout.F_CAPACITY] - 1)
    _fill_slot(ring, i, kind, command_id, slot, status, epoch, step, value, now_ns(scratch))
    store_release(control, layout.K2H_HEAD, head + 1)
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
