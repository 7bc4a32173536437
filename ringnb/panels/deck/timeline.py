"""The timeline panel: look through an actor's checkpoints, restore one, download them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import final

from ipywidgets import HTML, Widget

from ringnb._support.text import counted, facts_table
from ringnb.checkpoint import ZarrStorage
from ringnb.checkpoint.storage.archive import export_archive
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound
from ringnb.panels.core.actor_picker import slot_picker
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.widgets import button_state, row
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
        actors = self._controller.state.actors
        self.into = self.control(slot_picker(actors, "Into", none="its own slot"))
        restore = "Pause, keep the present state as a checkpoint, restore this one"
        bar = self.actions(
            "Timeline",
            ("restore", "Restore", restore),
            ("verify", "Verify all", "Read every byte of this actor's checkpoints"),
            ("download", "Download", "This actor's checkpoints as one zip file"),
        )
        self.overview = HTML()
        self.checkpoints = self.chooser("main", "Checkpoint", scrub=True)
        return [self.checkpoints, self.overview, row(self.into), bar]

    def on_action(self, action: str) -> None:
        """Enqueue what a button does."""
        choices = self._controller.choices
        chosen, into = choices.resolve("main"), int(self.into.value)
        slot = choices.slot if into < 0 else into
        if chosen is None:
            self.refuse(choices.why_unresolved("main"))
            return
        history = choices.of_actor()
        if action == "restore":
            name, slots = chosen.name, (slot,)
            self.submit("Restore", lambda s: _restore(s, slot, name), worker="storage", slots=slots)
        elif action == "verify":
            self.submit("Verify", lambda s: self._verify(s, history), worker="storage")
        else:
            names = [e.name for e in history if choices.sound(e)]
            self.submit("Download", lambda s: self._download(s, names), worker="storage")

    def _verify(self, session: Session, history: Sequence[CheckpointInfo]) -> str:
        bad = []
        for e in history:
            try:
                session.storage.load(e.name).verify()
            except CheckpointCorrupt as error:
                self._controller.choices.note_verdict(e.name, f"damaged: {error}")
                bad.append(e.name)
            except CheckpointNotFound:
                continue  # retired meanwhile
            else:
                self._controller.choices.note_verdict(e.name)
        if bad:
            msg = f"{len(bad)} of {len(history)} damaged: {', '.join(bad)}; the others are sound"
            raise CheckpointCorrupt(msg)
        return (
            f"{counted(len(history), 'checkpoint')} verified, every byte; this actor has no others"
        )

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
                msg = f"{size:,} bytes are too many for the notebook's connection: use `ringnb export`"
                raise ValueError(msg)
            self._controller.download("checkpoints.zip", target.read_bytes())
        return f"{counted(len(names), 'checkpoint')} sent, {counted(size, 'byte')}"

    def show(self, state: SessionState) -> None:
        """Put the checkpoints, and what is known of the chosen one."""
        choices = self._controller.choices
        self.put(self.checkpoints, items=choices.items())
        e = choices.resolve("main")
        if e is None:
            name = choices.chosen.get("main")
            table = f"<p>{name} was retired.</p>" if name else "<p>No checkpoint yet.</p>"
        elif e.damaged:
            table = f"<p>{e.name} is damaged, it cannot be read.</p>"
        else:
            facts = {
                "step": f"{e.step:,}",
                "actor and run": f"{e.kernel_id}, run {e.run}",
                "committed": f"{e.created_at:%Y-%m-%d %H:%M:%S} UTC, number {e.sequence}",
                "size": f"{e.nbytes:,} bytes",
                "continues": e.parent or "nothing: the first of its run",
                "code": e.code or "not recorded",
                "bytes": choices.verdict(e.name, "complete, not read yet"),
                "state": "good" if e.good else "not good: see the messages, or Checkpoint.bad",
                "pinned": e.pin or "no",
            }
            table = facts_table(e.name, facts)
        self.put(self.overview, value=table)
        missing = choices.why_unresolved("main")
        why = missing if e is None else "This checkpoint is damaged"
        unusable = e is None or not choices.sound(e)
        self.flags(
            restore=button_state(state.ended or unusable, state.life if state.ended else why),
            verify=button_state(e is None, missing),
            download=button_state(e is None, missing),
        )


def _restore(session: Session, slot: int, name: str) -> str:
    checkpoint = session.storage.load(name)
    checkpoint.verify()  # before anything is changed
    session.pause(slot)
    pin = checkpoint.pinned is None
    if pin:
        checkpoint.pin("being restored")  # or the next commit's retention could delete it
    try:
        before = session.snapshot(slot, timeout=30.0)
        step = session.restore(slot, checkpoint)
    finally:
        if pin:
            checkpoint.unpin()
    done = (
        f"Slot {slot} is at step {step:,}, from {name}. The state before is kept as {before.name}"
    )
    remark = session.events.select("restored", actor_slot=slot)[-1].detail
    return f"{done}. Note: {remark}" if remark else done
