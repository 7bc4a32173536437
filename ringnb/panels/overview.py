"""All actors at a glance: a card with a picture for each, or of many a map with a dot for each."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, final

import numpy as np
import traitlets

from ringnb.checkpoint.drawable import pick_field
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointError
from ringnb.panels.core.controller import Controller, SessionGone
from ringnb.panels.core.film import small_picture
from ringnb.panels.core.pixels import range_of, summarize
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.widgets import View
from ringnb.panels.dots import MOST_CARDS, SHOWN, Largest, dots_of
from ringnb.panels.stage.fields import field_panel_of

__all__ = ["AllActors", "Overview"]

_READ_S = 0.3  # so long others of the drawer's pictures wait for values that are read


class Overview(View):
    """The cards, over the stage while they are open."""

    shows = traitlets.Unicode("overview").tag(sync=True)
    count = traitlets.Int().tag(sync=True)  # how many actors there are
    cards: Any = traitlets.List().tag(sync=True)  # slot, name, state, step, bad, stored
    pictures = traitlets.Dict().tag(sync=True)  # by slot, see `film.Small.card`
    choices = traitlets.Dict(SHOWN).tag(sync=True)  # what the dots may show
    dots = traitlets.Dict().tag(sync=True)  # see `dots_of`; with more actors than cards


@final
class AllActors:
    """Fills the overview, as often as the profile allows, while a page has it open."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.view = Overview(
            board=controller.board, hand=controller.hand, count=len(controller.state.actors)
        )
        self._open = False
        self._filled_at = 0.0
        self._shown = next(iter(SHOWN))
        self._largest = Largest()
        self._drawn: dict[int, tuple[str, int]] = {}  # by slot: which checkpoint
        self._pictures: dict[str, dict[str, Any]] = {}
        controller.on_do("actor.sheet", self._on_sheet)

    def _on_sheet(self, _action: str, args: Mapping[str, Any]) -> None:
        self._open, self._filled_at = bool(args.get("open")), 0.0
        if args.get("shown") in SHOWN:
            self._shown = str(args["shown"])
        self._controller.display.poke()

    def show(self, state: SessionState) -> None:
        """Put the map, or cards, and have pictures made of new checkpoints. On the loop's thread."""
        now = time.monotonic()
        if not self._open or now - self._filled_at < self._controller.profile.map_s:
            return
        self._filled_at = now
        if len(state.actors) > MOST_CARDS:
            known = self._read_values(state) if self._shown == "largest" else None
            histories = state.histories
            dots = dots_of(
                self._controller.session.kernel.progress(),
                histories.newest(),
                histories.totals,
                self._shown,
                known,
                ended=state.ended,
            )
            self._controller.display.put(self.view, dots=dots)
            return
        actors = state.actors
        word = "ended" if state.ended else "standing"
        cards = [
            {
                "slot": a.slot,
                "name": a.kernel_id,
                "state": "running" if a.running else word,
                "step": a.step,
                "bad": bool(h) and not h[-1].good,
                "stored": bool(h),
            }
            for a in actors
            for h in [state.histories[a.slot]]
        ]
        self._controller.display.put(self.view, cards=cards)
        sound = {
            a.slot: [e for e in state.histories[a.slot] if self._controller.choices.sound(e)]
            for a in actors
        }
        new = {
            slot: history[-1]
            for slot, history in sound.items()
            if history and self._drawn.get(slot) != (history[-1].name, history[-1].sequence)
        }
        if new:
            self._drawn.update({slot: (e.name, e.sequence) for slot, e in new.items()})
            self._controller.drawer.submit("overview", lambda: self._draw(new))

    def _read_values(self, state: SessionState) -> Mapping[int, float]:
        """Return the largest values that are known, by slot, and have some more read."""
        field = self._controller.shown_field
        known, lacking = self._largest.look(state.histories.newest(), field)
        if lacking:
            read = partial(self._largest.read, lacking, self._largest_of, _READ_S)
            self._controller.drawer.submit("largest", read)
        return known

    def _largest_of(self, e: CheckpointInfo, field: str | None) -> float:
        """Read the largest magnitude of a checkpoint; NaN if it has none, or cannot be read."""
        try:
            checkpoint = self._controller.watched.storage.load(e.name)
            found = summarize(np.asarray(checkpoint[pick_field(checkpoint, field)]))
        except (CheckpointError, SessionGone, OSError, LookupError, ValueError, TypeError):
            return math.nan
        return max(abs(found.low), abs(found.high))

    def _draw(self, new: Mapping[int, CheckpointInfo]) -> None:
        """Make the pictures, as the stage would. On the drawer's thread, which nothing may end."""
        field = field_panel_of(self._controller)
        for slot, e in new.items():
            try:
                checkpoint = self._controller.watched.storage.load(e.name)
                name = pick_field(checkpoint, None)
                history = self._controller.state.histories[slot]
                extent = None if field is None else field.extent_of(e, history, name)
                small = small_picture(checkpoint, name, partial(range_of, extent=extent))
            except (CheckpointError, OSError, LookupError, ValueError):
                continue  # retired or damaged meanwhile: the older picture stays
            self._controller.extents.note(e, name, small.low, small.high)
            if small.rows:
                self._pictures[str(slot)] = small.card()
        self._controller.display.put(self.view, pictures=dict(self._pictures))
        self._controller.display.poke()
