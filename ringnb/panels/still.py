"""Pictures that need no script: what a saved notebook shows, where no kernel runs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np

from ringnb._support.text import counted
from ringnb.checkpoint.drawable import cut_of, pick_field
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.panels.core.pixels import lookup_tables, range_of, summarize, thin
from ringnb.panels.stage.pictures import describe

__all__ = ["line_of", "still_of"]

_SIDE = 256
_FLUSH = "style='margin:0 0 8px'"  # with the table of facts below it; a browser indents a figure
_MAPS = {"diverging": "PuOr_r", "two": "two"}  # of the kinds of values; of others viridis


_MOST_RUNS = 5
_WIDE = 430  # of the line; a narrower page scales it down, texts, too
_MOST_MARKS = 400  # of a run


def line_of(history: Sequence[CheckpointInfo], shown: str) -> str:
    """Return an actor's checkpoints as a picture, a lane per run, newest on top; "" if there is none.

    ``shown`` is the name of the one in the picture. It is an SVG as an image: front ends take its
    elements out of a notebook that they do not trust, and leave the words. So it has its own ground.
    """
    runs: dict[str, list[CheckpointInfo]] = {}
    for e in history:
        if not e.damaged:
            runs.setdefault(e.run, []).append(e)
    if not runs:
        return ""
    numbered = list(enumerate(runs.values(), 1))[-_MOST_RUNS:][::-1]
    steps = [e.step for _, run in numbered for e in run]
    first, span = min(steps), max(1, max(steps) - min(steps))
    marks = []
    for lane, (number, run) in enumerate(numbered):
        y = 14 + 22 * lane
        at = [(70 + 340 * (e.step - first) / span, e) for e in run[-_MOST_MARKS:]]
        marks.append(f"<text x='2' y='{y + 4}'>run {number}</text>")
        marks.append(f"<path d='M{at[0][0]:.1f} {y}H{at[-1][0]:.1f}' stroke='currentColor'/>")
        for x, e in at:
            side = 12 if e.name == shown else 7
            words = f"step {e.step:,}: {e.name}" + ("" if e.good else ", not good")
            looks = "" if e.good else " fill='none' stroke='currentColor' stroke-dasharray='2'"
            corner = f"x='{x - side / 2:.1f}' y='{y - side / 2:.1f}'"
            marks.append(
                f"<rect {corner} width='{side}' height='{side}'{looks}>"
                f"<title>{escape(words)}</title></rect>"
            )
    height = 22 * len(numbered) + 22
    marks.append(f"<text x='70' y='{height - 5}'>step {first:,}</text>")
    marks.append(f"<text x='420' y='{height - 5}' text-anchor='end'>step {max(steps):,}</text>")
    words = f"{counted(len(steps), 'checkpoint')} of {counted(len(numbered), 'run')}"
    words += "; the large square is the one shown"
    drawn = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDE} {height}' width='{_WIDE}' "
        f"color='#222' fill='currentColor' font-size='11' font-family='sans-serif'>"
        f"<rect width='{_WIDE}' height='{height}' rx='6' fill='#fff'/>{''.join(marks)}</svg>"
    )
    data = base64.b64encode(drawn.encode()).decode("ascii")
    return (
        f"<figure {_FLUSH}><img alt='{words}' width='{_WIDE}' src='data:image/svg+xml;base64,{data}'>"
        f"<figcaption>As it was when it was saved: {words}.</figcaption></figure>"
    )


def still_of(checkpoint: Checkpoint) -> str:
    """Return the first field as HTML, with its words; ValueError if it cannot be drawn."""
    from matplotlib import image  # noqa: PLC0415 - brings in what a panel that is only opened does without

    name = pick_field(checkpoint, None)
    values = np.asarray(checkpoint[name])
    cut = cut_of(checkpoint, name)
    plane = np.atleast_2d(values[cut.where])
    found, span = summarize(values), range_of(plane)
    pixels = thin(plane, span, _SIDE).data
    table = np.frombuffer(lookup_tables()[_MAPS.get(span.kind, "viridis")], np.uint8).reshape(-1, 3)
    colours = np.concatenate([np.full((1, 3), 214, np.uint8), table])[pixels]
    png = io.BytesIO()
    image.imsave(png, colours, format="png", origin="lower")
    data = base64.b64encode(png.getvalue()).decode("ascii")
    words = escape(describe(checkpoint, name, cut, values.shape, found))
    return (
        f"<figure {_FLUSH}><img alt='{words}' width='256' src='data:image/png;base64,{data}'>"
        f"<figcaption>Stored: {escape(checkpoint.name)}. {words}</figcaption></figure>"
    )
