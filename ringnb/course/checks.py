"""How a check of the course answers: it returns what it measured, or raises `CheckFailed`.

An exception is what a learner notices, what stops "Run all", and what graders such as nbgrader count.
A notebook shows it as two lines, without the traceback of code that is not the learner's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

__all__ = ["CheckFailed", "Passed", "learners_code", "require"]


@final
class CheckFailed(AssertionError):
    """An exercise is not solved yet.

    Parameters
    ----------
    fact : str
        What the check found.
    hint : str
        Where to look next.
    """

    def __init__(self, fact: str, hint: str) -> None:
        super().__init__(f"Not yet: {fact}\nHint: {hint}")
        self.fact = fact
        self.hint = hint

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()  # IPython shows this instead of a traceback


@final
class Passed(str):
    """What a check measured, in a sentence."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show the sentence, as a notebook does with a cell's last value."""
        return f"Passed: {self}"


def require(condition: bool, fact: str, hint: str) -> None:
    """Raise unless a condition holds.

    Parameters
    ----------
    condition : bool
        What must hold.
    fact, hint : str
        As for `CheckFailed`.

    Raises
    ------
    CheckFailed
        If it does not.
    """
    if not condition:
        raise CheckFailed(fact, hint)


@contextmanager
def learners_code(hint: str, kind: type[Exception] = Exception) -> Iterator[None]:
    """Turn what a learner's code raises into a failed check.

    Parameters
    ----------
    hint : str
        As for `CheckFailed`.
    kind : type, default Exception
        What to turn; anything else goes through.

    Yields
    ------
    None
        The code is called in the block.

    Raises
    ------
    CheckFailed
        If it raises such an exception, which stays the cause.
    """
    try:
        yield
    except kind as error:
        raise CheckFailed(f"your code raised {type(error).__name__}: {error}", hint) from error
