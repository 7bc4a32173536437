"""The one CUDA kernel: a grid that is launched again and again, in groups of blocks that serve lanes.

There is no barrier of the whole grid; each group has one of its own.

The same source runs in Numba's simulator, where a grid has one block. ``cuda`` is a global of this
module because the simulator exchanges it while the kernel runs; therefore no host code lives here but
`build`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from ringnb.actors.base import Actor
from ringnb.kernel import layout, reductions
from ringnb.kernel.caching import plain
from ringnb.kernel.cuda import intrinsics
from ringnb.kernel.cuda import layout as cl
from ringnb.kernel.cuda.leader import finish_job, make_commands, make_find_job

__all__ = ["CellCode", "ReduceCode", "build", "cell_codes", "compile_cells", "reduce_codes"]

_CELLS = """
def cells(state, now_at, next_at, params, step, arrays_at, nf, nz, ny, nx, first, stride):
    # Lengths are below 2**31.
    nf, nz, ny, nx, first, stride = low(nf), low(nz), low(ny), low(nx), low(first), low(stride)
    now = grid(state, now_at, element, {shape})
    next = grid(state, next_at, element, {shape})
    own = private(params)
{arrays}    # No division per cell: the place moves on by a stride, with carries.
    x, y, z = low(first % nx), low(first // nx % ny), low(first // nx // ny)
    dx, dy, dz = low(stride % nx), low(stride // nx % ny), low(stride // nx // ny)
    while z < nz:
        update(now, next, own, step, {place}{more})
        x = low(x + dx)
        y = low(y + dy)
        z = low(z + dz)
        if x >= nx:
            x = low(x - nx)
            y = low(y + 1)
        if y >= ny:
            y = low(y - ny)
            z = low(z + 1)
"""
_INJECT = """
def disturb(state, now_at, before_at, params, nf, nz, ny, nx, z, y, x, amplitude):
    now = grid(state, now_at, element, (nf, nz, ny, nx))
    before = grid(state, before_at, element, (nf, nz, ny, nx))
    inject(now, before, params, z, y, x, amplitude)
"""
_SHAPES = {1: "(nf, nx)", 2: "(nf, ny, nx)", 3: "(nf, nz, ny, nx)"}
_PLACES = {1: "x", 2: "y, x", 3: "z, y, x"}


_ARRAY = "    array{i} = grid(state, state[arrays_at + {at}], {element}, ({lengths}))\n"
_LENGTH = "low(state[arrays_at + {at}]), "


_REDUCE = """
def reduce(state, now_at, params, step, arrays_at, partials_at, nf, nz, ny, nx, first, stride):
    now = grid(state, now_at, element, {shape})
    partials = grid(state, partials_at, float64, ({count} * nz * ny,))
    last = nz * ny
{arrays}
{body}
"""


class CellCode(NamedTuple):
    """What makes stages of two actors one kind: their plain functions, element type, axes, arrays."""

    update: Callable[..., None]
    inject: Callable[..., None]
    dtype: str
    ndim: int
    arrays: tuple[tuple[str, int], ...]  # dtype and axes of each


def cell_codes(actor: Actor) -> tuple[CellCode, ...]:
    """Return the kinds of an actor's stages."""
    arrays = tuple((array.dtype.name, array.ndim) for array in actor.arrays.values())
    same = plain(actor.inject), actor.dtype.name, len(actor.shape), arrays
    return tuple(CellCode(plain(update), *same) for update in actor.stages)


class ReduceCode(NamedTuple):
    """What makes reductions of two actors one kind."""

    operation: str
    value: Callable[..., Any]
    dtype: str
    ndim: int
    arrays: tuple[tuple[str, int], ...]
    number: int  # of it, and of all of the actor
    of: int
    slot: int  # behind the parameters


def reduce_codes(actor: Actor) -> tuple[ReduceCode, ...]:
    """Return the kinds of an actor's reductions."""
    arrays = tuple((array.dtype.name, array.ndim) for array in actor.arrays.values())
    same = actor.dtype.name, len(actor.shape), arrays
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
    where = {"shape": _SHAPES[kind.ndim], "place": _PLACES[kind.ndim]}
    if isinstance(kind, ReduceCode):
        where["count"] = str(kind.of)
        where["body"] = reductions.body(kind.ndim, kind.number, kind.slot, more)
    text = source.format(**where, arrays=lines, more=more)
    element = np.dtype(kind.dtype).type
    namespace: dict[str, Any] = {"element": element, "grid": intrinsics.grid, **functions}
    exec(text, namespace)  # noqa: S102 - our own template, with no text of the user's in it
    body = namespace[name]
    # A GPU has no floating-point warnings; NumPy's scalars do.
    return _quiet(body) if intrinsics.SIMULATED else intrinsics.function(body)


def compile_cells(kind: CellCode) -> Any:
    """Return the device function that steps a share of the cells of actors of a kind."""
    functions = {"private": intrinsics.private, "low": intrinsics.low}
    update = intrinsics.function(kind.update)
    return _compile(_CELLS, "cells", kind, update=update, **functions)


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
            cuda.threadfence()  # what the block wrote is out before the others see it arrive
            # The counter only grows, so no block can leave before the last has arrived, nor find the
            # counter reset. They all arrive because the launch is cooperative: all blocks run.
            cuda.atomic.add(mail, base + cl.M_ARRIVED, 1)
            while intrinsics.ld_relaxed_gpu(mail, base + cl.M_ARRIVED) < generation * width:
                intrinsics.pause()
            intrinsics.ld_acquire_gpu(mail, base + cl.M_ARRIVED)
        cuda.syncthreads()


@intrinsics.function
def _capture(m: Any, row: int, now: int, second: int, target: int, me: int, all_: int) -> Any:
    """Copy this thread's words of the levels to staging; return its part of the checksum."""
    state, staging, table = m.state, m.staging, m.table
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
    ``int64`` and contiguous; ``table`` and ``lanes`` have two axes.
    """
    step_cells = _choose([compile_cells(kind) for kind in kinds])
    reduce = _make_reduce(_choose([_compile_reduction(kind) for kind in reduced]))
    inject = _make_inject(_choose([_disturb(kind) for kind in kinds]))
    find_job = make_find_job(make_commands(inject))

    def ringnb_kernel(
        control: Any,
        h2k: Any,
        k2h: Any,
        words: Any,
        params_in: Any,
        table: Any,
        params: Any,
        lanes: Any,
        mail: Any,
        facts: Any,
        state: Any,
        staging: Any,
        restore: Any,
    ) -> None:
        """Serve the lanes of this block's group until this launch's time is up."""
        cuda.cg.this_grid()  # makes the launch cooperative: all blocks are on the card together
        shared_sum = cuda.shared.array(1, np.int64)
        m = cl.Memory(
            control,
            h2k,
            k2h,
            words,
            params_in,
            intrinsics.raw(table),
            intrinsics.raw(params),
            intrinsics.raw(lanes),
            intrinsics.raw(mail),
            intrinsics.raw(facts),
            intrinsics.raw(state),
            intrinsics.raw(staging),
            intrinsics.raw(restore),
        )
        width = m.facts[cl.F_WIDTH]
        group = cuda.blockIdx.x // width
        groups = cuda.gridDim.x // width
        me = (cuda.blockIdx.x - group * width) * cuda.blockDim.x + cuda.threadIdx.x
        everyone = width * cuda.blockDim.x
        base = group * cl.MAIL_WORDS
        began = intrinsics.now_ns()
        # The barrier's counter goes on where the launch before has left it.
        generation = m.mail[base + cl.M_GENERATION]
        while True:
            if me == 0:
                find_job(m, group, groups, began)
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
                step = m.mail[base + cl.J_STEP]
                own = intrinsics.grid(m.params, row * 16, np.float64, (16,))
                stages = m.table[row, layout.C_STAGES]
                stage = 0
                for _ in range(m.mail[base + cl.J_COUNT] * stages):
                    if stage == 0:
                        generation = reduce(m, base, generation, row, now, step, me, everyone)
                    which = m.table[row, layout.C_STAGE_FNS + stage]
                    nf, nz = m.table[row, layout.C_NF], m.table[row, layout.C_NZ]
                    ny, nx = m.table[row, layout.C_NY], m.table[row, layout.C_NX]
                    arrays = m.table[row, layout.C_ARRAYS]
                    step_cells(
                        which,
                        m.state,
                        now,
                        other,
                        own,
                        step,
                        arrays,
                        nf,
                        nz,
                        ny,
                        nx,
                        me,
                        everyone,
                    )
                    stage += 1
                    if stage == stages:
                        stage = 0
                        step += 1
                    now, other = other, now
                    generation += 1
                    _barrier(m.mail, base, width, generation)
            else:
                if kind == cl.JOB_LOAD:
                    _load(m, row, target, me, everyone)
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
                finish_job(m, base)

    return ringnb_kernel
