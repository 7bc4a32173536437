"""How the threads of a group copy regions: to and from the restore buffer, and along links.

Byte by byte, since strips are small and fields are of any type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ringnb.kernel import layout, regions
from ringnb.kernel.cuda import intrinsics
from ringnb.kernel.cuda import layout as cl

__all__ = ["copy_job"]

_region_place = intrinsics.function(regions.region_place)
_link_is_due = intrinsics.function(regions.link_is_due)


@intrinsics.function
def _copy(
    to: Any,
    to_at: int,
    to_plane: int,
    to_line: int,
    of: Any,
    of_at: int,
    plane: int,
    line: int,
    planes: int,
    rows: int,
    nbytes: int,
    me: int,
    all_: int,
) -> None:
    """Copy this thread's bytes of a box of planes, of so many rows of `nbytes`."""
    # No division of 64 bits, which takes many registers: there are fewer than 2**31 threads.
    length = intrinsics.low(min(nbytes, 2**31))
    first, more = intrinsics.low(me) // length, intrinsics.low(all_) // length
    for z in range(planes):
        x, y = me - first * length, first
        while y < rows:
            to[to_at + z * to_plane + y * to_line + x] = of[of_at + z * plane + y * line + x]
            x, y = x + all_ - more * length, y + more
            if x >= nbytes:
                x, y = x - nbytes, y + 1


@intrinsics.function
def _place(m: Any, k: int, column: int) -> Any:
    """Return where a region of a link begins, its planes, its rows."""
    links = m.links
    what, z = links[k, column + 1], links[k, column + 2]
    y, x = links[k, column + 3], links[k, column + 4]
    level, at, plane, line = _region_place(m.table, links[k, column], what, z, y, x)
    return 8 * level + at, plane, line


@intrinsics.function
def _exchange(m: Any, row: int, me: int, all_: int) -> None:
    """Copy this thread's bytes along the links that are due of the group that an actor leads."""
    state, links = (
        intrinsics.grid(m.state, 0, np.uint8, (intrinsics.anew(8 * m.state.shape[0]),)),
        m.links,
    )
    first = m.table[row, layout.C_LINKS]
    for k in range(first, first + m.table[row, layout.C_LINK_COUNT]):
        if _link_is_due(m.table, links, k):
            what, z = links[k, layout.K_TO_REGION], links[k, layout.K_TO_REGION + 1]
            y, x = links[k, layout.K_TO_REGION + 2], links[k, layout.K_TO_REGION + 3]
            to, to_plane, to_line = _place(m, k, layout.K_TO)
            of, plane, line = _place(m, k, layout.K_FROM)
            planes, rows, nbytes = z >> 32, y >> 32, (what >> 1 & 127) * (x >> 32)
            _copy(
                state, to, to_plane, to_line, state, of, plane, line, planes, rows, nbytes, me, all_
            )


@intrinsics.function
def _copy_region(m: Any, base: int, kind: int, row: int, me: int, all_: int) -> None:
    """Copy this thread's bytes of the region in the mail to the restore buffer, or from it."""
    what, z = m.mail[base + cl.J_WHAT], m.mail[base + cl.J_Z]
    y, x = m.mail[base + cl.J_Y], m.mail[base + cl.J_X]
    level, at, plane, line = _region_place(m.table, row, what, z, y, x)
    at += 8 * level
    buffer = 8 * m.mail[base + cl.J_TARGET]
    planes, rows, nbytes = z >> 32, y >> 32, (what >> 1 & 127) * (x >> 32)
    packed = rows * nbytes
    # Else their sizes would take registers while cells are computed.
    size, restored = intrinsics.anew(8 * m.state.shape[0]), intrinsics.anew(8 * m.restore.shape[0])
    state = intrinsics.grid(m.state, 0, np.uint8, (size,))
    restore = intrinsics.grid(m.restore, 0, np.uint8, (restored,))
    if kind == cl.JOB_READ:
        _copy(
            restore, buffer, packed, nbytes, state, at, plane, line, planes, rows, nbytes, me, all_
        )
    else:
        _copy(
            state, at, plane, line, restore, buffer, packed, nbytes, planes, rows, nbytes, me, all_
        )


@intrinsics.function
def copy_job(m: Any, base: int, kind: int, row: int, me: int, all_: int) -> None:
    """Do this thread's share of a job that copies regions."""
    if kind == cl.JOB_EXCHANGE:
        _exchange(m, row, me, all_)
    else:
        _copy_region(m, base, kind, row, me, all_)
