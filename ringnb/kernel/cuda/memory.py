"""All arrays of a CUDA launch, on the host and on the device, and the copies between the two.

Everything is allocated, filled and uploaded before the launch, and freed after the end: what allocates
or frees device memory may wait for the running kernel. While it lives there are two kinds of copies,
each on a stream of its own between pinned and device memory, so that none waits for the kernel: a
staging buffer to the host, a restore buffer to the device. A small state needs none to the host.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from ringnb.actors.base import MAX_PARAMS, Actor
from ringnb.kernel import layout
from ringnb.kernel.cuda import layout as cl
from ringnb.kernel.cuda.device import Device
from ringnb.kernel.cuda.layout import CudaLane, CudaPlan
from ringnb.kernel.layout import fill_start, padded, staging_tail, state_nbytes, state_view

__all__ = ["CudaMemory"]

_COPY_TIMEOUT_S = 60.0
_NAP_S = 20e-6


@final
class CudaMemory:
    """The memory of one kernel: `lanes` are the host's views, `arguments` the grid's.

    `groups` is the number of groups of blocks; `facts` are words of the array of that name.
    """

    def __init__(
        self,
        device: Device,
        actors: Sequence[Actor],
        plan: CudaPlan,
        capacity: int,
        groups: int,
        facts: dict[int, int],
    ) -> None:
        self._device, self._actors, self._plan = device, actors, plan
        self._pid = os.getpid()
        lanes, n = len(plan.lanes), len(actors)
        slots = lanes * capacity * layout.SLOT_WORDS
        mapped = [
            device.mapped(size)
            for size in (
                lanes * layout.CTL_WORDS,
                slots,
                slots,
                n * layout.ACTOR_WORDS,
                n * MAX_PARAMS,
                plan.staging_words,
            )
        ]
        views = [np.asarray(m) for m in mapped]
        told = np.zeros(cl.FACTS, np.int64)
        for word, value in facts.items():
            told[word] = value
        self._state = device.empty(plan.state_words)
        self._staging = device.empty(plan.staging_words)
        self._restore = device.empty(plan.restore_words)
        params = plan.params.view(np.int64).reshape(-1)
        mail = np.zeros(groups * cl.MAIL_WORDS, np.int64)
        self.arguments = cl.Memory._make(
            (
                *mapped,
                *map(device.words, (plan.table, params, plan.lanes, mail, told)),
                self._state,
                self._staging,
                self._restore,
                device.words(plan.links),
            )
        )
        self.lanes = [self._lane(lane, capacity, views) for lane in range(lanes)]
        # Per lane: copies under way or done and when each began, by staging buffer.
        self._copies: list[dict[int, tuple[Any, float]]] = [{} for _ in range(lanes)]
        device.prepare(lanes * (layout.STAGING_BUFFERS + 1))
        # A driver may set up what a copy in a direction needs at the first one, and wait for the device
        # then.
        self._fetch(0, 0)
        self.arrived(0, 0)
        for slot, actor in enumerate(actors):
            self._fill(slot, actor)
        for at, words in plan.constants:
            source = device.pinned(len(words))
            source[:] = words
            copy = device.upload(self._state, at, source)
            self._await(copy, time.monotonic(), "the arrays of an actor to the device")

    def _lane(self, lane: int, capacity: int, views: Sequence[layout.Words]) -> CudaLane:
        control, h2k, k2h, words, params_in, staged = views
        plan = self._plan
        first, rows = (int(plan.lanes[lane, column]) for column in (cl.L_FIRST, cl.L_ROWS))
        stage = plan.stage_words[lane]
        ring = slice(lane * capacity * layout.SLOT_WORDS, (lane + 1) * capacity * layout.SLOT_WORDS)
        first_word = (int(plan.lanes[lane, column]) for column in (cl.L_STAGE0, cl.L_STAGE1))
        params = params_in.view(np.float64).reshape(-1, MAX_PARAMS)
        return CudaLane(
            control=control[lane * layout.CTL_WORDS : (lane + 1) * layout.CTL_WORDS],
            h2k=h2k[ring].reshape(capacity, layout.SLOT_WORDS),
            k2h=k2h[ring].reshape(capacity, layout.SLOT_WORDS),
            words=words[first * layout.ACTOR_WORDS : (first + rows) * layout.ACTOR_WORDS],
            params_in=params[first : first + rows],
            staging=[staged[at : at + stage].view(np.uint8) for at in first_word],
            restore=self._device.pinned(stage).view(np.uint8),
        )

    def _row(self, slot: int) -> tuple[CudaLane, int]:
        lane, row = self._plan.deal.place_of[slot]
        return self.lanes[lane], row

    def _fill(self, slot: int, actor: Actor) -> None:
        """Bring an actor's start to the device."""
        memory, row = self._row(slot)
        fill_start(state_view(memory.restore, actor), actor, slot)
        at = int(self._plan.table[self._plan.row(slot), layout.C_A])
        self._upload(slot, self._state, at)
        words = memory.words[row * layout.ACTOR_WORDS :]
        words[layout.W_EXISTS], words[layout.W_STEP] = 1, actor.start_step

    # -- to the device ---------------------------------------------------------------------------

    def upload(self, slot: int) -> None:
        """Copy a slot's state from the lane's pinned restore buffer to the device, and wait."""
        lane, _ = self._plan.deal.place_of[slot]
        self._upload(slot, self._restore, int(self._plan.lanes[lane, cl.L_RESTORE]))

    def upload_region(self, slot: int, nbytes: int) -> None:
        """Copy the first bytes of the lane's pinned restore buffer to the device, and wait."""
        lane, _ = self._plan.deal.place_of[slot]
        at, words = int(self._plan.lanes[lane, cl.L_RESTORE]), -(-nbytes // 8)
        source = self.lanes[lane].restore.view(np.int64)[:words]
        copy = self._device.upload(self._restore, at, source)
        self._await(copy, time.monotonic(), f"a region of slot {slot} to the device")

    def _upload(self, slot: int, target: Any, at: int) -> None:
        actor = self._actors[slot]
        block = self._row(slot)[0].restore
        level = state_nbytes(actor) // actor.levels
        for first in range(0, actor.levels * padded(level), padded(level)):
            # An earlier actor's bytes may be there.
            block[first + level : first + padded(level)] = 0
        copy = self._device.upload(target, at, block[: actor.levels * padded(level)].view(np.int64))
        self._await(copy, time.monotonic(), f"the state of slot {slot} to the device")

    # -- to the host -----------------------------------------------------------------------------

    def fetch_region(self, lane: int, nbytes: int) -> None:
        """Copy the first bytes of a lane's restore buffer to the host, and wait."""
        at, words = int(self._plan.lanes[lane, cl.L_RESTORE]), -(-nbytes // 8)
        target = self.lanes[lane].restore.view(np.int64)[:words]
        event = len(self.lanes) * layout.STAGING_BUFFERS + lane
        copy = self._device.download(self._restore, at, target, event)
        self._await(copy, time.monotonic(), f"a region of lane {lane} to the host")

    def fetch(self, lane: int, index: int, slot: int) -> None:
        """Begin to copy a staging buffer, with this slot's state, to the host, if it is not there."""
        if staging_tail(self._actors[slot]) <= cl.STRAIGHT_BYTES:
            self._copies[lane].pop(index, None)  # of another actor's state
            return
        self._fetch(lane, index)

    def _fetch(self, lane: int, index: int) -> None:
        at = int(self._plan.lanes[lane, cl.L_STAGE0 + index])
        target = self.lanes[lane].staging[index].view(np.int64)[: self._plan.stage_words[lane]]
        event = lane * layout.STAGING_BUFFERS + index
        copy = self._device.download(self._staging, at, target, event)
        self._copies[lane][index] = copy, time.monotonic()

    def arrived(self, lane: int, index: int) -> None:
        """Wait until a staging buffer is on the host. Any thread."""
        # No lock: the garbage collector may call this on a thread that is in `fetch`. The buffer's copy
        # was entered before its snapshot was told to anyone.
        if (found := self._copies[lane].get(index)) is not None:
            self._await(*found, f"staging buffer {index} of lane {lane} to the host")

    def _await(self, copy: Any, began: float, what: str) -> None:
        """Wait for a copy by asking, so that Ctrl-C gets through, but not for ever; TimeoutError."""
        if os.getpid() != self._pid:
            return  # a forked child must not ask the driver; the kernel refuses what comes next
        # From its begin on: who asks again for one that is overdue waits no second time.
        until = began + _COPY_TIMEOUT_S
        while True:
            # Read before asking: a process may be stopped here, and the copy done when it goes on.
            overdue = time.monotonic() > until
            if self._device.finished(copy):
                return
            if overdue:
                msg = (
                    f"copying {what} took more than {_COPY_TIMEOUT_S:g} s: the GPU does not answer"
                )
                raise TimeoutError(msg)
            time.sleep(_NAP_S)
