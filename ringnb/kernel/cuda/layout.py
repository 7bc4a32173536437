"""Where every word of the CUDA kernel lies, beyond what `ringnb.kernel.layout` says for all kernels.

Mapped memory, pinned on the host and read and written by the device over the bus; whole allocations of
``int64``, one writer per word:

=============  ==========================  ======================================================
array          shape                       written by
=============  ==========================  ======================================================
``control``    lanes * CTL_WORDS           the words of a lane, each as `ringnb.kernel.layout` says
``h2k``        lanes * capacity * 8        host
``k2h``        lanes * capacity * 8        the lane's leader
``words``      actors * ACTOR_WORDS        the lane's leader
``params_in``  actors * 16                 host
``staged``     as ``staging``              the threads of the lane, and the copy engine
=============  ==========================  ======================================================

Device memory: ``table``, ``links`` and ``params`` (the lane's leader alone writes them), ``lanes``,
``mail`` (a line of a group's leader, a counter of its barrier), ``facts``, and the three pools
``state``, ``staging`` and ``restore``, in words of 8 bytes. ``C_A`` and ``C_B`` of the table are offsets
in ``state``. The host keeps a pinned copy of each staging and restore buffer, those of staging in
``staged``; the copy engine moves between the two while the kernel steps on. A state of up to
`STRAIGHT_BYTES` is captured into ``staged`` at once, and no copy follows.

Rows of one lane follow each other in ``table``, ``words`` and ``params``.

A launch lasts for ``F_LAUNCH_NS`` and finds all of this as the one before it has left it: what a leader
or a barrier must know in the next launch is a word of these arrays, never a variable of the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from ringnb.actors.base import MAX_PARAMS, Actor
from ringnb.kernel import layout
from ringnb.kernel.deal import Deal
from ringnb.kernel.layout import LINE, Words, padded, staging_tail, state_nbytes
from ringnb.kernel.reductions import partial_count

__all__ = ["CudaLane", "CudaPlan", "Memory"]

# Column: which of the kernel's inject functions the actor has. A CPU kernel keeps addresses there and in
# the columns of the stages, which hold numbers of the kernel's update functions here.
C_KIND = layout.C_INJECT_FN

# A lane's reason to have stopped, in its STATE line behind the state.
STATE_REASON = layout.STATE + 1
BY_STOP, BY_TERMINATE = 1, 2

# Columns of ``lanes``. The first five are fixed, the leader owns the rest. Among them are its own mapped
# words once more: a load over the bus takes a microsecond.
(
    L_FIRST,
    L_ROWS,
    L_STAGE0,
    L_STAGE1,
    L_RESTORE,
    L_STOPPED,
    L_NEXT_ROW,
    L_H2K_TAIL,
    L_K2H_HEAD,
    L_K2H_TAIL,  # the host's, as last seen
    L_LOOPS,
    L_HELD,  # 1 + the row of a snapshot whose answer a gate keeps back, and the lane waits; 0: none
    L_HELD_ID,
    L_HELD_BUFFER,
    L_LINKS,  # fixed: the first of its links, and how many there are
    L_LINK_COUNT,
    L_LEADS,  # the row that leads the group of linked actors which is in a step
    L_STEPS,  # how many steps they take until links are due
    L_MEMBER,  # 1 + the row that takes them next; 0: no group is in a step
    L_TAKEN,  # one per staging buffer
) = range(20)
LANE_COLUMNS = L_TAKEN + layout.STAGING_BUFFERS

# States of at most so many bytes are captured straight into the host's memory. That takes less than to
# ask the copy engine, and to wait until it is done; and larger ones would hold up the steps.
STRAIGHT_BYTES = 1 << 16

# Words of a group in ``mail``: the leader's line, its private line, the barrier's counter, the sum.
(
    J_KIND,
    J_ROW,
    J_COUNT,
    J_NOW,  # offsets in ``state``
    J_OTHER,
    J_STEP,
    J_TARGET,  # offset of the staging or restore buffer
    J_WHAT,  # a region, see `ringnb.kernel.regions`
    J_Z,
    J_Y,
    J_X,
) = range(11)
(
    M_GENERATION,  # of the barrier, when the last launch ended
    M_BUSY_AT,  # when there was work, by the device's clock
    M_NEXT_LANE,
    M_LANE,
    M_COMMAND,
    M_ID,
    M_ARGUMENT,
    M_BUFFER,
    M_BEGIN,
    M_HOLD,  # whether the gate of answers was shut when the command was read
    M_BEGAN,  # when this launch began
) = range(LINE, LINE + 11)
M_ARRIVED = 2 * LINE
M_SUM = 3 * LINE
MAIL_WORDS = 4 * LINE
JOB_EXIT, JOB_STEP, JOB_CAPTURE, JOB_LOAD, JOB_READ, JOB_WRITE, JOB_EXCHANGE = range(7)

# ``facts``: fixed.
(F_CAPACITY, F_WIDTH, F_GROUPS, F_SLICE_NS, F_HOT_NS, F_LAUNCH_NS) = range(6)
FACTS = 8


class Memory(NamedTuple):
    """All arrays of a launch, as device functions hand them on: see this module's docstring."""

    # Mapped memory.
    control: Any
    h2k: Any
    k2h: Any
    words: Any
    params_in: Any
    staged: Any
    # Device memory.
    table: Any
    params: Any
    lanes: Any
    mail: Any
    facts: Any
    state: Any
    staging: Any
    restore: Any
    links: Any


@final
@dataclass(frozen=True)
class CudaLane:
    """The host's views of one lane: of mapped memory, and of `restore`, which is pinned alone."""

    control: Words
    h2k: Words
    k2h: Words
    words: Words
    params_in: npt.NDArray[np.float64]  # (rows, 16)
    staging: list[npt.NDArray[np.uint8]]  # filled by the copy engine or by the kernel
    restore: npt.NDArray[np.uint8]  # the source of the restore buffer


@final
class CudaPlan:
    """Sizes and offsets, before anything is allocated.

    `kinds` are, for each slot, the indices of its stages, `reductions` those of its reductions. `table`
    and `params` (a row per actor), `lanes` (a row per lane) and `links` (a row per link, and one more)
    are as the kernel finds them; `state_words`, `staging_words` and `restore_words` are the sizes of the
    pools, `stage_words` that of one staging buffer, per lane. `constants` are words that belong into the
    pool of states, and where.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        kinds: Sequence[Sequence[int]],
        deal: Deal,
        reductions: Sequence[Sequence[int]] = (),
    ) -> None:
        self._reductions = reductions or [()] * len(actors)
        self.table: Words = np.zeros((len(actors), layout.TABLE_COLUMNS), np.int64)
        self.deal = deal
        self.lanes: Words = np.zeros((len(deal.slots), LANE_COLUMNS), np.int64)
        self.params: npt.NDArray[np.float64] = np.zeros((len(actors), MAX_PARAMS))
        self.stage_words: list[int] = []
        self.constants: list[tuple[int, Words]] = []
        self._tables: dict[int, int] = {}  # by the actor's id
        self.state_words = self.staging_words = self.restore_words = 0
        row = 0
        links: list[Words] = []
        for lane, slots in enumerate(deal.slots):
            largest = max(staging_tail(actors[slot]) for slot in slots) // 8
            stage = largest + MAX_PARAMS + layout.TAIL_WORDS
            self.stage_words.append(stage)
            facts = {
                L_FIRST: row,
                L_ROWS: len(slots),
                L_STAGE0: self.staging_words,
                L_STAGE1: self.staging_words + stage,
                L_RESTORE: self.restore_words,
                L_LINKS: sum(map(len, links)),
            }
            for column, value in facts.items():
                self.lanes[lane, column] = value
            self.staging_words += layout.STAGING_BUFFERS * stage
            self.restore_words += largest
            for slot in slots:
                self._place(row, slot, actors[slot], kinds[slot])
                row += 1
            own = deal.join(lane, self.table, facts[L_FIRST], facts[L_LINKS])
            self.lanes[lane, L_LINK_COUNT] = len(own)
            links.append(own)
        self.links = np.concatenate([*links, np.zeros((1, layout.LINK_COLUMNS), np.int64)])

    def _place(self, row: int, slot: int, actor: Actor, kinds: Sequence[int]) -> None:
        level_words = padded(state_nbytes(actor) // actor.levels) // 8
        columns = layout.actor_columns(actor, slot) | {
            layout.C_A: self.state_words,
            layout.C_B: self.state_words + level_words,
            layout.C_EXISTS: 1,
            layout.C_STEP: actor.start_step,
            C_KIND: kinds[0],
            **{layout.C_STAGE_FNS + stage: kind for stage, kind in enumerate(kinds)},
        }
        for column, value in columns.items():
            self.table[row, column] = value
        params = list(actor.start_params(slot).values())
        self.params[row, : len(params)] = params
        self.state_words += 2 * level_words
        self.table[row, layout.C_ARRAYS] = self._place_arrays(actor)
        self.table[row, layout.C_PARTIALS] = self.state_words
        self.state_words += padded(8 * partial_count(actor)) // 8
        for number, kind in enumerate(self._reductions[slot]):
            self.table[row, layout.C_REDUCE_FNS + number] = kind

    def _place_arrays(self, actor: Actor) -> int:
        """Give an actor's read-only arrays a place in the pool of states, once; return their table's."""
        if not actor.arrays:
            return 0
        if id(actor) not in self._tables:
            sizes = [padded(array.nbytes) // 8 for array in actor.arrays.values()]
            at = self.state_words + padded(8 * layout.ARRAY_WORDS * len(sizes)) // 8
            places = [at + sum(sizes[:i]) for i in range(len(sizes))]
            self._tables[id(actor)] = self.state_words
            self.constants.append((self.state_words, layout.array_table(actor, places)))
            for place, array in zip(places, actor.arrays.values(), strict=True):
                words = np.zeros(padded(array.nbytes), np.uint8)
                words[: array.nbytes] = array.reshape(-1).view(np.uint8)
                self.constants.append((place, words.view(np.int64)))
            self.state_words = at + sum(sizes)
        return self._tables[id(actor)]

    def row(self, slot: int) -> int:
        """Return a slot's row in ``table``."""
        lane, row = self.deal.place_of[slot]
        return int(self.lanes[lane, L_FIRST]) + row
