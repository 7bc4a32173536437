"""What a place that keeps checkpoints must offer, and the values that go in and out of it.

`CheckpointStorage` is the seam: the manager knows this class and no other. `ZarrStorage` implements
it for a local directory and for any zarr ``Store``; `ringnb.testing` ships a contract test class
that checks an implementation. This module knows no kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy.typing as npt

if TYPE_CHECKING:
    pass

__all__ = [
    "CheckpointInfo",
    "SaveReceipt",
    "Snapshot",
]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One actor's state with all that is recorded about it, ready to be saved.

    Attributes
    ----------
    fields : mapping of str to numpy.ndarray
        Little-endian arrays of bool, integer, float or complex dtype. They may view memory that is
        reused once `CheckpointStorage.save` has returned.
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
    """

    written_ns: int
    committed_ns: int
    nbytes: int
    others: frozenset[str] = frozenset()


class CheckpointInfo(NamedTuple):
    """One line of a store's catalogue: what the manager needs to know without opening arrays.

    Attributes
    ----------
    name : str
        The checkpoint's name.
    name_prefix, kernel_id, kernel_type : str
        Its identity; empty when `damaged`.
    actor_slot, step, sequence : int
        Where it came from, and its place in commit order; -1 when `damaged`.
    damaged : bool
        Whether its metadata cannot be trusted, so that nothing but the name is known.
    created_at : datetime.datetime or None
        When it was committed, aware, UTC; None when `damaged`, or if the storage does not say.
    nbytes : int
        Logical bytes of its fields.
    pin : str or None
        The label under which it is pinned: retention does not touch it. None if it is not.
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
