"""One version, in one place: pyproject.toml says it, and all that records or shows it repeats it."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path

import ringnb as rn
from ringnb._support import version
from ringnb._support.children import run_python
from ringnb.testing.storages import make_snapshot

ROOT = Path(__file__).parents[2]
WRITTEN = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_the_package_has_the_version_that_is_written():
    assert rn.__version__ == version.VERSION == WRITTEN


def test_no_module_writes_a_version_of_its_own():
    for path in (ROOT / "ringnb").rglob("*.py"):
        assert f'"{WRITTEN}"' not in path.read_text(encoding="utf-8"), path


def test_a_checkpoint_records_it(tmp_path):
    with rn.ZarrStorage(tmp_path / "s.zarr") as storage:
        storage.save("a_0_step_1", make_snapshot(1))
        attributes = storage.load("a_0_step_1").attrs
    assert attributes["ringnb"]["version"] == rn.__version__
    document = json.loads((tmp_path / "s.zarr" / "a_0_step_1" / "zarr.json").read_text())
    assert document["attributes"]["ringnb"]["version"] == WRITTEN


def in_a_tree_without_installation(tree):
    """Return the version that a copy of the package finds when it is installed nowhere."""
    (tree / "ringnb").mkdir()
    shutil.copytree(ROOT / "ringnb" / "_support", tree / "ringnb" / "_support")
    (tree / "ringnb" / "__init__.py").touch()
    code = """
import importlib.metadata, sys

def find(name):
    raise importlib.metadata.PackageNotFoundError(name)

importlib.metadata.version = find
from ringnb._support.version import VERSION
print(VERSION)
"""
    done = run_python("-c", code, check=True, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)})
    return done.stdout.strip()


def test_a_source_tree_that_was_never_installed_knows_it_too(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "7.8.9"\n')
    assert in_a_tree_without_installation(tmp_path) == "7.8.9"


def test_a_bare_copy_of_the_package_still_imports(tmp_path):
    assert in_a_tree_without_installation(tmp_path) == "0+unknown"
