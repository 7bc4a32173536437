"""One commit, from a checked snapshot to the retirement of what is too old.

Completion calls these functions without the manager's lock, because each works on the store. The
order is the promise: the new checkpoint is durable before anything older is deleted. This module
knows no schedule and no counter.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ringnb.checkpoint.history import read_history
from ringnb.checkpoint.retention import keep_last
from ringnb.errors import CheckpointError, CheckpointNotFound, StoreLocked

if TYPE_CHECKING:
    from ringnb.checkpoint.storage import CheckpointInfo, CheckpointStorage, SaveReceipt, Snapshot

__all__ = ["release", "retire", "save_as_new"]

_LOST_RACES = 100
logger = logging.getLogger("ringnb.checkpoint")


def save_as_new(storage: CheckpointStorage, snapshot: Snapshot) -> tuple[str, SaveReceipt | None]:
    """Save under ``{name_prefix}_{actor_slot}_step_{step}``, or that with the first free suffix.

    Parameters
    ----------
    storage : CheckpointStorage
        The store.
    snapshot : Snapshot
        What to save.

    Returns
    -------
    tuple of str and SaveReceipt or None
        The name it got, and what the storage says about the commit.

    Raises
    ------
    Exception
        What the storage raises, unless that was only because the name had just been taken.
    """
    name = f"{snapshot.name_prefix}_{snapshot.actor_slot}_step_{snapshot.step}"
    for _ in range(_LOST_RACES):
        chosen = _free_name(storage, name)
        try:
            return chosen, storage.save(chosen, snapshot)
        except StoreLocked:
            raise
        except CheckpointError:
            # Another manager may have committed this name since it was found free. Only then is
            # another name the remedy; any other failure is the caller's to hear about.
            if not storage.exists(chosen):
                raise
    msg = (
        f"no free name for {name!r} after {_LOST_RACES} attempts: the store reports every name as "
        "taken right after a failed save; check it with storage.list()"
    )
    raise CheckpointError(msg)


def _free_name(storage: CheckpointStorage, name: str) -> str:
    if not storage.exists(name):
        return name
    # One listing instead of a look-up for each of what may be hundreds of repeats of one step.
    taken = set(storage.list())
    suffix = 2
    while (candidate := f"{name}.{suffix}") in taken or storage.exists(candidate):
        suffix += 1
    return candidate


def retire(
    storage: CheckpointStorage, committed: Snapshot, name: str, keep: int
) -> list[CheckpointInfo]:
    """Delete what retention no longer keeps of the actor that has just committed.

    Parameters
    ----------
    storage : CheckpointStorage
        The store.
    committed : Snapshot
        What has just been committed; it says whose history this is.
    name : str
        The name it was committed under, which stays whatever happens.
    keep : int
        How many checkpoints the actor keeps; 0 keeps all.

    Returns
    -------
    list of CheckpointInfo
        What was deleted, oldest first.

    Notes
    -----
    A store that fails here is logged and not raised: the commit stands, and the next one reads the
    history again and so tries again by itself.
    """
    if keep == 0:
        return []
    try:
        history = read_history(
            storage, committed.name_prefix, committed.actor_slot, committed.kernel_id
        )
    except Exception:
        logger.warning(
            "%r is committed, but the store could not be listed for retention; "
            "the next commit tries again",
            name,
            exc_info=True,
        )
        return []
    gone = []
    for info in keep_last(history.entries, keep, protect=(name,)):
        try:
            storage.delete(info.name)
        except CheckpointNotFound:
            continue  # another manager on this store retired it first
        except Exception:
            logger.warning(
                "%r could not be retired; the next commit tries again", info.name, exc_info=True
            )
        else:
            gone.append(info)
    return gone


def release(data: object) -> None:
    """Give a snapshot's data back to whoever lent it, if it was lent.

    Parameters
    ----------
    data : object
        What a response carried; anything without a ``release`` method is left alone.
    """
    give_back = getattr(data, "release", None)
    if isinstance(data, memoryview) or not callable(give_back):
        return  # a memoryview's release() would take the caller's own view away
    try:
        give_back()
    except Exception:
        logger.exception("a snapshot's data could not be given back: %r", type(data))
