"""What a retention policy is, and what it may do: the rules that hold for every one of them.

A policy says which names of a history to keep; `choose` turns that into what may be deleted. Whatever
the policy, a user's own included: nothing pinned, damaged or protected goes, the newest checkpoint
stays, and choosing again from what is left chooses nothing. This module touches no storage.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, final

from ringnb.checkpoint.storage import CheckpointInfo

if TYPE_CHECKING:
    from ringnb.checkpoint.checkpoint import Checkpoint

__all__ = ["History", "Load", "Policy", "choose"]

History = Sequence[CheckpointInfo]
Load = Callable[[str], "Checkpoint"]


@final
class Policy:
    """What to keep of one actor's history.

    Parameters
    ----------
    wanted : callable
        ``wanted(history, load)`` returns the names to keep. ``history`` is a sequence of
        `CheckpointInfo`, oldest commit first, without those that are pinned or damaged;
        ``load(name)`` opens a checkpoint, for the few policies that must look inside.
    text : str
        How it is written, for ``repr``.

    Notes
    -----
    Immutable, any thread. It runs on the thread that commits, outside the manager's lock.
    """

    __slots__ = ("_text", "_wanted")

    def __init__(self, wanted: Callable[[History, Load], Collection[str]], text: str) -> None:
        self._wanted = wanted
        self._text = text

    def __call__(self, history: History, load: Load) -> frozenset[str]:
        """Return the names to keep.

        Parameters
        ----------
        history : sequence of CheckpointInfo
            Oldest commit first.
        load : callable
            Opens a checkpoint by name.

        Returns
        -------
        frozenset of str
            Some of the history's names.
        """
        return frozenset(self._wanted(history, load))

    def __or__(self, other: Policy) -> Policy:
        """Keep what either keeps."""
        if not isinstance(other, Policy):
            return NotImplemented
        return Policy(lambda h, load: self(h, load) | other(h, load), f"({self!r} | {other!r})")

    def __and__(self, other: Policy) -> Policy:
        """Keep what the right one keeps of what the left one keeps."""
        if not isinstance(other, Policy):
            return NotImplemented

        def wanted(history: History, load: Load) -> frozenset[str]:
            """Ask one after the other."""
            left = self(history, load)
            return other([e for e in history if e.name in left], load)

        return Policy(wanted, f"({self!r} & {other!r})")

    def __repr__(self) -> str:
        """Return it as it was written."""
        return self._text


def choose(
    history: Iterable[CheckpointInfo],
    policy: Policy,
    load: Load,
    *,
    protect: Collection[str] = (),
) -> list[CheckpointInfo]:
    """Choose what a policy lets go.

    Parameters
    ----------
    history : iterable of CheckpointInfo
        One actor's checkpoints in any order; `CheckpointInfo.sequence` decides which is newer.
    policy : Policy
        What to keep.
    load : callable
        Opens a checkpoint by name.
    protect : collection of str, optional
        Names that stay whatever the policy says.

    Returns
    -------
    list of CheckpointInfo
        What to delete, oldest first. Never one that is pinned, damaged (nothing but its name is
        known, so it may be somebody else's) or protected, and never the newest of the others.
    """
    ordered = sorted((e for e in history if not e.damaged), key=lambda e: e.sequence)
    left = [e for e in ordered if e.pin is None]
    always = {*protect, *(e.name for e in left[-1:])}
    # Again until nothing changes: deleting what is chosen must not make the next choice differ.
    while True:
        wanted = policy(left, load) | always
        kept = [e for e in left if e.name in wanted]
        if len(kept) == len(left):
            break
        left = kept
    stay = {e.name for e in left}
    return [e for e in ordered if e.pin is None and e.name not in stay]
