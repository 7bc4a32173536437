"""On a worker: a part of a divided actor, with a kernel of its own, and its neighbours.

Its thread does what the coordinator says, `ringnb.cluster.parts`, and ends when that hangs up. Parts
exchange halos with their neighbours among themselves, every few steps.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any, final

from ringnb.actors.base import Actor
from ringnb.cluster.division import Slab, fields_of, part_of
from ringnb.cluster.wire import Wire, accept, connect
from ringnb.errors import KernelStopped, RingnbError
from ringnb.kernel.cpu.kernel import CpuKernel

__all__ = ["Part", "serve_part"]

_ENDLESS = 2**62


def serve_part(
    listener: socket.socket,
    secret: bytes,
    actor: Actor,
    width: int,
    stopping: Callable[[], bool],
) -> None:
    """Be a part of an actor for the coordinator that connects, until that hangs up."""
    part = None
    wire = None
    try:
        wire = accept(listener, secret, "coordinator", stopping)
        part = Part(actor, width, listener, secret, stopping)
        while not stopping():
            part.obey(wire, wire.receive())
    except Exception as error:  # noqa: BLE001 - whatever it is, the coordinator is told
        if wire is not None:
            said = (
                str(error) if isinstance(error, RingnbError) else f"{type(error).__name__}: {error}"
            )
            # A worker that ends stops its kernels, too.
            is_fault = isinstance(error, KernelStopped) and not stopping()
            if is_fault and part is not None:
                said = part.stopped_because or said
            with contextlib.suppress(RingnbError):  # it may have hung up, as it does at the end
                wire.send({"failed": said, "fault": is_fault})
    finally:
        listener.close()
        if part is not None:
            part.close()
        if wire is not None:
            wire.close()


@final
class Part:
    """Some rows of an actor, which this worker steps. One thread."""

    def __init__(
        self,
        actor: Actor,
        width: int,
        listener: socket.socket,
        secret: bytes,
        stopping: Callable[[], bool],
    ) -> None:
        self._whole, self._width, self._stopping = actor, width, stopping
        self._listener, self._secret = listener, secret
        self._kernel: CpuKernel | None = None
        self._slab: Slab
        self._wires: list[tuple[int, Wire, bool]] = []  # number, and whether it leads down
        self._fresh = 0  # steps that the halos are good for
        self._exchange_ns = 0

    def obey(self, wire: Wire, message: dict[str, Any]) -> None:
        """Carry out what the coordinator says, and answer."""
        what = message.pop("do")
        if what == "ready":
            wire.send({})
        elif what == "load":
            self._load(wire, **message)
        elif what == "step":
            began = time.perf_counter_ns()
            self._exchange_ns = 0
            self._step(int(message["count"]))
            took = time.perf_counter_ns() - began
            wire.send({"exchange_ns": self._exchange_ns, "step_ns": took - self._exchange_ns})
        elif what == "collect":
            own = slice(self._slab.above, self._slab.above + self._slab.rows)
            wire.send({}, (field[own] for field in self._fields()))
        elif what == "join":
            self._join(**message)
            wire.send({})
        else:
            self._shape(Slab(*message["slab"]), message["reaches"])
            wire.send({})

    def _join(self, up: int | None, down: tuple[int, str, int] | None) -> None:
        """Connect with the parts before and behind, by the numbers of the wires to them."""
        if down is not None:
            wire, host, port = down
            to = connect((host, port), self._secret, f"wire {wire}", self._stopping)
            self._wires.append((wire, to, True))
        if up is not None:
            of = accept(self._listener, self._secret, f"wire {up}", self._stopping)
            self._wires.append((up, of, False))
        # All parts go over the wires in one order, else each could wait for the next for ever; those of
        # even numbers first, which can be used at the same time.
        self._wires.sort(key=lambda one: (one[0] % 2, one[0]))

    def _shape(self, slab: Slab, reaches: list[int]) -> None:
        if self._kernel is not None:
            self._kernel.stop("the part gets other rows")
            self._kernel.release()
        self._slab = slab
        part = part_of(self._whole, slab, reaches)
        # This thread steps it: to hand each block of steps to another one takes as long as the steps
        # where cores are few.
        self._kernel = CpuKernel([part], lanes=1, width=self._width, led=False)
        self._kernel.launch()
        self._fresh = 0

    @property
    def stopped_because(self) -> str | None:
        """Why its kernel does not run; None while it does."""
        return None if self._kernel is None else self._kernel.stopped_because

    def _fields(self) -> list[Any]:
        """Return the arrays of all stored fields: the part is paused."""
        assert self._kernel is not None
        return fields_of(self._kernel.levels_at_rest(0)[: self._whole.levels])

    def _load(self, wire: Wire, step: int, params: list[float]) -> None:
        assert self._kernel is not None
        wire.take(self._fields())
        self._kernel.put_at_rest(0, step, params)  # it has others of its own behind them
        self._renew()

    def _renew(self) -> None:
        """Note that all rows are right."""
        assert self._kernel is not None
        self._kernel.renew_halos(0)
        self._fresh = self._slab.steps if self._wires else _ENDLESS

    def _step(self, count: int) -> None:
        assert self._kernel is not None
        while count:
            if not self._fresh:
                self._exchange()
                self._renew()
            some = min(count, self._fresh)
            self._kernel.take_steps(some)
            self._fresh -= some
            count -= some

    def _exchange(self) -> None:
        """Send the rows at the edges to the neighbours, and take theirs into the halos."""
        began = time.perf_counter_ns()
        slab, fields = self._slab, self._fields()
        above, below, end = slab.above, slab.below, slab.above + slab.rows
        for _, wire, is_down in self._wires:
            if is_down:
                wire.swap((field[end - below : end], field[end : end + below]) for field in fields)
            else:
                wire.swap((field[above : 2 * above], field[:above]) for field in fields)
        self._exchange_ns += time.perf_counter_ns() - began

    def close(self) -> None:
        """Hang up, and end the kernel."""
        for _, wire, _ in self._wires:
            wire.close()
        if self._kernel is not None:
            self._kernel.stop("the part was ended")
            self._kernel.release()
