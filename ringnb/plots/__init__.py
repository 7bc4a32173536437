"""Figures from stored checkpoints, with matplotlib.

Every function draws from `Checkpoint` objects alone (`timeline` from the event log, `report` from a
`Report`), so what is stored is enough to make a figure later and elsewhere. A `State`, a copy of a
live actor's, can take the place of a checkpoint.

Functions that draw one panel take ``ax=`` and return the axes (``axes.figure`` is the figure); those
that draw several return the figure. Either shows itself at the end of a notebook's cell. Nothing is
registered with pyplot: figures belong to the caller, and may be drawn from any thread.

Start reading at `fields` (`field`, `film`, `difference`); `points` has `particles`, `vectors` and
`curves`, `movies` has `movie`, `history` has `series`, `lifecycle` has `timeline`, `reports` has
`report`, `style` what all figures share. A call checks its checkpoints, reads
the slice that is drawn, chooses one colour scale, and draws into the axes given or into new ones.
It may import the checkpoints and the messages, never a session.
"""

from __future__ import annotations

from ringnb.plots.fields import difference, field, film
from ringnb.plots.history import series
from ringnb.plots.lifecycle import timeline
from ringnb.plots.movies import movie
from ringnb.plots.points import curves, particles, vectors
from ringnb.plots.reports import report

__all__ = [
    "curves",
    "difference",
    "field",
    "film",
    "movie",
    "particles",
    "report",
    "series",
    "timeline",
    "vectors",
]
