"""Predict cards: commit to an answer before the measured one is shown."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, final

from ipywidgets import HTML, FloatText, RadioButtons, VBox, Widget

from ringnb.panels.core.controller import Controller
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.widgets import Actions, Frame, button_state, serve_beside_cells

__all__ = ["PredictCard", "PredictPanel", "predict"]


@final
class PredictCard(VBox):
    """A question, a prediction, and the answer; made by `predict`.

    Attributes
    ----------
    prediction : object
        What was committed, None before.
    """

    def __init__(
        self, question: str, answer: Any, options: Sequence[str] | None = None, unit: str = ""
    ) -> None:
        self.prediction: Any = None
        self._answer = answer
        self._unit = unit
        self.frame = Frame(
            name="predict",
            title="Predict",
            region=f"Predict: {question}",
            beats=False,
            flags={"reveal": button_state(True, "Commit your prediction first")},
        )
        if options is None:
            self.field: Any = FloatText(description=unit or "Value")
        else:
            self.field = RadioButtons(
                options=list(options), value=None, layout={"width": "max-content"}
            )
        serve_beside_cells(self.field)
        bar = Actions(
            label="Prediction",
            frame=self.frame,
            actions=[
                ("commit", "Commit", "Fix your prediction"),
                ("reveal", "Reveal", "Measure, and compare"),
            ],
        )
        bar.connect(self._act, self._acknowledge)
        self.result = HTML()
        text = HTML(f"<p>{escape(question)}</p>")
        super().__init__([self.frame, text, self.field, bar, self.result])
        self.add_class("ringnb-panel")

    def _acknowledge(self, message_id: str) -> None:
        self.frame.acknowledged = [message_id]

    def _act(self, action: str) -> None:
        if action == "commit" and self.prediction is None:
            if self.field.value is None:
                self.frame.alert = "Choose an answer first"
                return
            self.prediction = self.field.value
            self.frame.alert = ""
            self.frame.status = f"Committed: {self._with_unit(self.prediction)}"
            self.frame.flags = {"commit": button_state(True, "Your prediction is fixed")}
        elif action == "reveal" and self.prediction is not None:
            self.frame.alert = self.frame.detail = ""
            self.frame.status = "Measuring …"
            # Measuring may take as long as it likes: not on Jupyter's thread.
            threading.Thread(target=self.reveal, name="ringnb-predict", daemon=True).start()

    def reveal(self) -> None:
        """Find the answer and show it beside the prediction. Any thread."""
        try:
            found = self._answer() if callable(self._answer) else self._answer
        except Exception as error:  # noqa: BLE001 - shown, whatever it is
            self.frame.status = ""
            self.frame.alert = f"The answer could not be measured: {error}"
            self.frame.detail = "".join(traceback.format_exception(error))
            return
        self.frame.status = "Revealed"
        self.result.value = (
            f"<p>You predicted <strong>{escape(self._with_unit(self.prediction))}</strong>; measured: "
            f"<strong>{escape(self._with_unit(found))}</strong>.</p>"
        )

    def _with_unit(self, value: Any) -> str:
        text = f"{value:,.6g}" if isinstance(value, int | float) else str(value)
        return f"{text} {self._unit}".strip()


def predict(
    question: str,
    answer: Any | Callable[[], Any],
    *,
    options: Sequence[str] | None = None,
    unit: str = "",
) -> PredictCard:
    """Make a card that asks for a prediction before it shows the answer.

    Parameters
    ----------
    question : str
        What is to be predicted.
    answer : object or callable
        The answer, or what measures it when it is revealed, on a thread of its own.
    options : sequence of str, optional
        Answers to choose from; by default a number is asked for.
    unit : str, default ""
        Unit of the number.

    Returns
    -------
    PredictCard
        A widget.
    """
    return PredictCard(question, answer, options, unit)


@final
class PredictPanel(Panel):
    """Asks how long a snapshot stops an actor; see `Panel`."""

    key = "predict"
    title = "Predict"

    def __init__(self, controller: Controller) -> None:
        def stall_us() -> float:
            """Take a snapshot and read how long the capture took."""
            session, slot = controller.session, controller.slot
            session.snapshot(slot, timeout=30.0)
            return session.counters(slot).last_stall_ns / 1e3

        question = "For how long will this actor stop while its next snapshot is captured?"
        self._card = PredictCard(question, stall_us, unit="µs")
        super().__init__(controller)

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        return [self._card]
