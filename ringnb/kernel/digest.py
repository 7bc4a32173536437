"""What a function is, by content: its code and everything that this refers to.

Compiled code is kept under it. A notebook cell that is run again finds its code; an edited one, or one
that refers to another value now, never finds somebody else's.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numba
import numpy as np

__all__ = ["digest", "plain"]


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
