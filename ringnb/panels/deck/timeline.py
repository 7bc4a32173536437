"""The timeline panel: the line of an actor's steps with its checkpoints, and the moment looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from ipywidgets import Widget

from ringnb._support.text import format_bytes
from ringnb.checkpoint.drawable import simulated
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.panels.core.film import Wish
from ringnb.panels.core.film_reader import FilmReader
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.deck.lanes import Lane
from ringnb.panels.deck.looking import Looking, apart_words
from ringnb.panels.deck.marks import Kind, make_marks
from ringnb.panels.deck.widgets import Deck, Moment

__all__ = ["TimelinePanel"]

_MOST_PICTURES = 64  # that a page may ask for at once
_MOST_VALUES = 400


@final
class TimelinePanel(Panel):
    """Shows the line, and the moment that is looked at; see `Panel`."""

    key = "timeline"
    title = "Timeline"

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        controller = self._controller
        looking = controller.views[Looking.key]
        assert isinstance(looking, Looking)
        self._looking = looking
        self._reader = FilmReader(controller, "film")
        self.film = self._reader.film
        self._shown: tuple[object, ...] = ()  # what the marks were made of
        self._rows_of: tuple[object, list[dict[str, Any]]] = (None, [])
        self._all_wanted = False  # a page has missed a version
        self._lane_of: dict[str, int] = {}  # of each checkpoint that could be read once
        drag_ms = round(1000 * controller.profile.drag_s)
        self.deck = Deck(board=controller.board, hand=controller.hand, drag_ms=drag_ms)
        controller.on_do("look.marks", self._want_all)
        controller.on_do("look.film", self._want_film)
        controller.on_do("look.about", self._want_about)
        return [self.deck]

    def side(self) -> Sequence[Widget]:
        """Make what says where the playhead is."""
        self.moment = Moment(board=self._controller.board, hand=self._controller.hand)
        return [self.moment]

    # -- on Jupyter's thread ---------------------------------------------------------------------

    def _want_all(self, _action: str, _args: Mapping[str, Any]) -> None:
        self._all_wanted = True

    def _want_film(self, _action: str, args: Mapping[str, Any]) -> None:
        """Have the small pictures read that a page would show."""
        most = self._controller.profile.small_pictures
        wanted = [(key, True) for key in list(args.get("keys", ()))[: min(most, _MOST_PICTURES)]]
        wanted += [(key, False) for key in list(args.get("traces", ()))[:_MOST_VALUES]]
        by_name = {e.name: e for e in self._looking.history}
        wishes = []
        for key, picture in wanted:
            mark = self._looking.marks.mark(int(key))
            info = None if mark is None else by_name.get(mark.about)
            if info is not None and not info.damaged:
                wishes.append(Wish(int(key), info, picture))
        self._reader.wish(wishes)

    def _want_about(self, _action: str, args: Mapping[str, Any]) -> None:
        """Put what is said of the mark under the pointer."""
        key = int(args["key"])
        mark = self._looking.marks.mark(key)
        if mark is None:
            return
        if mark.kind != Kind.CHECKPOINT:
            at = f"step {mark.step:,} of run {mark.lane}"
            lines = [mark.about] if mark.about else []
            title = f"disturbed at {at}" if mark.kind == Kind.DISTURBED else at
        else:
            info = next((e for e in self._looking.history if e.name == mark.about), None)
            title, lines = mark.about, [] if info is None else self._about(info)
        self.put(self.deck, about={"key": key, "title": title, "lines": lines})

    def _about(self, e: CheckpointInfo) -> list[str]:
        if e.damaged:
            return ["damaged: its metadata cannot be read. The one before is shown instead"]
        made = "" if e.created_at is None else f"{e.created_at:%H:%M:%S} UTC, "
        time = simulated(e.time, dict(e.params).get("dt"))
        lines = [time] if time else []
        lines.append(f"{made}{format_bytes(e.nbytes)}")
        if e.pin is not None:
            lines.append(f"pinned: {e.pin}")
        if not e.good:
            lines.append("its state is not good")
        if not self._controller.choices.sound(e):
            verdict = self._controller.choices.verdict(e.name, "damaged")
            lines.append(f"{verdict}. The one before is shown instead")
        return lines

    # -- on the display loop's thread ------------------------------------------------------------

    def show(self, state: SessionState) -> None:
        """Put lanes, marks, pictures that are done, and what is known of the moment."""
        looking, choices = self._looking, self._controller.choices
        slot, lanes = looking.slot, looking.lanes
        if slot < 0:
            return  # the session was gone before it was seen
        if slot != self.deck.slot:
            self._looking.marks.restart()
            self._lane_of = {}
        made_of = (slot, looking.version, choices.damages, self._controller.going)
        if made_of != self._shown:
            self._shown = made_of
            self._lane_of |= {e.name: x.number for x in lanes.all for e in x.checkpoints}
            runs = {e.name: e.run for e in looking.history if not e.damaged}
            damaged = [(e.name, self._lane_of.get(e.name)) for e in looking.history if e.damaged]
            inputs = looking.inputs.of(slot, runs)
            marks = make_marks(lanes, damaged, inputs, self._controller.going, choices.sound)
            change = self._looking.marks.update(marks)
            if change is not None:
                self.put(self.deck, marks=change)
        if self._all_wanted or slot != self.deck.slot:
            self._all_wanted = False
            self.put(self.deck, marks=self._looking.marks.whole())
        self.film.show_field(self._controller.shown_field)
        batch = self.film.take()
        if batch is not None:
            self.put(self.deck, film=batch)
        names = [looking.name_of(lane.number) for lane in lanes.all]
        if self._rows_of[0] != (lanes, names):
            rows = [lane_row(lane, name) for lane, name in zip(lanes.all, names, strict=True)]
            self._rows_of = (lanes, names), rows
        self.put(
            self.deck,
            slot=slot,
            field=self.film.field or "",
            traced=self._reader.traced,
            lanes=self._rows_of[1],
            actors={"count": len(state.actors), "into": state.into},
        )
        if choices.passes:
            return
        e = choices.resolve("main")
        key, name = (0, "") if e is None else (self._looking.marks.key_of(e), e.name)
        self.put(self.deck, shown={"key": key, "name": name})
        self.put(self.moment, facts=self._facts(e), pinned=e is not None and e.pin is not None)

    def _facts(self, e: CheckpointInfo | None) -> list[list[str]]:
        """Say what is known of the moment that is looked at."""
        choices = self._controller.choices
        if e is None:
            name = choices.chosen.get("main")
            return [["State", f"{name} is not there any more" if name else "Nothing stored"]]
        if e.damaged:
            return [["State", f"{e.name} is damaged: its metadata cannot be read"]]
        lane = self._looking.lanes.of_run(e.run)
        number, step = choices.looked or (0 if lane is None else lane.number, e.step)
        time, apart = simulated(e.time, dict(e.params).get("dt")), step - e.step
        of_state, name = f", {time}" if time else "", self._looking.name_of(number)
        called = f"{step:,} of run {number}" + (f" ({name})" if name else "")
        facts = [["Step", f"{called}{'' if apart else of_state}"]]
        if apart:
            what = "damaged" if self._looking.is_damaged(number, step) else "not stored"
            facts.append(
                ["State", f"{what}: the checkpoint {apart_words(apart)} is shown, without replay"]
            )
        elif not choices.sound(e):
            facts.append(["State", choices.verdict(e.name, "damaged")])
        else:
            facts.append(["State", f"stored, {'good' if e.good else 'not good: see History'}"])
        facts.append(["From", f"{e.name}{of_state if apart else ''}"])
        params = ", ".join(
            f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in e.params
        )
        if params:
            facts.append(["With", params])
        facts.append(
            ["Size", f"{format_bytes(e.nbytes)}, {choices.verdict(e.name, 'not read yet')}"]
        )
        if e.created_at is not None:
            facts.append(["Made", f"{e.created_at:%Y-%m-%d %H:%M:%S} UTC"])
        facts.append(["Code", e.code or "not recorded"])
        if e.pin is not None:
            facts.append(["Pinned", e.pin])
        return facts


def lane_row(lane: Lane, name: str) -> dict[str, Any]:
    """Return what a page needs of a lane. The live edge goes by the board."""
    return {
        "n": lane.number,
        "run": lane.run,
        "name": name,
        "words": lane.words,
        "parent": lane.parent,
        "fork": lane.fork,
        "first": lane.first,
        "last": max((e.step for e in lane.checkpoints), default=lane.first),
        "live": lane.is_live,
    }
