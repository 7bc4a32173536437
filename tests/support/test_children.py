"""Python processes that ringnb starts: the same ringnb, read as they speak, gone when the block ends."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

import ringnb
from ringnb._support.children import PythonChild, run_python

TALKER = "import os, time\nos.write(1, b'one\\ntwo\\n')\n"  # one call


def gone(pid):
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    return True


def test_a_child_imports_the_same_ringnb_wherever_it_starts(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    done = run_python("-c", "import ringnb; print(ringnb.__file__)", cwd=tmp_path, check=True)
    assert Path(done.stdout.strip()) == Path(ringnb.__file__)


def test_a_failure_is_returned_or_raised():
    assert run_python("-c", "raise SystemExit('why')").stderr == "why\n"
    with pytest.raises(subprocess.CalledProcessError):
        run_python("-c", "raise SystemExit(1)", check=True)


def test_lines_are_read_until_the_end(tmp_path):
    with PythonChild("-c", TALKER, log=tmp_path / "log") as child:
        assert list(child.lines(60)) == ["one\n", "two\n"]
        assert child.wait() == 0
    assert not child.killed or child.wait() == 0
    assert gone(child.pid)


def test_a_child_is_killed_when_the_block_ends_and_what_it_wrote_is_kept(tmp_path):
    with PythonChild("-c", TALKER + "time.sleep(600)", log=tmp_path / "log") as child:
        lines = child.lines(60)
        assert next(lines) == "one\n"
        assert child.kill() == -signal.SIGKILL
        assert list(lines) == ["two\n"]
    assert gone(child.pid)


def test_a_block_that_fails_leaves_no_process(tmp_path):
    with pytest.raises(KeyError), PythonChild("-c", "input()", log=tmp_path / "log") as child:
        raise KeyError
    assert gone(child.pid)


def test_it_hears_lines_until_it_ends(tmp_path):
    with PythonChild("-c", "print(input()); input()", log=tmp_path / "log") as child:
        child.send("ä")
        assert next(child.lines(60)) == "ä\n"
        child.send("")
        child.wait()
        child.send("nobody hears this")


def test_silence_has_an_end(tmp_path):
    with (
        PythonChild("-c", "input()", log=tmp_path / "log") as child,
        pytest.raises(TimeoutError, match=rf"process {child.pid} wrote nothing for 0.05 s"),
    ):
        next(child.lines(0.05))


def test_its_errors_are_appended_to_the_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    with PythonChild("-c", "import sys; sys.exit('why')", log=log) as child:
        assert child.wait() == 1
    assert log.read_text() == "before\nwhy\n"
