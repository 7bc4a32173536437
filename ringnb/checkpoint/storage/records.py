"""The values that go into a storage and come out of it: `Snapshot`, `SaveReceipt`, `CheckpointInfo`.

A `Snapshot` is checked when it is made, and not again: whatever saves one can trust it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import numpy.typing as npt

from ringnb._support.checks import (
    check_id,
    check_json,
    check_name,
    check_number,
    check_params,
    check_slot,
    check_step,
    check_str,
    check_text,
)
from ringnb.checkpoint.storage.format import check_checkpoint_name
from ringnb.messages.simulated_time import SimulatedTime
from ringnb.messages.snapshots import normalise_fields

__all__ = [
    "CheckpointInfo",
    "SaveReceipt",
    "Snapshot",
    "code_label",
    "new_id",
]


def new_id() -> str:
    """Return a random id: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def code_label(code: Mapping[str, object]) -> str:
    """Return what recorded code is called in short, such as "1a2b3c4d, git 5e6f7a8b"; "" for none."""
    if not code.get("fingerprint"):
        return ""
    git = f", git {str(code['git'])[:8]}" if code.get("git") else ""
    replayable = ", not replayable" if code.get("replayable") is False else ""
    return f"{str(code['fingerprint'])[:8]}{replayable}{git}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One actor's state with all that is recorded about it, ready to be saved.

    Attributes
    ----------
    fields : mapping of str to numpy.ndarray
        Arrays of bool, integer, float or complex dtype, little-endian after construction. They may
        view memory that is reused once `CheckpointStorage.save` has returned. Subclasses of ndarray are
        taken as plain arrays, or refused if that would lose something. Bytes-like is taken as
        the one-dimensional ``uint8`` field ``actor_state``. Anything else with a shape, a dtype and
        slices (a memory map, an array of zarr or h5py) stays as it is, for a storage that reads it
        in parts.
    name_prefix, kernel_id, kernel_type : str
        The manager's prefix, the actor's identity and its type.
    actor_slot, step, request_id : int
        Where the actor sat, the step boundary of the capture, the request answered.
    params : mapping
        The actor's parameters: JSON scalars by name.
    backend : str or None
        Which kernel made it.
    parent : str or None
        The checkpoint this state continues from.
    field_attrs : mapping of str to mapping
        Per field, all optional: ``units`` and ``long_name`` (str), ``dims`` (one str per axis).
    run : str
        The id of the run that it belongs to; by default it begins one.
    parent_id : str or None
        The id of the checkpoint that this state continues from: names are used again, ids are not.
    attrs : mapping
        The user's own metadata: JSON values by name.
    code : mapping
        What ran: JSON values by name; empty if nothing is known.
    id : str
        The id that the checkpoint gets, 16 hexadecimal digits; by default a new one.
    examine : bool
        Whether the storage looks for values that are not finite while it writes.
    bad : sequence of mapping
        What is known to be wrong with the state; each has ``why``.
    clock : SimulatedTime or None
        What tells the simulated time of the state; None if a step has no length.
    arrays : mapping of str to numpy.ndarray
        What the actor reads and never changes. A storage keeps them once, by the digests in
        ``code["arrays"]``.
    reduced : mapping of str to float
        What the actor's reductions are of the state; they may be no finite numbers.
    cut : mapping
        Of a cut: its kinds and parts, see `ringnb.checkpoint.storage.cut_record`; empty otherwise.

    Raises
    ------
    TypeError, ValueError
        If an attribute is not what it has to be; the message names it and the remedy.
    """

    fields: Mapping[str, npt.NDArray[Any]]
    name_prefix: str
    kernel_id: str
    kernel_type: str
    actor_slot: int
    step: int
    request_id: int
    params: Mapping[str, Any] = field(default_factory=dict)
    backend: str | None = None
    parent: str | None = None
    field_attrs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    run: str = field(default_factory=new_id)
    parent_id: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=new_id)
    examine: bool = True
    bad: Sequence[Mapping[str, Any]] = ()
    clock: SimulatedTime | None = None
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    reduced: Mapping[str, float] = field(default_factory=dict)
    cut: Mapping[str, Any] = field(default_factory=dict)

    @property
    def time(self) -> float | None:
        """The simulated time of the state, seconds."""
        return None if self.clock is None else self.clock.at(self.step)

    def __post_init__(self) -> None:
        """Check every attribute and bring it into plain form."""
        check_name(self.name_prefix, "name_prefix")
        for name in ("kernel_id", "kernel_type", "backend"):
            value = getattr(self, name)
            if value is not None or name != "backend":
                check_str(value, name)
        if self.parent is not None:
            check_checkpoint_name(self.parent.partition(":")[0])  # or a part of a cut
        check_id(self.run, "run")
        check_id(self.id, "id")
        if self.parent_id is not None:
            check_id(self.parent_id, "parent_id")
        set_ = object.__setattr__
        set_(self, "actor_slot", check_slot(self.actor_slot))
        set_(self, "step", check_step(self.step))
        set_(self, "request_id", check_step(self.request_id, "request_id"))
        set_(self, "params", check_params(self.params))
        set_(self, "attrs", check_json(self.attrs, "attrs"))
        set_(self, "code", check_json(self.code, "code"))
        reduced = {check_text(k, "a name in reduced"): float(v) for k, v in self.reduced.items()}
        set_(self, "reduced", reduced)
        set_(self, "fields", normalise_fields(self.fields))
        if self.clock is not None:
            seconds = check_number(self.clock.seconds, "clock.seconds")
            dt = check_number(self.clock.dt, "clock.dt")
            set_(self, "clock", SimulatedTime(seconds, check_step(self.clock.step), dt))
            check_number(self.time, "time")


class SaveReceipt(NamedTuple):
    """What `CheckpointStorage.save` may report about a commit.

    Attributes
    ----------
    written_ns, committed_ns : int
        ``time.monotonic_ns()`` when the bytes were handed to the store and when the name became
        visible and durable.
    nbytes : int
        Logical bytes of the fields.
    others : frozenset of str
        Names that the commit has seen to be other actors' checkpoints: `CheckpointStorage.history_after`
        need not look at them again. It may be empty.
    bad : tuple of mapping
        Why the state is not good, as the checkpoint records it; empty if it is.
    branch_points : frozenset of str
        Ids of the checkpoints from which runs of those others branch.
    """

    written_ns: int
    committed_ns: int
    nbytes: int
    others: frozenset[str] = frozenset()
    branch_points: frozenset[str] = frozenset()
    bad: tuple[Mapping[str, Any], ...] = ()


class CheckpointInfo(NamedTuple):
    """One line of a store's catalogue: what the manager needs to know without opening arrays.

    Attributes
    ----------
    name : str
        The checkpoint's name.
    name_prefix, kernel_id, kernel_type : str
        Its identity; empty when `damaged`.
    actor_slot, step, sequence : int
        Where it came from, and its place in commit order; -1 when `damaged`. What was imported into a
        store that held checkpoints already, or adopted, has a number below 1: retention leaves it alone.
    damaged : bool
        Whether its metadata cannot be trusted, so that nothing but the name is known.
    created_at : datetime.datetime or None
        When it was committed, aware, UTC; None when `damaged`, or if the storage does not say.
    nbytes : int
        Logical bytes of its fields.
    pin : str or None
        The label under which it is pinned: retention does not touch it. None if it is not.
    id : str
        Its own id, 16 hexadecimal digits: kept by pin, export and import. Empty when `damaged`.
    run : str
        The id of its run. Checkpoints of versions that knew no runs are one run of their actor.
    parent, parent_id : str or None
        The checkpoint that its state continues from, by name and by id.
    copy : str or None
        Why it is no part of any history, if it is the user's copy: it records another name, or another
        store. None for a checkpoint of this store.
    is_branch_point : bool
        Whether another run begins at it.
    good : bool
        Whether its state was found to be good, or not looked at.
    estimated : tuple of (int or None, datetime.datetime or None)
        If `damaged`: its number and time, as far as they can still be read, or guessed from time stamps.
        They decide where it is listed, and nothing else.
    code : str
        What made it, in short: the first digits of its code's fingerprint, and of the git commit. Empty
        if that is not recorded.
    params : tuple of (str, object)
        The actor's parameters at the capture, name and value of each.
    time : float or None
        The simulated time of its state, seconds; None if a step has no length.
    parts : tuple of CheckpointInfo
        Of a cut, which is one checkpoint of several actors: a line for each actor. Empty otherwise.
    """

    name: str
    name_prefix: str = ""
    kernel_id: str = ""
    kernel_type: str = ""
    actor_slot: int = -1
    step: int = -1
    sequence: int = -1
    damaged: bool = False
    created_at: datetime | None = None
    nbytes: int = 0
    pin: str | None = None
    id: str = ""
    run: str = ""
    parent: str | None = None
    parent_id: str | None = None
    copy: str | None = None
    is_branch_point: bool = False
    good: bool = True
    estimated: tuple[int | None, datetime | None] = (None, None)
    code: str = ""
    params: tuple[tuple[str, Any], ...] = ()
    time: float | None = None
    parts: tuple[CheckpointInfo, ...] = ()
