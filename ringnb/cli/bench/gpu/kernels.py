"""What is launched on a device for comparison; import it after `ringnb.kernel.cuda.availability.load`.

The one-step kernel calls the very function that the persistent kernel calls for an actor's cells. As in
`ringnb.kernel.cuda.program`, no host code but the makers lives here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from ringnb.actors.base import Actor
from ringnb.kernel.cuda import intrinsics as dev
from ringnb.kernel.cuda.program import cell_codes, compile_cells

__all__ = ["COPY_SIGNATURE", "ONE_STEP_SIGNATURE", "copy", "one_step"]

COPY_SIGNATURE = "void(int64[::1], int64[::1])"
ONE_STEP_SIGNATURE = "void(int64[::1], int64, int64, int64[::1], int64, int64, int64, int64, int64)"


def copy(source_: Any, target_: Any) -> None:
    """Copy words."""
    source, target = dev.raw(source_), dev.raw(target_)
    for i in range(cuda.grid(1), source.shape[0], cuda.gridsize(1)):
        target[i] = source[i]


def one_step(actor: Actor) -> Callable[..., None]:
    """Make the kernel that steps all cells of an actor once.

    Its arguments: the words of the state, where in them the two levels begin, the parameters, the step,
    the number of fields, and the grid's three lengths.
    """
    cells = compile_cells(cell_codes(actor)[0])

    def step_once(
        state_: Any,
        now: int,
        before: int,
        params_: Any,
        step: int,
        nf: int,
        nz: int,
        ny: int,
        nx: int,
    ) -> None:
        """Step this thread's cells."""
        state = dev.raw(state_)
        own = dev.private(dev.grid(dev.raw(params_), 0, np.float64, (16,)))
        me, all_ = cuda.grid(1), cuda.gridsize(1)
        cells(state, now, before, own, step, 0, nf, nz, ny, nx, me, all_)

    return step_once
