"""Random numbers without state: Philox4x32-10, a function of a counter and a key.

J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A model that draws its
numbers from (seed; cell, step) has no hidden state beyond seed and step, which a checkpoint holds
anyway, and gives the same numbers whatever the order in which cells are visited.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["philox", "uniform"]

_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@njit(forceinline=True)
def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Return four random 32-bit words.

    Parameters
    ----------
    c0, c1, c2, c3 : uint64
        The counter, 32 bits in each.
    k0, k1 : uint64
        The key, 32 bits in each.

    Returns
    -------
    tuple of four uint64
        32 random bits in each.
    """
    for _ in range(10):
        # What lies above the low half is cut off where it would matter: there it costs no instruction.
        p0 = _M0 * (c0 & _LOW)
        p1 = _M1 * (c2 & _LOW)
        c0, c1, c2, c3 = ((p1 >> _HALF) ^ c1 ^ k0, p1, (p0 >> _HALF) ^ c3 ^ k1, p0)
        k0 += _W0
        k1 += _W1
    return c0 & _LOW, c1 & _LOW, c2 & _LOW, c3 & _LOW


@njit(forceinline=True)
def uniform(seed: Any, step: Any, cell: Any) -> Any:
    """Return a random number in [0, 1) for a cell at a step.

    Parameters
    ----------
    seed, step, cell : int
        Not negative, below 2**63. A float, as parameters are, loses its fraction.

    Returns
    -------
    float
        A multiple of 2**-32.
    """
    s, t, c = np.uint64(seed), np.uint64(step), np.uint64(cell)
    word, _, _, _ = philox(c & _LOW, c >> _HALF, t & _LOW, t >> _HALF, s & _LOW, s >> _HALF)
    return np.float64(word) * 2.0**-32
