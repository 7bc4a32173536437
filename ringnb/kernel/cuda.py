"""The CUDA backend: one launch hosts all actors for the whole run; the same source in the simulator.

The host never synchronises with the device while the kernel lives. It writes commands into mapped
memory, polls replies there, and asks events whether a copy is done. A snapshot's answer tells that
the state lies in a staging buffer of the device; `CudaKernel.peek` then has the copy engine fetch
it, and `staged` hands it out once it has arrived. A restore goes the other way: to the device
first, then the command.

The kernel ends by its stop words (`stop`, the end of the interpreter, an exception that unwinds a
session, Ctrl-C), which unlike a TERMINATE command a full ring cannot hold up; or by its lease: a
thread of the host raises a heartbeat ten times a second, and a kernel that has not seen it rise for
`lease_s` seconds leaves, so that a process that was killed leaves no spinning GPU behind. The same
end comes to a process that is stopped (a debugger, SIGSTOP) for longer.

One kernel at a time in a process: to load a second one's code the driver would wait for the first
to end.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from ringnb.actors.base import MAX_PARAMS, Actor
from ringnb.errors import BackendUnavailable, KernelStopped
from ringnb.kernel import cuda_layout as cl
from ringnb.kernel import layout
from ringnb.kernel.base import SnapshotFacts
from ringnb.kernel.cuda_device import Device, GpuDevice, SimulatedDevice
from ringnb.kernel.cuda_layout import CudaLane, CudaPlan
from ringnb.kernel.lanes import LaneKernel, check_range, check_sizes
from ringnb.kernel.layout import LINE, padded, state_nbytes, state_view
from ringnb.kernel.ring import load_word, replies_waiting, spin_for_reply, store_word
from ringnb.messages import Command, Reply

__all__ = ["CudaKernel"]

_SLICE_NS = {True: 20_000_000, False: 200_000}  # in the simulator, on a GPU
_HOT_NS = {True: 2_000_000, False: 10_000_000}
_BEAT_S = 0.1
_STOP_TIMEOUT_S = 30.0
_COPY_TIMEOUT_S = 60.0
_NAP_S = 20e-6
_LOADS = (Command.CREATE_ACTOR, Command.RESTART_ACTOR, Command.RESTORE)

_live: weakref.WeakSet[CudaKernel] = weakref.WeakSet()
_one = threading.Lock()


@final
class CudaKernel(LaneKernel):
    """Hosts actors in one CUDA launch.

    Parameters
    ----------
    actors : sequence of Actor
        The actor of every slot.
    lanes : int, default 1
        Rings and groups of blocks. One lane gives every actor the whole card in turn; more let small
        actors step side by side.
    width : int, optional
        Blocks per lane; by default all that fit on the card together, less one multiprocessor's. In the
        simulator threads, 2 by default, since its grid has one block.
    threads : int, default 256
        Threads per block. The simulator takes `width` instead.
    capacity : int, default 64
        Slots per ring, a power of two.
    lease_s : float, default 10
        Seconds without a heartbeat of the host after which the kernel leaves.
    simulate : bool, default False
        Run in Numba's simulator.

    Raises
    ------
    BackendUnavailable
        If this machine or process cannot run it; the message says what is missing.
    ValueError
        If a number is out of range, or an actor's function cannot be compiled.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        *,
        lanes: int | None = None,
        width: int | None = None,
        threads: int = 256,
        capacity: int = layout.RING_CAPACITY,
        lease_s: float = 10.0,
        simulate: bool = False,
    ) -> None:
        actors = tuple(actors)
        lanes = 1 if lanes is None else lanes
        check_sizes(actors, lanes, 1 if width is None else width, capacity)
        check_range("threads", threads, 32, 1024, "threads of a block")
        if not 0.5 <= lease_s <= 3600:
            msg = f"lease_s must lie in 0.5..3600 seconds, got {lease_s!r}"
            raise ValueError(msg)
        self.name = "cudasim" if simulate else "cuda"
        self._simulate = simulate
        self._lease_s = float(lease_s)
        self._pid = os.getpid()
        if any(k.alive for k in _live):
            msg = (
                f"backend {self.name!r}: a CUDA kernel runs in this process already, and there can be "
                "one. Close the other session first, or host all actors in it"
            )
            raise BackendUnavailable(msg)
        self._device: Device = SimulatedDevice() if simulate else GpuDevice()
        # Only now: these modules take the numba.cuda that is there.
        from ringnb.kernel.cuda_program import build, cell_code  # noqa: PLC0415

        codes = [cell_code(actor) for actor in actors]
        kinds = list(dict.fromkeys(codes))
        if simulate:
            threads = 2 if width is None else width
        try:
            self._device.compile(build(kinds), threads)
        except Exception as error:
            names = ", ".join(sorted({a.kernel_type for a in actors}))
            msg = (
                f"the update function of {names} cannot be compiled for the GPU: "
                f"{_first_line(error)}. Use numbers, the math module, and functions of your own "
                "decorated with numba.njit (the full report is the cause of this error)"
            )
            raise ValueError(msg) from error
        self._blocks = self._group_blocks(actors, lanes, width, threads)
        super().__init__(actors, lanes, threads if simulate else self._blocks, capacity)
        self._allocate(kinds.index(code) for code in codes)
        self._scratch = np.zeros(8, np.int64)
        self._awake = threading.Event()
        self._copies: list[dict[int, Any]] = [{} for _ in range(lanes)]
        self._fetched = [0] * lanes
        self._fetch_lock = threading.Lock()

    def _group_blocks(
        self, actors: Sequence[Actor], lanes: int, width: int | None, threads: int
    ) -> int:
        """Choose the blocks of a lane; all of the grid must be on the card together."""
        most = self._device.blocks_at_most
        if self._simulate:
            return 1
        if width is None:
            cells = max(int(np.prod(actor.shape)) for actor in actors)
            return max(1, min(most // lanes, -(-cells // threads)))
        if lanes * width > most:
            msg = (
                f"{lanes} lanes of {width} blocks are {lanes * width} blocks of {threads} threads; this "
                f"card holds {most} of this kernel at a time. Use fewer lanes or a smaller width"
            )
            raise ValueError(msg)
        return width

    def _allocate(self, kinds: Any) -> None:
        """Allocate everything there will ever be, and fill it."""
        device, lanes, capacity = self._device, self._n_lanes, self._capacity
        plan = self._plan = CudaPlan(self.actors, list(kinds), lanes)
        n = len(self.actors)
        sizes = (
            lanes * layout.CTL_WORDS,
            lanes * capacity * layout.SLOT_WORDS,
            lanes * capacity * layout.SLOT_WORDS,
            n * layout.ACTOR_WORDS,
            n * MAX_PARAMS,
            LINE,
        )
        mapped = [device.mapped(size) for size in sizes]
        control, h2k, k2h, words, params_in, self._host = (np.asarray(m) for m in mapped)
        groups = 1 if self._simulate else lanes
        facts = np.zeros(cl.FACTS, np.int64)
        facts[cl.F_CAPACITY] = capacity
        facts[cl.F_WIDTH] = self._blocks
        facts[cl.F_SLICE_NS] = _SLICE_NS[self._simulate]
        facts[cl.F_HOT_NS] = _HOT_NS[self._simulate]
        facts[cl.F_LEASE_NS] = int(self._lease_s * 1e9)
        self._state = device.empty(plan.state_words)
        self._staging = device.empty(plan.staging_words)
        self._restore = device.empty(plan.restore_words)
        self._arguments = (
            *mapped,
            device.words(plan.table),
            device.words(plan.params.view(np.int64).reshape(-1)),
            device.words(plan.lanes),
            device.words(np.zeros(groups * cl.MAIL_WORDS, np.int64)),
            device.words(facts),
            self._state,
            self._staging,
            self._restore,
        )
        self._grid = groups * self._blocks
        memory = []
        for lane in range(lanes):
            first, rows = plan.lanes[lane, cl.L_FIRST], plan.lanes[lane, cl.L_ROWS]
            stage = plan.stage_words[lane]
            own = slice(lane * layout.CTL_WORDS, (lane + 1) * layout.CTL_WORDS)
            ring = slice(lane * capacity * 8, (lane + 1) * capacity * 8)
            memory.append(
                CudaLane(
                    control=control[own],
                    h2k=h2k[ring].reshape(capacity, 8),
                    k2h=k2h[ring].reshape(capacity, 8),
                    words=words[first * layout.ACTOR_WORDS : (first + rows) * layout.ACTOR_WORDS],
                    params_in=params_in.view(np.float64).reshape(n, MAX_PARAMS)[
                        first : first + rows
                    ],
                    staging=[
                        device.pinned(stage).view(np.uint8) for _ in range(layout.STAGING_BUFFERS)
                    ],
                    restore=device.pinned(stage).view(np.uint8),
                )
            )
        self._memory = memory
        device.prepare(lanes * layout.STAGING_BUFFERS)
        for slot, actor in enumerate(self.actors):
            self._fill(slot, actor)

    def _fill(self, slot: int, actor: Actor) -> None:
        """Bring an actor's start to the device."""
        state = np.ascontiguousarray(actor.start(slot), dtype=actor.dtype)
        if state.shape != actor.state_shape:
            msg = (
                f"{actor!r}.start() returned shape {state.shape}, "
                f"needed is {actor.state_shape} (levels * fields, *grid)"
            )
            raise ValueError(msg)
        memory, row = self._row(slot)
        levels = state_view(memory.restore, actor)
        levels[:] = state.reshape(levels.shape)
        at = int(self._plan.table[self._plan.row(slot), layout.C_A])
        self._upload(slot, self._state, at)
        memory.words[row * layout.ACTOR_WORDS + layout.W_EXISTS] = 1

    def _upload(self, slot: int, target: Any, at: int) -> None:
        """Copy a slot's levels from the lane's pinned restore buffer to the device, and wait."""
        actor = self.actors[slot]
        block = self._row(slot)[0].restore
        level = state_nbytes(actor) // actor.levels
        for first in range(0, actor.levels * padded(level), padded(level)):
            block[first + level : first + padded(level)] = (
                0  # an earlier actor's bytes may be there
            )
        copy = self._device.upload(target, at, block[: actor.levels * padded(level)].view(np.int64))
        self._await(copy, f"the state of slot {slot} to the device")

    def _await(self, copy: Any, what: str) -> None:
        """Wait for a copy by asking, so that Ctrl-C gets through and a dead device is noticed."""
        until = time.monotonic() + _COPY_TIMEOUT_S
        while not self._device.finished(copy):
            if time.monotonic() > until:
                msg = f"copying {what} took more than {_COPY_TIMEOUT_S:g} s: the device does not answer"
                raise TimeoutError(msg)
            time.sleep(_NAP_S)

    # -- life ------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the kernel and the heartbeat.

        Raises
        ------
        KernelStopped
            If the kernel ran before: a kernel is launched once.
        BackendUnavailable
            If another one runs in this process.
        """
        if self._launched:
            msg = "a kernel is launched once; make a new one"
            raise KernelStopped(msg)
        with _one:
            if any(k.alive for k in _live):
                msg = f"backend {self.name!r}: another CUDA kernel runs in this process; close it first"
                raise BackendUnavailable(msg)
            self._launched = True
            self._device.launch(self._grid, self._arguments)
            _live.add(self)
        self._beating = threading.Event()
        threading.Thread(
            target=_beat,
            args=(weakref.ref(self), self._host, self._beating),
            name="ringnb-heartbeat",
            daemon=True,
        ).start()

    @property
    def alive(self) -> bool:
        """Whether the kernel runs, as far as its words and the last look at the device tell."""
        return self._launched and self._stopped_because is None

    def look(self) -> None:
        """Find out whether the kernel has ended by itself, and record why."""
        try:
            ended = self._device.ended()
        except Exception as error:  # noqa: BLE001 - what ended the kernel, whatever it is
            self.fail(f"the CUDA kernel died: {type(error).__name__}: {_first_line(error)}")
            return
        reasons = {int(load_word(m.control, cl.STATE_REASON)) for m in self._memory}
        if ended and cl.BY_LEASE in reasons:
            self.fail(
                f"the GPU saw no heartbeat of this process for {self._lease_s:g} s and left. The "
                "process was stopped, or some code held the interpreter's lock"
            )

    @property
    def heartbeat(self) -> int:
        """How often this process has told the kernel that it lives."""
        return int(self._host[cl.HEARTBEAT])

    def stop_heartbeat(self) -> None:
        """Raise the heartbeat no more, as if this process had died: the lease will run out."""
        self._beating.set()

    def stop(self, reason: str = "the kernel was closed") -> None:
        """End the kernel and wait for it. Idempotent, any thread."""
        with self._stop_lock:
            if not self._launched or os.getpid() != self._pid or self not in _live:
                self._stopped_because = self._stopped_because or reason
                return
            for memory in self._memory:
                store_word(memory.control, layout.STOP, 1)
            until = time.monotonic() + _STOP_TIMEOUT_S
            while not self._ended():
                if time.monotonic() > until:
                    msg = (
                        f"the kernel is still in a step after {_STOP_TIMEOUT_S:g} s; a single step of "
                        "this actor takes very long. Call close() again to wait on"
                    )
                    raise TimeoutError(msg)
                time.sleep(0.0005)
            self._beating.set()
            self._device.release()
            self._stopped_because = self._stopped_because or reason
            _live.discard(self)
            self.wake()

    def _ended(self) -> bool:
        try:
            return self._device.ended()
        except Exception as error:  # noqa: BLE001 - it ended, if badly
            self.fail(f"the CUDA kernel died: {type(error).__name__}: {_first_line(error)}")
            return True

    def __del__(self) -> None:
        """End a kernel that nobody holds any more."""
        if getattr(self, "_launched", False):
            self.stop("nobody referred to the kernel any more")

    # -- rings -----------------------------------------------------------------------------------

    def push_nowait(
        self,
        lane: int,
        kind: int,
        command_id: int,
        slot: int,
        arguments: Sequence[int] = (),
        *,
        spin_ns: int = 0,
    ) -> None:
        """Append a command; one that loads a state has the state copied to the device first."""
        if kind in _LOADS and 0 <= slot < len(self.actors):
            self.check_alive()
            at = int(self._plan.lanes[lane, cl.L_RESTORE])
            self._upload(slot, self._restore, at)
        super().push_nowait(lane, kind, command_id, slot, arguments, spin_ns=spin_ns)

    def peek(self, lane: int) -> Reply | None:
        """Return the oldest reply; if it is a snapshot's, the copy engine has begun to fetch it."""
        reply = super().peek(lane)
        if reply is not None and reply.kind == Command.SNAPSHOT and reply.ok:
            with self._fetch_lock:
                place = int(load_word(self._memory[lane].control, layout.K2H_TAIL)) + 1
                if place != self._fetched[lane]:  # a reply may be peeked at twice
                    stage = self._plan.stage_words[lane]
                    at = int(self._plan.lanes[lane, cl.L_STAGE0 + reply.value])
                    target = self._memory[lane].staging[reply.value].view(np.int64)[:stage]
                    event = lane * layout.STAGING_BUFFERS + reply.value
                    copy = self._device.download(self._staging, at, target, event)
                    self._copies[lane][reply.value] = copy
                    self._fetched[lane] = place
        return reply

    def wait(self, timeout_s: float, spin_ns: int = 0) -> bool:
        """Wait until a reply is there, `wake` is called, or the time is up.

        The device cannot wake us.
        """
        if spin_ns > 0 and self._n_lanes == 1 and not self._replies():
            spin_for_reply(self._memory[0].control, self._scratch, spin_ns)
        until = time.monotonic() + min(timeout_s, 0.1)  # so that Ctrl-C is served
        nap = _NAP_S
        while not self._replies():
            left = until - time.monotonic()
            if left <= 0 or not self.alive:
                break
            if self._awake.wait(min(nap, left)):
                self._awake.clear()
                break
            nap = min(2 * nap, 0.001)
        else:
            return True
        self.look()
        return self._replies()

    def wake(self) -> None:
        """End another thread's `wait` early. Any thread."""
        self._awake.set()

    def _replies(self) -> bool:
        return any(replies_waiting(m.control) > 0 for m in self._memory)

    # -- staging ---------------------------------------------------------------------------------

    def _arrived(self, lane: int, index: int) -> None:
        with self._fetch_lock:
            copy = self._copies[lane].get(index)
        self._await(copy, f"staging buffer {index} of lane {lane} to the host")

    def staged(self, lane: int, index: int, slot: int) -> tuple[npt.NDArray[Any], SnapshotFacts]:
        """Return what a snapshot put into a staging buffer, once the copy engine has brought it."""
        self._arrived(lane, index)
        return super().staged(lane, index, slot)

    def staged_params(self, lane: int, index: int, slot: int) -> npt.NDArray[np.float64]:
        """Return a copy of the 16 parameters that were captured with a snapshot."""
        self._arrived(lane, index)
        return super().staged_params(lane, index, slot)

    def staged_checksum(self, lane: int, index: int, slot: int) -> int:
        """Compute the checksum of a staging buffer as it is now, on the host."""
        self._arrived(lane, index)
        return super().staged_checksum(lane, index, slot)

    def release_staging(self, lane: int, index: int) -> None:
        """Give a staging buffer back to the kernel, when the copy engine is done with it."""
        self._arrived(lane, index)
        super().release_staging(lane, index)

    def restore_buffer(self, slot: int) -> npt.NDArray[Any]:
        """Return the writable state view of the pinned buffer that a RESTORE to this slot reads."""
        return state_view(self._row(slot)[0].restore, self.actors[slot])


def _beat(owner: weakref.ref[CudaKernel], host: layout.Words, done: threading.Event) -> None:
    """Raise the heartbeat until the kernel has ended or nobody holds it."""
    while not done.wait(_BEAT_S) and owner() is not None:
        store_word(host, cl.HEARTBEAT, int(host[cl.HEARTBEAT]) + 1)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("Failed in")]
    return (telling or lines or [type(error).__name__])[0].rstrip(".")


def _forked() -> None:
    """In a forked child: neither the heartbeat nor the CUDA context came along."""
    for kernel in list(_live):
        kernel.fail(
            f"this process ({os.getpid()}) was forked from the one that runs it, and CUDA does not "
            "survive a fork"
        )


os.register_at_fork(after_in_child=_forked)


@atexit.register
def _stop_all() -> None:
    """Stop every kernel before finalisers free memory and unload code under it."""
    for kernel in list(_live):
        kernel.stop("the interpreter is exiting")
