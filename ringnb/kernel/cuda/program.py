"""The one CUDA kernel: a grid that is launched again and again, in groups of blocks that serve lanes.

There is no barrier of the whole grid; each group has one of its own.

The same source runs in Numba's simulator, where a grid has one block. ``cuda`` is a global of this
module because the simulator exchanges it while the kernel runs; therefore no host code lives here but
`build`.
"""

from __future__ import annotations

import dis
import math
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, CodeType
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from ringnb.actors.base import Actor
from ringnb.kernel import layout, reductions
from ringnb.kernel.caching import plain
from ringnb.kernel.cuda import intrinsics, planes
from ringnb.kernel.cuda import layout as cl
from ringnb.kernel.cuda.leader import finish_job, make_commands, make_find_job, staged_on_host
from ringnb.kernel.cuda.regions import copy_job
from ringnb.kernel.cuda.walk import CELLS, rows_of, walk_of
from ringnb.kernel.levels import mixed_dtypes

__all__ = [
    "CellCode",
    "ReduceCode",
    "build",
    "busy_threads",
    "cell_codes",
    "compile_cells",
    "reduce_codes",
]

_INJECT = """
def disturb(state, now_at, before_at, params, nf, nz, ny, nx, z, y, x, amplitude):
    now = level(state, now_at, element, (nf, nz, ny, nx))
    before = level(state, before_at, element, (nf, nz, ny, nx))
    inject(now, before, params, z, y, x, amplitude)
"""
_REGISTER_BYTES = 16  # for what a thread writes of the cells that it computes together
_SHAPES = {1: "(nf, nx)", 2: "(nf, ny, nx)", 3: "(nf, nz, ny, nx)"}


_ARRAY = "    array{i} = grid(state, state[arrays_at + {at}], {element}, ({lengths}))\n"
_LENGTH = "low(state[arrays_at + {at}]), "


_REDUCE = """
def reduce(state, now_at, params, step, arrays_at, partials_at, nf, nz, ny, nx, first, stride):
    now = level(state, now_at, element, {shape})
    partials = grid(state, partials_at, float64, ({count} * nz * ny,))
    last = nz * ny
{arrays}
{body}
"""


class CellCode(NamedTuple):
    """What makes stages of two actors one kind: their plain functions, element type, axes, arrays."""

    update: Callable[..., None]
    inject: Callable[..., None]
    dtype: str | tuple[str, ...]  # of each field, if there are several
    ndim: int
    arrays: tuple[tuple[str, int], ...]  # dtype and axes of each
    fields: int
    together: int  # cells that a thread computes at a time


def cell_codes(actor: Actor) -> tuple[CellCode, ...]:
    """Return the kinds of an actor's stages."""
    arrays = tuple((array.dtype.name, array.ndim) for array in actor.arrays.values())
    dtypes = mixed_dtypes(actor) or actor.dtype.name
    same = plain(actor.inject), dtypes, len(actor.shape), arrays, len(actor.fields)
    return tuple(CellCode(plain(update), *same, together(actor, update)) for update in actor.stages)


def together(actor: Actor, update: Callable[..., None]) -> int:
    """Return how many cells a thread computes at a time with an update."""
    # One that is not replayable may read ``next`` of other cells; a window is of one dtype.
    if mixed_dtypes(actor) or not actor.replayable or not _is_short(update):
        return 1
    own = len(actor.fields) * actor.dtype.itemsize
    return next((n for n in (4, 2) if n * own <= _REGISTER_BYTES), 1)


def _is_shown(kind: CellCode) -> bool:
    """Return whether a thread keeps the planes of its columns that it has loaded."""
    rows = rows_of(kind.ndim, kind.together)
    return rows > 1 and kind.fields == 1 and planes.goes_straight(kind.update)


def busy_threads(shape: tuple[int, ...], together: int) -> int:
    """Return how many threads have cells to compute in a grid, `together` at a time each."""
    warp, length = intrinsics.WARP, shape[0]
    if len(shape) == 1:  # a column is a warp wide, and a thread's cells lie a warp apart
        return -(-length // (together * warp)) * warp
    rows = rows_of(len(shape), together)
    columns = math.prod(-(-n // rows) for n in shape[1:-1]) * -(-shape[-1] // warp)
    return columns * -(-length // (together // rows)) * warp


def _is_short(function: Callable[..., Any], within: tuple[object, ...] = ()) -> bool:
    """Return whether a function has no loop, and calls no function of mathematics, nor what it calls.

    Several copies of another would take minutes to compile. `within` are the functions that call it.
    """
    if plain(function) in within:  # it calls itself
        return False
    within = (*within, plain(function))
    code = plain(function).__code__
    names = [code.co_names, *(c.co_names for c in code.co_consts if isinstance(c, CodeType))]
    cells = (c.cell_contents for c in plain(function).__closure__ or ())
    scope = plain(function).__globals__
    called = [*cells, *(scope[name] for many in names for name in many if name in scope)]
    if any(isinstance(getattr(np, name, None), np.ufunc) for many in names for name in many):
        return False
    if any(i.opname.startswith(("FOR_ITER", "JUMP_BACKWARD")) for i in dis.get_instructions(code)):
        return False
    if any(f is math or isinstance(f, BuiltinFunctionType | np.ufunc) for f in called):
        return False
    return all(_is_short(f, within) for f in called if hasattr(f, "py_func"))


class ReduceCode(NamedTuple):
    """What makes reductions of two actors one kind."""

    operation: str
    value: Callable[..., Any]
    dtype: str | tuple[str, ...]  # of each field, if there are several
    ndim: int
    arrays: tuple[tuple[str, int], ...]
    number: int  # of it, and of all of the actor
    of: int
    slot: int  # behind the parameters


def reduce_codes(actor: Actor) -> tuple[ReduceCode, ...]:
    """Return the kinds of an actor's reductions."""
    arrays = tuple((array.dtype.name, array.ndim) for array in actor.arrays.values())
    same = mixed_dtypes(actor) or actor.dtype.name, len(actor.shape), arrays
    found = actor.reductions.values()
    return tuple(
        ReduceCode(operation, plain(value), *same, i, len(found), len(actor.params) + i)
        for i, (operation, value) in enumerate(found)
    )


def _quiet(body: Callable[..., None]) -> Callable[..., None]:
    def quiet(*arguments: Any) -> None:
        with np.errstate(all="ignore"):
            body(*arguments)

    return quiet


def _compile(source: str, name: str, kind: CellCode | ReduceCode, **functions: Any) -> Any:
    lines = ""
    for i, (dtype, ndim) in enumerate(kind.arrays):
        at = layout.ARRAY_WORDS * i
        lengths = "".join(_LENGTH.format(at=at + 1 + axis) for axis in range(ndim))
        lines += _ARRAY.format(i=i, at=at, element=dtype, lengths=lengths)
        functions[dtype] = np.dtype(dtype).type
    more = "".join(f", array{i}" for i in range(len(kind.arrays)))
    where = {"shape": _SHAPES[kind.ndim]}
    if isinstance(kind, CellCode):
        where |= walk_of(kind.ndim, kind.together, more, shown=_is_shown(kind))
    else:
        where["count"] = str(kind.of)
        where["body"] = reductions.body(kind.ndim, kind.number, kind.slot, more)
    text = source.format(**where, arrays=lines, more=more)
    element, level = None, intrinsics.grid
    if isinstance(kind.dtype, tuple):
        level = intrinsics.mixed_level(kind.dtype)
    else:
        element = np.dtype(kind.dtype).type
    namespace: dict[str, Any] = {"element": element, "grid": intrinsics.grid, "level": level}
    namespace |= functions
    exec(text, namespace)  # noqa: S102 - our own template, with no text of the user's in it
    body = namespace[name]
    # A GPU has no floating-point warnings; NumPy's scalars do.
    return _quiet(body) if intrinsics.SIMULATED else intrinsics.function(body)


def compile_cells(kind: CellCode) -> Any:
    """Return the device function that steps a share of the cells of actors of a kind."""
    window, put = intrinsics.window_of(kind.fields)
    rows = rows_of(kind.ndim, kind.together)
    show, enter, ahead = planes.planes_of(kind.together // rows, rows)
    return _compile(
        CELLS,
        "cells",
        kind,
        update=intrinsics.function(kind.update),
        low=intrinsics.low,
        assume=intrinsics.assume,
        window=window,
        put=put,
        WARP=intrinsics.WARP,
        ROWS=rows,
        show=show,
        enter=enter,
        ahead=ahead,
    )


def _compile_reduction(kind: ReduceCode) -> Any:
    return _compile(
        _REDUCE,
        "reduce",
        kind,
        value=intrinsics.function(kind.value),
        join=intrinsics.function(reductions.joined[kind.operation]),
        initial=reductions.start_of(kind.operation),
        float64=np.float64,
        low=intrinsics.low,
    )


def _disturb(kind: CellCode) -> Any:
    return _compile(_INJECT, "disturb", kind, inject=intrinsics.function(kind.inject))


def _choose(functions: Sequence[Any]) -> Any:
    """Make a function of an index and arguments that calls one of `functions` with them."""

    # A chain of conditions: the device has no calls by address that Numba could make.
    def none(_which, *_arguments):  # type: ignore[no-untyped-def]  # compiled
        pass

    chosen = intrinsics.function(none)
    for index in range(len(functions) - 1, -1, -1):
        chosen = _link(index, functions[index], chosen)
    return chosen


def _link(index: int, own: Any, others: Any) -> Any:
    @intrinsics.function
    def linked(which, *arguments):  # type: ignore[no-untyped-def]  # compiled
        if which == index:
            own(*arguments)
        else:
            others(which, *arguments)

    return linked


def _make_inject(inject_cell: Any) -> Any:
    @intrinsics.function
    def inject(
        state: Any, table: Any, params: Any, row: int, z: int, y: int, x: int, by: float
    ) -> None:
        """Disturb one cell."""
        now, other = table[row, layout.C_A], table[row, layout.C_B]
        if table[row, layout.C_CUR] != 0:
            now, other = other, now
        own = intrinsics.grid(params, row * 16, np.float64, (16,))
        nf, nz = table[row, layout.C_NF], table[row, layout.C_NZ]
        ny, nx = table[row, layout.C_NY], table[row, layout.C_NX]
        kind = table[row, cl.C_KIND]
        inject_cell(kind, state, now, other, own, nf, nz, ny, nx, z, y, x, by)

    return inject


@intrinsics.function
def _barrier(mail: Any, base: int, width: int, generation: int) -> None:
    """Wait for all threads of the group, and see what they wrote."""
    cuda.syncthreads()
    if width > 1:
        if cuda.threadIdx.x == 0:  # arrives for its block, and polls
            # The counter only grows, so no block can leave before the last has arrived, nor find the
            # counter reset. They all arrive because the launch is cooperative: all blocks run. Released:
            # what the block wrote is out before the others see it arrive.
            intrinsics.red_release_gpu(mail, base + cl.M_ARRIVED, 1)
            while intrinsics.ld_relaxed_gpu(mail, base + cl.M_ARRIVED) < generation * width:
                pass  # no nap: all arrive within about a step
            intrinsics.ld_acquire_gpu(mail, base + cl.M_ARRIVED)
        cuda.syncthreads()


def _make_steps(cells: Any) -> Any:
    @intrinsics.function
    def steps(
        m: Any,
        base: int,
        generation: int,
        row: int,
        now: int,
        other: int,
        step: int,
        count: int,
        me: int,
        all_: int,
    ) -> None:
        """Take this thread's share of `count` steps, each followed by a barrier."""
        own = intrinsics.private(intrinsics.grid(m.params, row * 16, np.float64, (16,)))
        arrays = m.table[row, layout.C_ARRAYS]
        nf, nz = m.table[row, layout.C_NF], m.table[row, layout.C_NZ]
        ny, nx = m.table[row, layout.C_NY], m.table[row, layout.C_NX]
        width = m.facts[cl.F_WIDTH]
        for _ in range(count):
            cells(m.state, now, other, own, step, arrays, nf, nz, ny, nx, me, all_)
            step += 1
            now, other = other, now
            generation += 1
            _barrier(m.mail, base, width, generation)

    return steps


@intrinsics.function
def _capture(m: Any, row: int, now: int, second: int, target: int, me: int, all_: int) -> Any:
    """Copy this thread's words of the levels to staging; return its part of the checksum."""
    state, table = m.state, m.table
    staging = m.staged if staged_on_host(m, row) else m.staging
    n = (table[row, layout.C_LEVEL_BYTES] + 63) // 64 * 8
    total = 0
    for i in range(me, n * table[row, layout.C_LEVELS], all_):
        word = state[now + i] if i < n else state[second + i - n]
        staging[target + i] = word
        total = intrinsics.weigh(total, word, 2 * (i // layout.BLOCK_WORDS) + 1)
    return total


@intrinsics.function
def _load(m: Any, row: int, source: int, me: int, all_: int) -> None:
    """Copy this thread's words of the restore buffer to the level buffers, ``now`` to the first."""
    state, restore, table = m.state, m.restore, m.table
    n = (table[row, layout.C_LEVEL_BYTES] + 63) // 64 * 8
    a, b = table[row, layout.C_A], table[row, layout.C_B]
    for i in range(me, n * table[row, layout.C_LEVELS], all_):
        if i < n:
            state[a + i] = restore[source + i]
        else:
            state[b + i - n] = restore[source + i]


def _make_reduce(reduce_rows: Any) -> Any:
    @intrinsics.function
    def reduce(
        m: Any, base: int, generation: int, row: int, now: int, step: int, me: int, all_: int
    ) -> Any:
        """Put an actor's reductions behind its parameters; return the barriers passed until then."""
        table, count = m.table, m.table[row, layout.C_REDUCTIONS]
        if count > 0:
            own = intrinsics.grid(m.params, row * 16, np.float64, (16,))
            arrays, partials = table[row, layout.C_ARRAYS], table[row, layout.C_PARTIALS]
            nf, nz = table[row, layout.C_NF], table[row, layout.C_NZ]
            ny, nx = table[row, layout.C_NY], table[row, layout.C_NX]
            first, stride = me, all_
            # All threads take rows; then, when all rows are there, one thread joins them.
            for turn in range(2):
                if turn == 0 or me == 0:
                    for k in range(count):
                        which = table[row, layout.C_REDUCE_FNS + k]
                        reduce_rows(
                            which,
                            m.state,
                            now,
                            own,
                            step,
                            arrays,
                            partials,
                            nf,
                            nz,
                            ny,
                            nx,
                            first,
                            stride,
                        )
                first = -1
                generation += 1
                _barrier(m.mail, base, m.facts[cl.F_WIDTH], generation)
        return generation

    return reduce


def build(kinds: Sequence[CellCode], reduced: Sequence[ReduceCode] = ()) -> Callable[..., None]:
    """Make the kernel that hosts actors of the given kinds; a row's stages are indices into them,
    its reductions indices into `reduced`.

    It is to be given to ``cuda.jit``, and takes the arrays of `ringnb.kernel.cuda.layout.Memory`, all
    ``int64`` and contiguous; ``table``, ``lanes`` and ``links`` have two axes.
    """
    steps = _choose([_make_steps(compile_cells(kind)) for kind in kinds])
    reduce = _make_reduce(_choose([_compile_reduction(kind) for kind in reduced]))
    inject = _make_inject(_choose([_disturb(kind) for kind in kinds]))
    find_job = make_find_job(make_commands(inject))

    def ringnb_kernel(
        control: Any,
        h2k: Any,
        k2h: Any,
        words: Any,
        params_in: Any,
        staged: Any,
        table: Any,
        params: Any,
        lanes: Any,
        mail: Any,
        facts: Any,
        state: Any,
        staging: Any,
        restore: Any,
        links: Any,
    ) -> None:
        """Serve the lanes of this block's group until this launch's time is up."""
        cuda.cg.this_grid()  # makes the launch cooperative: all blocks are on the card together
        intrinsics.begin_alone()
        shared_sum = cuda.shared.array(1, np.int64)
        intrinsics.end_alone()
        m = cl.Memory(
            control,
            h2k,
            k2h,
            words,
            params_in,
            intrinsics.raw(staged),
            intrinsics.raw(table),
            intrinsics.raw(params),
            intrinsics.raw(lanes),
            intrinsics.raw(mail),
            intrinsics.raw(facts),
            intrinsics.raw(state),
            intrinsics.raw(staging),
            intrinsics.raw(restore),
            intrinsics.raw(links),
        )
        width = m.facts[cl.F_WIDTH]
        low = intrinsics.low
        # In halves of registers, as they are kept through all jobs.
        group = low(cuda.blockIdx.x // width)
        first = low((cuda.blockIdx.x - group * width) * cuda.blockDim.x + cuda.threadIdx.x)
        if first == 0:
            m.mail[group * cl.MAIL_WORDS + cl.M_BEGAN] = intrinsics.now_ns()
        # The barrier's counter goes on where the launch before has left it.
        generation = m.mail[group * cl.MAIL_WORDS + cl.M_GENERATION]
        while True:
            # What a job's cells need leaves no registers for these, nor for what the leader needs.
            width = m.facts[cl.F_WIDTH]
            me, everyone = intrinsics.anew(first), intrinsics.anew(width * cuda.blockDim.x)
            base = intrinsics.anew(group * cl.MAIL_WORDS)
            if me == 0:
                find_job(m, group)
            generation += 1
            _barrier(m.mail, base, width, generation)
            kind, row = m.mail[base + cl.J_KIND], m.mail[base + cl.J_ROW]
            now, other = m.mail[base + cl.J_NOW], m.mail[base + cl.J_OTHER]
            target = m.mail[base + cl.J_TARGET]
            if kind == cl.JOB_EXIT:
                # All blocks have read the old one: they have come through the barrier.
                if me == 0:
                    m.mail[base + cl.M_GENERATION] = generation
                break
            if kind == cl.JOB_STEP:
                step, left = m.mail[base + cl.J_STEP], m.mail[base + cl.J_COUNT]
                stages = m.table[row, layout.C_STAGES]
                # An actor of one stage that reduces nothing stays in its loop over steps.
                alone = stages == 1 and m.table[row, layout.C_REDUCTIONS] == 0
                count = left if alone else 1
                while left > 0:
                    generation = reduce(m, base, generation, row, now, step, me, everyone)
                    for stage in range(stages):
                        which = m.table[row, layout.C_STAGE_FNS + stage]
                        steps(
                            which,
                            m,
                            base,
                            generation,
                            row,
                            now,
                            other,
                            step,
                            count,
                            me,
                            everyone,
                        )
                        generation += count
                        now, other = other, now  # of no interest after the last
                    step += count
                    left -= count
            else:
                if kind == cl.JOB_LOAD:
                    _load(m, row, target, me, everyone)
                elif kind != cl.JOB_CAPTURE:
                    copy_job(m, intrinsics.anew(base), kind, row, me, everyone)
                else:
                    step = m.table[row, layout.C_STEP]
                    generation = reduce(m, base, generation, row, now, step, me, everyone)
                    if cuda.threadIdx.x == 0:
                        shared_sum[0] = 0
                    cuda.syncthreads()
                    part = _capture(m, row, now, other, target, me, everyone)
                    intrinsics.add(shared_sum, 0, part)
                    cuda.syncthreads()
                    if cuda.threadIdx.x == 0:
                        intrinsics.add(m.mail, base + cl.M_SUM, shared_sum[0])
                generation += 1
                _barrier(m.mail, base, width, generation)
            if me == 0:
                finish_job(m, intrinsics.anew(base))

    return ringnb_kernel
