"""Widgets in a lesson, where there are any: a notebook runs to its end without them, too.

Cards ask for a prediction before the lesson has measured anything; what they reveal is a result of cells
further down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

from ringnb.session.session import Session

__all__ = ["Note", "panel", "predict"]


@final
class Note(str):
    """A sentence in place of a widget."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show the sentence."""
        return str(self)


def panel(session: Session, name: str) -> Any:
    """Return a panel over a session, or say why there is none.

    Parameters
    ----------
    session : Session
        The session.
    name : str
        As for ``session.panel``.

    Returns
    -------
    Panel or Note
        For the notebook to display.
    """
    try:
        return session.panel(name)
    except ImportError as reason:
        return Note(f"(No panel here: {reason})")


def predict(
    question: str,
    answer: Callable[[], Any],
    *,
    options: Sequence[str] | None = None,
    unit: str = "",
) -> Any:
    """Return a card that asks before it tells, or the question alone where there are no widgets.

    A measured number (a float) is told to three significant digits, a count in full.

    Parameters
    ----------
    question : str
        What is to be predicted.
    answer : callable
        Returns the result from names that cells further down define.
    options : sequence of str, optional
        Answers to choose from; by default a number is asked for.
    unit : str, default ""
        Unit of the number.

    Returns
    -------
    PredictCard or Note
        For the notebook to display.
    """

    def measured() -> Any:
        """Look the result up, once it is there."""
        try:
            found = answer()
        except NameError:
            msg = "nothing is measured yet; run the cells of this lesson first, then reveal again"
            raise LookupError(msg) from None
        return float(f"{found:.3g}") if isinstance(found, float) else found

    try:
        from ringnb import panels  # noqa: PLC0415 - needs an extra: imported when used
    except ImportError:
        return Note(question if options is None else f"{question} ({' / '.join(options)})")
    return panels.predict(question, measured, options=options, unit=unit)
