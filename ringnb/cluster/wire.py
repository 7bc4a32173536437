"""A socket between the coordinator of a divided actor and a part of it, or between two parts.

A message is a line of JSON; arrays follow it as they lie in memory, and their receiver knows how long
they are. Who connects shows that it knows the secret of this division, which came to both over the
cluster's own connections. What follows is neither encrypted nor signed.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any, final

import numpy as np
import numpy.typing as npt

from ringnb.errors import ClusterUnavailable, KernelStopped

__all__ = ["Wire", "accept", "connect", "listen"]

# A part waits for its neighbour for less than that, mostly; to be woken from sleep takes as long.
_SPIN_NS = 2_000_000
_POLL_MS = 50  # so often who waits looks whether it is still to
_GREETING_S = 5.0
_TAG_BYTES = 32
_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}  # a machine that has gone
# Keepalive does not see that while sent data is not acknowledged. Longer, as Linux takes it also for
# who is there but reads nothing for so long: a part that is still busy with its steps.
_UNACKNOWLEDGED_MS = 60_000
_LENGTH = struct.Struct("<I")


def _tag(secret: bytes, role: str) -> bytes:
    return hmac.digest(secret, role.encode(), "sha256")


def listen(host: str) -> socket.socket:
    """Return a socket that listens at a free port of one of this machine's addresses."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind((host, 0))
    listener.listen(16)
    return listener


def connect(place: tuple[str, int], secret: bytes, role: str, stopping: Callable[[], bool]) -> Wire:
    """Return a wire to who listens there, in a role; ClusterUnavailable if nobody does."""
    try:
        plain = socket.create_connection(place, timeout=_GREETING_S)
    except OSError as error:
        msg = f"a part at {place[0]}:{place[1]} of the divided actor cannot be reached ({error})"
        raise ClusterUnavailable(msg) from error
    wire = Wire(plain, f"{place[0]}:{place[1]}", stopping)
    wire.write(memoryview(_tag(secret, role)))
    return wire


def accept(
    listener: socket.socket,
    secret: bytes,
    role: str,
    stopping: Callable[[], bool],
    limit: int = 600,
) -> Wire:
    """Return a wire from who connects in a role; ClusterUnavailable if nobody does in `limit` looks."""
    listener.settimeout(_POLL_MS / 1000)
    for _ in range(limit):
        if stopping():
            break
        try:
            plain, address = listener.accept()
        except TimeoutError:
            continue
        plain.settimeout(_GREETING_S)
        tag = b""
        with contextlib.suppress(OSError):  # a stranger
            while len(tag) < _TAG_BYTES and (got := plain.recv(_TAG_BYTES - len(tag))):
                tag += got
        if hmac.compare_digest(tag, _tag(secret, role)):
            return Wire(plain, f"{address[0]}:{address[1]}", stopping)
        plain.close()
    msg = f"nobody has connected as {role} of the divided actor"
    raise ClusterUnavailable(msg)


@final
class Wire:
    """One end. It has one reader and one writer at a time, and any thread may close it."""

    def __init__(self, plain: socket.socket, peer: str, stopping: Callable[[], bool]) -> None:
        self._socket, self._peer, self._stopping = plain, peer, stopping
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        options = _KEEPALIVE | {"TCP_USER_TIMEOUT": _UNACKNOWLEDGED_MS}
        for name, value in options.items():
            if (option := getattr(socket, name, None)) is not None:  # Linux, and others in part
                plain.setsockopt(socket.IPPROTO_TCP, option, value)

    def send(self, message: dict[str, Any], arrays: Iterable[npt.NDArray[Any]] = ()) -> None:
        """Send a message, and contiguous arrays behind it."""
        text = json.dumps(message).encode()
        self.write(memoryview(_LENGTH.pack(len(text)) + text))
        self._carry([_bytes_of(array) for array in arrays], [])

    def receive(self) -> dict[str, Any]:
        """Return the next message.

        KernelStopped if the part says that its own kernel has failed, as it would anywhere;
        ClusterUnavailable if it was lost, or has lost another one.
        """
        head = bytearray(_LENGTH.size)
        self.read(memoryview(head))
        text = bytearray(_LENGTH.unpack(head)[0])
        self.read(memoryview(text))
        message: dict[str, Any] = json.loads(text)
        if "failed" in message:
            raise (KernelStopped if message["fault"] else ClusterUnavailable)(message["failed"])
        return message

    def take(self, arrays: Iterable[npt.NDArray[Any]]) -> None:
        """Receive into contiguous arrays."""
        self._carry([], [_bytes_of(array) for array in arrays])

    def swap(self, arrays: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> None:
        """Send the first of each two contiguous arrays; receive the second from who does the same."""
        pairs = [(_bytes_of(out), _bytes_of(into)) for out, into in arrays]
        self._carry([out for out, _ in pairs], [into for _, into in pairs], _SPIN_NS)

    def write(self, view: memoryview) -> None:
        """Send bytes."""
        self._carry([view], [])

    def read(self, view: memoryview) -> None:
        """Receive as many bytes as fit."""
        self._carry([], [view])

    def _carry(self, outs: list[memoryview], intos: list[memoryview], spin_ns: int = 0) -> None:
        """Send bytes and receive others: none waits until the other end has read all, or sent all.

        It looks again and again for `spin_ns` before it sleeps.
        """
        outs, intos = [out for out in outs if out], [into for into in intos if into]
        sleep_at = time.monotonic_ns() + spin_ns
        try:
            while outs or intos:
                sent = self._now(self._socket.send, outs)
                got = self._now(self._socket.recv_into, intos)
                if got == 0:
                    raise self._lost("it hung up")
                if sent or got:
                    continue
                if time.monotonic_ns() < sleep_at:
                    os.sched_yield()  # to another part, where there are more than cores
                else:
                    self._wait(select.POLLOUT * bool(outs) | select.POLLIN * bool(intos))
        except (OSError, ValueError) as error:  # that of a closed socket, which has no number
            raise self._lost(str(error)) from error

    @staticmethod
    def _now(carry: Callable[[memoryview], int], views: list[memoryview]) -> int | None:
        """Carry what can be carried at once of the first; return how many bytes, None if none."""
        if not views:
            return None
        with contextlib.suppress(BlockingIOError):
            done = carry(views[0])
            views[0] = views[0][done:]
            if not views[0]:
                del views[0]
            return done
        return None

    def _wait(self, events: int) -> None:
        """Wait a moment for room, or for bytes."""
        poll = select.poll()
        poll.register(self._socket, events)
        if not poll.poll(_POLL_MS) and self._stopping():
            msg = "the divided actor was ended"
            raise ClusterUnavailable(msg)

    def _lost(self, why: str) -> ClusterUnavailable:
        return ClusterUnavailable(f"a part of the divided actor was lost: {self._peer}: {why}")

    def close(self) -> None:
        """Hang up: who waits at the other end, and who waits at this one, is told."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _bytes_of(array: npt.NDArray[Any]) -> memoryview:
    assert array.flags.c_contiguous, "rows of a grid lie one behind the other"
    return array.reshape(-1).view(np.uint8).data
