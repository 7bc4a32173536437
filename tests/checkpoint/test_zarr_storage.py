"""ZarrStorage: the contract on two kinds of place, the format, crashes and failing disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ringnb as rn
from ringnb.checkpoint.committing import retire
from ringnb.checkpoint.retention import keep_last
from ringnb.checkpoint.storage.directory import files, listing
from ringnb.checkpoint.storage.format import layout_fields
from ringnb.testing.storages import StorageTests, make_snapshot

NAME = "checkpoint_0_step_7"


class TestDirectory(StorageTests):
    @pytest.fixture
    def storage(self, tmp_path):
        storage = rn.ZarrStorage(tmp_path / "store.zarr")
        yield storage
        storage.close()


class TestNotDurable(StorageTests):
    @pytest.fixture
    def storage(self, tmp_path):
        storage = rn.ZarrStorage(tmp_path / "store.zarr", durable=False)
        yield storage
        storage.close()


class TestMemory(StorageTests):
    @pytest.fixture
    def storage(self):
        return rn.ZarrStorage(zarr.storage.MemoryStore())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.zarr"


@pytest.fixture
def storage(path):
    storage = rn.ZarrStorage(path)
    yield storage
    storage.close()


# -- the format ----------------------------------------------------------------------------------


def test_the_layout_on_disk_is_the_documented_one(storage, path):
    storage.save(NAME, make_snapshot(7))
    assert json.loads((path / "zarr.json").read_text())["attributes"] == {"ringnb": {"format": 1}}
    assert sorted(os.listdir(path)) == [NAME, "zarr.json"]
    assert sorted(os.listdir(path / NAME)) == ["counts", "u", "zarr.json"]
    assert sorted(os.listdir(path / NAME / "u")) == ["c.0.0", "zarr.json"]
    record = json.loads((path / NAME / "zarr.json").read_text())["attributes"]["ringnb"]
    assert set(record) == {
        *("format", "name_prefix", "kernel_id", "kernel_type", "actor_slot", "step", "sequence"),
        *("request_id", "created_at", "params", "parent", "backend", "version", "digests"),
    }
    assert record["format"] == 1
    side = path.parent / ".store.zarr.ringnb"
    assert sorted(os.listdir(side)) == ["lock", "staging", "trash"]
    assert os.listdir(side / "staging") == os.listdir(side / "trash") == []


def test_zarr_reads_it_without_ringnb(storage, path):
    snapshot = make_snapshot(7)
    storage.save(NAME, snapshot)
    code = """
        import sys, zarr
        group = zarr.open_group(sys.argv[1], mode="r")[sys.argv[2]]
        print(group["u"][:].tolist(), group["u"].attrs["units"], "ringnb" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path), NAME],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"{snapshot.fields['u'].tolist()} Pa False"


def test_xarray_opens_it_in_three_ways_without_warnings(storage, path):
    import xarray

    snapshot = make_snapshot(7)
    storage.save(NAME, snapshot)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dataset in (
            xarray.open_zarr(f"{path}/{NAME}"),
            xarray.open_zarr(path, group=NAME, consolidated=False),
            xarray.open_datatree(path, engine="zarr", consolidated=False)[NAME].to_dataset(),
        ):
            np.testing.assert_array_equal(dataset["u"].values, snapshot.fields["u"])
            assert dataset["u"].dims == ("y", "x")
            assert dataset["u"].attrs["units"] == "Pa"
            dataset.close()


def test_dimension_names_never_clash(storage, path):
    import xarray

    fields = {"u": np.zeros((4, 5)), "v": np.zeros((4, 6)), "x": np.zeros(7), "w": np.zeros((4, 6))}
    storage.save(NAME, make_snapshot(fields=fields, field_attrs={}))
    checkpoint = storage.load(NAME)
    lengths = {}
    for name in fields:
        for dim, length in zip(checkpoint[name].dims, checkpoint[name].shape, strict=True):
            assert dim not in fields
            assert lengths.setdefault(dim, length) == length
    xarray.open_zarr(f"{path}/{NAME}").close()


@given(
    array=hnp.arrays(
        dtype=st.one_of(
            hnp.boolean_dtypes(),
            hnp.integer_dtypes(endianness="?"),
            hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
            hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
        ),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    transposed=st.booleans(),
)
def test_every_dtype_and_shape_comes_back_bit_for_bit(array, transposed):
    if transposed:
        array = array.T
    storage = rn.ZarrStorage(zarr.storage.MemoryStore())
    storage.save(NAME, make_snapshot(fields={"a": array}, field_attrs={}))
    checkpoint = storage.load(NAME)
    checkpoint.verify()
    back = checkpoint.numpy()["a"]
    little = array.astype(array.dtype.newbyteorder("<"))
    assert back.dtype == little.dtype
    assert back.shape == array.shape
    assert back.tobytes() == little.tobytes()
    theirs = checkpoint.group["a"][...]
    assert np.asarray(theirs).tobytes() == little.tobytes()


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((2048, 2048), (256, 2048)),  # 16 MiB in slabs of 2 MiB ... of at most 4
        ((3, 2048, 2048), (1, 512, 2048)),
        ((5, 7), (5, 7)),
        ((0, 7), (1, 7)),
        ((10_000_000,), None),
        ((2, 3_000_000), None),
    ],
)
def test_chunks_are_slabs_of_at_most_four_mebibytes(shape, chunks):
    array = np.broadcast_to(np.float32(0), shape)
    (layout,) = layout_fields({"a": array}, {})
    assert layout.chunk_nbytes <= 4 << 20
    covered = sum(chunk.stop - chunk.start for chunk in layout.chunks)
    assert covered == array.size
    if array.nbytes > 4 << 20:
        padding = sum(chunk.pad_bytes for chunk in layout.chunks)
        assert padding < 0.01 * array.nbytes
    if chunks is not None and shape != (2048, 2048):
        assert layout.chunk_shape[1:] == chunks[1:] or layout.chunk_shape == chunks


@pytest.mark.parametrize("order", ["C", "F", "view"])
def test_large_arrays_of_any_memory_order(storage, order):
    rng = np.random.default_rng(1)
    array = rng.random((1030, 2100), dtype=np.float32)
    if order == "F":
        array = np.asfortranarray(array)
    if order == "view":
        array = array[::-1, 5:-3]
    storage.save(NAME, make_snapshot(fields={"a": array}, field_attrs={}))
    checkpoint = storage.load(NAME)
    assert len(list((checkpoint.group.store.root).glob("a/c.*"))) > 1
    checkpoint.verify()
    np.testing.assert_array_equal(checkpoint.numpy()["a"], array)
    np.testing.assert_array_equal(checkpoint.group["a"][...], array)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["directory", "file", "zarr group", "newer", "rubbish"])
def test_a_place_that_is_no_ringnb_store_is_refused_and_left_alone(path, kind):
    if kind == "file":
        path.write_text("mine")
    elif kind == "zarr group":
        zarr.open_group(path, mode="w", attributes={"owner": "me"})
    else:
        path.mkdir()
        content = {
            "directory": ("notes.txt", "mine"),
            "newer": ("zarr.json", json.dumps({"attributes": {"ringnb": {"format": 2}}})),
            "rubbish": ("zarr.json", "{"),
        }[kind]
        (path / content[0]).write_text(content[1])
    before = sorted(str(p) for p in path.parent.rglob("*"))
    storage = rn.ZarrStorage(path)
    for call in (storage.list, lambda: storage.load(NAME), lambda: storage.exists(NAME)):
        with pytest.raises(rn.CheckpointError, match="is not a ringnb store"):
            call()
    with pytest.raises(rn.CheckpointError, match="is not a ringnb store"):
        storage.save(NAME, make_snapshot())
    storage.close()
    assert sorted(str(p) for p in path.parent.rglob("*")) == before


def test_a_foreign_memory_store_is_refused():
    store = zarr.storage.MemoryStore()
    zarr.open_group(store, mode="w")
    with pytest.raises(rn.CheckpointError, match="is not a ringnb store"):
        rn.ZarrStorage(store).list()


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("", "no directory path"),
        ("a\0b", "no directory path"),
        ("memory://", "has no name"),
        ("s3://", "has no bucket"),
        ("file://elsewhere/x", "no URL of a local directory"),
        ("file:///", "no URL of a local directory"),
        ("gs://bucket/x", "are known"),
    ],
)
def test_places_that_are_none_are_refused(place, why):
    with pytest.raises(ValueError, match=why):
        rn.ZarrStorage(place)


@pytest.mark.parametrize("place", [None, 5, b"bytes", {}])
def test_places_of_the_wrong_type_are_refused(place):
    with pytest.raises((TypeError, ValueError)):
        rn.ZarrStorage(place)


def test_reading_a_missing_store_creates_nothing(storage, path):
    assert storage.list() == []
    assert os.listdir(path.parent) == []


def test_a_foreign_file_is_never_deleted(storage, path):
    storage.save(NAME, make_snapshot())
    note = path / NAME / "u" / "notes.txt"
    note.write_text("mine")
    with pytest.raises(rn.CheckpointError, match=r"u/notes\.txt.*did not write"):
        storage.delete(NAME)
    assert note.read_text() == "mine"
    note.unlink()
    storage.load(NAME).verify()
    storage.delete(NAME)


def test_foreign_groups_and_files_in_the_store_are_passed_over(storage, path):
    storage.save(NAME, make_snapshot())
    zarr.open_group(path / "results", mode="w")
    (path / "notes.txt").write_text("mine")
    assert storage.list() == [NAME]
    with pytest.raises(rn.CheckpointError):
        storage.delete("results")
    assert (path / "results" / "zarr.json").exists()


# -- two processes -------------------------------------------------------------------------------

HOLDER = """
    import sys, ringnb as rn
    from ringnb.testing.storages import make_snapshot
    storage = rn.ZarrStorage(sys.argv[1])
    storage.save("a_0_step_0", make_snapshot())
    print("holding", flush=True)
    sys.stdin.readline()
    {end}
"""


def holder(path, end="storage.close()"):
    code = textwrap.dedent(HOLDER).replace("{end}", end)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "holding\n"
    return process


def test_the_second_writer_is_refused_with_pid_and_host_and_may_read(storage, path):
    import socket

    with holder(path) as process:
        with pytest.raises(rn.StoreLocked, match=f"process {process.pid} on host") as caught:
            storage.save(NAME, make_snapshot())
        assert socket.gethostname() in str(caught.value)
        with pytest.raises(rn.StoreLocked):
            storage.delete("a_0_step_0")
        storage.load("a_0_step_0").verify()
        assert storage.list() == ["a_0_step_0"]
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait(30)
    storage.save(NAME, make_snapshot())
    assert storage.load(NAME).sequence == 2


def test_a_killed_holder_is_replaced_at_once(storage, path):
    with holder(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    storage.save(NAME, make_snapshot())


def test_close_gives_the_lock_up_but_not_for_others_of_the_process(storage, path):
    other = rn.ZarrStorage(path)
    storage.save("a_0_step_1", make_snapshot())
    other.save("a_0_step_2", make_snapshot())
    storage.close()
    code = "import sys, ringnb as rn\nfrom ringnb.testing.storages import make_snapshot\n"
    code += "rn.ZarrStorage(sys.argv[1]).save('a_0_step_3', make_snapshot())"
    command = [sys.executable, "-c", code, str(path)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "StoreLocked" in refused.stderr
    other.close()
    subprocess.run(command, check=True)
    assert storage.list() == ["a_0_step_1", "a_0_step_2", "a_0_step_3"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_may_not_write_and_does_not_free_the_lock(storage, path):
    storage.save("a_0_step_1", make_snapshot())
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            storage.save("a_0_step_2", make_snapshot())
        except rn.StoreLocked:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    storage.save("a_0_step_3", make_snapshot())
    assert storage.list() == ["a_0_step_1", "a_0_step_3"]


def test_another_process_is_seen_at_the_next_call(storage, path):
    storage.save("a_0_step_1", make_snapshot())
    storage.close()
    assert storage.list() == ["a_0_step_1"]
    code = """
        import sys, ringnb as rn
        from ringnb.testing.storages import make_snapshot
        storage = rn.ZarrStorage(sys.argv[1])
        storage.save("a_0_step_2", make_snapshot())
        storage.delete("a_0_step_1")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(path)], check=True)
    assert storage.list() == ["a_0_step_2"]
    assert not storage.exists("a_0_step_1")


def test_a_reader_beside_a_writer_never_sees_half(storage, path):
    reader = rn.ZarrStorage(path)
    stop = threading.Event()
    problems = []

    def read():
        while not stop.is_set():
            try:
                entries = reader.catalogue()
                if any(e.damaged for e in entries):
                    problems.append(entries)
                for entry in entries[-2:]:
                    reader.load(entry.name).verify()
            except rn.CheckpointNotFound:
                pass  # retired meanwhile
            except BaseException as error:
                problems.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for n in range(60):
        storage.save(f"a_0_step_{n}", make_snapshot(n))
        if n >= 3:
            storage.delete(f"a_0_step_{n - 3}")
    stop.set()
    thread.join(30)
    assert problems == []
    assert len(storage.list()) == 3


# -- crashes and failing disks -------------------------------------------------------------------

OPERATIONS = (
    "make_directory",
    "write_file",
    "sync_directory",
    "rename",
    "remove_file",
    "remove_directory",
)


def count_operations(monkeypatch, act):
    """Run `act` and return the file operations it consists of, in order."""
    seen = []
    lock = threading.Lock()
    with monkeypatch.context() as patch:
        for name in OPERATIONS:

            def wrapped(*args, _name=name, _real=getattr(files, name), **kwargs):
                with lock:
                    seen.append(_name)
                return _real(*args, **kwargs)

            patch.setattr(files, name, wrapped)
        act()
    return seen


def failing_at(monkeypatch, n, error, act):
    """Run `act` with the n-th file operation failing; return what it raised."""
    counter = iter(range(10**6))
    lock = threading.Lock()
    with monkeypatch.context() as patch:
        for name in OPERATIONS:

            def wrapped(*args, _real=getattr(files, name), **kwargs):
                with lock:
                    mine = next(counter)
                if mine == n:
                    raise error
                return _real(*args, **kwargs)

            patch.setattr(files, name, wrapped)
        try:
            act()
        except OSError as raised:
            return raised
    return None


@pytest.mark.parametrize("number", [5, 28, 13], ids=["EIO", "ENOSPC", "EACCES"])
def test_a_failing_disk_leaves_older_checkpoints_and_no_litter(tmp_path, monkeypatch, number):
    probe = rn.ZarrStorage(tmp_path / "probe.zarr")
    probe.save("a_0_step_0", make_snapshot())
    operations = count_operations(monkeypatch, lambda: probe.save("a_0_step_1", make_snapshot(1)))
    probe.close()
    assert len(operations) >= 10
    for n in range(len(operations)):
        path = tmp_path / f"{n}.zarr"
        storage = rn.ZarrStorage(path)
        storage.save("a_0_step_0", make_snapshot())
        error = OSError(number, os.strerror(number))
        raised = failing_at(
            monkeypatch, n, error, lambda s=storage: s.save("a_0_step_1", make_snapshot(1))
        )
        assert raised is error, operations[n]
        assert storage.list() == ["a_0_step_0"]
        storage.load("a_0_step_0").verify()
        storage.save("a_0_step_1", make_snapshot(1))  # and the next one works
        storage.load("a_0_step_1").verify()
        storage.close()
        side = tmp_path / f".{n}.zarr.ringnb"
        assert os.listdir(side / "staging") == os.listdir(side / "trash") == []


def test_a_failing_first_save_leaves_nothing(tmp_path, monkeypatch):
    for n in range(40):
        storage = rn.ZarrStorage(tmp_path / f"{n}.zarr")
        raised = failing_at(
            monkeypatch, n, OSError(28, "full"), lambda s=storage: s.save(NAME, make_snapshot())
        )
        if raised is None:
            break
        assert storage.list() == []
        storage.save(NAME, make_snapshot())
        storage.load(NAME).verify()
        storage.close()
    assert 10 < n < 39


def test_a_failing_delete_keeps_the_checkpoint_or_finishes_later(tmp_path, monkeypatch):
    for n in range(20):
        storage = rn.ZarrStorage(tmp_path / f"{n}.zarr")
        storage.save("a_0_step_0", make_snapshot())
        storage.save("a_0_step_1", make_snapshot(1))
        raised = failing_at(
            monkeypatch, n, OSError(5, "I/O error"), lambda s=storage: s.delete("a_0_step_0")
        )
        names = storage.list()
        assert names in (["a_0_step_1"], ["a_0_step_0", "a_0_step_1"])
        for name in names:
            storage.load(name).verify()
        storage.close()
        storage.save("a_0_step_2", make_snapshot(2))  # sweeps
        storage.close()
        assert os.listdir(tmp_path / f".{n}.zarr.ringnb" / "trash") == []
        if raised is None and n > 8:
            break


KILLED = """
    import os, signal, sys
    import ringnb as rn
    from ringnb.checkpoint.storage.directory import files
    from ringnb.testing.storages import make_snapshot
    import threading
    path, stop_at = sys.argv[1], int(sys.argv[2])
    storage = rn.ZarrStorage(path)
    storage.save("a_0_step_0", make_snapshot())
    count, lock = 0, threading.Lock()
    def deadly(real):
        def wrapped(*args, **kwargs):
            global count
            with lock:
                count += 1
                if count == stop_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        return wrapped
    for name in {operations!r}:
        setattr(files, name, deadly(getattr(files, name)))
    storage.save("a_0_step_1", make_snapshot(1))
    storage.delete("a_0_step_0")
    print("survived")
"""


@pytest.mark.parametrize("stop_at", [1, 3, 6, 9, 12, 13, 15, 18])
def test_a_kill_at_any_operation_leaves_whole_checkpoints(path, stop_at):
    code = textwrap.dedent(KILLED).replace("{operations!r}", repr(OPERATIONS))
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(stop_at)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    storage = rn.ZarrStorage(path)
    names = storage.list()
    assert names
    assert set(names) <= {"a_0_step_0", "a_0_step_1"}
    for name in names:
        storage.load(name).verify()
    storage.save("a_0_step_2", make_snapshot(2))
    storage.close()
    side = path.parent / ".store.zarr.ringnb"
    assert os.listdir(side / "staging") == os.listdir(side / "trash") == []


def test_durable_syncs_every_file_and_directory_before_the_rename(storage, path):
    storage.save("a_0_step_0", make_snapshot())
    log = []

    def note(name, arguments, call):
        if name == "sync_file":
            log.append(os.readlink(f"/proc/self/fd/{arguments[0]}"))
        elif name == "sync_directory":
            log.append(str(arguments[0]))
        elif name == "rename":
            log.append(name)
        return call()

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    assert files.sync_file.__wrapped__ is os.fsync
    with files.interposing(note):
        storage.save("a_0_step_1", make_snapshot(1))
    at = log.index("rename")
    before = {p.split("/staging/")[1].partition("/")[2] for p in log[:at]}
    expected = {"", "zarr.json", "u", "u/zarr.json", "u/c.0.0"}
    assert before == expected | {"counts", "counts/zarr.json", "counts/c.0"}
    assert log[at + 1 :] == [str(path)]


def test_the_work_area_lies_inside_where_the_parent_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "store.zarr"
    path.mkdir()
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda p, mode: False if str(p) == str(tmp_path) else real(p, mode)
    )
    storage = rn.ZarrStorage(path)
    storage.save(NAME, make_snapshot())
    assert sorted(os.listdir(path)) == [".ringnb", NAME, "zarr.json"]
    assert os.listdir(tmp_path) == ["store.zarr"]
    assert storage.list() == [NAME]
    storage.close()


def test_a_link_to_a_store_is_the_same_store(storage, path, tmp_path):
    storage.save("a_0_step_0", make_snapshot())
    link = tmp_path / "link.zarr"
    link.symlink_to(path)
    other = rn.ZarrStorage(link)
    other.save("a_0_step_1", make_snapshot())
    assert storage.list() == ["a_0_step_0", "a_0_step_1"]
    other.close()


def test_a_zarr_local_store_is_a_directory(path):
    storage = rn.ZarrStorage(zarr.storage.LocalStore(path))
    storage.save(NAME, make_snapshot())
    storage.close()
    assert (path.parent / ".store.zarr.ringnb").is_dir()
    read_only = rn.ZarrStorage(zarr.storage.LocalStore(path, read_only=True))
    assert read_only.list() == [NAME]
    with pytest.raises(rn.CheckpointError, match="read-only"):
        read_only.save("a_0_step_0", make_snapshot())


# -- long histories ------------------------------------------------------------------------------------


def test_damage_in_place_is_noticed_in_a_list_longer_than_one_look_examines(path, monkeypatch):
    monkeypatch.setattr(listing, "_EXAMINED", 10)
    with rn.ZarrStorage(path, durable=False) as storage:
        for n in range(25):
            storage.save(f"a_0_step_{n}", make_snapshot(n))
        storage.list()
        document = path / "a_0_step_17" / "zarr.json"
        document.write_bytes(document.read_bytes()[:-9])
        found = [sum(e.damaged for e in storage.catalogue()) for _ in range(3)]
        assert found[-1] == 1
        assert storage.history("checkpoint", "model_0")[-1].step == 24


def test_a_commit_looks_at_its_own_history_only(path, monkeypatch):
    with rn.ZarrStorage(path, durable=False) as storage:
        for n in range(40):
            storage.save(f"a_0_step_{n}", make_snapshot(n, kernel_id="other"))
        storage.save("a_1_step_0", make_snapshot(0))
        looked = []
        real = listing.Listing._document_stamp
        monkeypatch.setattr(
            listing.Listing,
            "_document_stamp",
            lambda self, name: (looked.append(name), real(self, name))[1],
        )
        storage.save("a_1_step_1", make_snapshot(1))
        retire(storage, "checkpoint", "model_0", keep_last(1), protect=())
        assert set(looked) <= {"a_1_step_0", "a_1_step_1"}
