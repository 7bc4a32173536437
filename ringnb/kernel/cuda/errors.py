"""What the CUDA driver refuses, and what its refusal means to the user of a session.

A kernel that the card's memory protection ends takes its CUDA context with it: from then on every call
of the process fails with the same error, whichever comes first. So there is one translation for all.
"""

from __future__ import annotations

import re

from ringnb.errors import BackendUnavailable

__all__ = ["death", "driver_error", "first_line", "out_of_memory", "unavailable"]

_ASTRAY = (
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_MISALIGNED_ADDRESS",
)


def driver_error(error: BaseException) -> str | None:
    """Return the driver's name of an error, such as ``CUDA_ERROR_OUT_OF_MEMORY``; None if it is not its.

    Parameters
    ----------
    error : Exception
        What a call of Numba or `cuda.core` raised.

    Returns
    -------
    str or None
        The name.
    """
    # Numba and cuda.core have types of their own for it, and both name it in the text.
    found = re.search(r"\bCUDA_ERROR_\w+", str(error))
    return found[0] if found else None


def unavailable(name: str, refusal: str) -> BackendUnavailable:
    """Return what tells that a kernel cannot be started.

    Parameters
    ----------
    name : str
        The backend.
    refusal : str
        The driver's name of the error.

    Returns
    -------
    BackendUnavailable
        To be raised.
    """
    return BackendUnavailable(
        f"backend {name!r}: the CUDA driver refuses: {refusal}. If a kernel of this process died "
        "before, restart the process; or use backend='cpu'"
    )


def out_of_memory(device_words: int, pinned_words: int, refusal: str) -> MemoryError:
    """Return what tells that actors do not fit.

    Parameters
    ----------
    device_words, pinned_words : int
        Words of 8 bytes that were asked for, of the card's memory and of the host's.
    refusal : str
        The driver's name of the error.

    Returns
    -------
    MemoryError
        To be raised.
    """
    there, here = (words * 8 / 2**20 for words in (device_words, pinned_words))
    return MemoryError(
        f"the actors need {there:.0f} MiB on the card and about {here:.0f} MiB of page-locked "
        f"memory of the host, and the CUDA driver refuses: {refusal}. Use smaller grids or "
        "fewer actors, or free the card of other programs"
    )


def death(error: BaseException) -> str:
    """Say what ended the kernel, and what has to come before a new session.

    Parameters
    ----------
    error : Exception
        What a call raised while the kernel should have run.

    Returns
    -------
    str
        For `AbstractKernel.fail`.
    """
    if (refusal := driver_error(error)) is None:
        return f"the CUDA kernel died: {type(error).__name__}: {first_line(error)}"
    if refusal in _ASTRAY:
        refusal += " (an update function that reaches outside its grid does that)"
    return f"the CUDA kernel died: {refusal}. CUDA is lost to this process: restart it first"


def first_line(error: BaseException) -> str:
    """Return the first line of an error that tells something, without its full stop.

    Parameters
    ----------
    error : Exception
        Such as Numba's, which begin with where they come from.

    Returns
    -------
    str
        The line; the error's type if it has none.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("Failed in")]
    return (telling or lines or [type(error).__name__])[0].rstrip(".")
