"""How the kernel's functions are compiled, and under which key the machine code is cached.

A function of a user is keyed by content: its code and everything that this refers to. A notebook cell
that is run again finds its code; an edited one, or one that refers to another value now, never finds
the code of another function.
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
from numba import config, njit, types

__all__ = ["compiled_sources", "digest", "entry_point", "inner", "plain", "source_digest"]


def compiled_sources(root: Path) -> list[Path]:
    """Return the files below the package `root` that compiled code is made of, sorted.

    Beside the kernel these are the modules whose constants are frozen into machine code: `Command`,
    `Status`, ``MAX_STEP`` and ``MAX_PARAMS``.
    """
    frozen = [root / "errors.py", root / "_support/checks.py", root / "actors/base.py"]
    return sorted([*frozen, *root.glob("messages/**/*.py"), *root.glob("kernel/**/*.py")])


def source_digest(root: Path) -> str:
    """Digest every file that compiled code is made of, with its place below the package `root`."""
    sha = hashlib.sha256()
    for path in compiled_sources(root):
        sha.update(str(path.relative_to(root)).encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()[:16]


# Numba keys its cache by a function's own file; it does not notice that a function that it calls, in
# another file, has changed. After an update of some files only (an editable install, a ``git pull``)
# it would load machine code for the old layout. So this is part of the name of every entry point.
_SOURCES = source_digest(Path(__file__).parents[1])


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that compiled code alone calls into its callers."""
    dispatcher = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    if config.DISABLE_JIT:
        return dispatcher
    resolve = dispatcher.get_call_template

    def resolve_plain(args: Any, kws: Any) -> Any:
        """Resolve a call without what is known of its constants.

        Numba would compile the function again for every constant that a caller passes, which doubles
        the time until the first step and makes nothing faster: LLVM sees the constants when it
        inlines.
        """
        return resolve(
            tuple(types.unliteral(a) for a in args),
            {name: types.unliteral(a) for name, a in kws.items()},
        )

    dispatcher.get_call_template = resolve_plain
    return dispatcher


def entry_point(function: Callable[..., Any] | None = None, *, nogil: bool = False) -> Any:
    """Compile a function that Python calls, and cache it on disk; a decorator with or without options.

    `nogil` releases the GIL during the call. Calls of a few hundred nanoseconds are better off without.
    """
    if function is None:
        return lambda f: entry_point(f, nogil=nogil)
    function.__qualname__ = f"{function.__qualname__}_{_SOURCES}"
    return njit(cache=True, nogil=nogil)(function)


def plain(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function as written, if it is a Numba dispatcher."""
    written: Callable[..., None] = getattr(function, "py_func", function)
    return written


def digest(function: Callable[..., Any]) -> str:
    """Digest a plain function's code and every value and function it refers to; 32 hex digits.

    Objects other than arrays, functions and modules count by their `repr`.
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
        """Add a value that the code refers to."""
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
