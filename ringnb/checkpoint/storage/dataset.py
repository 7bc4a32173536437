"""What a state, stored or live, has in common to show: a dataset of its fields, its reductions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ringnb._support.checks import is_number

if TYPE_CHECKING:
    import xarray

__all__ = ["make_dataset", "reductions_fact"]


def reductions_fact(reduced: Mapping[str, float]) -> dict[str, str]:
    """Return the entry of a table of facts that tells the reductions; none where there are none."""
    told = ", ".join(f"{name} = {value:.6g}" for name, value in reduced.items())
    return {"reductions": told} if told else {}


def make_dataset(
    variables: Mapping[str, tuple[Sequence[str], npt.NDArray[Any], Mapping[str, Any]]],
    attrs: Mapping[str, Any],
    params: Mapping[str, Any],
    reduced: Mapping[str, float],
) -> xarray.Dataset:
    """Return fields (dimensions, array, attributes) with the identity and numbers of their state.

    Where the model has a cell size ``dx``, the centres of the cells are coordinates. ImportError if
    xarray is not installed.
    """
    try:
        import xarray  # noqa: PLC0415 - an optional dependency, slow to import
    except ImportError as error:
        msg = "to_xarray() needs xarray: pip install 'ringnb[xarray]'"
        raise ImportError(msg) from error
    # What is null is left out: netCDF, for one, has no such attribute.
    said = {key: value for key, value in attrs.items() if value is not None}
    said |= {f"param_{key}": value for key, value in params.items()}
    said |= {f"reduced_{key}": value for key, value in reduced.items()}
    dataset = xarray.Dataset(dict(variables), attrs=said)
    dx = params.get("dx")
    if is_number(dx) and dx > 0:
        for axis in sorted({"x", "y", "z"} & set(dataset.sizes) - set(variables)):
            centres = (np.arange(dataset.sizes[axis]) + 0.5) * dx
            dataset = dataset.assign_coords({axis: (axis, centres, {"units": "m"})})
    return dataset
