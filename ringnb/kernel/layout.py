"""Where every word of a lane lies: control words, actor table, staging. The same on all backends.

A *lane* is one H2K ring, one K2H ring, the actors that it owns and a team of threads. Every shared
word has exactly one writer, named below. Nothing here is compiled; compiled code reads the constants.

An actor's state is two level buffers ``A`` and ``B``, each ``(fields, *grid)``, or an array ``(*grid)``
for each field where these have several dtypes (`ringnb.kernel.levels`). The column ``C_CUR``
says which of them is ``now``.

The restore buffer is a block like an actor's own: level ``now`` at its start, the second level where
this actor keeps its second buffer. A restore of the lane's largest actors exchanges the two blocks
instead of copying them, so the actor does not wait, whatever its size. Smaller actors copy.

Staging buffer (bytes)::

    0                      level now, (fields, *grid), zero padded to a multiple of 64
    stride                 the second level, if the actor stores two, padded likewise
    tail                   16 float64: the parameters
    tail + 128             checksum, step, epoch, begin_ns, end_ns, slot, 0, 0   (int64)

with ``stride`` = bytes of a level rounded up to 64 and ``tail`` = levels * stride. The checksum
tells whether a staging buffer still holds what was captured: it is the sum modulo 2**64 of all 8-byte
words ``w[i]`` before ``tail + 128``, those of the k-th block of 64 KiB times ``2 k + 1``. Any flipped
bit changes it, so does a mixture of two captures, and a team adds its partial sums in any order. It
costs additions only, made on the words while they are copied, since the actor waits for the copy;
storage protects what it is given by CRC-32C and SHA-256.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from ringnb.actors.base import MAX_PARAMS, MAX_STAGES, Actor
from ringnb.actors.levels import level_of
from ringnb.actors.reductions import MAX_REDUCTIONS
from ringnb.kernel.levels import PADDED, field_offsets, mixed_dtypes
from ringnb.kernel.reductions import partial_count

Words = npt.NDArray[np.int64]

# int64 words in 128 bytes. Words of different writers never share such a line: two cores that write
# one cache line slow each other down.
LINE = 16
SLOT_WORDS = 8
RING_CAPACITY = 64
STAGING_BUFFERS = 2
TAIL_WORDS = 8
BLOCK_WORDS = 1 << 13  # of the checksum: 64 KiB
T_CHECKSUM, T_STEP, T_EPOCH, T_BEGIN, T_END, T_SLOT = range(6)

# Control lines of a lane, written by the host ...
H2K_HEAD = 0 * LINE
K2H_TAIL = 1 * LINE
STOP = 2 * LINE
WAKE_FD_WRITE = STOP + 1  # the lane's leader is woken through this end of its pipe
GATE = STOP + 2  # a `ringnb.kernel.base.Gate`: where the lane was told to stop
RETURNED = 3 * LINE  # two lines: staging buffers given back, counted per buffer
# ... and by the kernel.
H2K_TAIL = 5 * LINE
K2H_HEAD = 6 * LINE
TAKEN = 7 * LINE  # two lines: staging buffers filled, counted per buffer
ASLEEP = 9 * LINE
STATE = 10 * LINE
LOOPS = 11 * LINE  # turns of the lane's loop: a heartbeat
CTL_WORDS = 12 * LINE

LANE_STARTING, LANE_RUNNING, LANE_STOPPED = 0, 1, 2

# Host words, one array for the whole kernel. Written by the host.
HOST_ASLEEP = 0
HOST_WORDS = LINE

# Words of an actor that the host may read at any time. Written by the kernel.
W_STEP, W_BUDGET, W_RUNNING, W_EPOCH, W_EXISTS, W_SNAPSHOTS, W_STALL_NS, W_BUSY_NS = range(8)
ACTOR_WORDS = LINE

# Private columns of the actor table: only the lane's leader reads and writes them.
(
    C_SLOT,
    C_A,  # address of level buffer A
    C_B,
    C_LEVEL_BYTES,
    C_LEVELS,  # levels a snapshot holds, 1 or 2
    C_NF,
    C_NZ,
    C_NY,
    C_NX,
    C_ROWS,  # length of the leading grid axis
    C_STAGES,  # stages of a step
    C_INJECT_FN,
    C_PARAMS,  # address of the live parameters
    C_TAIL,  # offset of the staging tail
    C_CUR,
    C_STEP,
    C_BUDGET,
    C_FREE,  # free running
    C_EXISTS,
    C_EPOCH,
    C_REPLY_DUE,  # a BUDGET_DONE reply is still to be sent
    C_PACE_NS,
    C_NEXT_NS,  # when a paced actor may step again
    C_STEP_NS,  # measured duration of a step
    C_SNAPSHOTS,
    C_BUSY_NS,
    C_BLOCK_BYTES,  # bytes of the block that holds both level buffers
    C_SECOND,  # where the second of them begins in the block
    C_EVERY,  # the actor waits at each multiple of so many steps; 0: at none
    C_LET_GO,  # the one at which it waits no more
    C_HOLDS,  # how often it has waited
    C_TOLD,  # whether the host was told that it waits
    C_AT,  # a step at which the actor waits, once, whatever C_EVERY says; 0: none
    C_AT_TOLD,  # whether the host was told of that; `rules.ENDING`: a capture now ends it
    C_ARRAYS,  # where the table of the actor's read-only arrays begins; on a GPU
    C_PARTIALS,  # where the partial results of its reductions begin; on a GPU
    C_REDUCTIONS,  # how many there are
    C_TEAM,  # threads that step it, see `ringnb.kernel.cpu.sizing`; on a CPU, as the next six
    C_TEAM_COST,  # what a step costs with so many; see there for the unit
    C_TRY_NS,  # when another number is tried
    C_TRY_GAP_NS,  # how long to wait after a trial that failed
    C_TRY_FEWER,  # whether the next trial is of fewer threads; see there
    C_GREW_NS,  # when more were chosen last
    C_WON_COST,  # what a step cost in a trial that was better once
    C_REACH,  # a `ringnb.kernel.cpu.passes.Pass`, in three columns
    C_DEPTH,
    C_TILE,
    C_NEXT,  # rows to the next of the actors that it is linked with, which are a ring; 0: it is alone
    C_LINKS,  # the first of its group's links, with the actor that leads the group
    C_LINK_COUNT,  # how many there are; 0 with the others
    C_SLICE_NS,  # how long it was stepped in this slice; on a CPU
) = range(51)
C_REDUCE_FNS = 51  # the first of MAX_REDUCTIONS columns
C_STAGE_FNS = (
    C_REDUCE_FNS + MAX_REDUCTIONS
)  # the first of MAX_STAGES columns: what computes each stage
TABLE_COLUMNS = C_STAGE_FNS + MAX_STAGES

# Columns of a lane's links, of which K_ON alone changes: only the lane's leader reads and writes them.
# A region is the four words of `ringnb.kernel.regions`.
K_FROM, K_FROM_REGION, K_TO, K_TO_REGION, K_EVERY, K_ON = 0, 1, 5, 6, 10, 11
LINK_COLUMNS = 12

# Behind an actor's live parameters, written by the thread that steps it: what an update with checked
# indices did wrong. The cell plus 1, counted along the grid, or 0; the step, and the stage in it.
P_FAULT_CELL, P_FAULT_STEP, P_FAULT_STAGE = range(MAX_PARAMS, MAX_PARAMS + 3)
# And the bits of the address of its read-only arrays' table, see `array_table`.
P_ARRAYS = MAX_PARAMS + 3
P_PARTIALS = MAX_PARAMS + 4  # and of the address of its reductions' partial results
# Of a part of a grid: the step of which all its rows are right, and whether it has halos at its ends.
P_FRESH_STEP, P_ABOVE, P_BELOW = range(MAX_PARAMS + 5, MAX_PARAMS + 8)
PARAMS_COLUMNS = MAX_PARAMS + 8

# Fixed facts of a lane, for compiled code.
(
    F_WIDTH,
    F_CAPACITY,
    F_WAKE_FD,  # the lane's leader sleeps on this pipe
    F_HOST_FD_WRITE,
    F_STAGE0,
    F_STAGE1,
    F_RESTORE,  # written by the lane's leader; read by the host when no load is under way
    F_RESTORE_BYTES,
    F_SLICE_NS,
    F_HOT_NS,
    F_CHOOSES,  # whether the leader chooses how many of the team step an actor
) = range(11)
FACTS = 16

# Team words. The leader writes the job line and every member's GO line, which holds the number of the
# last job that the member has a part in; each member writes its own ARRIVE, PARTIAL and ASLEEP line.
(
    J_NUMBER,
    J_KIND,
    J_ACTOR,
    J_COUNT,
    J_TARGET,
    J_SIZE,
    J_BASE,  # what ARRIVE is before the job's first barrier
    J_END,  # the number of passes after which a team that is held up leaves the steps that are left
    J_LATE,  # when it does so, the leader's own
) = range(9)
JOB_STEP, JOB_CAPTURE, JOB_EXIT = 1, 2, 3
TEAM_MEMBERS = LINE  # first member line
M_ARRIVE, M_PARTIAL, M_ASLEEP, M_FD, M_FD_WRITE, M_GO = (
    0,
    LINE,
    2 * LINE,
    3 * LINE,
    3 * LINE + 1,
    4 * LINE,
)
MEMBER_WORDS = 5 * LINE
# What ARRIVE holds before the member runs, and when it has died: more than any barrier's number.
MEMBER_STARTING, MEMBER_GONE = -1, 2**62


def state_nbytes(actor: Actor) -> int:
    """Bytes of the state that a snapshot of this actor holds, without padding and parameters."""
    cells = math.prod(actor.shape)
    if dtypes := mixed_dtypes(actor):
        return actor.levels * field_offsets(dtypes, cells)[-1]
    return actor.levels * len(actor.fields) * cells * actor.dtype.itemsize


def padded(nbytes: int) -> int:
    """Round up to the next multiple of 64, the stride of a level in a staging buffer."""
    return -(-nbytes // PADDED) * PADDED


def staging_tail(actor: Actor) -> int:
    """Offset of the parameters in an actor's staging buffer, bytes."""
    return actor.levels * padded(state_nbytes(actor) // actor.levels)


def actor_columns(actor: Actor, slot: int) -> dict[int, int]:
    """Columns of the actor table that say what an actor is, not where its memory lies."""
    nz, ny, nx = (1,) * (3 - len(actor.shape)) + actor.shape
    return {
        C_SLOT: slot,
        C_LEVEL_BYTES: state_nbytes(actor) // actor.levels,
        C_LEVELS: actor.levels,
        C_STAGES: len(actor.stages),
        C_REDUCTIONS: len(actor.reductions),
        C_NF: len(actor.fields),
        C_NZ: nz,
        C_NY: ny,
        C_NX: nx,
        C_ROWS: actor.shape[0],
        C_TAIL: staging_tail(actor),
    }


ARRAY_WORDS = 4  # of an array in such a table: its place, and its lengths along up to three axes


def array_table(actor: Actor, places: Sequence[int]) -> Words:
    """Return the table of an actor's read-only arrays, which begin at these places."""
    table = np.zeros((len(places), ARRAY_WORDS), np.int64)
    for row, place, array in zip(table, places, actor.arrays.values(), strict=True):
        row[0], row[1 : 1 + array.ndim] = place, array.shape
    return table.reshape(-1)


def level_view(block: npt.NDArray[np.uint8], actor: Actor, at: int = 0) -> Any:
    """View the level that begins at so many bytes: (fields, *grid), or a `MixedLevel`."""
    dtypes = mixed_dtypes(actor)
    if not dtypes:
        return np.ndarray((len(actor.fields), *actor.shape), actor.dtype, buffer=block, offset=at)
    offsets = field_offsets(dtypes, math.prod(actor.shape))
    return level_of(
        np.ndarray(actor.shape, dtype, buffer=block, offset=at + offset)
        for dtype, offset in zip(dtypes, offsets, strict=False)
    )


def state_view(block: npt.NDArray[np.uint8], actor: Actor, second: int | None = None) -> Any:
    """View the levels in a staging or restore buffer as one (levels, fields, *grid) array.

    Where fields have several dtypes, as a level of levels, which takes an index ``[level, field]``.
    `second` is the offset of the second level, bytes; by default right behind the first, padded.
    """
    if actor.dtype.names is not None:
        stride = state_nbytes(actor) // actor.levels if second is None else second
        return level_of(level_view(block, actor, i * stride) for i in range(actor.levels))
    per_level = (len(actor.fields), *actor.shape)
    strides = [actor.dtype.itemsize]
    for n in reversed(per_level[1:]):
        strides.insert(0, strides[0] * n)
    stride = padded(strides[0] * per_level[0]) if second is None else second
    return np.ndarray(
        (actor.levels, *per_level), actor.dtype, buffer=block, strides=(stride, *strides)
    )


def fill_start(levels: Any, actor: Actor, slot: int) -> None:
    """Write an actor's start into a `state_view`.

    Raises `ValueError`, and writes nothing, if `Actor.start` returns another shape than it says.
    """
    start = actor.start(slot)
    if isinstance(start, dict):
        n = len(actor.fields)
        for i, name in enumerate(actor.stored_fields):
            levels[i // n, i % n][...] = start[name]
        return
    state = np.ascontiguousarray(start, dtype=actor.dtype)
    if state.shape != actor.state_shape:
        msg = (
            f"{actor!r}.start() returned an array of shape {state.shape}; it must return "
            f"{actor.state_shape} (levels * fields, *grid)"
        )
        raise ValueError(msg)
    levels[:] = state.reshape(levels.shape)


def params_view(block: npt.NDArray[np.uint8], actor: Actor) -> npt.NDArray[np.float64]:
    """View the 16 parameters in a staging buffer."""
    tail = staging_tail(actor)
    return block[tail : tail + 8 * MAX_PARAMS].view(np.float64)


def tail_words(block: npt.NDArray[np.uint8], actor: Actor) -> Words:
    """View the 8 words behind a snapshot, in the order of the ``T_`` constants."""
    tail = staging_tail(actor) + 8 * MAX_PARAMS
    return block[tail : tail + 8 * TAIL_WORDS].view(np.int64)


_PAGE = 4096
_PAGES = 16 << 20  # bytes that small blocks are cut from
_SMALL_BLOCK = 1 << 20


def _aligned(nbytes: int) -> npt.NDArray[np.uint8]:
    """Zeroed bytes that begin with a page; of many, pages are touched only when used."""
    raw = np.zeros(nbytes + _PAGE, dtype=np.uint8)
    start = -raw.ctypes.data % _PAGE
    return raw[start : start + nbytes]


def lines(*shape: int) -> Words:
    """Return zeros that begin with a cache line: else each slot of a ring would lie in two of them."""
    raw = np.zeros(math.prod(shape) + LINE, np.int64)
    start = -raw.ctypes.data // 8 % LINE
    return raw[start : start + math.prod(shape)].reshape(shape)


def _fresh_pages(nbytes: int) -> npt.NDArray[np.uint8]:
    """Zeroed pages from the system, none of them touched.

    NumPy would take what others have freed, and clear it: of a hundred thousand small actors, whose
    blocks are mostly the gaps between their levels, that is sixteen gigabytes.
    """
    return np.frombuffer(mmap.mmap(-1, nbytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)


def _table_row(actor: Actor) -> Words:
    """Return an actor's row of the table, but for its slot and where its memory lies."""
    level_bytes = state_nbytes(actor) // actor.levels
    row_bytes = level_bytes // len(actor.fields) // actor.shape[0]
    # A gap of some rows between the two levels. The vectorised inner loop tests at run time that what
    # it reads and what it writes are some rows apart, and falls back to a scalar loop (measured: 3.5
    # times slower) if not. The odd 2112 bytes keep the levels from sharing their low twelve address
    # bits, which makes stores delay later loads.
    second = padded(level_bytes) + padded(4 * row_bytes) + 65536 + 2112
    row: Words = np.zeros(TABLE_COLUMNS, np.int64)
    for column, value in actor_columns(actor, 0).items():
        row[column] = value
    row[C_BLOCK_BYTES], row[C_SECOND] = 2 * second, second
    return row


@final
class LaneMemory:
    """All host memory of one lane, allocated before the kernel starts and never resized.

    `actors` are the slots and actors of the lane, in table order; `width` is the number of threads
    of its team, `capacity` the slots per ring, a power of two; `captures`: whether there are snapshots
    to be staged. The arrays are described by the constants above. `blocks` holds, by address, each
    actor's two level buffers and, as one more block, the restore buffer; a restore may exchange them,
    see `restore`.
    """

    def __init__(
        self,
        actors: list[tuple[int, Actor]],
        width: int,
        capacity: int,
        *,
        captures: bool = True,
    ) -> None:
        n = len(actors)
        self.control = lines(CTL_WORDS)
        self.h2k = lines(capacity, SLOT_WORDS)
        self.k2h = lines(capacity, SLOT_WORDS)
        self.table: Words = np.zeros((n, TABLE_COLUMNS), np.int64)
        self.links: Words = np.zeros((0, LINK_COLUMNS), np.int64)
        self.words = lines(n * ACTOR_WORDS)
        self.params: npt.NDArray[np.float64] = np.zeros((n, PARAMS_COLUMNS))
        self.params_in: npt.NDArray[np.float64] = np.zeros((n, MAX_PARAMS))
        self.team = lines(TEAM_MEMBERS + width * MEMBER_WORDS)
        self.facts: Words = np.zeros(FACTS, np.int64)
        self.blocks: dict[int, npt.NDArray[np.uint8]] = {}
        self.tables: list[tuple[npt.NDArray[Any], Actor]] = []
        self._pages = np.zeros(0, np.uint8)  # from which the next small blocks are taken
        largest_tail = largest_block = 0
        of_kind: dict[
            int, Words
        ] = {}  # by an actor's id, what its rows of the table have in common
        params_at, params_bytes = self.params.ctypes.data, self.params.strides[0]
        for row, (slot, actor) in enumerate(actors):
            if id(actor) not in of_kind:
                of_kind[id(actor)] = _table_row(actor)
            self.table[row] = of_kind[id(actor)]
            second = int(self.table[row, C_SECOND])
            base = self._add_block(2 * second)
            columns = {
                C_SLOT: slot,
                C_A: base,
                C_B: base + second,
                C_PARAMS: params_at + row * params_bytes,
            }
            if actor.arrays:
                places = array_table(actor, [a.ctypes.data for a in actor.arrays.values()])
                self.tables.append((places, actor))  # and keep what it points to
                self.params.view(np.int64)[row, P_ARRAYS] = places.ctypes.data
            if actor.reductions:
                partials = np.zeros(partial_count(actor))
                self.tables.append((partials, actor))
                self.params.view(np.int64)[row, P_PARTIALS] = partials.ctypes.data
            for column, value in columns.items():
                self.table[row, column] = value
            largest_tail = max(largest_tail, int(self.table[row, C_TAIL]))
            largest_block = max(largest_block, 2 * second)
        size = largest_tail + 8 * (MAX_PARAMS + TAIL_WORDS) if captures else 0
        self.staging = [_aligned(size) for _ in range(STAGING_BUFFERS)]
        for block in self.staging:
            block.fill(0)  # touch the pages now; the first capture would pay for it otherwise
        self.facts[F_WIDTH] = width
        self.facts[F_CAPACITY] = capacity
        self.facts[F_STAGE0] = self.staging[0].ctypes.data
        self.facts[F_STAGE1] = self.staging[1].ctypes.data
        self.facts[F_RESTORE] = self._add_block(largest_block)
        self.facts[F_RESTORE_BYTES] = largest_block

    def _add_block(self, nbytes: int) -> int:
        if nbytes > _SMALL_BLOCK:
            block = _aligned(nbytes)
        else:
            size = -(-nbytes // _PAGE) * _PAGE
            if size > len(self._pages):
                self._pages = _fresh_pages(_PAGES)
            block, self._pages = self._pages[:nbytes], self._pages[size:]
        base = block.ctypes.data
        self.blocks[base] = block
        return base

    def release(self) -> None:
        """Let go of all state; no thread of the kernel may be left. Views that are held keep theirs."""
        self.blocks.clear()
        self.staging.clear()

    @property
    def restore(self) -> npt.NDArray[np.uint8]:
        """The block that the next RESTORE command takes its levels from."""
        return self.blocks[int(self.facts[F_RESTORE])]
