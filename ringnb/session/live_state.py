"""What the kernel has confirmed of its actors: parameters, lineage, what is saved.

A caller may be interrupted at any line, also between a command and its reply; the kernel carries the
command out all the same. So nothing is noted by a caller. The pump of `ringnb.kernel.client`, on
whatever thread, notes it as the reply comes off the ring: in the order in which it became true, before
the reply of any later snapshot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, final

import numpy as np
import numpy.typing as npt

from ringnb._support.off_main import warn_caller
from ringnb.actors.region import Place, Region
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import CheckpointError
from ringnb.kernel.base import QueueFull
from ringnb.kernel.client import KernelClient, ReplySink
from ringnb.kernel.regions import region_words
from ringnb.messages.commands import Command, Reply
from ringnb.messages.events import Event, EventLog
from ringnb.messages.simulated_time import SimulatedTime
from ringnb.session.change_tracking import ChangeTracker, StateVersion
from ringnb.session.reporter import Reporter
from ringnb.session.restore import Restore, fill_buffers
from ringnb.session.transport import SnapshotTransport

__all__ = ["LiveState"]

_PAUSE_S = 0.7  # an interrupted call ends within a second, see `off_main`
_SETTLE_S = 0.1  # the kernel answers within a slice, of about a millisecond, or within one step


@final
class LiveState:
    """Changes actors, and notes what has become of them when the kernel has confirmed it. Any thread."""

    def __init__(
        self,
        client: KernelClient,
        manager: CheckpointManager,
        transport: SnapshotTransport,
        changes: ChangeTracker,
        log: EventLog,
        reporter: Reporter,
    ) -> None:
        self._client = client
        self._kernel = client.kernel
        self._manager = manager
        self._transport = transport
        self._changes = changes
        self._log = log
        self._reporter = reporter
        # The mappings are replaced, never changed.
        self._params = [a.start_params(slot) for slot, a in enumerate(self._kernel.actors)]

    def params(self, slot: int) -> dict[str, float]:
        """Return the parameters that an actor has, as the kernel has confirmed them."""
        # The load of a call that was interrupted a moment ago may still be under way.
        self._client.settle(self._kernel.lane_of(slot), _SETTLE_S)
        return dict(self._params[slot])

    def inject(self, slot: int, cell: Sequence[int], amplitude: float) -> None:
        """Disturb the cell (z, y, x)."""
        bits = int(np.float64(amplitude).view(np.int64))
        axes = len(self._kernel.actors[slot].shape)
        where = ", ".join(
            f"{name} {i}" for name, i in zip("zyx"[-axes:], cell[-axes:], strict=True)
        )
        what = f"cell {where} by {amplitude:g}"
        sink = partial(self._injected, slot, what)
        self._reporter.take_waiting(slot)
        self._client.call(slot, Command.INJECT, (*cell, bits), sink=sink)

    def read_region(self, slot: int, place: Place) -> npt.NDArray[Any]:
        """Return the values of a region at a step boundary."""
        words = region_words(self._kernel.actors[slot], place)
        values = np.empty(place.shape, place.dtype)

        def fill() -> tuple[Sequence[int], ReplySink]:
            """Have the values copied as the reply comes in, while the buffer is this load's."""
            buffer = self._kernel.region_buffer(slot, place.shape, place.dtype)
            return words, lambda reply: np.copyto(values, buffer, where=reply.ok)

        self._client.load(slot, Command.READ_REGION, fill)
        return values

    def write_region(
        self, slot: int, region: Region, place: Place, values: npt.NDArray[Any]
    ) -> None:
        """Set the values of a region, which have its shape and dtype."""
        words = region_words(self._kernel.actors[slot], place)
        what = f"{region} written"

        def fill() -> tuple[Sequence[int], ReplySink]:
            """Put the values to where WRITE_REGION takes them from."""
            self._kernel.region_buffer(slot, place.shape, place.dtype)[...] = values
            return words, partial(self._injected, slot, what)

        self._reporter.take_waiting(slot)
        self._client.load(slot, Command.WRITE_REGION, fill)

    def time(self, slot: int) -> float | None:
        """Return the simulated time of an actor at its step now; None where a step has no length."""
        self._client.settle(self._kernel.lane_of(slot), _SETTLE_S)
        return self.time_at(slot, self._kernel.counters(slot).step)

    def time_at(self, slot: int, step: int) -> float | None:
        """Return the simulated time at a step that was read just now. Waits for nothing."""
        clock = self._transport.clocks[slot]
        return None if clock is None else clock.at(step)

    def _clock_of(
        self, slot: int, checkpoint: Checkpoint, params: Mapping[str, float]
    ) -> SimulatedTime | None:
        """Return the time that an actor goes on from with a checkpoint's state and these parameters."""
        if self._transport.clocks[slot] is None:
            return None  # its steps have no length
        dt = params["dt"]
        stored = checkpoint.clock
        return SimulatedTime(dt=dt) if stored is None else stored.with_dt(checkpoint.step, dt)

    def _injected(self, slot: int, what: str, reply: Reply) -> None:
        if reply.ok:
            self._changes.mark_modified(slot)
            self._log.append(Event("disturbed", slot, step=reply.step, detail=what))

    def set_params(self, slot: int, changes: Mapping[str, float]) -> dict[str, float]:
        """Change some parameters, and return all; ValueError, with nothing changed, if one is bad."""
        actor, params = self._kernel.actors[slot], dict[str, float]()

        def fill() -> tuple[Sequence[int], ReplySink]:
            """Put the parameters confirmed, and the changes, to where SET_PARAMS takes them from."""
            params.clear()
            params.update(actor.change_params(self._params[slot], dict(changes)))
            self._kernel.params_buffer(slot)[: len(params)] = list(params.values())
            return (), partial(self._params_set, slot, params)

        self._reporter.take_waiting(slot)
        self._client.load(slot, Command.SET_PARAMS, fill)
        return dict(params)

    def _params_set(self, slot: int, params: dict[str, float], reply: Reply) -> None:
        if reply.ok:
            before, self._params[slot] = self._params[slot], params
            clocks = self._transport.clocks
            if (clock := clocks[slot]) is not None:
                # Applied twice, it has this step length already, and changes nothing.
                clocks[slot] = clock.with_dt(reply.step, params["dt"])
            self._changes.mark_modified(slot)
            changed = [k for k in params if before[k] != params[k]]
            if changed:
                what = ", ".join(f"{k} {before[k]:g} → {params[k]:g}" for k in changed)
                self._log.append(Event("adjusted", slot, step=reply.step, detail=what))

    def pause_interrupted(self, slot: int) -> None:
        """Pause an actor whose `run_steps` was interrupted; warn if its step does not end."""
        try:
            self._client.call(slot, Command.PAUSE, timeout_s=_PAUSE_S)
        except (TimeoutError, QueueFull):
            config, step = self._manager.config, self._kernel.counters(slot).step
            limit = 2 + self._kernel.patience_s + config.on_close_timeout_s * config.on_close
            text = (
                f"slot {slot} was interrupted at step {step}, and has not ended the next one within "
                f"{_PAUSE_S:g} s. It pauses when that step ends. If it never does, as the update loops "
                "for ever, end this process (in a notebook: restart the kernel). close() and the end of "
                f"the program leave it running after about {limit:g} s"
            )
            warn_caller(text, RuntimeWarning)

    def restore(self, slot: int, restore: Restore) -> int:
        """Load a checkpoint and parameters, as prepared; return the step that the actor has then.

        Raises as `fill_buffers`, with the actor untouched.
        """
        checkpoint, params = restore.checkpoint, restore.params

        def fill() -> tuple[Sequence[int], ReplySink]:
            """Put state and parameters to where RESTORE takes them from."""
            fill_buffers(self._kernel, slot, checkpoint, params)
            if restore.is_newest:
                epoch = self._kernel.counters(slot).epoch + 1
                modifications = self._changes.modifications(slot)
                version = StateVersion(checkpoint.step, epoch, modifications)
                self._changes.expect_saved(slot, version)
            clock = self._clock_of(slot, checkpoint, params)
            return (checkpoint.step,), partial(self._loaded, slot, restore, clock)

        self._reporter.take_waiting(slot)
        return self._client.load(slot, Command.RESTORE, fill).step

    def _loaded(
        self, slot: int, restore: Restore, clock: SimulatedTime | None, reply: Reply
    ) -> None:
        if not reply.ok:
            return
        checkpoint = restore.checkpoint
        self._params[slot] = restore.params
        self._transport.clocks[slot] = clock
        self._reporter.note_loaded(slot, checkpoint, reply)
        # What a snapshot answered before has captured is the old state, any other is of the new one.
        earlier = self._transport.captured()
        with contextlib.suppress(CheckpointError, ValueError):  # closed, or the actor unregistered
            self._manager.note_restored(slot, checkpoint, earlier=earlier)
        self._changes.mark_loaded(slot, reply.epoch, reply.step, saved=restore.is_newest)
        remark = "; ".join(restore.remarks)
        self._log.append(
            Event("restored", slot, step=reply.step, name=checkpoint.name, detail=remark)
        )
