"""The snapshot messages: what a checkpoint manager asks for, and what comes back.

The manager issues each `SnapshotRequest` and accepts each `SnapshotResponse`; what answers them need not
be a ringnb kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, final

import numpy as np
import numpy.ma  # NumPy imports it at first use: two threads at once run into endless recursion
import numpy.typing as npt

from ringnb._support.checks import (
    MAX_STEP,
    check_bool,
    check_int,
    check_name,
    check_slot,
    check_step,
)
from ringnb.messages.simulated_time import SimulatedTime

__all__ = [
    "Fields",
    "SnapshotRequest",
    "SnapshotResponse",
    "StagedFields",
    "normalise_fields",
    "plain_array",
]

Fields = Mapping[str, npt.NDArray[Any]]


def normalise_fields(data: object) -> dict[str, npt.NDArray[Any]]:
    """Return the fields of a snapshot as little-endian arrays, without copying if possible.

    Parameters
    ----------
    data : mapping of str to numpy.ndarray, or bytes-like
        Fields of bool, integer, float or complex dtype; bytes-like becomes the one-dimensional
        ``uint8`` field ``actor_state``. A subclass of ndarray is taken as a plain array if that loses
        nothing. Anything else with a shape, a dtype and slices is passed through as it is.

    Returns
    -------
    dict of str to numpy.ndarray
        The fields in the order given; a little-endian array as a view, which keeps its shape and dtype
        whatever the owner does with the array itself.

    Raises
    ------
    TypeError
        If `data` or a field has the wrong type or dtype, or a field is a masked array, or one that
        holds more than its elements (such as a unit).
    ValueError
        If there is no field, or a name breaks the rule for names.
    """
    if isinstance(data, bytes | bytearray | memoryview):
        return {"actor_state": np.frombuffer(data, dtype=np.uint8)}
    if not isinstance(data, Mapping):
        msg = (
            "data must be a mapping of field name to numpy.ndarray, or bytes-like, "
            f"got {type(data).__name__}"
        )
        raise TypeError(msg)
    fields: dict[str, npt.NDArray[Any]] = {}
    for name, array in data.items():
        check_name(name, "field name")
        lazy = not isinstance(array, np.ndarray)
        if lazy and not _is_lazy_array(array):
            msg = f"data[{name!r}] must be a numpy.ndarray, got {type(array).__name__}"
            raise TypeError(msg)
        if array.dtype.kind not in "biufc":
            msg = (
                f"data[{name!r}] has dtype {array.dtype}: only bool, integer, float and complex "
                "dtypes can be stored"
            )
            raise TypeError(msg)
        # An array that is read by slices is converted slice by slice, when it is encoded.
        if not lazy:
            plain = plain_array(array, f"data[{name!r}]")
            fields[name] = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
        else:
            fields[name] = array
    if not fields:
        msg = "data holds no field: a snapshot needs at least one array"
        raise ValueError(msg)
    return fields


def plain_array(array: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    """Return a plain view of an array of any class; TypeError if that would lose something."""
    if isinstance(array, np.ma.MaskedArray):
        msg = (
            f"{what} is a masked array, and its mask would be lost: give .filled(value), or save .data "
            "and the mask (numpy.ma.getmaskarray) as two fields"
        )
        raise TypeError(msg)
    if type(array) not in _PLAIN_CLASSES and (lost := _state_beside(array)):
        msg = (
            f"{what} is a {type(array).__name__}, and its {', '.join(lost)} would be lost: give "
            "numpy.asarray of it; units can be given where the fields are described, as "
            "fields={name: {'units': ...}} of register_actor"
        )
        raise TypeError(msg)
    return array.view(np.ndarray)


_PLAIN_CLASSES = frozenset([np.ndarray, np.memmap, np.matrix, np.recarray])
_MEMMAP_STATE = frozenset(["_mmap", "filename", "mode", "offset"])


def _state_beside(array: npt.NDArray[Any]) -> list[str]:
    """Return the names of what an array of a subclass holds beside its elements."""
    names = set(getattr(array, "__dict__", ()))
    for kind in type(array).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names.update([slots] if isinstance(slots, str) else slots)
    if isinstance(array, np.memmap):
        names -= _MEMMAP_STATE
    return sorted([name for name in names if getattr(array, name, None) is not None])


def _is_lazy_array(array: object) -> bool:
    shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
    return (
        isinstance(dtype, np.dtype)
        and isinstance(shape, tuple)
        and all(isinstance(n, int | np.integer) for n in shape)
        and len(shape) > 0
        and hasattr(array, "__getitem__")
        and not isinstance(array, np.generic)
    )


@final
class StagedFields(Mapping[str, npt.NDArray[Any]]):
    """Fields that view a kernel's staging buffer, on loan until `release`.

    Parameters
    ----------
    fields : mapping of str to numpy.ndarray
        Read-only views of the staging buffer.
    params : mapping of str to float, optional
        The actor's parameters at the capture.
    lease : callable, optional
        Called once, without arguments, to give the buffer back: by `release` or, at the latest, when
        this mapping is garbage-collected. So it may run on any thread.
    clock : SimulatedTime, optional
        What tells the simulated time of the capture; None if a step has no length.
    reduced : mapping of str to float, optional
        What the actor's reductions are of these fields.

    Notes
    -----
    `CheckpointManager.complete_snapshot` releases a mapping that has a ``release`` method as soon as
    it no longer needs the data. The views then show what the kernel puts there next, so the mapping
    no longer gives them out. Copy an array that you want to keep.
    """

    def __init__(
        self,
        fields: Fields,
        params: Mapping[str, float] | None = None,
        lease: Callable[[], object] | None = None,
        clock: SimulatedTime | None = None,
        reduced: Mapping[str, float] | None = None,
    ) -> None:
        self._fields: Fields | None = dict(fields)
        self._names = tuple(fields)
        self.params = dict(params) if params is not None else None
        self.clock = clock
        self.reduced = dict(reduced or {})
        self._lease = lease

    def release(self) -> None:
        """Give the staging buffer back to the kernel. Idempotent, any thread."""
        self._fields = None
        lease, self._lease = self._lease, None
        if lease is not None:
            lease()

    def detach(self) -> None:
        """Copy the fields and give the staging buffer back now; the copies stay until `release`."""
        if self._fields is not None:
            copies = {name: array.copy() for name, array in self._fields.items()}
            for array in copies.values():
                array.flags.writeable = False
            self.release()
            self._fields = copies

    @property
    def released(self) -> bool:
        """Whether the fields were given back."""
        return self._fields is None

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Return a read-only view of one field."""
        if self._fields is None:
            msg = (
                f"the snapshot's staging buffer was given back, so {name!r} is gone: "
                "read fields before the snapshot is completed, or load the checkpoint"
            )
            raise KeyError(msg)
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the field names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of fields."""
        return len(self._names)

    def __del__(self) -> None:
        """Give the staging buffer back if that was not done."""
        self.release()


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """A request for one actor's state, issued by the manager.

    Attributes
    ----------
    request_id : int
        Unique for the life of the manager, 0..2**63-1; the manager counts from 1.
    actor_slot : int
        The actor's index in the kernel.
    buffer_offset : int
        Where in its staging buffer the kernel puts the state, bytes. Always 0 with ringnb's own
        kernels, whose staging buffers hold one snapshot each.
    issued_at : datetime.datetime
        Aware, UTC.
    """

    request_id: int
    actor_slot: int
    buffer_offset: int
    issued_at: datetime

    def __post_init__(self) -> None:
        """Check every attribute."""
        set_ = object.__setattr__
        set_(self, "request_id", check_int(self.request_id, "request_id", 0, MAX_STEP))
        set_(self, "actor_slot", check_slot(self.actor_slot))
        set_(self, "buffer_offset", check_int(self.buffer_offset, "buffer_offset", 0, MAX_STEP))
        if not isinstance(self.issued_at, datetime):
            msg = f"issued_at must be a datetime, got {self.issued_at!r}"
            raise TypeError(msg)
        if self.issued_at.utcoffset() is None:
            msg = f"issued_at must be an aware UTC datetime, got the naive {self.issued_at!r}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, eq=False)
class SnapshotResponse:
    """The answer to a `SnapshotRequest`.

    Attributes
    ----------
    request_id : int
        The request answered.
    actor_slot : int
        The actor whose state this is.
    success : bool
        Whether the snapshot was taken.
    data : mapping of str to numpy.ndarray, or bytes-like
        The state. Need stay valid only until ``complete_snapshot`` returns. Ignored, and may be
        None, when `success` is false.
    step : int
        The step boundary at which the state was captured, 0..2**63-1.
    error : str or None
        Why it failed.
    """

    request_id: int
    actor_slot: int
    success: bool
    data: Any
    step: int
    error: str | None = None

    def __post_init__(self) -> None:
        """Check every attribute; the data is checked when it is stored."""
        set_ = object.__setattr__
        set_(self, "request_id", check_int(self.request_id, "request_id", 0, MAX_STEP))
        set_(self, "actor_slot", check_slot(self.actor_slot))
        set_(self, "success", check_bool(self.success, "success"))
        set_(self, "step", check_step(self.step))
        if self.error is not None and not isinstance(self.error, str):
            msg = f"error must be a str or None, got {self.error!r}"
            raise TypeError(msg)
        if self.success and not (
            isinstance(self.data, StagedFields)  # checked by the kernel that made it
        ):
            normalise_fields(self.data)

    def release(self) -> None:
        """Give back the staging buffer that the data views, if it views one. Idempotent, any thread."""
        if isinstance(self.data, StagedFields):
            self.data.release()
