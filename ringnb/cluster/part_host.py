"""Starts parts of divided actors on the workers of a cluster. It brings in no Numba."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import Counter
from typing import Any, final

import cloudpickle
from distributed import Worker, WorkerPlugin
from distributed.comm.addressing import get_address_host
from distributed.core import Status

from ringnb.cluster.wire import listen
from ringnb.errors import ClusterUnavailable

__all__ = ["PartHost", "start_parts"]

_PATIENCE_S = 60.0  # for workers that can be reached
_APART_S = (
    10.0  # so long for a worker of its own for every part: one that was lost is started again
)
_ANSWER_S = 10.0  # a call of a worker that has gone would wait for longer
_AGAIN_S, _LATER_S = 0.1, 5.0  # from one try to the next
_GONE = (Status.closing, Status.closed, Status.failed)


@final
class PartHost(WorkerPlugin):
    """Has each worker start parts, also those that come later; `decompose` registers it."""

    name = "ringnb-parts"

    def setup(self, worker: Worker) -> None:
        """Answer coordinators from now on."""
        self._worker = worker
        self._rounds: dict[str, tuple[str, threading.Event]] = {}  # by run: the last, and its end
        worker.handlers["ringnb_part"] = self.begin

    async def begin(
        self, run: str, round_id: str, actor: bytes, secret: bytes, share: int
    ) -> dict[str, Any]:
        """Start a part; return where it listens. On the worker's event loop.

        It ends parts of the run that another round has started, in which not all could be.
        """
        before, ended = self._rounds.get(run, ("", threading.Event()))
        if before != round_id:
            ended.set()
            ended = threading.Event()
            self._rounds[run] = round_id, ended
        host = get_address_host(self._worker.address)
        listener = listen(host)
        arguments = self._worker, ended, listener, secret, actor, share
        threading.Thread(target=_serve, args=arguments, name="ringnb-part", daemon=True).start()
        return {"host": host, "port": listener.getsockname()[1]}


def _serve(
    worker: Worker, ended: threading.Event, listener: Any, secret: bytes, actor: bytes, share: int
) -> None:
    from ringnb._support.machine import available_cores  # noqa: PLC0415 - as the next
    from ringnb.cluster.part import serve_part  # noqa: PLC0415 - brings in Numba

    width = max(1, available_cores() // share)
    model = cloudpickle.loads(actor)
    serve_part(*(listener, secret, model, width), lambda: ended.is_set() or worker.status in _GONE)


async def start_parts(
    worker: Worker, run: str, actor: bytes, parts: int, secret: bytes
) -> list[tuple[str, str, int]]:
    """Start parts, each on a worker of its own if there are as many; return worker, host, port of each.

    ``worker`` is the coordinator's, whose event loop this runs on.
    """
    began, again_s = time.monotonic(), _AGAIN_S
    while True:
        found = await worker.scheduler.ringnb_workers()
        waited = time.monotonic() - began
        if found and (len(found) >= parts or waited > _APART_S):
            chosen = [found[i % len(found)] for i in range(parts)]
            share, round_id = Counter(map(get_address_host, chosen)), uuid.uuid4().hex
            try:
                return [
                    (at, place["host"], place["port"])
                    for at in chosen
                    for place in [
                        await asyncio.wait_for(
                            worker.rpc(at).ringnb_part(
                                run=run,
                                round_id=round_id,
                                actor=actor,
                                secret=secret,
                                share=share[get_address_host(at)],
                            ),
                            _ANSWER_S,
                        )
                    ]
                ]
            except Exception as error:  # noqa: BLE001 - a worker is lost, or has just come
                why = f"{type(error).__name__}: {error}"
                again_s = min(2 * again_s, _LATER_S)  # each try begins parts
        else:
            why = f"there are {len(found)}"
        if waited > _PATIENCE_S:
            msg = f"{parts} parts could not be started on the workers of the cluster: {why}"
            raise ClusterUnavailable(msg)
        await asyncio.sleep(again_s)
