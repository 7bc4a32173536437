"""The retention panel: choose a policy, see what it would delete, then apply it; pin what must stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import final

from ipywidgets import HTML, Text, Widget

from ringnb._support.text import counted, format_bytes, rows_table
from ringnb.checkpoint import retention
from ringnb.checkpoint.pruning import PrunedRun
from ringnb.checkpoint.retention import Policy
from ringnb.errors import CheckpointError
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.widgets import WHOLE_LABEL, dropdown, integer_field, row
from ringnb.session.session import Session

__all__ = ["RetentionPanel"]

_POLICIES: dict[str, Callable[[int], Policy]] = {
    "the newest N": retention.keep_last,
    "the first of every N steps, and the newest": lambda n: (
        retention.keep_every(n) | retention.keep_last(1)
    ),
    "thinned out with age, from N seconds on": lambda n: retention.keep_thinning(float(n)),
    "what fits into N MiB per actor": lambda n: retention.keep_within(n << 20),
    "all": lambda _: retention.keep_all(),
}


@final
class RetentionPanel(Panel):
    """Steers what is kept; see `Panel`."""

    key = "retention"
    title = "Retention"

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        # What was previewed, and so may be done: the policy as it is written, one checkpoint's name, and
        # what goes of runs that were left behind.
        self._previewed_policy: str | None = None
        self._previewed_deletion: str | None = None
        self._previewed_runs: list[PrunedRun] = []
        self.policy = self.control(dropdown("Keep", _POLICIES), self._forget_preview)
        kept = max(1, self._controller.state.config.max_snapshots)
        self.number = self.control(integer_field("N", kept), self._forget_preview)
        bar = self.actions(
            "Retention",
            ("preview", "Preview deletion", "Show what would be deleted; nothing changes"),
            ("apply", "Apply and delete", "Needs a preview of exactly this policy"),
        )
        self.label = self.control(
            Text(placeholder="why it is kept", description="Label", style=WHOLE_LABEL)
        )
        one = self.actions(
            "One checkpoint",
            ("pin", "Pin", "Keep the chosen checkpoint whatever the policy says"),
            ("unpin", "Unpin", "Let the policy decide on the chosen checkpoint again"),
            ("consider", "Preview its deletion", "Show what deleting the chosen one would free"),
            ("delete", "Delete it", "Needs a preview of exactly this checkpoint"),
        )
        runs = self.actions(
            "Earlier runs",
            (
                "runs",
                "Preview earlier runs",
                "Show what deleting all but the newest run would take",
            ),
            ("prune", "Delete earlier runs", "Needs a preview of exactly these runs"),
        )
        self.checkpoints = self.chooser("kept", "Checkpoint to pin or delete")
        self.table = HTML()
        self.in_force = HTML()
        return [
            self.in_force,
            row(self.policy, self.number),
            bar,
            self.table,
            self.checkpoints,
            row(self.label),
            one,
            runs,
        ]

    def _chosen_policy(self) -> Policy:
        return _POLICIES[self.policy.value](int(self.number.value))

    def _forget_preview(self, _: object) -> None:
        self._previewed_policy = None
        self._controller.note_use()

    def on_action(self, action: str) -> None:
        """Enqueue what a button does."""
        label, chosen = self.label.value.strip(), self._controller.choices.resolve("kept")
        policy = self._chosen_policy()
        if action == "preview":
            self.submit("Preview", lambda s: self._preview(s, policy), worker="storage")
        elif action == "apply":
            if self._previewed_policy != repr(policy):
                self.refuse("Apply: preview this policy first, so that you see what it deletes")
                return
            self.submit("Apply", lambda s: self._apply(s, policy), worker="storage")
        elif action == "runs":
            self.submit("Earlier runs", self._preview_runs, worker="storage")
        elif action == "prune":
            if not self._previewed_runs:
                self.refuse("Delete earlier runs: preview them first, so that you see what goes")
                return
            self.submit("Earlier runs", self._prune, worker="storage")
        elif chosen is None:
            self.refuse(self._controller.choices.why_unresolved("kept"))
        elif action == "pin":
            why, name = label or "pinned in the panel", chosen.name
            done = f"{name} is pinned: {why}"
            self.submit("Pin", lambda s: s.storage.pin(name, why), done=done, worker="storage")
        elif action == "unpin":
            name = chosen.name
            done = f"{name} is not pinned: the policy decides on it again"
            self.submit("Unpin", lambda s: s.storage.unpin(name), done=done, worker="storage")
        elif action == "consider":
            self.submit(
                "Delete", lambda s: self._preview_deletion(s, chosen.name), worker="storage"
            )
        elif self._previewed_deletion != chosen.name:
            self.refuse(f"Delete: preview the deletion of {chosen.name} first")
        else:
            self.submit("Delete", lambda s: self._delete(s, chosen.name), worker="storage")

    def _preview_runs(self, session: Session) -> str:
        pruned = session.manager.prune_runs(dry_run=True)
        self._previewed_runs = pruned
        going = [e for run in pruned for e in run.delete]
        self.put(self.table, value=_table_of(pruned) if pruned else "")
        return (
            f"Deleting {counted(len(pruned), 'earlier run')} would take "
            f"{counted(len(going), 'checkpoint')}, {format_bytes(sum(e.nbytes for e in going))}"
        )

    def _prune(self, session: Session) -> str:
        seen, self._previewed_runs = self._previewed_runs, []
        if session.manager.prune_runs(dry_run=True) != seen:
            msg = "the earlier runs have changed since the preview; nothing was deleted: preview again"
            raise CheckpointError(msg)
        going = [e for run in session.manager.prune_runs() for e in run.delete]
        self.put(self.table, value="")
        return f"{counted(len(going), 'checkpoint')} of earlier runs deleted"

    def _preview_deletion(self, session: Session, name: str) -> str:
        freed = session.manager.discard(name, dry_run=True)
        self._previewed_deletion = name
        return f"Deleting {name} would free {freed:,} bytes on disk. It cannot be undone"

    def _delete(self, session: Session, name: str) -> str:
        self._previewed_deletion = None
        freed = session.manager.discard(name)
        self._controller.choose("kept", "")  # not the deleted one
        return f"{name} is deleted, {freed:,} bytes on disk are free"

    def _preview(self, session: Session, policy: Policy) -> str:
        preview = session.manager.preview_retention(policy)
        self.put(self.table, value=preview._repr_html_())
        self._previewed_policy = repr(policy)
        return (
            f"{policy!r} would keep {len(preview.keep)}, delete {len(preview.delete)} and free "
            f"{preview.freed_bytes:,} bytes on disk"
        )

    def _apply(self, session: Session, policy: Policy) -> str:
        session.manager.reconfigure(retention=policy)
        deleted = session.manager.apply_retention()
        self._previewed_policy = None
        self.put(self.table, value="")
        names = ", ".join(deleted) or "nothing"
        return f"{policy!r} applies from now on; deleted {len(deleted)}: {names}"

    def show(self, state: SessionState) -> None:
        """Put the current policy, and which buttons can be used."""
        pinned = [e.pin is not None for h in state.histories for e in h]
        self.put(
            self.in_force,
            value=f"<p>Current policy: <code>{escape(repr(state.config.policy))}</code>. "
            f"Pinned: {sum(pinned)} of {len(pinned)}.</p>",
        )
        self.put(self.checkpoints, items=self._controller.choices.items())
        chosen = self._controller.choices.resolve("kept")
        self.flags(
            apply={"disabled": self._previewed_policy != repr(self._chosen_policy())},
            delete={"disabled": chosen is None or self._previewed_deletion != chosen.name},
            prune={"disabled": not self._previewed_runs},
        )


def _table_of(pruned: Sequence[PrunedRun]) -> str:
    """Return the runs of which something goes, as a table."""
    header = ("actor", "run", "steps", "goes", "stays")
    rows = [
        (
            p.kernel_id,
            p.run.id[:6],
            f"{p.run.first_step:,} to {p.run.last_step:,}",
            counted(len(p.delete), "checkpoint"),
            ", ".join(f"{e.name} ({why})" for e, why in p.keep) or "nothing",
        )
        for p in pruned
    ]
    return rows_table("Earlier runs", header, rows)
