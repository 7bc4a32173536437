"""The source tree: how many entries, how long a module, what every package says at its door."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "ringnb"
MODULES = sorted(PACKAGE.rglob("*.py"))


def lines_of_code(source):
    """Count the lines but docstrings, comments, imports and blank ones."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    other = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node = node.body[0]
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        other.update(range(node.lineno, node.end_lineno + 1))
    return sum(
        1
        for number, line in enumerate(source.splitlines(), 1)
        if number not in other and line.strip() and not line.lstrip().startswith("#")
    )


def test_lines_of_code_are_counted():
    head = '"""Doc."""\n\nfrom a import (\n    b,\n)\n\n\n# why\n'
    assert lines_of_code(head) == 0
    assert lines_of_code(head + 'def f():\n    """Do."""\n    return """x\n\ny"""\n') == 3


def test_a_newcomer_sees_at_most_15_entries():
    seen = sorted(path.name for path in PACKAGE.iterdir() if path.name != "__pycache__")
    assert len(seen) <= 15, seen


def named(path):
    return str(path.relative_to(PACKAGE))


def test_a_module_has_at_most_450_lines_of_code():
    counted = {named(p): lines_of_code(p.read_text(encoding="utf-8")) for p in MODULES}
    assert len(counted) > 100
    assert {name: lines for name, lines in counted.items() if lines > 450} == {}


def test_a_package_says_what_it_is_and_where_to_start():
    doors = [p for p in MODULES if p.name == "__init__.py"]
    assert len(doors) > 10
    signs = {
        named(p): ast.get_docstring(ast.parse(p.read_text(encoding="utf-8"))) or "" for p in doors
    }
    assert [name for name, sign in signs.items() if len(sign.splitlines()) < 3] == []


def test_what_a_checker_is_told_to_pass_over_has_its_reason():
    told = re.compile(
        r"# (noqa\b(?!: \w+(, ?\w+)* - [\w`])|type: ignore\b(?!\[[\w, -]+\]  # [\w`])"
        r"|fmt: skip\b(?!  # \w))"
    )
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{number}"
        for path in (*MODULES, *Path(__file__).parent.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if told.search(line)
    ]
    assert found == []
