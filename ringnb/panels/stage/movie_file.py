"""A movie of checkpoints as the stage shows them, for the page to save."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ringnb._support.text import counted
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.panels.stage.pictures import View
from ringnb.plots import movie

__all__ = ["make_movie"]

_MOST = 200  # pictures, of some 20 kB and a twentieth of a second each


def make_movie(
    storage: CheckpointStorage,
    names: Sequence[str],
    view: View,
    draw: Callable[..., object] | None,
) -> tuple[bytes, str]:
    """Return a GIF of checkpoints, in this order, and what to say of it. On a worker thread.

    ``draw`` is the user's own drawing, if that is what is shown. Of more than the movie has room for it
    takes some, evenly, with the first and the last. Raises as `ringnb.plots.movie`, and as reading does.
    """
    taken = names
    if len(names) > _MOST:
        taken = [names[i * (len(names) - 1) // (_MOST - 1)] for i in range(_MOST)]
    history = [storage.load(name) for name in taken]
    with tempfile.TemporaryDirectory() as folder:
        path = movie(
            *(history, Path(folder) / "movie.gif", view.field),
            draw=draw,
            axis=view.slice.axis,
            index=view.slice.at,
        )
        data = path.read_bytes()
    some = "" if taken is names else f"{len(taken)} of "
    span = f"steps {history[0].step:,} to {history[-1].step:,}"
    return data, f"Movie of {some}{counted(len(names), 'checkpoint')} sent, {span}"
