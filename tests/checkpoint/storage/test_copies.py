"""Copies that a user makes, whatever the file manager calls them, and what `adopt` makes of them."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr
from commands import assert_one_line, ringnb
from manager_rig import Rig
from stopping import stopped_at
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

import ringnb as rn
from ringnb.checkpoint.storage.adoption import adopt_directory
from ringnb.checkpoint.storage.document import revise_document
from ringnb.cli import command_line as cli
from ringnb.testing.storages import make_snapshot

ONE, TWO, THREE, FOUR = (f"checkpoint_0_step_{n}" for n in (1, 2, 3, 4))
# What people, file browsers and JupyterLab call a copy.
NAMES = [
    *("KEEP_the_good_one", "my_backup", f"{TWO}-Copy1", f"old-{TWO}", f"{TWO}.bak"),
    *(f"{TWO}.7", "checkpoint_0_step_9", "checkpoint_1_step_2", "checkpoint_0_step_2.0", "best"),
]


class Folder:
    """A store in a directory, handled as a file manager does."""

    def __init__(self, path):
        self.place = path

    def open(self):
        return rn.ZarrStorage(self.place, durable=False)

    def copy(self, name, to, store=None):
        shutil.copytree(self.place / name, (store or self).place / to)

    def remove(self, name):
        shutil.rmtree(self.place / name)

    def read(self, name):
        return (self.place / name / "zarr.json").read_bytes()

    def write(self, name, raw):
        (self.place / name / "zarr.json").write_bytes(raw)

    def drop_root(self):
        (self.place / "zarr.json").unlink()


class Bucket:
    """A store in a zarr store, handled key by key."""

    def __init__(self, _=None):
        self.place = MemoryStore()

    def open(self):
        return rn.ZarrStorage(self.place)

    @property
    def keys(self):
        return self.place._store_dict

    def copy(self, name, to, store=None):
        for key in [k for k in self.keys if k.startswith(f"{name}/")]:
            (store or self).keys[to + key.removeprefix(name)] = self.keys[key]

    def remove(self, name):
        for key in [k for k in self.keys if k.startswith(f"{name}/")]:
            del self.keys[key]

    def read(self, name):
        return self.keys[f"{name}/zarr.json"].to_bytes()

    def write(self, name, raw):
        value = default_buffer_prototype().buffer.from_bytes(raw)
        sync(self.place.set(f"{name}/zarr.json", value))

    def drop_root(self):
        del self.keys["zarr.json"]


@pytest.fixture(params=[Folder, Bucket])
def made(request, tmp_path):
    """Return a function that makes a place for a store."""

    def make(name="s.zarr"):
        return request.param(tmp_path / name)

    return make


def commits(storage, steps, **config):
    """Commit as a manager does, and return it."""
    rig = Rig(storage, **config)
    rig.add()
    for step in steps:
        rig.commit(step=step, value=float(step))
    return rig


def infos(storage):
    return {e.name: e for e in storage.catalogue()}


# -- a copy is no part of any history -----------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_storage_rule_26_a_copy_is_loaded_by_its_name_and_left_alone(made, name):
    place = made()
    storage = place.open()
    rig = commits(storage, (1, 2, 3), max_snapshots=3)
    place.copy(TWO, name)
    # Of the process that writes, and of one that comes later.
    for look, manager in ((storage, rig), (place.open(), None)):
        entry = infos(look)[name]
        assert entry.copy == f"a copy of {TWO!r}"
        checkpoint = look.load(name)
        assert (checkpoint.name, checkpoint.step) == (name, 2)
        assert checkpoint.numpy()["u"][0] == 2.0
        manager = manager or commits(look, (), max_snapshots=3)
        assert manager.m.list_checkpoints(0) == [ONE, TWO, THREE]
        assert manager.m.load_latest(0).name == THREE
        assert not [e for e in manager.m.preview_retention().keep if e.name == name]
        assert [r.count for r in manager.m.runs(0)] == [3]
        with pytest.raises(rn.CheckpointNotFound):
            manager.m.discard(name)
    rig.commit(step=4)
    assert rig.m.list_checkpoints(0) == [TWO, THREE, FOUR]
    rig.m.reconfigure(max_snapshots=1)
    rig.commit(step=5)
    assert {e.name for e in storage.catalogue()} == {"checkpoint_0_step_5", name}
    storage.load(name).verify()
    assert storage.load("checkpoint_0_step_5").parent == FOUR
    assert storage.load("checkpoint_0_step_5").sequence == 5


def test_storage_rule_26_a_renamed_checkpoint_is_one_again_when_it_is_renamed_back(made):
    place = made()
    storage = place.open()
    rig = commits(storage, (1, 2, 3), max_snapshots=9)
    place.copy(THREE, "KEEP_the_good_one")
    place.remove(THREE)
    assert rig.m.load_latest(0).name == TWO
    assert infos(storage)["KEEP_the_good_one"].copy == f"a copy of {THREE!r}"
    # The next commit is above all, copies too, and may take the name.
    assert storage.load(rig.commit(step=4)).sequence == 4
    place.copy("KEEP_the_good_one", THREE)
    place.remove("KEEP_the_good_one")
    assert rig.m.list_checkpoints(0) == [ONE, TWO, THREE, FOUR]
    assert rig.m.load_latest(0).name == FOUR


@pytest.mark.parametrize("name", [THREE, "from_another_store", "checkpoint_0_step_50"])
def test_storage_rule_26_a_copy_from_another_store_is_never_the_latest(made, name):
    place, other = made(), made("other.zarr")
    theirs = commits(other.open(), range(40, 60), max_snapshots=0)
    theirs.storage.close()
    storage = place.open()
    rig = commits(storage, (1, 2), max_snapshots=2)
    other.copy("checkpoint_0_step_50", name, place)
    assert infos(storage)[name].copy == "a copy of 'checkpoint_0_step_50' of another store"
    assert rig.m.load_latest(0).name == TWO
    assert rig.m.list_checkpoints(0) == [ONE, TWO]
    four = rig.commit(step=4)
    assert storage.load(four).parent == TWO
    assert storage.load(four).sequence > storage.load(name).sequence == 11
    assert rig.m.list_checkpoints(0) == [TWO, four]
    again = commits(place.open(), (), max_snapshots=2)
    assert again.m.load_latest(0).name == four
    if name == THREE:  # its name is taken
        assert rig.commit(step=3) == f"{THREE}.2"


def test_storage_rule_26_copies_of_copies_and_of_pins(made):
    place = made()
    storage = place.open()
    commits(storage, (1, 2, 3), max_snapshots=1)
    storage.pin(THREE, "the good one")
    place.copy(THREE, "a")
    place.copy("a", "b")
    storage.unpin(THREE)
    assert {n: (e.copy, e.pin) for n, e in infos(storage).items()} == {
        THREE: (None, None),
        "a": (f"a copy of {THREE!r}", "the good one"),
        "b": (f"a copy of {THREE!r}", "the good one"),
    }
    storage.unpin("a")
    storage.delete("a")  # by hand a user may
    assert sorted(storage.list()) == ["b", THREE]


def test_storage_rule_26_a_copy_that_continues_from_a_checkpoint_makes_no_branch_of_it(made):
    place = made()
    storage = place.open()
    rig = commits(storage, (1, 2), max_snapshots=0)
    rig.m.note_restored(0, storage.load(ONE))
    rig.commit(step=9)
    place.copy("checkpoint_0_step_9", "c")
    assert infos(storage)[ONE].is_branch_point
    storage.delete("checkpoint_0_step_9")
    assert not infos(storage)[ONE].is_branch_point


def test_storage_rule_26_to_go_on_from_a_copy_is_to_go_on_from_its_original(made):
    place = made()
    storage = place.open()
    rig = commits(storage, (1, 2), max_snapshots=0)
    place.copy(TWO, "my_backup")
    place.copy(ONE, "older")
    rig.m.note_restored(0, storage.load("my_backup"))
    three = storage.load(rig.commit(step=3))
    assert (three.parent, three.run) == (TWO, storage.load(TWO).run)
    rig.m.note_restored(0, storage.load("older"))
    branch = storage.load(rig.commit(step=2))
    assert (branch.parent, branch.parent_id) == (ONE, storage.load(ONE).id)
    assert branch.run != three.run
    storage.delete(TWO)
    rig.m.note_restored(0, storage.load("my_backup"))
    assert storage.load(rig.commit(step=3)).parent == "my_backup"


def test_storage_rule_26_a_store_that_is_copied_or_moved_as_a_whole_is_as_it_was(tmp_path):
    place = Folder(tmp_path / "s.zarr")
    with place.open() as storage:
        commits(storage, (1, 2, 3), max_snapshots=2)
        shutil.copytree(place.place, tmp_path / "copied.zarr")
    shutil.move(place.place, tmp_path / "moved.zarr")
    for name in ("copied.zarr", "moved.zarr"):
        with Folder(tmp_path / name).open() as storage:
            assert storage.id
            assert [e.copy for e in storage.catalogue()] == [None, None]
            assert commits(storage, (4,), max_snapshots=2).m.list_checkpoints(0) == [THREE, FOUR]


def test_storage_rule_26_a_checkpoint_of_a_former_version_is_taken_as_it_was(made):
    place = made()
    storage = place.open()
    commits(storage, (1, 2), max_snapshots=0)
    for name in (ONE, TWO):
        new = dict.fromkeys(("id", "name", "store", "run", "parent_id"))
        place.write(name, revise_document(place.read(name), **new))
    look = place.open()
    place.copy(ONE, "checkpoint_0_step_0")
    assert [e.copy for e in look.catalogue()] == [None] * 3
    rig = commits(look, (), max_snapshots=2)
    assert len(rig.m.runs(0)) == 1
    assert rig.m.load_latest(0).name == TWO
    assert rig.commit(step=3) == THREE
    assert rig.m.list_checkpoints(0) == [TWO, THREE]
    assert look.adopt([TWO]) == []


def test_storage_rule_26_a_copy_that_is_made_while_the_manager_commits(tmp_path):
    place = Folder(tmp_path / "s.zarr")
    with place.open() as storage:
        rig = commits(storage, (1, 2), max_snapshots=3)
        stop = threading.Event()

        def copy():
            n = 0
            while not stop.is_set():
                n += 1
                for source in (ONE, TWO):
                    if (place.place / source).exists():
                        shutil.copytree(place.place / source, place.place / f"copy{n}_of_{source}")

        thread = threading.Thread(target=copy)
        storage.pin(ONE, "stays")
        storage.pin(TWO, "stays")
        thread.start()
        try:
            for step in range(3, 15):
                rig.commit(step=step)
        finally:
            stop.set()
            thread.join(60)
        assert rig.m.list_checkpoints(0) == [
            *(ONE, TWO, "checkpoint_0_step_12", "checkpoint_0_step_13", "checkpoint_0_step_14"),
        ]
        entries = storage.catalogue()
        assert not any(e.damaged for e in entries)
        assert [e for e in entries if e.copy is not None]
        for e in entries:
            storage.load(e.name).verify()


# -- adopt ----------------------------------------------------------------------------------------------


def test_storage_rule_27_an_adopted_copy_is_a_checkpoint_of_this_store(made):
    place = made()
    storage = place.open()
    rig = commits(storage, (1, 2, 3), max_snapshots=0)
    before = {n: storage.load(n) for n in (TWO, THREE)}
    place.copy(TWO, "KEEP_the_good_one")
    place.copy(THREE, "the_newest")
    place.remove(THREE)
    assert storage.adopt(["the_newest", "KEEP_the_good_one"]) == ["KEEP_the_good_one", "the_newest"]
    for look in (storage, place.open()):
        entries = infos(look)
        assert [e.copy for e in entries.values()] == [None] * 4
        keep, newest = entries["KEEP_the_good_one"], entries["the_newest"]
        # The original is there: a new id, and a place before all others.
        assert keep.id != before[TWO].id
        assert keep.sequence == 0
        # The original is not: it is what that was.
        assert (newest.id, newest.sequence) == (before[THREE].id, 3)
        assert {keep.run, newest.run} == {before[TWO].run}
        assert keep.parent_id == before[TWO].parent_id
        look.load("KEEP_the_good_one").verify()
    assert rig.m.list_checkpoints(0) == ["KEEP_the_good_one", ONE, TWO, "the_newest"]
    assert rig.m.load_latest(0).name == "the_newest"
    assert storage.adopt(["the_newest", TWO]) == []
    # Retention counts what was committed here; what has a place before all others was put there by hand.
    rig.m.reconfigure(max_snapshots=1)
    rig.commit(step=4)
    assert rig.m.list_checkpoints(0) == ["KEEP_the_good_one", FOUR]


def test_storage_rule_27_what_is_adopted_from_another_store_comes_before_all_in_its_order(made):
    place, other = made(), made("other.zarr")
    commits(other.open(), range(40, 44), max_snapshots=0).storage.close()
    storage = place.open()
    rig = commits(storage, (1, 2), max_snapshots=2)
    names = [f"checkpoint_0_step_{n}" for n in (42, 40, 43)]
    for name in names:
        other.copy(name, name, place)
    other.copy(names[0], "again", place)
    storage.adopt(names)
    assert storage.adopt(["again"]) == ["again"]
    assert rig.m.list_checkpoints(0) == ["again", *sorted(names), ONE, TWO]
    assert [e.sequence for e in storage.catalogue()] == [-3, -2, -1, 0, 1, 2]
    assert len({e.id for e in storage.catalogue()}) == 6
    assert rig.m.load_latest(0).name == TWO
    assert storage.load(names[0]).run == other.open().load(names[0]).run
    rig.commit(step=3)
    assert rig.m.list_checkpoints(0) == ["again", *sorted(names), TWO, THREE]


def test_storage_rule_27_nothing_is_adopted_if_one_cannot_be(made):
    place = made()
    storage = place.open()
    commits(storage, (1, 2), max_snapshots=0)
    for name in ("a", "b"):
        place.copy(TWO, name)
    raw = place.read("b")
    place.write("b", raw[:-40])
    for bad, error in (
        (["a", "nothing"], rn.CheckpointNotFound),
        (["a", "b"], rn.CheckpointCorrupt),
        (["a", "../a"], ValueError),
        ("a", TypeError),
    ):
        with pytest.raises(error):
            storage.adopt(bad)
        assert infos(storage)["a"].copy
    place.write("b", raw)
    assert storage.adopt(["a", "b"]) == ["a", "b"]
    assert len({e.id for e in storage.catalogue()}) == 4


def test_storage_rule_27_a_copy_whose_bytes_are_damaged_is_not_adopted(tmp_path):
    place = Folder(tmp_path / "s.zarr")
    with place.open() as storage:
        commits(storage, (1,), max_snapshots=0)
        place.copy(ONE, "a")
        (chunk,) = (place.place / "a" / "u").glob("c*")
        chunk.write_bytes(bytes(chunk.stat().st_size))
        with pytest.raises(rn.CheckpointCorrupt, match="'a'"):
            storage.adopt(["a"])
        assert infos(storage)["a"].copy


def test_storage_rule_27_a_pinned_copy_stays_pinned(made):
    place = made()
    storage = place.open()
    commits(storage, (1,), max_snapshots=0)
    storage.pin(ONE, "good")
    place.copy(ONE, "a")
    storage.adopt(["a"])
    assert infos(storage)["a"].pin == "good"
    with pytest.raises(rn.CheckpointError, match="pinned"):
        storage.delete("a")


# -- a store without its root document ------------------------------------------------------------------


def test_storage_rule_27_a_store_that_lost_its_root_document_is_told_how_to_go_on(made):
    place = made()
    storage = place.open()
    commits(storage, (1, 2, 3), max_snapshots=0)
    store_id = storage.id
    storage.close()
    place.copy(TWO, "KEEP")
    place.drop_root()
    with pytest.raises(rn.CheckpointError, match=r"holds 4 checkpoints.*`ringnb adopt"):
        place.open().list()
    assert adopt_directory(place.place) == ([ONE, TWO, THREE], ["KEEP"])
    with place.open() as again:
        assert again.id == store_id
        rig = commits(again, (4,), max_snapshots=2)
        assert rig.m.list_checkpoints(0) == [THREE, FOUR]
    with pytest.raises(rn.CheckpointError, match=r"a store already: say which.*'KEEP'"):
        adopt_directory(place.place)


@pytest.mark.parametrize(
    "root", ["", "{", '{"zarr_format":3,"node_type":"group","attributes":{"mine":[1]}}', "null"]
)
def test_storage_rule_27_a_damaged_root_document_is_replaced_and_attributes_stay(tmp_path, root):
    place = Folder(tmp_path / "s.zarr")
    with place.open() as storage:
        commits(storage, (1, 2), max_snapshots=0)
        store_id = storage.id
    (place.place / "zarr.json").write_text(root)
    with pytest.raises(rn.CheckpointError, match="`ringnb adopt"):
        place.open().list()
    assert adopt_directory(place.place, durable=True) == ([ONE, TWO], [])
    assert place.open().id == store_id
    attrs = dict(zarr.open_group(place.place, mode="r").attrs)
    assert attrs.pop("ringnb") == {"format": 1, "id": store_id}
    assert attrs == ({"mine": [1]} if "mine" in root else {})


def test_storage_rule_27_chosen_checkpoints_in_a_new_directory_become_a_store(tmp_path):
    one, two = Folder(tmp_path / "one.zarr"), Folder(tmp_path / "two.zarr")
    with one.open() as storage:
        commits(storage, (1, 2, 3), max_snapshots=0)
        store_id = storage.id
    with two.open() as storage:
        commits(storage, (2, 3), max_snapshots=0)
    chosen = Folder(tmp_path / "chosen")
    chosen.place.mkdir()
    one.copy(THREE, THREE, chosen)
    one.copy(ONE, "the_first", chosen)
    one.copy(ONE, "the_first_again", chosen)
    two.copy(TWO, TWO, chosen)
    two.copy(THREE, "theirs", chosen)
    one.copy(TWO, "damaged", chosen)
    (chosen.place / "damaged" / "zarr.json").write_bytes(chosen.read("damaged")[:-9])
    one.copy(TWO, "no_bytes", chosen)
    shutil.rmtree(chosen.place / "no_bytes" / "u")
    (chosen.place / "notes.txt").write_text("mine")
    ours, copies = adopt_directory(chosen.place)
    with chosen.open() as storage:
        assert storage.id == store_id
        entries = infos(storage)
        assert list(entries) == ["damaged", *[n for n in entries if n != "damaged"]]
        first = "the_first" if "the_first" in ours else "the_first_again"
        assert ours == [TWO, "theirs", first, THREE]
        assert sorted(copies) == sorted({"the_first", "the_first_again", "no_bytes"} - set(ours))
        for name in ours:
            storage.load(name).verify()
        assert storage.load(THREE).run == one.open().load(THREE).run
        rig = commits(storage, (9,), max_snapshots=0)
        assert storage.load("checkpoint_0_step_9").sequence == 4
        assert rig.m.load_latest(0).step == 9
    assert (chosen.place / "notes.txt").read_text() == "mine"


def test_storage_rule_27_what_holds_nothing_of_ringnb_is_refused_and_left(tmp_path):
    for name in ("empty", "plain", "group", "array", "damaged"):
        (tmp_path / name).mkdir()
    (tmp_path / "plain" / "letter.txt").write_text("hello")
    zarr.open_group(tmp_path / "group", mode="w").create_array("x", data=np.arange(3))
    zarr.create_array(tmp_path / "array", data=np.arange(3), overwrite=True)
    with Folder(tmp_path / "s.zarr").open() as storage:
        storage.save(ONE, make_snapshot(1))
    shutil.copytree(tmp_path / "s.zarr" / ONE, tmp_path / "array" / ONE)
    shutil.copytree(tmp_path / "s.zarr" / ONE, tmp_path / "damaged" / ONE)
    (tmp_path / "damaged" / ONE / "zarr.json").unlink()
    (tmp_path / "newer").mkdir()
    shutil.copytree(tmp_path / "s.zarr" / ONE, tmp_path / "newer" / ONE)
    root = '{"zarr_format":3,"node_type":"group","attributes":{"ringnb":{"format":9}}}'
    (tmp_path / "newer" / "zarr.json").write_text(root)
    (tmp_path / "file").write_text("hello")
    before = sorted(tmp_path.rglob("*"))
    for name in (
        "empty",
        "plain",
        "group",
        "array",
        "damaged",
        "file",
        "missing",
        "s.zarr",
        "newer",
    ):
        with pytest.raises(rn.CheckpointError):
            adopt_directory(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_storage_rule_27_to_adopt_may_be_killed_at_any_moment_and_tried_again(tmp_path):
    one, two = Folder(tmp_path / "one.zarr"), Folder(tmp_path / "two.zarr")
    for place in (one, two):
        with place.open() as storage:
            commits(storage, (1, 2, 3), max_snapshots=0)
    two.copy(TWO, "theirs", one)
    two.copy(THREE, "more_of_theirs", one)
    one.copy(ONE, "mine", one)
    names = ["mine", "theirs", "more_of_theirs"]
    for n in itertools.count(step=3):
        place = Folder(tmp_path / f"{n}.zarr")
        shutil.copytree(one.place, place.place)
        if n % 2:
            place.drop_root()

        def adopt(place=place, n=n):
            try:
                return adopt_directory(place.place, durable=True)
            except rn.CheckpointError:  # it has its root document
                with rn.ZarrStorage(place.place) as storage:
                    return storage.adopt(names)

        stopped = stopped_at(n, adopt)
        if (place.place / "zarr.json").exists():
            with place.open() as storage:
                # Each is what it was, or adopted; nothing is damaged, and no number is given twice.
                entries = storage.catalogue()
                assert len(entries) == 6
                ours = [e for e in entries if e.copy is None]
                assert len({e.sequence for e in ours}) == len({e.id for e in ours}) == len(ours)
                for e in entries:
                    storage.load(e.name).verify()
        adopt()
        with place.open() as storage:
            storage.adopt(names)
            history = [e.name for e in storage.history("checkpoint", "k0")]
            assert len(history) == 6
            assert history[-3:] == [ONE, TWO, THREE]
            assert history.index("theirs") < history.index("more_of_theirs")
            storage.save(FOUR, make_snapshot(4))
        if not stopped:
            break
    assert n > 10


def test_storage_rule_27_a_store_that_is_written_is_not_adopted_beside_its_writer(tmp_path):
    place = Folder(tmp_path / "s.zarr")
    with place.open() as storage:
        commits(storage, (1,), max_snapshots=0)
        place.copy(ONE, "a")
        place.drop_root()
        done = ringnb("adopt", place.place)
        assert_one_line(done, 1, "is being written by process", str(os.getpid()))
        assert not (place.place / "zarr.json").exists()
        with pytest.raises(rn.CheckpointError, match="`ringnb adopt"):
            storage.save(TWO, make_snapshot(2))
        adopt_directory(place.place)  # here it may
        storage.save(TWO, make_snapshot(2))
        assert storage.list() == ["a", ONE, TWO]


def test_storage_rule_27_the_command_adopts_and_says_what_stays(tmp_path, capsys):
    place = Folder(tmp_path / "s.zarr")
    with place.open() as storage:
        commits(storage, (1, 2), max_snapshots=0)
    place.copy(TWO, "a")
    place.copy(TWO, "b")
    assert cli.main(["adopt", str(place.place), "a"]) == 0
    assert "a is a checkpoint of" in capsys.readouterr().out
    assert cli.main(["adopt", str(place.place), "a"]) == 0
    assert "already" in capsys.readouterr().out
    assert cli.main(["adopt", str(place.place)]) == 1
    assert (err := capsys.readouterr().err).endswith("which copies to adopt, of 'b'\n")
    assert err.count("\n") == 1
    assert cli.main(["adopt", str(place.place), "nothing"]) == 1
    assert cli.main(["adopt", str(tmp_path / "missing"), "a"]) == 1
    assert not (tmp_path / "missing").exists()
    capsys.readouterr()
    place.drop_root()
    assert cli.main(["ls", str(place.place)]) == 1
    assert "ringnb adopt" in capsys.readouterr().err
    assert cli.main(["adopt", str(place.place)]) == 0
    out = capsys.readouterr().out
    assert "3 checkpoints" in out
    assert "b" in out.splitlines()[-1]
    assert Path(place.place, "zarr.json").exists()
