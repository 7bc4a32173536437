"""How the kernel's functions are compiled and cached.

Numba keys its cache by a function's own file; it does not notice that a function it calls, in another
file, has changed. After an update of some files only (an editable install, a ``git pull``) it would
load machine code for the old layout. Therefore a digest of all of the kernel's sources is made part
of the name under which an entry point is cached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

__all__ = ["entry_point", "inner"]


def _digest() -> str:
    package = Path(__file__).parent
    sha = hashlib.sha256()
    for path in [*sorted(package.glob("*.py")), package.parent / "messages.py"]:
        sha.update(path.read_bytes())
    return sha.hexdigest()[:16]


_SOURCES = _digest()

inner = njit
"""Decorator of functions that compiled code alone calls: compiled into their callers."""


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
