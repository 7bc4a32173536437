"""What can be said of an update function without running it: its text, and what it refers to.

What is refused here is refused with its line, also in a branch that no trial takes
(`ringnb.actors.trial`). The text may be missing, or be that of another version; then nothing is said.
"""

from __future__ import annotations

import ast
import contextlib
import dis
import inspect
import linecache
import random as python_random
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ringnb.actors.source import attribute, code_objects, node_of, plain_function

__all__ = [
    "TAKEN_AS_IT_IS",
    "Names",
    "check_references",
    "check_text",
    "names_of",
    "place",
    "returns_a_value",
    "writes_an_array",
    "writes_another",
    "writes_now",
    "writes_params",
]

_LONGEST = 80
_GENERATORS = (np.random.Generator, np.random.RandomState, python_random.Random)
_RANDOM = ("numpy.random", "random", "numba.cuda.random")
TAKEN_AS_IT_IS = (
    "CellActor(..., replayable=False) takes it as it is, and every restore then says so"
)


class Names(NamedTuple):
    """What an update function calls its parameters, for messages in its own words."""

    function: str
    now: str
    next: str
    params: str
    step: str
    cell: tuple[str, ...]
    arrays: tuple[str, ...]

    @property
    def target(self) -> str:
        """What an update writes."""
        return f"{self.next}[field, {', '.join(self.cell)}]"


def names_of(update: FunctionType, arrays: int, *, reduces: bool = False) -> Names:
    """Return the names that an update function with so many read-only arrays uses."""
    parameters = list(inspect.signature(update).parameters)
    if reduces:  # it has no ``next``
        parameters.insert(1, "")
    now, following, params, step, *cell = parameters
    axes = len(cell) - arrays
    return Names(
        update.__name__, now, following, params, step, tuple(cell[:axes]), tuple(cell[axes:])
    )


def place(filename: str, line: int) -> str:
    """Say where a line of a user's code is, and what it says."""
    if filename.startswith("<"):
        where = f"line {line}"
    elif "ipykernel_" in filename:  # the name of a notebook's cell says nothing to its reader
        where = f"line {line} of its cell"
    else:
        where = f"{filename}:{line}"
    text = linecache.getline(filename, line).strip()
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - 4]} ..."
    return f"{where}: `{text}`" if text else where


# -- what it refers to ---------------------------------------------------------------------------


def check_references(update: FunctionType, *, arrays: int = 0, reduces: bool = False) -> None:
    """Refuse random numbers and clocks that no checkpoint holds; `ValueError` with the line."""
    names = names_of(update, arrays, reduces=reduces)
    for function, line, value in _references(update, set()):
        if (kind := _hidden_state(value)) is None:
            continue
        cell = names.cell[0]
        for i, axis in enumerate(names.cell[1:], 2):
            cell = f"{'(' * (i > 2)}{cell}{')' * (i > 2)} * {names.now}.shape[{i}] + {axis}"
        if kind == "clock":
            what = "reads a clock, which no checkpoint holds"
            remedy = f"Compute the time from the step: {names.step} times the length of a step"
        else:
            what = (
                "draws random numbers from a generator whose state no checkpoint holds: a restored "
                "run would draw others"
            )
            remedy = (
                "Use ringnb.actors.random.uniform, whose numbers are a function of a seed, the step "
                f"and the cell: uniform(seed, {names.step}, {cell})"
            )
        where = place(function.__code__.co_filename, line)
        msg = f"function {names.function} {what} ({where}). {remedy}. {TAKEN_AS_IT_IS}"
        raise ValueError(msg)


def _hidden_state(value: object) -> str | None:
    """Say whether a value that code refers to is a generator of random numbers, or a clock."""
    if isinstance(value, ModuleType):
        name = value.__name__
    elif isinstance(value, _GENERATORS) or isinstance(attribute(value, "__self__"), _GENERATORS):
        return "random"
    elif callable(value):
        name = str(attribute(plain_function(value) or value, "__module__"))
    else:
        return None
    return "clock" if name == "time" else "random" if name in _RANDOM else None


def _references(function: FunctionType, seen: set[object]) -> Iterator[tuple[Any, int, object]]:
    """Yield each global value, or attribute of one, that code reads, with the function and the line."""
    if function in seen:
        return
    seen.add(function)
    closed_over = closed_over_by(function)
    for code in code_objects(function.__code__):
        value: object = None
        for instruction in dis.get_instructions(code):
            kind, name = instruction.opname, instruction.argval
            if kind in ("CACHE", "PUSH_NULL", "NOP", "EXTENDED_ARG"):
                continue
            if kind == "LOAD_GLOBAL":
                value = function.__globals__.get(name)
            elif kind == "LOAD_DEREF":
                value = closed_over.get(name)
            elif kind in ("LOAD_ATTR", "LOAD_METHOD") and value is not None:
                value = attribute(value, name)
            else:
                value = None
            if value is not None:
                positions = instruction.positions
                line = (positions and positions.lineno) or code.co_firstlineno
                yield function, line, value
                if (helper := plain_function(value)) is not None:
                    yield from _references(helper, seen)


def closed_over_by(function: FunctionType) -> dict[str, Any]:
    """Return the values of a function's closure by name; those without a value yet are left out."""
    values = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):
            values[name] = cell.cell_contents
    return values


# -- its text ------------------------------------------------------------------------------------


def raises(_: Names) -> tuple[str, str]:
    """Refuse an exception that nobody would be told of."""
    what = "raises an exception, which a kernel cannot pass on: cells after this one are left out"
    remedy = (
        "Pass boundscheck=True, and the kernel stops there; or leave it out, and have states checked by "
        "CheckpointConfig(guard=f)"
    )
    return what, remedy


def check_text(update: FunctionType, *, arrays: int = 0, stops: bool = True) -> None:
    """Refuse an update whose text shows that it cannot be meant so; `ValueError` with the line.

    It writes ``now``, ``params``, another cell or one of its last `arrays` parameters, returns a value,
    never writes ``next``, or raises where an exception does not stop the kernel (`stops`).
    """
    names = names_of(update, arrays)
    tree = node_of(update)
    if not isinstance(tree, ast.FunctionDef):
        return
    filename = update.__code__.co_filename

    def refuse(node: ast.expr | ast.stmt, what: str, remedy: str) -> NoReturn:
        """Say what is wrong at a node, and the remedy."""
        at = place(filename, node.lineno)
        raise ValueError(f"function {names.function} {what} ({at}). {remedy}")

    rebound = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    }
    writes = False
    nodes = list(_own_nodes(tree))
    for node in nodes:
        if not isinstance(node, ast.Raise | ast.Assert) or stops:
            continue
        if not any(isinstance(n, ast.Try) for n in nodes):  # else it may be caught
            refuse(node, *raises(names))
    for node in nodes:
        if isinstance(node, ast.Return) and _is_value(node.value):
            refuse(node, *returns_a_value(names))
        if not isinstance(node, ast.Subscript) or not isinstance(node.ctx, ast.Store):
            continue
        base = node.value
        while isinstance(base, ast.Subscript):
            base = base.value
        if not isinstance(base, ast.Name) or base.id in rebound:
            continue
        if base.id == names.now:
            refuse(node, *writes_now(names))
        elif base.id == names.params:
            refuse(node, *writes_params(names))
        elif base.id in names.arrays:
            refuse(node, *writes_an_array(names))
        elif base.id == names.next:
            writes = True
            if _is_another_cell(node, names, rebound):
                refuse(node, *writes_another(names))
    # Whatever else is done with the array, such as handing it to a helper, may write it.
    if not writes and not _hands_on(tree, names):
        at = place(filename, update.__code__.co_firstlineno)
        raise ValueError(
            f"function {names.function} never writes {names.next}, the state after the step ({at}). "
            f"Write {names.target} = ..."
        )


def _is_value(node: ast.expr | None) -> bool:
    """Return whether an expression is something else than None; a call may be just that."""
    if isinstance(node, ast.Constant):
        return node.value is not None
    return node is not None and not isinstance(node, ast.Call)


def returns_a_value(names: Names) -> tuple[str, str]:
    """Say what is wrong, and the remedy."""
    return "returns a value, which nobody takes", f"Write {names.target} = ... instead"


def writes_now(names: Names) -> tuple[str, str]:
    """Say what is wrong, and the remedy."""
    return (
        f"writes {names.now}, the state before the step, which every other cell reads",
        f"Write {names.target} instead",
    )


def writes_params(names: Names) -> tuple[str, str]:
    """Say what is wrong, and the remedy."""
    return (
        f"writes {names.params}, which all cells share",
        "Keep what changes in a field of its own; session.set_params changes a parameter",
    )


def writes_an_array(names: Names) -> tuple[str, str]:
    """Say what is wrong, and the remedy."""
    return (
        f"writes one of its arrays ({', '.join(names.arrays)}), which no checkpoint would hold",
        "Keep what changes in a field of its own",
    )


def writes_another(names: Names) -> tuple[str, str]:
    """Say what is wrong, and the remedy."""
    return (
        f"writes {names.next} of another cell, which that cell may write before or after",
        f"Write {names.target} alone, and read from {names.now} what the other cells give",
    )


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield what a function holds, without what is in functions inside it."""
    inner = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
    nodes: list[ast.AST] = list(function.body)
    while nodes:
        node = nodes.pop(0)
        if not isinstance(node, inner):
            yield node
            nodes.extend(ast.iter_child_nodes(node))


def _indices(node: ast.Subscript) -> list[ast.expr]:
    return node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]


def _is_another_cell(node: ast.Subscript, names: Names, rebound: set[str]) -> bool:
    """Return whether an index is a coordinate of the cell and a number that is not 0."""
    indices = _indices(node)
    if not isinstance(node.value, ast.Name) or len(indices) != 1 + len(names.cell):
        return False
    for index, coordinate in zip(indices[1:], names.cell, strict=True):
        if isinstance(index, ast.BinOp) and isinstance(index.op, ast.Add | ast.Sub):
            sides = (index.left, index.right)
            has_name = any(isinstance(s, ast.Name) and s.id == coordinate for s in sides)
            offsets = [s.value for s in sides if isinstance(s, ast.Constant)]
            if has_name and coordinate not in rebound and any(offsets):
                return True
    return False


def _hands_on(function: ast.FunctionDef, names: Names) -> bool:
    """Return whether ``next`` is mentioned in any other way than to read one of its values."""
    values = {
        id(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Load)
        and len(_indices(node)) == 1 + len(names.cell)
        and not any(isinstance(index, ast.Slice) for index in _indices(node))
    }
    return any(
        isinstance(node, ast.Name) and node.id == names.next and id(node) not in values
        for node in ast.walk(function)
    )
