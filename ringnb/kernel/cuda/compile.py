"""How CUDA kernels are compiled: for a device that is there, and to PTX with none."""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections.abc import Callable, Hashable, Iterator
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

from ringnb._support.version import installed_version
from ringnb.kernel.caching import DiskCache
from ringnb.kernel.cuda.availability import toolkit_versions

__all__ = [
    "RESIDENT",
    "compiled",
    "helpers_as_they_are",
    "ieee_arithmetic",
    "kept",
    "launch_bounds",
    "signature",
]

RESIDENT = 512  # threads of a multiprocessor that are to be there together
_KEPT = 8  # kernels that stay compiled and loaded
_compiled: dict[Hashable, Any] = {}
_compiling = threading.Lock()


def compiled(
    body: Callable[..., None],
    signature: Any,
    capabilities: tuple[tuple[int | str, ...], ...],
    bounds: tuple[int, int] | int,
) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Compile a kernel to PTX with no device; yields each capability with its PTX.

    A capability is (major, minor), or (major, minor, "a") for that architecture alone.

    `bounds` are the launch bounds: threads of a block, and blocks of a multiprocessor.
    """
    from numba.cuda import compiler, dispatcher

    # Numba asks the device for its capability to compile device functions, and there is none.
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=(9, 0))
    # What `cuda.compile` calls. The library that it drops holds what NVVM is given, which is the same
    # for every capability; so the front end, most of the work, is gone through once.
    with helpers_as_they_are():
        library, _ = compiler._compile_pyfunc_with_fixup(
            body, signature, device=False, abi="numba", cc=(9, 0), launch_bounds=bounds
        )
    for capability in capabilities:
        with ieee_arithmetic():
            ptx = library.get_asm_str(cc=capability)
        yield capability, ptx


class _Binaries(DiskCache):
    """Keeps a kernel that is made of the package's functions alone: what the card loads."""

    def _loaded(self, target_context: Any, content: bytes) -> Any:  # noqa: ARG002 - a kernel has none
        from numba.cuda.dispatcher import _Kernel

        return _Kernel._rebuild(**pickle.loads(content))  # noqa: S301 - ours

    def _stored(self, data: Any) -> bytes:
        from numba.cuda.serialize import dumps

        data.library._llvm_strs = []  # megabytes, of which everything has been made
        content: bytes = dumps(data._reduce_states())
        return content


def kept(
    cuda: Any,
    build: Callable[[], Callable[..., None]],
    key: Hashable,
    threads: int,
    name: str | None = None,
) -> Any:
    """Compile and load the persistent kernel, or return the dispatcher of an earlier call. Any thread.

    `build` makes the kernel's function if it is needed; two kernels with the same `key`, which says for
    which device, are the same. One with a `name`, which says of which functions of the package it is
    made, is kept on disk as well. To be called while no kernel lives: loading waits for its end.
    """
    whole_key = (key, threads)
    with _compiling:
        if whole_key not in _compiled:
            if len(_compiled) == _KEPT:
                del _compiled[next(iter(_compiled))]
            # No link-time optimisation: the PTX is then what was checked, and final.
            options = {"debug": False, "lineinfo": False, "opt": True, "lto": False}
            with ieee_arithmetic(), helpers_as_they_are():
                # Called with the function: as a decorator alone it forgets `lto`.
                made = cuda.jit(build(), launch_bounds=launch_bounds(threads), **options)
                if name is not None:
                    versions = {"numba-cuda": installed_version("numba-cuda"), **toolkit_versions()}
                    what = repr((name, launch_bounds(threads), sorted(versions.items())))
                    made._cache = _Binaries(f"cuda-{sha256(what.encode()).hexdigest()[:16]}")
                made.compile(signature())
                made._specialized = True  # a launch looks for no other signature
                _compiled[whole_key] = made
        return _compiled[whole_key]


@contextlib.contextmanager
def helpers_as_they_are() -> Iterator[None]:
    """Compile a user's compiled functions anew when they are called, in this thread.

    Numba freezes what such a function refers to when it is first compiled.
    """
    from ringnb.kernel.cuda.intrinsics import SIMULATED

    if SIMULATED:  # nothing is compiled
        yield
        return
    from numba.core.dispatcher import Dispatcher
    from numba.cuda.core.compiler_lock import global_compiler_lock
    from numba.cuda.dispatcher import CUDADispatcher
    from numba.cuda.target import CUDATypingContext

    resolve = CUDATypingContext.resolve_value_type
    seen: set[int] = set()

    def resolve_anew(self: Any, value: Any) -> Any:
        """Resolve a value's type."""
        if isinstance(value, Dispatcher | CUDADispatcher) and id(value) not in seen:
            seen.add(id(value))
            if not (value.py_func.__module__ or "").startswith(("numba.", "ringnb.")):
                if isinstance(value, CUDADispatcher):
                    value.overloads.clear()
                else:  # the device function that Numba has made of one for the CPU
                    vars(value).pop("_CUDATypingContext__dispatcher", None)
        return resolve(self, value)

    with global_compiler_lock:  # no other thread compiles meanwhile
        CUDATypingContext.resolve_value_type = resolve_anew
        try:
            yield
        finally:
            CUDATypingContext.resolve_value_type = resolve


@contextlib.contextmanager
def ieee_arithmetic() -> Iterator[None]:
    """Compile for the CPU kernel's arithmetic, so that ``+ - * /`` leave the same bits on both.

    A product and a sum stay two roundings; ``float32`` results too small for a normal number become 0.
    """
    from numba.cuda.core.compiler_lock import global_compiler_lock
    from numba.cuda.cudadrv import nvvm

    # The jit decorator takes neither option, though what it calls does.
    compile_ir = nvvm.compile_ir

    def compile_exactly(llvmir: Any, **options: Any) -> Any:
        """Compile as asked, with these two options in addition."""
        return compile_ir(llvmir, **options, fma=False, ftz=True)

    with global_compiler_lock:  # no other thread compiles meanwhile
        nvvm.compile_ir = compile_exactly
        try:
            yield
        finally:
            nvvm.compile_ir = compile_ir


def launch_bounds(threads: int) -> tuple[int, int]:
    """Return what the kernel is compiled for: threads of a block, blocks of a multiprocessor."""
    # So many threads leave each of them 128 registers: enough for the cells that it computes together
    # and for the leader's part, with nothing spilled within the loop over cells. Each has several loads
    # on their way, so that fewer threads keep the memory busy. Not yet measured on a device.
    return threads, max(1, RESIDENT // threads)


def signature() -> Any:
    """Return the kernel's signature, for which it is compiled before the launch."""
    from numba.cuda import types

    line = types.int64[::1]
    table = types.int64[:, ::1]
    return types.void(*(line,) * 6, table, line, table, *(line,) * 5, table)
