"""The commands as a user runs them: processes, exit statuses, words on stdout and stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ringnb as rn
from ringnb._support.text import format_bytes, format_table
from ringnb.cli import command_line as cli
from ringnb.cli import doctor, inspection, lab

ROOT = Path(rn.__file__).parents[1]


def environment(**extra):
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "MPLBACKEND": "Agg"}
    env.pop("RINGNB_DEBUG", None)
    env.pop("PYTHONUNBUFFERED", None)  # with it, argparse itself swallows a closed pipe
    return env | extra


def ringnb(*arguments, cwd=None, **env):
    return subprocess.run(
        [sys.executable, "-m", "ringnb.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env=environment(**env),
    )


def assert_one_line(done, status, *words):
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("ringnb: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    store = tmp_path_factory.mktemp("cli") / "s.zarr"
    config = rn.CheckpointConfig(storage_path=store, enabled=False, max_snapshots=0)
    with rn.Session(rn.actors.Wave2D((32, 32)), actors=2, config=config) as s:
        s.inject(0, at=(8, 8))
        for slot in (0, 1, 0):
            s.run_steps(slot, 10)
            s.snapshot(slot)
    return store


@pytest.fixture
def store(pristine, tmp_path):
    """A copy to be damaged."""
    import shutil

    return Path(shutil.copytree(pristine, tmp_path / "s.zarr"))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def chunk_of(store, name):
    field = rn.ZarrStorage(store).load(name).fields[0]
    return next(p for p in sorted((store / name / field).rglob("*")) if p.name != "zarr.json")


FIRST = "checkpoint_0_step_10"


# -- the frame ---------------------------------------------------------------------------------------


def test_help_names_every_command():
    done = ringnb("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("demo", "lab", "ls", "verify", "bench", "doctor", "--version"):
        assert command in done.stdout


def test_help_imports_none_of_what_the_commands_need():
    code = (
        "import sys; from ringnb import cli; cli.main(['--help']);"
        "print([m for m in ('matplotlib', 'tqdm.std', 'ringnb.cli.demo', 'ringnb.cli.doctor') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_version():
    done = ringnb("--version")
    assert (done.returncode, done.stdout) == (0, f"ringnb {rn.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "a command is needed"),
        (("sing",), "sing"),
        (("ls",), "STORE"),
        (("demo", "--backend", "abacus"), "abacus"),
        (("demo", "--steps", "0"), "whole number"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments, word, capsys):
    assert cli.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("ringnb: ")
    assert err.count("\n") == 1
    assert word in err
    assert "--help" in err


def test_an_unexpected_exception_is_one_line_unless_debugging(monkeypatch, capsys, tmp_path):
    def break_down(*_, **__):
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(inspection, "list_store", break_down)
    monkeypatch.delenv("RINGNB_DEBUG", raising=False)
    assert cli.main(["ls", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err == "ringnb: unexpected ZeroDivisionError: a b (RINGNB_DEBUG=1 shows where)\n"
    monkeypatch.setenv("RINGNB_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["ls", str(tmp_path)])


def test_an_interrupt_is_status_130(monkeypatch, capsys, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspection, "list_store", interrupt)
    assert cli.main(["ls", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "ringnb: interrupted\n"


@pytest.mark.parametrize("command", [["ls"], ["--help"]], ids=str)
def test_a_closed_pipe_is_silent(command, pristine):
    command = [*command, str(pristine)] if command == ["ls"] else command
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "ringnb.cli", *command],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


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
def test_what_is_no_store_is_one_line(command, tmp_path, capsys):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "letter.txt").write_text("hello")
    (tmp_path / "file").write_text("hello")
    assert_one_line(ringnb(command, tmp_path / "missing"), 1, "no store", "missing")
    for name, words in (
        ("foreign", "ringnb"),
        ("plain", "not a ringnb store"),
        ("file", "is a file"),
    ):
        assert cli.main([command, str(tmp_path / name)]) == 1
        err = capsys.readouterr().err
        assert err.startswith("ringnb: ")
        assert err.count("\n") == 1
        assert words in err


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
    done = ringnb("verify", pristine)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "3 checkpoints verified, 24.0 KiB: every byte as committed\n"


def test_verify_names_the_damaged_chunk(store):
    flip(chunk_of(store, FIRST))
    done = ringnb("verify", store)
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
    assert_one_line(ringnb("verify", pristine, name), 1, name)


# -- doctor and lab ----------------------------------------------------------------------------------


def test_doctor_finds_a_working_installation(tmp_path):
    done = ringnb("doctor", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for word in (rn.__version__, "numba", "CPU cores", "Numba cache", "fsync", "backend 'cuda'"):
        assert word in done.stdout
    assert "50 steps after the restore are bit-identical" in done.stdout
    assert "FAIL" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_doctor_fails_where_a_session_fails(monkeypatch, capsys, tmp_path):
    def refuse(*_, **__):
        raise OSError("no memory\nfor a kernel")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ringnb.session.session.Session", refuse)
    assert doctor.run() == 1
    out = capsys.readouterr().out
    assert "OSError: no memory for a kernel" in out
    assert "1 of the checks failed" in out


def test_doctor_names_what_is_missing_and_how_to_get_it(monkeypatch):
    real = doctor.installed_version
    gone = {"jupyterlab", "zarr"}
    monkeypatch.setattr(
        doctor, "installed_version", lambda name: None if name in gone else real(name)
    )
    findings = {f.what: f for f in doctor._versions()}
    assert findings["jupyterlab"].mark == "--"
    assert "pip install 'ringnb[lab]'" in findings["jupyterlab"].found
    assert (findings["zarr"].mark, findings["numpy"].mark) == ("FAIL", "ok")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("echo 'GPU 0: Abacus (UUID: GPU-1)'", "GPU 0: Abacus"),
        ("echo 'driver not loaded' >&2; exit 9", "status 9: driver not loaded"),
        ("exec sleep 60", "did not answer"),
    ],
)
def test_doctor_asks_the_driver_without_hanging(body, word, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setattr(doctor, "_DRIVER_LIMIT_S", 0.2)
    assert word in doctor._ask_driver(str(program))


def test_lab_without_jupyterlab_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["lab"]) == 1
    err = capsys.readouterr().err
    assert err == "ringnb: JupyterLab is not installed: pip install 'ringnb[lab]'\n"


class FakeJupyter:
    def __init__(self, command):
        type(self).command = command
        self.interrupts = 1

    def wait(self):
        if self.interrupts:
            self.interrupts -= 1
            raise KeyboardInterrupt
        return 3


@pytest.fixture
def fake_jupyter(monkeypatch):
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(lab.subprocess, "Popen", FakeJupyter)
    return FakeJupyter


def test_lab_starts_on_copies_and_keeps_edited_ones(fake_jupyter, tmp_path, monkeypatch, capsys):
    shipped = [tmp_path / "shipped" / f"0{i}.ipynb" for i in range(2)]
    shipped[0].parent.mkdir()
    for path in shipped:
        path.write_text("{}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "00.ipynb").write_text("edited")
    monkeypatch.setattr(lab, "shipped_notebooks", lambda: shipped)
    status = cli.main(["lab", "--dir", str(tmp_path / "mine"), "--", "--no-browser"])
    assert status == 3, "JupyterLab's own status, after the Ctrl-C that it handled"
    assert fake_jupyter.command[1:4] == ["-m", "jupyterlab", "--no-browser"]
    assert fake_jupyter.command[-1] == str(tmp_path / "mine")
    assert (tmp_path / "mine" / "00.ipynb").read_text() == "edited"
    assert (tmp_path / "mine" / "01.ipynb").read_text() == "{}"
    assert "1 notebook copied" in capsys.readouterr().out


def test_lab_gives_learners_stubs_and_solutions_on_request(fake_jupyter, tmp_path, capsys):
    mine = tmp_path / "mine"
    cli.main(["lab", "--dir", str(mine)])
    shipped = lab.shipped_notebooks()
    with_exercise = [p for p in shipped if "### BEGIN SOLUTION" in p.read_text(encoding="utf-8")]
    assert len(with_exercise) >= 7
    for path in shipped:
        copy = (mine / path.name).read_text(encoding="utf-8")
        assert "SOLUTION" not in copy
        assert ("# your code here" in copy) == (path in with_exercise)
        if path not in with_exercise:
            assert copy == path.read_text(encoding="utf-8")
    assert not (mine / "solutions").exists()
    cli.main(["lab", "--dir", str(mine), "--solutions"])
    assert sorted(p.name for p in (mine / "solutions").iterdir()) == [p.name for p in with_exercise]
    for path in with_exercise:
        assert (mine / "solutions" / path.name).read_bytes() == path.read_bytes()
        assert "SOLUTION" not in (mine / path.name).read_text(encoding="utf-8")
    assert f"{len(with_exercise)} notebooks with solutions copied" in capsys.readouterr().out


def test_lab_without_notebooks_says_so(fake_jupyter, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lab, "shipped_notebooks", list)
    cli.main(["lab"])
    assert "without the notebooks" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


# -- words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (3 * 2**29, "1.5 GiB"),
    ],
)
def test_sizes_for_people(nbytes, text):
    assert format_bytes(nbytes) == text


def test_tables_align():
    lines = format_table(("a", "n"), [("x", "1"), ("long", "22")], right=("n",))
    assert lines == ["a      n", "x      1", "long  22"]
