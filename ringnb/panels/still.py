"""A picture that needs no script: what a saved notebook shows of a checkpoint where no kernel runs."""

from __future__ import annotations

import base64
import io
from html import escape

import matplotlib.image
import numpy as np

from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.panels.core.pixels import lookup_tables, summarize, thin
from ringnb.panels.stage.pictures import describe
from ringnb.plots.fields import cut_of
from ringnb.plots.style import ValueRange, pick_field, value_range

__all__ = ["still_of"]

_SIDE = 256
_MAPS = {"diverging": "PuOr_r", "two": "two"}  # of the kinds of values; of others viridis


def still_of(checkpoint: Checkpoint) -> str:
    """Return the first field as HTML, with its words; ValueError if it cannot be drawn."""
    name = pick_field(checkpoint, None)
    values = np.asarray(checkpoint[name])
    cut = cut_of(checkpoint, name)
    plane = np.atleast_2d(values[cut.where])
    found, kind = summarize(values), value_range([values]).kind
    top = found.high if found.high > found.low else found.low + 1.0
    pixels = thin(plane, ValueRange(found.low, top, kind), _SIDE).data
    table = np.frombuffer(lookup_tables()[_MAPS.get(kind, "viridis")], np.uint8).reshape(-1, 3)
    colours = np.concatenate([np.full((1, 3), 214, np.uint8), table])[pixels]
    png = io.BytesIO()
    matplotlib.image.imsave(png, colours, format="png", origin="lower")
    data = base64.b64encode(png.getvalue()).decode("ascii")
    words = escape(describe(checkpoint, name, cut, values.shape, found))
    return (
        f"<figure><img alt='{words}' width='256' src='data:image/png;base64,{data}'>"
        f"<figcaption>Stored: {escape(checkpoint.name)}. {words}</figcaption></figure>"
    )
