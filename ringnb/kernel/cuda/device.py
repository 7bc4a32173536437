"""Memory, copies and the launch, on a GPU and in the simulator, behind one small seam.

On a GPU nothing here allocates, frees, loads a module or waits while the kernel lives: it would wait for
the kernel, which waits for the host. All that is done before the launch or after the end. Nor does
anything here ``synchronize``; ``print`` in the kernel would show nothing before its end.

The GPU half follows the documentation of numba-cuda 0.30 and CUDA. It was not yet run on a device; the
tests run it, and the compiled kernel, on a card in software whose driver refuses what would wait.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any, final

import numpy as np

from ringnb.errors import BackendUnavailable
from ringnb.kernel.cuda.availability import load, why_unavailable
from ringnb.kernel.cuda.compile import kept
from ringnb.kernel.layout import Words

__all__ = ["Device", "GpuDevice", "SimulatedDevice"]

_SWITCH_S = 1e-4


class Device(ABC):
    """Where the kernel's arrays lie and its blocks run."""

    blocks_at_most: int
    """How many blocks of this kernel can be on the device together."""
    has_hosts_clock: bool
    """Whether what the kernel stamps is ``time.monotonic_ns()``."""

    @abstractmethod
    def compile(
        self, build: Callable[[], Callable[..., None]], key: Hashable, threads: int
    ) -> None:
        """Compile the kernel that `build` makes, if no kernel of this `key` was compiled before."""

    @abstractmethod
    def prepare(self, copies: int) -> None:
        """Make ready for this many copies at a time, before the launch."""

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
    def launch(self, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Start the kernel and return at once."""

    @abstractmethod
    def runs_on_this_thread(self) -> bool:
        """Return whether this very thread is one of the kernel's."""

    @abstractmethod
    def ended(self) -> bool:
        """Return whether the kernel has ended, or was never launched; raise what ended it, if any."""

    @abstractmethod
    def release(self) -> None:
        """Undo what the launch held, after the end."""


@final
class SimulatedDevice(Device):
    """Numba's simulator on a thread of this process; one block, all memory the host's."""

    has_hosts_clock = True

    def __init__(self) -> None:
        self._cuda = load(simulate=True)
        self.blocks_at_most = 1
        self._switch_s: float | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def compile(
        self,
        build: Callable[[], Callable[..., None]],
        key: Hashable,  # noqa: ARG002 - a GPU keeps what it has compiled
        threads: int,
    ) -> None:
        """Wrap the kernel; there is nothing to compile."""
        self._kernel = self._cuda.jit(build())
        self._threads = threads

    def prepare(self, copies: int) -> None:
        """Do nothing: copies are made at once."""

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

    def launch(self, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Start a thread that runs the simulator."""

        def run() -> None:
            """Run the kernel to its end."""
            try:
                self._kernel[blocks, self._threads](*arguments)
            except BaseException as error:  # noqa: BLE001 - `ended` raises it
                self._error = error

        # The simulator's manager polls its threads under the interpreter's lock.
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        self._thread = threading.Thread(target=run, name="ringnb-cudasim", daemon=True)
        self._thread.start()

    def runs_on_this_thread(self) -> bool:
        """Return whether this is the simulator's thread, or plays one of the kernel's."""
        from numba.cuda.simulator.kernel import BlockThread

        me = threading.current_thread()
        return me is self._thread or isinstance(me, BlockThread)

    def ended(self) -> bool:
        """Return whether the thread has ended."""
        if self._error is not None:
            raise self._error
        return self._thread is None or not self._thread.is_alive()

    def release(self) -> None:
        """Give the interpreter its switch interval back."""
        if self._switch_s is not None:
            sys.setswitchinterval(self._switch_s)


@final
class GpuDevice(Device):
    """The current CUDA device."""

    has_hosts_clock = False

    def __init__(self) -> None:
        reason = why_unavailable()
        if reason is not None:
            msg = f"backend 'cuda' cannot be used here: {reason}; or use backend='cpu'"
            raise BackendUnavailable(msg)
        self._cuda = load(simulate=False)
        from cuda.core import Device as CoreDevice
        from cuda.core import StreamOptions

        self._core = core = CoreDevice()
        core.set_current()
        # Work on the NULL stream, and on what numba.cuda.stream() makes, would wait for the kernel: so
        # the streams are non-blocking, and the launch and every copy name one.
        aside = StreamOptions(nonblocking=True)
        self._run, self._down, self._up = (core.create_stream(options=aside) for _ in range(3))
        self._make_event = core.create_event
        self._events: dict[int, Any] = {}
        self._end, self._uploaded = core.create_event(), core.create_event()
        self._launched = False
        self._held = contextlib.ExitStack()
        self.blocks_at_most = 0

    def compile(
        self, build: Callable[[], Callable[..., None]], key: Hashable, threads: int
    ) -> None:
        """Compile and load the kernel, before anything runs, or take one of before."""
        self._threads = threads
        self._kernel = kept(self._cuda, build, (self._core.device_id, key), threads)
        (definition,) = self._kernel.overloads.values()
        per_card = definition.max_cooperative_grid_blocks(threads)
        device = self._cuda.get_current_device()
        # One multiprocessor stays free: fills and copies that other streams make on the device may need
        # one. Whether they do is not yet tried on a device.
        spare = per_card // device.MULTIPROCESSOR_COUNT
        self.blocks_at_most = max(1, per_card - spare)

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
        target[at : at + len(source)].copy_to_device(source, stream=self._up)
        return self._up.record(self._uploaded)

    def download(self, source: Any, at: int, target: Words, event: int) -> Any:
        """Enqueue the copy on the stream of snapshots."""
        source[at : at + len(target)].copy_to_host(target, stream=self._down)
        return self._down.record(self._events[event])

    def prepare(self, copies: int) -> None:
        """Make one event per staging buffer."""
        self._events = {i: self._make_event() for i in range(copies)}

    def finished(self, copy: Any) -> bool:
        """Ask the event; never wait for it."""
        # Not Numba's event: it logs an error whenever the answer is no.
        return bool(copy.is_done)

    def launch(self, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Enqueue the one launch."""
        # To free memory, as the garbage collector does, would wait for the kernel: Numba puts it off.
        self._held.enter_context(self._cuda.defer_cleanup())
        from numba.cuda.core.errors import NumbaPerformanceWarning

        with warnings.catch_warnings():
            # It warns of grids below 128 blocks, which is what small actors need.
            warnings.simplefilter("ignore", NumbaPerformanceWarning)
            configured = self._kernel[blocks, self._threads, self._run]
        self._launched = True
        # All arguments lie on the device or are mapped: Numba would copy others back after the launch.
        configured(*arguments)
        self._run.record(self._end)

    def runs_on_this_thread(self) -> bool:
        """Return False: they are the card's."""
        return False

    def ended(self) -> bool:
        """Ask the event behind the launch; a kernel that crashed raises here."""
        return not self._launched or bool(self._end.is_done)

    def release(self) -> None:
        """Let Numba free again."""
        self._held.close()
