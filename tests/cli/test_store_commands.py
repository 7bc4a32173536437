"""`ringnb ls` and `ringnb verify`: words on standard output, exit statuses, what is left untouched."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from commands import assert_one_line, ringnb, ringnb_here

import ringnb as rn
from ringnb.cli import command_line as cli
from ringnb.testing.storages import make_snapshot


@pytest.fixture
def store(pristine, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "s.zarr"))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def chunk_of(store, name):
    field = rn.ZarrStorage(store).load(name).fields[0]
    return next(p for p in sorted((store / name / field).rglob("*")) if p.name != "zarr.json")


FIRST = "checkpoint_0_step_10"


# -- ls ----------------------------------------------------------------------------------------------


def test_ls_shows_checkpoints_newest_last(pristine):
    done = ringnb("ls", pristine)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["name", "step"]
    runs = [rn.ZarrStorage(pristine).load(f"checkpoint_{slot}_step_10").run[:8] for slot in (1, 0)]
    assert [line.split("  ")[0] for line in lines[1:8]] == [
        *("", f"fdtd_2d_1 (fdtd_2d), run {runs[0]}", "checkpoint_1_step_10"),
        *("", f"fdtd_2d_0 (fdtd_2d), run {runs[1]}", FIRST, "checkpoint_0_step_20"),
    ]
    assert lines[6].endswith("8.0 KiB")
    assert lines[-1] == "3 checkpoints of 2 actors, 24.0 KiB, in 2 runs"


def test_ls_json_is_for_programs(pristine, capsys):
    assert cli.main(["ls", str(pristine), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["total_bytes"] == 3 * 2 * 32 * 32 * 4
    newest = document["checkpoints"][-1]
    assert (newest["kernel_id"], newest["step"], newest["parent"]) == ("fdtd_2d_0", 20, FIRST)
    assert newest["status"] == "committed"
    (entry,) = (e for e in rn.ZarrStorage(pristine).catalogue() if e.name == newest["name"])
    created_at = entry.created_at.isoformat()
    fields = {k: v for k, v in entry._asdict().items() if k not in ("damaged", "estimated", "pin")}
    assert newest == fields | {
        "created_at": created_at,
        "params": [list(pair) for pair in entry.params],
        "parts": [],
        "pinned": None,
        "problem": None,
        "status": "committed",
    }
    assert [(r["kernel_id"], r["checkpoints"]) for r in document["runs"]] == [
        ("fdtd_2d_1", ["checkpoint_1_step_10"]),
        ("fdtd_2d_0", [FIRST, "checkpoint_0_step_20"]),
    ]


def test_ls_shows_damaged_metadata_as_damaged(store, capsys):
    flip(store / FIRST / "zarr.json")
    assert cli.main(["ls", str(store)]) == 0
    out = capsys.readouterr().out
    line = next(x for x in out.splitlines() if x.startswith(FIRST))
    assert line.split()[-1] == "damaged"
    assert "1 with damaged metadata" in out


LONG = "an_identity_as_long_as_somebody_who_means_well_makes_it_" + "0123456789" * 14


@pytest.fixture
def runs(tmp_path):
    """Three runs of one actor, the second a branch of the first; one run of another, with long names."""
    path = tmp_path / "r.zarr"
    with rn.ZarrStorage(path, durable=False) as storage:
        for kernel_id, prefix, steps in (
            ("wave_0", "checkpoint", (10, 20)),
            (LONG, "x" * 99, (7,)),
        ):
            run = "1" * 16
            for step in steps:
                save(storage, kernel_id, step, run, name_prefix=prefix)
        first = storage.load("checkpoint_0_step_10")
        save(storage, "wave_0", 30, "2" * 16, parent=first.name, parent_id=first.id)
        save(storage, "wave_0", 40, "2" * 16)
        save(storage, "wave_0", 50, "3" * 16)
    return path


def save(storage, kernel_id, step, run, **more):
    snapshot = make_snapshot(step, kernel_id=kernel_id, run=run, **more)
    storage.save(f"{snapshot.name_prefix}_0_step_{step}", snapshot)


def test_ls_shows_actor_run_pin_and_copy_within_80_columns(runs, capsys):
    with rn.ZarrStorage(runs, durable=False) as storage:
        storage.pin("checkpoint_0_step_20", "a label that is as long as labels may be " * 4)
    shutil.copytree(runs / "checkpoint_0_step_20", runs / "my_backup")
    assert cli.main(["ls", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "wave_0 (model), run 22222222, continues checkpoint_0_step_10\n" in out
    assert "a run branches here" in out
    assert "a copy of 'checkpoint_0_step_20'" in out
    assert out.splitlines()[-1].endswith("in 4 runs, 1 copy")
    long = [line for line in out.splitlines() if len(line) > 80]
    # Names and labels are whole, so that they can be copied.
    assert all(word in "".join(long) for word in ("x" * 99, "a label that is as long"))
    assert all(
        "x" * 99 in line or "label" in line or LONG in line for line in long if "r.zarr" not in line
    )


def test_ls_lists_cuts_as_those_of_their_actors_and_as_no_actor(tmp_path, capsys):
    path = tmp_path / "cuts.zarr"
    config = rn.CheckpointConfig(enabled=False, on_close=False, storage_path=path)
    with rn.Session(rn.actors.Life((8, 8)), actors=3, config=config) as session:
        session.snapshot_all()
        session.snapshot(1)
    assert cli.main(["ls", str(path)]) == 0
    out = capsys.readouterr().out
    assert "cuts of 3 actors, run " in out
    assert "life_1 (life), run " in out
    assert "2 checkpoints of 3 actors, " in out
    assert cli.main(["ls", "--runs", str(path)]) == 0
    cuts, alone = capsys.readouterr().out.splitlines()[1:]
    assert "cuts of 3 actors  " in cuts
    assert "  life_1  " in alone


def test_ls_runs_is_a_line_for_each_run(runs, capsys):
    assert cli.main(["ls", str(runs), "--runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "run",
        "11111111",
        "11111111",
        *("2" * 8, "3" * 8),
    ]
    assert lines[3].split()[1:4] == ["wave_0", "2", "30-40"]
    assert all(len(line) <= 80 for line in lines)


# -- prune --------------------------------------------------------------------------------------------


def test_prune_shows_and_deletes_only_if_it_is_told(runs, capsys):
    before = rn.ZarrStorage(runs).list()
    done = ringnb("prune", runs)  # no terminal
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["run", "11111111", "22222222"]
    assert lines[-1] == "Nothing was deleted: --yes deletes it"
    assert all(len(line) <= 80 for line in lines)
    assert rn.ZarrStorage(runs).list() == before
    assert cli.main(["prune", str(runs), "--keep-runs", "2", "--yes"]) == 0
    out = capsys.readouterr().out
    assert "checkpoint_0_step_10 stays: a run that stays continues from it" in out
    assert "1 checkpoint deleted" in out
    assert rn.ZarrStorage(runs).list() == [n for n in before if n != "checkpoint_0_step_20"]
    assert cli.main(["prune", str(runs), "--yes"]) == 0
    assert [e.kernel_id for e in rn.ZarrStorage(runs).catalogue()] == [LONG, "wave_0"]
    capsys.readouterr()
    assert cli.main(["prune", str(runs), "--yes"]) == 0
    assert "nothing to prune" in capsys.readouterr().out


def test_ls_by_runs_counts_what_is_of_no_run(runs, capsys):
    assert cli.main(["ls", "--runs", str(runs)]) == 0
    assert "Beside" not in capsys.readouterr().out
    shutil.copytree(runs / "checkpoint_0_step_20", runs / "my_backup")
    (runs / "checkpoint_0_step_30" / "zarr.json").write_bytes(b"")
    assert cli.main(["ls", "--runs", str(runs)]) == 0
    assert capsys.readouterr().out.endswith("Beside them 1 copy, 1 with damaged metadata\n")


def test_ls_says_where_a_run_begins_as_far_as_that_is_there(runs, capsys):
    def begins():
        assert cli.main(["ls", str(runs)]) == cli.main(["ls", "--json", str(runs)]) == 0
        out = capsys.readouterr().out
        document = json.loads(out[out.index("\n{") :])
        said = [line for line in out.splitlines() if ", continues " in line]
        return len(said), [r["parent"] for r in document["runs"] if r["parent"]]

    assert begins() == (1, ["checkpoint_0_step_10"])
    with rn.ZarrStorage(runs, durable=False) as storage:
        storage.delete("checkpoint_0_step_10")
    assert begins() == (0, [])


@pytest.mark.parametrize(("answer", "left"), [("y", 2), ("no", 6), ("", 6), (None, 6)])
def test_prune_asks(runs, capsys, monkeypatch, answer, left):
    typed = io.StringIO("" if answer is None else f"{answer}\n")
    typed.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", typed)
    assert cli.main(["prune", str(runs)]) == 0
    assert "Delete this? [y/N]" in capsys.readouterr().out
    assert len(rn.ZarrStorage(runs).list()) == left


def test_prune_of_a_store_that_is_written_is_one_line(runs):
    with rn.ZarrStorage(runs, durable=False) as storage:
        save(storage, "wave_0", 60, "3" * 16)
        done = ringnb("prune", runs, "--yes")
    assert_one_line(done, 1, "is being written by process", str(os.getpid()))
    for wrong in ("0", "-1", "x"):
        assert ringnb_here("prune", runs, "--keep-runs", wrong).returncode == 2


def test_ls_creates_and_changes_nothing(store):
    before = sorted(store.parent.rglob("*"))
    assert cli.main(["ls", str(store)]) == 0
    assert cli.main(["verify", str(store)]) == 0
    assert sorted(store.parent.rglob("*")) == before


@pytest.mark.parametrize("command", ["ls", "verify"])
def test_what_is_no_store_is_one_line(command, tmp_path):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "letter.txt").write_text("hello")
    (tmp_path / "file").write_text("hello")
    assert_one_line(ringnb_here(command, tmp_path / "missing"), 1, "no store", "missing")
    assert_one_line(ringnb_here(command, tmp_path / "foreign"), 1, "ringnb")
    assert_one_line(ringnb_here(command, tmp_path / "plain"), 1, "not a ringnb store")
    assert_one_line(ringnb_here(command, tmp_path / "file"), 1, "is a file")


@pytest.mark.parametrize("command", ["ls", "verify"])
def test_a_store_without_checkpoints(command, store, capsys):
    storage = rn.ZarrStorage(store)
    for name in storage.list():
        storage.delete(name)
    storage.close()
    assert cli.main([command, str(store)]) == 0
    assert "without checkpoints" in capsys.readouterr().out


# -- verify ------------------------------------------------------------------------------------------


def test_verify_an_intact_store(pristine):
    done = ringnb_here("verify", pristine)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "3 checkpoints verified, 24.0 KiB: every byte as committed\n"


def test_verify_names_the_damaged_chunk(store):
    flip(chunk_of(store, FIRST))
    done = ringnb_here("verify", store)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"damaged  {FIRST}: ")
    assert "pressure" in lines[0]
    assert lines[1] == "1 of 3 checkpoints damaged, 2 intact"


@pytest.mark.parametrize("damage", ["lost chunk", "metadata"])
def test_verify_finds_other_damage(damage, store, capsys):
    if damage == "lost chunk":
        chunk_of(store, FIRST).unlink()
    else:
        flip(store / FIRST / "zarr.json")
    assert cli.main(["verify", str(store)]) == 1
    assert f"damaged  {FIRST}" in capsys.readouterr().out


def test_verify_only_what_is_named(store, capsys):
    flip(chunk_of(store, FIRST))
    assert cli.main(["verify", str(store), "checkpoint_0_step_20"]) == 0
    assert cli.main(["verify", str(store), "checkpoint_0_step_20", FIRST, FIRST]) == 1
    assert "1 of 2 checkpoints damaged" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nothing", "../s.zarr"])
def test_verify_a_name_that_is_not_there(name, pristine):
    run = ringnb if name == "nothing" else ringnb_here
    assert_one_line(run("verify", pristine, name), 1, name)
