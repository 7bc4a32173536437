"""How many cores a process may use: those it sees, or what a container's quota grants of them."""

from __future__ import annotations

import os

import pytest

from ringnb._support import machine


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Control groups by their paths, and the function that asks for the quota of a process in one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)

    def quota(told, files):
        (tmp_path / "self").write_text(told)
        for name, text in files.items():
            path = tmp_path / "sys" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return machine.cpu_quota(str(tmp_path / "self"), str(tmp_path / "sys"))

    return quota


@pytest.mark.parametrize(
    ("told", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, None),  # more than there are
        # The least of all that lie above, also where the path is that outside of the container.
        (
            "0::/pods/one\n",
            {"pods/cpu.max": "150000 100000", "pods/one/cpu.max": "max 100000"},
            1.5,
        ),
        ("0::/../elsewhere\n", {"cpu.max": "50000 100000"}, 0.5),
        (
            "3:cpuset:/\n2:cpu,cpuacct:/docker/1\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            4.0,
        ),
        (
            "2:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            None,
        ),
    ],
)
def test_the_quota_of_a_container_is_found(groups, told, files, cores):
    assert groups(told, files) == cores


def test_where_there_are_no_control_groups_there_is_no_quota(tmp_path):
    assert machine.cpu_quota(str(tmp_path / "none"), str(tmp_path)) is None


@pytest.mark.parametrize(("quota", "cores"), [(None, 64), (2.0, 2), (2.9, 2), (0.5, 1)])
def test_a_quota_bounds_the_cores(monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    monkeypatch.setattr(machine, "cpu_quota", lambda: quota)
    assert machine.available_cores() == cores
