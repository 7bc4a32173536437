"""The way from a notebook to the worker that has a run: finds it, asks it, finds it again after a loss.

Calls are made on the event loop of Dask's client, which has a thread of its own; any thread may wait for
one. A call that was under way when the worker was lost is never made again, but a glance. Most calls end
within a millisecond, of which each task, timer and change of threads would be a good part: there is one
task for a call, and what looks after one that takes long begins only then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar, cast, final

import cloudpickle
from distributed import Client
from distributed.comm.addressing import parse_address
from distributed.comm.registry import get_backend
from distributed.core import send_recv
from distributed.security import Security

from ringnb.cluster.local_hosts import security_for
from ringnb.cluster.packing import packed
from ringnb.errors import ClusterUnavailable, KernelStopped, RunLost, RunNotFound, RunSilent

__all__ = ["GOES_ON", "Connection", "connected"]

# What holds of a run that is not heard of.
GOES_ON = "goes on if it is only the connection, and its checkpoints stay in any case"

_EXAMPLE = "tls://127.0.0.1:8786"
_ABSENT = "absent"
_GONE = ("closing", "closed")  # a client that was closed, or has given up its scheduler
_LOOK_S = 1.0  # so often a call that is under way looks whether its worker is still there
# That a client was closed while it looked for a scheduler that has ended is no error for anyone to read.
logging.getLogger("distributed.client").addFilter(
    lambda record: not (record.exc_info and record.exc_info[0] is asyncio.CancelledError)
)
_AGAIN_S = 0.05  # so often a run that has just lost its worker is looked for
T = TypeVar("T")


@contextlib.contextmanager
def connected(address: str | Client, timeout: float = 10.0) -> Iterator[Client]:
    """Yield a client of a cluster, closed at the end of the block if it was made here."""
    client = connect(address, timeout)
    try:
        yield client
    finally:
        if client is not address:
            client.close()


@contextlib.contextmanager
def answered(client: Client) -> Iterator[None]:
    """Raise ClusterUnavailable for what Dask raises when the scheduler is lost in this block."""
    try:
        yield
    except (AttributeError, OSError, RuntimeError) as error:
        # A client that has given up its scheduler lacks attributes, and has no event loop.
        if not isinstance(error, OSError) and client.status not in _GONE:
            raise
        msg = (
            f"the scheduler of the cluster does not answer ({error}): runs go on if it is only the "
            "connection, and checkpoints stay in any case; try again, or start another host and launch "
            "there, where a run goes on from its checkpoints"
        )
        raise ClusterUnavailable(msg) from error


def connect(address: str | Client, timeout: float) -> Client:
    """Return a client of a cluster, which may be given; ClusterUnavailable if it does not answer."""
    if isinstance(address, Client):
        if address.asynchronous:
            msg = (
                "the client is asynchronous, and a session's calls wait for their answers: give one "
                "that was made without asynchronous=True, or the scheduler's address"
            )
            raise ValueError(msg)
        return address
    if not isinstance(address, str):  # for None, Dask would start a cluster in this process
        what = type(address).__name__
        msg = (
            f"address must be a string, such as {_EXAMPLE!r}, or a distributed.Client, got {what}: a "
            "host of this machine is at ringnb.cluster.hosts()[0].address"
        )
        raise TypeError(msg)
    try:
        get_backend(parse_address(address, strict=True)[0])
    except ValueError as error:
        msg = f"address {address!r} is not allowed ({error}): write it as {_EXAMPLE!r}"
        raise ValueError(msg) from error
    security = security_for(address)
    remedy = "see which there are with `ringnb host ls`, start one with `ringnb host start`"
    if security is None and address.startswith("tls://"):
        security = Security()  # of Dask's configuration
        if security.get_connection_args("client")["ssl_context"] is None:
            msg = (
                f"no host of this machine has the address {address!r}, and Dask's configuration names "
                f"no certificates for another one: {remedy}"
            )
            raise ClusterUnavailable(msg)
    try:
        return Client(address, security=security, set_as_default=False, timeout=timeout)
    except OSError as error:
        msg = f"the cluster at {address!r} does not answer within {timeout:g} s ({error}): {remedy}"
        raise ClusterUnavailable(msg) from error


@final
class Connection:
    """To one run. Any thread."""

    def __init__(self, client: Client, run: str, *, own: bool) -> None:
        self._client, self._own = client, own
        self.run = run
        self._worker: str | None = None  # where the run was found last
        self._left = ""  # why it was closed here

    @property
    def closed(self) -> bool:
        """Whether it was closed, here or by a client that has given up its scheduler."""
        return bool(self._left) or self._client.status in _GONE

    def close(self, why: str = "") -> None:
        """Go; the run stays."""
        self._left = (
            self._left or why or f"this session is detached from the run {self.run!r}: attach again"
        )
        if self._own:
            self._client.close()

    def find(self) -> dict[str, Any]:
        """Return what the scheduler says of the run; RunNotFound if there is none."""
        found: dict[str, Any] = self._sync(self._find)
        return found

    def ask(
        self,
        method: str,
        given: tuple[tuple[Any, ...], dict[str, Any]] | None = None,
        *,
        patience_s: float = 30.0,
        again: bool = False,
        limit_s: float | None = None,
    ) -> Any:
        """Make a call of the run's session, or with None read an attribute.

        A run that is without a worker is waited for, as long as `patience_s`; with `again` a call that
        was under way when the worker was lost is made again. `limit_s` is for all of it.
        """
        sent = packed(given)
        try:
            answer = self._sync(lambda: self._ask(method, sent, patience_s, again, limit_s))
        except TimeoutError:
            raise self._silent(limit_s) from None
        value, error = cloudpickle.loads(answer)
        if error is not None:
            raise error
        return value

    def _sync(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._left:
            raise KernelStopped(self._left)
        try:
            return _carried_out(self._client.loop.asyncio_loop, call)
        except (AttributeError, RuntimeError) as error:
            if not self.closed:
                raise
            # Dask's client has given up its scheduler, maybe during this call: it is of no use any more.
            msg = (
                f"the cluster of the run {self.run!r} went away: attach again if it is back, or launch "
                "the run under the same name at another address, where it goes on from its checkpoints"
            )
            raise ClusterUnavailable(msg) from error

    # -- on the client's event loop --------------------------------------------------------------

    async def _find(self) -> dict[str, Any]:
        try:
            found = await self._client.scheduler.ringnb_find(run=self.run)
        except OSError as error:
            msg = f"its scheduler cannot be reached ({error}); the run {self.run!r} {GOES_ON}"
            raise ClusterUnavailable(msg) from error
        if found is None:
            msg = f"there is no run {self.run!r}: see which there are with runs(address)"
            raise RunNotFound(msg)
        return dict(found)

    async def _locate(self, deadline: float) -> str:
        """Return the worker that has the run; wait for one, if there is none."""
        while self._worker is None:
            found = await self._find()
            if found["state"] == "running":
                self._worker = found["worker"]
            elif found["state"] == "failed":
                store = found["store"]
                msg = f"the run {self.run!r} has failed: {found['why']}. Its checkpoints: {store}"
                raise RunLost(msg)
            elif found["state"] == "ended":
                msg = f"the run {self.run!r} was ended; its checkpoints are in {found['store']}"
                raise KernelStopped(msg)
            elif time.monotonic() > deadline:
                state = f"{found['state']}: {found['why']}" if found["why"] else found["state"]
                msg = f"the run {self.run!r} is not running, it is {state}; try again later"
                raise ClusterUnavailable(msg)
            else:
                await asyncio.sleep(_AGAIN_S)
        return self._worker

    async def _ask(
        self, method: str, given: bytes, patience_s: float, again: bool, limit_s: float | None
    ) -> bytes:
        deadline = time.monotonic() + patience_s
        async with asyncio.timeout(limit_s):
            while True:
                worker = await self._locate(deadline)
                message = {"run": self.run, "method": method, "arguments": given, "again": again}
                sending = _Sending(self._client, worker, message, self._find)
                answer = await sending.answer()
                if answer is not None and answer["status"] != _ABSENT:
                    return bytes(answer["answer"])
                self._worker = None
                if sending.sent and answer is None and not again:
                    msg = (
                        f"the worker {worker} was lost while it had {method!r} of the run {self.run!r} "
                        "to do: it may be done or not. The run goes on from its newest checkpoint; "
                        "look, then call again"
                    )
                    raise ClusterUnavailable(msg)
                if time.monotonic() > deadline:
                    raise self._silent(patience_s)
                await asyncio.sleep(_AGAIN_S)

    def _silent(self, limit_s: float | None) -> RunSilent:
        return RunSilent(
            f"the run {self.run!r} does not answer within {limit_s:g} s; try again later"
        )


@final
class _Sending:
    """A message to a worker; whether it was sent is known when the worker is lost.

    ``find`` returns what the scheduler says of the run.
    """

    def __init__(
        self,
        client: Client,
        worker: str,
        message: dict[str, Any],
        find: Callable[[], Awaitable[dict[str, Any]]],
    ) -> None:
        self._pool, self._worker, self._message = client.rpc, worker, message
        self._find = find
        self.sent = False
        self._looking: asyncio.Task[None] | None = None
        self._failure: Exception | None = None  # of looking

    async def answer(self) -> dict[str, Any] | None:
        """Send it, and return the answer; None if the worker is gone, which would take very long."""
        loop = asyncio.get_running_loop()
        later = loop.call_later(_LOOK_S, self._begin_to_look)
        try:
            async with asyncio.timeout(None) as self._waiting:
                return await self._send()
        except OSError:  # also TimeoutError, if it was left
            if self._failure is not None:
                raise self._failure from None
            return None
        finally:
            later.cancel()
            if self._looking is not None:
                self._looking.cancel()

    async def _send(self) -> dict[str, Any]:
        comm = await self._pool.connect(self._worker)
        self.sent = True
        try:
            answer = await send_recv(comm, op="ringnb", **self._message)
            return dict(answer)
        finally:
            self._pool.reuse(self._worker, comm)

    def _begin_to_look(self) -> None:
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        """Look whether the worker is still there, until it is not: then nobody waits any more."""
        try:
            while (await self._find())["worker"] == self._worker:
                await asyncio.sleep(_LOOK_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits is told
            self._failure = error
        self._waiting.reschedule(-1)


def _carried_out(loop: asyncio.AbstractEventLoop, call: Callable[[], Awaitable[T]]) -> T:
    """Have an event loop carry a call out, and wait for it. Any thread but the loop's, which may not.

    `distributed.utils.sync` takes two tasks for it, and three turns of the loop.
    """
    here = None
    with contextlib.suppress(RuntimeError):  # none runs on this thread
        here = asyncio.get_running_loop()
    if here is loop:
        msg = (
            "the thread of the client's event loop would wait for itself: call from another thread"
        )
        raise RuntimeError(msg)
    done = threading.Lock()  # of this call: a signal handler that comes in between has another one
    done.acquire()
    ended = RuntimeError("the client of the cluster has given up the call: its event loop ends")
    came: list[tuple[T | None, BaseException | None]] = []
    tasks: list[asyncio.Task[None]] = []

    async def body() -> None:
        """Make the call."""
        try:
            came.append((await call(), None))
        except asyncio.CancelledError:  # by the loop, at its end; or by who waits no more
            came.append((None, ended))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            came.append((None, error))
        finally:
            done.release()

    def begin() -> None:
        """Begin it."""
        tasks.append(loop.create_task(body()))

    def cancel() -> None:
        """End it: nobody waits for it any more."""
        for task in tasks:  # none, where the interrupt came first
            task.cancel()

    try:
        loop.call_soon_threadsafe(begin)  # Ctrl-C may come before the next line
        while not done.acquire(timeout=_LOOK_S):
            if not loop.is_running():
                raise ended
    except BaseException:
        with contextlib.suppress(RuntimeError):  # it was closed
            loop.call_soon_threadsafe(cancel)
        raise
    value, error = came.pop()
    if error is not None:
        try:
            raise error
        finally:
            del error  # else error and frame refer to each other
    return cast("T", value)
