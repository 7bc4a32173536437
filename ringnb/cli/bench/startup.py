"""Cases about starting: import, and the first step of a session, in fresh processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from ringnb._support.children import child_environment, run_python
from ringnb.cli.bench.measuring import Row, Scale, absolute, interleaved

__all__ = ["first_step", "imports"]

_IMPORT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"
_FIRST_STEP = """
import time
began = time.perf_counter()
import ringnb as rn
from ringnb.testing import MemoryStorage
with rn.Session(rn.actors.Wave2D((256, 256)), storage=MemoryStorage()) as session:
    session.run_steps(0, 1)
    print(time.perf_counter() - began)
"""
_FIRST_STEP_OF_A_USERS = """
def smooth(now, next, params, step, y, x):
    _, ny, nx = now.shape
    next[0, y, x] = now[0, y, x] + params[0] * (
        (now[0, y - 1, x] if y > 0 else now[0, ny - 1, x])
        + (now[0, y, x - 1] if x > 0 else now[0, y, nx - 1])
        - 2 * now[0, y, x]
    )
""" + _FIRST_STEP.replace("Wave2D((256, 256))", "CellActor(smooth, (256, 256), params={'r': 0.1})")


def _fresh(code: str, **environment: str) -> float:
    """Run code in a new interpreter; return the number that it prints."""
    return float(run_python("-c", code, check=True, env=child_environment(**environment)).stdout)


def imports(scale: Scale) -> Iterator[Row]:
    """The import of ringnb, with that of numba and zarr beside it."""
    pairs = interleaved(
        lambda: _fresh(_IMPORT.format("ringnb")),
        lambda: _fresh(_IMPORT.format("numba, zarr")),
        scale.times(9, 3),
    )
    note = absolute(pairs, "import numba, zarr", 1, "s")
    yield Row("import", "import ringnb", [ours for ours, _ in pairs], "s", "<=", 0.7, note)


def first_step(scale: Scale) -> Iterator[Row]:
    """The first step of a first session, imports included: nothing compiled yet, and all cached."""
    cold, cached, users = [], [], []
    for _ in range(scale.times(3, 1)):
        cache = scale.directory / "numba"
        cold.append(_fresh(_FIRST_STEP, NUMBA_CACHE_DIR=str(cache)))
        cached += [_fresh(_FIRST_STEP, NUMBA_CACHE_DIR=str(cache)) for _ in range(3)]
        users += [_fresh(_FIRST_STEP_OF_A_USERS, NUMBA_CACHE_DIR=str(cache)) for _ in range(3)]
        shutil.rmtree(cache)
    what = "first step of a new process, imports included, compiled code cached"
    yield Row("first_cached", what, cached, "s", "<=", 1.0)
    own = "the same with an update function of the user's, which every process compiles"
    yield Row("first_users", own, users, "s", "<=", 1.5)
    yield Row("first_cold", "the same, nothing compiled yet", cold, "s", "<=", 10.0)
