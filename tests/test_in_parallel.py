"""When the tests run in several processes, and what the terminal then says."""

from __future__ import annotations

from types import SimpleNamespace

import in_parallel
import pytest

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


@pytest.mark.parametrize("process", range(3))
def test_the_last_process_gives_way_and_begins_with_what_is_unhurried(process, monkeypatch):
    given_way = []
    monkeypatch.setattr("os.nice", given_way.append)
    run = config(worker=True)
    run.workerinput = {"workercount": 3, "workerid": f"gw{process}"}
    names = ["a", "B", "c", "d", "e", "F", "g", "h", "i"]
    items = [
        SimpleNamespace(name=name, get_closest_marker=lambda _, name=name: name.isupper())
        for name in names
    ]
    in_parallel.begin_with_unhurried(run, items)
    assert "".join(item.name for item in items) == "acdeghBFi"
    assert bool(given_way) == (process == 2)


@pytest.mark.parametrize("processes", [None, 2, 4])
def test_any_other_number_of_processes_leaves_all_as_it_is(processes, monkeypatch):
    monkeypatch.setattr("os.nice", pytest.fail)
    run = config(worker=processes is not None)
    if processes is not None:
        run.workerinput = {"workercount": processes, "workerid": "gw1"}
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
