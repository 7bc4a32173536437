"""All tests in several processes; the terminal gets a line for each file that is done.

With pytest-xdist, and only where neither a file nor another number of processes (``-n``) was asked for.
Two, one for each core, and a third that gives way to them, for the moments in which a test waits. Each
process is given its part of the files, and takes over from another when it has finished: so what a
file's tests share is seldom made twice. The third begins with the tests that are marked as unhurried.
"""

from __future__ import annotations

import collections
import os

import pytest

_PROCESSES = 3
_NICENESS = 5  # a third of the processor time of one that is not nice


def wanted(config):
    """Whether this run is one of all tests, on a machine that has more than one core."""
    from ringnb._support.machine import available_cores  # as its tests find it, not before

    option = config.option
    all_tests = option.all or "not slow" in option.markexpr
    given = option.file_or_dir or option.usepdb or option.collectonly or option.keyword
    return (
        all_tests
        and not given
        and config.pluginmanager.hasplugin("xdist")
        and not hasattr(config, "workerinput")  # this is one of them
        and option.numprocesses is None
        and available_cores() > 1
    )


def set_up(config):
    """Have xdist start processes where they are wanted; replace its dots wherever it starts any."""
    option = config.option
    if wanted(config):
        option.numprocesses, option.dist = _PROCESSES, "worksteal"
        config.pluginmanager.register(Dealing())
    if getattr(option, "numprocesses", None) and option.verbose < 2:
        config.pluginmanager.register(FileLines(config))


class Dealing:
    """The parts go to the processes in their order; the last process is told that it gives way."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config, log):
        from xdist.scheduler import WorkStealingScheduling  # it is there: this is its hook

        class InOrder(WorkStealingScheduling):
            def schedule(self):
                """Deal; xdist would in the order in which the processes have come up."""
                self.node2pending = {
                    node: self.node2pending[node]
                    for node in sorted(self.node2pending, key=lambda node: node.gateway.id)
                }
                super().schedule()

        return InOrder(config, log)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        node.workerinput["gives_way"] = node.gateway.id == f"gw{_PROCESSES - 1}"


def begin_with_unhurried(config, items):
    """Put what is unhurried first in the last process's part; be that process nicely."""
    gives_way = getattr(config, "workerinput", {}).get("gives_way")
    if gives_way is None:  # another number of processes was asked for
        return
    if gives_way:
        os.nice(_NICENESS)
    hurried, unhurried = [], []
    for item in items:
        (unhurried if item.get_closest_marker("unhurried") else hurried).append(item)
    others = 0  # are dealt before the last part
    for left in range(_PROCESSES, 1, -1):
        others += (len(items) - others) // left
    items[:] = [*hurried[:others], *unhurried, *hurried[others:]]


class FileLines:
    """What has failed, at once; and each file, when its tests are done: those of two files are mixed."""

    def __init__(self, config):
        self._config = config
        self._left = collections.Counter()
        self._found = collections.defaultdict(collections.Counter)
        self._done = self._all = 0
        self._over = False

    def pytest_xdist_node_collection_finished(self, ids):
        if not self._all:
            self._left.update(map(_file_of, ids))
            self._all = len(ids)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report):
        category, letter, word = status = yield
        if self._over or not letter:
            return status
        self._found[_file_of(report.nodeid)][category] += 1
        if category in ("failed", "error"):
            self._write(f"{category.upper()} {report.nodeid}", red=True)
        return category, "", ""

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self, nodeid):
        file = _file_of(nodeid)
        self._left[file] -= 1
        self._done += 1
        if self._left[file] == 0:
            found = ", ".join(f"{n} {category}" for category, n in self._found[file].items())
            self._write(f"[{self._done:{len(str(self._all))}}/{self._all}] {file}: {found}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self):
        self._over = True

    def _write(self, line, **markup):
        self._config.pluginmanager.getplugin("terminalreporter").write_line(line, **markup)


def _file_of(nodeid):
    return nodeid.partition("::")[0]
