"""What the scheduler remembers of runs, and how many losses are too many; without a scheduler."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from ringnb.cluster import keeper as module
from ringnb.cluster.keeper import RunKeeper


class Scheduler:
    """The little that a keeper needs."""

    def __init__(self):
        self.handlers, self.tasks, self.clients, self.wanted = {}, {}, {"ringnb": None}, []
        self.total_nthreads = 1

    def client_desires_keys(self, keys, client):
        self.wanted += keys

    def client_releases_keys(self, keys, client):
        self.wanted = [key for key in self.wanted if key not in keys]

    def process(self, key, worker="tcp://w"):
        where = None if worker is None else SimpleNamespace(address=worker)
        self.tasks[key] = SimpleNamespace(processing_on=where, suspicious=0)


@pytest.fixture
def scheduler():
    return Scheduler()


@pytest.fixture
def keeper(scheduler):
    keeper = RunKeeper()
    asyncio.run(keeper.start(scheduler))
    assert keeper.claim("a", "key", "s.zarr", (2, 600.0)) == ""
    return keeper


def lose(keeper, scheduler):
    scheduler.process("key")
    keeper.transition("key", "waiting", "processing")
    scheduler.tasks["key"].suspicious += 1
    keeper.transition("key", "processing", "released")


def test_a_part_that_is_lost_is_told_in_the_place_of_the_worker(keeper, scheduler):
    scheduler.process("key")
    keeper.transition("key", "waiting", "processing")
    assert keeper.note("a", "key", worker="tcp://w", lost="tcp://p")
    assert keeper.note("a", "key", worker="tcp://w", progressed=True)  # a call that was under way
    keeper.transition("key", "processing", "released")
    lose(keeper, scheduler)
    assert keeper.find("a")["losses"] == ("tcp://p", "tcp://w")


@pytest.mark.parametrize("what", [{"why": "it raised"}, {"done": True}])
def test_what_has_failed_or_ended_loses_no_worker(keeper, scheduler, what):
    scheduler.process("key")
    keeper.transition("key", "waiting", "processing")
    keeper.note("a", "key", worker="tcp://w", **what)
    keeper.transition("key", "processing", "released")
    assert keeper.find("a")["losses"] == ()


def test_workers_that_have_the_least_to_do_come_first(keeper, scheduler):
    def worker(address, tasks, status="running"):
        named = SimpleNamespace(name=status)
        return SimpleNamespace(address=address, processing=range(tasks), status=named)

    busy, closing, b, a = worker("d", 2), worker("c", 0, "closing"), worker("b", 0), worker("a", 0)
    scheduler.workers = dict(enumerate([busy, closing, b, a]))
    assert keeper.workers() == ["a", "b", "d"]


def test_a_name_is_taken_once(keeper, scheduler):
    assert keeper.claim("a", "other", "t.zarr", (2, 600.0)) == "a"
    assert keeper.claim("b", "other", "s.zarr", (2, 600.0)) == "a"  # one store has one run
    keeper.update_graph(scheduler, keys={"key", "foreign"})
    assert scheduler.wanted == ["key"]
    assert not keeper.note("a", "other", worker="tcp://w")  # of a task that has no run
    assert not keeper.note("a", "key", worker="tcp://w")  # which no worker has yet
    scheduler.process("key")
    assert keeper.note("a", "key", worker="tcp://w")
    assert not keeper.note("a", "key", worker="tcp://v", opened=True)  # of an attempt that was left
    assert keeper.find("a")["state"] == "starting"


def test_a_claim_without_a_task_is_void_after_a_while(keeper, monkeypatch):
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 61)
    assert keeper.claim("a", "other", "s.zarr", (2, 600.0)) == ""


def test_too_many_losses_in_too_short_a_time(keeper, scheduler, monkeypatch):
    for expected in (False, False, True):
        lose(keeper, scheduler)
        assert scheduler.tasks["key"].suspicious == 0  # the engine does not count
        assert keeper.find("a")["give_up"] is expected
    assert keeper.find("a")["losses"] == ("tcp://w",) * 3
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 601)
    assert not keeper.find("a")["give_up"]


def test_losses_before_a_new_checkpoint_do_not_count(keeper, scheduler):
    for _ in range(7):
        lose(keeper, scheduler)
        lose(keeper, scheduler)
        scheduler.process("key")
        assert keeper.note("a", "key", worker="tcp://w", progressed=True)
    assert not keeper.find("a")["give_up"]
    assert len(keeper.find("a")["losses"]) == 14  # all are told
    for _ in range(3):
        lose(keeper, scheduler)
    assert keeper.find("a")["give_up"]


def test_what_an_attempt_waits_for_is_told(keeper, scheduler):
    scheduler.process("key")
    keeper.note("a", "key", worker="tcp://w", waits="the store is written")
    assert (keeper.find("a")["state"], keeper.find("a")["why"]) == (
        "starting",
        "the store is written",
    )
    keeper.note("a", "key", worker="tcp://w", opened=True)
    assert (keeper.find("a")["state"], keeper.find("a")["why"]) == ("running", "")


def test_what_was_asked_is_remembered(keeper, scheduler):
    scheduler.process("key")
    assert keeper.note("a", "key", worker="tcp://w", opened=True)
    keeper.note("a", "key", worker="tcp://w", wish=("running", [0, 1], True))
    keeper.note("a", "key", worker="tcp://w", wish=("running", [1], False))
    lose(keeper, scheduler)
    found = keeper.find("a")
    assert found["wishes"] == {"running": [(0, True), (1, False)]}
    assert found["started"]
    assert found["state"] == "starting"  # its session is open no more


def test_the_end(keeper, scheduler):
    async def end():
        keeper.update_graph(scheduler, keys={"key"})
        scheduler.process("key")
        keeper.transition("key", "processing", "erred")
        await asyncio.sleep(0)  # not in the middle of transitions

    asyncio.run(end())
    assert scheduler.wanted == []
    assert keeper.find("a")["state"] == "failed"
    assert "worker's log" in keeper.find("a")["why"]
    assert keeper.claim("a", "other", "s.zarr", (2, 600.0)) == ""


def test_waiting_for_a_place(keeper, scheduler):
    scheduler.process("key", worker=None)
    found = asyncio.run(keeper.wait("a", 0.001))
    assert (found["state"], found["why"]) == ("waiting", "all 1 places are taken")
