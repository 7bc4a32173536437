"""One commit, from a checked snapshot to the retirement of what is too old.

Completion calls these functions without the manager's lock, because each works on the store. The
order is the promise: the new checkpoint is durable before anything older is deleted. This module
knows no schedule and no counter.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ringnb.checkpoint.policy import Policy, choose
from ringnb.errors import CheckpointError, CheckpointNotFound, StoreLocked

if TYPE_CHECKING:
    from collections.abc import Collection

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
    storage: CheckpointStorage,
    name_prefix: str,
    kernel_id: str,
    policy: Policy,
    protect: Collection[str],
    receipt: SaveReceipt | None = None,
) -> list[CheckpointInfo]:
    """Delete what retention no longer keeps of an actor.

    Parameters
    ----------
    storage : CheckpointStorage
        The store.
    name_prefix, kernel_id : str
        Whose history this is.
    policy : Policy
        What stays.
    protect : collection of str
        Names that stay whatever the policy says.
    receipt : SaveReceipt, optional
        Of the commit of this actor that this follows.

    Returns
    -------
    list of CheckpointInfo
        What was deleted, oldest first.

    Notes
    -----
    A store or a policy that fails here is logged and not raised: what was committed stands, and the
    next commit reads the history again and so tries again by itself.
    """
    try:
        if receipt is None:
            history = storage.history(name_prefix, kernel_id)
        else:
            history = storage.history_after(receipt, name_prefix, kernel_id)
        doomed = choose(history, policy, storage.load, protect=protect)
    except Exception:
        logger.warning(
            "the history of actor %r could not be read for retention (%r); the next commit tries again",
            kernel_id,
            policy,
            exc_info=True,
        )
        return []
    gone = []
    for info in doomed:
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
