"""A small kernel that runs on the card for some milliseconds, before a session is trusted to it.

``backend="auto"`` and ``ringnb doctor`` ask it. It shows what nothing on paper can: that commands and
replies pass between this host and this card, that launches follow each other, and that the compiled
code computes the CPU kernel's bits.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import numpy as np

from ringnb.actors.wave import Wave2D
from ringnb.errors import BackendUnavailable, RingnbError
from ringnb.kernel.base import AbstractKernel
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cuda.errors import first_line
from ringnb.messages.commands import Command

__all__ = ["why_not_trusted"]

_LOG = logging.getLogger("ringnb")
_SHAPE = (37, 53)  # no multiple of a block or a warp, and several blocks
_STEPS = 20
_PATIENCE_S = 10.0


def why_not_trusted(number: int = 0) -> str | None:
    """Say in one line what was wrong when a kernel ran on a GPU, once per process; None if nothing.

    `ringnb.kernel.cuda.availability.why_unavailable` must have found nothing.
    """
    try:
        return _tried(number)
    except (BackendUnavailable, MemoryError) as error:  # not kept: what is there now may end
        return first_line(error).removesuffix("; or use backend='cpu'")


@functools.cache
def _tried(number: int) -> str | None:
    from ringnb.kernel.cpu.kernel import CpuKernel
    from ringnb.kernel.cuda.kernel import CudaKernel

    wave = Wave2D(_SHAPE, damping=0.001)
    try:
        there = _stepped(CudaKernel([wave], device=number, threads=256))
        here = _stepped(CpuKernel([wave]))
    except (BackendUnavailable, MemoryError):
        raise
    except (RingnbError, ValueError, TimeoutError) as error:
        return f"a small kernel failed on the GPU: {first_line(error)}"
    except Exception as error:  # noqa: BLE001 - whatever it was, the CPU is there
        _LOG.debug("the self-test of the GPU failed", exc_info=True)
        return f"a small kernel failed on the GPU: {type(error).__name__}: {first_line(error)}"
    if not np.array_equal(there, here):
        wrong = int(np.count_nonzero(there != here))
        return (
            f"a small kernel on the GPU computed {wrong} of {there.size} words otherwise than the CPU "
            f"in {_STEPS} steps: please report this, with the output of ringnb doctor"
        )
    return None


def _stepped(kernel: AbstractKernel) -> Any:
    """Disturb and step a wave, go round the rings; return the words of a snapshot, end the kernel."""
    kernel.launch()
    try:
        client = KernelClient(kernel)
        z, y, x = 0, _SHAPE[0] // 2, _SHAPE[1] // 3
        client.call(0, Command.INJECT, (z, y, x, _bits(0.7)), timeout_s=_PATIENCE_S)
        client.call(0, Command.RUN_STEPS, (_STEPS,), timeout_s=_PATIENCE_S)
        if not client.wait_until(lambda: kernel.counters(0).step >= _STEPS, _PATIENCE_S):
            msg = f"the steps did not come to an end within {_PATIENCE_S:g} s"
            raise TimeoutError(msg)
        for _ in range(2 * kernel.statistics().ring_capacity):
            client.call(0, Command.HEARTBEAT, timeout_s=_PATIENCE_S)
        reply = client.call(0, Command.SNAPSHOT, timeout_s=_PATIENCE_S)
        view, facts = kernel.staged(0, reply.value, 0)
        words = view.copy().view(np.uint32)
        if kernel.staged_checksum(0, reply.value, 0) != facts.checksum:
            msg = "what was copied from the GPU is not what the kernel summed there"
            raise ValueError(msg)
        kernel.release_staging(0, reply.value)
    finally:
        kernel.stop()
    return words


def _bits(number: float) -> int:
    return int(np.float64(number).view(np.int64))
