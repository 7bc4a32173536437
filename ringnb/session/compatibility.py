"""What differs between a checkpoint and the actor it is restored into: code, constants, parameters.

None of it makes a restore impossible: the session warns of it before anything changes.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ringnb._support.text import counted, quote_names
from ringnb.actors.base import Actor
from ringnb.actors.fingerprint import code_of, differences
from ringnb.checkpoint.history import read_history
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.cut_record import part_name

__all__ = [
    "copies_of",
    "differences_to_tell",
    "if_renamed",
    "newest_of_another_name",
    "params_to_load",
]


def params_to_load(
    choice: object, ckpt: Checkpoint, actor: Actor, slot: int, live: Mapping[str, float]
) -> dict[str, float]:
    """Return the parameters with which an actor goes on: the ``"stored"`` or the ``"current"`` ones.

    `live` are those it has now. ValueError, with the remedy, if the stored ones do not fit it.
    """
    if choice not in ("stored", "current"):
        msg = f"params must be 'stored' or 'current', got {choice!r}"
        raise ValueError(msg)
    return dict(live) if choice == "current" else _stored_params(ckpt, actor, slot)


def _stored_params(ckpt: Checkpoint, actor: Actor, slot: int) -> dict[str, float]:
    stored = {k: v for k, v in ckpt.params.items() if isinstance(v, int | float)}
    added = [name for name in actor.params if name not in stored]
    removed = [name for name in stored if name not in actor.params]
    facts = []
    if added:
        facts.append(f"it lacks {quote_names(added)}, which {actor.kernel_type!r} has now")
    if removed:
        facts.append(f"it has {quote_names(removed)}, which {actor.kernel_type!r} has no longer")
    why = ", and ".join(facts)
    if not facts:
        try:
            return actor.check_params(stored)
        except (TypeError, ValueError) as error:
            why = str(error)
    msg = (
        f"the parameters of checkpoint {ckpt.name!r} do not fit: {why}. To continue from it with the "
        f'parameters that the actor has: restore({slot}, {ckpt.name!r}, params="current")'
    )
    raise ValueError(msg)


def differences_to_tell(
    ckpt: Checkpoint,
    actor: Actor,
    slot: int,
    code: Mapping[str, Any],
    params: Mapping[str, float],
    live: Mapping[str, float],
) -> list[str]:
    """Say how a checkpoint differs from what runs, and what else to know before a restore of it.

    `code` is what runs, `params` are those to be loaded, `live` those that the actor has now.
    """
    said = (_differing_code(ckpt, actor, code), _differing_params(ckpt, actor, slot, params, live))
    remarks = [text for text in said if text]
    if not ckpt.good:
        remarks.append(
            f"the state of checkpoint {ckpt.name!r} is not good: {'; '.join(ckpt.bad)}. "
            f'restore({slot}, "latest-good") takes the newest that is'
        )
    if not actor.replayable:
        remarks.append(
            f"slot {slot} continues from checkpoint {ckpt.name!r}, but will not repeat the steps that "
            "followed it: its actor was made with replayable=False, so its update may draw random "
            "numbers, read a clock or keep state that no checkpoint holds"
        )
    return remarks


def _differing_code(ckpt: Checkpoint, actor: Actor, code: Mapping[str, Any]) -> str:
    """Say how the code that made a checkpoint differs from what runs; "" if it does not, or may not."""
    then = ckpt.code
    said = differences(then, code)
    if then.get("fingerprint"):  # else the order in which they are recorded may mean nothing
        for what, was, now in (
            ("parameters", list(ckpt.params), list(actor.params)),
            ("fields", list(ckpt.fields), list(actor.stored_fields)),
        ):
            if was != now and set(was) == set(now):
                said.append(f"the order of the {what} was {', '.join(was)}, is {', '.join(now)}")
    if not said:
        return ""
    commits = [str(c.get("git", ""))[:8] for c in (then, code)]
    known = all(commits) and commits[0] != commits[1]
    where = f" (git commit {commits[0]} then, {commits[1]} now)" if known else ""
    return f"checkpoint {ckpt.name!r} was made by other code: {'; '.join(said)}{where}"


def _differing_params(
    ckpt: Checkpoint,
    actor: Actor,
    slot: int,
    params: Mapping[str, float],
    live: Mapping[str, float],
) -> str:
    # Seeds differ by slot.
    start, there = (actor.start_params(s) for s in (slot, ckpt.actor_slot))
    # What has changed since the start was changed by hand: to go back is then what is wanted.
    others = [n for n, v in params.items() if v not in (start[n], there[n]) and live[n] == start[n]]
    if not others:
        return ""
    values = ", ".join(
        f"{n} = {params[n]:g} (the actor was made with {start[n]:g})" for n in others
    )
    return (
        f"checkpoint {ckpt.name!r} brings back its own parameters: {values}. To keep the actor's: "
        f'restore({slot}, {ckpt.name!r}, params="current")'
    )


def if_renamed(ckpt: Checkpoint, actor: Actor) -> str:
    """Return the remedy for a checkpoint of another type than the actor's."""
    if ckpt.parts:
        one = part_name(ckpt.name, ckpt.parts[0])
        return f"restore_all({ckpt.name!r}) puts all of a cut back, and {one!r} is one actor's part"
    then, now = ckpt.code, code_of(*actor.stages, arrays=actor.arrays, reductions=actor.reductions)
    body = then.get("functions", {}).get(then.get("update"))
    same = body is not None and body == now["functions"][now["update"]]
    if len(actor.stages) > 1 or "stages" in then.get("values", {}):
        same = then.get("fingerprint") == now["fingerprint"]
    if same:
        return (
            "its update function is the same but for the name, so make the actor with "
            f"kernel_type={ckpt.kernel_type!r}"
        )
    return "restore it into an actor of its own type"


def copies_of(manager: CheckpointManager, slot: int) -> str:
    """Name what of an actor was copied or renamed by hand, "" if nothing was, and how to count it."""
    kernel_id, storage = manager.registered[slot].kernel_id, manager.storage
    copies = [
        e.name for e in storage.catalogue() if e.copy is not None and e.kernel_id == kernel_id
    ]
    if not copies:
        return ""
    folders = getattr(storage, "folders", ())  # of a storage of one's own, or in no directory: none
    place = shlex.quote(str(folders[0])) if folders else "STORE"
    return (
        f". {counted(len(copies), 'checkpoint')} of it, renamed or copied here by hand, count as yours: "
        f"{quote_names(copies)}. `ringnb adopt {place} {copies[-1]}` makes one the actor's again, and "
        "restore takes each by its name"
    )


def newest_of_another_name(manager: CheckpointManager, slot: int, actor: Actor) -> str:
    """Name a slot's newest checkpoint, "" if it is of the actor that is there, or there is none."""
    found = read_history(manager.storage, manager.config.name_prefix, slot, None)
    if not found:
        return ""
    newest = found[-1]
    if newest.kernel_id == manager.registered[slot].kernel_id:
        return ""
    remedy = (
        f"open the session with kernel_ids=[..., {newest.kernel_id!r}, ...]"
        if newest.kernel_type == actor.kernel_type
        else f"make the actor with kernel_type={newest.kernel_type!r}"
    )
    return (
        f". The newest of this slot is {newest.name!r}, of actor {newest.kernel_id!r}: if that is this "
        f"one by its former name, {remedy}"
    )
