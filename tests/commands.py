"""Runs ``ringnb`` as a user does, in a process of its own; or here, which takes half a second less."""

from __future__ import annotations

import contextlib
import io
import subprocess

from ringnb._support.children import child_environment, run_python
from ringnb.cli import command_line


def environment(**extra):
    env = child_environment(MPLBACKEND="Agg")
    env.pop("RINGNB_DEBUG", None)
    env.pop("PYTHONUNBUFFERED", None)  # with it, argparse itself swallows a closed pipe
    return env | extra


def ringnb(*arguments, cwd=None, **env):
    command = ("-m", "ringnb.cli", *map(str, arguments))
    return run_python(*command, timeout=120, cwd=cwd, env=environment(**env))


def ringnb_here(*arguments):
    """Run a command within this process."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        status = command_line.main([*map(str, arguments)])
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def assert_one_line(done, status, *words):
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("ringnb: ")
    for word in words:
        assert word in lines[0]
