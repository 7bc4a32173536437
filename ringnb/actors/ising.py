"""The two-dimensional Ising model, sampled with checkerboard Metropolis updates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from ringnb.actors.base import Actor, FieldSpec
from ringnb.actors.checks import Start, check_axes, check_positive, check_start
from ringnb.actors.random import philox

__all__ = ["Ising2D"]


# Which random words are drawn: a checkpoint of a model that drew others says so when it is restored. It
# is a part of the counter, above the number of a call, of which a row has an eighth of its length.
SEQUENCE = 2
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@njit(forceinline=True)
def four_words(seed: Any, step: Any, y: Any, call: Any) -> Any:
    """Return the random words of four spins of a row, each uint64 below 2**32."""
    s, t = np.uint64(seed), np.uint64(step)
    return philox(np.uint64(call), np.uint64(y), t & _LOW, t >> _HALF, s & _LOW, s >> _HALF)


@njit(forceinline=True)
def highest_word(rise: Any, temperature: Any) -> Any:
    """Return the largest word with which a spin flips whose flip raises the energy by `rise`."""
    return np.uint64(min(1.0, math.exp(-rise / temperature)) * 4294967295.0)


@njit(forceinline=True)
def highest_words(spin: Any, params: Any) -> Any:
    """Return the same for the sums -4, -2, 0, 2, 4 of neighbours that are as the spin is: they fall."""
    return (
        np.uint32(highest_word(2.0 * spin * (-4 * spin + params[1]), params[0])),
        np.uint32(highest_word(2.0 * spin * (-2 * spin + params[1]), params[0])),
        np.uint32(highest_word(2.0 * spin * (0 * spin + params[1]), params[0])),
        np.uint32(highest_word(2.0 * spin * (2 * spin + params[1]), params[0])),
        np.uint32(highest_word(2.0 * spin * (4 * spin + params[1]), params[0])),
    )


@njit(forceinline=True)
def sums_below(word: Any, highest: Any, weight: Any) -> Any:
    """Return `weight` for each of the five sums with which a spin flips that has drawn a word."""
    u, none = np.uint16, np.uint16(0)  # narrow all the way: there are as many in a vector
    low = u((weight if word <= highest[0] else none) + (weight if word <= highest[1] else none))
    high = u((weight if word <= highest[3] else none) + (weight if word <= highest[4] else none))
    return u(u(low + high) + (weight if word <= highest[2] else none))


@njit(forceinline=True)
def rises_below(word: Any, highest: Any, weight: Any) -> Any:
    """Return what `sums_below` does without a field, where a flip with a sum up to 0 raises nothing."""
    u, none = np.uint16, np.uint16(0)
    high = u((weight if word <= highest[3] else none) + (weight if word <= highest[4] else none))
    return u(u(weight * u(3)) + high)


@njit(forceinline=True)
def flip(now: Any, next: Any, allowed: Any, n: Any, y: Any, s: Any, x: Any, w: Any, e: Any) -> None:
    """Write one spin of a row, with what it is allowed."""
    # No conditions, so that it becomes vector code, not even whether an index is negative.
    n, y, s = np.uint64(n), np.uint64(y), np.uint64(s)
    x, w, e = np.uint64(x), np.uint64(w), np.uint64(e)
    spin, both = now[0, y, x], allowed[x]
    total = np.int8(now[0, n, x] + now[0, s, x] + now[0, y, w] + now[0, y, e])
    along = np.int8(total if spin > 0 else -total)
    most = np.int8(both & np.uint8(15) if spin > 0 else both >> np.uint8(4))
    next[0, y, x] = np.int8(-spin if most > np.int8(along + 4) else spin)


@njit(forceinline=True, error_model="numpy")
def step_rows(
    now: Any, next: Any, params: Any, step: Any, first: Any, last: Any, origin: Any, height: Any
) -> None:
    """Write the spins of some rows, in loops that become vector code.

    The first of all rows here is the row `origin` of a grid of `height` rows.
    """
    ny, nx = now.shape[1], now.shape[2]
    calls = (nx + 63) // 64 * 8
    words, pairs = np.empty(4 * calls, np.uint32), np.empty(4 * calls, np.uint16)
    allowed = pairs.view(np.uint8)
    of_up, of_down = highest_words(1, params), highest_words(-1, params)
    up, down = np.uint16(2), np.uint16(2 << 4)
    is_even = params[1] == 0.0
    for y in range(first, last):
        row = (origin + y) % height
        for call in range(calls):
            found = four_words(params[2], step, row, (SEQUENCE << 28) + call)
            words[call] = found[0]
            words[call + calls] = found[1]
            words[call + 2 * calls] = found[2]
            words[call + 3 * calls] = found[3]
        # A byte for each spin of the row, low half for a spin that is up, high half for one that is
        # down: 0 if it is not offered a flip, else twice the number of sums over its neighbours,
        # from -4 on for a spin that is up, with which it flips. (The first byte is the low one.)
        place = np.uint16(8 * ((row + step) % 2))
        for i in range(4 * calls):
            if is_even:  # the sums up to 0 always flip, and the two above are the same for both
                both = rises_below(words[i], of_up, up | down)
            else:
                both = sums_below(words[i], of_up, up) + sums_below(words[i], of_down, down)
            pairs[i] = np.uint16(both) << place
        n, s = y - 1 if y > 0 else ny - 1, y + 1 if y < ny - 1 else 0
        flip(now, next, allowed, n, y, s, 0, nx - 1, 1)
        for x in range(1, nx - 1):
            flip(now, next, allowed, n, y, s, x, x - 1, x + 1)
        flip(now, next, allowed, n, y, s, nx - 1, nx - 2, 0)


class Ising2D(Actor):
    """Spins of +1 and -1 at a temperature.

    Energy ``E = - sum over neighbours s_i s_j - h sum s_i`` on a torus, in units of the coupling. A
    step offers a flip to every spin of one colour of the checkerboard, odd and even steps in turn, and
    accepts it with probability ``min(1, exp(-dE / T))`` (Metropolis). Two steps are a sweep. Spins of
    one colour do not touch, so a step is exact whatever the order of cells. Without a field the model
    orders below ``T_c = 2 / ln(1 + sqrt 2) = 2.269``.

    Random numbers are a function of seed, step and cell (`ringnb.actors.random`), and of the length of a
    row: seed and step are in every checkpoint, so nothing random is lost by a restore.

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
            # A call gives four words, for spins that are far apart: a row's calls are computed together.
            spin, calls = x >> 1, (nx + 63) // 64 * 8
            words = four_words(params[2], step, y, (SEQUENCE << 28) + spin % calls)
            if words[spin // calls] <= highest_word(rise, params[0]):
                s = -s
        next[0, y, x] = s

    @staticmethod
    def rows(now: Any, next: Any, params: Any, step: int, first: int, last: int) -> None:
        """Write the spins of some rows as `update` does."""
        step_rows(now, next, params, step, first, last, 0, now.shape[1])

    @staticmethod
    def _rows_of_part(now: Any, next: Any, params: Any, step: int, first: int, last: int) -> None:
        """Write the spins of some rows of a part, whose first row and that of all follow `params`."""
        step_rows(now, next, params, step, first, last, np.int64(params[3]), np.int64(params[4]))

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
