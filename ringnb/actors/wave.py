"""Waves in a box: a second-order finite-difference scheme in two and three dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb.actors.base import Actor, FieldSpec
from ringnb.actors.checks import Start, check_axes, check_positive, check_start

__all__ = ["Wave2D", "Wave3D"]


class _Wave(Actor):
    fields = {"pressure": FieldSpec("Pa", "sound pressure")}  # noqa: RUF012 - read only
    dtype = np.dtype(np.float32)
    levels = 2
    ndim = 2
    limits = {  # noqa: RUF012 - read only
        "courant2": (0.01, 0.5),
        "damping": (0.0, 0.1),
        "dx": (0.001, 0.1),
        "c": (100.0, 6000.0),
    }

    def __init__(
        self,
        shape: tuple[int, ...],
        courant2: float = 0.25,
        damping: float = 0.0,
        *,
        dx: float = 0.01,
        c: float = 343.0,
        start: Start = None,
        start_step: int = 0,
        start_time: float | None = None,
    ) -> None:
        params = {"courant2": courant2, "damping": damping, "dx": dx, "c": c, "dt": 0.0}
        super().__init__(shape, params, start_step=start_step, start_time=start_time)
        check_axes(self, self.ndim)
        self._start = check_start(start, self)

    def complete(self, params: dict[str, float]) -> dict[str, float]:
        """Check the limits; ``dt`` follows from the others."""
        courant2, damping = params["courant2"], params["damping"]
        if not 0 < courant2 <= (1 + 1e-12) / self.ndim:
            msg = (
                f"courant2={courant2:g} is beyond the stability limit of {type(self).__name__}: "
                f"0 < (c dt / dx)^2 <= 1/{self.ndim}; take a smaller time step"
            )
            raise ValueError(msg)
        if not 0 <= damping < 2:
            msg = f"damping={damping:g} must lie in 0 <= damping < 2 (per step)"
            raise ValueError(msg)
        check_positive(params, "dx", "c")
        return {**params, "dt": math.sqrt(courant2) * params["dx"] / params["c"]}

    @staticmethod
    def inject(
        now: Any, before: Any, params: Any, z: int, y: int, x: int, amplitude: float
    ) -> None:
        """Raise the pressure of one cell, at rest: both levels."""
        now[0, z, y, x] += amplitude
        before[0, z, y, x] += amplitude

    def start(self, slot: int = 0) -> npt.NDArray[Any]:
        """Return two Gaussian pulses at rest, at places that depend on the slot."""
        if self._start is not None:
            return self._start.copy()
        rng = np.random.default_rng(1000 + slot)
        field = np.zeros(self.shape)
        axes = np.meshgrid(*(np.arange(n) for n in self.shape), indexing="ij")
        width = max(1.5, min(self.shape) / 18)
        for sign in (1.0, -0.6):
            place = [rng.uniform(0.25, 0.75) * n for n in self.shape]
            r2 = sum((axis - p) ** 2 for axis, p in zip(axes, place, strict=True))
            field += sign * np.exp(-r2 / (2 * width**2))
        level = field.astype(self.dtype)
        return np.stack([level, level])


class Wave2D(_Wave):
    """Sound in a flat box.

    ``u_tt + g u_t = c^2 (u_xx + u_yy)`` for the pressure u, with u = 0 at the walls (one cell outside
    the grid). Central differences in time and space, second order in both::

        (1 + d) u_next = 2 u - (1 - d) u_before + C^2 (sum of 4 neighbours - 4 u)

    with ``C^2 = (c dt / dx)^2`` and ``d = g dt / 2``. Stable for C^2 <= 1/2.

    Parameters
    ----------
    shape : (int, int)
        Cells, ``(ny, nx)``.
    courant2 : float, default 0.25
        C^2, dimensionless.
    damping : float, default 0.0
        ``g dt``, the fraction of speed lost per step.
    dx : float, default 0.01
        Cell size in metres.
    c : float, default 343.0
        Speed of sound in metres per second.
    start : (2, ny, nx) or (ny, nx) array, optional
        The pressure to start from; one level starts at rest.
    start_step, start_time : int and float, optional
        The step, and the simulated time in seconds, of the start state; by default 0 and
        `start_step` times ``dt``.

    Raises
    ------
    ValueError
        If a parameter is outside its limits.
    """

    kernel_type = "fdtd_2d"
    ndim = 2
    reach = 1

    @staticmethod
    def update(now: Any, next: Any, params: Any, step: int, y: int, x: int) -> None:
        """Write the pressure of one cell at the next step."""
        f = np.float32
        ny, nx = now.shape[1], now.shape[2]
        u = now[0, y, x]  # and next still holds the level before it
        north = now[0, y - 1, x] if y > 0 else f(0)
        south = now[0, y + 1, x] if y < ny - 1 else f(0)
        west = now[0, y, x - 1] if x > 0 else f(0)
        east = now[0, y, x + 1] if x < nx - 1 else f(0)
        d = f(0.5 * params[1])
        scale = f(1.0 / (1.0 + 0.5 * params[1]))
        lap = (north + south) + (west + east) - f(4) * u
        next[0, y, x] = scale * (f(2) * u - (f(1) - d) * next[0, y, x] + f(params[0]) * lap)


class Wave3D(_Wave):
    """Sound in a box.

    As `Wave2D`, with ``u_zz`` and six neighbours; stable for C^2 <= 1/3.

    Parameters
    ----------
    shape : (int, int, int)
        Cells, ``(nz, ny, nx)``.
    courant2 : float, default 0.25
        C^2 = (c dt / dx)^2, dimensionless.
    damping : float, default 0.0
        ``g dt``, the fraction of speed lost per step.
    dx : float, default 0.01
        Cell size in metres.
    c : float, default 343.0
        Speed of sound in metres per second.
    start : (2, nz, ny, nx) or (nz, ny, nx) array, optional
        The pressure to start from; one level starts at rest.
    start_step, start_time : int and float, optional
        The step, and the simulated time in seconds, of the start state; by default 0 and
        `start_step` times ``dt``.

    Raises
    ------
    ValueError
        If a parameter is outside its limits.
    """

    kernel_type = "fdtd_3d"
    ndim = 3
    reach = 1
    limits = {**_Wave.limits, "courant2": (0.01, 0.33)}  # noqa: RUF012 - read only

    @staticmethod
    def update(now: Any, next: Any, params: Any, step: int, z: int, y: int, x: int) -> None:
        """Write the pressure of one cell at the next step."""
        f = np.float32
        nz, ny, nx = now.shape[1], now.shape[2], now.shape[3]
        u = now[0, z, y, x]  # and next still holds the level before it
        below = now[0, z - 1, y, x] if z > 0 else f(0)
        above = now[0, z + 1, y, x] if z < nz - 1 else f(0)
        north = now[0, z, y - 1, x] if y > 0 else f(0)
        south = now[0, z, y + 1, x] if y < ny - 1 else f(0)
        west = now[0, z, y, x - 1] if x > 0 else f(0)
        east = now[0, z, y, x + 1] if x < nx - 1 else f(0)
        d = f(0.5 * params[1])
        scale = f(1.0 / (1.0 + 0.5 * params[1]))
        lap = ((below + above) + (north + south)) + (west + east) - f(6) * u
        next[0, z, y, x] = scale * (f(2) * u - (f(1) - d) * next[0, z, y, x] + f(params[0]) * lap)
