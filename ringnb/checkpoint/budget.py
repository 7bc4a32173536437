"""The budget of a store: what may go when all its checkpoints together are too many bytes.

Retention works within an actor's current run; whatever earlier runs have left stays. Only a
``CheckpointConfig(store_budget=...)`` takes from them after a commit: the run that ended first goes
first. `to_free` chooses, from the catalogue alone; a `StoreBudget` looks and deletes for one manager.

Bytes are logical ones, `CheckpointInfo.nbytes`: the catalogue has them, so that no file is looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TypeAlias, final

from ringnb.checkpoint.committing import Saving, delete_all
from ringnb.checkpoint.notices import warn
from ringnb.checkpoint.retention import RetentionPreview
from ringnb.checkpoint.runs import Lineage
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.records import CheckpointInfo, Snapshot
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound

__all__ = ["StoreBudget", "Verified", "to_free"]

logger = logging.getLogger("ringnb.checkpoint")

Verified: TypeAlias = Callable[[CheckpointInfo], bool]
Key: TypeAlias = tuple[str, str, str]  # of a run


def _key(e: CheckpointInfo | Snapshot) -> Key:
    return e.name_prefix, e.kernel_id, e.run


def _is_counted(e: CheckpointInfo) -> bool:
    """Return whether a checkpoint is one that this store's commits have made.

    What was imported or adopted, which has a number below 1, is not: it must push nothing newer out.
    """
    return not e.damaged and e.copy is None and e.sequence > 0


def to_free(
    catalogue: Iterable[CheckpointInfo],
    budget: int,
    lives: Collection[Lineage],
    written: Collection[str],
    verified: Verified,
) -> tuple[list[CheckpointInfo], int]:
    """Choose what to delete of a store, in this order, and say how many bytes would be left.

    First other runs, the one that ended first before the others, of each its oldest first; then the
    current ones, oldest first. What `lives` continue from, `written` (names) and pins stay, and so do
    checkpoints at which a run branches, and of every run the newest good one that is `verified`.
    """
    entries = sorted(filter(_is_counted, catalogue), key=attrgetter("sequence"))
    total = sum(e.nbytes for e in entries)
    if total <= budget:
        return [], total
    runs: dict[Key, list[CheckpointInfo]] = {}
    for e in entries:
        runs.setdefault(_key(e), []).append(e)
    ids = {one.id for one in lives if one.id is not None}
    names = {one.name for one in lives if one.id is None}
    live = {
        e.name for e in entries if e.name in names or any(one.id in ids for one in (e, *e.parts))
    }
    going_on = {one.run for one in lives}
    current: list[CheckpointInfo] = []
    others: list[list[CheckpointInfo]] = []
    for run in sorted(runs.values(), key=lambda run: run[-1].sequence):
        if run[0].run in going_on or any(e.name in live for e in run):
            current += run
        else:
            others.append(run)
    order = [e for run in others for e in run] + sorted(current, key=attrgetter("sequence"))
    kept: dict[Key, set[str]] = {}
    chosen = []
    for e in order:
        if total <= budget:
            break
        if e.pin is not None or e.is_branch_point or e.name in live or e.name in written:
            continue
        key = _key(e)
        if key not in kept:
            kept[key] = _always_kept(runs[key], verified)
        if e.name not in kept[key]:
            chosen.append(e)
            total -= e.nbytes
    return chosen, total


def _always_kept(run: Sequence[CheckpointInfo], verified: Verified) -> set[str]:
    """Return the newest good checkpoint that verifies, and those behind it that do not.

    If none is good, it is the newest that verifies. If none verifies, nothing of the run may go.
    """
    kept = set()
    if len(run) > 1:
        for e in reversed([e for e in run if e.good] or list(run)):
            kept.add(e.name)
            if verified(e):
                return kept
    return {e.name for e in run}


@final
@dataclass(slots=True, eq=False)
class StoreBudget:
    """Keeps the store of one manager within its budget. Any thread, without a lock.

    A commit may come in a signal handler, in the middle of another: what is counted between two looks
    may be off then, until the next one.
    """

    # By run: the id of the last one known to verify; and ids of those known not to.
    _sound: dict[Key, str] = field(default_factory=dict)
    _unsound: set[str] = field(default_factory=set)
    _budget: int | None = None  # for which the rest holds
    _left: int = 0  # bytes until the budget is reached, by our own commits
    _commits: int = 0  # until the next look: others may write to the store, too
    _is_over: bool = False  # whether that was said

    def look_again(self) -> None:
        """Look at the store at the next commit: there may have been some that were not counted."""
        self._budget = None

    def enforce(
        self,
        storage: CheckpointStorage,
        budget: int,
        saved: Sequence[Saving],
        freed: int,
        lives: Callable[[], Collection[Lineage]],
    ) -> list[CheckpointInfo]:
        """Delete what does not fit after a commit, and return it; warn once if too much must stay.

        `saved` is what was committed just now (without any, it looks in any case), `freed` the bytes
        that retention has taken since. A failure is logged: the next commit tries again.
        """
        self._left += freed
        for s in saved:
            if s.receipt is not None:
                self._left -= s.receipt.nbytes
                if not s.receipt.bad:
                    self._sound[_key(s.snapshot)] = s.snapshot.id
            self._commits -= 1
        if saved and budget == self._budget and self._left >= 0 and self._commits > 0:
            return []
        try:
            catalogue = storage.catalogue()
            written = {s.name for s in saved if s.name is not None}
            chosen, left = to_free(catalogue, budget, lives(), written, self._verifier(storage))
        except Exception:
            logger.warning(
                "store_budget could not be applied; the next commit tries again", exc_info=True
            )
            return []
        deleted = delete_all(storage, chosen)
        left += sum(e.nbytes for e in chosen) - sum(e.nbytes for e in deleted)
        self._left = budget - left
        # Costs less than one hundredth of the catalogue per commit while there is room.
        self._commits = len(catalogue) // 64
        self._budget = budget
        if len(deleted) == len(chosen):
            self._tell(budget, left)
        return deleted

    def preview(
        self,
        storage: CheckpointStorage,
        budget: int | None,
        preview: RetentionPreview,
        lives: Collection[Lineage],
    ) -> RetentionPreview:
        """Return a preview with what the budget takes besides."""
        if budget is None:
            return preview
        gone = {e.name for e in preview.delete}
        left = [e for e in storage.catalogue() if e.name not in gone]
        chosen, _ = to_free(left, budget, lives, (), self._verifier(storage))
        for_budget = frozenset(e.name for e in chosen)
        return replace(
            preview,
            keep=tuple(e for e in preview.keep if e.name not in for_budget),
            delete=(*preview.delete, *chosen),
            freed_bytes=storage.freed_by(gone | for_budget) if chosen else preview.freed_bytes,
            for_budget=for_budget,
        )

    def _verifier(self, storage: CheckpointStorage) -> Verified:
        """Return what reads a checkpoint to see whether it verifies, once for each run."""

        def verified(e: CheckpointInfo) -> bool:
            if e.id in self._unsound:
                return False
            if self._sound.get(_key(e)) != e.id:
                try:
                    storage.load(e.name).verify()
                except CheckpointNotFound:
                    return False
                except CheckpointCorrupt:
                    self._unsound.add(e.id)
                    return False
                self._sound[_key(e)] = e.id
            return True

        return verified

    def _tell(self, budget: int, left: int) -> None:
        was_over, self._is_over = self._is_over, left > budget
        if self._is_over and not was_over:
            warn(
                f"the store's checkpoints hold {left:,} bytes, more than store_budget={budget:,}, and "
                "nothing more may go: the rest is pinned, the newest good one of its run, or what a run "
                "or an actor continues from. Remove earlier runs with `ringnb prune`, unpin what is not "
                "needed, or set a larger store_budget"
            )
