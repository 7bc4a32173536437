"""Compile CUDA kernels to PTX with no device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

__all__ = ["compiled"]


def compiled(
    body: Callable[..., None],
    signature: Any,
    capabilities: tuple[tuple[int, int], ...],
    bounds: tuple[int, int] | int,
) -> Iterator[tuple[tuple[int, int], str]]:
    """Compile a kernel to PTX.

    Parameters
    ----------
    body : callable
        The kernel.
    signature : numba signature
        Of its arguments.
    capabilities : tuple of (int, int)
        What for.
    bounds : (int, int) or int
        Launch bounds: threads of a block, and blocks of a multiprocessor.

    Yields
    ------
    capability : (int, int)
        Major and minor.
    ptx : str
        The code.
    """
    from numba.cuda import compiler, dispatcher  # noqa: PLC0415

    from ringnb.kernel.cuda_device import ieee_arithmetic  # noqa: PLC0415

    # Numba asks the device for its capability to compile device functions, and there is none.
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=(9, 0))
    # What `cuda.compile` calls. The library that it drops holds what NVVM is given, which is the same
    # for every capability; so the front end, most of the work, is gone through once.
    library, _ = compiler._compile_pyfunc_with_fixup(
        body,
        signature,
        device=False,
        abi="numba",
        cc=(9, 0),
        launch_bounds=bounds,
    )
    for capability in capabilities:
        with ieee_arithmetic():
            ptx = library.get_asm_str(cc=capability)
        yield capability, ptx
