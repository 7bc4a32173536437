"""What can be done with the moment that is looked at: restore, branch, pin, check, download, film.

`Moments` serves ``moment.*``, so that a button in a message works whatever panels are open.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, final

from ringnb._support.text import counted, name_actors, said_by
from ringnb.checkpoint import ZarrStorage
from ringnb.checkpoint.storage.archive import export_archive
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound
from ringnb.panels.core.controller import Controller
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.switchboard import MOST_DOWNLOADED
from ringnb.panels.core.watched import NO_KERNEL, SessionLike, Watched
from ringnb.panels.core.widgets import ONLY_ONE, button_state
from ringnb.panels.deck.looking import Looking

__all__ = ["Moments"]

_NO_PICTURE = "It is of the picture of the field, which no panel shows"
_NONE_FITS = "No other actor is of its type and size"


@final
class Moments:
    """Acts on the checkpoint that is looked at. A view without a widget."""

    key: ClassVar[str] = "moment"
    seen: bool = True  # its flags are those of buttons in any view

    def __init__(self, controller: Controller, looking: Looking) -> None:
        self._controller = controller
        self._looking = looking
        controller.on_do("moment", self._do)
        controller.on_do("moment.undo", self._undo)

    # -- on Jupyter's thread ---------------------------------------------------------------------

    def _do(self, action: str, args: Mapping[str, Any]) -> None:
        """Enqueue what a button does."""
        choices = self._controller.choices
        chosen = choices.resolve("main")
        if chosen is None:
            self._controller.say("note", choices.why_unresolved("main"))
            return
        if action == "movie":
            span = float(args["low"]), float(args["high"])
            self._movie(int(args["lane"]), *span, str(args.get("colours") or ""))
            return
        if action in ("restore", "branch"):
            seen = self._seen_at_press(action.capitalize(), chosen, str(args.get("name") or ""))
            if seen is None:
                return
            chosen = seen
        name, slot = chosen.name, choices.slot
        sound = [e.name for e in choices.of_actor() if choices.sound(e)]
        label = str(args.get("label") or "").strip() or "by hand"
        calls: dict[str, tuple[str, Callable[[Watched], object]]] = {
            "pin": ("Pin", lambda s: self._pin(s, name, label)),
            "unpin": ("Unpin", lambda s: self._unpin(s, name)),
            "check": ("Check again", lambda s: self._check(s, [chosen])),
            "check_all": ("Check all", lambda s: self._check(s, choices.of_actor())),
            "download": ("Download", lambda s: self._download(s, [name])),
            "download_all": ("Download", lambda s: self._download(s, sound)),
        }
        if action == "restore":
            self._restore("Restore", slot, name)
        elif action == "branch":
            self._branch(slot, int(args.get("slot", slot)), name)
        elif action in calls:
            what, call = calls[action]
            self._controller.submit(what, call, worker="storage")

    def _seen_at_press(self, what: str, chosen: CheckpointInfo, name: str) -> CheckpointInfo | None:
        """Return what the page showed when the button was pressed, by its name if it knew that.

        None, and a note says why, if that is not there, or has taken another one's place so shortly
        before that whoever pressed may have meant the other.
        """
        choices = self._controller.choices
        sound = (e for e in choices.of_actor() if e.name == name and choices.sound(e))
        seen = next(sound, None) if name else chosen
        why = ""
        if seen is None:
            why = f"{name} is not there any more, or damaged"
        elif self._looking.has_just_come(seen.name):
            why = "what was looked at is not there any more, or damaged"
        if not why:
            return seen
        text = f"{what}: {why}. Shown is {chosen.name}: press again to take that"
        self._controller.say("note", text)
        return None

    def _branch(self, slot: int, into: int, name: str) -> None:
        count = len(self._controller.state.actors)
        if into == slot or not 0 <= into < count:
            why = "that is the actor that you look at" if into == slot else "there is no such actor"
            text = f"Branch into actor {into}: {why}; choose another one of 0 to {count - 1}"
            self._controller.say("note", text)
            return
        self._restore("Branch", into, name)

    def _movie(self, number: int, low: float, high: float, colours: str) -> None:
        """Have a movie made of what the line shows of the way to a lane's end, in the page's colours."""
        way = self._looking.lanes.checkpoints(number, self._controller.choices.sound)
        names = [e.name for e in way if low <= e.step <= high]
        if names:
            self._controller.do("stage.movie", names=names, colours=colours)
        else:
            self._controller.say("note", f"Movie: no checkpoint of run {number} is in sight")

    def _undo(self, _action: str, args: Mapping[str, Any]) -> None:
        self._restore("Undo", int(args["slot"]), str(args["name"]))

    def _restore(self, what: str, slot: int, name: str) -> None:
        def work(session: SessionLike) -> None:
            """Restore, and say so with the way back."""
            text, before = self._keep_and_restore(session, slot, name)
            undo = ("moment.undo", "Undo", {"slot": slot, "name": before})
            self._controller.say("done", text, actions=[undo])

        self._controller.steer(what, work, done="", worker="storage", slots=(slot,))

    # -- on the storage worker -------------------------------------------------------------------

    def _keep_and_restore(self, session: SessionLike, slot: int, name: str) -> tuple[str, str]:
        """Keep the live state, then restore; return what to say, and the name of what was kept."""
        try:
            checkpoint = session.storage.load(name)
            checkpoint.verify()  # before anything is changed
        except CheckpointCorrupt as error:
            self._controller.choices.note_verdict(name, f"damaged: {error}")
            raise
        counters = session.counters(slot)
        ran_freely = counters.running and not counters.budget
        session.pause(slot)
        try:
            before, step = _swap(session, slot, checkpoint)
        finally:
            if ran_freely and not session.closed:  # also if it was not restored
                session.resume(slot)
        remark = session.events.select("restored", actor_slot=slot)[-1].detail
        text = f"Actor {slot} continues from step {step:,} ({name})"
        if slot == self._looking.slot:
            run = self._looking.number_of_live(session)
            text += f" as run {run}"
        text += f". Its state before is kept: {before.name}"
        return (f"{text}. Note: {name_actors(remark)}" if remark else text), before.name

    def _pin(self, watched: Watched, name: str, label: str) -> str:
        watched.storage.pin(name, label)
        self._controller.note_store()
        return f"{name} is pinned: {label}"

    def _unpin(self, watched: Watched, name: str) -> str:
        watched.storage.unpin(name)
        self._controller.note_store()
        return f"{name} is not pinned: the policy decides on it again"

    def _check(self, watched: Watched, history: Sequence[CheckpointInfo]) -> str:
        bad = []
        for e in history:
            try:
                watched.storage.load(e.name).verify()
            except CheckpointCorrupt as error:
                self._controller.choices.note_verdict(e.name, f"damaged: {error}")
                bad.append(said_by(error) if len(history) == 1 else e.name)
            except CheckpointNotFound:
                if len(history) == 1:
                    raise
                continue  # retired meanwhile
            else:
                self._controller.choices.note_verdict(e.name)
        if bad and len(history) == 1:
            raise CheckpointCorrupt(bad[0])
        if bad:
            msg = f"{len(bad)} of {len(history)} damaged: {', '.join(bad)}; the others are sound"
            raise CheckpointCorrupt(msg)
        what = history[0].name if len(history) == 1 else counted(len(history), "checkpoint")
        more = "" if len(history) == 1 else "; this actor has no others"
        return f"{what} verified, every byte{more}"

    def _download(self, watched: Watched, names: Sequence[str]) -> str:
        storage = watched.storage
        if not isinstance(storage, ZarrStorage):
            msg = f"only a ZarrStorage can be exported, this is {storage!r}"
            raise TypeError(msg)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "checkpoint.zip"
            export_archive(storage, target, names)
            size = target.stat().st_size
            if size > MOST_DOWNLOADED:
                msg = f"{size:,} bytes are too many for the notebook's connection: use `ringnb export`"
                raise ValueError(msg)
            self._controller.download(f"{names[0]}.zip", target.read_bytes())
        what = names[0] if len(names) == 1 else counted(len(names), "checkpoint")
        return f"{what} sent, {counted(size, 'byte')}"

    # -- on the display loop's thread ------------------------------------------------------------

    def show(self, state: SessionState) -> None:
        """Say which buttons can be used."""
        choices = self._controller.choices
        e = choices.resolve("main")
        missing = e is None
        unusable = e is None or not choices.sound(e)
        why = choices.why_unresolved("main") if missing else "This checkpoint is damaged"
        unheard = self._controller.why_unheard(state, self._controller.slot)
        why_not = state.life if state.ended else unheard or why
        off = button_state(state.ended or unusable or bool(unheard), why_not)
        if not state.has_kernel and e is not None:
            off = button_state(
                True, f"{NO_KERNEL}. In a cell: step, state = rec.restore({e.name!r})"
            )
        branch = off
        if state.into is None:
            alone = len(state.actors) == 1
            branch = button_state(True, ONLY_ONE if alone else _NONE_FITS)
        drawn = "field" in self._controller.views
        there = button_state(missing, choices.why_unresolved("main"))
        self._controller.set_flags(
            {
                "moment.restore": off,
                "moment.branch": branch,
                "moment.pin": button_state(unusable, why),
                "moment.unpin": there,
                "moment.check": there,
                "moment.check_all": there,
                "moment.download": button_state(unusable, why),
                "moment.download_all": there,
                "moment.movie": there if drawn else button_state(True, _NO_PICTURE),
            }
        )

    def show_history(self, part: str, rows: list[dict[str, Any]]) -> None:
        """Show none: there is nothing to see of this view."""

    def dispose(self) -> None:
        """Close nothing: what it serves are other views' buttons."""


def _swap(session: SessionLike, slot: int, checkpoint: Checkpoint) -> tuple[Checkpoint, int]:
    """Keep a paused actor's state and restore another; return the kept one and the step restored."""
    pin = checkpoint.pinned is None
    if pin:
        checkpoint.pin("being restored")  # or the next commit's retention could delete it
    try:
        before = session.snapshot(slot, timeout=30.0)
        return before, session.restore(slot, checkpoint)
    finally:
        if pin:
            checkpoint.unpin()
