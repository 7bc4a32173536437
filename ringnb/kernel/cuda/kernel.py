"""The CUDA backend: one grid hosts all actors for the whole run; the same source in the simulator.

The host never synchronises with the device while the kernel lives. It writes commands into mapped
memory, polls replies there, and asks events whether a copy is done. A snapshot's answer tells that
the state lies in a staging buffer of the device; `CudaKernel.peek` then has the copy engine fetch
it, and `staged` hands it out once it has arrived. A small state lies in the host's memory already. A
restore goes the other way: to the device first, then the command.

A launch ends by itself after `launch_s` seconds, between two jobs, and the next one, which a thread of
the host has enqueued meanwhile, goes on with what lies in the device's memory. So nothing waits for the
kernel for longer than the launches that are enqueued take: neither other CUDA code of the process, nor
a display on the same card and its watchdog. A process that was killed leaves no busy GPU behind; one
that is stopped (a debugger, SIGSTOP) stops its kernel, which goes on when the process does.

The kernel ends by its stop words (`stop`, the end of the interpreter, an exception that ends a
session, Ctrl-C), which a full ring cannot delay as it delays a TERMINATE command.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from ringnb._support.checks import check_int, check_number
from ringnb._support.off_main import check_interrupted
from ringnb.actors.base import Actor
from ringnb.actors.link import Link
from ringnb.errors import BackendUnavailable, KernelStopped
from ringnb.kernel import layout, registry
from ringnb.kernel.base import SnapshotFacts
from ringnb.kernel.caching import all_it_reads, is_own
from ringnb.kernel.cuda import layout as cl
from ringnb.kernel.cuda.availability import toolkit_versions
from ringnb.kernel.cuda.clock import DeviceClock
from ringnb.kernel.cuda.compile import RESIDENT
from ringnb.kernel.cuda.device import LAUNCHES_AHEAD, Device, GpuDevice, SimulatedDevice
from ringnb.kernel.cuda.errors import (
    death,
    does_not_fit,
    driver_error,
    first_line,
    is_of_toolkit,
    out_of_memory,
    refusals_told,
    unavailable,
)
from ringnb.kernel.cuda.layout import CudaPlan
from ringnb.kernel.cuda.memory import CudaMemory
from ringnb.kernel.deal import Deal
from ringnb.kernel.host import LaneKernel, check_sizes
from ringnb.kernel.layout import state_view
from ringnb.kernel.regions import region_nbytes
from ringnb.kernel.ring import load_word, spin_for_reply
from ringnb.messages.commands import Command, Reply

__all__ = ["CudaKernel"]

_SLICE_NS = {True: 20_000_000, False: 200_000}  # in the simulator, on a GPU
_HOT_NS = {True: 2_000_000, False: 10_000_000}
_NAP_S = 20e-6
_LOADS = (Command.CREATE_ACTOR, Command.RESTART_ACTOR, Command.RESTORE)

_one = threading.Lock()


@final
class CudaKernel(LaneKernel):
    """Hosts actors in one CUDA grid, launched again and again.

    Parameters
    ----------
    actors : sequence of Actor
        The actor of every slot.
    links : sequence of Link, default ()
        What goes from one actor to another; linked actors are in one lane.
    lanes : int, default 1
        Rings and groups of blocks. One lane gives every actor the whole card in turn; more let small
        actors step side by side.
    width : int, optional
        Blocks per lane; by default as many as the largest actor has work for, of those that may be on
        the card together. In the simulator, whose grid has one block, its threads, by default 2.
    threads : int, optional
        Threads per block, a multiple of 32 up to 1024; by default what fills a multiprocessor, or
        fewer for small actors. The simulator takes `width` instead.
    capacity : int, default 64
        Slots per ring, a power of two.
    launch_s : float, default 0.08
        Seconds after which a launch ends and the next one goes on, 0.005 to 60. Up to three are
        enqueued, and whatever waits for the device waits for these.
    device : int, default 0
        Number of the GPU, as CUDA counts those that `CUDA_VISIBLE_DEVICES` lets this process see.
    reserve : int, default 1
        Multiprocessors that stay free for other work on the card; the grid then has one block on each of
        the others. With 0 it has as many blocks as fit.
    simulate : bool, default False
        Run in Numba's simulator.

    Notes
    -----
    `BackendUnavailable` says what is missing on this machine or in this process.

    Other code of the process may use this GPU meanwhile. Where it waits for the device, as an
    allocation, a first use of a kernel and ``synchronize`` do, it waits for the launches that are
    enqueued; so do the actors if it holds the CUDA context while it waits.

    Products and sums are not fused, so that a built-in actor's state has the bits that the CPU kernel
    gives it; `ringnb.testing.tolerance` says how far that goes. Not yet compared on a device.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        *,
        links: Sequence[Link] = (),
        lanes: int | None = None,
        width: int | None = None,
        threads: int | None = None,
        capacity: int = layout.RING_CAPACITY,
        launch_s: float = 0.08,
        device: int = 0,
        reserve: int = 1,
        simulate: bool = False,
    ) -> None:
        actors = tuple(actors)
        lanes = 1 if lanes is None else lanes
        deal = Deal(actors, links)
        check_sizes(deal, lanes, capacity)
        if width is not None:
            most = (
                (256, "threads of the simulated block") if simulate else (2**20, "blocks of a lane")
            )
            check_int(width, "width", 1, most[0], why=most[1])
        if threads is not None:
            check_int(threads, "threads", 32, 1024, why="threads of a block")
            if threads % 32:
                msg = f"threads={threads} must be a multiple of 32, the threads of a warp"
                raise ValueError(msg)
        check_int(device, "device", 0, 1023, why="number of a GPU")
        check_int(reserve, "reserve", 0, 1023, why="multiprocessors that stay free")
        if not 0.005 <= check_number(launch_s, "launch_s") <= 60:
            msg = f"launch_s must lie in 0.005..60 seconds, got {launch_s!r}"
            raise ValueError(msg)
        checked = [a.kernel_type for a in actors if a.boundscheck]
        if checked and not simulate:  # the simulator's arrays check every index anyway
            msg = (
                f"boundscheck=True of {checked[0]} is not for a GPU, which checks no index: look for "
                "the fault with backend='cpu', where the function computes the same"
            )
            raise ValueError(msg)
        self.name = "cudasim" if simulate else "cuda"
        if not simulate:
            self.lost_in_fork = "CUDA contexts"
        self._launch_s = float(launch_s)
        _check_alone(self.name)
        with refusals_told(self.name):  # as after a kernel that died
            self._device: Device = SimulatedDevice() if simulate else GpuDevice(device, reserve)
        # Only now: these modules take the numba.cuda that is there.
        from ringnb.kernel.cuda.program import build, busy_threads, cell_codes, reduce_codes

        different = {id(actor): actor for actor in actors}  # one may be in very many slots
        codes = {at: cell_codes(actor) for at, actor in different.items()}
        kinds = list(dict.fromkeys(code for own in codes.values() for code in own))
        sums = {at: reduce_codes(actor) for at, actor in different.items()}
        reduced = list(dict.fromkeys(code for own in sums.values() for code in own))
        key = (
            *((all_it_reads(k.update), all_it_reads(k.inject), *k[2:]) for k in kinds),
            *((all_it_reads(r.value), r.operation, *r[2:]) for r in reduced),
        )
        busy = max(
            busy_threads(actor.shape, code.together)
            for at, actor in different.items()
            for code in codes[at]
        )
        bound = RESIDENT if threads is None else threads
        if simulate:
            threads = 2 if width is None else width
        elif threads is None:  # a barrier of fewer is quicker
            threads = min(bound, -(-busy // 32) * 32)
        try:
            name = _name([(k.update, k.inject, *k[2:]) for k in kinds]) if not reduced else None
            self._device.compile(lambda: build(kinds, reduced), key, bound, threads, name)
        except Exception as error:
            if refusal := driver_error(error):
                raise unavailable(self.name, refusal) from error
            if is_of_toolkit(error):
                msg = f"backend {self.name!r}: {does_not_fit(error, toolkit_versions())}"
                raise BackendUnavailable(msg) from error
            names = ", ".join(sorted({a.kernel_type for a in actors}))
            msg = (
                f"the update function of {names} cannot be compiled for the GPU: "
                f"{first_line(error)}. Use numbers, the math module, and functions of your own "
                "decorated with numba.njit (the full report is the cause of this error)"
            )
            raise ValueError(msg) from error
        blocks = 1 if simulate else self._blocks(lanes, width, threads, busy)
        super().__init__(actors, deal, lanes, threads if simulate else blocks, capacity)
        groups = 1 if simulate else lanes
        self._grid = groups * blocks
        facts = {
            cl.F_CAPACITY: capacity,
            cl.F_WIDTH: blocks,
            cl.F_GROUPS: groups,
            cl.F_SLICE_NS: _SLICE_NS[simulate],
            cl.F_HOT_NS: _HOT_NS[simulate],
            cl.F_LAUNCH_NS: int(launch_s * 1e9),
        }
        plan = CudaPlan(
            actors,
            [[kinds.index(code) for code in codes[id(actor)]] for actor in actors],
            deal,
            [[reduced.index(code) for code in sums[id(actor)]] for actor in actors],
        )
        try:
            with self._device.current():
                self._arrays = CudaMemory(self._device, actors, plan, capacity, groups, facts)
        except Exception as error:
            if (refusal := driver_error(error)) is None:
                raise
            if refusal != "CUDA_ERROR_OUT_OF_MEMORY":
                raise unavailable(self.name, refusal) from error
            pinned = plan.staging_words + plan.restore_words
            raise out_of_memory(plan.state_words + pinned, pinned, refusal) from error
        self._memory = self._arrays.lanes
        self._open_ports()
        self._clock = None if self._device.has_hosts_clock else DeviceClock(lanes)
        self._launches = 0
        self._on_hold = False
        self._no_more = threading.Event()
        self._launcher = threading.Thread(
            target=_launch_on,
            args=(weakref.ref(self), self._no_more, launch_s / 4),
            name="ringnb-launches",
            daemon=True,
        )
        self._awake = False
        self._scratch = np.zeros(8, np.int64)
        self._fetched = [0] * lanes

    def _blocks(self, lanes: int, width: int | None, threads: int, busy: int) -> int:
        """Choose the blocks of a lane; all of the grid must be on the card together."""
        most = self._device.blocks_at_most
        if width is None and lanes <= most:
            return max(1, min(most // lanes, -(-busy // threads)))
        width = 1 if width is None else width
        if lanes * width > most:
            msg = (
                f"{lanes} lanes of {width} blocks are {lanes * width} blocks of {threads} threads; "
                f"there may be {most} on this card together. Use fewer lanes, a smaller "
                "width, or reserve=0"
            )
            raise ValueError(msg)
        return width

    # -- life ------------------------------------------------------------------------------------

    def _start(self) -> None:
        with _one:
            _check_alone(self.name, but=self)
            with refusals_told(self.name):
                with self._device.current():
                    self._device.prepare_launches(self._grid, tuple(self._arrays.arguments))
                self._device.launch()
        self._launches = 1
        self._launcher.start()

    def _launch_more(self) -> None:
        """Enqueue launches while few are ahead. On the launching thread."""
        try:
            while not (self._no_more.is_set() or self._on_hold or self._stopped_by_itself()):
                if self._device.launches_ahead() >= LAUNCHES_AHEAD:
                    break
                self._device.launch()
                self._launches += 1
        except Exception as error:  # noqa: BLE001 - whatever the driver, or its bindings, raise
            self._no_more.set()
            self.fail(death(error))

    def _stopped_by_itself(self) -> bool:
        """Return whether the kernel serves no lane any more: a launch would end at once."""
        states = (load_word(control, layout.STATE) for control in self._controls)
        return all(state == layout.LANE_STOPPED for state in states)

    def _end(self) -> None:
        self._no_more.set()
        until = time.monotonic() + self.patience_s
        # The garbage collector may end a kernel on any thread, in the simulator on one of the kernel's
        # own: that one ends by the stop word when it goes on, and cannot wait for itself.
        while not self._device.runs_on_this_thread() and not (
            self._launched_all() and self._ended()
        ):
            if time.monotonic() > until:
                raise self._never_ends("the kernel")
            check_interrupted()
            time.sleep(0.0005)
        self._device.release()

    def _launched_all(self) -> bool:
        """Return whether no launch can follow, which was asked for."""
        # The launching thread itself may drop the last reference to the kernel, and come here.
        return self._launcher is threading.current_thread() or not self._launcher.is_alive()

    def _ended(self) -> bool:
        try:
            return self._device.ended()
        except Exception as error:  # noqa: BLE001 - it ended, if badly
            self.fail(death(error))
            return True

    @contextlib.contextmanager
    def _on_device(self) -> Iterator[None]:
        """Turn a copy that fails, or is never done, into what it means: the kernel died."""
        # The first call after its death is told of it, be it a copy's or `look`'s. No other error may
        # pass: the thread that met it would go on, and the request wait for an answer that never comes.
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever the driver, or its bindings, raise
            self.fail(death(error))
            self.check_alive()  # which raises

    def look(self) -> None:
        """Find out whether the kernel has died, and record why."""
        self._ended()

    @property
    def launches(self) -> int:
        """How often the grid was launched."""
        return self._launches

    @property
    def idle(self) -> bool:
        """Whether every launch has ended: nothing of the kernel is on the device but its memory."""
        return self._ended()

    def hold_launches(self, hold: bool = True) -> None:
        """Launch no more, as if this process were stopped, or go on.

        Parameters
        ----------
        hold : bool, default True
            Whether to hold. The launches that are enqueued end one after the other; then the kernel is
            `idle`, until this is called with False.
        """
        self._on_hold = hold

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
            with self._on_device():
                self._arrays.upload(slot)
        elif kind == Command.WRITE_REGION and 0 <= slot < len(self.actors):
            self.check_alive()
            with self._on_device():
                self._arrays.upload_region(slot, region_nbytes(arguments))
        if self._clock is None:
            super().push_nowait(lane, kind, command_id, slot, arguments, spin_ns=spin_ns)
            return
        self._clock.sending(lane)
        try:
            super().push_nowait(lane, kind, command_id, slot, arguments, spin_ns=spin_ns)
        except Exception:
            self._clock.not_sent(lane)
            raise

    def peek(self, lane: int) -> Reply | None:
        """Return the oldest reply; if it is a snapshot's, the state is here, or its copy has begun."""
        reply = super().peek(lane)
        if reply is not None and reply.kind == Command.SNAPSHOT and reply.ok:
            place = int(load_word(self._controls[lane], layout.K2H_TAIL)) + 1
            if place != self._fetched[lane]:  # a reply may be peeked at twice
                with self._on_device():
                    self._arrays.fetch(lane, reply.value, reply.actor_slot)
                self._fetched[lane] = place
        elif reply is not None and reply.kind == Command.READ_REGION and reply.ok:
            with self._on_device():  # a few microseconds; if it is peeked at twice, the same
                self._arrays.fetch_region(lane, reply.value)
        return reply

    def advance(self, lane: int) -> Reply | None:
        """Take the oldest reply off a lane's K2H ring; return the next one, as `peek` does."""
        reply = self._peeked[lane]
        if self._clock is not None and reply is not None and reply.command_id:
            self._clock.answered(lane, reply.stamp_ns)
        super().advance(lane)
        return self.peek(lane)

    def wait(self, timeout_s: float, spin_ns: int = 0) -> bool:
        """Wait until a reply is there, `wake` is called, or the time is up."""
        # The device cannot wake this thread, so it looks, after naps that grow to a millisecond.
        if spin_ns > 0 and self._n_lanes == 1 and not self._replies():
            spin_for_reply(self._controls[0], self._scratch, spin_ns)
        until = time.monotonic() + min(timeout_s, 0.1)  # so that Ctrl-C is served
        nap = _NAP_S
        while not self._replies():
            left = until - time.monotonic()
            if left <= 0 or not self.alive:
                break
            if self._awake:
                self._awake = False
                break
            time.sleep(min(nap, left))
            nap = min(2 * nap, 0.001)
        else:
            return True
        self.look()
        return self._replies()

    def wake(self) -> None:
        """End another thread's `wait` early. Any thread."""
        # No event, which has a lock: a finaliser or a signal handler may call this on any thread.
        self._awake = True

    # -- staging ---------------------------------------------------------------------------------

    def _arrived(self, lane: int, index: int) -> None:
        with self._on_device():
            self._arrays.arrived(lane, index)

    def staged(self, lane: int, index: int, slot: int) -> tuple[npt.NDArray[Any], SnapshotFacts]:
        """Return what a snapshot put into a staging buffer, once it is on the host."""
        self._arrived(lane, index)
        view, facts = super().staged(lane, index, slot)
        if self._clock is not None:
            begin, end = map(self._clock.on_host, (facts.begin_ns, facts.end_ns))
            facts = facts._replace(begin_ns=begin, end_ns=end)
        return view, facts

    def staged_params(self, lane: int, index: int, slot: int) -> dict[str, float]:
        """Return the parameters that were captured with a snapshot, by name."""
        self._arrived(lane, index)
        return super().staged_params(lane, index, slot)

    def staged_reductions(self, lane: int, index: int, slot: int) -> dict[str, float]:
        """Return what an actor's reductions were of a captured state, by name."""
        self._arrived(lane, index)
        return super().staged_reductions(lane, index, slot)

    def staged_checksum(self, lane: int, index: int, slot: int) -> int:
        """Compute the checksum of a staging buffer as it is now, on the host."""
        self._arrived(lane, index)
        return super().staged_checksum(lane, index, slot)

    def release_staging(self, lane: int, index: int) -> None:
        """Give a staging buffer back to the kernel, once no copy of it is under way."""
        # A dead kernel fills no buffer, and its driver must not be asked.
        with contextlib.suppress(KernelStopped):
            if self.alive:
                self._arrived(lane, index)
        super().release_staging(lane, index)

    def restore_buffer(self, slot: int) -> Any:
        """Return the buffer that a RESTORE to this slot reads, as (levels, fields, *grid), writable."""
        return state_view(self._row(slot)[0].restore, self.actors[slot])


def _name(kinds: Sequence[tuple[Any, ...]]) -> str | None:
    """Return what functions of the package a kernel is made of, and for what; None if of others too."""
    functions = [part for kind in kinds for part in kind[:2]]
    if not all(map(is_own, functions)):
        return None  # no name could tell all that a user's function depends on
    return repr(
        [(f"{u.__module__}.{u.__qualname__}", i.__qualname__, *more) for u, i, *more in kinds]
    )


def _check_alone(name: str, but: CudaKernel | None = None) -> None:
    """Refuse a second CUDA kernel in this process."""
    # To load its code the driver would wait for the first one to end.
    of_cuda = [k for k in registry.running() if isinstance(k, CudaKernel)]
    kernels = [k for k in of_cuda if k is not but and k.alive]
    left = [k for k in registry.left_running() if isinstance(k, CudaKernel)]
    stuck = [k for k in left if not k._ended()]
    if kernels or stuck:
        what = "Close the other session first, or host all actors in it"
        if not kernels:
            what = "Its session was closed, but its step has not ended: start a new process"
        msg = (
            f"backend {name!r}: a CUDA kernel runs in this process already, and there can be one. "
            f"{what}"
        )
        raise BackendUnavailable(msg)


def _launch_on(owner: weakref.ref[CudaKernel], no_more: threading.Event, period_s: float) -> None:
    """Launch again and again, until the kernel is stopped or no variable refers to it."""
    while not no_more.wait(period_s):
        # Held only during the call, so that the kernel can go. The garbage collector cannot end it in
        # the middle of a launch either.
        kernel = owner()
        if kernel is None:
            return
        kernel._launch_more()
        del kernel
