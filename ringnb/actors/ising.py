"""The two-dimensional Ising model, sampled with checkerboard Metropolis updates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb.actors.base import Actor, FieldSpec
from ringnb.actors.checks import Start, check_axes, check_positive, check_start
from ringnb.actors.random import uniform

__all__ = ["Ising2D"]


class Ising2D(Actor):
    """Spins of +1 and -1 at a temperature.

    Energy ``E = - sum over neighbours s_i s_j - h sum s_i`` on a torus, in units of the coupling. A
    step offers a flip to every spin of one colour of the checkerboard, odd and even steps in turn, and
    accepts it with probability ``min(1, exp(-dE / T))`` (Metropolis). Two steps are a sweep. Spins of
    one colour do not touch, so a step is exact whatever the order of cells. Without a field the model
    orders below ``T_c = 2 / ln(1 + sqrt 2) = 2.269``.

    Random numbers are a function of seed, step and cell (`ringnb.actors.random`): seed and step are
    in every checkpoint, so nothing random is lost by a restore.

    Parameters
    ----------
    shape : (int, int)
        Spins, ``(ny, nx)``, both even.
    temperature : float, default 2.2
        T, in units of coupling over Boltzmann's constant. Positive.
    field : float, default 0.0
        h, in units of the coupling.
    seed : int, default 0
        0 to 2**52; the actor in slot k draws with seed + k.
    hot : bool, default True
        Start from random spins; otherwise all are +1.
    start : (ny, nx) array, optional
        +1 and -1, instead.
    start_step : int, default 0
        The step of the start state.

    Raises
    ------
    ValueError
        If a parameter is outside its limits, or a length is odd.
    """

    kernel_type = "ising_2d"
    fields = {"spin": FieldSpec("1", "spin")}  # noqa: RUF012 - read only
    dtype = np.dtype(np.int8)
    reach = 1
    limits = {"temperature": (0.5, 5.0), "field": (-1.0, 1.0), "seed": None}  # noqa: RUF012 - read only

    def __init__(
        self,
        shape: tuple[int, int],
        temperature: float = 2.2,
        field: float = 0.0,
        *,
        seed: int = 0,
        hot: bool = True,
        start: Start = None,
        start_step: int = 0,
    ) -> None:
        params = {"temperature": temperature, "field": field, "seed": seed}
        super().__init__(shape, params, start_step=start_step)
        check_axes(self, 2)
        if any(n % 2 for n in self.shape):
            msg = f"Ising2D needs even lengths for its checkerboard on a torus, got {self.shape}"
            raise ValueError(msg)
        self._hot = bool(hot)
        self._start = check_start(start, self)
        if self._start is not None and not np.isin(self._start, (-1, 1)).all():
            msg = "start holds values other than +1 and -1"
            raise ValueError(msg)

    def complete(self, params: dict[str, float]) -> dict[str, float]:
        """Check the limits."""
        check_positive(params, "temperature")
        seed = params["seed"]
        if not 0 <= seed <= 2**52 or seed != int(seed):
            msg = f"seed={seed:g} must be an integer from 0 to 2**52"
            raise ValueError(msg)
        return params

    def start_params(self, slot: int = 0) -> dict[str, float]:
        """Return the parameters with a seed of the slot's own."""
        params = super().start_params(slot)
        return {**params, "seed": params["seed"] + slot}

    @staticmethod
    def update(now: Any, next: Any, params: Any, step: int, y: int, x: int) -> None:
        """Write one spin after the step."""
        ny, nx = now.shape[1], now.shape[2]
        s = now[0, y, x]
        if (y + x + step) % 2 == 0:
            up = now[0, y - 1, x] if y > 0 else now[0, ny - 1, x]
            down = now[0, y + 1, x] if y < ny - 1 else now[0, 0, x]
            left = now[0, y, x - 1] if x > 0 else now[0, y, nx - 1]
            right = now[0, y, x + 1] if x < nx - 1 else now[0, y, 0]
            rise = 2.0 * s * (up + down + left + right + params[1])
            if rise <= 0 or uniform(params[2], step, y * nx + x) < math.exp(-rise / params[0]):
                s = -s
        next[0, y, x] = s

    @staticmethod
    def inject(
        now: Any, before: Any, params: Any, z: int, y: int, x: int, amplitude: float
    ) -> None:
        """Turn one spin up if the amplitude is positive, else down."""
        now[0, z, y, x] = 1 if amplitude > 0 else -1

    def start(self, slot: int = 0) -> npt.NDArray[Any]:
        """Return random spins that depend on the slot, or all up."""
        if self._start is not None:
            return self._start.copy()
        if not self._hot:
            return np.ones(self.state_shape, self.dtype)
        rng = np.random.default_rng([int(self.params["seed"]), slot])
        return rng.choice(np.array([-1, 1], self.dtype), size=self.state_shape)
