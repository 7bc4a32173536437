"""What import-linter cannot see: imports of the package's own modules by their names, as strings."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ringnb

PACKAGE = Path(ringnb.__file__).parent
LOADERS = {"import_module", "__import__", "find_spec", "EntryPoint", "reload", "resolve_name"}
ALLOWED = {("__init__.py", "ringnb.")}  # the lazy packages of ringnb itself, in its __getattr__


def text_of(node):
    """Return the beginning of a string or an f-string; "" for anything else."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def name_of(node):
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def is_modules(node):
    """Whether it is `sys.modules`, or a method of it."""
    return name_of(node) == "modules" or (
        isinstance(node, ast.Attribute) and name_of(node.value) == "modules"
    )


def dynamic_imports(source):
    """Yield the own modules that code imports, or looks up, by a string."""
    for node in ast.walk(ast.parse(source)):
        looked_up = []
        if isinstance(node, ast.Call) and (name_of(node.func) in LOADERS or is_modules(node.func)):
            looked_up = [*node.args, *(k.value for k in node.keywords)]
        elif isinstance(node, ast.Subscript) and is_modules(node.value):
            looked_up = [node.slice]
        elif isinstance(node, ast.Compare) and any(is_modules(c) for c in node.comparators):
            looked_up = [node.left]
        for value in map(text_of, looked_up):
            if value == "ringnb" or value.startswith(("ringnb.", "ringnb:")):
                yield value


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('importlib.import_module("ringnb.panels")', ["ringnb.panels"]),
        ('import_module(f"ringnb.{name}")', ["ringnb."]),
        ('__import__("ringnb")', ["ringnb"]),
        ('sys.modules.get("ringnb.panels.cockpit")', ["ringnb.panels.cockpit"]),
        ('sys.modules["ringnb.panels"].x', ["ringnb.panels"]),
        ('"ringnb.panels" in sys.modules', ["ringnb.panels"]),
        ('EntryPoint(name="x", value="ringnb.panels:y", group="z")', ["ringnb.panels:y"]),
        ('import_module("numba.cuda"); sys.modules["IPython"]; print("ringnb.panels")', []),
    ],
)
def test_a_dynamic_import_is_found(source, found):
    assert list(dynamic_imports(source)) == found


def test_no_module_imports_another_of_the_package_by_a_string():
    found = {
        (str(path.relative_to(PACKAGE)), name)
        for path in PACKAGE.rglob("*.py")
        for name in dynamic_imports(path.read_text(encoding="utf-8"))
    }
    assert found == ALLOWED
