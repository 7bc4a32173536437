"""What a manager tells about its checkpoints in the store, and what retention would do to them.

`ringnb.checkpoint.manager` derives from `StoredView`. Every method here reads the store, on the
caller's thread and without the manager's lock; `apply_retention` and `discard` delete as well.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ringnb._support.checks import check_slot
from ringnb._support.text import rows_table
from ringnb.checkpoint.committing import retire
from ringnb.checkpoint.history import newest_verified, read_history, shown
from ringnb.checkpoint.retention import Policy, choose
from ringnb.checkpoint.view import ManagerView
from ringnb.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointNotFound,
    CheckpointWarning,
)

if TYPE_CHECKING:
    from ringnb.checkpoint.committing import Announcer
    from ringnb.checkpoint.storage.checkpoint import Checkpoint
    from ringnb.checkpoint.storage.records import CheckpointInfo

__all__ = ["RetentionPreview", "StoredView"]


@final
@dataclass(frozen=True, slots=True)
class RetentionPreview:
    """What a retention policy would do now.

    Attributes
    ----------
    policy : Policy
        Which.
    keep, delete : tuple of CheckpointInfo
        What would stay, pinned ones included, and what would go; each actor's oldest first.
    freed_bytes : int
        What the deletion would free: files' bytes in a local directory, where a chunk that a kept
        checkpoint shares is not counted.
    """

    policy: Policy
    keep: tuple[CheckpointInfo, ...]
    delete: tuple[CheckpointInfo, ...]
    freed_bytes: int

    def __repr__(self) -> str:
        """Say what would go."""
        return (
            f"<RetentionPreview {self.policy!r}: keeps {len(self.keep)}, deletes {len(self.delete)} "
            f"({self.freed_bytes:,} bytes): {shown([e.name for e in self.delete]) or 'nothing'}>"
        )

    def _repr_html_(self) -> str:
        """Show a row per checkpoint in a notebook."""
        going = {e.name for e in self.delete}
        every = sorted((*self.keep, *self.delete), key=lambda e: (e.kernel_id, e.sequence))
        return rows_table(
            f"{self.policy!r} would delete {len(going)} and free {self.freed_bytes:,} bytes",
            ("checkpoint", "actor", "step", "bytes", "fate"),
            [(e.name, e.kernel_id, e.step, e.nbytes, _fate(e, going)) for e in every],
            classes=["ringnb-going" if e.name in going else "" for e in every],
        )


def _fate(e: CheckpointInfo, going: set[str]) -> str:
    if e.name in going:
        return "goes"
    return "stays" if e.pin is None else f"stays, pinned: {e.pin}"


class StoredView(ManagerView):
    """The manager's methods that read the store."""

    _announce: Announcer

    def load_latest(self, actor_slot: int) -> Checkpoint | None:
        """Open the newest checkpoint of an actor that verifies, every byte of it.

        Parameters
        ----------
        actor_slot : int
            The actor's slot. The identity registered there decides; for an empty slot, whatever
            was recorded under the slot counts.

        Returns
        -------
        Checkpoint or None
            None if there is no checkpoint at all.

        Raises
        ------
        CheckpointCorrupt
            If there are checkpoints and none of them verifies.

        Warns
        -----
        CheckpointWarning
            If damaged checkpoints had to be passed over; the warning names them.
        """
        found, passed_over = newest_verified(self._storage, *self._whose(actor_slot))
        if found is not None and passed_over:
            warnings.warn(
                f"{len(passed_over)} damaged checkpoint(s) passed over: {shown(passed_over)}; "
                f"using {found.name!r}. Move the damaged aside with `ringnb verify --repair`",
                CheckpointWarning,
                stacklevel=2,
            )
        return found

    def list_checkpoints(self, actor_slot: int) -> list[str]:
        """Return the names of an actor's checkpoints, oldest commit first.

        Parameters
        ----------
        actor_slot : int
            The actor's slot, as for `load_latest`.

        Returns
        -------
        list of str
            Without those whose metadata is damaged.
        """
        return [e.name for e in self.history(actor_slot)]

    def history(self, actor_slot: int) -> list[CheckpointInfo]:
        """Return what the store says of an actor's checkpoints, oldest commit first.

        Parameters
        ----------
        actor_slot : int
            The actor's slot, as for `load_latest`.

        Returns
        -------
        list of CheckpointInfo
            Step, time, size and pin of each; without those whose metadata is damaged.
        """
        return read_history(self._storage, *self._whose(actor_slot))

    def preview_retention(self, policy: Policy | None = None) -> RetentionPreview:
        """Say what a policy would delete of the registered actors' checkpoints now. Nothing changes.

        Parameters
        ----------
        policy : Policy, optional
            By default the configured one.

        Returns
        -------
        RetentionPreview
            What would stay, what would go, and what that frees.

        Raises
        ------
        TypeError
            If it is no policy.
        """
        policy = self._policy(policy)
        keep: list[CheckpointInfo] = []
        delete: list[CheckpointInfo] = []
        for slot in self.registered:
            history = self.history(slot)
            doomed = choose(history, policy, self._storage.load, protect=self._newest(slot))
            going = {e.name for e in doomed}
            keep += [e for e in history if e.name not in going]
            delete += doomed
        freed = self._storage.freed_by([e.name for e in delete]) if delete else 0
        return RetentionPreview(policy, tuple(keep), tuple(delete), freed)

    def apply_retention(self) -> list[str]:
        """Delete what the configured policy does not keep, without waiting for a commit.

        Returns
        -------
        list of str
            What was deleted. The newest checkpoint that verifies stays, whatever the policy says.
        """
        policy = self._policy(None)
        names = []
        for slot in self.registered:
            prefix, _, kernel_id = self._whose(slot)
            if kernel_id is not None:  # unregistered meanwhile
                gone = retire(self._storage, prefix, kernel_id, policy, self._newest(slot))
                self._announce.retired(slot, gone)
                names += [e.name for e in gone]
        return names

    def discard(self, name: str, *, dry_run: bool = False) -> int:
        """Delete one checkpoint of a registered actor by hand, under retention's promises.

        Parameters
        ----------
        name : str
            The checkpoint.
        dry_run : bool, default False
            Only say what it would free.

        Returns
        -------
        int
            Bytes freed, counted as in `RetentionPreview`.

        Raises
        ------
        CheckpointNotFound
            If no registered actor has a checkpoint of this name that is sound enough to be known.
        CheckpointError
            If it is pinned, or the newest of its actor that verifies.
        """
        for slot in self.registered:
            info = next((e for e in self.history(slot) if e.name == name), None)
            if info is not None:
                break
        else:
            msg = f"checkpoint {name!r} is none of a registered actor's: see list_checkpoints()"
            raise CheckpointNotFound(msg)
        if info.pin is not None:
            msg = f"checkpoint {name!r} is pinned ({info.pin!r}): unpin it first"
            raise CheckpointError(msg)
        if name in self._newest(slot):
            msg = (
                f"checkpoint {name!r} is the newest sound one of actor {info.kernel_id!r}, which is "
                "kept whatever happens: take another snapshot first"
            )
            raise CheckpointError(msg)
        freed = self._storage.freed_by([name])
        if not dry_run:
            self._storage.delete(name)
            self._announce.retired(slot, [info])
        return freed

    def _policy(self, policy: Policy | None) -> Policy:
        if policy is not None and not isinstance(policy, Policy):
            msg = f"policy must be one of ringnb.retention's, got {policy!r}"
            raise TypeError(msg)
        return self.config.policy if policy is None else policy

    def _newest(self, slot: int) -> list[str]:
        """Return what must not go: the newest that verifies."""
        try:
            found, _ = newest_verified(self._storage, *self._whose(slot))
        except CheckpointCorrupt:
            return []
        return [] if found is None else [found.name]

    def _whose(self, actor_slot: int) -> tuple[str, int, str | None]:
        slot = check_slot(actor_slot)
        with self._state.lock:
            self._state.check_open()
            scheduled = self._state.schedule.get(slot)
        kernel_id = None if scheduled is None else scheduled.actor.kernel_id
        return self._state.config.name_prefix, slot, kernel_id
