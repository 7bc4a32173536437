"""What the CUDA driver refuses, and what its refusal means to the user of a session.

A kernel that the card's memory protection ends takes its CUDA context with it: from then on every call
of the process fails with the same error, whichever comes first. So there is one translation for all.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping

from ringnb.errors import BackendUnavailable

__all__ = [
    "death",
    "does_not_fit",
    "driver_error",
    "first_line",
    "is_of_toolkit",
    "out_of_memory",
    "refusals_told",
    "unavailable",
    "why_not_built",
]

_ASTRAY = (
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_MISALIGNED_ADDRESS",
)
# What a driver calls code that it does not understand.
_OTHER_CODE = re.compile(r"PTX|NO_BINARY|INVALID_(IMAGE|SOURCE)|SHARED_OBJECT|JIT_COMPILER")


def driver_error(error: BaseException) -> str | None:
    """Return the driver's name of an error, such as ``CUDA_ERROR_OUT_OF_MEMORY``; None for others."""
    # Numba and cuda.core have types of their own for it, and both name it in the text.
    found = re.search(r"\bCUDA_ERROR_\w+", str(error))
    return found[0] if found else None


def unavailable(name: str, refusal: str) -> BackendUnavailable:
    """Return the error for a kernel that cannot be started; `refusal` is the driver's name of it."""
    return BackendUnavailable(
        f"backend {name!r}: the CUDA driver refuses: {refusal}. If a kernel of this process died "
        "before, restart the process; or use backend='cpu'"
    )


@contextlib.contextmanager
def refusals_told(name: str) -> Iterator[None]:
    """Turn what the CUDA driver refuses into `BackendUnavailable`, for the backend of this name."""
    try:
        yield
    except BackendUnavailable:  # which may name a refusal in words of its own
        raise
    except Exception as error:
        if refusal := driver_error(error):
            raise unavailable(name, refusal) from error
        raise


def is_of_toolkit(error: BaseException) -> bool:
    """Return whether an error is the CUDA toolkit's own, and not about the code that it was given."""
    from numba.core.errors import NumbaError

    if isinstance(error, NumbaError):  # it lists files of Numba's, also those named after a library
        return False
    # Each library's bindings have a type of their own; what they share is that they name the library.
    found = f"{type(error).__name__} {error}"
    return (
        re.search(r"nvjitlink|nvvm|libdevice|Unsupported \.version", found, re.IGNORECASE)
        is not None
    )


def why_not_built(error: BaseException, versions: Mapping[str, str]) -> str:
    """Say why a kernel that does nothing cannot be built; `versions` as in `does_not_fit`."""
    refusal = driver_error(error)
    if refusal is None or _OTHER_CODE.search(refusal):
        return does_not_fit(error, versions)
    return (
        f"the CUDA driver refuses to load a kernel: {refusal}. Another program may fill the card, or "
        "have it for itself (nvidia-smi lists them); if a kernel of this process died, restart it"
    )


def does_not_fit(error: BaseException, versions: Mapping[str, str]) -> str:
    """Say that the parts of the CUDA toolkit do not work together; `versions` are theirs, by name."""
    parts = ", ".join(f"{name} {version}" for name, version in versions.items())
    words = " ".join(str(error).split())
    return (
        f"the parts of the CUDA toolkit do not work together ({parts or 'of unknown versions'}): "
        f"{type(error).__name__}: {words[:300]}. They must have one version, which "
        "pip install --upgrade 'ringnb[cuda13]' (driver 580 or newer) or 'ringnb[cuda12]' gives them"
    )


def out_of_memory(device_words: int, pinned_words: int, refusal: str) -> MemoryError:
    """Return the error for actors that do not fit; words of 8 bytes were asked for, card and host."""
    there, here = (words * 8 / 2**20 for words in (device_words, pinned_words))
    return MemoryError(
        f"the actors need {there:.0f} MiB on the card and about {here:.0f} MiB of page-locked "
        f"memory of the host, and the CUDA driver refuses: {refusal}. Use smaller grids or "
        "fewer actors, or free the card of other programs"
    )


def death(error: BaseException) -> str:
    """Say what ended the kernel, and what must be done before a new session."""
    if isinstance(error, TimeoutError):
        return f"{first_line(error)}. Close the session, and restart the process before a new one"
    if (refusal := driver_error(error)) is None:
        return f"the CUDA kernel died: {type(error).__name__}: {first_line(error)}"
    if refusal in _ASTRAY:
        refusal += " (an update function that reaches outside its grid does that)"
    return f"the CUDA kernel died: {refusal}. CUDA is lost to this process: restart it first"


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says what is wrong, without its full stop."""
    # Numba's errors begin with lines that say where they come from.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("Failed in")]
    return (telling or lines or [type(error).__name__])[0].rstrip(".")
