"""The playhead: which moment of which run is looked at, and the checkpoint that shows it.

`Looking` serves ``look.*``, so that a button in a message works whatever panels are open. It keeps the
lanes of the selected actor. What is looked at is one of the session's choices: `CheckpointChoices.look`.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, final

from ringnb._support.text import name_actors
from ringnb.checkpoint.runs import Lineage
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound
from ringnb.panels.core.controller import Controller, SessionGone
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.watched import Watched
from ringnb.panels.deck.inputs import Inputs
from ringnb.panels.deck.lanes import Lanes, RunNumbers, make_lanes, step_in_name
from ringnb.panels.deck.marks import Kind, MarkLog

__all__ = ["Looking", "apart_words"]

_REST_S = 0.3
_UNNOTICED_S = 3.0  # so long what has taken another one's place may not have been noticed
_LONGEST_NAME = 40  # of a run
_NOTE = "look:shown"


@final
class Looking:
    """Moves the playhead. A view without a widget.

    Its public attributes are replaced on the display loop's thread, and may be read by any.
    """

    key: ClassVar[str] = "look"
    seen: bool = True  # what it finds is for any view

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._numbers: dict[int, RunNumbers] = {}
        # Weakly, as the controller: a panel must not keep a kernel running.
        self._watched: Callable[[], Watched | None] = lambda: None
        self._seen = 0  # events of the session
        self._lineage: Lineage | None = None
        self._rest: tuple[object, float] = (None, 0.0)  # where the playhead is, and since when
        self._found: tuple[object, CheckpointInfo | None] = (None, None)  # what shows it, and why
        self._checked: object = None  # where it was when its checkpoint was read
        self._damaged: tuple[object, bool] = (None, False)  # what `is_damaged` has found, and why
        self._holds: object = None  # where the playhead is, while a note of it is in the line
        self._came: tuple[str, float] = (
            "",
            0.0,
        )  # what was shown in another one's place last, when
        self.inputs = Inputs()
        self.marks = MarkLog()
        self.lanes = Lanes(())
        self.slot = -1  # whose lanes they are
        self.history: Sequence[CheckpointInfo] = ()
        self.version = 0  # rises when there may be other marks
        # What a user calls runs, by slot and number. Replaced, as the loop reads it meanwhile.
        self._names: Mapping[tuple[int, int], str] = {}
        controller.on_do("look", self._do)

    # -- on Jupyter's thread ---------------------------------------------------------------------

    def _do(self, action: str, args: Mapping[str, Any]) -> None:
        self._came = "", 0.0
        choices = self._controller.choices
        if action == "newest":
            choices.choose("main", "")
        elif action == "name":
            named = {
                (int(args["slot"]), int(args["lane"])): str(args.get("name", ""))[:_LONGEST_NAME]
            }
            self._names = {**self._names, **named}
        elif action == "to" and args.get("name"):
            self._to_name(str(args["name"]))
        elif action == "to":
            self._to_step(
                int(args["lane"]),
                int(args["step"]),
                int(args.get("key", 0)),
                passes=bool(args.get("passes")),
            )
        self._controller.note_use()

    def _to_name(self, name: str) -> None:
        """Go to a checkpoint, such as one that a message names."""
        found = next((e for e in self.history if e.name == name), None)
        lane = None if found is None else self.lanes.of_run(found.run)
        if found is None or lane is None:
            self._controller.say("note", f"{name} is not there any more")
            return
        self._controller.choices.look(name, lane.number, found.step)

    def _to_step(self, number: int, step: int, key: int, *, passes: bool) -> None:
        """Go to a step of the way to a lane's end: what shows it is the checkpoint before it.

        Of several of that step, a page may have chosen one by the `key` of its mark.
        """
        choices = self._controller.choices
        mark = self.marks.mark(key)
        found = self.lanes.nearest(number, step, choices.sound)
        if found is None:
            self._controller.say("note", "Nothing is stored yet: there is nothing to look at")
            return
        chosen = mark is not None and mark.kind == Kind.CHECKPOINT and mark.step == step
        name = mark.about if mark is not None and chosen else found.name
        choices.look(name, number, step, passes=passes)

    def has_just_come(self, name: str) -> bool:
        """Return, once, whether a checkpoint has just taken the place of what was looked at."""
        came, at = self._came
        self._came = "", 0.0
        return came == name and time.monotonic() - at < _UNNOTICED_S

    def name_of(self, number: int) -> str:
        """Return what a user calls a run of the selected actor; "" if nothing in particular."""
        return self._names.get((self.slot, number), "")

    def is_damaged(self, number: int, step: int) -> bool:
        """Return whether there is a damaged checkpoint of a step, on the way to a lane's end.

        One whose metadata cannot be read may be of any lane.
        """
        choices = self._controller.choices
        made_of = (number, step, self.version, choices.damages)
        if made_of != self._damaged[0]:  # as for what is found: no work for every refresh
            found = any(
                e.step == step and not choices.sound(e)
                for lane, top in self.lanes.way(number)
                if top is None or step <= top
                for e in lane.checkpoints
            ) or any(e.damaged and step_in_name(e.name) == step for e in self.history)
            self._damaged = made_of, found
        return self._damaged[1]

    def number_of_live(self, watched: Watched) -> int:
        """Return the number of the run that the selected actor goes on with now. Any thread."""
        slot = self.slot
        history, lineage = watched.manager.history(slot), watched.manager.lineage(slot)
        return make_lanes(history, lineage, 0, self._numbers[slot]).live.number

    # -- on the display loop's thread ------------------------------------------------------------

    def show(self, state: SessionState) -> None:
        """Take over which runs there are, and say what the playhead rests on."""
        with contextlib.suppress(SessionGone):
            self._read(self._controller.watched, state)
        self._rest_on()

    def _read(self, watched: Watched, state: SessionState) -> None:
        slot = min(self._controller.slot, len(state.actors) - 1)
        if watched is not self._watched():
            self._watched, self._seen = weakref.ref(watched), 0
            self.inputs.begin_session()
        new, self._seen = watched.events.since(self._seen)
        self.inputs.feed(new)
        lineage, history = watched.manager.lineage(slot), state.histories[slot]
        same = slot == self.slot and lineage == self._lineage
        same = same and (history is self.history or history == self.history)
        if slot != self.slot and self.slot >= 0:
            self._controller.choices.choose("main", "")  # what was looked at is another actor's
        if not same:
            numbers = self._numbers.setdefault(slot, RunNumbers())
            self.lanes = make_lanes(history, lineage, state.actors[slot].step, numbers)
            self.slot, self._lineage, self.history = slot, lineage, history
            self._controller.runs = {lane.run: lane.number for lane in self.lanes.all}
            way = {e.name for e in self.lanes.checkpoints(self.lanes.live.number, lambda _: True)}
            self._controller.choices.left = {e.name for e in history if e.name not in way}
        if not same or any(e.stage in ("disturbed", "adjusted", "restored") for e in new):
            self.version += 1

    def _rest_on(self) -> None:
        """Pass over what has turned out to be damaged; say it where what is shown is another step."""
        choices = self._controller.choices
        looked = choices.looked
        if looked is None:
            self._withdraw(None)
            return
        number, step = looked
        made_of = (looked, self.version, choices.damages)
        if made_of != self._found[0]:  # with many checkpoints it is no work for every refresh
            self._found = made_of, self.lanes.nearest(number, step, choices.sound)
        found = self._found[1]
        if found is None:
            self._withdraw(None)
            return
        name = choices.chosen.get("main")
        # Of several of one step, one may have been chosen.
        named = (e for e in self.history if e.name == name and e.step == step and choices.sound(e))
        shown = found if found.name == name else next(named, found)
        where = looked, shown.name
        self._withdraw(where)
        if shown.name != name:
            self._note_gone(str(name), shown, looked)
            if not any(e.name == name and choices.sound(e) for e in self.history):
                self._came = shown.name, time.monotonic()
            choices.show_by(shown.name, number, step)
        now = time.monotonic()
        if self._rest[0] != where:
            self._rest = where, now
        if choices.passes or now - self._rest[1] < _REST_S:
            return
        if self._checked != where:
            self._checked = where
            self._controller.drawer.submit("check", partial(self._check, shown.name))
        apart = step - shown.step
        if not apart or self._holds == where:
            return
        if self.is_damaged(number, step):  # which was said; it is stored
            return
        text = (
            f"Step {step:,} of run {number} is not stored: shown is {shown.name}, "
            f"{apart_words(apart)}. Steps between checkpoints are not replayed: the squares on the "
            "line are stored"
        )
        self._note(text, looked, shown, replaces=True)

    def _note_gone(self, name: str, shown: CheckpointInfo, looked: tuple[int, int]) -> None:
        """Say why another checkpoint is shown, if the one that was looked at is not there any more."""
        step = looked[1]
        if step_in_name(name) != step or any(e.name == name for e in self.history):
            return
        where = "of the same step" if shown.step == step else apart_words(step - shown.step)
        text = f"{name} is not there any more: shown is {shown.name}, {where}"
        self._note(text, looked, shown, by_itself=True)

    def _note(
        self, text: str, looked: tuple[int, int], shown: CheckpointInfo, **more: bool
    ) -> None:
        """Say what is shown in place of what is looked at, as long as that is so."""
        self._holds = looked, shown.name
        self._controller.say("note", text, key=_NOTE, **more)

    def _withdraw(self, where: object) -> None:
        """Take the note out of the line if it is not so any more."""
        if self._holds is not None and self._holds != where:
            self._holds = None
            self._controller.withdraw(_NOTE)

    def _check(self, name: str) -> None:
        """Read every byte of what is looked at. On the drawer's thread, which nothing may end."""
        try:
            self._controller.watched.storage.load(name).verify()
        except CheckpointCorrupt as error:
            self._controller.note_damage(name, error)
        except (CheckpointNotFound, SessionGone):
            pass  # retired meanwhile
        except Exception as error:  # noqa: BLE001 - shown, whatever it is
            self._controller.say(
                "problem", name_actors(f"Reading {name}: {error!r}"), key="look", repeats=False
            )
        else:
            self._controller.choices.note_verdict(name)
        self._controller.display.poke()

    def show_history(self, part: str, rows: list[dict[str, Any]]) -> None:
        """Show none: there is nothing to see of this view."""

    def dispose(self) -> None:
        """Close nothing: what it serves are other views' buttons."""


def apart_words(steps: int) -> str:
    """Say how far off what is shown is from a step."""
    side = "before" if steps > 0 else "after"
    return f"{abs(steps):,} {'step' if abs(steps) == 1 else 'steps'} {side} it"
