"""Two chemicals that make patterns: the Gray-Scott reaction-diffusion system."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb.actors.base import Actor, FieldSpec
from ringnb.actors.checks import Start, check_axes, check_start

__all__ = ["GrayScott"]


class GrayScott(Actor):
    """Spots and stripes that grow, split and fill the plane.

    ::

        u_t = Du (u_xx + u_yy) - u v^2 + F (1 - u)
        v_t = Dv (v_xx + v_yy) + u v^2 - (F + k) v

    on a torus, forward in time, central in space (5 points), after Pearson, Science 261 (1993) 189.
    Lengths are in cells and times in units of the reaction. Stable if diffusion is,
    ``max(Du, Dv) dt <= 1/4``, and ``dt (F + k) < 1``.

    Parameters
    ----------
    shape : (int, int)
        Cells, ``(ny, nx)``.
    feed : float, default 0.037
        F, per unit of time.
    kill : float, default 0.06
        k, per unit of time.
    du, dv : float, default 0.16 and 0.08
        Diffusivities, cells squared per unit of time.
    dt : float, default 1.0
        Time step.
    start : (2, ny, nx) array, optional
        u and v to start from.
    start_step, start_time : int and float, optional
        The step, and the simulated time in seconds, of the start state; by default 0 and
        `start_step` times ``dt``.

    Raises
    ------
    ValueError
        If a parameter is outside its limits.
    """

    kernel_type = "gray_scott"
    fields = {  # noqa: RUF012 - read only
        "u": FieldSpec("1", "concentration of U"),
        "v": FieldSpec("1", "concentration of V"),
    }
    dtype = np.dtype(np.float32)
    reach = 1
    limits = {  # noqa: RUF012 - read only
        "feed": (0.0, 0.1),
        "kill": (0.0, 0.1),
        "du": (0.0, 0.25),
        "dv": (0.0, 0.25),
        "dt": (0.1, 1.5),
    }

    def __init__(
        self,
        shape: tuple[int, int],
        feed: float = 0.037,
        kill: float = 0.06,
        *,
        du: float = 0.16,
        dv: float = 0.08,
        dt: float = 1.0,
        start: Start = None,
        start_step: int = 0,
        start_time: float | None = None,
    ) -> None:
        params = {"feed": feed, "kill": kill, "du": du, "dv": dv, "dt": dt}
        super().__init__(shape, params, start_step=start_step, start_time=start_time)
        check_axes(self, 2)
        self._start = check_start(start, self)

    def complete(self, params: dict[str, float]) -> dict[str, float]:
        """Check the limits."""
        for name, value in params.items():
            if value < 0 or (name == "dt" and value == 0):
                msg = (
                    f"{name}={value:g} must {'be positive' if name == 'dt' else 'not be negative'}"
                )
                raise ValueError(msg)
        dt, fastest = params["dt"], max(params["du"], params["dv"])
        if fastest * dt > 0.25:
            msg = (
                f"du={params['du']:g}, dv={params['dv']:g}, dt={dt:g} are beyond the stability limit "
                "of GrayScott: max(du, dv) dt <= 1/4; take a smaller time step"
            )
            raise ValueError(msg)
        if dt * (params["feed"] + params["kill"]) >= 1:
            msg = (
                f"feed={params['feed']:g}, kill={params['kill']:g}, dt={dt:g} are beyond the limit "
                "of GrayScott: dt (feed + kill) < 1; take a smaller time step"
            )
            raise ValueError(msg)
        return params

    @staticmethod
    def update(now: Any, next: Any, params: Any, step: int, y: int, x: int) -> None:
        """Write both concentrations of one cell at the next step."""
        f = np.float32
        ny, nx = now.shape[1], now.shape[2]
        n = y - 1 if y > 0 else ny - 1
        s = y + 1 if y < ny - 1 else 0
        w = x - 1 if x > 0 else nx - 1
        e = x + 1 if x < nx - 1 else 0
        feed, kill = f(params[0]), f(params[1])
        du, dv, dt = f(params[2]), f(params[3]), f(params[4])
        u, v = now[0, y, x], now[1, y, x]
        lap_u = (now[0, n, x] + now[0, s, x]) + (now[0, y, w] + now[0, y, e]) - f(4) * u
        lap_v = (now[1, n, x] + now[1, s, x]) + (now[1, y, w] + now[1, y, e]) - f(4) * v
        uvv = u * v * v
        next[0, y, x] = u + dt * (du * lap_u - uvv + feed * (f(1) - u))
        next[1, y, x] = v + dt * (dv * lap_v + uvv - (feed + kill) * v)

    @staticmethod
    def inject(
        now: Any, before: Any, params: Any, z: int, y: int, x: int, amplitude: float
    ) -> None:
        """Add V to one cell."""
        now[1, z, y, x] += amplitude

    def start(self, slot: int = 0) -> npt.NDArray[Any]:
        """Return patches of V in a sea of U, at places that depend on the slot."""
        if self._start is not None:
            return self._start.copy()
        rng = np.random.default_rng(3000 + slot)
        ny, nx = self.shape
        u, v = np.ones(self.shape), np.zeros(self.shape)
        half = max(2, min(ny, nx) // 24)
        for _ in range(10):
            cy, cx = rng.integers(ny), rng.integers(nx)
            rows = np.arange(cy - half, cy + half) % ny
            columns = np.arange(cx - half, cx + half) % nx
            u[np.ix_(rows, columns)], v[np.ix_(rows, columns)] = 0.5, 0.25
        v += 0.01 * rng.random(self.shape)
        return np.stack([u, v]).astype(self.dtype)
