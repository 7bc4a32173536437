"""Two processes that create one store at the same moment: one root document stays, and both know it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

import pytest
import zarr
from processes import elsewhere, other_process

import ringnb as rn
from ringnb.checkpoint.storage.directory import files
from ringnb.testing.storages import make_snapshot

ONE, TWO, THREE, THEIRS = "a_0_step_1", "a_0_step_2", "a_0_step_3", "b_0_step_1"


@pytest.fixture
def twice(tmp_path):
    """Two paths of one directory in which no store is yet, through a bind mount."""
    one, two = tmp_path / "one" / "s.zarr", tmp_path / "two" / "s.zarr"
    for folder in (one, two):
        folder.mkdir(parents=True)
    command = ["mount", "--bind", str(one), str(two)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user cannot mount")
    yield one, two
    subprocess.run(["umount", str(two)], check=True)


def write(pipe, path):
    """Save what the pipe says, and answer with the error or None; wait before the store is made."""

    def wait(name, arguments, call):
        if name == "link" and str(arguments[1]).endswith("s.zarr/zarr.json"):
            pipe.send("about to make it")
            pipe.recv()
        return call()

    with rn.ZarrStorage(path) as storage, files.interposing(wait):
        while (name := pipe.recv()) != "close":
            try:
                storage.save(name, make_snapshot(1))
                pipe.send(None)
            except rn.CheckpointError as error:
                pipe.send(error)
    pipe.send("closed")


@contextlib.contextmanager
def two_makers(twice, winner, names=(ONE, TWO)):
    """Two writers that have both found no store, each with a lock of its own: the winner, the other."""
    with (
        other_process(write, twice[0]) as (one, here),
        other_process(write, twice[1]) as (two, there),
    ):
        for pipe, name in ((here, names[0]), (there, names[1])):
            pipe.send(name)
            assert pipe.recv() == "about to make it"
        both = [(here, one), (there, two)]
        yield both if winner == "the directory" else both[::-1]


def told(pipe, what):
    pipe.send(what)
    return pipe.recv()


WINNERS = pytest.mark.parametrize("winner", ["the directory", "the mount"])


@WINNERS
def test_storage_rule_24_a_writer_that_comes_second_is_refused_and_is_in_nobodys_way(winner, twice):
    with two_makers(twice, winner, (ONE, ONE)) as ((first, process), (second, _)):
        assert told(first, "go on") is None
        root = (twice[0] / "zarr.json").read_bytes()
        refusal = told(second, "go on")
        assert isinstance(refusal, rn.StoreLocked)
        assert f"written by process {process.pid} on host" in str(refusal)
        assert "by another path or mount" in str(refusal)
        assert (twice[0] / ".ringnb").exists() == (winner == "the mount")  # where the writer works
        assert told(first, TWO) is None
        assert told(first, "close") == "closed"
        for path in twice:  # the second one holds no lock
            with rn.ZarrStorage(path) as storage:
                storage.save(THREE, make_snapshot(3))
                storage.delete(THREE)
        assert told(second, THEIRS) is None
        assert told(second, "close") == "closed"
    assert (twice[1] / "zarr.json").read_bytes() == root
    assert os.stat(twice[0] / "zarr.json").st_nlink == 1
    assert rn.ZarrStorage(twice[1]).list() == [ONE, TWO, THEIRS]
    assert not [*twice[0].parent.rglob("staging/*"), *twice[1].parent.rglob("staging/*")]


@WINNERS
def test_storage_rule_24_a_store_that_another_one_made_and_left_is_gone_on_with(winner, twice):
    with two_makers(twice, winner) as ((first, _), (second, _)):
        assert told(first, "go on") is None
        assert told(first, THREE) is None
        root = (twice[0] / "zarr.json").read_bytes()
        assert told(first, "close") == "closed"
        assert told(second, "go on") is None
    assert (twice[0] / "zarr.json").read_bytes() == root
    entries = rn.ZarrStorage(twice[0]).catalogue()
    names = (ONE, THREE, TWO) if winner == "the directory" else (TWO, THREE, ONE)
    assert [(e.name, e.sequence) for e in entries] == [(n, i + 1) for i, n in enumerate(names)]


def test_storage_rule_24_a_name_that_was_taken_meanwhile_is_not_overwritten(twice):
    with two_makers(twice, "the mount", (ONE, ONE)) as ((first, _), (second, _)):
        assert told(first, "go on") is None
        assert told(first, "close") == "closed"
        assert f"{ONE!r} is taken" in str(told(second, "go on"))
    assert rn.ZarrStorage(twice[0]).list() == [ONE]


def test_storage_rule_24_a_store_is_made_where_there_are_no_hard_links(path):
    def no_links(name, arguments, call):
        if name == "link":
            if arguments[1].parent.name == "raced.zarr":
                shutil.copy(path / "zarr.json", arguments[1])
            raise PermissionError(1, "Operation not permitted")
        return call()

    raced = path.with_name("raced.zarr")
    with files.interposing(no_links):
        for place in (path, raced):
            with rn.ZarrStorage(place) as storage:
                storage.save(ONE, make_snapshot(1))
                assert isinstance(elsewhere(_save, place), rn.StoreLocked)
    assert (raced / "zarr.json").read_bytes() == (path / "zarr.json").read_bytes()
    assert rn.ZarrStorage(raced).list() == [ONE]


def _save(path):
    rn.ZarrStorage(path).save(TWO, make_snapshot(2))


def _race(pipe, path, name):
    pipe.recv()
    saved = []
    for n in range(5):
        try:
            with rn.ZarrStorage(path) as storage:
                storage.save(f"{name}_0_step_{n}", make_snapshot(n))
            saved.append(f"{name}_0_step_{n}")
        except rn.StoreLocked:
            pass
    pipe.send(saved)


def test_storage_rule_24_processes_that_begin_at_once_agree(tmp_path):
    path = tmp_path / "a" / "b" / "s.zarr"
    with contextlib.ExitStack() as stack:
        pipes = [stack.enter_context(other_process(_race, path, name))[1] for name in "abc"]
        for pipe in pipes:
            pipe.send("go")
        saved = [name for pipe in pipes for name in pipe.recv()]
    entries = rn.ZarrStorage(path).catalogue()
    assert sorted(entry.name for entry in entries) == sorted(saved)
    assert [entry.sequence for entry in entries] == list(range(1, len(saved) + 1))
    assert saved  # each may find another at work


class Raced(zarr.storage.MemoryStore):
    """Another writer makes the store right after it was found not to exist."""

    other = None

    async def set_if_not_exists(self, key, value):
        self.other = value.from_bytes(value.to_bytes() + b" ")
        await self.set(key, self.other)
        await super().set_if_not_exists(key, value)


def test_storage_rule_24_the_root_document_of_a_zarr_store_is_not_overwritten():
    store = Raced()
    rn.ZarrStorage(store).save(ONE, make_snapshot(1))
    assert store._store_dict["zarr.json"].to_bytes() == store.other.to_bytes()


def test_storage_rule_24_nor_is_that_of_an_object_store(monkeypatch):
    obstore = pytest.importorskip("obstore")
    from ringnb.checkpoint.storage.object_store.claims import Claims

    place = obstore.store.MemoryStore()
    create = Claims.create

    def raced(self, key, data):
        if key == "zarr.json":
            obstore.put(place, key, data + b" ")
        return create(self, key, data)

    monkeypatch.setattr(Claims, "create", raced)
    rn.ZarrStorage(zarr.storage.ObjectStore(place)).save(ONE, make_snapshot(1))
    assert bytes(obstore.get(place, "zarr.json").bytes()).endswith(b" ")
