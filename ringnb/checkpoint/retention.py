"""Which checkpoints of one actor may go: pure functions from a history to names.

The manager calls a policy after every commit with the actor's own history, so a policy can neither
see nor choose a checkpoint of anybody else. Policies return what they would delete; to combine
several so that each one's wish to keep is honoured, delete the intersection. This module touches no
storage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ringnb.checkpoint.storage import CheckpointInfo

__all__ = ["keep_last"]


def keep_last(
    history: Sequence[CheckpointInfo], count: int, *, protect: Collection[str] = ()
) -> list[CheckpointInfo]:
    """Choose what goes when only the newest few are kept.

    Parameters
    ----------
    history : sequence of CheckpointInfo
        One actor's checkpoints in any order; `CheckpointInfo.sequence` decides which is newer.
    count : int
        How many to keep; 0 keeps all.
    protect : collection of str, optional
        Names that stay whatever their age; they count among those kept if they are new enough.

    Returns
    -------
    list of CheckpointInfo
        What to delete, oldest first. Entries with damaged metadata are neither counted nor chosen:
        nothing but their name is known, so they may be somebody else's.

    Raises
    ------
    ValueError
        If `count` is negative.

    Examples
    --------
    >>> from ringnb.checkpoint.storage import CheckpointInfo
    >>> history = [CheckpointInfo("b", sequence=2), CheckpointInfo("a", sequence=1)]
    >>> [info.name for info in keep_last(history, 1)]
    ['a']
    """
    if count < 0:
        msg = f"count={count} is out of range: keep at least 0 checkpoints (0 keeps all)"
        raise ValueError(msg)
    if count == 0:
        return []
    ordered = sorted((e for e in history if not e.damaged), key=lambda e: e.sequence)
    return [e for e in ordered[:-count] if e.name not in protect]
