"""What the workshop about other processes calls, where the notebook's own run does not show it."""

from __future__ import annotations

import contextlib
import sys
from types import SimpleNamespace

import processes
import pytest

import ringnb as rn
from ringnb import course


def without_the_extra():
    for name in [name for name in sys.modules if name.startswith("ringnb.cluster")]:
        del sys.modules[name]
    vars(rn).pop("cluster", None)
    sys.modules["distributed"] = None
    try:
        course.need_cluster()
    except rn.RingnbError as error:
        return error._render_traceback_()


def test_without_the_extra_one_line_says_what_to_install_and_that_nothing_ran():
    (line,) = processes.elsewhere(without_the_extra)
    assert "pip install 'ringnb[cluster]'" in line
    assert line.endswith("no cell below can run, and what the text says of them is not seen")
    assert course.need_cluster() is rn.cluster


def test_a_run_that_was_just_launched_is_waited_for_until_a_worker_has_it(monkeypatch):
    gone = SimpleNamespace(state="ended", worker="tls://a")
    new = [SimpleNamespace(state=state, worker="tls://b") for state in ("waiting", "running")]
    looks = iter([[gone, new[0]], [gone, new[0]], [gone, new[1]], [gone]])
    client = SimpleNamespace(run=lambda what: {"tls://a": 11, "tls://b": 12})
    monkeypatch.setattr("ringnb.cluster.runs", lambda address: next(looks))
    monkeypatch.setattr(
        "ringnb.cluster.connection.connected", lambda address: contextlib.nullcontext(client)
    )
    assert course.worker_pid("tls://c") == 12
    with pytest.raises(rn.RingnbError, match="no run has a worker: see what there is"):
        course.worker_pid("tls://c")  # the only one has ended: there is nothing to wait for
    assert course.worker_pid("tls://c", "tls://a") == 11


@pytest.mark.slow
def test_another_notebook_runs_cells_says_what_one_raises_and_is_killed():
    other = course.OtherNotebook()
    assert other.run("import os\nprint(os.getpid())\n1 + 1").isdigit()
    with pytest.raises(rn.RingnbError, match="ZeroDivisionError: division by zero"):
        other.run("1 / 0")
    assert other.kill() == -9
    assert other.kill() == -9
