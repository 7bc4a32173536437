"""The source of a function in a form that every Python gives alike, to tell whether it was edited.

Comments, docstrings, annotations and layout do not count, nor does the name of the function itself.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import functools
import linecache
import sys
import threading
import warnings
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

__all__ = ["attribute", "code_objects", "node_of", "plain_function", "written"]

_SKIPPED = {"annotation", "ctx", "kind", "returns", "simple", "type_comment", "type_params"}
_FUTURE = functools.reduce(
    int.__or__, (getattr(__future__, n).compiler_flag for n in __future__.all_feature_names)
)
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
_parsing = threading.Lock()
_MOST_DISTURBED = 20
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def written(function: FunctionType) -> tuple[str, str]:
    """Return what a function says, without its name and the defaults of its parameters; and "".

    Where the source is not at hand, or is not what runs (the file was edited since it was loaded), the
    text is of the bytecode, and the Python that alone makes it so comes with it, ``"cpython-311"``.
    """
    node = node_of(function)
    if node is not None:
        return _dump(node), ""
    return _bytecode(function.__code__, function.__doc__), str(sys.implementation.cache_tag)


def attribute(value: object, name: str, default: object = None) -> Any:
    """Return an attribute, or a default: an object of a user's, or a lazy module, may raise anything."""
    try:
        return getattr(value, name, default)
    except Exception:  # noqa: BLE001 - it may raise anything
        return default


def plain_function(value: object) -> FunctionType | None:
    """Return the plain function that a compiled one was made of, by any of Numba's decorators."""
    dispatcher = attribute(value, "_dispatcher") or value  # of `numba.vectorize`
    found = attribute(dispatcher, "py_func")
    return found if isinstance(found, FunctionType) else None


def code_objects(code: CodeType) -> Iterator[CodeType]:
    """Yield a function's code and that of the functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from code_objects(constant)


def node_of(function: FunctionType) -> _Function | None:
    """Parse a function, in the lines of its file; None if the text is not what it was compiled from."""
    code = function.__code__
    lines = linecache.getlines(code.co_filename, function.__globals__)
    node = _verified(code, "".join(lines))
    if node is None:
        linecache.checkcache(code.co_filename)  # it may hold what was there before a reload
        lines = linecache.getlines(code.co_filename, function.__globals__)
        node = _verified(code, "".join(lines))
    return node


@functools.lru_cache(maxsize=256)
def _verified(code: CodeType, text: str) -> _Function | None:
    """Return the function in a text that code was compiled from."""
    with contextlib.suppress(*_UNPARSABLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd literals; who loaded the file has seen them
        module = _parsed(text)
        for statement in module.body:
            node = _node_of(code, statement)
            # A file that was edited since it was loaded may have another function at this line. IPython
            # compiles statements one by one, which makes other bytecode of what the cell imports.
            if node is not None and any(
                code in _compiled(tree, code.co_flags & _FUTURE)
                for tree in (ast.Module([statement], []), module)
            ):
                return node
    return None


@functools.lru_cache(maxsize=16)
def _parsed(text: str) -> ast.Module:
    # In Python 3.11 all threads that parse share one count of how deep they are, and one that another
    # has disturbed raises SystemError. Not all that parse take this lock: it may still happen, seldom.
    with _parsing:
        for _ in range(_MOST_DISTURBED):
            with contextlib.suppress(SystemError):
                return ast.parse(text)
        return ast.parse(text)


def _compiled(module: ast.Module, flags: int) -> list[CodeType]:
    return list(code_objects(compile(module, "", "exec", flags=flags, dont_inherit=True)))


def _first_line(node: ast.stmt | ast.expr) -> int:
    decorators = getattr(node, "decorator_list", None)
    return decorators[0].lineno if decorators else node.lineno


def _node_of(code: CodeType, statement: ast.stmt) -> _Function | None:
    """Return the function in a statement of a module that a code object is of."""
    line = code.co_firstlineno
    if not _first_line(statement) <= line <= (statement.end_lineno or 0):
        return None
    found = [
        node
        for node in ast.walk(statement)
        if isinstance(node, _Function)
        and _first_line(node) == line
        and getattr(node, "name", "<lambda>") == code.co_name
        and _parameters(node) == _parameters_of(code)
    ]
    if len(found) == 1:
        return found[0]
    # Several on one line are lambdas. The smallest that holds every instruction it is.
    places = [p for p in code.co_positions() if None not in p and p[2] != p[3]]
    first = min((p[0], p[2]) for p in places) if places else (0, 0)
    last = max((p[1], p[3]) for p in places) if places else (sys.maxsize, 0)
    around = [n for n in found if _start(n) <= first and last <= _end(n)]
    return max(around, key=_start, default=None)


def _start(node: ast.expr | ast.stmt) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr | ast.stmt) -> tuple[int, int]:
    return node.end_lineno or 0, node.end_col_offset or 0


def _parameters(node: _Function) -> list[str]:
    a = node.args
    named = [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]
    return [one.arg for one in named if one is not None]


def _parameters_of(code: CodeType) -> list[str]:
    others = bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)  # *args, **kwargs
    return list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + others])


def _dump(node: _Function) -> str:
    """Render a function; the default values of its parameters are told by what they are, not here."""
    a = node.args
    kinds = (a.posonlyargs, a.args, [a.vararg], a.kwonlyargs, [a.kwarg])
    parameters = [[one.arg for one in kind if one is not None] for kind in kinds]
    return f"{parameters}{_rendered(node.body)}"


def _rendered(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(_rendered(item) for item in value if not _does_nothing(item))}]"
    if isinstance(value, ast.AnnAssign) and value.value is not None:
        value = ast.Assign([value.target], value.value)
    if not isinstance(value, ast.AST):
        return repr(value)
    # What is absent is left out: later versions of Python add to what a node has.
    parts = ((n, getattr(value, n, None)) for n in value._fields if n not in _SKIPPED)
    inner = ",".join(f"{n}={_rendered(v)}" for n, v in parts if v is not None and v != [])
    return f"{type(value).__name__}({inner})"


def _does_nothing(node: object) -> bool:
    """Return whether it is a docstring, ``pass``, or a declaration of a type alone."""
    if isinstance(node, ast.AnnAssign):
        return node.value is None
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant or isinstance(node, ast.Pass)


def _bytecode(code: CodeType, docstring: str | None) -> str:
    constants = [
        _bytecode(c, None) if isinstance(c, CodeType) else repr(c)
        for c in code.co_consts
        if docstring is None or c != docstring
    ]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return repr((code.co_code, names, constants))
