"""How the kernel's functions are compiled, and what of the machine code is kept, and where.

On disk, only the code of the package itself: under a digest of all its sources, so an edit of any of
them starts anew. A function of a user is compiled by every process, from what it refers to then: no
key could tell all that compiled code depends on.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import math
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType, NoneType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import config, njit, types
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

__all__ = [
    "DiskCache",
    "all_it_reads",
    "compiled_sources",
    "direct",
    "entry_point",
    "find_cache",
    "inner",
    "is_own",
    "plain",
    "source_digest",
    "without_constants",
]

_LOG = logging.getLogger("ringnb")
_ROOT = Path(__file__).parents[1]
_PREFIX = "compiled-"
_warned: list[str] = []
_KEPT = 8  # directories of different sources, the last one used included


def compiled_sources(root: Path) -> list[Path]:
    """Return the files below the package `root` that compiled code is made of, sorted.

    Beside the kernel and the built-in actors these are the modules whose constants are frozen into
    machine code: `Command`, `Status` and ``MAX_STEP``.
    """
    frozen = [root / "errors.py", root / "_support/checks.py"]
    packages = [p for d in ("messages", "kernel", "actors") for p in root.glob(f"{d}/**/*.py")]
    return sorted([*frozen, *packages])


def source_digest(root: Path) -> str:
    """Digest every file that compiled code is made of, with its place below the package `root`."""
    sha = hashlib.sha256()
    for path in compiled_sources(root):
        sha.update(str(path.relative_to(root)).encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()[:16]


# -- on disk -------------------------------------------------------------------------------------


def _places() -> Iterator[Path]:
    """Yield where compiled code may be kept, the best place first."""
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR) / "ringnb"
    yield _ROOT / "__pycache__"
    yield Path(AppDirs("ringnb", appauthor=False).user_cache_dir)


@functools.cache
def find_cache() -> tuple[Path | None, str]:
    """Return where this process keeps compiled code, if a place can be written, and what others lack."""
    # What other than the sources decides what Numba makes of them. NUMBA_CACHE_DIR and the settings of
    # numba.cuda do not.
    settings = sorted(
        (name, value)
        for name, value in os.environ.items()
        if name.startswith("NUMBA_") and "CACHE" not in name and "CUDA" not in name
    )
    versions = sys.version, numba.__version__, llvmlite.__version__, np.__version__
    sha = hashlib.sha256(repr((source_digest(_ROOT), versions, settings)).encode())
    refusals = []
    for place in _places():
        directory = place / (_PREFIX + sha.hexdigest()[:16])
        try:
            new = not directory.exists()
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Whoever may write there decides what this process runs.
            if directory.stat().st_uid != os.geteuid():
                refusals.append(f"{directory} belongs to another user")
                continue
            with tempfile.TemporaryFile(dir=directory):
                pass
            os.utime(directory)  # in use, see `_prune`
        except OSError as error:
            refusals.append(f"{directory} cannot be written ({error.strerror})")
            continue
        if new:
            _prune(place)
        return directory, "; ".join(refusals)
    return None, "; ".join(refusals)


def _cache_directory() -> Path | None:
    """Return where to keep compiled code; None, with a warning, where that cannot be."""
    directory, refusals = find_cache()
    if directory is None:
        _warn_once(refusals)
    return directory


def _warn_once(why: str) -> None:
    if _warned:
        return
    _warned.append(why)
    _LOG.warning(
        "compiled code is not kept, so every process compiles for some seconds: %s. Set "
        "NUMBA_CACHE_DIR to a directory of yours with a few MB of room",
        why,
    )


def _prune(place: Path) -> None:
    """Delete what former sources and versions left, but for the last few used."""
    # A process that still uses one of these has loaded its code, or compiles what it misses.
    with contextlib.suppress(OSError):
        by_use = sorted(place.glob(f"{_PREFIX}*"), key=lambda p: p.stat().st_mtime)
        for directory in by_use[:-_KEPT]:
            shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        for file in _ROOT.rglob("__pycache__/*.nb[ic]"):  # former versions used Numba's cache
            file.unlink(missing_ok=True)


class DiskCache(NullCache):  # type: ignore[misc]  # Numba has no types
    """Keeps the machine code of one function of the package; what goes wrong is a miss, never an error.

    A file is the SHA-256 of what follows, and a pickle.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def cache_path(self) -> str | None:
        """The directory."""
        directory = _cache_directory()
        return None if directory is None else str(directory)

    def _file(self, signature: Any, codegen: Any) -> Path | None:
        directory = _cache_directory()
        key = hashlib.sha256(repr((signature, codegen.magic_tuple())).encode()).hexdigest()[:16]
        return None if directory is None else directory / f"{self._name}-{key}"

    def _loaded(self, target_context: Any, content: bytes) -> Any:
        return CompileResult._rebuild(target_context, *pickle.loads(content))  # noqa: S301 - ours

    def _stored(self, data: Any) -> bytes:
        content: bytes = dumps(data._reduce())
        return content

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function, or None."""
        target_context.refresh()  # compiling needs it as well
        try:
            file = self._file(sig, target_context.codegen())
            if file is None or not file.exists():
                return None
            stored = file.read_bytes()
            if hashlib.sha256(stored[32:]).digest() != stored[:32]:
                return None
            return self._loaded(target_context, stored[32:])
        except Exception as error:  # noqa: BLE001 - then it is compiled
            _LOG.debug("%s is compiled anew: %r", self._name, error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the compiled function, in one step for other processes."""
        try:
            file = self._file(sig, data.codegen)
            if file is None:
                return
            file.parent.mkdir(mode=0o700, exist_ok=True)  # another process may have pruned it
            content = self._stored(data)
            draft = file.with_name(f".{file.name}.{os.getpid()}")
            try:
                draft.write_bytes(hashlib.sha256(content).digest() + content)
                draft.replace(file)
            except OSError:
                draft.unlink(missing_ok=True)
                raise
        except OSError as error:
            _warn_once(f"{file} cannot be written ({error.strerror})")
        except Exception as error:  # noqa: BLE001 - then the next process compiles it
            _LOG.debug("%s is not kept: %r", self._name, error)


def is_own(function: Callable[..., None]) -> bool:
    """Return whether a plain function is one of the package's sources, as they are written."""
    name = function.__module__ or ""
    if not name.startswith(("ringnb.actors.", "ringnb.kernel.")):
        return False
    found: Any = sys.modules.get(name)
    for part in function.__qualname__.split("."):  # "<locals>" is found nowhere
        found = getattr(found, part, None)
    return found is function


# -- compiling -----------------------------------------------------------------------------------


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that compiled code alone calls into its callers."""
    return without_constants(njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function))


def without_constants(dispatcher: Any) -> Any:
    """Have a compiled function resolve calls without what is known of their constants.

    Numba would compile the function again for every constant that a caller passes, which doubles the
    time until the first step and makes nothing faster: LLVM sees the constants when it inlines.
    """
    if config.DISABLE_JIT:
        return dispatcher
    resolve = dispatcher.get_call_template

    def resolve_plain(args: Any, kws: Any) -> Any:
        """Resolve a call."""
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
    dispatcher = njit(nogil=nogil)(function)
    if not config.DISABLE_JIT:
        dispatcher._cache = DiskCache(f"{function.__module__}.{function.__qualname__}")
    return dispatcher


def direct(dispatcher: Any, *arguments: Any) -> Callable[..., Any]:
    """Return an entry point for arguments of these types alone, of which Numba looks at none.

    Its look at each argument takes longer than the call. Integers may be of any kind here.
    """
    if config.DISABLE_JIT:
        return dispatcher  # type: ignore[no-any-return]  # a plain function then
    dispatcher.compile(arguments)
    return dispatcher.overloads[arguments].entry_point  # type: ignore[no-any-return]  # untyped


def plain(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function as written, if it is a Numba dispatcher."""
    written: Callable[..., None] = getattr(function, "py_func", function)
    return written


_NUMBERS = (bool, int, float, complex, str, NoneType)


def all_it_reads(function: Callable[..., None]) -> Hashable:
    """Return a plain function's code and all that compiling it reads, to be compared.

    Equal results compile to the same code within this process. Where it cannot be said what a value
    holds, such as an object of a class of the user's, the result equals no other.
    """
    try:
        return _facts(function, ())
    except ValueError:  # a value of another kind, or a name that has none yet
        return object()


def _facts(function: object, within: tuple[object, ...]) -> Hashable:
    assert isinstance(function, FunctionType)
    names: set[str] = set()

    def add(code: CodeType) -> None:
        """Add all that may be a name in bytecode, be it of a global, an attribute or for ``getattr``."""
        names.update(code.co_names)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                add(constant)
            elif isinstance(constant, str):
                names.add(constant)

    def fact(value: object, within: tuple[object, ...]) -> Hashable:
        """Return what a value is to compiled code; `ValueError` where that may change unseen."""
        if value is np or value is math or isinstance(value, BuiltinFunctionType | np.ufunc):
            return value
        if type(value) in _NUMBERS or isinstance(value, np.number | np.bool_):
            return type(value), repr(value)
        if isinstance(value, type) and issubclass(value, np.generic):
            return "type", value.__name__
        if type(value) is tuple:
            return tuple(fact(part, within) for part in value)
        if type(value) is np.ndarray and not value.dtype.hasobject:
            sha = hashlib.sha256(value.tobytes()).digest()
            return value.dtype, value.shape, value.strides, value.flags.writeable, sha
        if any(value is outer for outer in within):
            return "recursion"
        if isinstance(value, Dispatcher):
            return value, _facts(value.py_func, (*within, value))
        if isinstance(value, ModuleType):
            return value, named(vars(value), (*within, value))
        msg = f"it cannot be said what {value!r} holds"
        raise ValueError(msg)

    def named(scope: Mapping[str, object], within: tuple[object, ...]) -> Hashable:
        """Return what the names are in a module."""
        return tuple((name, fact(scope[name], within)) for name in sorted(names & scope.keys()))

    add(function.__code__)
    cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    held = fact((cells, function.__defaults__), within)
    return function.__code__, held, named(function.__globals__, within)
