"""A staging buffer on loan from the kernel: it goes back when nothing refers to the loan any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from ringnb.actors.base import Actor
from ringnb.errors import Status
from ringnb.messages.commands import Reply
from ringnb.messages.simulated_time import SimulatedTime

__all__ = ["StagingLoan", "fields_of"]

_OK = int(Status.OK)


class StagingLoan:
    """The answer to a SNAPSHOT command; it owns the staging buffer that holds the state, if any does.

    `on_free` is called with lane and buffer when it is given back: by `free`, or when this object is
    collected, for instance because Ctrl-C came before it was assigned to anything.
    """

    __slots__ = ("_on_free", "clock", "index", "lane", "reply")

    def __init__(self, lane: int, on_free: Callable[[int, int], None]) -> None:
        self.lane = lane
        self._on_free = on_free
        self.reply: Reply | None = None
        self.clock: SimulatedTime | None = None  # of the actor, at the capture
        self.index: int | None = None  # of the buffer, while this object owns it

    def take(self, reply: Reply, clock: SimulatedTime | None) -> None:
        """Note the reply, and own the buffer that it names. Once: the pump may apply a reply again."""
        if self.reply is None:
            index = reply.value if reply.status == _OK else None
            # A KeyboardInterrupt can only come after a call: these three lines are done, or none.
            self.reply, self.clock, self.index = reply, clock, index

    def free(self) -> None:
        """Give the staging buffer back. Idempotent, any thread, without a lock: also in `__del__`."""
        index, self.index = self.index, None
        if index is not None:
            self._on_free(self.lane, index)

    def abandon(self) -> None:
        """Give the buffer back though nothing came of it."""
        self.free()

    def __del__(self) -> None:
        """Give the buffer back if that was not done."""
        try:
            owned = self.index is not None
        except AttributeError:  # an interrupt in the constructor
            return
        if owned:
            self.abandon()


def fields_of(actor: Actor, state: Any) -> dict[str, npt.NDArray[Any]]:
    """View a state, as `AbstractKernel.staged` returns it, as the fields that a checkpoint stores."""
    n = len(actor.fields)
    return {name: state[i // n, i % n] for i, name in enumerate(actor.stored_fields)}
