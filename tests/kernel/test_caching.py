"""Under which key machine code is cached: what changes it, and that nothing it holds is forgotten."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

import ringnb
from ringnb.kernel import caching

ROOT = Path(ringnb.__file__).parent
# Imported by the kernel's modules, for host code only: no value of theirs is in machine code.
HOST_ONLY = {"_support/machine.py", "_support/text.py", "_support/__init__.py"}
HOST_ONLY |= {"__init__.py", "_support/off_main.py", "_support/version.py"}


def relative(paths):
    return {path.relative_to(ROOT).as_posix() for path in paths}


def module_file(name):
    """Return the file of a module of ringnb, or None if `name` is something in a module."""
    path = ROOT.parent.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def imported(path):
    """Return the files of ringnb that a file imports, at any place in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {module_file(name) for name in names if name and name.startswith("ringnb")}
    return found - {None}


def test_every_module_that_the_kernel_imports_is_in_the_key():
    """Whatever compiled code takes a constant from, it takes it from a module that it imports."""
    reached, todo = set(), set((ROOT / "kernel").rglob("*.py"))
    while todo:
        path = todo.pop()
        reached.add(path)
        if path.relative_to(ROOT).as_posix() not in HOST_ONLY:
            todo |= imported(path) - reached
    assert len(reached) > 30
    assert relative(reached) - HOST_ONLY <= relative(caching.compiled_sources(ROOT))


@pytest.fixture
def tree(tmp_path):
    return Path(shutil.copytree(ROOT, tmp_path / "ringnb", ignore=shutil.ignore_patterns("*.pyc")))


def test_just_what_compiled_code_is_made_of_changes_the_key(tree):
    key = caching.source_digest(tree)
    keyed = []
    for path in sorted(tree.rglob("*.py")):
        text = path.read_bytes()
        path.write_bytes(text + b"#")
        if caching.source_digest(tree) != key:
            keyed.append(path.relative_to(tree).as_posix())
        path.write_bytes(text)
    assert caching.source_digest(tree) == key
    others = {"errors.py", "_support/checks.py"}
    assert others <= set(keyed)
    assert {p.split("/")[0] for p in set(keyed) - others} == {"actors", "kernel", "messages"}
    below = [p for d in ("actors", "kernel", "messages") for p in (tree / d).rglob("*.py")]
    assert len(keyed) == len(below) + len(others)


def test_a_file_that_moves_or_is_added_changes_the_key(tree):
    key = caching.source_digest(tree)
    (tree / "kernel" / "rules.py").rename(tree / "kernel" / "cpu" / "rules.py")
    moved = caching.source_digest(tree)
    (tree / "messages" / "more.py").write_text("")
    assert len({key, moved, caching.source_digest(tree)}) == 3
