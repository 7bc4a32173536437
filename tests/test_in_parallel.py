"""When the tests run in several processes, and what the terminal then says."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import in_parallel
import pytest

from ringnb._support.children import child_environment, run_python
from ringnb._support.machine import available_cores

HERE = Path(__file__).parent

ALL = {
    "all": False,
    "markexpr": "not slow and not browser and not gpu",
    "file_or_dir": [],
    "usepdb": False,
    "collectonly": False,
    "keyword": "",
    "numprocesses": None,
    "dist": "no",
    "verbose": 0,
}


class Manager:
    def __init__(self, *plugins):
        self.plugins = dict.fromkeys(plugins)

    def hasplugin(self, name):
        return name in self.plugins

    def getplugin(self, name):
        return self.plugins[name]

    def register(self, plugin):
        if isinstance(plugin, in_parallel.FileLines):
            self.plugins["lines"] = plugin


def config(*plugins, worker=False, **options):
    made = SimpleNamespace(
        option=SimpleNamespace(**{**ALL, **options}), pluginmanager=Manager(*plugins)
    )
    if worker:
        made.workerinput = {}
    return made


@pytest.mark.parametrize(
    ("changes", "processes"),
    [
        ({}, 3),
        ({"all": True, "markexpr": ""}, 3),
        ({"verbose": 2}, 3),
        ({"file_or_dir": ["tests/kernel"]}, None),
        ({"keyword": "ring"}, None),
        ({"markexpr": "gpu"}, None),
        ({"usepdb": True}, None),
        ({"collectonly": True}, None),
        ({"numprocesses": 0}, 0),
        ({"numprocesses": 4}, 4),
        ({"worker": True}, None),
    ],
)
def test_a_run_of_all_tests_has_several_processes(changes, processes, monkeypatch):
    monkeypatch.setattr("ringnb._support.machine.available_cores", lambda: 2)
    run = config("xdist", **changes)
    in_parallel.set_up(run)
    assert run.option.numprocesses == processes
    assert run.pluginmanager.hasplugin("lines") == (bool(processes) and run.option.verbose < 2)


CONFTEST = """
import os, pathlib
import in_parallel, pytest

NICENESS = os.nice(0)

def pytest_addoption(parser):
    parser.addoption("--all", action="store_true")

def pytest_configure(config):
    config.addinivalue_line("markers", "unhurried")

@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    in_parallel.set_up(config)

def pytest_collection_modifyitems(config, items):
    in_parallel.begin_with_unhurried(config, items)

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    process = os.environ["PYTEST_XDIST_WORKER"]
    with pathlib.Path(os.environ["RAN"]).open("a") as out:
        out.write(f"{process} {os.nice(0) - NICENESS} {item.name}\\n")
"""
TESTS = """
import pytest, time
@pytest.mark.parametrize("i", range(11))
def test_hurried(i): time.sleep(0.05)
@pytest.mark.unhurried
@pytest.mark.parametrize("i", range(3))
def test_unhurried(i): time.sleep(0.05)
"""


@pytest.mark.skipif(available_cores() < 2, reason="needs two cores: all runs in one process")
def test_the_last_process_gives_way_and_begins_with_what_is_unhurried(tmp_path):
    """With xdist itself, which gives the parts to the processes as they come up."""
    pytest.importorskip("xdist")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -m 'not slow'\n")
    run_python(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
        cwd=tmp_path,
        check=True,
        env=child_environment(
            RAN=str(tmp_path / "ran"), PYTHONPATH=os.pathsep.join([str(HERE), str(HERE.parent)])
        ),
        timeout=120,
    )
    ran = [line.split() for line in (tmp_path / "ran").read_text().splitlines()]
    assert len(ran) == 14
    assert {(process, niceness) for process, niceness, _ in ran} == {
        ("gw0", "0"),
        ("gw1", "0"),
        ("gw2", "5"),
    }
    first = {process: name for process, _, name in reversed(ran)}
    assert first == {
        "gw0": "test_hurried[0]",
        "gw1": "test_hurried[4]",
        "gw2": "test_unhurried[0]",
    }


def test_of_another_number_of_processes_none_gives_way(monkeypatch):
    monkeypatch.setattr("os.nice", pytest.fail)
    for run in (config(), config(worker=True)):
        items = [
            SimpleNamespace(get_closest_marker=lambda _, here=here: here) for here in (False, True)
        ]
        before = list(items)
        in_parallel.begin_with_unhurried(run, items)
        assert items == before


def test_without_a_second_core_or_xdist_it_has_one(monkeypatch):
    monkeypatch.setattr("ringnb._support.machine.available_cores", lambda: 2)
    run = config()
    del run.option.numprocesses
    in_parallel.set_up(run)
    assert not run.pluginmanager.hasplugin("lines")
    monkeypatch.setattr("ringnb._support.machine.available_cores", lambda: 1)
    run = config("xdist")
    in_parallel.set_up(run)
    assert run.option.numprocesses is None


def test_the_terminal_names_each_file_that_is_done_and_at_once_what_has_failed():
    said = []
    run = config("terminalreporter")
    run.pluginmanager.plugins["terminalreporter"] = SimpleNamespace(
        write_line=lambda line, **markup: said.append(line)
    )
    lines = in_parallel.FileLines(run)
    ids = ["a.py::one", "a.py::two[x::y]", "b.py::three"]
    lines.pytest_xdist_node_collection_finished(ids)
    lines.pytest_xdist_node_collection_finished(ids)

    def status(nodeid, *found):
        asking = lines.pytest_report_teststatus(SimpleNamespace(nodeid=nodeid))
        next(asking)
        with pytest.raises(StopIteration) as end:
            asking.send(found)
        return end.value.value

    assert status(ids[0], "", "", "") == ("", "", "")  # its setup
    assert status(ids[0], "passed", ".", "PASSED") == ("passed", "", "")
    lines.pytest_runtest_logfinish(ids[0])
    status(ids[2], "failed", "F", "FAILED")
    assert said == ["FAILED b.py::three"]
    lines.pytest_runtest_logfinish(ids[2])
    status(ids[1], "passed", ".", "PASSED")
    lines.pytest_runtest_logfinish(ids[1])
    assert said[1:] == ["[2/3] b.py: 1 failed", "[3/3] a.py: 2 passed"]
    lines.pytest_sessionfinish()  # the summary wants the words again
    assert status(ids[2], "failed", "F", "FAILED") == ("failed", "F", "FAILED")
