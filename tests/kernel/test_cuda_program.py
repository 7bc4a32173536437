"""How the CUDA kernel goes over cells, and in how many machine instructions; see tests/sass.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numba
import numpy as np
import pytest
import sass

pytest.importorskip("numba_cuda")

import ringnb as rn
from ringnb.kernel import cuda
from ringnb.kernel.cuda.availability import load

# Per cell, away from the edges.
AT_MOST = {
    "fdtd_3d": 42,
    "fdtd_2d": 33,
    "heat_2d": 28,
    "gray_scott": 75,
    "life": 45,
    "ising_2d": 300,
}


LOADS_AT_MOST = {"fdtd_3d": 5}  # of the eight values that it takes


def test_a_cell_takes_few_instructions_and_nothing_of_its_loop_is_spilled():
    kept = json.loads(sass.KEPT.read_text())
    current = {actor.kernel_type: sass.sources(actor) for actor in sass.counted_actors()}
    assert {(row["actor"], tuple(row["cc"])) for row in kept} == {
        (actor, capability) for actor in current for capability in sass.CAPABILITIES
    }
    for row in kept:
        assert row["sources"] == current[row["actor"]], "count anew: python tests/sass.py --keep"
        assert row["loads"] + row["stores"] < row["instructions"] <= AT_MOST[row["actor"]], row
        assert row["loads"] <= LOADS_AT_MOST.get(row["actor"], 9), row
        assert row["registers"] <= 128, row
        assert row["local"] == 0, row  # what is spilled is the leader's
        assert row["spills"] <= (0 if row["cc"] == [9, 0] else 500), row


def test_what_was_counted_is_known_by_the_whole_kernel_and_not_by_what_is_said(tmp_path):
    (actor, *_) = sass.counted_actors()
    kernel = shutil.copytree(sass.KERNEL, tmp_path / "kernel")
    leader = kernel / "cuda" / "leader.py"
    code = leader.read_text(encoding="utf-8")
    leader.write_text(code.replace('"""', '"""Said. ', 1) + "# Said.\n", encoding="utf-8")
    assert sass.sources(actor, kernel) == sass.sources(actor)
    leader.write_text(code.replace("_DRAIN = 8", "_DRAIN = 9"), encoding="utf-8")
    assert sass.sources(actor, kernel) != sass.sources(actor)


def test_what_was_counted_is_known_with_the_functions_that_a_cell_calls():
    called = sass._with_helpers(rn.actors.Ising2D.update)
    assert [f.__name__ for f in called] == ["update", "four_words", "philox", "highest_word"]


def test_the_documentation_has_the_table_of_instructions():
    kept = json.loads(sass.KEPT.read_text())
    readme = (Path(cuda.__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    for kind, line in zip(sass.COUNTED, sass.as_markdown(kept), strict=True):
        assert line.replace(f"| {kind} |", f"| `{kind}`, {AT_MOST[kind]} |") in readme


CODE = """
\t.section\t.text.other,"ax"
.text.other:
        /*0000*/                   STG.E desc[UR4][R2.64], R5 ;
\t.section\t.text.kernel,"ax"
.text.kernel:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   LDG.E R5, desc[UR4][R2.64] ;
        /*0020*/              @!P0 BRA `(.L_x_2) ;
        /*0030*/                   FADD R5, R5, R5 ;
        /*0040*/                   FADD R5, R5, R5 ;
.L_x_2:
        /*0050*/                   STG.E desc[UR4][R2.64], R5 ;
        /*0060*/                   STG.E.64 desc[UR4][R2.64], R6 ;
        /*0070*/                   STG.E desc[UR4][R2.64+0x4], R5 ;
        /*0080*/               @P1 BRA `(.L_x_1) ;
        /*0090*/                   EXIT ;
"""


def test_the_way_round_a_loop_is_the_shortest_that_stores_so_much():
    code = sass.Code(CODE, "kernel")
    assert code.way_round(2, 4) == ([1, 2, 5, 6, 7, 8], 1)
    assert code.way_round(1, 4) == ([1, 2, 5, 6, 7, 8], 2)
    assert code.way_round(1, 8) == ([1, 2, 5, 6, 7, 8], 1)
    with pytest.raises(AssertionError, match="no loop stores so much"):
        code.way_round(1, 1)
    assert code.way_round(1, 8, "FADD") == ([1, 2, 3, 4, 5, 6, 7, 8], 1)
    with pytest.raises(AssertionError, match="no loop stores so much"):
        code.way_round(2, 4, "FADD")  # between these two there is none
    found = sass.counted(CODE, "kernel", together=2, fields=1, width=4)
    assert (found["instructions"], found["loads"], found["stores"]) == (3, 0.5, 1.5)


@numba.njit
def looped(a):
    for _ in range(3):
        a = a * a
    return a


def short(now, after, params, step, y, x):
    after[0, y, x] = now[0, y, x] * params[0]


def long(now, after, params, step, y, x):
    after[0, y, x] = np.exp(now[0, y, x])


def far(now, after, params, step, y, x):
    after[0, y, x] = looped(now[0, y, x])


@numba.njit
def again(a):
    return a if a < 1 else again(a - 1)


def recursive(now, after, params, step, y, x):
    after[0, y, x] = again(now[0, y, x])


@pytest.mark.parametrize(
    ("update", "options", "expected"),
    [
        (short, {}, 4),
        (short, {"dtype": float}, 2),
        (short, {"replayable": False}, 1),
        (long, {}, 1),
        (far, {}, 1),
        (recursive, {}, 1),
    ],
)
def test_so_many_cells_are_computed_together(update, options, expected):
    load(simulate=True)
    from ringnb.kernel.cuda.program import cell_codes

    actor = rn.actors.CellActor(update, (8, 8), params={"a": 1}, **options)
    assert [code.together for code in cell_codes(actor)] == [expected]


def straight(now, after, params, step, z, y, x):
    below = now[0, z - 1, y, x] if z > 0 else 0
    after[0, z, y, x] = below + now[0, z, y + 1, x] * now.shape[1] - after[0, z, y, x]


FIELD, BELOW = 0, 1


def named(now, after, params, step, z, y, x):
    after[0, z, y, x] = now[FIELD, z - BELOW, y, x]


def round_the_edge(now, after, params, step, z, y, x):
    after[0, z, y, x] = now[0, (z + 1) % now.shape[1], y, x]


def one_of_two(now, after, params, step, z, y, x):
    after[0, z, y, x] = now[0, z - 1 if z > 0 else z, y, x]


def crossed(now, after, params, step, z, y, x):
    after[0, z, y, x] = now[0, y, z, x]


def moved(now, after, params, step, z, y, x):
    z = z + 1
    after[0, z, y, x] = now[0, z, y, x]


def by_another(now, after, params, step, z, y, x):
    after[0, z, y, x] = now[0, z + step, y, x]


def from_the_cell(now, after, params, step, z, y, x):
    after[0, z, y, x] = now[0, 1 - z, y, x]


def a_row(now, after, params, step, z, y, x):
    after[0, z, y, x] = now[0, z, y].sum()


@numba.njit
def sum_of(now, z, y, x):
    return now[0, z, y, x] + now[0, z + 1, y, x]


def handed_on(now, after, params, step, z, y, x):
    after[0, z, y, x] = sum_of(now, z, y, x)


def renamed(now, after, params, step, z, y, x):
    u = now
    after[0, z, y, x] = u[0, z, y, x]


def written(now, after, params, step, z, y, x):
    now[0, z, y, x] = after[0, z, y, x]


def of_all_fields(now, after, params, step, z, y, x):
    after[0, z, y, x] = now[:, z, y, x][0]


def of_what_is_left(now, after, params, step, z, y, x):
    after[0, z, y, x] = now[..., z, y, x][0]


def of_another_field(now, after, params, step, z, y, x):
    after[0, z, y, x] = now[step, z, y, x]


def assigned_anew(now, after, params, step, z, y, x):
    if step > 3:
        now = after
    after[0, z, y, x] = now[0, (z + 1) % now.shape[1], y, x]


def test_planes_are_kept_where_each_index_is_the_cell_s_or_one_beside():
    load(simulate=True)
    from ringnb.kernel.cuda.planes import goes_straight

    assert goes_straight(straight)
    assert goes_straight(rn.actors.Wave3D.update)
    assert goes_straight(moved)
    assert goes_straight(named)
    others = (round_the_edge, one_of_two, crossed, by_another, from_the_cell, a_row)
    others += (handed_on, renamed, written, of_all_fields, of_what_is_left, of_another_field)
    others += (assigned_anew,)
    assert [f.__name__ for f in others if goes_straight(f)] == []


def mark_1(now, after, params, step, x):
    after[0, x] = 1


def mark_2(now, after, params, step, y, x):
    after[0, y, x] = 1


def mark_3(now, after, params, step, z, y, x):
    after[0, z, y, x] = 1


@pytest.mark.parametrize(
    ("update", "shape", "dtype"),
    [
        (mark_1, (13,), np.float32),
        (mark_1, (16,), np.float64),
        (mark_2, (9, 7), np.float32),
        (mark_2, (3, 4), np.float64),
        (mark_3, (5, 3, 3), np.float32),
    ],
)
def test_as_many_threads_are_busy_as_have_cells_and_they_have_all(update, shape, dtype):
    load(simulate=True)  # whose warps are of one thread
    from ringnb.kernel.cuda.program import busy_threads, cell_codes, compile_cells

    actor = rn.actors.CellActor(update, shape, dtype=dtype)
    (code,) = cell_codes(actor)
    cells = compile_cells(code)
    state, n = np.zeros(1024, np.int64), int(np.prod(shape))
    lengths = (1,) * (3 - len(shape)) + shape
    marked, busy = 0, 0
    for first in range(100):
        state[:] = 0
        cells(state, 0, 512, None, 0, 0, 1, *lengths, first, 100)
        mine = np.count_nonzero(state[512:].view(dtype))
        marked, busy = marked + mine, busy + (mine > 0)
    assert (marked, busy) == (n, busy_threads(shape, code.together))
