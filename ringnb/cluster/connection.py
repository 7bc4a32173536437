"""The way from a notebook to the worker that has a run: finds it, asks it, finds it again after a loss.

Calls are made on the event loop of Dask's client, which has a thread of its own; any thread may wait for
one. A call that was under way when the worker was lost is never made again, but a glance.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, final

import cloudpickle
from distributed import Client
from distributed.comm.addressing import parse_address
from distributed.comm.registry import get_backend
from distributed.core import send_recv
from distributed.security import Security

from ringnb.cluster.local_hosts import security_for
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


@contextlib.contextmanager
def connected(address: str | Client, timeout: float = 10.0) -> Iterator[Client]:
    """Yield a client of a cluster, closed at the end of the block if it was made here."""
    if isinstance(address, Client):
        yield address
        return
    client = connect(address, timeout)
    try:
        yield client
    finally:
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


def connect(address: str, timeout: float) -> Client:
    """Return a client of a cluster; ClusterUnavailable if it does not answer."""
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
        sent = cloudpickle.dumps(given)
        try:
            answer = self._sync(
                lambda: asyncio.wait_for(self._ask(method, sent, patience_s, again), limit_s)
            )
        except TimeoutError:
            raise self._silent(limit_s) from None
        value, error = cloudpickle.loads(answer)
        if error is not None:
            raise error
        return value

    def _sync(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if self._left:
            raise KernelStopped(self._left)
        try:
            return self._client.sync(call)
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

    async def _ask(self, method: str, given: bytes, patience_s: float, again: bool) -> bytes:
        deadline = time.monotonic() + patience_s
        while True:
            worker = await self._locate(deadline)
            message = {"run": self.run, "method": method, "arguments": given, "again": again}
            sending = _Sending(self._client, worker, message)
            answer = await self._while_there(worker, asyncio.ensure_future(sending.send()))
            if answer is not None and answer["status"] != _ABSENT:
                return bytes(answer["answer"])
            self._worker = None
            if sending.sent and answer is None and not again:
                msg = (
                    f"the worker {worker} was lost while it had {method!r} of the run {self.run!r} to "
                    "do: it may be done or not. The run goes on from its newest checkpoint; look, then "
                    "call again"
                )
                raise ClusterUnavailable(msg)
            if time.monotonic() > deadline:
                raise self._silent(patience_s)
            await asyncio.sleep(_AGAIN_S)

    def _silent(self, limit_s: float | None) -> RunSilent:
        return RunSilent(
            f"the run {self.run!r} does not answer within {limit_s:g} s; try again later"
        )

    async def _while_there(
        self, worker: str, call: asyncio.Future[dict[str, Any]]
    ) -> dict[str, Any] | None:
        """Return the answer; None if the worker is gone, for which a call would wait for very long."""
        try:
            while True:
                done, _ = await asyncio.wait({call}, timeout=_LOOK_S)
                if done:
                    return call.result()
                if (await self._find())["worker"] != worker:
                    return None
        except OSError:
            return None
        finally:
            call.cancel()


@final
class _Sending:
    """A message to a worker; whether it was sent is known when the worker is lost."""

    def __init__(self, client: Client, worker: str, message: dict[str, Any]) -> None:
        self._pool, self._worker, self._message = client.rpc, worker, message
        self.sent = False

    async def send(self) -> dict[str, Any]:
        """Send it, and return the answer."""
        comm = await self._pool.connect(self._worker)
        self.sent = True
        try:
            answer = await send_recv(comm, op="ringnb", **self._message)
            return dict(answer)
        finally:
            self._pool.reuse(self._worker, comm)
