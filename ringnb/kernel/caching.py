"""How the kernel's functions are compiled, and under which key the machine code is cached.

Numba keys its cache by a function's own file; it does not notice that a function it calls, in another
file, has changed. After an update of some files only (an editable install, a ``git pull``) it would
load machine code for the old layout. Therefore a digest of all sources that compiled code is made of is
part of the name under which an entry point is cached.

A function of a user is keyed by content: its code and everything that this refers to. A notebook cell
that is run again finds its code; an edited one, or one that refers to another value now, never finds
somebody else's.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
from numba import njit, types

__all__ = [
    "digest",
    "entry_point",
    "inner",
    "plain",
]


def compiled_sources(root: Path) -> list[Path]:
    """Return the files below the package that compiled code is made of, sorted.

    Beside the kernel these are the modules whose constants are frozen into machine code: `Command`,
    `Status`, ``MAX_STEP`` and ``MAX_PARAMS``.
    """
    found = [root / "errors.py", *root.glob("_support/checks.py"), *root.glob("actors/base.py")]
    found += [
        *root.glob("messages.py"),
        *root.glob("messages/**/*.py"),
        *root.glob("kernel/**/*.py"),
    ]
    return sorted(found)


def _source_digest(root: Path) -> str:
    """Digest every file that compiled code is made of, with its place below the package."""
    sha = hashlib.sha256()
    for path in compiled_sources(root):
        sha.update(str(path.relative_to(root)).encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()[:16]


_SOURCES = _source_digest(Path(__file__).parents[1])


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that compiled code alone calls into its callers.

    Parameters
    ----------
    function : callable
        The function.

    Returns
    -------
    numba dispatcher
        It is compiled once per combination of types. Numba would compile it again for every constant
        that some caller passes, which doubles the time until the first step and makes nothing faster:
        LLVM sees the constants when it inlines.
    """
    dispatcher = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    resolve = dispatcher.get_call_template

    def resolve_plain(args: Any, kws: Any) -> Any:
        """Resolve a call without what is known of its constants."""
        return resolve(
            tuple(types.unliteral(a) for a in args),
            {name: types.unliteral(a) for name, a in kws.items()},
        )

    dispatcher.get_call_template = resolve_plain
    return dispatcher


def entry_point(function: Callable[..., Any] | None = None, *, nogil: bool = False) -> Any:
    """Compile a function that Python calls, and cache it on disk.

    Parameters
    ----------
    function : callable, optional
        The function, where the decorator is used without parentheses.
    nogil : bool, default False
        Release the GIL during the call. Calls of a few hundred nanoseconds are better off without.

    Returns
    -------
    numba dispatcher or decorator
        The compiled function.
    """
    if function is None:
        return lambda f: entry_point(f, nogil=nogil)
    function.__qualname__ = f"{function.__qualname__}_{_SOURCES}"
    return njit(cache=True, nogil=nogil)(function)


def plain(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function as written, if it is a Numba dispatcher.

    Parameters
    ----------
    function : callable
        The function.

    Returns
    -------
    callable
        The plain Python function.
    """
    written: Callable[..., None] = getattr(function, "py_func", function)
    return written


def digest(function: Callable[..., Any]) -> str:
    """Digest a function's code and every value and function it refers to.

    Parameters
    ----------
    function : callable
        A plain Python function.

    Returns
    -------
    str
        32 hexadecimal digits. Objects other than arrays, functions and modules count by their `repr`.
    """
    sha = hashlib.sha256(f"{numba.__version__} {np.__version__}".encode())
    seen: set[int] = set()

    def add_code(code: CodeType) -> None:
        """Add bytecode, names and constants."""
        sha.update(code.co_code)
        sha.update(repr(code.co_names).encode())
        for const in code.co_consts:
            if isinstance(const, CodeType):
                add_code(const)
            else:
                sha.update(f"{type(const).__name__}:{const!r};".encode())

    def add(value: object) -> None:
        """Add whatever is referred to."""
        value = getattr(value, "py_func", value)
        if isinstance(value, FunctionType):
            if id(value) in seen:
                return
            seen.add(id(value))
            add_code(value.__code__)
            closure = inspect.getclosurevars(value)
            for name, referred in sorted({**closure.globals, **closure.nonlocals}.items()):
                sha.update(name.encode())
                add(referred)
        elif isinstance(value, np.ndarray):
            sha.update(repr((value.dtype.str, value.shape)).encode() + value.tobytes())
        elif isinstance(value, ModuleType):
            sha.update(value.__name__.encode())
        else:
            sha.update(f"{type(value).__name__}:{value!r};".encode())

    add(function)
    return sha.hexdigest()[:32]
