"""The frame of all commands: usage, help, one line for every error, exit statuses."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from commands import environment, ringnb_here

import ringnb as rn
from ringnb._support.children import run_python
from ringnb.cli import command_line as cli
from ringnb.cli import stores


def test_help_names_every_command():
    done = ringnb_here("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("demo", "lab", "ls", "verify", "bench", "docs", "doctor", "--version"):
        assert command in done.stdout


def test_what_a_command_does_not_need_is_not_imported(pristine):
    """Numba and matplotlib take most of the time that importing takes."""
    heavy = ("numba", "matplotlib", "ringnb.session.session")
    heavy += ("ringnb.cli.bench", "ringnb.cli.demo", "ringnb.cli.doctor")
    code = f"""if True:
        import sys
        from ringnb import cli
        for command in ["--help"], ["--version"], ["ls", {str(pristine)!r}]:
            assert cli.main(command) == 0
            print("after", command[0], [m for m in {heavy!r} if m in sys.modules])
            assert command[0] == "ls" or "tqdm.std" not in sys.modules
    """
    done = run_python("-c", code, check=True, env=environment())
    imported = [line for line in done.stdout.splitlines() if line.startswith("after ")]
    assert imported == ["after --help []", "after --version []", "after ls []"]


def test_version():
    done = ringnb_here("--version")
    assert (done.returncode, done.stdout) == (0, f"ringnb {rn.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "a command is needed"),
        (("sing",), "sing"),
        (("--loud",), "unrecognized arguments: --loud; see ringnb --help"),
        (("ls",), "STORE"),
        (("bench", "all"), "unrecognized arguments: all; see ringnb bench --help"),
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

    monkeypatch.setattr(stores, "list_store", break_down)
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

    monkeypatch.setattr(stores, "list_store", interrupt)
    assert cli.main(["ls", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "ringnb: interrupted\n"


@pytest.mark.parametrize("command", [["ls"], ["--help"]], ids=str)
def test_a_closed_pipe_is_silent(command, pristine):
    command = [*command, str(pristine)] if command == ["ls"] else command
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = run_python(
            *("-m", "ringnb.cli", *command),
            capture_output=False,
            stdout=closed,
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
