"""`ringnb ls` and `ringnb verify`: words on standard output, exit statuses, what is left untouched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import assert_one_line, ringnb, ringnb_here

import ringnb as rn
from ringnb.cli import command_line as cli


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
    assert lines[0].split()[:4] == ["name", "actor", "type", "step"]
    assert [line.split()[0] for line in lines[1:4]] == [
        FIRST,
        "checkpoint_1_step_10",
        "checkpoint_0_step_20",
    ]
    assert FIRST in lines[3].split()[1:], "the parent of the newest"
    assert "8.0 KiB" in lines[1]
    assert lines[-1].startswith("3 checkpoints of 2 actors, 24.0 KiB")


def test_ls_json_is_for_programs(pristine, capsys):
    assert cli.main(["ls", str(pristine), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["total_bytes"] == 3 * 2 * 32 * 32 * 4
    newest = document["checkpoints"][-1]
    assert (newest["kernel_id"], newest["step"], newest["parent"]) == ("fdtd_2d_0", 20, FIRST)
    assert newest["status"] == "committed"


def test_ls_shows_damaged_metadata_as_damaged(store, capsys):
    flip(store / FIRST / "zarr.json")
    assert cli.main(["ls", str(store)]) == 0
    out = capsys.readouterr().out
    line = next(x for x in out.splitlines() if x.startswith(FIRST))
    assert line.split()[-1] == "damaged"
    assert "1 with damaged metadata" in out


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
