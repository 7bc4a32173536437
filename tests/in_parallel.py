"""All tests in several processes; the terminal gets a line for each file that is done.

With pytest-xdist, and only where neither a file nor another number of processes (``-n``) was asked for.
Two, one for each core: a third takes time from what tests in a browser measure. Each process is given
its part of the files, and takes over from another when it has finished: so what a file's tests share is
seldom made twice.
"""

from __future__ import annotations

import collections

import pytest


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
        option.numprocesses, option.dist = 2, "worksteal"
    if getattr(option, "numprocesses", None) and option.verbose < 2:
        config.pluginmanager.register(FileLines(config))


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
