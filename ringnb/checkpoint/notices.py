"""Warnings of what goes on in the background: they reach the user, and fail no commit."""

from __future__ import annotations

import logging

from ringnb._support.off_main import warn_caller
from ringnb.errors import CheckpointWarning

__all__ = ["describe_error", "warn"]

logger = logging.getLogger("ringnb.checkpoint")


def warn(text: str) -> None:
    """Warn at the user's line with a `CheckpointWarning`; where warnings are errors, log it."""
    try:
        warn_caller(text, CheckpointWarning)
    except CheckpointWarning:  # what has been committed must not be reported as failed
        logger.warning("%s", text)


def describe_error(error: BaseException) -> str:
    """Return an exception's type and message, cut to what fits into a sentence."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    return text if len(text) <= 300 else f"{text[:299]}…"
