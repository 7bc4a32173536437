"""Which checkpoints the user has chosen, what reading them has shown, and the lists to choose from."""

from __future__ import annotations

import threading
import time
from collections.abc import Set
from itertools import islice
from typing import Any, final

from ringnb._support.text import format_bytes
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.panels.core.histories import Histories

__all__ = ["CheckpointChoices"]

_VERIFIED = "verified"
_PASSES_S = 2.0  # without a word of it, a playhead is taken to rest


@final
class CheckpointChoices:
    """The choices of one session's panels, by a chooser's key. Any thread may call any method."""

    def __init__(self, histories: Histories) -> None:
        self._lock = threading.Lock()
        self._chosen: dict[str, str] = {}
        self._verdicts: dict[str, str] = {}
        self._histories = histories
        self._by_name = {e.name: e for history in histories for e in history}
        self._looked: tuple[str, int, int] = ("", 0, 0)
        self._passes_until = 0.0
        self.slot = 0  # of the selected actor
        # The names of those on no way to the live state: it was restored to an earlier one.
        self.left: Set[str] = frozenset()
        # Rises whenever another checkpoint is known to be damaged, or is no longer.
        self.damages = 0

    def update(self, histories: Histories) -> None:
        """Take over what is stored now; forget the verdicts on what is deleted."""
        if histories is self._histories:
            return
        by_name = {e.name: e for history in histories for e in history}
        # The drawer and the workers add verdicts meanwhile.
        with self._lock:
            self._histories, self._by_name = histories, by_name
            self._verdicts = {k: v for k, v in self._verdicts.items() if k in by_name}

    @property
    def chosen(self) -> dict[str, str]:
        """A copy of the names chosen; "" for the newest, whichever that is."""
        with self._lock:
            return dict(self._chosen)

    def choose(self, key: str, name: str) -> None:
        """Choose a checkpoint by its name, or with "" the newest, whichever that is."""
        with self._lock:
            self._chosen[key] = name
            if key == "main":
                self._passes_until = 0.0

    def look(self, name: str, lane: int, step: int, *, passes: bool = False) -> None:
        """Look at a step of a run's lane, or pass over it, and choose the checkpoint that shows it."""
        with self._lock:
            self._chosen["main"] = name
            self._looked = name, lane, step
            self._passes_until = time.monotonic() + _PASSES_S if passes else 0.0

    def show_by(self, name: str, lane: int, step: int) -> None:
        """Show a step by another checkpoint, if it is still the one that is looked at or passed over."""
        with self._lock:
            if self._looked[1:] == (lane, step) and self._chosen.get("main") == self._looked[0]:
                self._chosen["main"] = name
                self._looked = name, lane, step

    @property
    def passes(self) -> bool:
        """Whether the playhead is being dragged: only the picture goes with it."""
        return time.monotonic() < self._passes_until

    @property
    def looked(self) -> tuple[int, int] | None:
        """The lane and the step that are looked at; None if a checkpoint was chosen, or the newest."""
        with self._lock:
            name, *moment = self._looked
            return (moment[0], moment[1]) if name and self._chosen.get("main") == name else None

    def follows(self, *keys: str) -> bool:
        """Return whether one of these choices is the newest, whichever that is."""
        return not all(map(self.chosen.get, keys))

    def resolve(self, key: str, *, back: int = 0) -> CheckpointInfo | None:
        """Return what is chosen; if nothing is, the newest, or the one ``back`` before it.

        None if there is none, or the chosen one was retired.
        """
        if name := self.chosen.get(key):
            return self._by_name.get(name)
        return self.newest(back)

    def newest(self, back: int = 0) -> CheckpointInfo | None:
        """Return the newest sound one on the way to the live state, or the one ``back`` before it.

        If there is none on its way, of all; None if there is none at all.
        """
        for left in (self.left, frozenset[str]()):
            fits = (e for e in reversed(self.of_actor()) if e.name not in left and self.sound(e))
            found: list[CheckpointInfo] = list(islice(fits, back + 1))
            if found:
                return found[-1]
        return None

    def why_unresolved(self, key: str) -> str:
        """Say why `resolve` has returned None, and what to do."""
        if name := self.chosen.get(key):
            return f"{name} is not there any more: choose another one"
        return "There is no sound checkpoint: take a snapshot first"

    def of_actor(self) -> tuple[CheckpointInfo, ...]:
        """Return the selected actor's checkpoints, oldest first."""
        return self._histories[self.slot]

    def note_verdict(self, name: str, verdict: str = _VERIFIED) -> bool:
        """Note what reading a checkpoint has shown; return whether that is news."""
        with self._lock:
            before = self._verdicts.get(name, _VERIFIED)
            self._verdicts[name] = verdict
            self.damages += verdict != before
            return verdict != before

    def forget_verdict(self, name: str) -> None:
        """Forget what reading a checkpoint has shown: it was changed."""
        with self._lock:
            self.damages += self._verdicts.pop(name, _VERIFIED) != _VERIFIED

    def verdict(self, name: str, unread: str) -> str:
        """Return what reading a checkpoint has shown, or a word for one that was not read."""
        return self._verdicts.get(name, unread)

    def sound(self, info: CheckpointInfo) -> bool:
        """Return whether nothing is known to be wrong with a checkpoint."""
        return not info.damaged and self.verdict(info.name, _VERIFIED) == _VERIFIED

    def items(self, *, every_actor: bool = False) -> list[dict[str, Any]]:
        """Return ``name``, ``text`` and ``bad`` of the checkpoints to choose from, oldest first."""
        histories = self._histories if every_actor else (self.of_actor(),)
        items = []
        for history in histories:
            several = len({e.run for e in history if not e.damaged}) > 1
            for e in history:
                text = self._line(e, actor=every_actor, run=several)
                items.append({"name": e.name, "text": text, "bad": int(not self.sound(e))})
        return items

    def _line(self, e: CheckpointInfo, *, actor: bool, run: bool) -> str:
        if e.damaged:
            return f"{e.name}: damaged, cannot be read"
        # The name first: a narrow page cuts the end off, and two may be of one step.
        facts = [e.name]
        if actor:
            facts.append(e.kernel_id)
        if run:
            facts.append(f"run {e.run[:6]}")
        if e.created_at is not None:
            facts.append(f"{e.created_at:%H:%M:%S}")
        facts += [format_bytes(e.nbytes), self.verdict(e.name, "complete")]
        if not e.good:
            facts.append("bad state")
        if e.pin is not None:
            facts.append(f"pinned: {e.pin}")
        return ", ".join(facts)
