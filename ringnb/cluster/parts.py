"""The coordinator of a divided actor: has its parts stepped, brings its state together, hands it out."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, final

from ringnb.actors.base import Actor
from ringnb.actors.locality import Locality
from ringnb.cluster.division import (
    Slab,
    best_halo,
    divide,
    fields_of,
    largest_halo,
    stretches,
)
from ringnb.cluster.wire import Wire, connect
from ringnb.errors import ClusterUnavailable, KernelStopped
from ringnb.kernel.stepper import Stepper

__all__ = ["Parts"]

_TRIED_HALO, _TRIED_BLOCKS = 8, 12
_MOST_AT_ONCE = 16
_TRIED_S = 1.0  # of a slow actor fewer blocks, but two: its session is waited for
# Starts so many parts, which know a secret; returns where each listens.
Places = Callable[[int, bytes], Sequence[tuple[str, int]]]


@final
class Parts(Stepper):
    """The parts of one actor.

    ``places(parts, secret)`` starts as many parts, and returns where each listens. ``halo`` is the
    number of steps between two exchanges; None: what is best by a measurement of both. ``lost`` is
    whether a part was lost, after which others may go on; what a part has raised is no loss.
    """

    def __init__(
        self, places: Places, parts: int, locality: Locality, halo: int | None = None
    ) -> None:
        self._places, self._parts = places, parts
        self._locality, self.halo = locality, halo
        self.lost = False
        self._wires: list[Wire] = []
        self._slabs: list[Slab] = []
        self._actor: Actor
        self._lock = threading.Lock()  # of the wires as a list

    def open(self, actor: Actor, levels: Any, params: Any, stopping: Callable[[], bool]) -> None:
        """Start the parts and connect them with each other."""
        self._actor, self.lost = actor, False
        try:
            with self._noting_losses():
                self._connect(stopping)
                if self.halo is None:
                    most = largest_halo(actor.shape[0], self._parts, self._locality.reach)
                    try:
                        self.halo = self._measured(most, levels, params)
                    except KernelStopped:
                        # The update raises after some steps: when these are asked for, that is said.
                        self.halo = min(_TRIED_HALO, most)
                        self.close()
                        self._connect(stopping)
                self._shape(self.halo)
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def _noting_losses(self) -> Iterator[None]:
        try:
            yield
        except ClusterUnavailable:
            self.lost = True
            raise

    def _connect(self, stopping: Callable[[], bool]) -> None:
        secret = secrets.token_bytes(32)  # parts of an earlier coordinator know another one
        places = self._places(self._parts, secret)
        for place in places:
            wire = connect(place, secret, "coordinator", stopping)
            with self._lock:
                self._wires.append(wire)
        # A part that begins imports for as long as it takes; neighbours wait for each other not so long.
        self._tell({"do": "ready"})
        self._answers()
        self._join(places)

    def _join(self, places: Sequence[tuple[str, int]]) -> None:
        """Have each part connect with the next, and the last with the first where edges are joined."""
        n = self._parts
        last = n if self._locality.joined else n - 1  # as many wires
        if n > 1 and self._locality.reach:
            for i, wire in enumerate(self._wires):
                down = (i, *places[(i + 1) % n]) if i < last else None
                up = (i - 1) % n if (i - 1) % n < last else None
                wire.send({"do": "join", "up": up, "down": down})
            self._answers()

    def _shape(self, halo: int) -> None:
        self._slabs = divide(self._actor, self._locality, self._parts, halo)
        for wire, slab in zip(self._wires, self._slabs, strict=True):
            wire.send({"do": "shape", "slab": list(slab), "reaches": self._locality.reaches})
        self._answers()

    def _measured(self, most: int, levels: Any, params: Any) -> int:
        """Return the best halo by what an exchange and a step take, from the start."""
        actor, reach = self._actor, self._locality.reach
        rows = actor.shape[0]
        if self._parts == 1 or not reach or most <= 1:
            return max(1, most)
        halo = min(_TRIED_HALO, most)
        self._shape(halo)
        # Not of zeros, which an update may divide by, or take an index from.
        self.load(levels, params, actor.start_step)
        taken: list[list[dict[str, Any]]] = []
        late = time.monotonic() + _TRIED_S
        while len(taken) < 2 or (len(taken) < _TRIED_BLOCKS and time.monotonic() < late):
            self._tell({"do": "step", "count": halo})
            taken.append(self._answers())
        taken = taken[1:]  # before the first block nothing was exchanged: halos are loaded, too
        # What is usual, not the least: where cores are few, parts mostly wait for each other.
        exchange_ns = median(max(one["exchange_ns"] for one in each) for each in taken)
        step_ns = median(max(one["step_ns"] for one in each) for each in taken) / halo
        return best_halo(rows, self._parts, reach, exchange_ns / 1e9, step_ns / 1e9)

    def load(self, levels: Any, params: Any, step: int) -> None:
        """Send each part its rows, and those of its halos."""
        fields = fields_of(levels[: self._actor.levels])
        rows, names = self._actor.shape[0], len(self._actor.params)
        message = {"do": "load", "step": step, "params": params[:names].tolist()}

        def send(wire: Wire, slab: Slab) -> None:
            """Send one part its rows."""
            lines = stretches(slab.first - slab.above, slab.held, rows)
            wire.send(message, (field[a:b] for field in fields for a, b in lines))

        self._at_once(send)

    def step(self, count: int) -> None:
        """Have all parts take steps, and wait for them."""
        with self._noting_losses():
            self._tell({"do": "step", "count": count})
            self._answers()

    def collect(self, levels: Any) -> None:
        """Bring the rows of all parts together."""
        fields = fields_of(levels[: self._actor.levels])

        def take(wire: Wire, slab: Slab) -> None:
            """Have one part send its rows."""
            wire.send({"do": "collect"})
            wire.receive()
            wire.take(field[slab.first : slab.first + slab.rows] for field in fields)

        self._at_once(take)

    def _at_once(self, work: Callable[[Wire, Slab], None]) -> None:
        """Do something with all parts at the same time: what a socket carries takes a core to copy."""
        pairs = list(zip(self._wires, self._slabs, strict=True))
        failed: list[Exception] = []

        def go_through(some: Sequence[tuple[Wire, Slab]]) -> None:
            """Do it with some of them, one after the other."""
            try:
                for wire, slab in some:
                    work(wire, slab)
            except Exception as error:  # noqa: BLE001 - raised below
                failed.append(error)

        threads = []
        for i in range(min(len(pairs), _MOST_AT_ONCE)):
            some = pairs[i::_MOST_AT_ONCE]
            thread = threading.Thread(target=go_through, args=(some,), name="ringnb-wire")
            try:
                thread.start()
            except RuntimeError:  # the interpreter ends: what is collected is the last checkpoint
                go_through(some)
            else:
                threads.append(thread)
        for thread in threads:  # then none writes into the state any more
            thread.join()
        with self._noting_losses():
            if failed:  # what a part has raised says more than that a neighbour of it is lost
                raise min(failed, key=lambda error: isinstance(error, ClusterUnavailable))

    def _tell(self, message: dict[str, Any]) -> None:
        for wire in self._wires:
            wire.send(message)

    def _answers(self) -> list[dict[str, Any]]:
        answers, lost = list[dict[str, Any]](), list[ClusterUnavailable]()
        for wire in self._wires:
            try:
                answers.append(wire.receive())
            except ClusterUnavailable as error:  # maybe only a neighbour of one that has failed
                lost.append(error)
        if lost:
            raise lost[0]
        return answers

    def close(self) -> None:
        """Hang up; the parts end."""
        with self._lock:
            wires, self._wires = self._wires, []
        for wire in wires:
            with contextlib.suppress(OSError):
                wire.close()
