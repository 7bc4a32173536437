"""Numbers of an actor at every so many steps, exactly: the thread behind `Session.report`.

The kernel makes an actor wait at each multiple (``HOLD_EVERY``) and says so (``HELD``). The reporter's
thread has it captured, which ends the wait: the actor waits until that thread has woken up, and for the
copy, and steps on while the functions compute. So a row is of its step on every backend, and a
function is any Python function. If that takes longer than the steps to the next row, the actor waits for
it: no row is left out.

What comes off the K2H ring goes into one queue, in that order: that an actor waits, that it was loaded,
that a report begins. Rows therefore belong to the line that was there when they were captured.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, final

from ringnb._support.checks import check_name, is_number
from ringnb._support.off_main import check_interrupted, placed
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.report import RESERVED, Report, ReportOrigin, reports_beside
from ringnb.checkpoint.report_writer import LineWriter, ReportWriter
from ringnb.checkpoint.state import State
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import CheckpointError, CheckpointNotFound, KernelStopped
from ringnb.kernel.client import KernelClient
from ringnb.messages.commands import Command, Reply
from ringnb.session.live_copy import copy_state, make_state
from ringnb.session.transport import SnapshotTransport

__all__ = ["RecentRows", "ReportFunction", "Reporter", "check_report_functions"]

ReportFunction = Callable[[State], float]
Row = tuple[int, float | None, tuple[float, ...]]

_FLUSH_S = 1.0  # so old may a row be that is not on the disk
_PATIENCE_S = 10.0  # how long a commit waits for the rows before it
_LOOK_S = 0.002
_RECENT = 1000  # rows of an actor that are kept in memory
_REMEMBERED = 8  # so many loads after a capture, it may still be committed


@final
@dataclass(frozen=True, slots=True)
class RecentRows:
    """The newest rows of an actor, of its present line, since its report began.

    Attributes
    ----------
    every : int
        Steps between two rows.
    names : tuple of str
        Names of the numbers.
    rows : tuple of (int, float or None, tuple of float)
        Step, simulated time and the numbers of each, at most 1,000.
    """

    every: int
    names: tuple[str, ...]
    rows: tuple[Row, ...]


@final
@dataclass(eq=False, slots=True)
class _Wish:
    """What is to be reported of an actor, and the line that is being written."""

    every: int
    functions: Mapping[str, ReportFunction]
    origin: ReportOrigin | None  # of its first line, but for the step
    line: LineWriter | None = None
    ticket: int = 0  # of the last wait that was served
    epoch: int = -1  # of the state that the line is of
    captured: tuple[int, int] = (-1, -1)  # epoch and step of the last row
    recent: deque[Row] = field(default_factory=lambda: deque(maxlen=_RECENT))


@final
class Reporter:
    """Serves actors that wait at a step to be reported. Its thread starts with the first report.

    `keep_failure` takes what goes wrong in the background, `warn` a text.
    """

    def __init__(
        self,
        client: KernelClient,
        transport: SnapshotTransport,
        manager: CheckpointManager,
        keep_failure: Callable[[BaseException], None],
        warn: Callable[[str], None],
    ) -> None:
        self._client, self._kernel = client, client.kernel
        self._transport, self._manager = transport, manager
        self._keep_failure, self._warn = keep_failure, warn
        # Calls, in the order of the kernel's replies. A SimpleQueue is put into by one call into C.
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._wishes: dict[int, _Wish] = {}  # by slot; changed on the reporter's thread only
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._writer: ReportWriter | None = None
        self._lines: dict[tuple[int, int], LineWriter] = {}  # by slot and epoch, the last of each
        self._unwritten: set[LineWriter] = set()
        self._flushed_s = 0.0
        self._failing = False  # whether the last flush failed
        self._reserved: set[int] = set()  # lanes of actors that are reported

    # -- for the session, any thread ---------------------------------------------------------------

    def begin(self, slot: int, every: int, functions: Mapping[str, ReportFunction]) -> None:
        """Report an actor from its step now on, in the place of an earlier report of it."""
        with self._starting:
            if self._thread is None:
                self._client.on_held = self._on_held
                self._thread = threading.Thread(
                    target=placed(self._serve), name="ringnb-reporter", daemon=True
                )
                self._thread.start()
        wish = _Wish(every, dict(functions), self._present_origin(slot))
        self._reserved = self._reserved | {self._kernel.lane_of(slot)}
        self._client.call(
            slot, Command.HOLD_EVERY, (every,), sink=partial(self._on_begun, slot, wish)
        )
        self.settle()

    def end(self, slot: int) -> None:
        """Report an actor no more."""
        if self._thread is not None:
            self._client.call(slot, Command.HOLD_EVERY, (0,), sink=partial(self._on_ended, slot))

    def wishes(self) -> dict[int, tuple[int, Mapping[str, ReportFunction]]]:
        """Return what is reported, by slot: every so many steps, which functions."""
        return {slot: (wish.every, wish.functions) for slot, wish in list(self._wishes.items())}

    def recent(self, slot: int) -> RecentRows | None:
        """Return the newest rows of an actor, from memory; None if it is not reported."""
        wish = self._wishes.get(slot)
        if wish is None:
            return None
        # One call into C: the reporter's thread may append meanwhile.
        return RecentRows(wish.every, tuple(wish.functions), tuple(wish.recent))

    def spare(self, lane: int) -> int:
        """Return how many staging buffers of a lane snapshots leave free: a slow disk delays no row."""
        return int(lane in self._reserved)

    def note_loaded(self, slot: int, checkpoint: Checkpoint, reply: Reply) -> None:
        """Note that an actor was restored; call it as the reply comes in."""
        if self._thread is not None:
            origin = ReportOrigin(
                reply.step, None, checkpoint.id, checkpoint.run, checkpoint.sequence
            )
            self._queue.put(partial(self._reload, slot, reply.epoch, origin))

    def settle(self, timeout_s: float = _PATIENCE_S) -> bool:
        """Wait until the rows of what has waited until now are on the disk; return whether they are."""
        if self._thread is None or self._thread is threading.current_thread():
            return True
        done = threading.Event()
        self._queue.put(partial(self._flush, done.set))
        deadline = time.monotonic() + timeout_s
        while not done.wait(0.05):
            if not self._thread.is_alive() or time.monotonic() > deadline:
                return False
        return not self._failing

    def settle_before(self, slots: Iterable[int]) -> None:
        """Settle, if any of these actors is reported."""
        if not self._wishes.keys().isdisjoint(slots):
            self.settle()

    def catch_up(self, slot: int) -> None:
        """Wait until all rows of an actor's steps until now are taken, and on the disk."""
        self.take_waiting(slot)
        self.settle()

    def report(self, kernel_id: str) -> Report:
        """Return what was reported of an actor; CheckpointNotFound if nothing was."""
        writer = self._writer
        if writer is not None and writer.root is None:
            lines = [line.in_memory() for line in list(writer.kept)]
            found = [line for line in lines if line.kernel_id == kernel_id]
            if found:
                return Report(found)
        root = self._root()
        if root is None:
            msg = f"nothing is reported of actor {kernel_id!r}: call session.report(every, name=f)"
            raise CheckpointNotFound(msg)
        return Report.open(root, kernel_id)

    def take_waiting(self, slot: int) -> None:
        """Wait until the row of an actor that waits is captured: what comes next changes it no more."""
        deadline = time.monotonic() + _PATIENCE_S
        while (wish := self._wishes.get(slot)) is not None and self._kernel.alive:
            now = self._kernel.counters(slot)
            captured = wish.captured == (now.epoch, now.step)
            if now.step % wish.every or captured or time.monotonic() > deadline:
                return
            check_interrupted()
            self._client.pump(_LOOK_S)

    def stop(self, deadline_s: float) -> None:
        """Take what waits, write all rows, end the thread, until a time by ``time.monotonic()``."""
        thread = self._thread
        if thread is None:
            return
        deadline_s = min(deadline_s, time.monotonic() + _PATIENCE_S)
        with contextlib.suppress(Exception):  # a kernel that is dead: nothing waits
            for slot in list(self._wishes):
                self.take_waiting(slot)
        self._queue.put(None)
        while thread.is_alive() and time.monotonic() < deadline_s:
            check_interrupted()
            thread.join(0.05)

    # -- as replies come in, on the thread that has the pump ---------------------------------------

    # Each may be applied twice, if the pump was interrupted: what is put into the queue says so.

    def _on_held(self, reply: Reply) -> None:
        self._queue.put(partial(self._serve_held, reply))

    def _on_begun(self, slot: int, wish: _Wish, reply: Reply) -> None:
        if reply.ok:
            self._queue.put(partial(self._begin, slot, wish, reply))

    def _on_ended(self, slot: int, reply: Reply) -> None:
        if reply.ok:
            self._queue.put(partial(self._end, slot))

    # -- the reporter's thread ---------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            try:
                work = self._queue.get(timeout=_FLUSH_S if self._unwritten else None)
            except queue.Empty:
                work = self._flush
            if work is None:
                break
            try:
                work()
                if self._unwritten and time.monotonic() - self._flushed_s > _FLUSH_S:
                    self._flush()
            except KernelStopped:
                continue  # which every call raises
            except BaseException as error:  # noqa: BLE001 - raised by the next call
                self._keep_failure(error)
        self._flush()

    def _begin(self, slot: int, wish: _Wish, reply: Reply) -> None:
        if self._wishes.get(slot) is wish:
            return  # applied twice
        origin, earlier = wish.origin, self._lines.get((slot, reply.epoch))
        if earlier is not None:  # an earlier report, which the same state has gone on from
            origin = ReportOrigin(reply.step, line=earlier.number)
        elif origin is not None:
            origin = replace(origin, step=reply.step)
        self._wishes[slot] = wish
        self._reserve()
        self._begin_line(slot, wish, reply.epoch, reply.step, origin)

    def _reload(self, slot: int, epoch: int, origin: ReportOrigin) -> None:
        wish = self._wishes.get(slot)
        if wish is not None and epoch > wish.epoch:
            while wish.recent and wish.recent[-1][0] > origin.step:
                wish.recent.pop()
            self._begin_line(slot, wish, epoch, origin.step, origin)

    def _begin_line(
        self, slot: int, wish: _Wish, epoch: int, step: int, origin: ReportOrigin | None
    ) -> None:
        """Begin a line, on the disk at once: with it, what a restore has left behind is told."""
        wish.epoch = epoch
        if self._writer is None:
            self._writer = ReportWriter(self._root())
        kernel_id = self._kernel_id(slot)
        begin = partial(
            ReportWriter.begin,
            kernel_id=kernel_id,
            names=list(wish.functions),
            step=step,
            every=wish.every,
            origin=origin,
            # No commit of this line is before it: the writer's thread settles before it commits.
            after=self._newest_commit(slot),
        )
        try:
            wish.line = begin(self._writer)
        except OSError as error:
            self._warn(
                f"the report of {kernel_id!r} cannot be written to {str(self._writer.root)!r}, and is "
                f"kept in memory only: {error}"
            )
            self._writer = ReportWriter(None)
            wish.line = begin(self._writer)
        self._lines[slot, epoch] = wish.line
        self._lines.pop((slot, epoch - _REMEMBERED), None)
        self._unwritten.add(wish.line)
        self._flush()

    def _end(self, slot: int) -> None:
        self._wishes.pop(slot, None)
        self._reserve()
        self._flush()

    def _reserve(self) -> None:
        """Reserve a staging buffer in the lanes of the actors that are reported."""
        self._reserved = {self._kernel.lane_of(slot) for slot in self._wishes}

    def _serve_held(self, reply: Reply) -> None:
        """Take the row of an actor that waits, and let it go."""
        slot, ticket = reply.actor_slot, reply.value
        wish = self._wishes.get(slot)
        if wish is None or ticket <= wish.ticket:
            return  # ended, or applied twice
        wish.ticket = ticket
        copied = copy_state(self._client, self._transport, slot, math.inf, held=ticket)
        if (copied.facts.epoch, copied.facts.step) != (reply.epoch, reply.step):
            return  # it was loaded meanwhile, and waits again
        wish.captured = (copied.facts.epoch, copied.facts.step)
        state = make_state(copied, self._kernel.actors[slot], slot, self._kernel_id(slot))
        try:
            values = [_number(name, f(state)) for name, f in wish.functions.items()]
        except BaseException:
            self._client.submit(slot, Command.HOLD_EVERY, (0,))
            self._end(slot)
            raise
        assert wish.line is not None  # begun with the wish
        wish.line.append(state.step, state.time, values)
        if (
            not wish.recent or wish.recent[-1][0] < state.step
        ):  # once, if it was restored right there
            wish.recent.append((state.step, state.time, tuple(values)))
        self._unwritten.add(wish.line)

    def _flush(self, then: Callable[[], object] = lambda: None) -> None:
        """Write what is not on the disk; a disk that fails is warned of once, and tried again."""
        try:
            self._flushed_s = time.monotonic()
            for line in list(self._unwritten):
                line.flush()
                self._unwritten.discard(line)
            self._failing = False
        except OSError as error:
            if not self._failing:
                self._warn(
                    f"rows of a report could not be written, and are kept until they can: {error}"
                )
            self._failing = True
        finally:
            then()

    def note_commit(self, slot: int, epoch: int, name: str) -> None:
        """Note, after a commit, which run the line of this epoch belongs to. Any thread."""
        if self._thread is not None:
            self._queue.put(partial(self._note_run, slot, epoch, name))

    def _note_run(self, slot: int, epoch: int, name: str) -> None:
        line = self._lines.get((slot, epoch))
        if line is None:
            return
        with contextlib.suppress(CheckpointError, ValueError):  # retired, closed, or unregistered
            lineage = self._manager.lineage(slot)
            run = lineage.run if lineage is not None and lineage.name == name else None
            line.set_run(run or self._manager.storage.load(name).run)
            if not line.is_written:
                self._unwritten.add(line)

    def _present_origin(self, slot: int) -> ReportOrigin | None:
        """Return what an actor's state goes on from now; None if it started afresh."""
        lineage = self._manager.lineage(slot)
        if lineage is None:
            return None
        known = next((e for e in self._manager.history(slot) if e.id == lineage.id), None)
        run, number = (lineage.run, None) if known is None else (known.run, known.sequence)
        return ReportOrigin(0, None, lineage.id, run, number)

    def _newest_commit(self, slot: int) -> int:
        """Return the number of an actor's newest commit; 0 if there is none that can be read."""
        with contextlib.suppress(CheckpointError, OSError):
            return max((e.sequence for e in self._manager.history(slot)), default=0)
        return 0

    def _kernel_id(self, slot: int) -> str:
        actor = self._manager.registered.get(slot)
        return (
            f"{self._kernel.actors[slot].kernel_type}_{slot}" if actor is None else actor.kernel_id
        )

    def _root(self) -> Any:
        """Return the directory of the reports; None if the checkpoints lie in no directory."""
        storage = self._manager.storage
        folders = storage.folders if isinstance(storage, ZarrStorage) else ()
        return reports_beside(folders[0]) if folders else None


def _number(name: str, value: Any) -> float:
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        value = value.item()  # an array of one element, a NumPy scalar
    if isinstance(value, bool):
        value = float(value)
    if not is_number(value):
        msg = (
            f"the function reported as {name!r} returned {value!r} ({type(value).__name__}): it must "
            "return a number. The report was ended"
        )
        raise TypeError(msg)
    return float(value)


def check_report_functions(functions: Mapping[str, ReportFunction], *, service: bool) -> None:
    """Check what is to be reported; TypeError or ValueError, with the remedy."""
    if not functions:
        msg = (
            'there is nothing to report: name a function, energy=lambda s: (s["u"] ** 2).sum(), say'
        )
        raise ValueError(msg)
    for name, function in functions.items():
        check_name(name, "name of a number")
        if name in RESERVED:
            msg = f"a number named {name!r} would hide a column that every report has: {RESERVED}"
            raise ValueError(msg)
        if not callable(function):
            msg = f"{name} must be a function of a State, got {function!r}"
            raise TypeError(msg)
    if not service:
        msg = "report needs the service thread: open the session with service=True"
        raise ValueError(msg)
