"""Power cuts, kills, failing disks, damage: a part of the trials, and that they would notice a fault."""

from __future__ import annotations

import errno
import functools
import json
import os
import subprocess
from pathlib import Path

import pytest
from commands import ringnb

import ringnb as rn
from ringnb.checkpoint import committing, pruning, retention
from ringnb.checkpoint.storage import backend, document, zarr_storage
from ringnb.checkpoint.storage import reader as reading
from ringnb.checkpoint.storage.directory import backend as directory
from ringnb.checkpoint.storage.directory import listing, work_area
from ringnb.checkpoint.storage.object_store import backend as object_store
from ringnb.cli import command_line as cli
from ringnb.errors import CheckpointCorrupt
from ringnb.testing.storages import make_snapshot
from ringnb.testing.trials import program
from ringnb.testing.trials.damage import damage_everything
from ringnb.testing.trials.disk import Disk
from ringnb.testing.trials.faults import fail_every_call
from ringnb.testing.trials.judging import Loss, judge
from ringnb.testing.trials.kills import kill_at_every_call
from ringnb.testing.trials.objects import stop_after_every_request
from ringnb.testing.trials.powercuts import cut_power
from ringnb.testing.trials.workloads import Runner

if not Path("/proc/self/fd").is_dir():
    pytest.skip("the trials need Linux's /proc", allow_module_level=True)

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "ringnb" / "testing" / "trials" / "results.json"
ONE, TWO, THREE = (f"checkpoint_0_step_{n}" for n in (1, 2, 3))

# At least as much as this is tried in a bounded run.
BOUNDED = {
    "power": ("states", 500),
    "ordinary": ("states", 200),
    "power_longer": ("states", 100),
    "power_after_kill": ("states", 500),
    "kill_calls": ("kills", 150),
    "kill_randomly": ("kills", 40),
    "fail": ("EIO", 60),
    "stop": ("stops", 60),
    "damage": ("bits", 1000),
    "limits": ("limits", 2),
}


@pytest.mark.slow
@pytest.mark.unhurried
@pytest.mark.timeout(1500)  # a minute alone; ten on a machine that does much else besides
def test_a_bounded_run_loses_nothing(tmp_path, capfd):
    status = program.main(["--json", str(tmp_path / "t.json")])
    shown = capfd.readouterr()
    assert status == 0, shown.out
    assert shown.err == "", "a fault that a trial makes is no news"
    document = json.loads((tmp_path / "t.json").read_text())
    assert {row["key"] for row in document["rows"]} == set(BOUNDED)
    for row in document["rows"]:
        counted, least = BOUNDED[row["key"]]
        assert row["losses"] == []
        assert row["counts"][counted] >= least, row


def test_the_readme_holds_the_recorded_full_run():
    document = json.loads(RECORDED.read_text())
    assert document["full"] is True
    assert {row["key"] for row in document["rows"]} >= set(BOUNDED) - {"limits"}
    assert not any(row["losses"] for row in document["rows"])
    readme = RECORDED.with_name("README.md").read_text(encoding="utf-8").splitlines()
    for line in program.as_markdown(document):
        assert line in readme


def test_an_unknown_trial_is_a_usage_error(capsys):
    with pytest.raises(SystemExit, match="2"):
        program.main(["--only", "nothing"])
    assert "no trial 'nothing'" in capsys.readouterr().err


def test_what_is_lost_is_said_and_fails(monkeypatch, capsys):
    def lose(*_arguments, **_options):
        raise Loss("a checkpoint")

    class Inline:
        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        map = staticmethod(map)

    monkeypatch.setattr(program, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(program, "damage_everything", lose)
    monkeypatch.setattr(program, "_arguments", lambda *_, **__: ([(lose, (), {})], [Path()]))
    assert program.main(["--only", "damage"]) == 1
    assert "LOSS a checkpoint" in capsys.readouterr().out


# -- would they notice? -----------------------------------------------------------------------------


FORGOTTEN = {
    "file": (("save",), lambda op: op.kind == "sync_file"),
    "store": (("save",), lambda op: op.kind == "sync_directory" and op.path.name == "s.zarr"),
    "parent": (("save",), lambda op: op.kind == "sync_directory" and op.path.name == "live"),
    "staged": (
        ("save",),
        lambda op: op.kind == "sync_directory" and op.path.parent.name == "staging",
    ),
    "field": (("save",), lambda op: op.kind == "sync_directory" and op.path.name == "u"),
    "barrier": (("group",), lambda op: op.kind == "sync_filesystem"),
    "save's barrier": (("save_behind",), lambda op: op.kind == "sync_filesystem"),
    "group": (("group",), lambda op: op.kind == "sync_directory" and op.path.name == "s.zarr"),
    "group's file": (("group_each",), lambda op: op.kind == "sync_file"),
    "deleted": (
        ("save", "delete"),
        lambda op: op.kind == "sync_directory" and op.path.name == "s.zarr",
    ),
    "pin": (("save", "pin"), lambda op: op.kind == "sync_file"),
    "pinned": (
        ("save", "pin"),
        lambda op: op.kind == "sync_directory" and "trial" in op.path.name,
    ),
    "trash": (
        ("save", "mine", "delete"),
        lambda op: op.kind == "sync_directory" and op.path.name == ".s.zarr.ringnb",
    ),
    "put back": (
        ("save", "chunk", "delete"),
        lambda op: op.kind == "sync_directory" and op.path.parent.name == "trash",
    ),
    "several deleted": (
        ("save", "save", "drop"),
        lambda op: op.kind == "sync_directory" and op.path.name == "s.zarr",
    ),
    "root document": (("save", "readopt"), lambda op: op.kind == "sync_file"),
}


@functools.cache
def loses_nothing(workload):
    """Cut the power of a disk that forgets nothing, once for each workload."""
    cut_power(workload)


@pytest.mark.parametrize(
    ("workload", "forgotten"),
    [
        pytest.param(*case, id=name, marks=[] if name in {"file", "barrier"} else pytest.mark.slow)
        for name, case in FORGOTTEN.items()
    ],
)
def test_a_sync_that_is_forgotten_is_noticed(workload, forgotten, monkeypatch):
    loses_nothing(workload)
    real = Disk.apply
    monkeypatch.setattr(Disk, "apply", lambda self, op: None if forgotten(op) else real(self, op))
    with pytest.raises(Loss):
        cut_power(workload)


@pytest.mark.parametrize(
    "workload",
    [
        ("cut",),
        pytest.param(("cut", "save", "retire"), marks=pytest.mark.slow),
        pytest.param(("cut", "kill cut 6", "cut"), marks=pytest.mark.slow),
        pytest.param(("cut", "copy", "adopt"), marks=pytest.mark.slow),
        pytest.param(("fresh", "cut", "pin", "quarantine"), marks=pytest.mark.slow),
    ],
    ids="-".join,
)
def test_of_a_cut_all_parts_are_there_or_none(workload):
    counted = cut_power(workload)
    assert counted["states"] > 2
    if "quarantine" not in workload:
        stop_after_every_request([op for op in workload if " " not in op])


@pytest.mark.slow
def test_building_on_a_rename_that_is_not_durable_is_noticed(monkeypatch):
    workload = ("save", "kill delete 2", "save")
    assert cut_power(workload)["states"] > 10
    monkeypatch.setattr(directory.DirectoryBackend, "_settle", lambda _: None)
    with pytest.raises(Loss):
        cut_power(workload)


@pytest.mark.slow
def test_litter_and_half_commits_are_noticed(monkeypatch):
    area, local = work_area.WorkArea, directory.DirectoryBackend
    for owner, name, noticed in (
        (area, "remove_tree", lambda: fail_every_call(("save", "save"), lasting=False)),
        (local, "_discard", lambda: fail_every_call(("save", "save"), lasting=False)),
        (area, "sweep", lambda: kill_at_every_call(("save", "pin"))),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, lambda *_: None)
            with pytest.raises(Loss):
                noticed()


def _no_run(history, _run, policy, load, **options):
    entries = [e._replace(run="") for e in history]
    return retention.choose_in_run(entries, "", policy, load, **options)


def _as_committed(raw, **changes):
    return document.revise_document(document.dump(document._committed(json.loads(raw))), **changes)


def _arrays_last(self, commit):
    receipt = self._backend.put(commit)
    self._keep(commit.arrays)
    return receipt


BROKEN = {
    "a user's files are removed": (
        ("save", "mine", "delete"),
        (work_area.WorkArea, "remove_checkpoint", lambda self, path, *_: self.remove_tree(path)),
        "files of the user are gone",
    ),
    "an import comes last": (
        ("save", "import"),
        (backend.Commit, "number_below", lambda self, _: 100 - self.layouts[0].n_chunks),
        "the order is|sequence numbers",
    ),
    "retention takes other runs": (
        ("save", "fresh", "save", "save", "retire"),
        (committing, "choose_in_run", _no_run),
        "missing: .'trial_0_step_1'",
    ),
    "a branch point is pruned": (
        ("save", "save", "branch", "save", "prune"),
        (pruning, "_why_kept", lambda *_: None),
        "missing: .'trial_0_step_1'",
    ),
    "a copy is taken for a checkpoint": (
        ("save", "copy"),
        (document, "_why_copy", lambda *_: None),
        "sequence numbers",
    ),
    "an adopted one keeps a number that is taken": (
        ("save", "copy", "adopt"),
        (zarr_storage, "number_below", lambda lowest: lowest),
        "sequence numbers",
    ),
    "a pin takes a user's attribute": (
        ("save", "mark", "pin"),
        (zarr_storage, "revise_document", _as_committed),
        "the user's attribute None",
    ),
    "read-only arrays go before what names them": (
        ("fresh", "save", "fresh", "save", "prune"),
        (zarr_storage.ZarrStorage, "_unnamed", lambda _, keys: sorted(keys)),
        "array 'depth'",
    ),
    "a checkpoint comes before its read-only arrays": (
        ("fresh", "save"),
        (zarr_storage.ZarrStorage, "_put", _arrays_last),
        "array 'depth'",
    ),
    "what another process has committed is not seen": (
        ("save", "other", "save"),
        (listing.Listing, "_scan", lambda _: None),
        "sequence numbers|missing",
    ),
}


@pytest.mark.parametrize(("workload", "broken", "noticed"), BROKEN.values(), ids=BROKEN)
def test_what_breaks_ordinary_life_is_noticed(workload, broken, noticed, monkeypatch, tmp_path):
    runner = Runner(tmp_path / "s.zarr", durable=False)
    try:
        for operation in workload:
            assert runner.run(operation)
        judge(tmp_path / "s.zarr", runner.expected, again=False)
    finally:
        runner.close()
    monkeypatch.setattr(*broken)
    with pytest.raises(Loss, match=noticed):
        cut_power(workload, durable=False)


def test_an_object_store_that_deletes_in_another_order_is_noticed(monkeypatch):
    workload = ("save", "delete")
    assert stop_after_every_request(workload)["stops"] > 5
    monkeypatch.setattr(
        object_store.ObjectStoreBackend, "remove", lambda self, name, keys: self._delete(keys, name)
    )
    with pytest.raises(Loss):
        stop_after_every_request(workload)


def test_an_added_key_that_is_taken_for_damage_is_noticed(monkeypatch):
    real = reading.Reader.check_field

    def check_field(self, field):
        if self.source.keys() - self.document.keys():
            raise CheckpointCorrupt("it holds what was not committed")
        real(self, field)

    monkeypatch.setattr(reading.Reader, "check_field", check_field)
    with pytest.raises(Loss, match="added: taken for damage"):
        damage_everything(every=200)


def test_checks_that_are_left_out_are_noticed(monkeypatch):
    monkeypatch.setattr(reading.Reader, "check_field", lambda *_: None)
    with pytest.raises(Loss):
        damage_everything(every=200)


# -- the real thing, where this machine can make it --------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of one megabyte."""
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("this user cannot mount a file system")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def big(step):
    import numpy as np

    rng = np.random.default_rng(step)
    return make_snapshot(step, fields={"u": rng.random((240, 240))}, field_attrs={})


def test_a_full_disk_loses_nothing_and_room_is_used_again(small_disk):
    with rn.ZarrStorage(small_disk / "s.zarr") as storage:
        storage.save(ONE, big(1))
        storage.save(TWO, big(2))
        for _ in range(3):
            with pytest.raises(OSError, match="No space left") as caught:
                storage.save(THREE, big(3))
            assert caught.value.errno == errno.ENOSPC
            assert storage.list() == [ONE, TWO]
        assert os.listdir(small_disk / ".s.zarr.ringnb" / "staging") == []
        storage.delete(ONE)
        storage.save(THREE, big(3))
        for name in (TWO, THREE):
            storage.load(name).verify()


def test_a_read_only_file_system_reads_on(small_disk):
    with rn.ZarrStorage(small_disk / "s.zarr") as storage:
        storage.save(ONE, big(1))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with rn.ZarrStorage(small_disk / "s.zarr") as storage:
        storage.load(ONE).verify()
        for change in (lambda: storage.save(TWO, big(2)), lambda: storage.delete(ONE)):
            with pytest.raises(rn.CheckpointError, match=r"the file system of .* is read-only"):
                change()
        assert storage.list() == [ONE]
    assert cli.main(["verify", str(small_disk / "s.zarr")]) == 0


def test_a_file_system_of_its_own_keeps_the_work_area_inside(small_disk):
    with rn.ZarrStorage(small_disk) as storage:
        storage.save(ONE, big(1))
        assert sorted(os.listdir(small_disk)) == [".ringnb", ONE, "zarr.json"]


# -- repair ---------------------------------------------------------------------------------------------


def test_repair_quarantines_the_damaged_and_deletes_nothing(tmp_path, capsys):
    store = tmp_path / "s.zarr"
    with rn.ZarrStorage(store) as storage:
        for step, name in enumerate((ONE, TWO, THREE), 1):
            storage.save(name, make_snapshot(step))
        storage.pin(ONE, "mine")
    chunk = next((store / ONE / "u").glob("c*"))
    chunk.write_bytes(b"rubbish")
    (store / TWO / "zarr.json").write_bytes(b"{}")
    contents = {
        p.relative_to(store): p.read_bytes()
        for n in (ONE, TWO)
        for p in (store / n).rglob("*")
        if p.is_file()
    }
    assert cli.main(["verify", str(store)]) == 1
    assert sorted(rn.ZarrStorage(store).list()) == [ONE, TWO, THREE]
    capsys.readouterr()
    assert cli.main(["verify", str(store), "--repair"]) == 1
    out = capsys.readouterr().out
    quarantine = tmp_path / ".s.zarr.ringnb" / "damaged"
    assert out.count("moved ") == 2
    assert str(quarantine / ONE) in out
    assert {
        p.relative_to(quarantine): p.read_bytes() for p in quarantine.rglob("*") if p.is_file()
    } == contents
    assert cli.main(["verify", str(store), "--repair"]) == 0
    with rn.ZarrStorage(store) as storage:
        assert storage.list() == [THREE]
        storage.save(ONE, make_snapshot(9))  # its name is free again
    next((store / ONE / "u").glob("c*")).write_bytes(b"rubbish")
    assert cli.main(["verify", str(store), "--repair"]) == 1
    assert sorted(os.listdir(quarantine)) == [ONE, f"{ONE}.2", TWO]


def test_repair_beside_a_writer_is_locked_out(tmp_path, capsys):
    store = tmp_path / "s.zarr"
    with rn.ZarrStorage(store) as storage:
        storage.save(ONE, make_snapshot(1))
        next((store / ONE / "u").glob("c*")).write_bytes(b"rubbish")
        done = ringnb("verify", store, "--repair")
    assert done.returncode == 1
    assert "is being written by process" in done.stderr
    assert (store / ONE).exists()


def test_a_named_pipe_in_place_of_a_file_is_damage_and_blocks_nobody(tmp_path):
    store = tmp_path / "s.zarr"
    for key in ("zarr.json", "u/zarr.json", "u/c.0.0"):
        with rn.ZarrStorage(store) as storage:
            name = f"checkpoint_0_step_{len(storage.list())}"
            storage.save(name, make_snapshot(1))
        (store / name / key).unlink()
        os.mkfifo(store / name / key)
        with pytest.raises(rn.CheckpointCorrupt):
            rn.ZarrStorage(store).load(name).verify()
