"""An update that never ends: Ctrl-C, close and the end of the program come all the same."""

from __future__ import annotations

import time
from pathlib import Path

from ringnb._support.children import run_python

CHILD = Path(__file__).with_name("endless_child.py")


def test_an_update_that_never_ends_holds_up_neither_ctrl_c_nor_close_nor_exit(tmp_path):
    done = run_python(CHILD, tmp_path, timeout=120)
    ended = time.monotonic()
    assert done.returncode == 0, done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert float(said["interrupted"]) < 20
    assert float(said["closed"]) < 30
    assert "1 x spin" in said["<Session:"]
    assert said["<Session:"].endswith("closed>")
    assert ended - float(said["exits"]) < 30
    assert "interrupted at step 1, and has not ended the next one within 0.7 s" in done.stderr
    assert done.stderr.count("is still in a step after 0.3 s: the update never ends") == 2
    assert "Traceback" not in done.stderr
