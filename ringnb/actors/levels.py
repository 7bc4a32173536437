"""A level of a state whose fields have several dtypes: an array ``(*grid)`` for each.

``level[field, y, x]`` is what it is in an array ``(fields, *grid)``, so an update is written in one way.
What follows the number of the field is that array's own index. `ringnb.kernel.levels` says the same to
the compilers.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MixedLevel", "level_class", "level_of"]


class MixedLevel(tuple[npt.NDArray[Any], ...]):
    """The fields of a level, in order: arrays ``(*grid)``. `level_class` makes its classes."""

    __slots__ = ()
    checks_index = False  # of what is compiled of it
    n_fields = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Fields, and grid points per axis."""
        return (self.n_fields, *self[0].shape)

    def __getitem__(self, index: Any) -> Any:
        """Return values of a field; without more than its number, the array itself."""
        if isinstance(index, tuple):
            return self._field(index[0])[index[1:]]
        return super().__getitem__(index)

    def __setitem__(self, index: tuple[Any, ...], value: Any) -> None:
        """Set values of a field."""
        self._field(index[0])[index[1:]] = value

    def _field(self, number: int) -> npt.NDArray[Any]:
        """Return a field's array: others, of a compiled level, may lie behind those of the fields."""
        return super().__getitem__(range(self.n_fields)[number])


@cache
def level_class(fields: int, more: int = 0, *, checks_index: bool = False) -> Any:
    """Return the class of levels of so many fields, called with their arrays and so many more.

    Those with `checks_index` are types of their own for a compiler: what is compiled with checked
    indices is never used without, nor the other way round.
    """
    base: Any = namedtuple("MixedLevel", " ".join(f"a{i}" for i in range(fields + more)))  # type: ignore[misc]  # names made here
    facts = {"__slots__": (), "n_fields": fields, "checks_index": checks_index}
    return type("MixedLevel", (MixedLevel, base), facts)


def level_of(arrays: Iterable[npt.NDArray[Any]]) -> Any:
    """Return arrays ``(*grid)`` as a level; an array ``(fields, *grid)`` is one."""
    if isinstance(arrays, np.ndarray):
        return arrays
    arrays = tuple(arrays)
    return level_class(len(arrays))(*arrays)
