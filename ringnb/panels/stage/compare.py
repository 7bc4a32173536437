"""The compare panel: the checkpoint that is looked at against another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import traitlets
from ipywidgets import Widget

from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.widgets import Board, Hand
from ringnb.panels.stage.feed import Feed, send_again
from ringnb.panels.stage.fields import FieldPanel, field_panel_of, fields_of, forms_of
from ringnb.panels.stage.pictures import Drawn, Extent, View, draw_against
from ringnb.panels.stage.widgets import Stage

__all__ = ["ComparePanel", "stage_of"]

_BEFORE, _NEWEST, _HELD = "before", "newest", "held"
_MOST_LISTED = 100


@final
class ComparePanel(Panel):
    """Shows two checkpoints against each other; see `Panel`. Field and plane are the field panel's.

    Attributes
    ----------
    against : str
        "before" (the checkpoint before the one looked at), "newest", "held", or a checkpoint's name.
    how : {"difference", "that", "swipe"}
        What is shown: this minus the other one, the other one, or a swipe from it to this.
    held : str
        The name of the checkpoint that is held for comparing; empty if none is.
    """

    key = "compare"
    title = "Compare two stored checkpoints"
    against = traitlets.Unicode(_BEFORE)
    how = traitlets.Enum(["difference", "that", "swipe"], "difference")
    held = traitlets.Unicode("")

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        self._made_of: tuple[Any, ...] = ()  # what is below
        self._found: tuple[list[tuple[str, str]], CheckpointInfo | None] = ([], None)
        self.feed = Feed(self._controller, self.key, before=FieldPanel.key)
        self.picture = self.feed.picture
        for action in ("against", "how", "hold"):
            self._controller.on_do(f"stage.{action}", self._do)
        self._controller.on_do("stage.again", lambda _, args: send_again(self._controller, args))
        self.observe(lambda _: self._controller.note_use(), ["against", "how", "held"])
        return []

    def arrange(self) -> list[Widget]:
        """Make chooser and stage: a cockpit has a line, and one stage for two panels."""
        self.checkpoints = self.chooser("main", "Checkpoint")
        board, hand = self._controller.board, self._controller.hand
        self.body += [self.checkpoints, Stage(compare=self.picture, board=board, hand=hand)]
        return super().arrange()

    def _do(self, action: str, args: Mapping[str, Any]) -> None:
        """Note what a control asks for. On Jupyter's thread."""
        if action == "against":
            self.against = str(args.get("what", _BEFORE))
        elif action == "how":
            self.how = str(args.get("how", "difference"))
        elif (e := self._controller.choices.resolve("main")) is None:
            self.refuse(f"Hold: {self._controller.choices.why_unresolved('main')}")
        else:
            with self.hold_trait_notifications():
                self.held = e.name
                self.against = _HELD
            text = f"Held for comparing: {e.name}"
            if e.pin is None:
                text += ", until it is retired. Pin what is to stay"
            self._controller.say("note", text)

    def _other(self, this: CheckpointInfo) -> CheckpointInfo | None:
        """Return what it is compared with."""
        choices = self._controller.choices
        sound = [e for e in choices.of_actor() if choices.sound(e)]
        if self.against == _NEWEST:
            return choices.newest()
        if self.against == _BEFORE:
            same = [e for e in sound if e.sequence < this.sequence]
            # The one that it continues, or at the start of a history nothing.
            return next((e for e in same if e.id == this.parent_id), same[-1] if same else None)
        name = self.held if self.against == _HELD else self.against
        return next((e for e in sound if e.name == name), None)

    def _options(self) -> list[tuple[str, str]]:
        """Return the values of the list, and their words."""
        choices = self._controller.choices
        sound = [e for e in choices.of_actor() if choices.sound(e)]
        pinned = [e for e in sound if e.pin is not None]
        others = [e for e in reversed(sound) if e.pin is None][:_MOST_LISTED]
        chosen = [e for e in sound if e.name == self.against and e not in (*pinned, *others)]
        listed = {_BEFORE, _NEWEST, _HELD, *(e.name for e in (*pinned, *chosen, *others))}
        return [
            # Of one that is gone, or damaged, the list says its name, in place of nothing.
            *([] if self.against in listed else [(self.against, f"not usable: {self.against}")]),
            (_BEFORE, "checkpoint before"),
            (_NEWEST, "newest"),
            *([(_HELD, f"held: {self.held}")] if self.held else []),
            *((e.name, f"pinned: {e.name}") for e in pinned),
            *((e.name, e.name) for e in (*chosen, *others)),
        ]

    def show(self, _state: SessionState) -> None:
        """Put what the controls show, and have the two drawn."""
        choices = self._controller.choices
        if self.seen_alone:  # in a cockpit the line takes its place
            self.put(self.checkpoints, items=choices.items())
        if choices.passes:
            return
        this = choices.resolve("main")
        of = choices.of_actor(), choices.left, choices.damages
        made_of = (*of, this, self.against, self.held)
        if made_of != self._made_of:
            self._made_of = made_of
            self._found = self._options(), None if this is None else self._other(this)
        options, that = self._found
        view = {"options": options, "against": self.against, "how": self.how, "held": self.held}
        self.put(self.picture, view=view)
        if this is None or not forms_of(self._controller):
            self.feed.clear()
            return
        if that is None:
            self.feed.clear()
            if self.against != _BEFORE:
                name = self.held if self.against == _HELD else self.against
                self.feed.outdate(f"{name} is not there any more, or damaged: choose another one")
            return
        how, made = self.how, self._view()
        extent = None if how == "difference" else self._extent(this, made)
        self.feed.want(
            [that, this],
            (how, made, extent),
            lambda: self._draw(this, that, made, how, extent),
            follows=choices.follows("main"),
        )

    def _view(self) -> View:
        """Return how pictures are made now: as the field panel's, if it is open."""
        field = field_panel_of(self._controller)
        if field is not None:
            return field.view_of()
        names = fields_of(list(forms_of(self._controller)))
        return View(names[0], most_bytes=self._controller.profile.picture_bytes)

    def _extent(self, this: CheckpointInfo, view: View) -> Extent | None:
        """Return what the colours take in: the same values have the same colour on the whole stage."""
        field = field_panel_of(self._controller)
        history = self._controller.choices.of_actor()
        return None if field is None else field.extent_of(this, history, view.field)

    def _draw(
        self,
        this: CheckpointInfo,
        that: CheckpointInfo,
        view: View,
        how: str,
        extent: Extent | None,
    ) -> Drawn:
        """Draw them, on the drawer's thread."""
        storage = self.watched.storage
        return draw_against(storage.load(this.name), storage.load(that.name), view, how, extent)

    def dispose(self) -> None:
        """Close every widget of this panel. Any thread."""
        super().dispose()
        self.picture.close()


def stage_of(field: FieldPanel, compare: ComparePanel, board: Board, hand: Hand) -> Stage:
    """Return one view of both panels, side by side, for the cockpit."""
    return Stage(picture=field.picture, compare=compare.picture, board=board, hand=hand)
