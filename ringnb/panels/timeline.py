"""The timeline panel: look through an actor's checkpoints, put one back, take them along."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import final

from ipywidgets import Widget

from ringnb._support.text import counted, facts_table
from ringnb.checkpoint import ZarrStorage
from ringnb.checkpoint.storage.archive import export_archive
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound
from ringnb.panels.core.actor_picker import slot_picker
from ringnb.panels.core.checkpoint_choices import items_of
from ringnb.panels.core.panel import Panel, resting, row
from ringnb.panels.core.state import SessionState
from ringnb.session.session import Session

__all__ = ["TimelinePanel"]

_MOST_BYTES = 64 << 20  # through the notebook's own connection


@final
class TimelinePanel(Panel):
    """Chooses and restores checkpoints; see `Panel`."""

    key = "timeline"
    title = "Timeline"

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        # A name may be used again once its checkpoint is gone; its place in the commit order is not.
        self._parents: dict[tuple[str, int], str | None] = {}
        actors = self._desk.state.actors
        self.into = self.control(slot_picker(actors, "Into", none="its own slot"))
        bar = self.actions(
            "Timeline",
            (
                "restore",
                "Restore",
                "Pause, keep the present state as a checkpoint, put this one back",
            ),
            ("verify", "Verify all", "Read every byte of this actor's checkpoints"),
            ("download", "Download", "This actor's checkpoints as one zip file"),
        )
        self._facts = self.display()
        return [self.chooser("main", "Checkpoint", scrub=True), self._facts, row(self.into), bar]

    def on_action(self, action: str) -> None:
        """Enqueue what a button stands for."""
        chosen, into = self._desk.resolve("main"), int(self.into.value)
        slot = self._desk.slot if into < 0 else into
        if chosen is None:
            self.tell(alert=self._desk.nothing_chosen("main"))
            self._desk.pump.poke()
            return
        history = self._desk.state.histories[self._desk.slot]
        if action == "restore":
            self._desk.do(
                self,
                "Restore",
                lambda s: _restore(s, slot, chosen.name),
                lane="storage",
                slots=(slot,),
            )
        elif action == "verify":
            self._desk.do(self, "Verify", lambda s: self._verify(s, history), lane="storage")
        else:
            names = [e.name for e in history if self._desk.sound(e)]
            self._desk.do(self, "Download", lambda s: self._download(s, names), lane="storage")

    def _verify(self, session: Session, history: Sequence[CheckpointInfo]) -> str:
        bad = []
        for e in history:
            try:
                session.storage.load(e.name).verify()
            except CheckpointCorrupt as error:
                self._desk.verdicts[e.name] = f"damaged: {error}"
                bad.append(e.name)
            except CheckpointNotFound:
                continue  # retired meanwhile
            else:
                self._desk.verdicts[e.name] = "verified"
        if bad:
            msg = f"{len(bad)} of {len(history)} damaged: {', '.join(bad)}; the others are sound"
            raise CheckpointCorrupt(msg)
        return f"{counted(len(history), 'checkpoint')} verified, every byte: all of this actor"

    def _download(self, session: Session, names: Sequence[str]) -> str:
        storage = session.storage
        if not isinstance(storage, ZarrStorage):
            msg = f"only a ZarrStorage can be exported, this is {storage!r}"
            raise TypeError(msg)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "checkpoints.zip"
            export_archive(storage, target, names)
            size = target.stat().st_size
            if size > _MOST_BYTES:
                msg = f"{size:,} bytes are too many for the notebook's line: use `ringnb export`"
                raise ValueError(msg)
            self.frame.send({"download": "checkpoints.zip"}, [target.read_bytes()])
        return f"{counted(len(names), 'checkpoint')} sent, {counted(size, 'byte')}"

    def show(self, state: SessionState) -> None:
        """Put the checkpoints, and what is known of the chosen one."""
        self._desk.pump.put(self.frame, items=items_of(state, self._desk))
        e = self._desk.resolve("main")
        if e is None:
            gone = self._desk.chosen.get("main")
            text = f"<p>{gone} was retired.</p>" if gone else "<p>No checkpoint yet.</p>"
            self.put(self._facts, value=text)
        else:
            verdict = self._desk.verdicts.get(e.name, "complete, not read yet")
            self.put(
                self._facts,
                value=facts_table(
                    e.name,
                    {
                        "step": f"{e.step:,}",
                        "committed": f"{e.created_at:%Y-%m-%d %H:%M:%S} UTC, number {e.sequence}",
                        "size": f"{e.nbytes:,} bytes",
                        "continues": self._parent(e) or "nothing: the first of its line",
                        "state": verdict,
                        "pinned": e.pin or "no",
                    },
                ),
            )
        dead = state.life != "running"
        none = self._desk.nothing_chosen("main")
        why = state.life if dead else none if e is None else "This checkpoint is damaged"
        self.flags(
            restore=resting(dead or e is None or not self._desk.sound(e), why),
            verify=resting(e is None, none),
            download=resting(e is None, none),
        )

    def _parent(self, e: CheckpointInfo) -> str | None:
        parents, key = self._parents, (e.name, e.sequence)
        if key not in parents:
            if len(parents) > 1000:
                parents.clear()
            try:
                parents[key] = self._desk.session.storage.load(e.name).parent
            except (CheckpointCorrupt, CheckpointNotFound):
                return "unknown"
        return parents[key]


def _restore(session: Session, slot: int, name: str) -> str:
    checkpoint = session.storage.load(name)
    checkpoint.verify()  # before anything is touched
    session.pause(slot)
    held = checkpoint.pinned is None
    if held:
        checkpoint.pin("being restored")  # or the next commit's retention could take it away
    try:
        before = session.snapshot(slot, timeout=30.0)
        step = session.restore(slot, checkpoint)
    finally:
        if held:
            checkpoint.unpin()
    return f"Slot {slot} stands at step {step:,}, from {name}. The state before is kept as {before.name}"
