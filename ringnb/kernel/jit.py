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

from numba import njit, types

__all__ = ["entry_point", "inner"]


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
