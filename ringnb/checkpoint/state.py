"""The state of a live actor at one step, copied to be looked at: what `Session.state` returns.

A `Checkpoint` is stored and can be restored; a `State` is in memory only, and no part of any history.
Plots take either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np
import numpy.typing as npt

from ringnb._support.text import facts_table
from ringnb.checkpoint.storage.dataset import make_dataset, reductions_fact
from ringnb.messages.simulated_time import SimulatedTime

if TYPE_CHECKING:
    import xarray

__all__ = ["State"]


@final
class State:
    """All fields of a live actor at one step boundary, with the parameters that it had there.

    Parameters
    ----------
    arrays : mapping of str to array
        The fields. They are made read-only, and owned by this state from now on.
    kernel_id, kernel_type : str
        The actor's identity and its type.
    actor_slot, step : int
        Where it runs, and the step boundary of the copy.
    params : mapping of str to float
        Its parameters.
    field_attrs : mapping of str to mapping
        ``units``, ``long_name`` and ``dims`` of each field.
    reduced : mapping of str to float, optional
        What its reductions are of this state.
    clock : SimulatedTime, optional
        What tells its simulated time; None if a step has no length.

    Notes
    -----
    Any thread: it does not change. ``state[name]`` is a read-only array.
    """

    def __init__(
        self,
        arrays: Mapping[str, npt.NDArray[Any]],
        *,
        kernel_id: str,
        kernel_type: str,
        actor_slot: int,
        step: int,
        params: Mapping[str, float],
        field_attrs: Mapping[str, Mapping[str, Any]],
        reduced: Mapping[str, float] = MappingProxyType({}),
        clock: SimulatedTime | None = None,
    ) -> None:
        self._arrays = dict(arrays)
        for array in self._arrays.values():
            array.flags.writeable = False
        self.kernel_id = kernel_id
        self.kernel_type = kernel_type
        self.actor_slot = actor_slot
        self.step = step
        self.clock = clock
        self.taken_at = datetime.now(UTC)
        self._params = dict(params)
        self.reduced = MappingProxyType(dict(reduced))
        self._field_attrs = {
            name: {"dims": tuple(f"{name}_{axis}" for axis in range(array.ndim))}
            | dict(field_attrs.get(name, {}))
            for name, array in arrays.items()
        }

    @property
    def name(self) -> str:
        """How figures name it: the actor, and that this is its live state."""
        return f"{self.kernel_id} (live)"

    @property
    def time(self) -> float | None:
        """The simulated time, seconds; None if a step has no length."""
        return None if self.clock is None else self.clock.at(self.step)

    @property
    def params(self) -> dict[str, float]:
        """The parameters that the actor had (a copy)."""
        return dict(self._params)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in the order in which a checkpoint stores them."""
        return tuple(self._arrays)

    @property
    def field_attrs(self) -> dict[str, dict[str, Any]]:
        """``units``, ``long_name`` and ``dims`` of each field (a copy)."""
        return {name: dict(attrs) for name, attrs in self._field_attrs.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of all fields."""
        return sum(array.nbytes for array in self._arrays.values())

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Return a field, read-only; a KeyError names the fields that there are."""
        try:
            return self._arrays[name]
        except KeyError:
            msg = f"{self.name} has no field {name!r}: it has {list(self._arrays)}"
            raise KeyError(msg) from None

    def __contains__(self, name: object) -> bool:
        """Return whether there is a field of that name."""
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the fields."""
        return iter(self._arrays)

    def __len__(self) -> int:
        """Return the number of fields."""
        return len(self._arrays)

    def numpy(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of all fields.

        Returns
        -------
        dict of str to numpy.ndarray
            Writable: your own.
        """
        return {name: np.array(array) for name, array in self._arrays.items()}

    def to_xarray(self) -> xarray.Dataset:
        """Return copies of all fields as an xarray dataset.

        Returns
        -------
        xarray.Dataset
            As `Checkpoint.to_xarray`, with the attribute ``live``.

        Raises
        ------
        ImportError
            If xarray is not installed.
        """
        variables = {}
        for name, array in self.numpy().items():
            attrs = dict(self._field_attrs[name])
            variables[name] = (attrs.pop("dims"), array, attrs)
        said = {
            "name": self.name,
            "live": 1,
            "kernel_id": self.kernel_id,
            "kernel_type": self.kernel_type,
            "actor_slot": self.actor_slot,
            "step": self.step,
            "time": self.time,
            "taken_at": self.taken_at.isoformat(),
        }
        return make_dataset(variables, said, self._params, self.reduced)

    def _facts(self) -> dict[str, object]:
        time = {} if self.time is None else {"simulated time": f"{self.time:g} s"}
        return {
            "actor": f"{self.kernel_id} ({self.kernel_type}, slot {self.actor_slot})",
            "step": self.step,
            **time,
            "parameters": ", ".join(f"{k} = {v:g}" for k, v in self._params.items()) or "none",
            **reductions_fact(self.reduced),
            "fields": ", ".join(
                f"{n}: {' x '.join(map(str, a.shape))} {a.dtype.name}"
                for n, a in self._arrays.items()
            ),
        }

    def __repr__(self) -> str:
        """Name the actor, its step and its fields."""
        fields = ", ".join(f"{n}{a.shape}" for n, a in self._arrays.items())
        return f"<State of {self.kernel_id!r}, live, at step {self.step}: {fields}>"

    def _repr_html_(self) -> str:
        """Show a small table in a notebook."""
        return facts_table(f"Live state of {self.kernel_id}", self._facts())
