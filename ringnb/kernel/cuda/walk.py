"""How a grid is walked through: the source of the function that steps a share of an actor's cells."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

__all__ = ["CELLS", "rows_of", "walk_of"]

# A warp takes columns as wide as it has threads, and goes along them some cells at a time; in a box,
# along z, and if it is four cells through two rows at once. These are loaded together, computed in
# registers and then stored, so that no load waits behind a store.
CELLS = """
def cells(state, now_at, next_at, own, step, arrays_at, nf, nz, ny, nx, first, stride):
    # Lengths are below 2**31.
    nz, ny, nx, first, stride = low(nz), low(ny), low(nx), low(first), low(stride)
    now = level(state, now_at, element, {shape})
    next = level(state, next_at, element, {shape})
{arrays}    lane, warp, warps = low(first % WARP), low(first // WARP), low(stride // WARP)
    length, lines, columns = {walk}
    # A column is cut into parts where there are fewer than keep all warps busy.
    pieces = low((length + {many} - 1) // {many})
    parts = low(min(pieces, low({enough} * warps // low(lines * columns) + 1)))
    span = low(low((pieces + parts - 1) // parts) * {many})
    # No division per part: the place moves on by a stride, with carries.
    line, column, part = low(warp % lines), low(warp // lines), 0
    column, part = low(column % columns), low(column // columns)
    dline, dcolumn, dpart = low(warps % lines), low(warps // lines), 0
    dcolumn, dpart = low(dcolumn % columns), low(dcolumn // columns)
    while low(part * span) < length:
        x, y = low(column * WARP + lane), low(ROWS * line)
        at, end = low(part * span), min(length, low(low(part + 1) * span))
        while at < end:
{in_the_grid}            if at < end and {mine}:
{at_an_edge}
            at += {many}
        line, column, part = low(line + dline), low(column + dcolumn), low(part + dpart)
        if line >= lines:
            line, column = low(line - lines), low(column + 1)
        if column >= columns:
            column, part = low(column - columns), low(part + 1)
"""
_IN_THE_GRID = """
            # The first cells lie at an edge, and so may the last.
            stop = min(end, length - {many}) if 0 < at and {inside} else at
{enter}            while at < stop:
{cells}
                at += {many}
"""
_ENTER = """\
            shown = show(now, y, x)
            if at < stop:
                enter(shown, at)
"""
_ENOUGH = 8  # parts of columns for each warp


class _Walk(NamedTuple):
    """How a grid of some number of axes is walked through."""

    axes: str  # the first is walked along
    lengths: str  # of a column, and how many there are along the other axes
    step: str  # between cells that are computed together
    inside: str  # beside what holds along the column
    mine: str  # whether the thread has a cell


_COLUMNS = "low(low(nx + WARP - 1) // WARP)"
_LINES = "low(low(ny + ROWS - 1) // ROWS)"
_INSIDE = "0 < column and low(low(column + 1) * WARP) < nx"
_WALKS = {
    1: _Walk("x", "nx, 1, 1", "WARP", "True", "at + lane < end"),
    2: _Walk("yx", f"ny, 1, {_COLUMNS}", "1", _INSIDE, "x < nx"),
    3: _Walk("zyx", f"nz, {_LINES}, {_COLUMNS}", "1", f"{_INSIDE} and 0 < y < ny - ROWS", "x < nx"),
}


def rows_of(ndim: int, together: int) -> int:
    """Return in how many rows the cells lie that a thread computes together, as many in each."""
    # Two by two share more neighbours than four behind each other: 6 loads for a cell, not 6.5. Where
    # planes are kept, those of one field, it is 5 in the loop, and 2 planes more where that begins.
    return 2 if ndim == 3 and together == 4 else 1


def _together(
    walk: _Walk, count: int, rows: int, more: str, *, known: bool, shown: bool = False
) -> str:
    """Return the source that computes `count` cells; `known` if none lies at an edge of the grid.

    `shown` if planes of the level are in registers.
    """
    lead, others = walk.axes[0], [*walk.axes[1:]]
    first = "at + lane" if lead == "x" else "at"
    along = [(f"{lead}{k}", f"{first} + {k} * {walk.step}", "end") for k in range(count // rows)]
    across = [(f"y{k}", f"y + {k}", "ny") for k in range(rows)] if rows > 1 else []
    source = []
    for line in (along, across):
        for name, place, end in line:
            source.append(f"{name} = {place}")
            if not known and name != line[0][0]:
                # Beyond the end the first cell again, from the same values: the result is the same.
                source.append(f"{name} = {name} if {name} < {end} else {line[0][0]}")
    beside = [[name, *others[1:]] for name, *_ in across] or [others]
    if known:
        at = dict.fromkeys(i for line in beside for i in line) | dict.fromkeys(a for a, *_ in along)
        source += [f"assume(0 < {i})\nassume({i} < n{i[0]} - 1)" for i in at]
    if shown:
        source.append("ahead(shown, at)")
    now = "shown" if shown else "now"
    places = [", ".join((name, *line)) for name, *_ in along for line in beside]
    if count > 1:
        source += [f"cell{k} = window(next, ({place},))" for k, place in enumerate(places)]
        source += [f"update({now}, cell{k}, own, step, {p}{more})" for k, p in enumerate(places)]
        source += [f"put(cell{k}, next, ({place},))" for k, place in enumerate(places)]
    else:
        source.append(f"update(now, next, own, step, {places[0]}{more})")
    return textwrap.indent("\n".join(source), " " * 16)


def walk_of(ndim: int, together: int, more: str, *, shown: bool) -> dict[str, str]:
    """Return what to put into `CELLS`; `more` are the arrays that the update takes.

    `shown` if planes of the level are kept in registers, see `ringnb.kernel.cuda.planes`.
    """
    walk, rows = _WALKS[ndim], rows_of(ndim, together)
    many = together // rows if walk.step == "1" else f"{together} * {walk.step}"
    where = {"walk": walk.lengths, "mine": walk.mine, "many": f"({many})"}
    where |= {"enough": str(_ENOUGH), "in_the_grid": ""}
    where["at_an_edge"] = _together(walk, together, rows, more, known=False)
    if together > 1:
        inner = _together(walk, together, rows, more, known=True, shown=shown)
        where["in_the_grid"] = _IN_THE_GRID.format(
            inside=walk.inside, enter=_ENTER if shown else "", cells=inner, **where
        )
    return where
