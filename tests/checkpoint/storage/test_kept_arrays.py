"""The read-only arrays of models: kept once in every place, carried along, deleted last."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore, ZipStore

import ringnb as rn
from ringnb.checkpoint import load_arrays
from ringnb.checkpoint.pruning import prune_runs
from ringnb.checkpoint.storage.adoption import adopt_directory
from ringnb.checkpoint.storage.archive import export_archive, import_archive
from ringnb.checkpoint.storage.arrays import array_digest, array_keys
from ringnb.checkpoint.storage.object_store.array_shelf import StoreShelf
from ringnb.cli import command_line as cli
from ringnb.errors import CheckpointWarning
from ringnb.testing import MemoryStorage
from ringnb.testing.storages import make_snapshot

DEPTH = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
MASK = np.arange(5)[::-1]
RUNS = [f"{n:016x}" for n in range(3)]


def snapshot(step, run=0, depth=DEPTH, **more):
    arrays = {"depth": depth, "mask": MASK}
    code = {"arrays": {name: array_digest(array) for name, array in arrays.items()}}
    return make_snapshot(step, run=RUNS[run], code=code, arrays=arrays, **more)


def save(storage, step, **more):
    storage.save(f"checkpoint_0_step_{step}", snapshot(step, **more))
    return storage.load(f"checkpoint_0_step_{step}")


def holds(checkpoint, depth=DEPTH):
    found = checkpoint.arrays()
    assert list(found) == ["depth", "mask"]
    assert (found["depth"].dtype, found["mask"].dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(found["depth"], depth)
    np.testing.assert_array_equal(found["mask"], MASK)
    return True


def kept_in(storage):
    return list(storage._backend.arrays.keys())


def key_of(checkpoint, name="depth"):
    return array_keys(checkpoint.code)[name]


@pytest.fixture(params=["directory", "memory", "dict"])
def place(request, tmp_path):
    kinds = {
        "directory": lambda: rn.ZarrStorage(tmp_path / "s.zarr", durable=False),
        "memory": lambda: rn.ZarrStorage(MemoryStore()),
        "dict": MemoryStorage,
    }
    with kinds[request.param]() as storage:
        yield storage


def test_every_place_keeps_them_once(place):
    first = save(place, 1)
    second = save(place, 2)
    results = place.save_many([(f"checkpoint_0_step_{n}", snapshot(n)) for n in (3, 4)])
    assert not [r for r in results if isinstance(r, Exception)]
    assert all(map(holds, (first, second, place.load("checkpoint_0_step_4"))))
    assert place.load("checkpoint_0_step_1").verify() is None
    assert place.list() == [f"checkpoint_0_step_{n}" for n in (1, 2, 3, 4)]
    if isinstance(place, rn.ZarrStorage):
        assert kept_in(place) == [key_of(first), key_of(first, "mask")]
        assert place.foreign() == []
    place.save("checkpoint_0_step_5", make_snapshot(5))
    assert place.load("checkpoint_0_step_5").arrays() == {}


def test_zarr_reads_them_where_there_is_no_ringnb(tmp_path):
    store = MemoryStore()
    key = key_of(save(rn.ZarrStorage(store), 1))
    np.testing.assert_array_equal(zarr.open_array(store, path=f".ringnb/arrays/{key}")[...], DEPTH)
    assert set(zarr.open_group(store, mode="r").group_keys()) >= {"checkpoint_0_step_1"}
    save(rn.ZarrStorage(tmp_path / "s.zarr"), 1)
    beside = zarr.open_group(tmp_path / "s.arrays.zarr", mode="r")
    np.testing.assert_array_equal(beside[key][...], DEPTH)


def test_they_go_through_an_archive(tmp_path):
    source, path = rn.ZarrStorage(tmp_path / "s.zarr", durable=False), tmp_path / "a.zip"
    save(source, 1)
    save(source, 2, run=1, depth=2 * DEPTH)
    export_archive(source, path)
    archived = rn.ZarrStorage(ZipStore(path, mode="r"))
    assert holds(archived.load("checkpoint_0_step_1"))
    for target in (
        rn.ZarrStorage(tmp_path / "t.zarr", durable=False),
        rn.ZarrStorage(MemoryStore()),
    ):
        import_archive(path, target)
        assert holds(target.load("checkpoint_0_step_1"))
        assert holds(target.load("checkpoint_0_step_2"), 2 * DEPTH)


def test_an_archive_without_them_says_so_and_is_imported(tmp_path):
    source = rn.ZarrStorage(tmp_path / "s.zarr", durable=False)
    save(source, 1)
    shutil.rmtree(tmp_path / "s.arrays.zarr")
    with pytest.warns(CheckpointWarning, match="read-only arrays are not there.*depth"):
        export_archive(source, tmp_path / "a.zip")
    target = rn.ZarrStorage(MemoryStore())
    import_archive(tmp_path / "a.zip", target)
    checkpoint = target.load("checkpoint_0_step_1")
    with pytest.raises(rn.CheckpointNotFound, match=r"array 'depth' .* is not kept with the store"):
        checkpoint.arrays()
    save(target, 2)  # a session that has them
    assert holds(checkpoint)


def test_adopting_takes_those_that_were_copied_along(tmp_path):
    source, chosen = rn.ZarrStorage(tmp_path / "s.zarr", durable=False), tmp_path / "chosen"
    key = key_of(save(source, 1))
    shutil.copytree(tmp_path / "s.zarr/checkpoint_0_step_1", chosen / "checkpoint_0_step_1")
    other = tmp_path / "other.zarr"
    save(rn.ZarrStorage(other, durable=False), 7, depth=3 * DEPTH)
    shutil.copytree(tmp_path / "s.zarr/checkpoint_0_step_1", other / "KEEP_this")
    with pytest.warns(
        CheckpointWarning, match=r"computed with arrays that are not there .*depth.*copy the dir"
    ):
        rn.ZarrStorage(other, durable=False).adopt(["KEEP_this"])
    shutil.copytree(tmp_path / "s.arrays.zarr", chosen / "s.arrays.zarr")
    assert adopt_directory(chosen, durable=False) == (["checkpoint_0_step_1"], [])
    shutil.rmtree(tmp_path / "s.arrays.zarr")
    assert holds(rn.ZarrStorage(chosen).load("checkpoint_0_step_1"))
    assert (tmp_path / "chosen.arrays.zarr" / key).is_dir()


def test_pruning_takes_those_that_nothing_names_any_more(place):
    for step, run in ((1, 0), (2, 1)):
        save(place, step, run=run, depth=(run + 1) * DEPTH)
    gone, kept = (key_of(place.load(f"checkpoint_0_step_{n}")) for n in (1, 2))
    prune_runs(place, dry_run=True)
    assert holds(place.load("checkpoint_0_step_1"))
    prune_runs(place)
    assert holds(place.load("checkpoint_0_step_2"), 2 * DEPTH)
    if isinstance(place, rn.ZarrStorage):
        assert gone not in kept_in(place)
        assert kept in kept_in(place)
    save(place, 3)  # and a later session keeps them again
    assert holds(place.load("checkpoint_0_step_3"))


def test_what_may_name_them_keeps_them(tmp_path):
    store = tmp_path / "s.zarr"
    with rn.ZarrStorage(store, durable=False) as storage:
        key = key_of(save(storage, 1))
        for name in ("KEEP_it", "not a checkpoint's name"):
            shutil.copytree(store / "checkpoint_0_step_1", store / name)
            save(storage, 2, run=1, depth=2 * DEPTH)
            prune_runs(storage)
            assert storage.list()[-1] == "checkpoint_0_step_2"
            assert storage.sweep_arrays() == []
            shutil.rmtree(store / name)
            storage.delete("checkpoint_0_step_2")
            save(storage, 1)
        save(storage, 2, run=1, depth=2 * DEPTH)
        document = store / "checkpoint_0_step_1" / "zarr.json"
        document.write_bytes(document.read_bytes()[:-40])
        storage.save("checkpoint_0_step_9", make_snapshot(9, run=RUNS[2]))
        prune_runs(storage)
        assert storage.sweep_arrays() == []
        storage.quarantine("checkpoint_0_step_1")
        (tmp_path / "s.arrays.zarr" / key / "mine.txt").write_text("a user's")
        storage.sweep_arrays()
        assert (tmp_path / "s.arrays.zarr" / key / "mine.txt").exists()


def test_what_two_stores_keep_in_one_directory_stays(tmp_path):
    with rn.ZarrStorage(tmp_path / "s.zarr") as one, rn.ZarrStorage(tmp_path / "s") as other:
        checkpoint = save(one, 1)
        save(other, 1, depth=2 * DEPTH)
        save(other, 2, run=1, depth=3 * DEPTH)
        prune_runs(other)
        assert other.list() == ["checkpoint_0_step_2"]
        assert other.sweep_arrays() == one.sweep_arrays() == []
        assert holds(checkpoint)


def test_another_process_that_commits_meanwhile_loses_none(monkeypatch):
    store = MemoryStore()
    here, there = rn.ZarrStorage(store), rn.ZarrStorage(store)
    key = key_of(save(here, 1))
    save(here, 2, run=1, depth=2 * DEPTH)
    remove = StoreShelf.remove

    def commit_then_remove(shelf, keys):
        save(there, 3, run=1)
        remove(shelf, keys)

    monkeypatch.setattr(StoreShelf, "remove", commit_then_remove)
    prune_runs(here)
    assert key in kept_in(here)
    assert holds(here.load("checkpoint_0_step_3"))


def test_one_that_was_cut_or_lost_its_document_is_kept_anew(tmp_path):
    with rn.ZarrStorage(tmp_path / "s.zarr", durable=False) as storage:
        checkpoint = save(storage, 1)
        folder = tmp_path / "s.arrays.zarr" / key_of(checkpoint)
        chunk = folder / "c.0.0"
        chunk.write_bytes(chunk.read_bytes()[:-3])
        with pytest.raises(rn.CheckpointCorrupt, match=r"array 'depth' .* is damaged"):
            checkpoint.arrays()
        (folder / "zarr.json").unlink()
        save(storage, 2)
        assert holds(checkpoint)
        storage.sweep_arrays()
        assert not list((tmp_path / "s.arrays.zarr").glob(".*"))


def test_the_verify_command_reads_them(tmp_path, capsys):
    store = tmp_path / "s.zarr"
    with rn.ZarrStorage(store, durable=False) as storage:
        checkpoint = save(storage, 1)
        save(storage, 2)
    assert cli.main(["verify", str(store)]) == 0
    assert "2 checkpoints, and 2 read-only arrays verified" in capsys.readouterr().out
    chunk = tmp_path / "s.arrays.zarr" / key_of(checkpoint) / "c.0.0"
    chunk.write_bytes(bytes(b ^ 1 for b in chunk.read_bytes()))
    assert cli.main(["verify", str(store)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("damaged  array 'depth'")
    assert "2 checkpoints of these name it" in said
    with pytest.raises(rn.CheckpointCorrupt):
        load_arrays(store, checkpoint)
