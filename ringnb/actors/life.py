"""Conway's Game of Life on a torus."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb.actors.base import Actor, FieldSpec
from ringnb.actors.checks import Start, check_axes, check_start

__all__ = ["Life"]


class Life(Actor):
    """A cell is alive in the next generation if 3 of its 8 neighbours are, or 2 and it is itself.

    Exact, on a torus. A step is a generation.

    Parameters
    ----------
    shape : (int, int)
        Cells, ``(ny, nx)``.
    start : (ny, nx) array, optional
        0 and 1. By default a random soup with a density of 0.3 in the middle half.
    start_step : int, default 0
        The step of the start state.

    Raises
    ------
    ValueError
        If the start holds anything but 0 and 1.
    """

    kernel_type = "life"
    fields = {"alive": FieldSpec("1", "alive")}  # noqa: RUF012 - read only
    dtype = np.dtype(np.uint8)
    reach = 1

    def __init__(self, shape: tuple[int, int], *, start: Start = None, start_step: int = 0) -> None:
        super().__init__(shape, {}, start_step=start_step)
        check_axes(self, 2)
        self._start = check_start(start, self)
        if self._start is not None and self._start.max() > 1:
            msg = f"start holds {self._start.max()}: a cell of Life is 0 or 1"
            raise ValueError(msg)

    @staticmethod
    def update(now: Any, next: Any, params: Any, step: int, y: int, x: int) -> None:
        """Write the next state of one cell."""
        ny, nx = now.shape[1], now.shape[2]
        n = y - 1 if y > 0 else ny - 1
        s = y + 1 if y < ny - 1 else 0
        w = x - 1 if x > 0 else nx - 1
        e = x + 1 if x < nx - 1 else 0
        alive = now[0, y, x]
        count = np.uint8(
            (now[0, n, w] + now[0, n, x] + now[0, n, e])
            + (now[0, y, w] + now[0, y, e])
            + (now[0, s, w] + now[0, s, x] + now[0, s, e])
        )
        # 3 neighbours, or 2 and alive: exactly then the bits of count and alive make 3.
        next[0, y, x] = np.uint8(np.uint8(count | alive) == np.uint8(3))

    @staticmethod
    def inject(
        now: Any, before: Any, params: Any, z: int, y: int, x: int, amplitude: float
    ) -> None:
        """Bring one cell to life if the amplitude is positive, else kill it."""
        now[0, z, y, x] = 1 if amplitude > 0 else 0

    def start(self, slot: int = 0) -> npt.NDArray[Any]:
        """Return a random soup that depends on the slot."""
        if self._start is not None:
            return self._start.copy()
        rng = np.random.default_rng(4000 + slot)
        ny, nx = self.shape
        field = np.zeros(self.shape, self.dtype)
        middle = (slice(ny // 4, ny - ny // 4), slice(nx // 4, nx - nx // 4))
        field[middle] = rng.random(field[middle].shape) < 0.3
        return field[np.newaxis]
