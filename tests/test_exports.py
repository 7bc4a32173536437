"""The public surface: names, order, documentation, and what is imported when."""

from __future__ import annotations

import doctest
import importlib
import importlib.metadata
import pkgutil

import pytest

import ringnb as rn
from ringnb._support.children import run_python

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


def test_every_name_that_a_module_offers_exists():
    found = [importlib.import_module(name) for name in ("ringnb", *modules())]
    assert [module.__name__ for module in found if not module.__doc__] == []
    offered = {module: getattr(module, "__all__", ()) for module in found}
    assert [
        f"{module.__name__}.{name}"
        for module, names in offered.items()
        for name in names
        if not hasattr(module, name)
    ] == []


def test_the_public_names_are_sorted():
    assert sorted(rn.__all__) == rn.__all__


def test_a_notebook_completes_public_names_only():
    assert dir(rn) == rn.__all__


def test_the_version_is_the_installed_one():
    assert rn.__version__ == importlib.metadata.version("ringnb")


def test_the_examples_in_docstrings_run(tmp_path, monkeypatch):
    runner, failed = doctest.DocTestRunner(), []
    for name in ("ringnb", *modules()):
        if name.startswith(("ringnb.cli.bench", "ringnb.cli.demo")):
            continue
        place = tmp_path / name
        place.mkdir()
        monkeypatch.chdir(place)
        for found in doctest.DocTestFinder().find(importlib.import_module(name)):
            if found.examples and runner.run(found).failed:  # it has printed what
                failed.append(found.name)
    assert runner.tries > 20
    assert failed == []


def test_heavy_libraries_are_imported_when_first_used():
    code = "import sys, ringnb; print(*sys.modules)"
    done = run_python("-c", code, check=True)
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


def test_what_draws_figures_is_imported_when_a_panel_draws_one():
    pytest.importorskip("ringnb.panels", exc_type=ImportError)
    done = run_python("-c", "import sys, ringnb.panels; print(*sys.modules)", check=True)
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"matplotlib.figure", "matplotlib.image", "ringnb.plots", "xarray"})


def test_what_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = rn.nonsense
