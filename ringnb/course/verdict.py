"""How a check of the course answers: it returns what it measured, or raises `CheckFailed`.

An exception is what a learner notices, what stops "Run all", and what graders such as nbgrader count.
A notebook shows it as two lines, without the traceback of code that is not the learner's.
"""

from __future__ import annotations

from typing import Never, final

__all__ = ["CheckFailed", "Passed", "not_yet", "require"]


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


def not_yet(error: Exception, hint: str) -> Never:
    """Turn an exception of the learner's code into a failed check.

    Parameters
    ----------
    error : Exception
        What the code raised; it stays the cause.
    hint : str
        As for `CheckFailed`.

    Raises
    ------
    CheckFailed
        Always.
    """
    raise CheckFailed(f"your code raised {type(error).__name__}: {error}", hint) from error
