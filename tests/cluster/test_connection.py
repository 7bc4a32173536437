"""How a call waits for its answer: interrupts, handlers, a worker that is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from distributed import Client
from in_process import cluster_of

import ringnb as rn
from ringnb import cluster
from ringnb.cluster import connection, hosted_run
from ringnb.cluster.connection import _carried_out, _Sending


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.call_soon(loop.stop)  # once more: a test may have ended it before
    loop.run_forever()
    loop.close()


def test_a_call_brings_what_came_of_it(loop):
    async def double(x):
        """Return twice as much."""
        return 2 * x

    async def fail():
        """Raise."""
        raise KeyError("no")

    assert _carried_out(loop, lambda: double(4)) == 8
    with pytest.raises(KeyError, match="no"):
        _carried_out(loop, fail)


def test_ctrl_c_ends_the_wait_and_the_call(loop):
    ended = threading.Event()

    async def wait():
        """Interrupt who waits, and wait for ever."""
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        _carried_out(loop, wait)
    assert ended.wait(60)


def test_a_signal_handler_makes_calls_while_one_is_waited_for(loop):
    come, came = asyncio.Event(), []

    async def wait():
        """Have the handler run, and wait for what it does."""
        os.kill(os.getpid(), signal.SIGUSR1)
        await come.wait()
        return "outer"

    async def note():
        """Let the other call end."""
        come.set()
        return "inner"

    def handle(*_):
        """Make a call."""
        came.append(_carried_out(loop, note))

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        assert _carried_out(loop, wait) == "outer"
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert came == ["inner"]


def test_nobody_waits_for_a_loop_that_has_ended(loop, monkeypatch):
    monkeypatch.setattr(connection, "_LOOK_S", 0.01)

    async def wait(end):
        """End the loop, and wait for ever."""
        end()
        await asyncio.Event().wait()

    def cancel():
        """Do what `asyncio.run` does at the end of its loop."""
        for task in asyncio.all_tasks(loop):
            loop.call_soon(task.cancel)

    for end in (cancel, loop.stop):
        with pytest.raises(RuntimeError, match="its event loop ends"):
            _carried_out(loop, lambda end=end: wait(end))


class Pool:
    """Connections, none of which is ever made."""

    def __init__(self):
        self.left = False

    async def connect(self, _worker):
        """Wait for ever."""
        try:
            await asyncio.Event().wait()
        finally:
            self.left = True


def sending(find):
    """Return a message to a worker that does not answer, and its connections."""
    pool = Pool()
    return _Sending(SimpleNamespace(rpc=pool), "tls://a", {}, find), pool


def test_a_call_of_a_worker_that_is_gone_is_given_up(monkeypatch):
    monkeypatch.setattr(connection, "_LOOK_S", 0.01)
    where = ["tls://a", "tls://a", "tls://b"]

    async def find():
        """Return where the run is by now."""
        return {"worker": where.pop(0)}

    async def answer():
        """Wait for the answer."""
        call, pool = sending(find)
        assert await call.answer() is None
        assert (call.sent, pool.left) == (False, True)

    asyncio.run(answer())
    assert where == []


def test_a_call_says_why_nobody_can_say_where_the_run_is(monkeypatch):
    monkeypatch.setattr(connection, "_LOOK_S", 0.01)

    async def find():
        """Raise: there is no scheduler."""
        raise rn.ClusterUnavailable("its scheduler cannot be reached")

    with pytest.raises(rn.ClusterUnavailable, match="scheduler cannot be reached"):
        asyncio.run(sending(find)[0].answer())


def test_a_call_that_is_left_is_not_taken_for_one_of_a_lost_worker():
    async def find():
        """Not asked so soon."""
        raise AssertionError

    async def answer():
        """Wait not that long."""
        async with asyncio.timeout(0.01):
            await sending(find)[0].answer()

    with pytest.raises(TimeoutError):
        asyncio.run(answer())


def test_counters_are_told_while_every_thread_for_commands_waits(config, monkeypatch):
    with cluster_of(1) as local, Client(local) as client, ThreadPoolExecutor(1) as pool:
        life = rn.actors.Life((16, 16))
        with cluster.launch(life, "busy", address=client, config=config) as session:
            monkeypatch.setitem(hosted_run._pools, "commands", pool)
            session.run_steps(0, 3)
            go_on = threading.Event()
            pool.submit(go_on.wait)
            try:
                assert session.counters(0).step == session.current_step(0) == 3
                assert session.pace(0) is None
                with pytest.raises(ValueError, match="slot 1 does not exist"):
                    session.counters(1)
            finally:
                go_on.set()
            session.end()


def test_the_thread_of_the_event_loop_does_not_wait_for_itself(loop):
    async def ask():
        """Ask from within."""

    async def within():
        """Try."""
        with pytest.raises(RuntimeError, match="wait for itself"):
            _carried_out(loop, ask)

    asyncio.run_coroutine_threadsafe(within(), loop).result(30)


def test_a_client_that_is_asynchronous_is_refused_with_the_remedy():
    with cluster_of(workers=1) as local:

        async def attach():
            """Attach within an event loop."""
            async with Client(local.scheduler_address, asynchronous=True) as client:
                with pytest.raises(ValueError, match="without asynchronous=True"):
                    cluster.attach(client, "run")

        asyncio.run(attach())
