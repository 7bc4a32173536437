"""Heat in a plate: explicit diffusion in two dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb.actors.base import Actor, FieldSpec
from ringnb.actors.checks import Start, check_axes, check_positive, check_start

__all__ = ["Heat2D"]


class Heat2D(Actor):
    """Temperature of a plate whose rim is held at zero.

    ``T_t = a (T_xx + T_yy)``, with T = 0 one cell outside the grid. Forward in time, central in
    space: ``T_next = T + r (sum of 4 neighbours - 4 T)`` with ``r = a dt / dx^2``. Stable for
    r <= 1/4.

    Parameters
    ----------
    shape : (int, int)
        Cells, ``(ny, nx)``.
    diffusion_number : float, default 0.2
        r, dimensionless.
    alpha : float, default 1.1e-4
        Thermal diffusivity a in square metres per second (copper).
    dx : float, default 0.001
        Cell size in metres.
    start : (ny, nx) array, optional
        The temperature to start from, kelvin above the rim.
    start_step, start_time : int and float, optional
        The step, and the simulated time in seconds, of the start state; by default 0 and
        `start_step` times ``dt``.

    Raises
    ------
    ValueError
        If a parameter is outside its limits.
    """

    kernel_type = "heat_2d"
    fields = {"temperature": FieldSpec("K", "temperature above the rim")}  # noqa: RUF012 - read only
    dtype = np.dtype(np.float32)
    reach = 1
    limits = {  # noqa: RUF012 - read only
        "diffusion_number": (0.01, 0.25),
        "alpha": (1e-7, 2e-4),
        "dx": (1e-4, 0.01),
    }

    def __init__(
        self,
        shape: tuple[int, int],
        diffusion_number: float = 0.2,
        *,
        alpha: float = 1.1e-4,
        dx: float = 0.001,
        start: Start = None,
        start_step: int = 0,
        start_time: float | None = None,
    ) -> None:
        super().__init__(
            shape,
            {"diffusion_number": diffusion_number, "alpha": alpha, "dx": dx, "dt": 0.0},
            start_step=start_step,
            start_time=start_time,
        )
        check_axes(self, 2)
        self._start = check_start(start, self)

    def complete(self, params: dict[str, float]) -> dict[str, float]:
        """Check the limits; ``dt`` follows from the others."""
        r = params["diffusion_number"]
        if not 0 < r <= 0.25:
            msg = (
                f"diffusion_number={r:g} is beyond the stability limit of Heat2D: "
                "0 < a dt / dx^2 <= 1/4; take a smaller time step"
            )
            raise ValueError(msg)
        check_positive(params, "alpha", "dx")
        return {**params, "dt": r * params["dx"] ** 2 / params["alpha"]}

    @staticmethod
    def update(now: Any, next: Any, params: Any, step: int, y: int, x: int) -> None:
        """Write the temperature of one cell at the next step."""
        f = np.float32
        ny, nx = now.shape[1], now.shape[2]
        t = now[0, y, x]
        north = now[0, y - 1, x] if y > 0 else f(0)
        south = now[0, y + 1, x] if y < ny - 1 else f(0)
        west = now[0, y, x - 1] if x > 0 else f(0)
        east = now[0, y, x + 1] if x < nx - 1 else f(0)
        next[0, y, x] = t + f(params[0]) * ((north + south) + (west + east) - f(4) * t)

    def start(self, slot: int = 0) -> npt.NDArray[Any]:
        """Return some hot discs, at places that depend on the slot."""
        if self._start is not None:
            return self._start.copy()
        rng = np.random.default_rng(2000 + slot)
        ny, nx = self.shape
        y, x = np.mgrid[:ny, :nx]
        field = np.zeros(self.shape, self.dtype)
        for _ in range(6):
            cy, cx = rng.uniform(0.15, 0.85) * ny, rng.uniform(0.15, 0.85) * nx
            radius = rng.uniform(0.05, 0.13) * min(ny, nx)
            disc = (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
            field[disc] = rng.uniform(40, 100)
        return field[np.newaxis]
