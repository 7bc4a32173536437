"""The demo's figures: what `ringnb.plots` draws from the demo's store, saved as PNG files.

The only module of the demo that needs matplotlib; the story imports it when all else is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ringnb import plots
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.messages.events import Event

__all__ = ["ActorResult", "draw"]

_SCALARS = {"fdtd_2d": "energy"}
_ZOOM = 4  # requests in the close-up of the lifecycle


class ActorResult(NamedTuple):
    """The checkpoints of one actor that the figures show."""

    history: list[Checkpoint]  # all that is kept of it, oldest first
    restored_from: Checkpoint  # the newest before the kill
    restored: Checkpoint  # the last of the run that continued from it
    uninterrupted: Checkpoint  # the last of the run that was never interrupted


def draw(
    directory: Path,
    results: Sequence[ActorResult],
    killed: Sequence[Event],
    restored: Sequence[Event],
    killed_ns: int,
) -> Iterator[tuple[Path, str]]:
    """Draw and save every figure; yield each one's file and what it shows.

    `killed` and `restored` are the logs of the process that was killed, at `killed_ns` of
    ``time.monotonic_ns()``, and of the one that went on.
    """
    for result in results:
        kind = result.restored.kernel_type
        yield _save(
            plots.field(result.restored),
            directory / f"restored_{kind}.png",
            "the restored actor, after more steps",
        )
        yield _save(
            plots.film(result.history, columns=3),
            directory / f"film_{kind}.png",
            "the checkpoints that are kept",
        )
        yield _save(
            _differences(result),
            directory / f"difference_{kind}.png",
            "what changed since the restore; restored run minus uninterrupted run",
        )
        scalar = _SCALARS.get(kind, "mean")
        yield _save(
            plots.series(result.history, scalar),
            directory / f"series_{kind}.png",
            f"{scalar} by time",
        )
    yield _save(
        _lifecycle(_one_log(killed, restored), killed_ns),
        directory / "lifecycle.png",
        "every request, the kill, the restore",
    )
    yield _save(
        plots.timeline(killed, last=_ZOOM, aligned=True),
        directory / "lifecycle_last.png",
        f"the last {_ZOOM} requests before the kill, side by side",
    )


def _one_log(first: Sequence[Event], second: Sequence[Event]) -> list[Event]:
    """Join the logs of two processes, which both count their requests from 1: then ids differ."""
    shift = max((e.request_id or 0 for e in first), default=0)
    return [
        *first,
        *(
            e if e.request_id is None else replace(e, request_id=e.request_id + shift)
            for e in second
        ),
    ]


def _differences(result: ActorResult) -> Figure:
    figure = Figure(figsize=(12.4, 5.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    plots.difference(result.restored_from, result.restored, ax=left)
    plots.difference(result.uninterrupted, result.restored, ax=right)
    right.set_title(f"restored run minus uninterrupted run\n{right.get_title().splitlines()[-1]}")
    return figure


def _lifecycle(events: Sequence[Event], killed_ns: int) -> Axes:
    ax = plots.timeline(events)
    if ax.get_xlabel() == "time (s)":
        at_s = (killed_ns - min(e.t_ns for e in events)) / 1e9
        ax.axvline(at_s, color="#b2182b", linewidth=1.5)
        ax.annotate(
            "SIGKILL",
            (at_s, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, -4),
            textcoords="offset points",
            va="top",
            color="#b2182b",
        )
    return ax


def _save(drawn: Axes | Figure | SubFigure, path: Path, caption: str) -> tuple[Path, str]:
    figure = drawn.get_figure(root=True) if isinstance(drawn, Axes) else drawn
    assert isinstance(figure, Figure)
    figure.savefig(path, dpi=110)
    return path, caption
