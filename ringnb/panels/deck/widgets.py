"""The deck's widgets: all of them displays, which send by the hand; see `ringnb.panels.core.widgets`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import traitlets

from ringnb.panels import core
from ringnb.panels.core.pixels import tables_script
from ringnb.panels.core.widgets import View

__all__ = ["Deck", "Moment", "Transport"]

_STATIC = Path(__file__).parent / "static"
_CORE = Path(core.__file__).parent / "static"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _joined(*names: str) -> str:
    return "\n".join([_text(_CORE / "common.js"), *(_text(_STATIC / f"{n}.js") for n in names)])


class Deck(View):
    """Transport and line; its script is in five files, from what knows no page to what draws."""

    _esm = "\n".join(
        [
            tables_script(),
            _text(_CORE / "pixels.js"),
            _text(_CORE / "film.js"),
            _joined("line", "transport", "drawing", "deck"),
        ]
    )
    _css = _text(_STATIC / "deck.css")
    slot = traitlets.Int(-1).tag(sync=True)  # of the actor that the rest is about
    actors = traitlets.Dict({"count": 1, "selected": 0}).tag(sync=True)
    lanes: Any = traitlets.List().tag(sync=True)  # newest first, see `timeline.lane_row`
    marks = traitlets.Dict({"v": 0}).tag(sync=True)  # what the version before lacks, see `MarkLog`
    film = traitlets.Dict().tag(sync=True)  # a batch of small pictures, see `Film.take`
    about = traitlets.Dict().tag(sync=True)  # key, title and lines of the mark under the pointer
    field = traitlets.Unicode().tag(sync=True)  # that pictures are of, "" for the first
    traced = traitlets.Unicode().tag(sync=True)  # the name of the field whose values are known


class Moment(View):
    """What is known of what the playhead is at."""

    _esm = _joined("moment")
    _css = _text(_STATIC / "deck.css")
    facts: Any = traitlets.List().tag(sync=True)  # a name and a text each
    pinned = traitlets.Bool().tag(sync=True)


class Transport(View):
    """The buttons that act on the live actor, without the line."""

    _esm = _joined("line", "transport", "live")
    _css = _text(_STATIC / "deck.css")
