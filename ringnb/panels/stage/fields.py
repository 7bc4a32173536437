"""The field panel: a picture of the checkpoint that is looked at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, final

import traitlets
from ipywidgets import Widget

from ringnb._support.text import counted
from ringnb.checkpoint.drawable import main_field
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.panels.core.controller import Controller
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.pixels import MAPS
from ringnb.panels.core.state import Forms, SessionState
from ringnb.panels.core.watched import Watched
from ringnb.panels.stage.feed import Feed, send_again
from ringnb.panels.stage.movie_file import make_movie
from ringnb.panels.stage.own_drawing import call_own, draw_own
from ringnb.panels.stage.pictures import LARGE, SMALL, Drawn, Extent, Slice, View, draw
from ringnb.panels.stage.widgets import Stage

__all__ = ["FieldPanel", "field_panel_of", "fields_of", "forms_of"]


def forms_of(controller: Controller) -> Forms:
    """Return the shapes of the selected actor's fields, of those that can be drawn if there are any."""
    forms = controller.state.actors[controller.slot].forms
    drawn = {name: form for name, form in forms.items() if 1 <= len(form[0]) <= 3}
    return drawn or forms


def fields_of(names: Sequence[str]) -> list[str]:
    """Return the names of fields, the one that is shown first in front."""
    first = main_field(names)
    return [first, *(n for n in names if n != first)]


@final
class FieldPanel(Panel):
    """Shows a field of the checkpoint that is looked at; see `Panel`.

    Attributes
    ----------
    field : str
        The field; empty for the first in the list, which is your own drawing if there is one.
    draw : callable or None
        Your own drawing: ``draw(checkpoint, ax)`` draws into empty axes. Called on the drawer's thread
        with every checkpoint that is looked at, or on another one for a movie, one call at a time.
    colours : str
        A colour map (see `ringnb.panels.core.pixels.MAPS`), or "fits" for one that fits the values. The
        page may have chosen another one since.
    keeps_range : bool
        Whether all steps of a run, as far as they are stored, share one range of colours.
    axis, slice : int
        Which plane of a field of three axes is shown.
    """

    key = "field"
    title = "Field, from a stored checkpoint"
    field = traitlets.Unicode("")
    draw: Any = traitlets.Callable(None, allow_none=True)
    colours = traitlets.Enum(["fits", *MAPS], "fits")
    keeps_range = traitlets.Bool(True)
    axis = traitlets.Int(0, min=0, max=2)
    slice = traitlets.Int(-1)  # the middle one

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        self.feed = Feed(self._controller, self.key)
        self.picture = self.feed.picture
        self.amplitude = 1.0  # what a click adds, see `ParametersPanel`
        self._drawing = threading.Lock()  # the user's drawing: for pictures, and for a movie
        self._large = False
        self._covered: Extent | None = None  # the range that the newest picture takes in
        self._range_seen: Extent | None = None  # the range that a picture was asked for last
        for action in ("field", "range", "slice", "larger"):
            self._controller.on_do(f"stage.{action}", self._do)
        self._controller.on_do("stage.again", lambda _, args: send_again(self._controller, args))
        self._controller.on_do("stage.movie", self._make_movie)
        self.observe(
            lambda _: self._controller.note_use(),
            ["field", "draw", "colours", "keeps_range", "axis", "slice"],
        )
        return []

    def arrange(self) -> list[Widget]:
        """Make chooser and stage: a cockpit has a line, and one stage for two panels."""
        self.checkpoints = self.chooser("main", "Checkpoint")
        board, hand = self._controller.board, self._controller.hand
        self.body += [self.checkpoints, Stage(picture=self.picture, board=board, hand=hand)]
        return super().arrange()

    @traitlets.validate("field")
    def _check_field(self, proposal: Any) -> str:
        name = str(proposal["value"])
        known = {*self._controller.state.fields, *self._own()}
        if name and name not in known:
            msg = f"there is no field {name!r}: use one of {', '.join(sorted(known))}"
            raise traitlets.TraitError(msg)
        return name

    def _do(self, action: str, args: Mapping[str, Any]) -> None:
        """Note what a control asks for. On Jupyter's thread."""
        if action == "field":
            self.field = str(args.get("name", ""))
        elif action == "range":
            self.keeps_range = bool(args.get("on"))
        elif action == "slice":
            axis = int(args.get("axis", self.axis))
            with self.hold_trait_notifications():
                self.slice = int(args["index"]) if "index" in args else -1
                self.axis = axis
        else:
            self._large = bool(args.get("on"))
            self._controller.note_use()

    def _make_movie(self, _action: str, args: Mapping[str, Any]) -> None:
        """Have a movie made of the checkpoints of these names, as the stage shows them now."""
        view, names = self.view_of(), list(args["names"])
        colours = args.get("colours") or self.colours  # the page may have chosen others since
        draw = None if self.field in fields_of(list(forms_of(self._controller))) else self.draw

        def work(watched: Watched) -> str:
            own = None if draw is None else partial(call_own, draw, self._drawing)
            data, said = make_movie(watched.storage, names, view, own, colours)
            self._controller.download(f"{names[0]}.gif", data)
            return said

        self._controller.say("waiting", f"Making a movie of {counted(len(names), 'checkpoint')} …")
        self._controller.submit("Movie", work, worker="movies")

    def show_own(self, draw: Callable[[Checkpoint, Any], object]) -> None:
        """Show a drawing of the user's own. Any thread."""
        with self.hold_trait_notifications():
            self.draw, self.field = draw, ""

    def _own(self) -> list[str]:
        """Return what the list calls the user's drawing: no name of a field has brackets."""
        return [] if self.draw is None else [f"{getattr(self.draw, '__name__', 'draw')}()"]

    def extent_of(
        self, info: CheckpointInfo, history: Sequence[CheckpointInfo], field: str
    ) -> Extent | None:
        """Return what the colours take in; None if each picture has a range of its own."""
        return self._controller.extents.of(history, field, info.run) if self.keeps_range else None

    def view_of(self) -> View:
        """Return how pictures are made now, of the selected actor."""
        forms = forms_of(self._controller)
        names = fields_of(list(forms))
        field = self.field if self.field in names else names[0]
        shape, _ = forms[field]
        flat = len(shape) < 3
        last = 0 if flat else shape[self.axis] - 1
        at = (
            Slice() if flat else Slice(self.axis, None if self.slice < 0 else min(self.slice, last))
        )
        side = LARGE if self._large else SMALL
        most_bytes = self._controller.profile.picture_bytes * (side // SMALL) ** 2
        return View(field, at, side, most_bytes)

    def show(self, _state: SessionState) -> None:
        """Put what the controls show, and have the picture drawn."""
        choices = self._controller.choices
        if self.seen_alone:  # in a cockpit the line takes its place
            self.put(self.checkpoints, items=choices.items())
        forms = forms_of(self._controller)
        if not forms:  # a recorder's are known from its first checkpoint on
            self.feed.clear()
            return
        view, draw = self.view_of(), self.draw
        own, names = self._own(), fields_of(list(forms))
        if self.field in names:
            draw = None
        shape, dims = forms[view.field]
        planes = shape[view.slice.axis] if len(shape) == 3 else 0
        self.put(
            self.picture,
            view={
                "fields": [*own, *names],
                "field": view.field if draw is None else own[0],
                "colours": self.colours,
                "one_range": self.keeps_range,
                "axes": list(dims),
                "axis": view.slice.axis,
                "planes": planes if draw is None else 0,
                "index": planes // 2 if view.slice.at is None else view.slice.at,
                "amplitude": self.amplitude,
            },
        )
        info = choices.resolve("main")
        if info is None:
            if choices.follows("main"):
                self.feed.clear()
            else:
                self.feed.outdate("this checkpoint is not there any more")
            return
        follows = choices.follows("main")
        if draw is not None:
            self.feed.want(
                [info],
                (draw, view.side, follows),
                lambda: self._draw_own(info, draw, view, follows),
                follows=follows,
            )
            return
        extent = self.extent_of(info, choices.of_actor(), view.field)
        if extent != self._covered:  # else the picture that is there takes it in
            self._range_seen = extent
        self.feed.want(
            [info],
            (view, self.keeps_range, follows),
            lambda: self._draw(info, view, extent, follows),
            follows=follows,
            range_seen=self._range_seen,
        )

    def _draw(self, e: CheckpointInfo, view: View, extent: Extent | None, follows: bool) -> Drawn:
        """Draw it, on the drawer's thread."""
        drawn, seen = draw(self.watched.storage.load(e.name), view, extent)
        if seen is not None:
            extents = self._controller.extents
            extents.note(e, view.field, *seen)
            if extent is None or (extent[0] <= seen[0] and seen[1] <= extent[1]):
                self._covered = seen if extent is None else extent
        drawn.info["follows"] = follows
        return drawn

    def _draw_own(
        self, e: CheckpointInfo, draw: Callable[..., object], view: View, follows: bool
    ) -> Drawn:
        """Have the user's function draw it, on the drawer's thread."""
        drawn = draw_own(self.watched.storage.load(e.name), draw, view, self._drawing)
        drawn.info["follows"] = follows
        return drawn

    def dispose(self) -> None:
        """Close every widget of this panel. Any thread."""
        super().dispose()
        self.picture.close()


def field_panel_of(controller: Controller) -> FieldPanel | None:
    """Return the field panel that shows beside others of a session, or None if there is none."""
    panel = controller.views.get(FieldPanel.key)
    return panel if isinstance(panel, FieldPanel) else None
