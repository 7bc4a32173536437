"""Regions of an actor's state and links between them: their words, and what kernels compute of them.

A region is four words: the first says where its field lies, ``level + 2 * (itemsize + 128 * offset)``
with the field's offset in its level in bytes; the others are ``first + (count << 32)`` along z, y and x.

A link is a row of a lane's table of links, see the ``K_`` columns. The functions behind `region_words`
are plain Python over the tables, as those of `ringnb.kernel.rules`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ringnb.actors.base import Actor
from ringnb.actors.region import Place
from ringnb.kernel import layout
from ringnb.kernel.levels import field_offsets

__all__ = [
    "link_is_due",
    "region_fits",
    "region_nbytes",
    "region_place",
    "region_words",
    "steps_to_exchange",
]

_LOW = 2**32 - 1


def region_words(actor: Actor, place: Place) -> tuple[int, int, int, int]:
    """Return the four words of a region of an actor."""
    dtypes = [dtype.name for dtype in actor.dtypes]
    offset = field_offsets(dtypes, math.prod(actor.shape))[place.number]
    what = place.level + 2 * (place.dtype.itemsize + 128 * offset)
    z, y, x = (first + (count << 32) for first, count in zip(place.first, place.cells, strict=True))
    return what, z, y, x


def region_nbytes(words: Sequence[int]) -> int:
    """Return how many bytes the values of a region have."""
    return math.prod(word >> 32 for word in words[1:]) * (words[0] >> 1 & 127)


def region_fits(table: Any, row: int, what: int, z: int, y: int, x: int) -> Any:
    """Return whether a region lies in an actor's state."""
    nz, ny, nx = table[row, layout.C_NZ], table[row, layout.C_NY], table[row, layout.C_NX]
    size = what >> 1 & 127
    return (
        what >= 0
        and (what & 1) < table[row, layout.C_LEVELS]
        and size > 0
        and (what >> 8) + size * nz * ny * nx <= table[row, layout.C_LEVEL_BYTES]
        and 0 < z >> 32 <= nz - (z & _LOW)
        and 0 < y >> 32 <= ny - (y & _LOW)
        and 0 < x >> 32 <= nx - (x & _LOW)
    )


def region_place(table: Any, row: int, what: int, z: int, y: int, x: int) -> Any:
    """Return a region's level, where it begins there, and how far planes and rows are apart."""
    level = table[row, layout.C_A]
    # ``now`` is A where C_CUR is 0, and B where it is 1.
    if (what & 1) != table[row, layout.C_CUR]:
        level = table[row, layout.C_B]
    size = what >> 1 & 127
    line = size * table[row, layout.C_NX]
    plane = line * table[row, layout.C_NY]
    at = (what >> 8) + (z & _LOW) * plane + (y & _LOW) * line + (x & _LOW) * size
    return level, at, plane, line


def steps_to_exchange(table: Any, links: Any, row: int, count: int) -> Any:
    """Return after how many of `count` steps a link of the group that an actor leads is due."""
    first = table[row, layout.C_LINKS]
    for k in range(first, first + table[row, layout.C_LINK_COUNT]):
        if links[k, layout.K_ON] != 0:
            every = links[k, layout.K_EVERY]
            count = min(count, every - table[links[k, layout.K_TO], layout.C_STEP] % every)
    return count


def link_is_due(table: Any, links: Any, k: int) -> Any:
    """Return whether a link is to be copied, now that all of its group have taken a step."""
    step = table[links[k, layout.K_TO], layout.C_STEP]
    return links[k, layout.K_ON] != 0 and step % links[k, layout.K_EVERY] == 0
