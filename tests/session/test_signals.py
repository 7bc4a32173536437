"""Every call of a session works in a signal handler, wherever it has interrupted the main thread."""

from __future__ import annotations

import contextlib
import gc
import random
import signal
import sys
import threading
import time
import weakref

import pytest
from session_rig import SHAPE, memory, quiet

import ringnb as rn
from ringnb._support.off_main import check_interrupted, off_main, off_main_if_handled
from ringnb.testing import MemoryStorage
from ringnb.testing.kernels import Mixer

TIMEOUT_S = 5.0  # of a snapshot that waits for itself; any other takes milliseconds


@pytest.fixture(
    params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["service", "by hand"]
)
def session(request):
    with rn.Session(
        Mixer(SHAPE),
        actors=2,
        config=quiet(max_snapshots=3),
        storage=memory(),
        service=request.param,
    ) as s:
        s.run_steps(0, 3)
        yield s


def calls_of(s, checkpoint):
    return {
        "run_steps": lambda: s.run_steps(0, 2),
        "pause": s.pause,
        "set_pace": lambda: s.set_pace(None),
        "inject": lambda: s.inject(0, at=(1, 1)),
        "set_params": lambda: s.set_params(0, add=1),
        "params": lambda: s.params(0),
        "snapshot": lambda: s.snapshot(0, timeout=TIMEOUT_S),
        "save_changes": s.save_changes,
        "restore": lambda: s.restore(0, checkpoint),
        "statistics": s.statistics,
        "current_step": lambda: s.current_step(0),
        "repr": lambda: repr(s),
    }


@contextlib.contextmanager
def handled(handler, number=signal.SIGALRM):
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(number, before)


def interrupt_at(line, call, handler):
    """Make a call, run a handler at the n-th line that the main thread reaches; return if it did."""
    reached = 0

    def trace(_frame, event, _argument):
        nonlocal reached
        if event in ("line", "return"):
            reached += 1
            if reached == line:
                handler()  # as a signal handler: between two bytecodes of this thread
        return trace

    before = sys.gettrace()
    gc.disable()  # else what other tests have left may be interrupted as it ends
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        gc.enable()
    return reached >= line


def test_a_snapshot_is_taken_wherever_the_handler_interrupts_a_call(session):
    checkpoint = session.snapshot(0)
    checkpoint.pin("restored in this test")
    taken = []

    def take():
        taken.append(session.snapshot(1, timeout=TIMEOUT_S))

    for name, call in calls_of(session, checkpoint).items():
        if name in ("pause", "set_pace", "params", "statistics", "current_step", "repr"):
            continue  # they take the same way as one of the others
        line = 1
        with handled(lambda *_: None):  # else no handler could come
            while interrupt_at(line, call, take):
                line += 1
    assert len(taken) > 60


def test_every_call_works_in_a_handler_that_comes_at_any_time(session):
    checkpoint = session.snapshot(0)
    checkpoint.pin("restored in this test")
    calls = list(calls_of(session, checkpoint).values())
    rng = random.Random(17)
    served, failed = [], []

    def handler(_number, _frame):
        try:
            served.append(rng.choice(calls)())
        except BaseException as error:
            failed.append(error)

    with handled(handler):
        deadline = time.monotonic() + 60
        while len(served) < 150 and not failed and time.monotonic() < deadline:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(2e-5, 4e-3))
            rng.choice(calls)()
    assert not failed
    assert len(served) >= 150


def test_a_handler_takes_a_snapshot_in_the_middle_of_a_long_run(session):
    taken = []

    def handler(_number, _frame):
        taken.append(session.snapshot(0, timeout=TIMEOUT_S))
        if len(taken) == 8:
            session.pause(0)
        else:
            signal.setitimer(signal.ITIMER_REAL, 0.002)

    with handled(handler):
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        session.run_steps(0, 2**40)
    steps = [checkpoint.step for checkpoint in taken]
    assert len(steps) == 8
    assert steps == sorted(steps)


def test_a_handler_may_close_the_session_under_the_call(session):
    with handled(lambda *_: session.close()):
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(rn.KernelStopped, match="the session was closed"):
            session.run_steps(0, 2**40)
    assert session.closed


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit], ids=lambda e: e.__name__)
def test_what_a_handler_raises_ends_the_call_and_pauses_the_actor(session, error):
    def handler(*_):
        raise error

    with handled(handler):
        with pytest.raises(error):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            session.run_steps(0, 2**40)
    assert not session.counters(0).running
    assert session.counters(0).budget == 0
    assert session.run_steps(0, 1) == session.current_step(0)


def test_a_call_that_does_not_hear_the_interrupt_is_left_after_a_while():
    may_end, ended = threading.Event(), threading.Event()

    @off_main
    def deaf():
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        may_end.wait(60)
        ended.set()

    def handler(*_):
        raise KeyboardInterrupt

    with handled(handler):
        with pytest.raises(KeyboardInterrupt):
            deaf()
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(60)


def test_a_call_is_interrupted_before_it_began_and_once_only():
    heard = []

    @off_main
    def waits():
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        for _ in range(2):
            try:
                while not heard:
                    check_interrupted()
                    time.sleep(0.001)
                check_interrupted()
            except KeyboardInterrupt:
                heard.append(threading.current_thread())

    def handler(*_):
        raise KeyboardInterrupt

    with handled(handler):
        with pytest.raises(KeyboardInterrupt):
            waits()
    assert len(heard) == 1
    assert heard[0] is not threading.main_thread()


def test_an_interrupt_on_the_way_to_the_helper_lets_the_call_run_once_at_most():
    def interrupt():
        raise KeyboardInterrupt

    line, counts = 1, set()
    while True:
        ran = []
        with contextlib.suppress(KeyboardInterrupt):
            if not interrupt_at(line, lambda ran=ran: off_main(ran.append)(1), interrupt):
                break
        counts.add(len(ran))
        line += 1
    assert line > 10
    assert counts == {0, 1}


def test_on_other_threads_a_call_is_direct_and_a_helper_keeps_nothing_alive():
    where = []
    note = off_main(lambda: where.append(threading.get_ident()))
    note()
    thread = threading.Thread(target=note)
    thread.start()
    thread.join()
    assert where[0] != threading.get_ident()
    assert where[1] == thread.ident

    class Kept:
        @off_main
        def call(self):
            raise ValueError("mine")

    kept = Kept()
    gone = weakref.ref(kept)
    with pytest.raises(ValueError, match="mine"):
        kept.call()
    del kept
    gc.collect()
    assert gone() is None


# -- calls that are direct while no signal but Ctrl-C is handled -------------------------------------


@pytest.fixture
def unhandled():
    """Nothing handles a signal but Ctrl-C: neither this test's timeout, whose alarm goes on."""
    before = {n: signal.getsignal(n) for n in signal.valid_signals()}
    changed = [n for n, handler in before.items() if callable(handler)]
    for number in changed:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number in (*changed, signal.SIGINT):
        signal.signal(number, before[number])


@off_main_if_handled
def thread_of(work=lambda: None):
    work()
    return threading.get_ident()


@pytest.mark.usefixtures("unhandled")
class TestDirectCalls:
    def test_a_call_is_direct_until_a_handler_could_come_in_between(self):
        me = threading.get_ident()
        assert thread_of() == me
        for number in (signal.SIGUSR1, signal.SIGRTMAX, signal.SIGINT):
            with handled(lambda *_: None, number):
                assert thread_of() != me
        with handled(signal.default_int_handler, signal.SIGTERM):
            assert thread_of() != me

        class Odd:  # a handler without a hash
            __hash__ = None

            def __call__(self, *_):
                pass

        for number in (signal.SIGUSR1, signal.SIGINT):
            with handled(Odd(), number):
                assert thread_of() != me
        with handled(signal.SIG_IGN, signal.SIGINT):
            assert thread_of() == me

    def test_a_call_that_a_finaliser_makes_in_a_direct_one_waits_for_none_of_its_locks(self):
        lock, found = threading.RLock(), []

        @off_main
        def take():
            found.append(lock.acquire(timeout=1))

        class Finalised:
            def __del__(self):
                take()

        def work():
            with lock:
                Finalised()

        assert thread_of(work) == threading.get_ident()
        assert found == [True]

    def test_ctrl_c_at_any_line_is_never_lost_and_leaves_the_handler(self):
        line, ran = 1, []
        while True:
            reached = False
            try:
                reached = interrupt_at(
                    line,
                    lambda: ran.append(thread_of()),
                    lambda: signal.raise_signal(signal.SIGINT),
                )
            except KeyboardInterrupt:
                pass
            else:
                assert not reached, line
                break
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            check_interrupted()  # what was interrupted is over
            line += 1
        assert line > 12

    def test_ctrl_c_is_raised_where_the_call_asks_for_it_once_and_otherwise_at_its_end(self):
        heard = []

        def asks():
            signal.raise_signal(signal.SIGINT)
            heard.append("not yet")
            try:
                check_interrupted()
            except KeyboardInterrupt:
                heard.append("now")
            check_interrupted()

        thread_of(asks)
        assert heard == ["not yet", "now"]
        with pytest.raises(KeyboardInterrupt):
            thread_of(lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            thread_of(lambda: thread_of(lambda: signal.raise_signal(signal.SIGINT)))

    def test_ctrl_c_ends_a_long_run_and_pauses_the_actor(self):
        with rn.Session(Mixer(SHAPE), config=quiet(), storage=memory()) as s:
            s.run_steps(0, 1)
            threading.Timer(0.05, signal.raise_signal, [signal.SIGINT]).start()
            with pytest.raises(KeyboardInterrupt):
                s.run_steps(0, 2**40)
            assert not s.counters(0).running
            assert s.run_steps(0, 1) == s.current_step(0)


@pytest.fixture
def saving(request):
    storage = MemoryStorage()
    with rn.Session(Mixer(SHAPE), config=quiet(), storage=storage) as s:
        s.run_steps(0, 3)
        yield s, lambda: [e.step for e in storage.history("checkpoint", "mixer_0")]


@pytest.fixture(params=[None, signal.SIG_IGN, "a function"], ids=["nothing", "ignored", "function"])
def before(request):
    """What the program has set for SIGUSR1, and the calls of it."""
    calls = []
    given = {"a function": lambda number, _: calls.append(number), None: signal.SIG_DFL}
    outer = signal.signal(signal.SIGUSR1, given.get(request.param, request.param))
    yield request.param, calls
    signal.signal(signal.SIGUSR1, outer)


def test_a_signal_saves_and_then_does_what_it_is_for(saving, before):
    (s, saved), (given, calls) = saving, before
    rn.checkpoint_on_signal(signal.SIGUSR1, then="continue")
    rn.checkpoint_on_signal(signal.SIGUSR1)
    if given == "a function":
        signal.raise_signal(signal.SIGUSR1)
        assert calls == [signal.SIGUSR1]
    else:
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGUSR1)
        assert ended.value.code == 128 + signal.SIGUSR1
    assert saved() == [3]
    rn.checkpoint_on_signal(signal.SIGUSR1, then="continue")
    s.run_steps(0, 2)
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
    assert saved() == [3, 5]


def test_signals_that_cannot_be_handled_are_refused():
    with pytest.raises(ValueError, match="no signal is given"):
        rn.checkpoint_on_signal()
    with pytest.raises(ValueError, match="'exit' or 'continue'"):
        rn.checkpoint_on_signal(signal.SIGUSR1, then="stop")
    for number in (signal.SIGKILL, signal.SIGSTOP, 9999):
        with pytest.raises(ValueError, match="cannot be handled"):
            rn.checkpoint_on_signal(signal.SIGUSR1, number)
    with pytest.raises(TypeError, match=r"such as signal\.SIGTERM, got 'TERM'"):
        rn.checkpoint_on_signal("TERM")
