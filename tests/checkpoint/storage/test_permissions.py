"""A store that a group shares, and names near the limits: what is refused is said in a sentence."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from processes import elsewhere
from zarr.storage import LocalStore, MemoryStore

import ringnb as rn
from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.directory.work_area import work_area_of
from ringnb.checkpoint.storage.permissions import explain
from ringnb.testing.storages import make_snapshot

ONE, TWO, THREE = (f"a_0_step_{n}" for n in (1, 2, 3))
ALICE, BOB, GROUP = 20_001, 20_002, 30_001

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


@pytest.fixture
def shared():
    """A directory that alice and bob share, with the setgid bit; nobody has to pass through ours."""
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, ALICE, GROUP)
    os.chmod(folder, 0o2775)
    yield folder
    shutil.rmtree(folder)


def _become(user, umask):
    # What is imported late lies where this user may not read.
    with tempfile.TemporaryDirectory() as folder, rn.ZarrStorage(f"{folder}/s.zarr") as warm:
        warm.save(ONE, make_snapshot(1))
        warm.load(ONE).verify()
        warm.delete(ONE)
    os.setgroups([GROUP])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    os.umask(umask)


def _use(user, umask, path, operations, options):
    _become(user, umask)
    with rn.ZarrStorage(path, **options) as storage:
        for operation, name in operations:
            if operation == "save":
                storage.save(name, make_snapshot(int(name.rpartition("_")[2])))
            elif operation == "verify":
                storage.load(name).verify()
            elif operation == "catalogue":
                return [(entry.name, entry.damaged) for entry in storage.catalogue()]
            elif operation == "why_unwritable":
                return storage.why_unwritable()
            elif operation.endswith("many"):
                many = [(name, make_snapshot(1))] if operation == "save_many" else [name]
                [result] = getattr(storage, operation)(many)
                if isinstance(result, Exception):
                    raise result
            else:
                getattr(storage, operation)(*name if isinstance(name, tuple) else (name,))
        return storage.list()


def use(user, path, *operations, umask=0o022, **options):
    """Use a store as another user; return what it holds, or the error."""
    return elsewhere(_use, user, umask, path, operations, options)


def told(answer):
    """Return the sentence of an error, which has to be one for users."""
    assert isinstance(answer, rn.CheckpointError), answer
    return str(answer)


@as_root
@pytest.mark.parametrize("incremental", [False, True])
def test_storage_rule_25_a_store_whose_users_work_with_umask_002_is_shared(shared, incremental):
    path = shared / "s.zarr"
    options = {"umask": 0o002, "incremental": incremental}
    assert use(ALICE, path, ("save", ONE), ("save", TWO), **options) == [ONE, TWO]
    done = use(
        BOB, path, ("verify", ONE), ("pin", (TWO, "b")), ("delete", ONE), ("save", THREE), **options
    )
    assert done == [TWO, THREE]
    assert use(ALICE, path, ("unpin", TWO), ("delete", THREE), ("quarantine", TWO), **options) == []


@as_root
def test_storage_rule_25_a_store_that_the_group_may_write_stays_so_whatever_the_umask(shared):
    path = shared / "s.zarr"
    path.mkdir()
    os.chown(path, ALICE, GROUP)
    os.chmod(path, 0o2775)
    assert use(ALICE, path, ("save", ONE), ("save", TWO), ("quarantine", TWO)) == [ONE]
    assert use(BOB, path, ("delete", ONE), ("save", TWO), ("save", THREE)) == [TWO, THREE]
    assert use(ALICE, path, ("quarantine", TWO), ("pin", (THREE, "a"))) == [THREE]
    for folder, _, _ in os.walk(path):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o2775
    area = work_area_of(path)
    assert {os.stat(p).st_gid for p in (area, area / "lock", path / "zarr.json")} == {GROUP}


@as_root
@pytest.mark.parametrize(
    "operation",
    [
        "save",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("delete", "pin", "quarantine")),
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("save_many", "delete_many")),
    ],
)
def test_storage_rule_25_umask_022_gets_a_sentence_with_path_owner_and_remedy(shared, operation):
    path = shared / "s.zarr"
    assert use(ALICE, path, ("save", ONE)) == [ONE]
    arguments = {"save": TWO, "save_many": TWO, "pin": (ONE, "label")}.get(operation, ONE)
    lock = shared / ".s.zarr.ringnb"
    for mended in (lock, lock / "lock", path):  # one after the other, and not enough
        text = told(use(BOB, path, (operation, arguments)))
        assert f"store {str(path)!r}: user '{BOB}' may not write '{mended}" in text
        assert f"belongs to user '{ALICE}' and group '{GROUP}' (mode " in text
        assert "`umask 002`" in text
        assert "`chmod -R g+rwX`" in text
        assert use(BOB, path, ("verify", ONE)) == [ONE]
        for place in (mended, *mended.glob("*")) if mended == lock else (mended,):
            if place.name != "lock" or mended != lock:
                os.chmod(place, os.stat(place).st_mode | 0o020)
    if "save" not in operation:  # what alice has saved is still hers
        text = told(use(BOB, path, (operation, arguments)))
        assert f"may not write '{path / ONE}'" in text
    os.chmod(path / ONE, 0o775)
    assert isinstance(use(BOB, path, (operation, arguments)), list)


@as_root
def test_storage_rule_25_what_may_not_be_read_gets_a_sentence_too(shared):
    path = shared / "s.zarr"
    use(ALICE, path, ("save", ONE), ("save", TWO))
    os.chmod(path / ONE / "u" / "c.0.0", 0o600)
    text = told(use(BOB, path, ("verify", ONE)))
    assert (
        f"checkpoint {ONE!r} cannot be read: user '{BOB}' may not read '{path / ONE}/u/c.0.0'"
        in text
    )
    os.chmod(path / ONE, 0o700)
    assert use(BOB, path, ("catalogue", "")) == [(ONE, True), (TWO, False)]
    assert f"may not enter '{path / ONE}'" in told(use(BOB, path, ("verify", ONE)))
    os.chmod(path / "zarr.json", 0o600)
    assert f"may not read '{path}/zarr.json'" in told(use(BOB, path))
    os.chmod(path, 0o711)
    os.chmod(path / "zarr.json", 0o644)
    assert f"may not read '{path}'" in told(use(BOB, path))
    os.chmod(path, 0o700)
    assert f"may not enter '{path}'" in told(use(BOB, path))
    os.chmod(shared, 0o700)
    text = told(use(BOB, path))
    assert f"may not enter '{shared}'" in text
    assert "Use a storage_path in a directory of yours" in text


@as_root
def test_storage_rule_25_a_place_where_no_store_can_be_made_gets_a_sentence(shared):
    os.chmod(shared, 0o755)
    text = told(use(BOB, shared / "s.zarr", ("save", ONE)))
    assert f"user '{BOB}' may not write '{shared}'" in text
    assert "Use a storage_path in a directory of yours" in text
    assert "storage_path" in told(use(BOB, shared / "deeper" / "s.zarr", ("save", ONE)))
    mine = shared / "mine"
    mine.mkdir()
    os.chown(mine, BOB, BOB)
    os.chmod(mine, 0o555)
    assert "may not write" in told(use(BOB, mine / "s.zarr", ("save", ONE)))
    assert os.listdir(mine) == []


@as_root
def test_storage_rule_25_the_sticky_bit_is_named(shared):
    path = shared / "s.zarr"
    use(ALICE, path, ("save", ONE), umask=0o000)
    os.chmod(path, 0o3777)
    assert "has the sticky bit" in told(use(BOB, path, ("delete", ONE)))
    assert use(BOB, path, ("verify", ONE), ("save", TWO)) == [ONE, TWO]


@pytest.mark.parametrize("number", [1, 13, 30])
def test_storage_rule_25_what_the_system_refuses_to_root_is_said_with_its_path(
    storage, path, number
):
    storage.save(ONE, make_snapshot(1))

    def refuse(name, arguments, call):
        if name == "rename":
            raise OSError(number, os.strerror(number), str(arguments[0]), None, str(arguments[1]))
        return call()

    with files.interposing(refuse), pytest.raises(rn.CheckpointError) as caught:
        storage.save(TWO, make_snapshot(2))
    assert str(path) in str(caught.value)
    assert "use another storage_path" in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


def test_storage_rule_25_a_field_that_cannot_be_read_is_no_fault_of_the_store(storage):
    class Elsewhere:
        shape, dtype, ndim = (3,), make_snapshot(1).fields["u"].dtype, 1

        def __getitem__(self, key):
            raise PermissionError(13, "Permission denied", "/elsewhere/field.npy")

    snapshot = make_snapshot(1, fields={"u": Elsewhere()})
    with pytest.raises(PermissionError, match=r"field\.npy"):
        storage.save(ONE, snapshot)


# -- names near the limits ----------------------------------------------------------------------------


def test_a_full_disk_and_a_mount_over_the_store_are_told_with_the_store(tmp_path):
    store = tmp_path / "s.zarr"
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert explain(store, full) is full
    assert str(full).endswith(f"No space left on device: {str(store)!r}")
    named = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "elsewhere")
    assert str(explain(store, named)).endswith("'elsewhere'")
    other = OSError(
        errno.EXDEV, "-", str(tmp_path / ".s.zarr.ringnb" / "x"), None, str(store / "y")
    )
    assert "another file system was mounted there" in str(explain(store, other))


def name_of(length):
    """Return the longest name that a manager gives, or one as long as that."""
    return f"{'p' * (length - 9)}_0_step_1"


def test_storage_rule_25_the_longest_name_is_committed_retired_and_quarantined(tmp_path):
    path = tmp_path / ("s" * 247)
    with rn.ZarrStorage(path) as storage:
        name = name_of(240)
        for _ in range(2):
            storage.save(name, make_snapshot(1))
            (path / name / "mine.txt").write_text("a user's")
            storage.delete(name)
            (path / name).rename(tmp_path / f"mine-{_}")
        storage.save(name, make_snapshot(1))
        assert len(os.path.basename(storage.quarantine(name))) == 240
        storage.save(name, make_snapshot(1))
        assert storage.quarantine(name).endswith(".2")
        with pytest.raises(ValueError, match="1 to 240 ASCII letters"):
            storage.save(name_of(241), make_snapshot(1))


@pytest.mark.parametrize("length", [248, 255, 256, 1000])
def test_storage_rule_25_a_store_whose_name_is_too_long_is_refused_at_the_first_look(
    tmp_path, length
):
    storage = rn.ZarrStorage(tmp_path / ("s" * length))
    for look in (
        lambda: storage.is_created,
        storage.list,
        lambda: storage.save(ONE, make_snapshot(1)),
    ):
        with pytest.raises(
            rn.CheckpointError, match="this file system allows 255: use a shorter storage"
        ):
            look()
    assert os.listdir(tmp_path) == []


def test_storage_rule_25_a_path_that_is_too_long_is_refused_before_anything_is_written(tmp_path):
    deep = Path(tmp_path, *["d" * 200] * ((3900 - len(str(tmp_path))) // 201))
    storage = rn.ZarrStorage(deep / "s.zarr")
    with pytest.raises(
        rn.CheckpointError, match="this system allows 4095: use a shorter storage_path"
    ):
        storage.save(name_of(240), make_snapshot(1))
    assert storage.list() == []
    with rn.ZarrStorage(deep / "s.zarr") as short:
        short.save(ONE, make_snapshot(1))
        names = (name_of(240), TWO)
        refused, saved = short.save_many([(name, make_snapshot(2)) for name in names])
        assert "allows 4095" in str(refused)
        assert saved.committed_ns
    assert rn.ZarrStorage(deep / "s.zarr").list() == [ONE, TWO]
    with pytest.raises(rn.CheckpointError, match="this system allows 4095"):
        rn.ZarrStorage(deep.joinpath(*["d" * 200] * 3)).list()


def test_storage_rule_25_a_file_system_with_shorter_names_is_asked(storage, monkeypatch):
    real = os.pathconf
    monkeypatch.setattr(os, "pathconf", lambda p, n: 143 if n == "PC_NAME_MAX" else real(p, n))
    storage.save(name_of(130), make_snapshot(1))
    with pytest.raises(
        rn.CheckpointError, match="allows 143: use a shorter name_prefix or kernel_id"
    ):
        storage.save(name_of(131), make_snapshot(1))
    assert storage.list() == [name_of(130)]


ASK = ("why_unwritable", None)


@as_root
def test_storage_rule_25_what_may_not_be_written_is_known_before_the_first_write(shared):
    path = shared / "s.zarr"
    assert use(ALICE, path, ("save", ONE), ASK) is None
    before = {p: os.stat(p).st_mtime_ns for p in (shared, *shared.rglob("*"))}
    text = use(BOB, path, ASK)
    area = shared / ".s.zarr.ringnb"
    assert text.startswith(f"store {str(path)!r}: user '{BOB}' may not write {str(area)!r}, which ")
    assert "belongs to user '20001' and group '30001' (mode " in text
    os.chmod(shared, 0o700)
    text = use(BOB, path, ASK)
    assert f"may not enter {str(shared)!r}" in text
    assert "Use a storage_path in a directory of yours" in text
    os.chmod(shared, 0o555)
    assert f"may not write {str(shared)!r}" in use(BOB, shared / "new" / "s.zarr", ASK)
    os.chmod(shared, 0o2775)
    assert {p: os.stat(p).st_mtime_ns for p in (shared, *shared.rglob("*"))} == before


def test_storage_rule_25_a_file_system_that_is_read_only_is_known_before(tmp_path, monkeypatch):
    storage = rn.ZarrStorage(tmp_path / "s.zarr")
    assert storage.why_unwritable() is None
    found = os.statvfs(tmp_path)
    flags = (*found[:8], found.f_flag | os.ST_RDONLY, found.f_namemax)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(flags))
    assert f"the file system of {str(tmp_path)!r} is read-only" in storage.why_unwritable()


def test_storage_rule_25_a_zarr_store_that_is_read_only_says_so(tmp_path):
    rn.ZarrStorage(tmp_path).save(ONE, make_snapshot(1))
    for store in (LocalStore(tmp_path, read_only=True), MemoryStore(read_only=True)):
        assert "is read-only: open it for writing" in rn.ZarrStorage(store).why_unwritable()
