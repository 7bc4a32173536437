"""The checksum over a snapshot: the kernel sums as it copies, and the host compares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ringnb.kernel.atomics import words_at
from ringnb.kernel.caching import entry_point
from ringnb.kernel.layout import BLOCK_WORDS

__all__ = ["checksum_words"]


@entry_point(nogil=True)
def checksum_words(address: int, first: int, last: int) -> Any:
    """Checksum of the words ``first..last-1`` behind an address, see `ringnb.kernel.layout`."""
    words = carray(words_at(address), (last,))
    total = np.uint64(0)
    at = first
    while at < last:
        # Plain additions within a block, so that the sum keeps up with the memory.
        end = min((at // BLOCK_WORDS + 1) * BLOCK_WORDS, last)
        block = np.uint64(0)
        for i in range(at, end):
            block += words[i]
        total += block * np.uint64(2 * (at // BLOCK_WORDS) + 1)
        at = end
    return np.int64(total)
