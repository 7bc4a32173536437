"""How a lane's leader copies regions: to and from the restore buffer, and along links."""

from __future__ import annotations

from typing import Any

from ringnb.errors import Status
from ringnb.kernel import layout, regions
from ringnb.kernel.atomics import copy_bytes
from ringnb.kernel.caching import inner

__all__ = ["copy_region", "exchange"]

_OK = int(Status.OK)
_BAD_ARGUMENT = int(Status.BAD_ARGUMENT)
_region_fits = inner(regions.region_fits)
_region_place = inner(regions.region_place)
_link_is_due = inner(regions.link_is_due)


@inner
def _copy(
    target: int, to_plane: int, to_line: int, source: int, plane: int, line: int, size: Any
) -> None:
    """Copy rows of a box, `size` being planes, rows of each, and bytes of a row."""
    for z in range(size[0]):
        for y in range(size[1]):
            to, of = target + z * to_plane + y * to_line, source + z * plane + y * line
            copy_bytes(to, of, size[2])


@inner
def copy_region(table: Any, row: int, buffer: int, args: Any, reads: bool) -> Any:
    """Copy the region that a command names to a buffer, or from it; return status and bytes."""
    what, z, y, x = args[0], args[1], args[2], args[3]
    if not _region_fits(table, row, what, z, y, x):
        return _BAD_ARGUMENT, 0
    level, at, plane, line = _region_place(table, row, what, z, y, x)
    rows, nbytes = y >> 32, (what >> 1 & 127) * (x >> 32)
    size = z >> 32, rows, nbytes
    if reads:
        _copy(buffer, rows * nbytes, nbytes, level + at, plane, line, size)
    else:
        _copy(level + at, plane, line, buffer, rows * nbytes, nbytes, size)
    return _OK, (z >> 32) * rows * nbytes


@inner
def _place(table: Any, links: Any, k: int, column: int) -> Any:
    """Return where a region of a link begins, its planes, its rows."""
    what, z = links[k, column + 1], links[k, column + 2]
    y, x = links[k, column + 3], links[k, column + 4]
    level, at, plane, line = _region_place(table, links[k, column], what, z, y, x)
    return level + at, plane, line


@inner
def exchange(table: Any, links: Any, row: int) -> None:
    """Copy along the links that are due of the group that an actor leads."""
    first = table[row, layout.C_LINKS]
    for k in range(first, first + table[row, layout.C_LINK_COUNT]):
        if _link_is_due(table, links, k):
            what, z = links[k, layout.K_TO_REGION], links[k, layout.K_TO_REGION + 1]
            y, x = links[k, layout.K_TO_REGION + 2], links[k, layout.K_TO_REGION + 3]
            target, to_plane, to_line = _place(table, links, k, layout.K_TO)
            source, plane, line = _place(table, links, k, layout.K_FROM)
            size = z >> 32, y >> 32, (what >> 1 & 127) * (x >> 32)
            _copy(target, to_plane, to_line, source, plane, line, size)
