"""Checkpoints in one zip file."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import zarr
from manager_rig import Rig
from stopping import stopped_at
from zarr.storage import MemoryStore, ZipStore

import ringnb as rn
from ringnb.checkpoint.storage.archive import export_archive, import_archive, open_archive
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.cli import command_line as cli
from ringnb.testing.storages import StorageTests, make_snapshot

ONE, TWO, THREE = (f"checkpoint_0_step_{n}" for n in (1, 2, 3))


class ThroughZip(CheckpointStorage):
    """Whatever is saved is seen after an export of all, and an import into another store."""

    def __init__(self, folder):
        self.source = rn.ZarrStorage(MemoryStore())
        self.main = rn.ZarrStorage(MemoryStore())
        self.folder = folder
        self.numbers = itertools.count()
        self.mutex = threading.Lock()

    def save(self, name, snapshot):
        self.source.save(name, snapshot)
        with self.mutex:
            archive = self.folder / f"{next(self.numbers)}.zip"
            self.main = rn.ZarrStorage(MemoryStore())
            exported = export_archive(self.source, archive)
            if list(import_archive(archive, self.main)) != exported:
                raise AssertionError(archive)

    def load(self, name):
        return self.main.load(name)

    def list(self):
        return self.main.list()

    def delete(self, name):
        self.main.delete(name)
        self.source.delete(name)

    def exists(self, name):
        return self.main.exists(name)

    def close(self):
        self.main.close()


class TestThroughZip(StorageTests):
    @pytest.fixture
    def storage(self, tmp_path):
        with ThroughZip(tmp_path) as storage:
            yield storage


@pytest.fixture
def store(tmp_path):
    with rn.ZarrStorage(tmp_path / "s.zarr", durable=False) as storage:
        for name, step in ((TWO, 2), (ONE, 1), (THREE, 3)):
            storage.save(name, make_snapshot(step))
        storage.pin(ONE, "good")
    return tmp_path / "s.zarr"


def test_storage_rule_17_an_archive_is_a_store_that_others_read(store, tmp_path):
    path = tmp_path / "a.zip"
    assert export_archive(rn.ZarrStorage(store), path) == [TWO, ONE, THREE]
    archive = open_archive(path)
    assert archive.list() == [TWO, ONE, THREE]
    assert archive.load(ONE).pinned == "good"
    for name in archive.list():
        archive.load(name).verify()
    group = zarr.open_group(ZipStore(path, mode="r"), path=ONE, mode="r")
    np.testing.assert_array_equal(group["u"][:], rn.ZarrStorage(store).load(ONE).numpy()["u"])
    with pytest.raises(rn.CheckpointError, match="read-only"):
        archive.delete(ONE)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".s.zarr.ringnb", "a.zip", "s.zarr"]


def test_storage_rule_17_an_import_keeps_all_but_the_number(store, tmp_path):
    export_archive(rn.ZarrStorage(store), tmp_path / "a.zip")
    with rn.ZarrStorage(tmp_path / "t.zarr", durable=False) as target:
        target.save("other_0_step_1", make_snapshot(1, name_prefix="other"))
        assert import_archive(tmp_path / "a.zip", target, [THREE]) == {THREE: THREE}
        assert list(import_archive(tmp_path / "a.zip", target)) == [TWO, ONE]
        assert import_archive(tmp_path / "a.zip", target) == {}
        assert target.list() == [TWO, ONE, THREE, "other_0_step_1"]
        for name in (ONE, TWO, THREE):
            mine, theirs = target.load(name), rn.ZarrStorage(store).load(name)
            mine.verify()
            new = {"sequence": 0, "store": 0, "digests": 0}
            assert {**mine.document.record, **new} == {**theirs.document.record, **new}
            assert mine.document.record["store"] == target.id


def states(storage, slot=0):
    """Return an actor's history: the step and the value of each, oldest first."""
    entries = [e for e in storage.catalogue() if e.copy is None and e.actor_slot == slot]
    return [(e.step, float(storage.load(e.name).numpy()["u"].flat[0])) for e in entries]


def run_once(path, steps, value, **config):
    """Run a script once: a fresh session's commits."""
    with rn.ZarrStorage(path, durable=False) as storage:
        rig = Rig(storage, **({"max_snapshots": 0} | config))
        rig.add()
        rig.m.note_restored(0, None)
        for step in steps:
            rig.commit(step=step, value=value)
        return rig.m.runs(0)[-1].id


def test_storage_rule_17_a_name_that_is_taken_gets_a_suffix_and_nothing_comes_twice(
    tmp_path, capsys
):
    one, two = tmp_path / "one.zarr", tmp_path / "two.zarr"
    theirs = run_once(one, (1, 2), 1.0)
    mine = run_once(two, (1, 2), 2.0)
    export_archive(rn.ZarrStorage(one), tmp_path / "a.zip")
    assert cli.main(["import", str(tmp_path / "a.zip"), str(two)]) == 0
    assert f"{ONE} is {ONE}.2 here" in capsys.readouterr().out
    with rn.ZarrStorage(two, durable=False) as target:
        assert states(target) == [(1, 1.0), (2, 1.0), (1, 2.0), (2, 2.0)]
        assert target.list() == [f"{ONE}.2", f"{TWO}.2", ONE, TWO]
        assert [e.run for e in target.catalogue()] == [theirs] * 2 + [mine] * 2
        # What it is goes by its id: under whatever name it is there, it does not come again.
        assert import_archive(tmp_path / "a.zip", target) == {}
        second = target.load(f"{TWO}.2")
        assert (second.id, second.parent_id) == (
            rn.ZarrStorage(one).load(TWO).id,
            target.load(f"{ONE}.2").id,
        )
        target.delete(f"{ONE}.2")
        assert import_archive(tmp_path / "a.zip", target) == {ONE: f"{ONE}.2"}
        # What is damaged keeps its name, too.
        (two / TWO / "zarr.json").write_bytes(b"{}")
        export_archive(rn.ZarrStorage(one), tmp_path / "b.zip", [TWO])
        target.delete(f"{TWO}.2")
        assert import_archive(tmp_path / "b.zip", target) == {TWO: f"{TWO}.2"}


@pytest.mark.parametrize(
    "policy",
    [
        *(rn.retention.keep_last(2), rn.retention.keep_spaced(1000.0), rn.retention.keep_every(10)),
        *(rn.retention.keep_within(40), rn.retention.keep_thinning(1000.0)),
        rn.retention.keep_best(1, lambda c: float(c["u"][0])),
    ],
    ids=repr,
)
@pytest.mark.parametrize("of", ["an earlier run", "the current run"])
@pytest.mark.parametrize("place", ["directory", "memory"])
def test_storage_rule_17_an_import_of_the_past_changes_nothing_for_what_is_there(
    tmp_path, policy, of, place
):
    """Of two stores, the one with and the one without the import do the same to what they had."""
    kept = {}
    path = tmp_path / "past.zarr"
    run_once(path, (11, 12, 13), 9.0)
    for imported in (False, True):
        target = rn.ZarrStorage(
            tmp_path / f"{imported}.zarr" if place == "directory" else MemoryStore()
        )
        with rn.ZarrStorage(path, durable=False) as past:
            rig = Rig(target, max_snapshots=0)
            rig.add()
            rig.m.note_restored(0, None)
            if of == "the current run":
                for name in past.list()[:1]:
                    target.copy_from(past.load(name), place=1)
                rig.m.note_restored(0, target.load(past.list()[0]))
            for step in (21, 22, 23):
                rig.commit(step=step, value=float(step) - 20)
            archive = tmp_path / f"{imported}.zip"
            export_archive(past, archive)
        before, latest = target.list(), rig.m.load_latest(0).name
        if imported:
            import_archive(archive, target)
            assert target.list()[-len(before) :] == before
            assert rig.m.load_latest(0).name == latest
        rig.m.reconfigure(retention=policy)
        last = rig.commit(step=24, value=0.5)
        kept[imported] = [n for n in target.list() if n in {*before, last}]
        if imported:
            assert len(target.list()) - len(kept[imported]) == (3 if of == "an earlier run" else 2)
        target.close()
    assert kept[True] == kept[False]


def test_storage_rule_17_an_import_that_was_killed_goes_on(store, tmp_path):
    export_archive(rn.ZarrStorage(store), tmp_path / "a.zip")
    for n in itertools.count(step=3):
        path = tmp_path / f"{n}.zarr"
        if n % 2:
            run_once(path, (7,), 1.0)
        with rn.ZarrStorage(path, durable=False) as target:
            had = target.list()
            stopped = stopped_at(n, lambda t=target: import_archive(tmp_path / "a.zip", t))
            assert target.list() in [[*[TWO, ONE, THREE][left:], *had] for left in range(4)]
        with rn.ZarrStorage(path, durable=False) as target:
            import_archive(tmp_path / "a.zip", target)
            assert target.list() == [TWO, ONE, THREE, *had]
            for name in target.list():
                target.load(name).verify()
        if not stopped:
            break
    assert n > 20


def test_storage_rule_17_two_archives_and_a_store_that_was_empty(tmp_path):
    runs = {}
    for name in ("a", "b"):
        runs[name] = run_once(tmp_path / f"{name}.zarr", (1, 2), ord(name))
        export_archive(rn.ZarrStorage(tmp_path / f"{name}.zarr"), tmp_path / f"{name}.zip")
    for storage in (rn.ZarrStorage(tmp_path / "t.zarr"), rn.ZarrStorage(MemoryStore())):
        with storage as target:
            import_archive(tmp_path / "a.zip", target)
            assert [e.sequence for e in target.catalogue()] == [1, 2]
            import_archive(tmp_path / "b.zip", target)
            assert [e.run for e in target.catalogue()] == [runs["b"]] * 2 + [runs["a"]] * 2
            assert import_archive(tmp_path / "a.zip", target) == {}
            assert import_archive(tmp_path / "b.zip", target) == {}
            # A moved run goes on, and counts.
            rig = Rig(target, max_snapshots=2)
            rig.add()
            rig.commit(step=3)
            assert [r.count for r in rig.m.runs(0)] == [2, 2]
            assert rig.m.list_checkpoints(0) == [f"{ONE}.2", f"{TWO}.2", TWO, THREE]
            assert [e.copy for e in target.catalogue()] == [None] * 4


def test_storage_rule_17_a_copy_stays_a_copy_in_an_archive_and_behind_it(store, tmp_path):
    shutil.copytree(store / ONE, store / "my_backup")
    export_archive(rn.ZarrStorage(store), tmp_path / "a.zip")
    archive = open_archive(tmp_path / "a.zip")
    assert {e.name for e in archive.catalogue() if e.copy} == {"my_backup"}
    with rn.ZarrStorage(tmp_path / "t.zarr", durable=False) as target:
        import_archive(tmp_path / "a.zip", target)
        assert {e.name for e in target.catalogue() if e.copy} == {"my_backup"}
        assert import_archive(tmp_path / "a.zip", target) == {}
        target.load("my_backup").verify()
        assert target.adopt(["my_backup"]) == ["my_backup"]
    with rn.ZarrStorage(store, durable=False) as source:
        source.unpin("my_backup")
        source.delete("my_backup")
        assert import_archive(tmp_path / "a.zip", source) == {"my_backup": "my_backup"}
        assert {e.name for e in source.catalogue() if e.copy} == {"my_backup"}


def test_storage_rule_17_an_export_of_something_damaged_leaves_nothing(store, tmp_path):
    next((store / ONE / "u").glob("c*")).write_bytes(b"rubbish")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(rn.CheckpointCorrupt, match=ONE):
        export_archive(rn.ZarrStorage(store), tmp_path / "a.zip")
    assert sorted(tmp_path.iterdir()) == before
    assert export_archive(rn.ZarrStorage(store), tmp_path / "a.zip", [TWO]) == [TWO]
    with pytest.raises(rn.CheckpointError, match="exists"):
        export_archive(rn.ZarrStorage(store), tmp_path / "a.zip", [TWO])
    with pytest.raises(rn.CheckpointNotFound, match="nothing_0"):
        export_archive(rn.ZarrStorage(store), tmp_path / "b.zip", ["nothing_0"])


def test_the_commands_say_what_is_left_out_and_what_came_before_a_failure(store, tmp_path, capsys):
    archive = tmp_path / "a.zip"
    export_archive(rn.ZarrStorage(store), archive)
    (store / TWO / "zarr.json").write_bytes(b"{")
    assert cli.main(["export", str(store), str(tmp_path / "b.zip")]) == 0
    assert capsys.readouterr().out.endswith(f"Left out, as their metadata is damaged: {TWO}\n")
    missing = tmp_path / "missing" / "c.zip"
    assert cli.main(["export", str(store), str(missing)]) == 1
    assert capsys.readouterr().err == f"ringnb: {missing}: No such file or directory\n"
    # A bit of the oldest one's first chunk: those that are newer come in.
    raw = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as members:
        oldest = members.namelist()[1]
        raw[members.getinfo(oldest).header_offset + 30 + len(oldest)] ^= 1
        newer = len({n.split("/")[0] for n in members.namelist()[1:]}) - 1
    archive.write_bytes(raw)
    assert cli.main(["import", str(archive), str(tmp_path / "new.zarr")]) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"{newer} checkpoint")
    assert said.out.endswith("in spite of this:\n")
    assert "is damaged" in said.err
    assert len(rn.ZarrStorage(tmp_path / "new.zarr").list()) == newer > 0


def test_storage_rule_06_a_damaged_archive_gives_no_wrong_data(store, tmp_path):
    path = tmp_path / "a.zip"
    export_archive(rn.ZarrStorage(store), path, [ONE])
    expected = rn.ZarrStorage(store).load(ONE).numpy()
    whole = path.read_bytes()
    damaged = tmp_path / "d.zip"
    outcomes = set()
    for at in range(0, len(whole), 7):
        raw = bytearray(whole)
        raw[at] ^= 1 << (at % 8)
        damaged.write_bytes(raw)
        try:
            found = open_archive(damaged).load(ONE).numpy()
        except rn.CheckpointError as error:
            outcomes.add(type(error).__name__)
            continue
        outcomes.add("as committed")  # a time stamp of the zip, say
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
    assert {"CheckpointCorrupt", "as committed"} <= outcomes
    for size in range(0, len(whole), 97):
        damaged.write_bytes(whole[:size])
        with pytest.raises(rn.CheckpointError):
            open_archive(damaged)


class RepeatedMebibyte:
    """Deflates a mebibyte of zeros once, in place of each that is written."""

    def __init__(self):
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        self.block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
        self.end = deflate.flush()

    def compress(self, data):
        return self.block

    def flush(self):
        return self.end


@pytest.mark.parametrize("key", ["u/c.0.0", "u/zarr.json", "zarr.json"])
def test_storage_rule_19_a_member_that_inflates_to_half_a_gigabyte_is_damage_in_bounded_memory(
    store, tmp_path, key
):
    path = tmp_path / "a.zip"
    export_archive(rn.ZarrStorage(store), path, [ONE])
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(bomb, "w") as bad:
        for info in good.infolist():
            if info.filename != f"{ONE}/{key}":
                bad.writestr(info, good.read(info))
        with bad.open(zipfile.ZipInfo(f"{ONE}/{key}"), "w", force_zip64=True) as member:
            member._compressor = RepeatedMebibyte()
            member._zinfo.compress_type = zipfile.ZIP_DEFLATED
            for _ in range(512):
                member.write(bytes(1 << 20))
    assert bomb.stat().st_size < 4 << 20
    tracemalloc.start()
    try:
        archive = open_archive(bomb)
        assert archive.list() == [ONE]
        with pytest.raises(rn.CheckpointCorrupt):
            archive.load(ONE).verify()
        with pytest.raises(rn.CheckpointCorrupt):
            archive.load(ONE).numpy()
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()


def test_storage_rule_15_the_commands_export_import_and_pin(store, tmp_path, capsys):
    path, target = tmp_path / "a.zip", tmp_path / "t.zarr"
    assert cli.main(["export", str(store), str(path), ONE, TWO]) == 0
    assert cli.main(["import", str(path), str(target)]) == 0
    assert "2 checkpoints imported" in capsys.readouterr().out
    assert cli.main(["import", str(path), str(target)]) == 0
    assert "0 checkpoints imported" in (out := capsys.readouterr().out)
    assert "it already holds every undamaged checkpoint" in out
    assert cli.main(["pin", str(target), TWO, "before the crash"]) == 0
    assert cli.main(["unpin", str(target), ONE]) == 0
    capsys.readouterr()
    for place in (target, path):
        assert cli.main(["ls", str(place), "--json"]) == 0
        pinned = {
            c["name"]: c["pinned"] for c in json.loads(capsys.readouterr().out)["checkpoints"]
        }
        if place == target:
            assert pinned == {ONE: None, TWO: "before the crash"}
        else:
            assert pinned == {ONE: "good", TWO: None}
        assert cli.main(["verify", str(place)]) == 0
        capsys.readouterr()
    assert cli.main(["ls", str(target)]) == 0
    assert "pinned: before the crash" in capsys.readouterr().out
    for bad in (["export", str(store), str(path)], ["import", str(store), str(target)]):
        assert cli.main(bad) == 1
        assert capsys.readouterr().err.count("\n") == 1


def test_storage_rule_17_a_damaged_checkpoint_keeps_no_other_out(store, tmp_path):
    export_archive(rn.ZarrStorage(store), tmp_path / "a.zip")
    raw = (tmp_path / "a.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        info = archive.getinfo(f"{ONE}/u/c.0.0")
    at = info.header_offset + 30 + len(info.filename) + 1
    (tmp_path / "a.zip").write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    with rn.ZarrStorage(tmp_path / "t.zarr", durable=False) as target:
        with pytest.raises(rn.CheckpointCorrupt, match=rf"1 of 3 .*{ONE}.*all others were"):
            import_archive(tmp_path / "a.zip", target)
        assert target.list() == [TWO, THREE]
