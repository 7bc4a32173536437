"""A movie of checkpoints: the field and plane on the stage, or the user's own drawing, to be saved."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import colormaps

from ringnb._support.text import counted
from ringnb.checkpoint.drawable import Drawable
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import CheckpointNotFound
from ringnb.panels.stage.pictures import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["make_movie"]

_MOST = 200  # pictures, of some 20 kB and a twentieth of a second each


def make_movie(
    storage: CheckpointStorage,
    names: Sequence[str],
    view: View,
    draw: Callable[[Drawable, Axes], object] | None,
    colours: str,
) -> tuple[bytes, str]:
    """Return a GIF of checkpoints, in this order, and what to say of it. On a worker thread.

    ``draw`` is the user's own drawing, if that is what is shown; ``colours`` as `FieldPanel` has
    them. Of more than the movie has room for it
    takes some, evenly, with the first and the last. It goes without those that are retired meanwhile:
    CheckpointNotFound if all are. Else it raises as `ringnb.plots.movie`, and as reading does.
    """
    taken = names
    if len(names) > _MOST:
        taken = [names[i * (len(names) - 1) // (_MOST - 1)] for i in range(_MOST)]
    while True:
        history = _still_there(storage, taken)
        try:
            data = _gif(history, view, draw, colours)
        except CheckpointNotFound:
            if len(_still_there(storage, taken)) in (0, len(history)):
                raise
        else:
            break
    some = "" if len(history) == len(names) else f"{len(history)} of "
    span = f"steps {history[0].step:,} to {history[-1].step:,}"
    return data, f"Movie of {some}{counted(len(names), 'checkpoint')} sent, {span}"


def _still_there(storage: CheckpointStorage, names: Sequence[str]) -> list[Checkpoint]:
    found = []
    for name in names:
        with suppress(CheckpointNotFound):
            found.append(storage.load(name))
    return found


def _gif(
    history: Sequence[Checkpoint],
    view: View,
    draw: Callable[[Drawable, Axes], object] | None,
    colours: str,
) -> bytes:
    from ringnb.plots import movie  # noqa: PLC0415 - brings in matplotlib's figures

    if not history:
        msg = "its checkpoints were all retired: zoom out, or keep more"
        raise CheckpointNotFound(msg)
    with tempfile.TemporaryDirectory() as folder:
        path = movie(
            *(history, Path(folder) / "movie.gif", view.field),
            draw=draw,
            axis=view.slice.axis,
            index=view.slice.at,
            cmap=colours if colours in colormaps else None,  # else one that fits
        )
        return path.read_bytes()
