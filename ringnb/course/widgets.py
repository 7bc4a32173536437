"""Widgets in a lesson. Without the widgets extra, a notebook shows a sentence instead and runs on.

A card asks for a prediction before the lesson has measured anything; the answer that it reveals comes
from cells further down.
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
    """Return a panel of a session, or a sentence that says why there is none.

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
    """Return a card that asks first and answers later, or only the question if there are no widgets.

    A measured number (a float) is shown with three significant digits, a count in full.

    Parameters
    ----------
    question : str
        What the learner predicts.
    answer : callable
        Returns the result. It uses names that cells further down define.
    options : sequence of str, optional
        Answers to choose from; without them the card asks for a number.
    unit : str, default ""
        Unit of the number.

    Returns
    -------
    PredictCard or Note
        For the notebook to display.
    """

    def measured() -> Any:
        """Return the result, or raise `LookupError` before its cell has run."""
        try:
            found = answer()
        except NameError:
            msg = "nothing is measured yet: run the cells of this lesson, then press Reveal again"
            raise LookupError(msg) from None
        return float(f"{found:.3g}") if isinstance(found, float) else found

    try:
        from ringnb.panels import predict as card  # noqa: PLC0415 - needs the widgets extra
    except ImportError:
        return Note(question if options is None else f"{question} ({' / '.join(options)})")
    return card(question, measured, options=options, unit=unit)
