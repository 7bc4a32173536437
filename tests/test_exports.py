"""The public surface: names, order, documentation, and what is imported when."""

from __future__ import annotations

import doctest
import importlib
import importlib.metadata
import pkgutil
import subprocess
import sys

import pytest

import ringnb as rn

CONTRACT = {
    "CheckpointConfig",
    "SnapshotRequest",
    "SnapshotResponse",
    "CheckpointManager",
    "Snapshot",
    "CheckpointStorage",
    "ZarrStorage",
    "Checkpoint",
    "Session",
    "actors",
    "plots",
    "CheckpointError",
    "CheckpointNotFound",
    "CheckpointCorrupt",
    "StoreLocked",
    "SnapshotFailed",
    "SnapshotTimeout",
    "CheckpointWarning",
    "KernelStopped",
    "NotDecomposable",
    "BackendUnavailable",
}


def modules():
    found = [m.name for m in pkgutil.walk_packages(rn.__path__, "ringnb.")]
    return [name for name in found if not name.endswith("__main__")]


def test_the_names_of_the_contract_are_there():
    assert set(rn.__all__) >= CONTRACT
    for name in rn.__all__:
        assert getattr(rn, name) is not None


@pytest.mark.parametrize("name", ["ringnb", *modules()])
def test_every_name_that_a_module_offers_exists(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for offered in getattr(module, "__all__", ()):
        assert hasattr(module, offered), f"{name}.{offered}"


def test_the_public_names_are_sorted():
    assert sorted(rn.__all__) == rn.__all__


def test_a_notebook_completes_public_names_only():
    assert dir(rn) == rn.__all__


def test_the_version_is_the_installed_one():
    assert rn.__version__ == importlib.metadata.version("ringnb")


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in ("ringnb", *modules())
        if not n.startswith(("ringnb.cli.bench", "ringnb.cli.demo"))
    ],
)
def test_the_examples_in_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner()
    for found in doctest.DocTestFinder().find(importlib.import_module(name)):
        if found.examples:  # running the many without any takes a second
            runner.run(found)
    assert runner.failures == 0


def test_heavy_libraries_are_imported_when_first_used():
    code = "import sys, ringnb; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint(
        {
            "matplotlib",
            "ipywidgets",
            "anywidget",
            "xarray",
            "pandas",
            "IPython",
            "numba.cuda",
            "tqdm",
        }
    )


def test_what_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = rn.nonsense
