"""Device intrinsics: the loads, stores, clock and pause that the CUDA kernel's correctness rests on.

The only file that knows how a word is read on the device. Every word is a signed 64-bit integer: a
comparison of ``uint64`` with ``int64`` would be made in ``float64``.

No read-modify-write at system scope: on memory of the host it is atomic only on some systems. Every
mapped word has one writer instead (see `ringnb.kernel.cuda.layout`).

In Numba's simulator the same names are plain Python, under the interpreter's lock. Which of the two this
module holds is decided when it is imported: `ringnb.kernel.cuda.availability` comes first.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import config, cuda

from ringnb.kernel.levels import define, view_maker

SIMULATED = bool(config.ENABLE_CUDASIM)


def _signed(value: int) -> int:
    """Wrap around at 64 bits, as the device's integers do."""
    return (value + 2**63) % 2**64 - 2**63


if SIMULATED:
    WARP = 1  # each thread is one of its own
    _lock = threading.Lock()

    def function(body: Callable[..., Any]) -> Any:
        """Leave the function as it is: the simulator runs Python."""
        return body

    # Around a shared array: threads that ask for it together may each be given one of its own.
    begin_alone, end_alone = _lock.acquire, _lock.release

    def _load(words: Any, index: int) -> int:
        """Read a word."""
        return int(words[index])

    def _store(words: Any, index: int, value: int) -> None:
        """Write a word."""
        words[index] = value

    ld_relaxed_sys = ld_acquire_sys = ld_relaxed_gpu = ld_acquire_gpu = _load
    st_relaxed_sys = st_release_sys = _store

    def fence_sys() -> None:
        """Do nothing: the interpreter's lock keeps the order."""

    def now_ns() -> int:
        """Return the time."""
        return time.monotonic_ns()

    def pause() -> None:
        """Let another thread run."""
        time.sleep(0)

    def rest() -> None:
        """Sleep: the rest of this process needs the interpreter's lock."""
        time.sleep(0.0002)

    def raw(array: Any) -> Any:
        """Return the NumPy array behind the simulator's wrapper, which is slow."""
        return array._item._ary

    def grid(words: Any, at: int, element: Any, shape: tuple[int, ...]) -> Any:
        """View the words from `at` on as an array of another element type."""
        n = math.prod(shape)
        size = -(-n * np.dtype(element).itemsize // 8)
        return words[at : at + size].view(element)[:n].reshape(shape)

    def private(words: Any) -> Any:
        """Return the array."""
        return words

    def low(number: int) -> int:
        """Return the number."""
        return number

    def assume(condition: bool) -> None:
        """Do nothing."""

    def anew(number: int) -> int:
        """Return the number."""
        return number

    def window_of(fields: int) -> tuple[Any, Any]:
        """Make the functions that load one cell of all fields, as an array, and that store it."""

        def window(array: Any, place: tuple[int, ...]) -> Any:
            """Return an array with the grid's shape, in which every cell is this one."""
            own = array[(slice(None), *place)].copy()
            strides = (own.itemsize, *(0 for _ in place))
            return np.ndarray(array.shape, array.dtype, own, 0, strides)

        def put(cell: Any, array: Any, place: tuple[int, ...]) -> None:
            """Store the cell."""
            array[(slice(None), *place)] = cell[(slice(None), *place)]

        return window, put

    def weigh(total: int, word: int, weight: int) -> int:
        """Return ``total + word * weight`` modulo 2**64."""
        return _signed(int(total) + int(word) * int(weight))

    def as_float(bits: int) -> float:
        """Return the float64 that has these bits."""
        return np.int64(bits).view(
            np.float64
        )  # not a Python float, which would give way to float32

    def add(words: Any, index: int, value: int) -> None:
        """Add to a word modulo 2**64, atomically among the block's threads."""
        with _lock:
            words[index] = _signed(int(words[index]) + int(value))

    red_release_gpu = add

else:
    import operator

    from llvmlite import ir
    from numba.cuda import cgutils, types
    from numba.cuda.extending import (
        core_models,
        intrinsic,
        lower_builtin,
        overload,
        overload_attribute,
        register_model,
    )
    from numba.cuda.np import arrayobj
    from numba.cuda.np.arrayobj import populate_array

    WARP = 32

    def function(body: Callable[..., Any]) -> Any:
        """Compile a device function into its callers."""
        # Also where NUMBA_CUDA_DEBUGINFO is set: after a kernel with debug, Numba waits for it.
        return cuda.jit(device=True, forceinline=True, debug=False, opt=True)(body)

    @function
    def begin_alone() -> None:
        """Do nothing: shared memory is laid out where it is compiled."""

    end_alone = begin_alone  # type: ignore[assignment]  # the simulator's is a lock's

    # Numba has no load at system scope, plain loads are hoisted out of a polling loop, and so is
    # ``cuda.ldcv``, whose assembly is not marked as having side effects. Hence these few lines of PTX,
    # each with `side_effect` and a memory clobber.
    def _asm(builder: Any, result: Any, operands: list[Any], text: str, constraints: str) -> Any:
        kind = ir.FunctionType(result, [operand.type for operand in operands])
        return builder.call(ir.InlineAsm(kind, text, constraints, side_effect=True), operands)

    def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
        view = context.make_array(kind)(context, builder, array)
        return cgutils.get_item_pointer(context, builder, kind, view, [index], wraparound=False)

    def _load_as(order: str) -> Any:
        text = f"ld.{order}.b64 $0, [$1];"

        @intrinsic
        def load(typing: Any, words: Any, index: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                at = _pointer(context, builder, signature.args[0], *arguments)
                return _asm(builder, ir.IntType(64), [at], text, "=l,l,~{memory}")

            return types.int64(words, types.intp), codegen

        return load

    def _store_as(order: str) -> Any:
        text = f"st.{order}.b64 [$0], $1;"

        @intrinsic
        def store(typing: Any, words: Any, index: Any, value: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                at = _pointer(context, builder, signature.args[0], *arguments[:2])
                _asm(builder, ir.VoidType(), [at, arguments[2]], text, "l,l,~{memory}")
                return context.get_dummy_value()

            return types.void(words, types.intp, types.int64), codegen

        return store

    # A poll is relaxed and repeated; one acquire follows it. The acquire empties the L1 cache.
    ld_relaxed_sys = _load_as("relaxed.sys")
    ld_acquire_sys = _load_as("acquire.sys")
    ld_relaxed_gpu = _load_as("relaxed.gpu")
    ld_acquire_gpu = _load_as("acquire.gpu")
    st_relaxed_sys = _store_as("relaxed.sys")
    st_release_sys = _store_as("release.sys")

    @intrinsic
    def fence_sys(typing: Any) -> Any:
        """Make each relaxed store that follows a release to the host."""

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _asm(builder, ir.VoidType(), [], "fence.acq_rel.sys;", "~{memory}")
            return context.get_dummy_value()

        return types.void(), codegen

    @intrinsic
    def red_release_gpu(typing: Any, words: Any, index: Any, value: Any) -> Any:
        """Add to a word of the device; what came before is seen by who sees it."""
        text = "red.release.gpu.global.add.u64 [$0], $1;"

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at = _pointer(context, builder, signature.args[0], *arguments[:2])
            _asm(builder, ir.VoidType(), [at, arguments[2]], text, "l,l,~{memory}")
            return context.get_dummy_value()

        return types.void(words, types.intp, types.int64), codegen

    @intrinsic
    def now_ns(typing: Any) -> Any:
        """Read the global timer: nanoseconds, the same on all multiprocessors.

        Its resolution depends on the card, up to a microsecond. Not yet run on a device.
        """

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _asm(builder, ir.IntType(64), [], "mov.u64 $0, %globaltimer;", "=l,~{memory}")

        return types.int64(), codegen

    def _sleep_for(ns: int) -> Any:
        @intrinsic
        def sleep(typing: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                _asm(builder, ir.VoidType(), [], f"nanosleep.u32 {ns};", "~{memory}")
                return context.get_dummy_value()

            return types.void(), codegen

        return sleep

    pause = _sleep_for(32)
    rest = _sleep_for(1000)

    @intrinsic
    def as_float(typing: Any, bits: Any) -> Any:
        """Return the float64 that has these bits."""

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], ir.DoubleType())

        return types.float64(types.int64), codegen

    class Grid(types.Array):  # type: ignore[misc]  # Numba has no types
        """A contiguous array; where an item lies is computed so that neighbours share most of it."""

        def __init__(self, dtype: Any, ndim: int) -> None:
            super().__init__(dtype, ndim, "C", name=f"Grid({dtype}, {ndim})")

    class Window(types.Array):  # type: ignore[misc]  # Numba has no types
        """One cell of all fields in registers, as an array of the grid's shape.

        Of an index only the field is looked at. With strides of 0 an array shows the same; but such an
        index is computed in memory.
        """

        def __init__(self, dtype: Any, ndim: int) -> None:
            super().__init__(dtype, ndim, "A", name=f"Window({dtype}, {ndim})")

    register_model(Grid)(core_models.ArrayModel)
    register_model(Window)(core_models.ArrayModel)

    def item_of(context: Any, builder: Any, kinds: Any, arguments: Any) -> Any:
        """Return where an item of a grid or window lies, or None if its index is not one of integers."""
        array, index = kinds
        if len(index) != array.ndim or not all(isinstance(i, types.Integer) for i in index):
            return None
        made = context.make_array(array)(context, builder, arguments[0])
        lengths = cgutils.unpack_tuple(builder, made.shape, array.ndim)
        where = []
        for axis in range(1 if isinstance(array, Window) else array.ndim):
            i = builder.extract_value(arguments[1], axis)
            i = context.cast(builder, i, index[axis], types.intp)
            where.append(arrayobj.fix_integer_index(context, builder, types.intp, i, lengths[axis]))
        return place_of(builder, array, made, where)

    def place_of(builder: Any, array: Any, made: Any, where: Any) -> Any:
        """Return where the item of an index lies, which counts from the begin of each axis."""
        strides = cgutils.unpack_tuple(builder, made.strides, array.ndim)
        at = made.data
        # A kernel walks along the second axis, so that all else comes first: it stays the same.
        axes = [0] if isinstance(array, Window) else [0, *range(2, array.ndim), 1][: array.ndim]
        for axis in axes:
            i = where[axis]
            if axis < array.ndim - 1 and isinstance(array, Grid):
                row = builder.bitcast(at, ir.IntType(8).as_pointer())
                row = builder.gep(row, [builder.mul(i, strides[axis])])
                at = builder.bitcast(row, at.type)
            else:
                at = builder.gep(at, [i])
        return at

    @intrinsic
    def grid(typing: Any, words: Any, at: Any, element: Any, shape: Any) -> Any:
        """View the words from `at` on as an array of another element type.

        Slicing, ``view`` and ``reshape`` would do, but the last is a call of a function with a stack.
        """
        view = Grid(element.instance_type, len(shape))

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            words_type, _, _, shape_type = signature.args
            data = _pointer(context, builder, words_type, arguments[0], arguments[1])
            lengths = cgutils.unpack_tuple(builder, arguments[3], len(shape_type))
            itemsize = context.get_constant(types.intp, element.instance_type.bitwidth // 8)
            strides = [itemsize]
            for length in reversed(lengths[1:]):
                # Nobody is to know that it is a product, and to take it apart.
                product = builder.mul(strides[0], length)
                kind = ir.FunctionType(product.type, [product.type])
                strides.insert(
                    0, builder.call(ir.InlineAsm(kind, "mov.b64 $0, $1;", "=l,l"), [product])
                )
            made = context.make_array(view)(context, builder)
            populate_array(
                made,
                data=builder.bitcast(data, made.data.type),
                shape=lengths,
                strides=strides,
                itemsize=itemsize,
                meminfo=None,
            )
            return made._getvalue()

        return view(words, types.intp, element, shape), codegen

    @intrinsic
    def private(typing: Any, words: Any) -> Any:
        """Copy 16 words to this thread's registers, where no store of another can change them.

        Or to its local memory, if they are not all indexed by constants.
        """

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = signature.args[0]
            element = context.get_data_type(kind.dtype)
            copy = cgutils.alloca_once(builder, ir.ArrayType(element, 16))
            zero = ir.IntType(32)(0)
            for j in range(16):
                at = _pointer(context, builder, kind, arguments[0], ir.IntType(64)(j))
                builder.store(builder.load(at), builder.gep(copy, [zero, ir.IntType(32)(j)]))
            made = context.make_array(kind)(context, builder)
            itemsize = context.get_constant(types.intp, kind.dtype.bitwidth // 8)
            populate_array(
                made,
                data=builder.gep(copy, [zero, zero]),
                shape=[context.get_constant(types.intp, 16)],
                strides=[itemsize],
                itemsize=itemsize,
                meminfo=None,
            )
            return made._getvalue()

        return words(words), codegen

    @intrinsic
    def low(typing: Any, number: Any) -> Any:
        """Return a number from 0 to 2**32 - 1, which the compiler then knows to be one."""
        # That halves the instructions for a cell: 64-bit sums take two, products three.

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.zext(builder.trunc(arguments[0], ir.IntType(32)), ir.IntType(64))

        return types.int64(types.int64), codegen

    @intrinsic
    def anew(typing: Any, number: Any) -> Any:
        """Return the number, of which the compiler then knows nothing.

        What is computed of it is computed here, and takes no registers before.
        """

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _asm(builder, ir.IntType(64), arguments, "mov.b64 $0, $1;", "=l,l")

        return types.int64(types.int64), codegen

    @intrinsic
    def assume(typing: Any, condition: Any) -> Any:
        """Tell the compiler that a condition holds."""

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(1)])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.assume")
            builder.call(function, arguments)
            return context.get_dummy_value()

        return types.void(types.boolean), codegen

    @lower_builtin(operator.getitem, Grid, types.BaseTuple)
    @lower_builtin(operator.getitem, Window, types.BaseTuple)
    def _get(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """Read an item."""
        at = item_of(context, builder, signature.args, arguments)
        if at is None:
            return arrayobj.getitem_array_tuple(context, builder, signature, arguments)
        return arrayobj.load_item(context, builder, signature.args[0], at)

    @lower_builtin(operator.setitem, Grid, types.BaseTuple, types.Any)
    @lower_builtin(operator.setitem, Window, types.BaseTuple, types.Any)
    def _set(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """Write an item."""
        window, index, kind = signature.args
        at = item_of(context, builder, (window, index), arguments)
        if at is None or isinstance(kind, types.Buffer):
            return arrayobj.setitem_array(context, builder, signature, arguments)
        value = context.cast(builder, arguments[2], kind, window.dtype)
        arrayobj.store_item(context, builder, window, value, at)
        return context.get_dummy_value()

    def window_of(fields: int) -> tuple[Any, Any]:
        """Make the functions that load one cell of all fields, as an array, and that store it."""

        def items(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            """Yield where each field of a cell lies in a grid."""
            array, place = signature.args[-2:]
            kinds = array, types.UniTuple(types.intp, array.ndim)
            for field in range(fields):
                where = [context.get_constant(types.intp, field)]
                where += cgutils.unpack_tuple(builder, arguments[-1], len(place))
                index = context.make_tuple(builder, kinds[1], where)
                yield field, item_of(context, builder, kinds, (arguments[-2], index))

        @intrinsic
        def window(typing: Any, array: Any, place: Any) -> Any:
            """Return an array with the grid's shape, in which every cell is this one."""
            made = Window(array.dtype, array.ndim)

            def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                data = context.get_data_type(array.dtype)
                own = cgutils.alloca_once(builder, ir.ArrayType(data, fields))
                zero = ir.IntType(32)(0)
                first = builder.gep(own, [zero, zero])
                for field, at in items(context, builder, signature, arguments):
                    value = builder.load(at)
                    builder.store(value, builder.gep(first, [ir.IntType(64)(field)]))
                view = context.make_array(array)(context, builder, arguments[0])
                itemsize = context.get_constant(types.intp, context.get_abi_sizeof(data))
                none = context.get_constant(types.intp, 0)
                cell = context.make_array(made)(context, builder)
                populate_array(
                    cell,
                    data=first,
                    shape=cgutils.unpack_tuple(builder, view.shape, array.ndim),
                    strides=[itemsize, *[none] * (array.ndim - 1)],
                    itemsize=itemsize,
                    meminfo=None,
                )
                return cell._getvalue()

            return made(array, place), codegen

        @intrinsic
        def put(typing: Any, cell: Any, array: Any, place: Any) -> Any:
            """Store the cell."""

            def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                own = context.make_array(cell)(context, builder, arguments[0]).data
                for field, at in items(context, builder, signature, arguments):
                    builder.store(builder.load(builder.gep(own, [ir.IntType(64)(field)])), at)
                return context.get_dummy_value()

            return types.void(cell, array, place), codegen

        return window, put

    define(overload, overload_attribute, types, raises=False)

    @function
    def raw(array: Any) -> Any:
        """Return the array."""
        return array

    @function
    def weigh(total: Any, word: Any, weight: Any) -> Any:
        """Return ``total + word * weight`` modulo 2**64."""
        return total + word * weight

    @function
    def add(words: Any, index: Any, value: Any) -> None:
        """Add to a word of the device modulo 2**64, atomically."""
        cuda.atomic.add(words, index, value)


@cache
def mixed_level(dtypes: tuple[str, ...]) -> Any:
    """Return the function that views words as a level of fields of several dtypes.

    It takes what `grid` takes, with any element, and the shape (fields, *grid).
    """
    view = "words_as(words, start + {at}, {dtype}, {shape})"
    made = view_maker(dtypes, "words, start, element, shape", view, 8, False)
    made.__globals__["words_as"] = grid
    return function(made)
