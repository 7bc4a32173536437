"""Parts of divided actors that a worker starts: those of a try that has failed do not stay."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import SimpleNamespace

import cloudpickle
import pytest
import waiting
from distributed.core import Status

import ringnb as rn
from ringnb.cluster import part_host as module
from ringnb.cluster.part_host import PartHost, start_parts


def listens(place):
    with contextlib.suppress(OSError), socket.create_connection((place["host"], place["port"]), 10):
        return True
    return False


def test_a_new_try_ends_the_parts_of_the_one_before():
    worker = SimpleNamespace(address="tcp://127.0.0.1:1", status=Status.running, handlers={})
    PartHost().setup(worker)
    actor = cloudpickle.dumps(rn.actors.Life((16, 16)))

    def begin(run, round_id):
        given = {"run": run, "round_id": round_id, "actor": actor, "secret": b"s", "share": 1}
        return asyncio.run(worker.handlers["ringnb_part"](**given))

    first, other = begin("a", "1"), begin("b", "1")
    second, third = begin("a", "2"), begin("a", "2")
    waiting.until(lambda: not listens(first))
    assert listens(second)
    assert listens(third)
    assert listens(other)
    worker.status = Status.closed
    waiting.until(lambda: not any(map(listens, (second, third, other))))


def test_tries_come_ever_later_and_are_told_apart(monkeypatch):
    asked, slept = [], []

    class Rpc:
        def __init__(self, address):
            self.address = address

        async def ringnb_part(self, **given):
            asked.append((given["run"], given["round_id"]))
            if self.address == "b" and len(asked) < 20:
                raise OSError("no part here")
            return {"host": self.address, "port": 1}

    async def workers():
        return ["a", "b"]

    async def sleep(seconds):
        slept.append(seconds)

    worker = SimpleNamespace(scheduler=SimpleNamespace(ringnb_workers=workers), rpc=Rpc)
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    monkeypatch.setattr(module, "get_address_host", lambda address: address)
    started = asyncio.run(start_parts(worker, "run", b"", 2, b"s"))
    assert started == [("a", "a", 1), ("b", "b", 1)]
    assert slept == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0])
    rounds = [asked[i : i + 2] for i in range(0, 20, 2)]
    assert all(one == other for one, other in rounds)
    assert len({one for one, _ in rounds}) == 10
