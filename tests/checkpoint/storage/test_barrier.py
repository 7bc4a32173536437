"""Where one barrier may take the place of an fsync for each file, and where it may not."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import pytest

from ringnb.checkpoint.storage.directory import barrier, files

if not files.can_sync_filesystem:
    pytest.skip("needs Linux's syncfs", allow_module_level=True)

EXT4, BTRFS, NFS, FUSE = 0xEF53, 0x9123683E, 0x6969, 0x65735546


@pytest.fixture(autouse=True)
def good_machine(monkeypatch):
    system = SimpleNamespace(sysname="Linux", release="6.1.0-13-amd64")
    monkeypatch.setattr(barrier.os, "uname", lambda: system)
    return system


def opened(folder, commits=2, *, kind=EXT4, waiting=0.0):
    found = barrier.open_barrier(folder, commits, lambda _: kind, lambda: waiting)
    if found is None:
        return False
    found.wait()
    found.close()
    return True


def test_it_waits_for_a_file_system_that_can_be_trusted(tmp_path):
    assert opened(tmp_path)


@pytest.mark.parametrize("kind", [NFS, FUSE, -1])
def test_a_file_system_that_may_not_wait_gets_fsyncs(tmp_path, kind):
    assert not opened(tmp_path, kind=kind)


@pytest.mark.parametrize(("kind", "alone"), [(EXT4, True), (BTRFS, False)])
def test_one_commit_alone_waits_for_it_only_where_that_was_measured(tmp_path, kind, alone):
    assert opened(tmp_path, 1, kind=kind) is alone
    assert opened(tmp_path, 2, kind=kind)


@pytest.mark.parametrize(("release", "trusted"), [("5.7.19", False), ("5.8.0", True), ("x", False)])
def test_a_kernel_that_does_not_report_failed_writes_gets_fsyncs(
    tmp_path, good_machine, release, trusted
):
    good_machine.release = release
    assert opened(tmp_path) is trusted


def test_it_does_not_wait_for_much_data_of_other_programs(tmp_path):
    assert not opened(tmp_path, 9, waiting=10.0 * 2**20)
    assert opened(tmp_path, 10, waiting=10.0 * 2**20)


def test_the_kind_of_a_file_system_and_what_waits_are_read_from_the_system(tmp_path):
    assert barrier.type_of("/proc") == 0x9FA0
    assert barrier.type_of(tmp_path / "missing") == -1
    assert 0 <= barrier.waiting_bytes() < 2**50


def test_a_write_that_failed_is_raised(tmp_path):
    found = barrier.Barrier(tmp_path)
    found.close()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)) as caught:
        found.wait()
    assert caught.value.errno == errno.EBADF
