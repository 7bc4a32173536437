"""What Numba does not offer: ordered loads and stores, and the few C calls a lane loop needs.

Compiled code alone calls what is here: `ringnb.kernel.ring` and the CPU lane loop. With
``NUMBA_DISABLE_JIT=1`` there is none, and what the rings and the checksum need is plain Python, under
the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import operator
import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_I64 = ir.IntType(64)


def _intrinsic(python: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Make an intrinsic; `python` takes its place where nothing is compiled."""
    return lambda function: python if config.DISABLE_JIT else intrinsic(function)


def _nothing(*_: Any) -> None:
    """Do nothing: the interpreter's lock orders everything."""


def _element(context: Any, builder: Any, ary_type: Any, ary: Any, index: Any) -> Any:
    view = context.make_array(ary_type)(context, builder, ary)
    return cgutils.get_item_pointer(
        context, builder, ary_type, view, [index], wraparound=False, boundscheck=False
    )


# A plain array load in a compiled loop may be hoisted out of it, and the loop then never sees another
# thread's write. Hence every word that two threads share is read with `load_acquire` and written with
# `store_release`: LLVM may neither drop, repeat nor move them, and what was written before a release
# is visible after the acquire that reads it, on x86-64 and on aarch64 alike.
@_intrinsic(operator.getitem)
def load_acquire(_typing: Any, array: Any, index: Any) -> Any:
    """Read ``array[index]`` (1-D int64) with acquire ordering."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        ptr = _element(context, builder, sig.args[0], args[0], args[1])
        return builder.load_atomic(ptr, "acquire", 8, typ=_I64)

    return types.int64(array, types.intp), codegen


@_intrinsic(operator.setitem)
def store_release(_typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write ``array[index] = value`` (1-D int64) with release ordering."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        ptr = _element(context, builder, sig.args[0], args[0], args[1])
        builder.store_atomic(args[2], ptr, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@_intrinsic(_nothing)
def fence(_typing: Any) -> Any:
    """Order all earlier accesses before all later ones (sequentially consistent fence)."""

    def codegen(context: Any, builder: Any, _sig: Any, _args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


_X86 = platform.machine() in ("x86_64", "AMD64")
_ARM = platform.machine() in ("aarch64", "arm64")


@_intrinsic(_nothing)
def cpu_pause(_typing: Any) -> Any:
    """Tell the core that this is a spin loop, so that its sibling gets the execution units."""

    def codegen(context: Any, builder: Any, _sig: Any, _args: Any) -> Any:
        # Through LLVM intrinsics: the JIT has no assembler for inline text.
        if _X86:
            fnty = ir.FunctionType(ir.VoidType(), [])
            pause = cgutils.get_or_insert_function(builder.module, fnty, "llvm.x86.sse2.pause")
            builder.call(pause, [])
        elif _ARM:
            fnty = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            hint = cgutils.get_or_insert_function(builder.module, fnty, "llvm.aarch64.hint")
            builder.call(hint, [ir.Constant(ir.IntType(32), 1)])  # 1 is YIELD
        return context.get_dummy_value()

    return types.void(), codegen


@_intrinsic(_nothing)
def flush_subnormals(_typing: Any) -> Any:
    """Make this thread treat numbers too small for full precision as zero, from now on.

    The tails of a decaying field are full of them, and a core takes some hundred cycles for each.
    Every kernel thread does this once, so results do not depend on which thread computes a cell.
    """

    def codegen(context: Any, builder: Any, _sig: Any, _args: Any) -> Any:
        i32, i64 = ir.IntType(32), ir.IntType(64)
        byte_ptr = ir.IntType(8).as_pointer()

        def function(name: str, result: Any, *arguments: Any) -> Any:
            """Declare an LLVM intrinsic."""
            fnty = ir.FunctionType(result, arguments)
            return cgutils.get_or_insert_function(builder.module, fnty, name)

        if _X86:
            word = builder.alloca(i32)
            pointer = builder.bitcast(word, byte_ptr)
            builder.call(function("llvm.x86.sse.stmxcsr", ir.VoidType(), byte_ptr), [pointer])
            both = ir.Constant(i32, 0x8040)  # flush to zero, denormals are zero
            builder.store(builder.or_(builder.load(word), both), word)
            builder.call(function("llvm.x86.sse.ldmxcsr", ir.VoidType(), byte_ptr), [pointer])
        elif _ARM:
            fpcr = builder.call(function("llvm.aarch64.get.fpcr", i64), [])
            flushed = builder.or_(fpcr, ir.Constant(i64, 1 << 24))
            builder.call(function("llvm.aarch64.set.fpcr", ir.VoidType(), i64), [flushed])
        return context.get_dummy_value()

    return types.void(), codegen


@_intrinsic(_nothing)
def assume(_typing: Any, condition: Any) -> Any:
    """Promise the optimiser that a condition holds.

    The row loops use it to say that an index is inside the grid. Without it Numba's support for
    negative indices and the conditions at the edges stay in the inner loop and stop vectorisation.
    """

    def codegen(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        fnty = ir.FunctionType(ir.VoidType(), [ir.IntType(1)])
        fn = cgutils.get_or_insert_function(builder.module, fnty, "llvm.assume")
        builder.call(fn, [args[0]])
        return context.get_dummy_value()

    return types.void(types.boolean), codegen


def _call_address(n_pointers: int, argument_types: tuple[Any, ...], returns: Any) -> Any:
    """Return a codegen that calls the C function at the address in the first argument."""

    def codegen(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        byte_ptr = ir.IntType(8).as_pointer()
        ir_types = [byte_ptr] * n_pointers + [
            context.get_value_type(t) for t in argument_types[1 + n_pointers :]
        ]
        returned = ir.VoidType() if returns == types.void else context.get_value_type(returns)
        fnty = ir.FunctionType(returned, ir_types)
        fn = builder.inttoptr(args[0], fnty.as_pointer())
        pointers = [builder.inttoptr(a, byte_ptr) for a in args[1 : 1 + n_pointers]]
        result = builder.call(fn, [*pointers, *args[1 + n_pointers :]])
        return context.get_dummy_value() if returns == types.void else result

    return returns(*argument_types), codegen


@intrinsic
def call_step(
    _typing: Any,
    address: Any,
    now: Any,
    before: Any,
    params: Any,
    step: Any,
    nf: Any,
    nz: Any,
    ny: Any,
    nx: Any,
    first: Any,
    last: Any,
) -> Any:
    """Call a compiled step function (see `ringnb.kernel.cpu.compile`) by its address; 0: it raised."""
    return _call_address(3, (types.int64,) * 11, types.int64)


@intrinsic
def call_inject(
    _typing: Any,
    address: Any,
    now: Any,
    before: Any,
    params: Any,
    nf: Any,
    nz: Any,
    ny: Any,
    nx: Any,
    z: Any,
    y: Any,
    x: Any,
    amplitude: Any,
) -> Any:
    """Call a compiled inject function by its address."""
    return _call_address(3, (*((types.int64,) * 11), types.float64), types.void)


@_intrinsic(lambda address: ctypes.cast(address, ctypes.POINTER(ctypes.c_uint64)))
def words_at(_typing: Any, address: Any) -> Any:
    """Turn an address into a pointer to uint64 words, for ``numba.carray``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(types.uint64)(types.int64), codegen


@_intrinsic(
    lambda address, element: ctypes.cast(
        int(address), ctypes.POINTER(np.ctypeslib.as_ctypes_type(element))
    )
)
def pointer_at(_typing: Any, address: Any, element: Any) -> Any:
    """Turn an address into a pointer to values of a type, for ``numba.carray``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(element.instance_type)(types.int64, element), codegen


@intrinsic
def copy_and_sum(_typing: Any, target: Any, source: Any, nbytes: Any) -> Any:
    """Copy between two addresses past the caches; return the sum of all 8-byte words, modulo 2**64.

    `nbytes` is a multiple of 64, both addresses are multiples of 64. The bytes are read once and
    written without being read first, so this takes no longer than a memcpy that sums nothing.
    A `fence` has to follow before another thread is told.
    """

    def codegen(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        to, at, size = args
        word, line = ir.IntType(64), ir.VectorType(ir.IntType(64), 8)
        begin = builder.block
        loop, done = builder.append_basic_block("line"), builder.append_basic_block("lines_done")
        lines = builder.lshr(size, ir.Constant(word, 6))
        to, at = (builder.inttoptr(address, line.as_pointer()) for address in (to, at))
        none = ir.Constant(line, [0] * 8)
        builder.cbranch(builder.icmp_signed(">", lines, ir.Constant(word, 0)), loop, done)
        builder.position_at_end(loop)
        index, so_far = builder.phi(word), builder.phi(line)
        value = builder.load(builder.gep(at, [index]))
        value.align = 64
        store = builder.store(value, builder.gep(to, [index]))
        store.align = 64
        store.set_metadata(
            "nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        )
        total = builder.add(so_far, value)
        following = builder.add(index, ir.Constant(word, 1))
        for phi, first, later in ((index, ir.Constant(word, 0), following), (so_far, none, total)):
            phi.add_incoming(first, begin)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", following, lines), loop, done)
        builder.position_at_end(done)
        sums = builder.phi(line)
        sums.add_incoming(none, begin)
        sums.add_incoming(total, loop)
        parts = [builder.extract_element(sums, ir.Constant(ir.IntType(32), i)) for i in range(8)]
        result = parts[0]
        for part in parts[1:]:
            result = builder.add(result, part)
        return result

    return types.int64(types.int64, types.int64, types.int64), codegen


def _libc(name: str, result: Any, *arguments: Any) -> Any:
    """Return a C function, which is found in the running process when the code is linked."""
    if config.DISABLE_JIT:
        call = getattr(ctypes.CDLL(None), name)
        return lambda *values: call(*(ctypes.c_longlong(int(value)) for value in values))
    return types.ExternalFunction(name, result(*arguments))


# The host opens the descriptors of pipes non-blocking and close-on-exec.
_poll = _libc("poll", types.int32, types.intp, types.uint64, types.int32)
_read = _libc("read", types.intp, types.int32, types.intp, types.uintp)
_write = _libc("write", types.intp, types.int32, types.intp, types.uintp)
_sched_yield = _libc("sched_yield", types.int32)
_memcpy = _libc("memcpy", types.intp, types.intp, types.intp, types.uintp)
_memset = _libc("memset", types.intp, types.intp, types.int32, types.uintp)
_clock_gettime = _libc("clock_gettime", types.int32, types.int32, types.intp)

# The clock that time.monotonic_ns() reads: CLOCK_MONOTONIC, or CLOCK_UPTIME_RAW on macOS.
_CLOCK_ID = 8 if sys.platform == "darwin" else 1
_POLLIN = 1 << 32


@njit(inline="always")
def now_ns(scratch: Any) -> Any:
    """Return ``time.monotonic_ns()``; `scratch` is a private int64 array of at least 2 words."""
    _clock_gettime(types.int32(_CLOCK_ID), scratch.ctypes.data)
    return scratch[0] * 1_000_000_000 + scratch[1]


@njit(inline="always")
def poll_fd(scratch: Any, fd: Any, timeout_ms: Any) -> Any:
    """Sleep until `fd` is readable or the time is up; 1 if readable."""
    scratch[0] = fd | _POLLIN
    return _poll(scratch.ctypes.data, types.uint64(1), types.int32(timeout_ms))


@njit(inline="always")
def read_fd(scratch: Any, fd: Any) -> None:
    """Empty a pipe of up to a scratch array of wake-up bytes."""
    _read(types.int32(fd), scratch.ctypes.data, types.uintp(scratch.size * 8))


@njit(inline="always")
def write_fd(scratch: Any, fd: Any) -> None:
    """Write one wake-up byte; a full pipe is as good as a written one."""
    _write(types.int32(fd), scratch.ctypes.data, types.uintp(1))


@njit(inline="always")
def yield_thread() -> None:
    """Let another runnable thread have this core."""
    _sched_yield()


@njit(inline="always")
def copy_bytes(target: Any, source: Any, nbytes: Any) -> None:
    """Copy between two addresses."""
    _memcpy(target, source, types.uintp(nbytes))


@njit(inline="always")
def fill_zero(target: Any, nbytes: Any) -> None:
    """Zero bytes at an address."""
    _memset(target, types.int32(0), types.uintp(nbytes))
