"""However a CUDA kernel's life ends, nothing of it is left. In the simulator, threads for a grid."""

from __future__ import annotations

import gc
import os
import sys
import textwrap
import threading
import time
import warnings
import weakref

import pytest
from waiting import until

import ringnb as rn
from ringnb._support.children import run_python
from ringnb.errors import KernelStopped
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.messages.commands import Command
from ringnb.session.crank import Crank
from ringnb.testing.kernels import Mixer

pytest.importorskip("numba_cuda")

SHAPE = (5, 7)
_HOOKS = []  # called once each, by the thread of the kernel that updates a cell


# Threads of other tests in this process, such as the pools of a hosted run, which stay.
_EARLIER = weakref.WeakSet()


@pytest.fixture(autouse=True, scope="module")
def _earlier():
    _EARLIER.update(threading.enumerate())


def leftovers():
    """Names of the threads that a kernel or a session has started."""
    return [
        t.name
        for t in threading.enumerate()
        if (t.name.startswith("ringnb") or type(t).__name__ == "BlockThread") and t not in _EARLIER
    ]


def launched(actor=None, **options):
    kernel = CudaKernel([actor or Mixer(SHAPE)], simulate=True, **options)
    kernel.launch()
    KernelClient(kernel).call(0, Command.RESUME)
    return kernel


def opened(storage="memory://cuda-life", **options):
    storage = rn.ZarrStorage(storage)
    return rn.Session(Mixer(SHAPE), backend="cudasim", storage=storage, **options)


@pytest.fixture(autouse=True)
def _nothing_before_and_after():
    switch_s = sys.getswitchinterval()
    assert leftovers() == []
    yield
    until(lambda: leftovers() == [])
    until(lambda: sys.getswitchinterval() == switch_s)  # by a thread that waited for these


@pytest.fixture
def copied(monkeypatch):
    """Have snapshots copied that are small enough to do without."""
    monkeypatch.setattr("ringnb.kernel.cuda.layout.STRAIGHT_BYTES", 0)


def test_close_ends_a_busy_kernel():
    session = opened()
    session.run_steps(0, 2**40, wait=False)
    began = time.monotonic()
    session.close()
    assert time.monotonic() - began < 20
    assert leftovers() == []
    with pytest.raises(KernelStopped, match="the session was closed"):
        session.current_step(0)
    session.close()


def test_an_exception_in_the_block_ends_the_kernel_and_is_the_one_raised():
    with pytest.raises(ZeroDivisionError):
        with opened() as session:
            session.resume()
            raise ZeroDivisionError
    assert session.closed
    assert leftovers() == []


def test_an_exception_in_an_update_is_told_to_the_next_call():
    def update(now, before, params, step, y, x):
        before[0, y, x] = now[0, y, x + 100 * (step // 3)]  # what is tried are the first steps

    actor = rn.actors.CellActor(update, SHAPE)
    with pytest.raises(KernelStopped, match=r"CUDA kernel died: IndexError: .*out of bounds"):
        with rn.Session(
            actor, backend="cudasim", storage=rn.ZarrStorage("memory://cuda-died")
        ) as session:
            session.run_steps(0, 5, timeout=60)


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("call", ["download", "finished", "upload", "record of the end"])
def test_whichever_call_first_finds_the_card_dead_the_next_call_tells_it_and_close_returns(
    monkeypatch, call
):
    """The services of the session meet a dead card in their copies as often as in asking for its end."""

    def dead(*_):
        raise RuntimeError("Call to cuAnything results in CUDA_ERROR_ILLEGAL_ADDRESS")

    session = opened()
    name = session.snapshot(0)
    monkeypatch.setattr(
        session.kernel._device, "ended" if call == "record of the end" else call, dead
    )
    with pytest.raises(KernelStopped, match=r"CUDA_ERROR_ILLEGAL_ADDRESS.*restart it first"):
        if call == "upload":
            session.restore(0, name)
        session.snapshot(0)
    with pytest.raises(KernelStopped, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        session.run_steps(0, 1)
    session.close()
    assert session.closed


def _refused(*_):
    raise RuntimeError("an event of another context")


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("service", [True, False], ids=["service", "by hand"])
@pytest.mark.parametrize(
    ("call", "broken", "told"),
    [
        (
            "finished",
            lambda _: False,
            r"staging buffer \d of lane 0 to the host took more than 0.05 s",
        ),
        ("finished", _refused, "RuntimeError: an event of another context"),
        ("download", _refused, "RuntimeError: an event of another context"),
    ],
    ids=["never done", "cannot be asked", "cannot be begun"],
)
def test_a_copy_that_fails_or_is_never_done_stops_the_kernel_with_the_reason(
    monkeypatch, call, broken, told, service
):
    monkeypatch.setattr("ringnb.kernel.cuda.memory._COPY_TIMEOUT_S", 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a "will be retried" of a kernel that is lost
        with opened(service=service) as session:
            monkeypatch.setattr(session.kernel._device, call, broken)
            with pytest.raises(KernelStopped, match=told):
                session.snapshot(0, timeout=60)
            with pytest.raises(KernelStopped, match=told):
                session.run_steps(0, 1)
            assert not session.kernel.alive


def test_a_kernel_that_cannot_start_leaves_nothing_and_may_be_tried_anew(monkeypatch):
    kernel = CudaKernel([Mixer(SHAPE)], simulate=True)

    def refuse(*_):
        raise RuntimeError("no room on the card")

    monkeypatch.setattr(kernel._device, "launch", refuse)
    with pytest.raises(RuntimeError, match="no room"):
        kernel.launch()
    assert not kernel.alive
    with pytest.raises(KernelStopped, match="launched once"):
        kernel.launch()
    launched().stop()


@pytest.mark.parametrize("cyclic", [False, True])
def test_a_kernel_that_nobody_holds_ends(cyclic):
    kernel = launched()
    if cyclic:
        kernel.itself = kernel  # weak references die before such a one is finalised
    gone = weakref.ref(kernel)
    del kernel
    gc.collect()
    assert gone() is None
    until(lambda: leftovers() == [])


def test_a_session_that_nobody_holds_ends():
    session = opened()
    session.resume()
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None
    until(lambda: leftovers() == [])


def _meddle(now, before, params, step, y, x):
    if _HOOKS:
        _HOOKS.pop()()
    before[0, y, x] = now[0, y, x]


def test_a_collector_on_the_kernels_own_thread_ends_it_without_waiting_for_itself():
    kernel = launched(rn.actors.CellActor(_meddle, SHAPE))
    kernel.itself = kernel
    seen = []

    def collect():
        began = time.monotonic()
        gc.collect()
        seen.append((gone(), time.monotonic() - began))

    gone = weakref.ref(kernel)
    del kernel
    _HOOKS.append(collect)
    until(lambda: leftovers() == [])
    ((found, took_s),) = seen
    assert found is None
    assert took_s < 2


@pytest.mark.usefixtures("copied")
def test_a_collector_inside_a_fetch_may_give_a_buffer_back():
    """A snapshot that is finalised there must find no lock that its own thread holds."""
    kernel = launched()
    try:
        client = KernelClient(kernel)
        client.call(0, Command.PAUSE)
        first = client.call(0, Command.SNAPSHOT).value
        fetch = kernel._arrays.fetch

        def fetch_and_collect(lane, index, slot):
            kernel.release_staging(lane, first)
            fetch(lane, index, slot)

        kernel._arrays.fetch = fetch_and_collect
        second = client.call(0, Command.SNAPSHOT, timeout_s=10).value
        assert kernel.statistics().staging_taken == (1,)
        kernel.release_staging(0, second)
    finally:
        kernel.stop()


def test_a_kernel_is_stopped_while_it_stands_between_two_launches():
    kernel = launched(launch_s=0.005)
    kernel.hold_launches()
    assert KernelClient(kernel).wait_until(lambda: kernel.idle, 60)
    kernel.stop()
    assert leftovers() == []


def test_a_launch_that_fails_later_is_told_to_the_next_call(monkeypatch):
    kernel = launched(launch_s=0.005)

    def refuse():
        raise RuntimeError("CUDA_ERROR_LAUNCH_FAILED")

    monkeypatch.setattr(kernel._device, "launch", refuse)
    with pytest.raises(KernelStopped, match=r"CUDA kernel died: CUDA_ERROR_LAUNCH_FAILED"):
        KernelClient(kernel).wait_until(lambda: False, 60)
    kernel.stop()


def test_the_crank_turns_a_simulated_kernel(tmp_path):
    config = rn.CheckpointConfig(interval=3600, max_snapshots=1, storage_path=tmp_path / "s.zarr")
    with rn.Session(Mixer(SHAPE), backend="cudasim", config=config, service=False) as session:
        session.resume()
        crank = Crank(session)
        statistics = session.kernel.statistics
        depths = []
        while len(session.storage.list()) == 0 or crank.position != "idle":
            crank.turn()
            now = statistics()
            depths.append((now.h2k_depth[0], now.staging_taken[0], now.k2h_depth[0]))
            if crank.position == "in staging":
                stands = session.current_step(0)
        assert depths[:5] == [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 1, 1), (0, 1, 0)]
        (name,) = session.storage.list()
        assert session.storage.load(name).step == stands
        assert session.run_steps(0, 1) > stands


def script(body, *arguments, before=""):
    """Run a script with a free running session in a fresh interpreter, and time it."""
    prelude = """
        import gc, os, signal, sys, threading, time
        import ringnb as rn
        from ringnb.testing.kernels import Mixer
        config = rn.CheckpointConfig(interval=0.01, storage_path=sys.argv[1])
        s = rn.Session(Mixer((5, 7)), backend="cudasim", config=config)
        s.resume()
    """
    code = "".join(map(textwrap.dedent, (before, prelude, body)))
    return run_python("-W", "ignore::DeprecationWarning", "-c", code, *arguments, timeout=60)


def test_a_script_that_never_closes_exits_promptly_and_loses_nothing(tmp_path):
    before = """
        import atexit, time
        import ringnb.kernel.cuda.kernel, ringnb.session.session
        # Registered later than those modules were imported, as finalisers of memory may be: called
        # after the session and its kernel are gone nevertheless.
        atexit.register(lambda: print(s.closed, s.kernel.alive, time.monotonic() - begun < 20))
    """
    body = """
        name = s.snapshot(0).name
        print(name.startswith("checkpoint_0_step_"))
        begun = time.monotonic()
    """
    done = script(body, tmp_path / "s.zarr", before=before)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "True\nTrue False True\n"
    storage = rn.ZarrStorage(tmp_path / "s.zarr")
    assert storage.list()
    for name in storage.list():
        storage.load(name).verify()
    storage.close()


def test_ctrl_c_ends_run_steps_the_kernel_and_the_process(tmp_path):
    body = """
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        begun = time.monotonic()
        try:
            s.run_steps(0, 2**40)
        except KeyboardInterrupt:
            c = s.counters(0)
            print(time.monotonic() - begun < 20, c.running, c.budget)
            raise
    """
    done = script(body, tmp_path / "s.zarr")
    assert done.returncode in (1, 130, -2)
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert done.stdout == "True False 0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_closes_at_once_and_the_parent_goes_on(tmp_path):
    body = """
        # As unlucky as a fork can be: other threads hold what the child would wait for.
        held = [s.manager._lock, s._client._pump, s._client._arrived]
        ready, done = threading.Event(), threading.Event()
        def hold():
            for lock in held:
                lock.acquire()
            ready.set()
            done.wait()
            for lock in reversed(held):
                lock.release()
        holder = threading.Thread(target=hold)
        holder.start()
        ready.wait()
        pid = os.fork()
        if pid == 0:
            for call in (lambda: s.current_step(0), lambda: s.run_steps(0, 1), s.snapshot):
                try:
                    call(0) if call == s.snapshot else call()
                except rn.KernelStopped as error:
                    print(error, flush=True)
            s.close()
            sys.exit(0)
        done.set()
        holder.join()
        until = time.monotonic() + 60
        while (found := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < until:
            time.sleep(0.01)
        if found[0] == 0:
            os.kill(pid, signal.SIGKILL)
        before = s.current_step(0)
        while s.current_step(0) == before:
            time.sleep(0.001)
        print("child", found[1] if found[0] else "hung")
        s.close()
    """
    done = script(body, tmp_path / "s.zarr")
    assert done.returncode == 0, done.stderr
    *told, child = done.stdout.splitlines()
    assert child == "child 0"
    assert len(told) == 3
    assert all("forked" in line and "threads do not survive" in line for line in told)
