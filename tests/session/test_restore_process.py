"""A first process is killed with SIGKILL while it steps and writes; a second one continues.

The result is compared bit for bit with a process that was never interrupted, for every actor and
for different widths of the team.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ringnb as rn

CHILD = Path(__file__).with_name("restore_child.py")


def child(role, store, width=1):
    return [sys.executable, str(CHILD), role, str(store), str(width)]


def result(role, store, width=1):
    done = subprocess.run(
        child(role, store, width), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return result("reference", tmp_path_factory.mktemp("reference") / "s.zarr")


@pytest.fixture(scope="module")
def killed_store(tmp_path_factory):
    """A store whose writer was killed while it committed as fast as it could."""
    store = tmp_path_factory.mktemp("killed") / "s.zarr"
    with subprocess.Popen(child("killed", store), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "snapshots committed\n"
            storage = rn.ZarrStorage(store)
            while len(storage.list()) < 18:  # until it is well into its endless loop
                assert process.poll() is None
        finally:
            process.kill()
        assert process.wait(60) == -signal.SIGKILL
    return store


def test_every_checkpoint_survives_the_kill(killed_store):
    storage = rn.ZarrStorage(killed_store)
    names = storage.list()
    assert len(names) >= 18
    for name in names:
        storage.load(name).verify()


@pytest.mark.parametrize("width", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_new_process_continues_bit_for_bit(reference, killed_store, width):
    assert result("restored", killed_store, width) == reference


@pytest.mark.slow
def test_the_uninterrupted_result_does_not_depend_on_the_team(reference, tmp_path):
    assert result("reference", tmp_path / "s.zarr", width=2) == reference
