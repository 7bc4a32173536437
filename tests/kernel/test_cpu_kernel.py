"""The CPU kernel: the contract of all kernels, and what is its own (threads, idling, forks, exit)."""

from __future__ import annotations

import itertools
import os
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from waiting import until

from ringnb._support.children import run_python
from ringnb.actors import Life, Wave2D
from ringnb.errors import BackendUnavailable, CommandRefused, KernelStopped
from ringnb.kernel import layout
from ringnb.kernel.base import Gate, QueueFull
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cpu import compile as compiling
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.kernel.cpu.leader import run_leader, take_steps
from ringnb.kernel.cpu.team import run_member
from ringnb.kernel.ring import store_word
from ringnb.messages.commands import Command
from ringnb.testing.kernels import KernelTests, Mixer, advance, captured, restored, running


class TestCpuKernel(KernelTests):
    def make(self, actors, **options):
        return CpuKernel(actors, **options)


def kernel_of(shape=(16, 16), **options):
    return CpuKernel([Mixer(shape)], **options)


def launched(**options):
    kernel = kernel_of(**options)
    kernel.launch()
    return kernel


def wait_asleep(kernel):
    until(lambda: all(kernel.statistics().asleep))


@pytest.mark.parametrize("width", [1, 3])
def test_an_idle_kernel_sleeps_and_wakes(width):
    kernel = kernel_of(width=width)
    with running(kernel) as client:
        client.call(0, Command.RUN_STEPS, (10,))
        wait_asleep(kernel)
        begin = time.process_time()
        loops = kernel.statistics().loops
        time.sleep(0.3)
        assert time.process_time() - begin < 0.02 * 0.3 + 0.01
        assert kernel.statistics().loops[0] - loops[0] < 30
        assert client.call(0, Command.HEARTBEAT).step == 10
        target = client.call(0, Command.RUN_STEPS, (30,)).value  # members wake up too
        assert client.wait_until(lambda: kernel.counters(0).step == target, 60)
        np.testing.assert_array_equal(
            captured(client, 0)[0], advance(Mixer((16, 16)).start(0), 0, 40)
        )


def test_wait_is_ended_by_wake_and_by_a_reply():
    kernel = kernel_of()
    with running(kernel):
        wait_asleep(kernel)
        kernel.wake()
        assert kernel.wait(5.0) is False  # woken, nothing there
        kernel.push_nowait(0, Command.HEARTBEAT, 1, 0)
        assert kernel.wait(5.0) is True


def test_a_burst_of_commands_is_carried_out_between_two_slices():
    """Else each few of them wait for a slice, and on a busy machine for this thread to come again."""
    kernel = kernel_of()
    with running(kernel) as client:
        client.call(0, Command.RESUME)
        kernel.set_gate(0, Gate.COMMANDS)
        waiting = [client.submit(0, Command.RESUME) for _ in range(layout.RING_CAPACITY)]
        before = kernel.counters(0).step
        assert client.wait_until(lambda: kernel.counters(0).step > before, 60)  # it steps meanwhile
        kernel.set_gate(0, Gate.OPEN)
        assert len({client.wait_reply(pending).step for pending in waiting}) == 1


def test_checksum_notices_any_flipped_bit_and_a_swap_of_blocks():
    kernel = kernel_of(shape=(200, 200))
    with running(kernel) as client:
        reply = client.call(0, Command.SNAPSHOT)
        _, facts = kernel.staged(0, reply.value, 0)
        block = kernel._memory[0].staging[reply.value]
        size = layout.staging_tail(kernel.actors[0]) + 128
        for at in (0, 7, 12345, 2 * 65536 + 1, size - 128, size - 1):
            for bit in range(8):
                block[at] ^= 1 << bit
                assert kernel.staged_checksum(0, reply.value, 0) != facts.checksum
                block[at] ^= 1 << bit
        first, second = block[:65536].copy(), block[65536 : 2 * 65536].copy()
        block[:65536], block[65536 : 2 * 65536] = second, first
        assert kernel.staged_checksum(0, reply.value, 0) != facts.checksum


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lanes": 0}, "lanes must lie in 1..1"),
        ({"lanes": 2}, "at most one lane per actor"),
        ({"width": 0}, "width must lie in"),
        ({"capacity": 3}, "not a power of two"),
        ({"capacity": 1}, "ring capacity must lie in"),
    ],
)
def test_bad_numbers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CpuKernel([Mixer((8, 8))], **options)


def test_numbers_of_the_wrong_type_are_refused():
    with pytest.raises(TypeError, match="width must be an integer"):
        CpuKernel([Mixer((8, 8))], width=True)
    with pytest.raises(ValueError, match="at least 1 actor"):
        CpuKernel([])


@pytest.mark.parametrize(
    ("cores", "actors", "lanes", "width"),
    [(1, 9, 1, 1), (2, 1, 1, 2), (2, 9, 2, 1), (4, 1, 1, 3), (9, 2, 2, 4), (1000, 1, 1, 256)],
)
def test_by_default_the_cores_are_shared_out(monkeypatch, cores, actors, lanes, width):
    monkeypatch.setattr("ringnb.kernel.cpu.kernel.available_cores", lambda: cores)
    monkeypatch.setattr("ringnb.kernel.cpu.kernel.cpu_quota", lambda: None)
    found = CpuKernel([Mixer((8, 8))] * actors).statistics()
    assert (found.lanes, found.width) == (lanes, width)


@pytest.mark.parametrize(
    ("quota", "width"), [(0.5, 1), (1.0, 1), (1.5, 1), (2.0, 1), (2.5, 2), (8.0, 7)]
)
def test_of_a_quota_something_is_left_for_the_notebook(monkeypatch, quota, width):
    monkeypatch.setattr("ringnb.kernel.cpu.kernel.cpu_quota", lambda: quota)
    assert CpuKernel([Mixer((8, 8))]).statistics().width == width


def test_a_thread_that_the_system_refuses_is_a_problem_with_a_remedy(monkeypatch):
    start, started = threading.Thread.start, []

    def refuse(thread):
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    kernel = CpuKernel([Mixer((8, 8))], width=3)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(BackendUnavailable, match=r"thread 3 of 3.*can't start.*lanes=1, width=1"):
        kernel.launch()
    assert not any(thread.is_alive() for thread in started)


def test_the_result_does_not_depend_on_how_many_threads_are_chosen(monkeypatch):
    monkeypatch.setattr("ringnb.kernel.cpu.kernel._kernel_threads", lambda: 3)
    shape = (150, 160)  # worth more than one thread
    kernel = CpuKernel([Mixer(shape)])
    with running(kernel) as client:
        # Some slices are a trial of more threads, and some of fewer, whatever this machine does.
        step = client.call(0, Command.RUN_STEPS, (500,)).value
        assert client.wait_until(lambda: kernel.counters(0).step == step, 60)
        tried = kernel._memory[0].table[0, layout.C_TRY_NS]
        np.testing.assert_array_equal(
            captured(client, 0)[0], advance(Mixer(shape).start(0), 0, step)
        )
    assert tried > 0


@pytest.mark.parametrize("width", [1, 3])
def test_a_kernel_that_is_not_led_is_stepped_by_its_caller(width):
    kernel = launched(lanes=1, width=width, led=False)
    threads = list(kernel._threads)
    assert len(threads) == width - 1
    start = Mixer((16, 16)).start(0)
    for state in (start, start + 1):
        for level, values in zip(kernel.levels_at_rest(0), state, strict=True):
            level[0] = values
        kernel.put_at_rest(0, 7, ())
        with ThreadPoolExecutor(1) as pool:  # whose thread takes subnormals for zero from now on
            list(pool.map(kernel.take_steps, (1, 12)))
        levels = [level[0] for level in kernel.levels_at_rest(0)]
        np.testing.assert_array_equal(levels, advance(state, 7, 13))
    kernel.stop("the test is over")
    assert not any(thread.is_alive() for thread in threads)
    with pytest.raises(KernelStopped, match="the test is over"):
        kernel.take_steps(1)
    kernel.release()


@pytest.mark.parametrize("width", [1, 3])
def test_a_kernel_that_is_not_led_ends_when_its_caller_has_taken_the_step(monkeypatch, width):
    begun, ends = threading.Event(), threading.Event()

    def slow(*args):
        if args[-1] == 0:
            return True
        begun.set()
        return ends.wait(60)

    monkeypatch.setattr("ringnb.kernel.cpu.kernel.take_steps", slow)
    kernel = launched(lanes=1, width=width, led=False)
    stepping = threading.Thread(target=kernel.take_steps, args=(1,))
    stepping.start()
    assert begun.wait(60)
    kernel.patience_s = 0.01
    with pytest.raises(TimeoutError, match="is still in a step"):
        kernel.stop()
    kernel.release()
    assert kernel._memory[0].blocks  # that step uses them
    ends.set()
    stepping.join(60)
    until(lambda: not any(thread.is_alive() for thread in kernel._threads))
    kernel.release()
    assert not kernel._memory[0].blocks


def test_a_kernel_is_launched_once_and_not_asked_before():
    kernel = CpuKernel([Mixer((8, 8))])
    with pytest.raises(KernelStopped, match="never launched"):
        KernelClient(kernel).call(0, Command.HEARTBEAT)
    kernel.launch()
    with pytest.raises(KernelStopped, match="launched once"):
        kernel.launch()
    kernel.stop()


@pytest.mark.parametrize("loop", [run_leader, run_member, take_steps])
def test_no_deadline_runs_while_the_threads_compile(monkeypatch, loop):
    compiled = []

    def slow(*args):
        time.sleep(0.1)
        compiled.append(loop)
        return loop(*args)

    monkeypatch.setattr(f"ringnb.kernel.cpu.kernel.{loop.__name__}", slow)
    kernel = launched(lanes=1, width=2, led=loop is not take_steps)
    assert compiled == [loop]
    kernel.stop()


def test_a_thread_that_dies_is_told_to_every_caller(monkeypatch):
    def explode(*args):
        raise RuntimeError("boom")

    monkeypatch.setattr("ringnb.kernel.cpu.kernel.run_leader", explode)
    monkeypatch.setattr("threading.excepthook", lambda args: None)
    kernel = launched()
    client = KernelClient(kernel)
    with pytest.raises(KernelStopped, match=r"ringnb-lane0-0 died: RuntimeError\('boom'\)"):
        client.wait_until(lambda: False, 60)
    with pytest.raises(KernelStopped, match="boom"):
        client.call(0, Command.HEARTBEAT)
    kernel.stop()


def test_a_member_that_dies_keeps_nobody_at_a_barrier(monkeypatch):
    has_work = threading.Event()

    def explode(control, h2k, k2h, table, team, facts, host, scratch, rank):
        at = layout.TEAM_MEMBERS + rank * layout.MEMBER_WORDS
        store_word(team, at + layout.M_ARRIVE, 0)
        has_work.wait(60)
        raise RuntimeError("boom")

    monkeypatch.setattr("ringnb.kernel.cpu.kernel.run_member", explode)
    monkeypatch.setattr("threading.excepthook", lambda args: None)
    kernel = launched(width=2)
    client = KernelClient(kernel)
    client.submit(0, Command.RUN_STEPS, (3,))
    until(lambda: kernel._memory[0].team[layout.J_NUMBER])
    has_work.set()
    with pytest.raises(KernelStopped, match=r"ringnb-lane0-1 died: RuntimeError\('boom'\)"):
        client.wait_until(lambda: False, 60)
    kernel.stop()
    assert kernel.counters(0).step == 0  # of these steps nobody knows what they are
    assert not any(thread.is_alive() for thread in kernel._threads)


def test_an_abandoned_kernel_stops_its_threads():
    kernel = launched()
    threads = list(kernel._threads)
    del kernel
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_an_interrupt_between_reply_and_removal_loses_nothing(monkeypatch):
    kernel = kernel_of()
    with running(kernel) as client:
        advance_ring = kernel.advance

        def interrupted(lane):
            monkeypatch.setattr(kernel, "advance", advance_ring, raising=False)
            raise KeyboardInterrupt

        pending = client.submit(0, Command.RUN_STEPS, (3,))
        monkeypatch.setattr(kernel, "advance", interrupted, raising=False)
        with pytest.raises(KeyboardInterrupt):
            client.wait_reply(pending)
        assert client.wait_reply(pending).value == 3
        assert client.call(0, Command.HEARTBEAT).ok
        assert client.outstanding == 0


def script(body, **options):
    """Run a script in a fresh interpreter, which need not compile a built-in actor."""
    prelude = """
        from ringnb.kernel.cpu.kernel import CpuKernel
        from ringnb.kernel.client import KernelClient
        from ringnb.messages.commands import Command
        from ringnb.actors import Heat2D
        kernel = CpuKernel([Heat2D((16, 16))], width=2)
        kernel.launch()
        client = KernelClient(kernel)
        client.call(0, Command.RESUME)
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(body)
    return run_python("-W", "ignore::DeprecationWarning", "-c", code, timeout=60, **options)


def test_interpreter_exit_ends_a_running_kernel():
    done = script("print('end of script')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "end of script\n", "")


def test_an_exception_ends_a_running_kernel():
    done = script("raise ValueError('unhandled')")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ValueError: unhandled")


def test_ctrl_c_ends_a_blocked_call_and_the_kernel():
    body = """
        import os, signal, threading
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        client.wait_until(lambda: False, None)
    """
    done = script(body)
    assert done.returncode in (1, 130, -2)
    assert "KeyboardInterrupt" in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_and_the_parent_goes_on():
    body = """
        import os, sys
        pid = os.fork()
        if pid == 0:
            try:
                client.call(0, Command.HEARTBEAT)
            except Exception as error:
                print(type(error).__name__, error, flush=True)
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        before = kernel.counters(0).step
        assert client.wait_until(lambda: kernel.counters(0).step > before, 60)
        print("parent goes on")
    """
    done = script(body)
    assert done.returncode == 0, done.stderr
    child, parent = done.stdout.splitlines()
    assert child.startswith("KernelStopped The kernel does not run: this process")
    assert "forked" in child
    assert parent == "parent goes on"


def test_a_subprocess_beside_a_live_kernel_is_safe():
    with running(kernel_of()) as client:
        client.call(0, Command.RESUME)
        done = run_python("-c", "print(6 * 7)", check=True)
        assert done.stdout == "42\n"
        with pytest.raises(CommandRefused):
            client.call(0, 77)  # alive and answering


@pytest.mark.parametrize(
    "shapes", [[(16, 16)] * 3, [(16, 16), (160, 130), (16, 16), (7, 5)]], ids=str
)
def test_restores_on_one_lane_never_touch_a_neighbour(shapes):
    """The lane's largest actors exchange blocks with the restore buffer, the others copy."""
    kernel = CpuKernel([Mixer(shape) for shape in shapes], lanes=1)
    with running(kernel) as client:
        rng = np.random.default_rng(5)
        expected = [Mixer(shape).start(slot) for slot, shape in enumerate(shapes)]
        steps = [0] * len(shapes)
        for turn in range(24):
            slot = int(rng.integers(len(shapes)))
            if turn % 2:
                state = rng.integers(0, 2**16, expected[slot].shape).astype(expected[slot].dtype)
                restored(client, slot, state, turn, 7)
                expected[slot], steps[slot] = state, turn
            else:
                target = client.call(slot, Command.RUN_STEPS, (3,)).value
                assert client.wait_until(lambda s=slot, t=target: kernel.counters(s).step == t, 60)
                expected[slot] = advance(expected[slot], steps[slot], 3)
                steps[slot] = target
            for other in range(len(shapes)):
                np.testing.assert_array_equal(captured(client, other)[0], expected[other])


def test_a_restore_of_the_largest_actor_moves_no_bytes():
    kernel = kernel_of(shape=(64, 64))
    with running(kernel) as client:
        first = kernel.restore_buffer(0)
        restored(client, 0, np.full_like(first, 5), 0)
        second = kernel.restore_buffer(0)
        assert not np.shares_memory(first, second)
        assert (first == 5).all()  # it is the live state now


def test_the_pump_does_not_sleep_on_a_reply_that_it_has_just_taken(monkeypatch):
    kernel = kernel_of()
    with running(kernel) as client:
        pending = client.submit(0, Command.HEARTBEAT)
        until(kernel._replies)
        monkeypatch.setattr(kernel, "wait", lambda *_: pytest.fail("slept"))
        client.pump(10.0)
        assert pending.reply is not None


def test_a_call_makes_room_where_both_rings_are_full():
    kernel = CpuKernel([Mixer((8, 8))], capacity=2)
    with running(kernel):
        with pytest.raises(QueueFull):
            for command_id in itertools.count(1_000_000):
                kernel.push_nowait(0, Command.HEARTBEAT, command_id, 0)
                time.sleep(0.02)  # the lane reads two, and answers them
        assert KernelClient(kernel).call(0, Command.HEARTBEAT, timeout_s=5).ok


def test_who_finds_the_pump_taken_does_not_sleep_when_it_was_given_up_since(monkeypatch):
    with running(kernel_of()) as client:

        class GivenUp:
            def acquire(self, blocking=True):
                return False

            def locked(self):
                return False

        client._pump = GivenUp()
        monkeypatch.setattr(client._arrived, "wait", lambda *_: pytest.fail("slept"))
        client.pump(10.0)


def test_who_waits_for_the_pump_sees_what_it_brought(monkeypatch):
    with running(kernel_of()) as client:
        with client._pump:
            monkeypatch.setattr(client._arrived, "wait", lambda *_: pytest.fail("slept"))
            client.pump(10.0, until=lambda: True)


def test_stopping_a_stopped_kernel_touches_nothing(monkeypatch):
    kernel = launched()
    kernel.stop("first")
    monkeypatch.setattr("ringnb.kernel.host.store_word", lambda *_: pytest.fail("touched"))
    kernel.stop("second")
    assert "first" in kernel.stopped_because


def test_actors_that_are_alike_are_compiled_once(monkeypatch):
    compiled = []
    compile_one = compiling.compile_actor
    monkeypatch.setattr(
        compiling, "compile_actor", lambda actor: compiled.append(actor) or compile_one(actor)
    )
    life, other, wave = Life((8, 8)), Life((9, 5)), Wave2D((8, 8))
    found = compiling.compile_actors([life, life, other, wave, life])
    assert compiled == [life, wave]
    assert found[0] is found[2] is found[4]
    assert found[3].step_addresses != found[0].step_addresses
