"""What the models check of their arguments: the start state, the number of axes, the dtype."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from ringnb.actors.base import Actor

__all__ = ["check_axes", "check_dtype", "check_reach", "check_start"]

_DTYPES = ("float32", "float64", "int8", "uint8", "int32", "int64")


def check_start(
    start: npt.ArrayLike | None, actor: Actor, *, finite: bool = True
) -> npt.NDArray[Any] | None:
    """Check a state that a user wants an actor to start from.

    Parameters
    ----------
    start : array-like or None
        The state, ``(levels * fields, *grid)``; the first axis may be left out where there is one
        field, and is then repeated for every level.
    actor : Actor
        The actor.
    finite : bool, default True
        Refuse NaN and infinities.

    Returns
    -------
    array or None
        A copy of the actor's dtype and state shape.

    Raises
    ------
    ValueError
        If the shape does not fit, or a value cannot be held.
    """
    if start is None:
        return None
    given = np.asarray(start)
    if given.shape == actor.shape and len(actor.fields) == 1:
        given = np.stack([given] * actor.levels)
    if given.shape != actor.state_shape:
        msg = (
            f"start has shape {given.shape}, {type(actor).__name__} of shape {actor.shape} needs "
            f"{actor.state_shape} (levels * fields, *grid)"
        )
        raise ValueError(msg)
    if given.dtype.kind not in "biuf":
        msg = f"start has dtype {given.dtype}, needed is something that fits {actor.dtype}"
        raise ValueError(msg)
    with np.errstate(over="ignore", invalid="ignore"):  # what it did to them is looked at below
        state = given.astype(actor.dtype)
    if actor.dtype.kind in "iu" and not np.array_equal(state, given):
        msg = f"start holds values that {actor.dtype} cannot hold"
        raise ValueError(msg)
    if finite and not np.isfinite(state).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(state))[0])
        msg = f"start must be finite as {actor.dtype}, got {given[at]!r} at {at}"
        raise ValueError(msg)
    return state


def check_reach(actor: Actor, update: Callable[..., object]) -> None:
    """Try an update on the corner cells of the grid, where it would leave the arrays if anywhere.

    Compiled code does not check its indices: it would read, or overwrite, memory of something else.

    Parameters
    ----------
    actor : Actor
        The actor, with its shape, fields and parameters.
    update : callable
        Its update, not compiled.

    Raises
    ------
    ValueError
        If an index lies outside. Any other failure is left to the compiler, which knows better what
        can be compiled.

    Notes
    -----
    The arrays have the shape of the state and the memory of one cell, so that a large grid costs
    nothing. What depends on the values in them may take another way than it will in a run.
    """
    shape = (len(actor.fields), *actor.shape)
    now, following = (as_strided(np.ones(1, actor.dtype), shape, (0,) * len(shape)) for _ in "ab")
    params = np.array(list(actor.params.values()), np.float64)
    for cell in itertools.product(*((0, n - 1) for n in actor.shape)):
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                update(now, following, params, 0, *cell)
        except IndexError as error:
            if "out of bounds" not in str(error):
                return
            at = ", ".join(f"{d} = {i}" for d, i in zip(actor.dims, cell, strict=True))
            msg = (
                f"{getattr(update, '__name__', 'update')} leaves its arrays at the cell {at}: {error}. "
                f"now and next have the shape {shape} (fields, *grid), params has {len(params)}"
            )
            raise ValueError(msg) from error
        except Exception:  # noqa: BLE001 - see above
            return


def check_axes(actor: Actor, ndim: int) -> None:
    """Check the number of grid axes of a model.

    Parameters
    ----------
    actor : Actor
        The actor.
    ndim : int
        How many it must have.

    Raises
    ------
    ValueError
        If it has another number.
    """
    if len(actor.shape) != ndim:
        msg = f"{type(actor).__name__} needs a shape of {ndim} axes, got {actor.shape}"
        raise ValueError(msg)


def check_dtype(dtype: object) -> np.dtype[Any]:
    """Check the dtype of an actor's state.

    Parameters
    ----------
    dtype : dtype-like
        The candidate.

    Returns
    -------
    numpy.dtype
        Native byte order.

    Raises
    ------
    ValueError
        If no backend computes with it.
    """
    d: np.dtype[Any] = np.dtype(dtype)  # type: ignore[call-overload]  # any object may be dtype-like
    if d.name not in _DTYPES:
        msg = f"dtype {d} is not supported: use one of {', '.join(_DTYPES)}"
        raise ValueError(msg)
    return d.newbyteorder("=")
