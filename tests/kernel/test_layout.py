"""No two fields overlap: words, columns, lines of different writers, levels, buffers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ringnb.actors import GrayScott, Heat2D, Ising2D, Life, Wave2D, Wave3D
from ringnb.actors.base import MAX_PARAMS
from ringnb.kernel import layout
from ringnb.kernel.cuda import layout as cuda_layout
from ringnb.kernel.deal import Deal

ACTORS = [Wave2D((5, 7)), Heat2D((64, 3)), Life((3, 70)), Ising2D((4, 6)), GrayScott((9, 9))]
ACTORS.append(Wave3D((4, 5, 6)))


def names(module, prefix):
    return {n: v for n, v in vars(module).items() if n.startswith(prefix) and n.isupper()}


def apart(spans):
    """Check that half-open spans do not overlap."""
    spans = sorted(spans)
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end <= start
    return spans


@pytest.mark.parametrize(
    ("module", "prefix", "size"),
    [
        (layout, "C_", layout.TABLE_COLUMNS),
        (layout, "W_", layout.ACTOR_WORDS),
        (layout, "F_", layout.FACTS),
        (layout, "T_", layout.TAIL_WORDS),
        (layout, "J_", layout.TEAM_MEMBERS),
        (layout, "M_", layout.MEMBER_WORDS),
        (cuda_layout, "L_", cuda_layout.LANE_COLUMNS),
        (cuda_layout, "J_", layout.LINE),
        (cuda_layout, "M_", cuda_layout.MAIL_WORDS),
        (cuda_layout, "F_", cuda_layout.FACTS),
    ],
)
def test_names_of_one_array_have_places_of_their_own_in_it(module, prefix, size):
    places = names(module, prefix)
    assert len(places) >= 5
    assert len(set(places.values())) == len(places)
    assert all(0 <= place < size for place in places.values())


def test_a_control_word_shares_its_line_with_words_of_its_writer_only():
    buffers = range(layout.STAGING_BUFFERS)
    host = {layout.H2K_HEAD, layout.K2H_TAIL, layout.STOP, layout.WAKE_FD_WRITE, layout.GATE}
    host |= {layout.RETURNED + b * layout.LINE for b in buffers}
    kernel = {
        layout.H2K_TAIL,
        layout.K2H_HEAD,
        layout.ASLEEP,
        layout.STATE,
        layout.LOOPS,
        cuda_layout.STATE_REASON,
    }
    kernel |= {layout.TAKEN + b * layout.LINE for b in buffers}
    assert len(host | kernel) == 5 + 6 + 2 * layout.STAGING_BUFFERS
    assert max(host | kernel) < layout.CTL_WORDS
    assert not {w // layout.LINE for w in host} & {w // layout.LINE for w in kernel}
    # The words that the two sides poll have a line each.
    polled = [
        layout.H2K_HEAD,
        layout.H2K_TAIL,
        layout.K2H_HEAD,
        layout.K2H_TAIL,
        layout.ASLEEP,
        layout.LOOPS,
    ]
    assert len({w // layout.LINE for w in polled}) == len(polled)


def test_what_members_of_a_team_write_lies_in_lines_of_their_own():
    lines = [
        m // layout.LINE
        for m in (layout.M_ARRIVE, layout.M_PARTIAL, layout.M_ASLEEP, layout.M_FD, layout.M_GO)
    ]
    assert len(set(lines)) == len(lines)
    assert layout.MEMBER_WORDS % layout.LINE == layout.TEAM_MEMBERS % layout.LINE == 0


@pytest.mark.parametrize("actor", ACTORS, ids=lambda a: a.kernel_type)
def test_a_staging_buffer_holds_levels_parameters_and_tail_one_behind_the_other(actor):
    tail = layout.staging_tail(actor)
    block = np.zeros(tail + 8 * (MAX_PARAMS + layout.TAIL_WORDS), np.uint8)
    levels = layout.state_view(block, actor)
    assert levels.shape == (actor.levels, len(actor.fields), *actor.shape)
    at = block.ctypes.data
    spans = [(v.ctypes.data - at, v.ctypes.data - at + v.nbytes) for v in levels]
    spans.append((tail, tail + 8 * MAX_PARAMS))
    spans.append((tail + 8 * MAX_PARAMS, block.size))
    apart(spans)
    assert all(first % 64 == 0 for first, _ in spans[:-1])
    assert sum(v.nbytes for v in levels) == layout.state_nbytes(actor)
    params = layout.params_view(block, actor)
    params[:] = 1.5
    block[-8 * layout.TAIL_WORDS :].view(np.int64)[:] = range(layout.TAIL_WORDS)
    assert not levels.any()
    assert layout.tail_words(block, actor).tolist() == list(range(layout.TAIL_WORDS))
    assert (params == 1.5).all()


def test_buffers_of_a_lane_lie_apart_and_each_level_has_a_gap_behind_it():
    memory = layout.LaneMemory(list(enumerate(ACTORS)), 3, 8)
    spans = [(at, at + block.size) for at, block in memory.blocks.items()]
    spans += [(b.ctypes.data, b.ctypes.data + b.size) for b in memory.staging]
    apart(spans)
    assert len(memory.blocks) == len(ACTORS) + 1
    largest = max(layout.staging_tail(actor) for actor in ACTORS)
    assert all(b.size == largest + 8 * (MAX_PARAMS + layout.TAIL_WORDS) for b in memory.staging)
    for row, actor in zip(memory.table, ACTORS, strict=True):
        a, b = int(row[layout.C_A]), int(row[layout.C_B])
        nbytes = int(row[layout.C_LEVEL_BYTES])
        row_bytes = nbytes // len(actor.fields) // actor.shape[0]
        assert a % 64 == b % 64 == 0
        # A capture pads a level's last words from the 64 bytes behind it.
        assert b - (a + nbytes) >= 4 * row_bytes + 64
        assert a + int(row[layout.C_BLOCK_BYTES]) - (b + nbytes) >= 64
        assert memory.restore.size >= row[layout.C_BLOCK_BYTES]
        views = layout.state_view(memory.blocks[a], actor, int(row[layout.C_SECOND]))
        assert [v.ctypes.data for v in views] == [a, b][: actor.levels]


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_pools_of_a_cuda_launch_have_room_for_every_actor_and_buffer(lanes):
    deal = Deal(ACTORS, ())
    deal.out(lanes)
    plan = cuda_layout.CudaPlan(ACTORS, [[k] for k in range(len(ACTORS))], deal)
    spans = []
    for slot, actor in enumerate(ACTORS):
        row = plan.table[plan.row(slot)]
        assert row[layout.C_SLOT] == slot
        level = layout.padded(int(row[layout.C_LEVEL_BYTES])) // 8
        spans += [(int(row[c]), int(row[c]) + level) for c in (layout.C_A, layout.C_B)]
    assert apart(spans)[-1][1] == plan.state_words
    spans = [
        (int(lane[c]), int(lane[c]) + words)
        for lane, words in zip(plan.lanes, plan.stage_words, strict=True)
        for c in (cuda_layout.L_STAGE0, cuda_layout.L_STAGE1)
    ]
    assert apart(spans)[-1][1] == plan.staging_words
    rows = [
        (int(lane[cuda_layout.L_FIRST]), int(lane[cuda_layout.L_FIRST] + lane[cuda_layout.L_ROWS]))
        for lane in plan.lanes
    ]
    assert apart(rows)[-1][1] == len(ACTORS)
    for lane, words in zip(plan.lanes, plan.stage_words, strict=True):
        own = plan.table[
            int(lane[cuda_layout.L_FIRST]) : int(
                lane[cuda_layout.L_FIRST] + lane[cuda_layout.L_ROWS]
            )
        ]
        assert words == own[:, layout.C_TAIL].max() // 8 + MAX_PARAMS + layout.TAIL_WORDS


def test_a_start_of_another_shape_than_promised_is_refused_and_nothing_is_written():
    actor = Heat2D((5, 6))
    actor.start = lambda slot: np.ones((2, 5, 6))
    block = np.zeros(layout.staging_tail(actor), np.uint8)
    with pytest.raises(ValueError, match=r"shape \(2, 5, 6\); it must return \(1, 5, 6\)"):
        layout.fill_start(layout.state_view(block, actor), actor, 0)
    assert not block.any()


def test_blocks_of_many_small_actors_are_apart_and_begin_with_a_page_of_zeros():
    actors = [Life((3, 70)), *[Wave2D((5, 7))] * 300]
    memory = layout.LaneMemory(list(enumerate(actors)), 1, 64)
    assert memory.table[:, layout.C_SLOT].tolist() == list(range(301))
    spans = apart((base, base + len(block)) for base, block in memory.blocks.items())
    assert len(spans) == 302  # and one to restore
    assert all(base % 4096 == 0 for base, _ in spans)
    for row in memory.table:
        block = memory.blocks[int(row[layout.C_A])]
        assert len(block) == row[layout.C_BLOCK_BYTES]
        assert not block.any()
    assert memory.table[5, layout.C_PARAMS] == memory.params[5].ctypes.data
