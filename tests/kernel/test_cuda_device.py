"""The host's half of a run on a GPU, over a card that is played by the simulator and watches every call.

Each trap that would make one wait for the other is a rule here: while the kernel lives, nothing is
allocated, freed, loaded or synchronised; copies go between device and pinned memory, on streams that do
not wait for the NULL stream; a launch gets nothing that lies on the host; and whatever device other
code has chosen for a thread, all goes to the kernel's.
"""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

import ringnb as rn
from ringnb.errors import KernelStopped
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cuda import compile as cuda_compile
from ringnb.kernel.cuda import device as cuda_device
from ringnb.kernel.cuda.availability import load
from ringnb.kernel.cuda.clock import DeviceClock
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.messages.commands import Command
from ringnb.testing.kernels import Mixer, advance, captured, restored, running

pytest.importorskip("numba_cuda")
pytest.importorskip("cuda.core")

SHAPE = (5, 7)
ELSEWHERE_NS = 10**15  # how far ahead the card's clock is


class Card:
    """What `numba.cuda` and `cuda.core` are to `GpuDevice`; a broken rule is kept, to be looked at."""

    def __init__(self, simulator):
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

        card = self
        self.simulator = simulator
        self.broken = []
        self.log = []
        self.pinned = []
        self.threads = []
        self.chosen = threading.local()
        self.cleanup_held = False
        self.memory_needed = []

        class Array(FakeCUDAArray):
            """Memory of the card."""

            def __getitem__(self, index):
                part = self._ary[index]
                return Array(part) if isinstance(part, np.ndarray) else part

            def copy_to_device(self, source, stream=0):
                card.copies(source, stream)
                self._ary[...] = source

            def copy_to_host(self, target, stream=0):
                card.copies(target, stream)
                target[...] = self._ary
                return target

        self.array = Array

    def rule(self, holds, what):
        if not holds:
            self.broken.append(what)

    @property
    def alive(self):
        return bool(self.threads) and self.threads[-1].is_alive()

    def here(self, what):
        self.rule(getattr(self.chosen, "depth", 0) > 0, f"{what} on the device that the thread has")

    def copies(self, host, stream):
        self.log.append("copy")
        self.here("a copy")
        self.rule(isinstance(stream, Stream), "a copy on the NULL stream, or a blocking one")
        inside = any(np.shares_memory(host, block) for block in self.pinned)
        self.rule(inside or not self.alive, "a copy of memory that is not pinned")

    def allocate(self, array, what):
        self.here(what)
        self.rule(not self.alive, f"{what} allocated while the kernel lives")

        def freed():
            self.rule(not self.alive, f"{what} freed while the kernel lives")

        weakref.finalize(array, freed).atexit = False
        return array

    # -- numba.cuda --------------------------------------------------------------------------------

    def mapped_array(self, n, dtype):
        block = np.full(n, 77, dtype)
        self.pinned.append(block)  # it is that, too
        return self.allocate(self.array(block), "mapped memory")

    def pinned_array(self, n, dtype):
        block = np.full(n, 77, dtype)
        self.pinned.append(block)
        return self.allocate(block.view(), "pinned memory")

    def to_device(self, content, stream=0):
        self.rule(isinstance(stream, Stream), "an upload on the NULL stream")
        return self.allocate(self.array(content.copy()), "device memory")

    def device_array(self, n, dtype, stream=0):
        self.rule(isinstance(stream, Stream), "an allocation on the NULL stream")
        return self.allocate(self.array(np.full(n, 77, dtype)), "device memory")

    @property
    def gpus(self):
        return [None, SimpleNamespace(get_primary_context=lambda: self, MULTIPROCESSOR_COUNT=1)]

    def push(self):
        self.chosen.depth = getattr(self.chosen, "depth", 0) + 1

    def pop(self):
        self.chosen.depth -= 1

    @contextlib.contextmanager
    def defer_cleanup(self):
        self.cleanup_held = True
        yield
        self.rule(not self.alive, "frees allowed while the kernel lives")
        self.cleanup_held = False

    def jit(self, body, **options):
        self.rule(
            options.get("debug") is False, "debug: an error code is read back after the launch"
        )
        self.rule(options.get("lto") is False, "not the PTX that was checked")
        return Kernel(self, body)

    def __getattr__(self, name):
        raise AssertionError(f"numba.cuda.{name} is not for use beside a kernel that lives")


class Kernel:
    def __init__(self, card, body):
        self.card, self.kernel = card, card.simulator.jit(body)
        per_card = SimpleNamespace(max_cooperative_grid_blocks=lambda threads: 1)
        self.overloads = {(): per_card}

    def compile(self, signature):
        self.compiled = True

    def __getitem__(self, configuration):
        self.card.rule(self.compiled, "compiled at its first launch")
        from numba.cuda.core.errors import NumbaPerformanceWarning

        warnings.warn(NumbaPerformanceWarning("a small grid"), stacklevel=2)
        blocks, _, stream = configuration
        self.card.rule(isinstance(stream, Stream), "a launch on the NULL stream")

        def launch(*arguments):
            card = self.card
            card.rule(card.cleanup_held, "Numba may free while the kernel lives")
            on_card = all(isinstance(a, card.array) for a in arguments)
            card.rule(on_card, "an argument on the host is copied back after the launch")
            card.here("a launch")
            before = card.threads[-1:]

            def body():
                for thread in before:
                    thread.join()
                self.kernel[blocks, 2](*arguments)

            card.threads.append(threading.Thread(target=body, name="ringnb-cudasim", daemon=True))
            card.threads[-1].start()
            card.log.append("launch")

        return launch


class Stream:
    """A non-blocking stream, as `cuda.core` makes them."""

    def __init__(self, card, options):
        self.card = card
        card.rule(options.nonblocking, "a stream that waits for the NULL stream")

    def sync(self):
        self.card.rule(not self.card.alive, "a stream synchronised while the kernel lives")

    def record(self, event):
        event.left = 3  # polls until a copy is done
        event.end = self.card.threads[-1] if self.card.log[-1:] == ["launch"] else None
        self.card.log.append("record")
        return event


class Event:
    def __init__(self, card):
        self.card, self.left, self.end = card, 0, None

    @property
    def is_done(self):
        if self.end:
            return not self.end.is_alive()
        self.left -= 1
        return self.left < 0


def on_card(actors, **options):
    return CudaKernel(actors, device=1, **options)


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(cuda_compile, "_compiled", {})  # by another test's card
    made = Card(load(simulate=True))
    from ringnb.kernel.cuda import intrinsics

    core = SimpleNamespace(
        set_current=lambda: made.here("a stream"),
        create_stream=lambda options: Stream(made, options),
        create_event=lambda: Event(made),
    )
    monkeypatch.setattr("cuda.core.Device", {1: core}.__getitem__)
    monkeypatch.setattr(cuda_device, "load", lambda simulate: made)
    monkeypatch.setattr(cuda_device, "why_unavailable", {1: None}.__getitem__)
    monkeypatch.setattr(cuda_compile, "ieee_arithmetic", contextlib.nullcontext)
    now_ns = intrinsics.now_ns
    monkeypatch.setattr(intrinsics, "now_ns", lambda: now_ns() + ELSEWHERE_NS)
    return made


def test_a_run_breaks_none_of_the_rules_and_its_states_are_right(card):
    kernel = on_card([Mixer(SHAPE)], launch_s=0.02)
    assert kernel.name == "cuda"
    with running(kernel) as client:
        start = Mixer(SHAPE).start(0)
        client.call(0, Command.RUN_STEPS, (20,))
        assert client.wait_until(lambda: kernel.counters(0).step == 20, 60)
        state, _ = captured(client, 0)
        np.testing.assert_array_equal(state, advance(start, 0, 20))
        restored(client, 0, start, 3, 7)
        client.call(0, Command.RUN_STEPS, (4,))
        assert client.wait_until(lambda: kernel.counters(0).step == 7, 60)
        np.testing.assert_array_equal(captured(client, 0)[0], advance(start, 3, 4))
        client.call(0, Command.RESUME)
        assert card.cleanup_held
        assert client.wait_until(lambda: kernel.launches > 3, 60)
    assert not card.alive
    assert not card.cleanup_held
    assert card.log.count("launch") == kernel.launches
    assert card.broken == []


def test_stamps_come_on_the_hosts_clock_and_never_too_late(card):
    kernel = on_card([Mixer(SHAPE)])
    with running(kernel) as client:
        for _ in range(5):
            called_ns = time.monotonic_ns()
            reply = client.call(0, Command.SNAPSHOT)
            received_ns = time.monotonic_ns()
            assert reply.stamp_ns > ELSEWHERE_NS
            _, facts = kernel.staged(0, reply.value, 0)
            assert facts.begin_ns <= facts.end_ns <= received_ns
            assert facts.begin_ns > called_ns - 10**9
            kernel.release_staging(0, reply.value)
    assert card.broken == []


def test_a_card_that_fails_is_told_and_can_be_closed(card):
    kernel = on_card([Mixer(SHAPE)])
    kernel.launch()

    class Broken:
        @property
        def is_done(self):
            raise RuntimeError("an illegal memory access was encountered")

    kernel._device._ends.append(Broken())
    client = KernelClient(kernel)
    with pytest.raises(KernelStopped, match="CUDA kernel died: RuntimeError: an illegal memory"):
        client.wait_until(lambda: False, 60)
    began = time.monotonic()
    kernel.release_staging(0, 0)  # asks a dead card nothing
    kernel.stop()
    assert time.monotonic() - began < 10
    card.threads[-1].join(60)
    assert not card.alive


def test_a_grid_that_does_not_fit_is_refused_with_the_cards_size(card):
    with pytest.raises(
        ValueError, match=r"1 lanes of 2 blocks are 2 blocks of 64 threads.* may be 1 .*reserve=0"
    ):
        on_card([Mixer(SHAPE)], width=2, threads=64)
    with pytest.raises(ValueError, match=r"threads must lie in 32\.\.1024"):
        on_card([Mixer(SHAPE)], threads=16)


@pytest.mark.parametrize("reserve", [0, 2])
@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("width", [None, 1, 3])
def test_the_grid_is_what_was_asked_for_or_what_the_largest_actor_can_use(
    card, monkeypatch, lanes, width, reserve
):
    """With a reserve there is one block on each of the other multiprocessors."""
    monkeypatch.setattr(
        Kernel,
        "__init__",
        lambda self, card, body: vars(self).update(
            card=card,
            kernel=None,
            overloads={(): SimpleNamespace(max_cooperative_grid_blocks=lambda threads: 132)},
        ),
    )
    processors = SimpleNamespace(get_primary_context=lambda: card, MULTIPROCESSOR_COUNT=66)
    monkeypatch.setattr(Card, "gpus", [None, processors])
    big = on_card([Mixer((64, 256))] * 2, lanes=lanes, width=width, threads=32, reserve=reserve)
    most = 132 if reserve == 0 else 64
    blocks = min(most // lanes, 128) if width is None else width
    assert big.statistics().width == blocks
    assert big._grid == lanes * blocks


@pytest.mark.parametrize(("shape", "threads"), [((5, 7), 32), ((64, 64), 512)])
def test_a_small_actor_has_a_small_block(card, shape, threads):
    kernel = on_card([Mixer(shape)])
    assert kernel._device._threads == threads
    assert kernel.statistics().width == 1


def test_what_was_compiled_serves_the_next_kernel_of_the_same_code(card, monkeypatch):
    made = []
    jit = card.jit
    monkeypatch.setattr(
        card, "jit", lambda *given, **options: made.append(1) or jit(*given, **options)
    )

    def add(by):
        def update(now, before, params, step, x):
            before[0, x] = now[0, x] + by

        return rn.actors.CellActor(update, (8,), kernel_type="add")

    on_card([add(1.0)], threads=64)
    on_card([add(1.0)] * 3, threads=64)
    assert len(made) == 1
    on_card([add(2.0)], threads=64)  # the same text, but it refers to another number
    on_card([add(1.0)], threads=32)  # and bounds are compiled in
    assert len(made) == 3


class TestClock:
    def test_the_largest_difference_seen_counts_and_ages(self):
        now = [1000]
        clock = DeviceClock(1, lambda: now[0])

        def exchange(at, stamp, until):
            now[0] = at
            clock.sending(0)
            now[0] = until
            clock.answered(0, stamp)

        exchange(1000, 51_050, 1100)  # the device is 50,000 ahead; 50 on the way there
        assert clock.on_host(51_050) == 1000
        exchange(2000, 52_010, 2100)
        assert clock.on_host(51_050) == 1040
        exchange(3000, 53_900, 4000)  # a slow answer says less
        assert clock.on_host(51_050) == 1040
        exchange(10_000_000, 10_051_900, 10_002_000)  # a thousandth of a drift is possible since
        assert clock.on_host(51_050) == 1040 - 999

    def test_a_full_ring_takes_back_what_was_not_sent(self):
        now = iter([1, 2, 3, 4])
        clock = DeviceClock(2, lambda: next(now))
        clock.sending(1)
        clock.sending(1)
        clock.not_sent(1)
        clock.answered(1, 101)
        assert clock.on_host(101) == 1
