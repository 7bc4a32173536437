"""What the models check of their arguments: the start state, the number of axes, the dtype."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ringnb._support.checks import check_name, check_number
from ringnb.actors.base import MAX_ARRAYS, Actor, FieldSpec

__all__ = [
    "DTYPES",
    "Start",
    "State",
    "check_arrays",
    "check_axes",
    "check_dtype",
    "check_fields",
    "check_limits",
    "check_positive",
    "check_start",
    "check_state",
    "state_of",
]

State: TypeAlias = npt.NDArray[Any] | dict[str, npt.NDArray[Any]]  # as `Actor.start` returns it
Start: TypeAlias = npt.ArrayLike | Mapping[str, npt.ArrayLike] | None
DTYPES = ("float32", "float64", "int8", "uint8", "int32", "int64")


def check_start(start: Start, actor: Actor, *, finite: bool = True) -> npt.NDArray[Any] | None:
    """Return a copy of a user's start state in the actor's dtype and state shape, or None for None.

    The shape is ``(levels * fields, *grid)``; the first axis may be left out where there is one field,
    and is then repeated for every level. Or it is a mapping of an array to each name under which a
    checkpoint stores one; a previous level that is left out is that of now. A `ValueError` if names or
    shape do not fit, the dtype cannot hold a value, or one is not finite where it has to be.
    """
    if start is None:
        return None
    if isinstance(start, Mapping):
        given = np.stack(list(_by_name(start, actor).values()))
    else:
        given = np.asarray(start)
    if given.shape == actor.shape and len(actor.fields) == 1:
        given = np.stack([given] * actor.levels)
    if given.shape != actor.state_shape:
        msg = (
            f"start has shape {given.shape}, {type(actor).__name__} of shape {actor.shape} needs "
            f"{actor.state_shape} (levels * fields, *grid)"
        )
        raise ValueError(msg)
    return _converted(given, actor.dtype, "start", finite=finite)


def check_state(start: Start, actor: Actor) -> State | None:
    """Return what `check_start` does, or arrays by name where fields have several dtypes."""
    if actor.dtype.names is None or start is None:
        return check_start(start, actor, finite=False)
    if not isinstance(start, Mapping):
        msg = (
            "start must map names to arrays where fields have several dtypes, here "
            f"{', '.join(f'{n}: {d}' for n, d in zip(actor.fields, actor.dtypes, strict=True))}; "
            f"got {type(start).__name__}"
        )
        raise TypeError(msg)
    arrays, kinds = _by_name(start, actor), actor.dtypes * actor.levels
    return {
        name: _converted(array, dtype, f"start[{name!r}]", finite=False)
        for (name, array), dtype in zip(arrays.items(), kinds, strict=True)
    }


def _converted(
    given: npt.NDArray[Any], dtype: np.dtype[Any], what: str, *, finite: bool
) -> npt.NDArray[Any]:
    """Return a copy of what is given in a dtype that can hold its values."""
    if given.dtype.kind not in "biuf":
        msg = f"{what} has dtype {given.dtype}, needed is something that fits {dtype}"
        raise ValueError(msg)
    with np.errstate(over="ignore", invalid="ignore"):  # the result is checked below
        state = given.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(state, given):
        msg = f"{what} holds values that {dtype} cannot hold"
        raise ValueError(msg)
    if finite and not np.isfinite(state).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(state))[0])
        msg = f"{what} must be finite as {dtype}, got {given[at]!r} at {at}"
        raise ValueError(msg)
    return state


def _by_name(start: Mapping[str, npt.ArrayLike], actor: Actor) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a start by stored name, in the order of a state."""
    names, found = actor.stored_fields, {str(name): np.asarray(a) for name, a in start.items()}
    missing = [name for name in actor.fields if name not in found]
    unknown = [name for name in found if name not in names]
    if missing or unknown:
        msg = (
            f"start has arrays {sorted(found)}, {type(actor).__name__} needs {list(actor.fields)}"
            f"{' and may have ' + str(list(names[len(actor.fields) :])) if actor.levels > 1 else ''}"
        )
        if not unknown:
            msg += f": add one of {actor.shape} for each of {missing}, of zeros if a step fills it"
        raise ValueError(msg)
    arrays = [
        found[name] if name in found else found[name.removesuffix("_previous")] for name in names
    ]
    for name, array in zip(names, arrays, strict=True):
        if array.shape != actor.shape:
            msg = (
                f"start[{name!r}] has shape {array.shape}, the grid of {type(actor).__name__} has "
                f"{actor.shape}"
            )
            raise ValueError(msg)
    return dict(zip(names, arrays, strict=True))


def state_of(actor: Actor, make: Callable[..., npt.NDArray[Any]]) -> State:
    """Return a state of arrays that `make` returns for a shape and a dtype, as `Actor.start` does."""
    if actor.dtype.names is None:
        return make(actor.state_shape, actor.dtype)
    kinds = zip(actor.stored_fields, actor.dtypes * actor.levels, strict=True)
    return {name: make(actor.shape, dtype) for name, dtype in kinds}


def check_arrays(arrays: object) -> dict[str, npt.NDArray[Any]]:
    """Return read-only copies of the arrays that an update is given; else `TypeError`, `ValueError`."""
    if arrays is None:
        return {}
    if not isinstance(arrays, Mapping):
        msg = f"arrays must map names to arrays, such as {{'depth': h}}, got {arrays!r}"
        raise TypeError(msg)
    if len(arrays) > MAX_ARRAYS:
        msg = f"{len(arrays)} arrays are too many: an actor has at most {MAX_ARRAYS}"
        raise ValueError(msg)
    found = {}
    for name, given in arrays.items():
        array = np.array(given, order="C")
        if array.dtype.name not in DTYPES:
            msg = (
                f"arrays[{name!r}] has dtype {array.dtype}, and no kernel reads that: make it one of "
                f"{', '.join(DTYPES)}"
            )
            raise ValueError(msg)
        if not 1 <= array.ndim <= 3 or not 0 < array.size < 2**31:
            msg = (
                f"arrays[{name!r}] must have one to three axes and values, got shape {array.shape}"
            )
            raise ValueError(msg)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        array.flags.writeable = False
        found[check_name(name, "name of an array")] = array
    return found


def check_limits(
    limits: object, params: Mapping[str, float]
) -> dict[str, tuple[float, float] | None]:
    """Return the limits of parameters, lowest and highest of each; TypeError, ValueError."""
    example = "such as {'rate': (0.0, 1.0)}, or None for no slider"
    if not isinstance(limits, Mapping | None):
        msg = f"limits must map names of parameters to pairs of numbers, {example}, got {limits!r}"
        raise TypeError(msg)
    found: dict[str, tuple[float, float] | None] = {}
    for name, pair in (limits or {}).items():
        if name not in params:
            msg = f"limits names {name!r}, which is not a parameter: use {', '.join(params) or 'none'}"
            raise ValueError(msg)
        if pair is None:
            found[name] = None
            continue
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            msg = f"limits[{name!r}] must be a pair of numbers, {example}, got {pair!r}"
            raise TypeError(msg)
        low, high = (check_number(value, f"limits[{name!r}]") for value in pair)
        if low >= high:
            msg = f"limits[{name!r}] must have the lower value first, got {pair!r}"
            raise ValueError(msg)
        found[name] = low, high
    return found


def check_positive(params: dict[str, float], *names: str) -> None:
    """Check that parameters are greater than 0; else `ValueError`."""
    for name in names:
        if params[name] <= 0:
            msg = f"{name}={params[name]:g} must be positive"
            raise ValueError(msg)


def check_axes(actor: Actor, ndim: int) -> None:
    """Check that an actor has `ndim` grid axes; else `ValueError`."""
    if len(actor.shape) != ndim:
        msg = f"{type(actor).__name__} needs a shape of {ndim} axes, got {actor.shape}"
        raise ValueError(msg)


def check_fields(
    fields: Sequence[str] | Mapping[str, Any], dtype: np.dtype[Any]
) -> dict[str, tuple[FieldSpec, np.dtype[Any]]]:
    """Return what each field is, and its dtype, which is `dtype` unless it has its own.

    A `TypeError` or `ValueError` names the field that is neither a `FieldSpec` nor a dtype.
    """
    given = fields if isinstance(fields, Mapping) else dict.fromkeys(fields)
    found = {}
    for name, what in given.items():
        check_name(name, "field name")
        spec = what if isinstance(what, FieldSpec) else FieldSpec(dtype=what)
        try:
            found[name] = spec, dtype if spec.dtype is None else check_dtype(spec.dtype)
        except (TypeError, ValueError) as error:
            msg = f"fields[{name!r}] must be a FieldSpec or a dtype, got {what!r}: {error}"
            raise type(error)(msg) from None
    return found


def check_dtype(dtype: object) -> np.dtype[Any]:
    """Return the dtype of an actor's state in native byte order; `ValueError` if no backend has it."""
    d: np.dtype[Any] = np.dtype(dtype)  # type: ignore[call-overload]  # any object may be dtype-like
    if d.name not in DTYPES:
        msg = f"dtype {d} is not supported: use one of {', '.join(DTYPES)}"
        raise ValueError(msg)
    return d.newbyteorder("=")
