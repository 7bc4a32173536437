"""How far a state may lie apart that the CPU kernel and the CUDA kernel computed from the same one.

Both round every operation once, in the same order (the CUDA kernel is compiled so, see
`ringnb.kernel.cuda.compile.ieee_arithmetic`), so integers and sums, differences, products and quotients
of ``float32`` leave the same bits, after any number of steps. What remains is the edge of the normal
numbers, where hardware may round or drop first. Not yet compared on a device; in the simulator, which
drops nothing, and where the compiled PTX is run in software, the built-in actors agree.

`Ising2D` compares random 32-bit words with ``exp(-dE / T) * (2**32 - 1)``, rounded down. The last bit of
``exp`` differs between libraries: the same spins flip unless such a product lies within an ulp of an
integer.

An actor of your own is held to no table: ``float64`` keeps numbers below 2.3e-308 on a GPU that the CPU
drops, functions of `math` differ in their last bits, and the simulator, which is NumPy, computes
``2.0 * x`` in ``float32`` for a ``float32`` x where compiled code has ``float64``.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

__all__ = ["TOLERANCE"]

_EDGE = float(np.finfo(np.float32).tiny)

TOLERANCE = MappingProxyType(
    {
        "fdtd_2d": _EDGE,
        "fdtd_3d": _EDGE,
        "gray_scott": _EDGE,
        "heat_2d": _EDGE,
        "ising_2d": 0.0,
        "life": 0.0,
    }
)
"""Largest absolute difference of a cell, by ``kernel_type``."""
