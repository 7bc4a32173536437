"""The two rings of a lane: single producer, single consumer, 64-byte slots.

Indices only grow; a slot is ``index & (capacity - 1)``. The producer writes the slot, then its index
with release ordering; the consumer reads that index with acquire ordering, takes the slot, then
releases its own index. Either side only ever writes its own index, so neither can undo the other.

Sleeping and waking is the classic store-then-look pair: a sleeper announces that it sleeps, fences,
and looks once more before it sleeps; a producer publishes, fences, and looks whether the other side
sleeps. One of the two sees the other, whatever the interleaving, so no wake-up is lost.

The host side (`push`, `peek`, `advance`, the waits) is called from Python threads that hold the lane's
producer lock, or the kernel's consumer lock; the kernel side only from the lane's leader.
"""

from __future__ import annotations

from typing import Any

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
from ringnb.kernel.layout import (
    ASLEEP,
    F_CAPACITY,
    F_HOST_FD_WRITE,
    H2K_HEAD,
    H2K_TAIL,
    HOST_ASLEEP,
    K2H_HEAD,
    K2H_TAIL,
    WAKE_FD_WRITE,
)

__all__ = [
    "advance",
    "bump",
    "load_word",
    "peek",
    "push",
    "push_and_spin",
    "replies_waiting",
    "reply",
    "room_to_reply",
    "sleep_for_reply",
    "spin_for_reply",
    "store_word",
    "wake_lane",
]

_SEEN_TAIL = 7  # word of the pushing side's private scratch; the clock uses words 0 and 1


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
    """Add one to a word. The GIL makes it atomic among Python threads, a finaliser's included."""
    store_release(words, index, load_acquire(words, index) + 1)
    fence()


@entry_point
def wake_lane(control: Any, scratch: Any) -> None:
    """Wake the lane's leader if it sleeps."""
    if load_acquire(control, ASLEEP) != 0:
        write_fd(scratch, control[WAKE_FD_WRITE])


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
) -> bool:
    """Append a command to the H2K ring; False if it is full."""
    head = load_acquire(control, H2K_HEAD)
    capacity = ring.shape[0]  # every argument from Python takes its 50 ns: the facts stay out
    # The tail as this side last saw it is enough, mostly: reading it costs a cache miss.
    if head - scratch[_SEEN_TAIL] >= capacity:
        scratch[_SEEN_TAIL] = load_acquire(control, H2K_TAIL)
        if head - scratch[_SEEN_TAIL] >= capacity:
            return False
    i = head & (capacity - 1)
    ring[i, 0] = kind
    ring[i, 1] = command_id
    ring[i, 2] = slot
    ring[i, 3] = a0
    ring[i, 4] = a1
    ring[i, 5] = a2
    ring[i, 6] = a3
    ring[i, 7] = now_ns(scratch)
    store_release(control, H2K_HEAD, head + 1)
    fence()
    wake_lane(control, scratch)
    return True


@entry_point
def push_and_spin(
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
    """Append a command and look for a reply for a moment; False if the H2K ring is full.

    It holds the GIL while it spins: releasing it costs more than a hot lane takes to answer.
    """
    if not push(control, ring, scratch, kind, command_id, slot, a0, a1, a2, a3):
        return False
    tail = load_acquire(control, K2H_TAIL)  # this side's own
    until = now_ns(scratch) + spin_ns
    while load_acquire(control, K2H_HEAD) == tail:
        cpu_pause()
        if now_ns(scratch) >= until:
            break
    return True


@entry_point
def peek(control: Any, ring: Any, out: Any) -> bool:
    """Copy the oldest reply on the K2H ring into `out` (8 words); False if there is none.

    Taking it off is a step of its own (`advance`), so that an interrupt between the two repeats a
    reply rather than losing it.
    """
    tail = load_acquire(control, K2H_TAIL)
    if load_acquire(control, K2H_HEAD) == tail:
        return False
    i = tail & (ring.shape[0] - 1)
    for j in range(8):
        out[j] = ring[i, j]
    return True


@entry_point
def advance(control: Any) -> None:
    """Take the oldest reply off the K2H ring."""
    store_release(control, K2H_TAIL, load_acquire(control, K2H_TAIL) + 1)


@entry_point
def replies_waiting(control: Any) -> Any:
    """Return how many replies wait on a lane's K2H ring."""
    return load_acquire(control, K2H_HEAD) - load_acquire(control, K2H_TAIL)


@entry_point(nogil=True)
def spin_for_reply(control: Any, scratch: Any, spin_ns: int) -> bool:
    """Wait for a reply on one lane without sleeping, for at most `spin_ns` nanoseconds."""
    until = now_ns(scratch) + spin_ns
    while True:
        for _ in range(64):
            if load_acquire(control, K2H_HEAD) != load_acquire(control, K2H_TAIL):
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
    store_release(host, HOST_ASLEEP, 0)


@inner
def room_to_reply(control: Any, facts: Any) -> Any:
    """Kernel side: return the number of replies that fit on the K2H ring."""
    used = load_acquire(control, K2H_HEAD) - load_acquire(control, K2H_TAIL)
    return facts[F_CAPACITY] - used


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
    """Kernel side: append a reply; the caller has made sure of `room_to_reply`."""
    head = load_acquire(control, K2H_HEAD)
    i = head & (facts[F_CAPACITY] - 1)
    ring[i, 0] = kind
    ring[i, 1] = command_id
    ring[i, 2] = slot
    ring[i, 3] = status
    ring[i, 4] = epoch
    ring[i, 5] = step
    ring[i, 6] = value
    ring[i, 7] = now_ns(scratch)
    store_release(control, K2H_HEAD, head + 1)
    fence()
    if load_acquire(host, HOST_ASLEEP) != 0:
        write_fd(scratch, facts[F_HOST_FD_WRITE])
