"""What steps a model without ringnb, as one writes it with each library. Runs in a process of its own.

A call takes an even number of steps. A wave has a border of zeros around the grid for walls, and is
``next = scale (2 u - (1 - d) before + C^2 (sum of 4 neighbours - 4 u))`` in float32.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Stepper", "make", "start_level", "start_reaction"]

COURANT2, DAMPING = 0.25, 0.001
REACTION: dict[str, Any] = {"feed": 0.037, "kill": 0.06, "du": 0.16, "dv": 0.08, "dt": 1.0}


_Made = tuple[Callable[[], object], Callable[[], Any], str, dict[str, str]]
"""What makes the steps of a call, what returns the level ``now``, a remark, and versions."""

_Maker = Callable[[int, int, Path], _Made]


@dataclass(frozen=True, slots=True)
class Stepper:
    """A model that one library steps; `remark`: how it is used."""

    advance: Callable[[], object]
    level: Callable[[], Any]
    remark: str
    versions: dict[str, str]

    def serve(self, *, save: str | None = None) -> float:
        """Make the steps of a call and return the seconds; with `save`, write the level to that file."""
        if save is not None:
            np.save(save, np.asarray(self.level(), np.float32))
            return 0.0
        began = time.perf_counter()
        self.advance()
        return time.perf_counter() - began


def make(name: str, settings: dict[str, Any]) -> Stepper:
    """Return a stepper; `settings`: model, cells along a side, steps of a call, a scratch directory."""
    makers = _WAVES if settings["model"] == "wave" else _REACTIONS
    return Stepper(*makers[name](settings["n"], settings["steps"], Path(settings["scratch"])))


def start_level(n: int) -> Any:
    """Return the pressure to start from: no cell is ever so small that processors slow down."""
    x = np.pi * np.arange(1, n + 1) / (n + 1)
    return np.outer(np.sin(x) + 0.5 * np.sin(3 * x), np.sin(x)).astype(np.float32)


def start_reaction(n: int) -> Any:
    """Return both concentrations to start from, on a torus: never so small that processors slow down."""
    wave = np.sin(np.pi * np.arange(n) / n) ** 2
    spot = np.outer(wave, wave)
    return np.stack([1 - 0.5 * spot, 0.01 + 0.25 * spot]).astype(np.float32)


def _version(name: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name)}


def _padded(n: int) -> Any:
    """Return two equal levels with their walls."""
    return np.stack([np.pad(start_level(n), 1)] * 2)


def _numpy(n: int, steps: int, _scratch: Path) -> _Made:
    a, b = _padded(n)
    lap, rest = np.empty((2, n, n), np.float32)
    d = np.float32(0.5 * DAMPING)
    scale = np.float32(1 / (1 + 0.5 * DAMPING))
    of_lap, of_u = scale * np.float32(COURANT2), scale * np.float32(2 - 4 * COURANT2)
    of_before = scale * (1 - d)

    def advance() -> None:
        """Work in place: no array is made."""
        u, v = a, b
        for _ in range(steps):
            np.add(u[:-2, 1:-1], u[2:, 1:-1], out=lap)
            np.add(lap, u[1:-1, :-2], out=lap)
            np.add(lap, u[1:-1, 2:], out=lap)
            np.multiply(lap, of_lap, out=lap)
            np.multiply(u[1:-1, 1:-1], of_u, out=rest)
            np.add(lap, rest, out=lap)
            inner = v[1:-1, 1:-1]
            np.multiply(inner, of_before, out=inner)
            np.subtract(lap, inner, out=inner)
            u, v = v, u

    return (advance, lambda: a[1:-1, 1:-1], "in place, one thread", _version("numpy"))


def _prange(n: int, steps: int, _scratch: Path) -> _Made:
    from numba import get_num_threads, njit, prange

    a, b = _padded(n)
    d, scale = np.float32(0.5 * DAMPING), np.float32(1 / (1 + 0.5 * DAMPING))

    @njit(parallel=True)
    def step(now: Any, next: Any, courant2: Any, d: Any, scale: Any) -> None:  # noqa: A002 - as in ringnb
        f = np.float32
        for y in prange(1, now.shape[0] - 1):
            for x in range(1, now.shape[1] - 1):
                u = now[y, x]
                lap = (now[y - 1, x] + now[y + 1, x]) + (now[y, x - 1] + now[y, x + 1]) - f(4) * u
                next[y, x] = scale * (f(2) * u - (f(1) - d) * next[y, x] + courant2 * lap)

    @njit
    def advance(a: Any, b: Any, pairs: int, courant2: Any, d: Any, scale: Any) -> None:
        for _ in range(pairs):
            step(a, b, courant2, d, scale)
            step(b, a, courant2, d, scale)

    numbers = np.float32(COURANT2), d, scale
    advance(a, b, 0, *numbers)
    return (
        lambda: advance(a, b, steps // 2, *numbers),
        lambda: a[1:-1, 1:-1],
        f"njit(parallel=True), {get_num_threads()} threads",
        _version("numba"),
    )


def _compiled(source: str, scratch: Path) -> tuple[Any, str, dict[str, str]]:
    """Compile the C of a model; return its function, a remark, and versions."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        msg = "no C compiler: cc is not on the PATH, nor is CC set"
        raise FileNotFoundError(msg)
    path = Path(__file__).with_name(source)
    library = scratch / f"{path.stem}-{os.getpid()}.so"
    flags = ["-O3", "-march=native", "-fopenmp"]
    done = subprocess.run(  # noqa: S603 - no shell
        [compiler, *flags, "-shared", "-fPIC", "-o", str(library), str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        msg = f"cc {' '.join(flags)} failed: {done.stderr.strip().splitlines()[-1:]}"
        raise RuntimeError(msg)
    version = subprocess.run(  # noqa: S603 - no shell
        [compiler, "--version"], check=True, capture_output=True, text=True
    ).stdout.splitlines()[0]
    function = ctypes.CDLL(str(library)).steps
    function.restype = None
    return function, f"cc {' '.join(flags)}", {"cc": version}


def _called(function: Any, levels: Any, n: int, steps: int, *numbers: float) -> Callable[[], None]:
    a, b = (ctypes.c_void_p(level.ctypes.data) for level in levels)
    counts, floats = map(ctypes.c_long, (n, steps)), map(ctypes.c_float, numbers)
    arguments = a, b, *counts, *floats
    return lambda: function(*arguments)


def _openmp(n: int, steps: int, scratch: Path) -> _Made:
    function, remark, versions = _compiled("wave.c", scratch)
    levels = _padded(n)
    advance = _called(function, levels, n, steps, COURANT2, DAMPING)
    return (advance, lambda: levels[0, 1:-1, 1:-1], remark, versions)


def _reaction(n: int, steps: int, scratch: Path) -> _Made:
    function, remark, versions = _compiled("reaction.c", scratch)
    levels = np.stack([start_reaction(n)] * 2)
    advance = _called(function, levels, n, steps, *REACTION.values())
    return (advance, lambda: levels[0, 0], remark, versions)


def _jax(n: int, steps: int, _scratch: Path) -> _Made:
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    from jax import numpy as jnp

    d, scale = np.float32(0.5 * DAMPING), np.float32(1 / (1 + 0.5 * DAMPING))

    def step(_: Any, levels: Any) -> Any:
        u, before = levels
        p = jnp.pad(u, 1)
        lap = (p[:-2, 1:-1] + p[2:, 1:-1]) + (p[1:-1, :-2] + p[1:-1, 2:]) - 4 * u
        return scale * (2 * u - (1 - d) * before + np.float32(COURANT2) * lap), u

    compiled = jax.jit(lambda levels: jax.lax.fori_loop(0, steps, step, levels), donate_argnums=0)
    state = [jnp.array(start_level(n)), jnp.array(start_level(n))]

    def advance() -> None:
        """Wait for the end."""
        state[:] = jax.block_until_ready(compiled(tuple(state)))

    return (advance, lambda: state[0], "jit of a fori_loop", _version("jax"))


def _taichi(n: int, steps: int, _scratch: Path) -> _Made:
    import taichi as ti

    ti.init(arch=ti.cpu, log_level=ti.ERROR, offline_cache=False)
    a, b = ti.field(ti.f32, (n + 2, n + 2)), ti.field(ti.f32, (n + 2, n + 2))
    for level in (a, b):
        level.from_numpy(np.pad(start_level(n), 1))
    d = 0.5 * DAMPING
    scale = 1 / (1 + d)

    def kernel(now: Any, next: Any) -> Any:  # noqa: A002 - as in ringnb
        """Return the kernel that steps from one field to the other."""

        @ti.kernel
        def step():  # type: ignore[no-untyped-def]  # Taichi reads annotations its own way
            for y, x in ti.ndrange((1, n + 1), (1, n + 1)):
                u = now[y, x]
                lap = (now[y - 1, x] + now[y + 1, x]) + (now[y, x - 1] + now[y, x + 1]) - 4 * u
                next[y, x] = scale * (2 * u - (1 - d) * next[y, x] + COURANT2 * lap)

        return step

    there, back = kernel(a, b), kernel(b, a)

    def advance() -> None:
        """Launch every step, and wait for the end."""
        for _ in range(steps // 2):
            there()
            back()
        ti.sync()

    return (advance, lambda: a.to_numpy()[1:-1, 1:-1], "a kernel per step", _version("taichi"))


_WAVES: dict[str, _Maker] = {
    "numpy": _numpy,
    "prange": _prange,
    "openmp": _openmp,
    "jax": _jax,
    "taichi": _taichi,
}
_REACTIONS: dict[str, _Maker] = {"openmp": _reaction}
