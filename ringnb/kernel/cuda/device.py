"""Memory, copies and launches, on a GPU and in the simulator, behind one small seam.

A launch ends by itself after some time, and the next one, which was enqueued behind it, goes on. On a
GPU nothing here allocates, frees, loads a module or waits while the kernel lives: it would wait for all
launches that are enqueued, a quarter of a second. All that is done before the first or after the last.
Nor does anything here ``synchronize``; ``print`` in the kernel would show nothing before a launch's
end.

The GPU half follows the documentation of numba-cuda 0.30 and CUDA. It was not yet run on a device; the
tests run it, and the compiled kernel, on a card in software whose driver refuses what would wait.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any, final

import numpy as np

from ringnb.errors import BackendUnavailable
from ringnb.kernel.cuda.availability import load, why_unavailable
from ringnb.kernel.cuda.compile import kept
from ringnb.kernel.layout import Words

__all__ = ["LAUNCHES_AHEAD", "Device", "GpuDevice", "SimulatedDevice"]

LAUNCHES_AHEAD = 3  # at most: while one runs, two wait
_SWITCH_S = 1e-4
_SIMULATOR = "ringnb-cudasim"  # name of its threads


class Device(ABC):
    """Where the kernel's arrays lie and its blocks run.

    What allocates, frees, compiles or copies is called within `current`.
    """

    blocks_at_most: int
    """How many blocks of this kernel can be on the device together."""
    has_hosts_clock: bool
    """Whether what the kernel stamps is ``time.monotonic_ns()``."""

    @abstractmethod
    def compile(
        self,
        build: Callable[[], Callable[..., None]],
        key: Hashable,
        bound: int,
        threads: int,
        name: str | None = None,
    ) -> None:
        """Compile the kernel that `build` makes, if no kernel of this `key` was compiled before.

        For blocks of up to `bound` threads; they will have `threads`. For `name` see `kept`.
        """

    @abstractmethod
    def prepare(self, copies: int) -> None:
        """Make ready for this many copies at a time, before the launch."""

    @abstractmethod
    def current(self) -> contextlib.AbstractContextManager[object]:
        """Make it this thread's device for a while, whatever other code has chosen for the thread."""

    @abstractmethod
    def mapped(self, n: int) -> Any:
        """Return zeroed words that host and device both reach."""

    @abstractmethod
    def pinned(self, n: int) -> Words:
        """Return zeroed words of the host that the copy engine reaches."""

    @abstractmethod
    def words(self, content: Words) -> Any:
        """Return device memory that holds a copy of `content`."""

    @abstractmethod
    def empty(self, n: int) -> Any:
        """Return `n` words of zeroed device memory."""

    @abstractmethod
    def upload(self, target: Any, at: int, source: Words) -> Any:
        """Begin to copy pinned words to the device; return what `finished` takes."""

    @abstractmethod
    def download(self, source: Any, at: int, target: Words, event: int) -> Any:
        """Begin to copy device words to pinned memory; return what `finished` takes."""

    @abstractmethod
    def finished(self, copy: Any) -> bool:
        """Return whether a copy is done. Any thread."""

    @abstractmethod
    def prepare_launches(self, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Make ready to launch this grid, once."""

    @abstractmethod
    def launch(self) -> None:
        """Enqueue one launch behind those before, and return at once. One thread at a time."""

    @abstractmethod
    def launches_ahead(self) -> int:
        """Return how many launches have not ended; raise what ended the kernel. The launching thread."""

    @abstractmethod
    def runs_on_this_thread(self) -> bool:
        """Return whether this very thread is one of the kernel's."""

    @abstractmethod
    def ended(self) -> bool:
        """Return whether all launches have ended; raise what ended them, if anything did. Any thread."""

    @abstractmethod
    def release(self) -> None:
        """Undo what the launches held, after the last one's end."""


@final
class SimulatedDevice(Device):
    """Numba's simulator on a thread of this process; one block, all memory the host's."""

    has_hosts_clock = True

    def __init__(self) -> None:
        self._cuda = load(simulate=True)
        self.blocks_at_most = 1
        self._switch_s: float | None = None
        self._error: BaseException | None = None
        self._threads: deque[threading.Thread] = deque()

    def compile(
        self,
        build: Callable[[], Callable[..., None]],
        key: Hashable,  # noqa: ARG002 - a GPU keeps what it has compiled
        bound: int,  # noqa: ARG002 - nothing is compiled
        threads: int,
        name: str | None = None,  # noqa: ARG002 - as above
    ) -> None:
        """Wrap the kernel; there is nothing to compile."""
        self._kernel = self._cuda.jit(build())
        self._width = threads

    def prepare(self, copies: int) -> None:
        """Do nothing: copies are made at once."""

    def current(self) -> contextlib.AbstractContextManager[object]:
        """Do nothing: there is one."""
        return contextlib.nullcontext()

    def mapped(self, n: int) -> Any:
        """Return zeroed words."""
        return self.words(np.zeros(n, np.int64))

    def pinned(self, n: int) -> Words:
        """Return zeroed words."""
        return np.zeros(n, np.int64)

    def words(self, content: Words) -> Any:
        """Return a wrapped copy of `content`."""
        made = self._cuda.device_array(content.shape, np.int64)
        np.asarray(made)[...] = content
        return made

    def empty(self, n: int) -> Any:
        """Return zeroed words."""
        return self.mapped(n)

    def upload(self, target: Any, at: int, source: Words) -> Any:
        """Copy."""
        np.asarray(target)[at : at + len(source)] = source

    def download(self, source: Any, at: int, target: Words, event: int) -> Any:  # noqa: ARG002 - done at once
        """Copy."""
        target[...] = np.asarray(source)[at : at + len(target)]

    def finished(self, copy: Any) -> bool:  # noqa: ARG002 - done at once
        """Return True: copies are made at once."""
        return True

    def prepare_launches(self, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Keep what a launch needs."""
        self._blocks, self._arguments = blocks, arguments
        # The simulator's manager polls its threads under the interpreter's lock.
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)

    def launch(self) -> None:
        """Start a thread that runs the simulator once the thread before it has ended."""
        before = self._threads[-1] if self._threads else None

        def run() -> None:
            """Run one launch to its end."""
            if before is not None:
                before.join()
            try:
                if self._error is None:  # a card does nothing after a kernel that died
                    self._kernel[self._blocks, self._width](*self._arguments)
            except BaseException as error:  # noqa: BLE001 - `ended` raises it
                self._error = error

        thread = threading.Thread(target=run, name=_SIMULATOR, daemon=True)
        thread.start()
        self._threads.append(thread)

    def launches_ahead(self) -> int:
        """Count the threads that are there."""
        self.ended()
        # The last one stays: `launch` and `ended` want it.
        while len(self._threads) > 1 and not self._threads[0].is_alive():
            self._threads.popleft()
        return sum(thread.is_alive() for thread in self._threads)

    def runs_on_this_thread(self) -> bool:
        """Return whether this is a simulator's thread, or plays one of the kernel's."""
        from numba.cuda.simulator.kernel import BlockThread

        me = threading.current_thread()
        return me.name == _SIMULATOR or isinstance(me, BlockThread)

    def ended(self) -> bool:
        """Return whether the last thread has ended; each waits for the one before it."""
        if self._error is not None:
            raise self._error
        return not self._threads or not self._threads[-1].is_alive()

    def release(self) -> None:
        """Give the interpreter its switch interval back."""
        if self._switch_s is not None:
            sys.setswitchinterval(self._switch_s)


@final
class GpuDevice(Device):
    """The CUDA device of this number, of which `reserve` multiprocessors stay free."""

    has_hosts_clock = False

    def __init__(self, number: int = 0, reserve: int = 1) -> None:
        reason = why_unavailable(number)
        if reason is not None:
            msg = f"backend 'cuda' cannot be used here: {reason}; or use backend='cpu'"
            raise BackendUnavailable(msg)
        self._cuda = load(simulate=False)
        from cuda.core import Device as CoreDevice
        from cuda.core import StreamOptions

        self._number, self._reserve = number, reserve
        self._context = self._cuda.gpus[number].get_primary_context()
        with self.current():
            core = CoreDevice(number)
            core.set_current()  # it makes no stream before
            # Work on the NULL stream, and on what numba.cuda.stream() makes, would wait for the kernel:
            # so the streams are non-blocking, and every launch and copy names one.
            aside = StreamOptions(nonblocking=True)
            self._run, self._down, self._up = (core.create_stream(options=aside) for _ in range(3))
            self._make_event = core.create_event
            self._uploaded = core.create_event()
        self._events: dict[int, Any] = {}
        # One behind each launch that is enqueued, oldest first, and those that are free.
        self._ends: deque[Any] = deque()
        self._free_ends: deque[Any] = deque()
        self._held = contextlib.ExitStack()
        self.blocks_at_most = 0

    def compile(
        self,
        build: Callable[[], Callable[..., None]],
        key: Hashable,
        bound: int,
        threads: int,
        name: str | None = None,
    ) -> None:
        """Compile and load the kernel, before anything runs, or take one of before."""
        self._threads = threads
        with self.current():
            self._kernel = kept(self._cuda, build, (self._number, key), bound, name)
            (definition,) = self._kernel.overloads.values()
            self.blocks_at_most = definition.max_cooperative_grid_blocks(threads)
        # A card places blocks breadth first, one on each multiprocessor before a second on any. So only
        # a grid of fewer blocks than multiprocessors leaves some of them free, for copies and fills
        # that other streams make on the device, and for other kernels. Not yet tried on a device.
        if self._reserve > 0:
            processors = self._cuda.gpus[self._number].MULTIPROCESSOR_COUNT
            self.blocks_at_most = max(1, min(self.blocks_at_most, processors - self._reserve))

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make it this thread's device, and the one of before again."""
        # A thread that has chosen none would get the first device, one on which other code has chosen
        # another would keep that.
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def mapped(self, n: int) -> Any:
        """Return zeroed pinned words, mapped into the device's address space."""
        # Numba drops `portable` here; all threads use the one primary context, so nothing needs it.
        made = self._cuda.mapped_array(n, np.int64)
        np.asarray(made)[...] = 0
        return made

    def pinned(self, n: int) -> Words:
        """Return zeroed pinned words."""
        # A copy to or from pageable memory may wait for the kernel.
        made: Words = np.asarray(self._cuda.pinned_array(n, np.int64))
        made[...] = 0
        return made

    def words(self, content: Words) -> Any:
        """Return device memory that holds a copy of `content`; only before the launch."""
        made = self._cuda.to_device(content, stream=self._up)
        self._up.sync()
        return made

    def empty(self, n: int) -> Any:
        """Return zeroed device memory; only before the launch."""
        made = self._cuda.device_array(n, np.int64, stream=self._up)
        step = min(n, 1 << 20)
        zeros = self.pinned(step)
        for at in range(0, n, step):
            part = made[at : at + step]
            part.copy_to_device(zeros[: len(part)], stream=self._up)
        self._up.sync()
        return made

    def upload(self, target: Any, at: int, source: Words) -> Any:
        """Enqueue the copy on the stream of restores."""
        with self.current():
            target[at : at + len(source)].copy_to_device(source, stream=self._up)
            return self._up.record(self._uploaded)

    def download(self, source: Any, at: int, target: Words, event: int) -> Any:
        """Enqueue the copy on the stream of snapshots."""
        with self.current():
            source[at : at + len(target)].copy_to_host(target, stream=self._down)
            return self._down.record(self._events[event])

    def prepare(self, copies: int) -> None:
        """Make one event per staging buffer."""
        self._events = {i: self._make_event() for i in range(copies)}

    def finished(self, copy: Any) -> bool:
        """Ask the event; never wait for it."""
        # Not Numba's event: it logs an error whenever the answer is no.
        return bool(copy.is_done)

    def prepare_launches(self, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Choose the grid and its stream, and make the events behind the launches."""
        # To free memory, as the garbage collector does, would wait for the kernel: Numba puts it off.
        self._held.enter_context(self._cuda.defer_cleanup())
        from numba.cuda.core.errors import NumbaPerformanceWarning

        with warnings.catch_warnings():
            # It warns of grids below 128 blocks, which is what small actors need.
            warnings.simplefilter("ignore", NumbaPerformanceWarning)
            self._configured = self._kernel[blocks, self._threads, self._run]
        # All arguments lie on the device or are mapped: Numba would copy others back after the launch.
        self._arguments = arguments
        self._free_ends.extend(self._make_event() for _ in range(LAUNCHES_AHEAD + 1))

    def launch(self) -> None:
        """Enqueue the launch and an event behind it."""
        # Of those that are free the one that ended first: a thread that asks `ended` may hold the last.
        end = self._free_ends.popleft()
        with self.current():
            self._configured(*self._arguments)
            self._run.record(end)
        self._ends.append(end)

    def launches_ahead(self) -> int:
        """Ask the events behind the launches."""
        while len(self._ends) > 1 and self._ends[0].is_done:
            self._free_ends.append(self._ends.popleft())
        return len(self._ends) - self.ended()

    def runs_on_this_thread(self) -> bool:
        """Return False: they are the card's."""
        return False

    def ended(self) -> bool:
        """Ask the event behind the last launch; a kernel that crashed raises here."""
        return not self._ends or bool(self._ends[-1].is_done)

    def release(self) -> None:
        """Let Numba free again."""
        self._held.close()
