"""The process of lesson 8: it compiles the CUDA kernel and prints its PTX; no GPU is needed.

``python -m ringnb.course.processes.compiled MAJOR MINOR``. Numba decides once per process whether
``numba.cuda`` is the compiler's or the simulator's, and the notebook may have the simulator's.
"""

from __future__ import annotations

import sys

from ringnb.actors import Wave2D
from ringnb.kernel.cuda.availability import load
from ringnb.kernel.cuda.compile import compiled

__all__ = ["compile_wave"]


def compile_wave(cc: tuple[int, int]) -> str:
    """Return the PTX of the kernel that hosts waves, for one compute capability."""
    load(simulate=False)
    # These modules import numba.cuda, which `load` has just chosen.
    from ringnb.kernel.cuda.compile import launch_bounds, signature  # noqa: PLC0415 - see above
    from ringnb.kernel.cuda.program import build, cell_codes  # noqa: PLC0415 - see above

    body = build(cell_codes(Wave2D((8, 8))))
    ((_, ptx),) = compiled(body, signature(), (cc,), launch_bounds(256))
    return ptx


if __name__ == "__main__":
    sys.stdout.write(compile_wave((int(sys.argv[1]), int(sys.argv[2]))))
