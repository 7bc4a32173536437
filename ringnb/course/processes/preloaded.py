"""What the forkserver of lesson 4 has ready for the children that it forks: imports and compiled code.

A child that had to load these itself would take longer to start than it lives. Nothing is launched here:
a forked child has none of its parent's threads.
"""

from __future__ import annotations

from ringnb.actors import Heat2D
from ringnb.kernel.cpu.kernel import CpuKernel

__all__ = ["KERNEL"]

KERNEL = CpuKernel([Heat2D((8, 8))])
"""Compiled, and never launched."""
