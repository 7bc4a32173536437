"""Compile the CUDA kernel to PTX with no device, and count what its correctness rests on.

A process of its own: ``python -m ringnb.testing.ptx``. It prints one JSON line per variant.
"""

from __future__ import annotations

import json
import re
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from ringnb import actors
from ringnb.actors.base import Actor
from ringnb.kernel.cuda_target import load

__all__ = ["variants"]

_COUNTED = (
    "ld.relaxed.sys.b64",
    "ld.acquire.sys.b64",
    "st.release.sys.b64",
    "ld.relaxed.gpu.b64",
    "ld.acquire.gpu.b64",
    "nanosleep.u32",
    "cudaCGGetIntrinsicHandle",
    "vprintf",
)
_CAPABILITIES = ((7, 5), (8, 0), (9, 0), (12, 0))


def _drift(now: Any, before: Any, params: Any, step: int, x: int) -> None:  # noqa: ARG001
    before[0, x] = now[0, x - 1 if x > 0 else now.shape[1] - 1] + params[0]


def variants() -> list[tuple[Actor, tuple[int, int]]]:
    """Return every actor for one capability, and one actor for every capability."""
    every = [
        actors.Wave2D((8, 8)),
        actors.Wave3D((8, 8, 8)),
        actors.Heat2D((8, 8)),
        actors.GrayScott((8, 8)),
        actors.Life((8, 8)),
        actors.Ising2D((8, 8)),
        actors.CellActor(_drift, (8,), params={"by": 1.0}, dtype=np.float64),
    ]
    return [(actor, (9, 0)) for actor in every] + [
        (every[0], cc) for cc in _CAPABILITIES if cc != (9, 0)
    ]


def main() -> None:
    """Compile all variants and print what is in them."""
    cuda = load(simulate=False)
    from numba.cuda import dispatcher  # noqa: PLC0415

    from ringnb.kernel.cuda_device import (  # noqa: PLC0415
        ieee_arithmetic,
        launch_bounds,
        signature,
    )
    from ringnb.kernel.cuda_program import build, cell_code  # noqa: PLC0415

    for actor, cc in variants():
        # Numba asks the device for its capability to compile device functions, and there is none.
        dispatcher.get_current_device = lambda cc=cc: SimpleNamespace(compute_capability=cc)
        kind = cell_code(actor)
        with ieee_arithmetic():
            ptx, _ = cuda.compile(
                build([kind]),
                signature(),
                device=False,
                cc=cc,
                output="ptx",
                abi="numba",
                launch_bounds=launch_bounds(256),
            )
        found: dict[str, Any] = {text: ptx.count(text) for text in _COUNTED}
        found["actor"], found["cc"] = actor.kernel_type, cc
        found["target"] = f".target sm_{cc[0]}{cc[1]}" in ptx
        found["float compares of converted integers"] = len(
            re.findall(r"cvt\.rn\.f64\.[us]64", ptx)
        )
        found["fused or open to it"] = len(
            re.findall(r"\bfma\.|\b(?:mul|add|sub)(?:\.ftz)?\.f(?:32|64)", ptx)
        )
        found["lines of the barrier's loop"] = _tightest_loop(ptx, "ld.relaxed.gpu")
        untyped = ptx.replace("st.global.f32", "st.global.b32")  # as NVVM has it from 10.0 on
        found["lines of the loops that write 4 bytes"] = _tightest_loop(untyped, "st.global.b32")
        sys.stdout.write(json.dumps(found) + "\n")


def _tightest_loop(ptx: str, text: str) -> list[int]:
    """Return, per occurrence, the length of the shortest loop around it in lines; 0 if there is none.

    The leader's loop encloses everything, so a load being in some loop shows nothing. One that was
    hoisted out of its spin loop is left with the leader's alone, which has hundreds of lines.
    """
    lines = ptx.splitlines()
    labels = {m[1]: i for i, line in enumerate(lines) if (m := re.match(r"(\$\w+):", line))}
    loops = [
        (labels[m[1]], i)
        for i, line in enumerate(lines)
        if (m := re.search(r"\bbra(?:\.uni)?\s+(\$\w+);", line)) and labels[m[1]] <= i
    ]
    return [
        min((last - first for first, last in loops if first < i < last), default=0)
        for i, line in enumerate(lines)
        if text in line
    ]


if __name__ == "__main__":
    main()
