"""Compile the CUDA kernel with no device: count what its correctness rests on, report what it uses.

A process of its own: ``python tests/ptx.py``. It prints one JSON line per variant. In short
there is one kernel that hosts an actor of every kind, for the oldest and the newest capability and one
between; ``--full`` is for all, and adds every actor in a kernel of its own for one of them, and one
actor for the others. Numba's part is done once per
kernel, NVVM's and the assembler's once per capability. The kernels of ``ringnb bench --gpu`` follow,
then some of a user's functions: what all kernels are made of is compiled by then.

Registers, spills and shared memory are the assembler's, of nvJitLink, which links the kernel to the
same runtime library as on a device (``libcudadevrt.a``, in the wheel nvidia-cuda-runtime). Kernels are
compiled for as many threads as by default, and from 9.0 on for one architecture alone ("a"), as
numba-cuda does it for the device that is there.
"""

from __future__ import annotations

import gc
import json
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

from ringnb import actors
from ringnb.actors.base import Actor
from ringnb.kernel.cuda.availability import load
from ringnb.kernel.cuda.compile import compiled

__all__ = ["CAPABILITIES", "FEW", "Variant", "linked", "variants"]

CAPABILITIES = ((7, 5), (8, 0), (9, 0, "a"), (10, 0, "a"), (12, 0, "a"))
FEW = CAPABILITIES[::2]
_THREADS = 256  # of a block of the benchmark's kernels
ON_HOST = ON_DEVICE = 0.0  # what `_edited` changes
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


class Variant(NamedTuple):
    """A kernel and the capabilities to compile it for.

    Attributes
    ----------
    hosted : tuple of Actor
        One of each kind that the kernel hosts.
    capabilities : tuple of tuple
        Major, minor, and "a" where it is for this architecture alone.
    """

    hosted: tuple[Actor, ...]
    capabilities: tuple[tuple[int | str, ...], ...]


def _drift(now: Any, before: Any, params: Any, step: int, x: int) -> None:
    before[0, x] = now[0, x - 1 if x > 0 else now.shape[1] - 1] + params[0]


def hosted_alone() -> tuple[Actor, ...]:
    """Return one of each kind of actor."""
    return (
        actors.Wave2D((8, 8)),
        actors.Wave3D((8, 8, 8)),
        actors.Heat2D((8, 8)),
        actors.GrayScott((8, 8)),
        actors.Life((8, 8)),
        actors.Ising2D((8, 8)),
        actors.CellActor(_drift, (8,), params={"by": 1.0}, dtype=np.float64),
    )


def variants(*, full: bool) -> list[Variant]:
    """Return what is compiled.

    Parameters
    ----------
    full : bool
        Whether for all capabilities, and also with each actor alone.

    Returns
    -------
    list of Variant
        All six actors, and one of a user's with another element type and number of axes.
    """
    every = hosted_alone()
    alone = [Variant((a,), ((9, 0, "a"),) if i else CAPABILITIES) for i, a in enumerate(every)]
    return [Variant(every, CAPABILITIES), *alone] if full else [Variant(every, FEW)]


def architecture(capability: tuple[int | str, ...]) -> str:
    """Return the assembler's name of a capability, such as ``sm_90a``."""
    return "sm_" + "".join(map(str, capability))


def linked(ptx: str, capability: tuple[int | str, ...]) -> tuple[bytes, dict[str, int]]:
    """Assemble and link a kernel.

    Parameters
    ----------
    ptx : str
        The code.
    capability : (int, int)
        What for.

    Returns
    -------
    bytes, dict of str to int
        The machine code, and what it uses: ``registers`` per thread; ``spills``, ``stack`` and
        ``shared``, in bytes.
    """
    from cuda.core import Linker, LinkerOptions, ObjectCode
    from numba.cuda.cudadrv.libs import get_cudalib

    runtime = Path(get_cudalib("cudadevrt", static=True)).read_bytes()
    options = LinkerOptions(arch=architecture(capability), verbose=True, ptxas_options=["-v"])
    linker = Linker(
        ObjectCode.from_ptx(ptx.encode()), ObjectCode.from_library(runtime), options=options
    )
    cubin = bytes(linker.link("cubin").code)
    log = linker.get_info_log()
    linker.close()
    (entry,) = re.findall(r"\.visible \.entry (\w+)\(", ptx)
    # The assembler tells of spills, the linker of everything, the library's own kernels included.
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    used = re.search(
        rf"'{entry}':\n.*used (\d+) registers.* (\d+) stack, (\d+) bytes smem.* (\d+) bytes lmem",
        log,
    )
    assert used is not None, log
    registers, stack, shared, _ = map(int, used.groups())
    return cubin, {
        "registers": registers,
        "spills": sum(int(a) + int(b) for a, b in spills),
        "stack": stack,
        "shared": shared,
    }


def main() -> None:
    """Compile all variants and print what is in them."""
    gc.disable()  # it would look through all that is compiled, again and again
    load(simulate=False)
    from ringnb.kernel.cuda.compile import RESIDENT, launch_bounds, signature
    from ringnb.kernel.cuda.program import build, cell_codes

    full = "--full" in sys.argv[1:]
    for hosted, capabilities in variants(full=full):
        body = build([code for actor in hosted for code in cell_codes(actor)])
        bounds = launch_bounds(RESIDENT)
        for capability, ptx in compiled(body, signature(), capabilities, bounds):
            found: dict[str, Any] = {text: ptx.count(text) for text in _COUNTED}
            found["actors"], found["cc"] = [a.kernel_type for a in hosted], capability
            found["target"] = f".target {architecture(capability)}" in ptx
            found["float compares of converted integers"] = len(
                re.findall(r"cvt\.rn\.f64\.[us]64", ptx)
            )
            found["fused or open to it"] = {
                bits: len(
                    re.findall(rf"\bfma\.\S*f{bits}|\b(?:mul|add|sub)(?:\.ftz)?\.f{bits}", ptx)
                )
                for bits in ("32", "64")
            }
            found["lines of the barrier's loop"] = _tightest_loop(ptx, "ld.relaxed.gpu")
            found |= linked(ptx, capability)[1]
            sys.stdout.write(json.dumps(found) + "\n")
    _baselines(CAPABILITIES if full else FEW)
    for found in (*_edited(), _stages()):
        sys.stdout.write(json.dumps(found) + "\n")


def _baselines(capabilities: tuple[tuple[int | str, ...], ...]) -> None:
    """Compile what the benchmark launches for comparison."""
    from ringnb.cli.bench.gpu import kernels

    for name, body, types in (
        ("copy", kernels.copy, kernels.COPY_SIGNATURE),
        ("wave_2d", kernels.one_step(actors.Wave2D((8, 8))), kernels.ONE_STEP_SIGNATURE),
        ("wave_3d", kernels.one_step(actors.Wave3D((8, 8, 8))), kernels.ONE_STEP_SIGNATURE),
    ):
        for capability, ptx in compiled(body, types, capabilities, _THREADS):
            found = {"baseline": name, "cc": capability, **linked(ptx, capability)[1]}
            sys.stdout.write(json.dumps(found) + "\n")


def _edited() -> Iterator[dict[str, Any]]:
    """Compile an update twice, its helpers' constants others the second time; yield which are there."""
    from numba import cuda

    from ringnb.kernel.cuda.compile import signature
    from ringnb.kernel.cuda.program import build, cell_codes

    @numba.njit
    def inner(x: float) -> float:
        return x * ON_HOST

    @numba.njit
    def outer(x: float) -> float:
        return inner(x)

    @cuda.jit(device=True)
    def device(x: float) -> float:
        return x + ON_DEVICE

    def update(now: Any, following: Any, params: Any, step: int, x: int) -> None:
        following[0, x] = device(outer(now[0, x]))

    actor = actors.CellActor(update, (8,), dtype=float)
    constants = (1.2345, 2.3456, 3.4567, 4.5678)
    for each in (constants[:2], constants[2:]):
        globals().update(zip(("ON_HOST", "ON_DEVICE"), each, strict=True))
        ((_, ptx),) = compiled(build(cell_codes(actor)), signature(), ((9, 0),), (256, 4))
        yield {"constants": [struct.pack(">d", n).hex() in ptx.lower() for n in constants]}


def _first(now: Any, then: Any, params: Any, step: int, y: int, x: int, h: Any, m: Any) -> None:
    then[0, y, x] = now[0, y, x] * h[y, x] + params[1] + m[x]


def _second(now: Any, then: Any, params: Any, step: int, y: int, x: int, h: Any, m: Any) -> None:
    then[0, y, x] = then[0, y, x] + params[2]


def _slices(now: Any, then: Any, params: Any, step: int, z: int, y: int, x: int) -> None:
    then[0, z, y, x] = now[:, z, y, x][0] + now[..., z, y, x][0]


def _value(now: Any, params: Any, step: int, y: int, x: int, h: Any, m: Any) -> Any:
    return now[0, y, x]


def _stages() -> dict[str, Any]:
    """Compile two stages with arrays and reductions, and a box taken in slices; say what the PTX has."""
    from ringnb.kernel.cuda.compile import signature
    from ringnb.kernel.cuda.program import build, cell_codes, reduce_codes

    actor = actors.CellActor(
        stages=[_first, _second],
        shape=(8, 8),
        params={"a": 1},
        reduce={"s": _value, "t": ("max", _value)},
        arrays={"h": np.ones((8, 8)), "m": np.arange(8)},
    )
    box = actors.CellActor(_slices, (8, 8, 8))
    body = build(cell_codes(actor) + cell_codes(box), reduce_codes(actor))
    ((_, ptx),) = compiled(body, signature(), ((9, 0),), (256, 4))
    largest = "max.f64" in ptx or "setp.gt.f64" in ptx
    return {"fused": "fma" in ptx, "largest": largest}


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
