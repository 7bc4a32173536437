"""How compiled code sees a level whose fields have several dtypes, see `ringnb.actors.levels`.

A level is one block of memory. Fields of one dtype that follow each other are a group, one behind the
other; each group begins at a multiple of 64 bytes. For the compilers a level is a named tuple of arrays,
one for each field, and behind them one ``(fields, *grid)`` for each group; `define` teaches them what
``level[field, y, x]`` is. A field whose number is a constant is its array at once. Where the number is
computed, conditions choose the group, which a compiler folds that knows between which bounds it lies.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ringnb.actors.base import Actor
from ringnb.actors.levels import level_class

__all__ = ["PADDED", "define", "field_offsets", "mixed_dtypes", "view_maker"]

PADDED = 64  # bytes: a level, and each group of fields in it, begins at a multiple


def mixed_dtypes(actor: Actor) -> tuple[str, ...]:
    """Return the dtype of each field where there are several; nothing where one is for all."""
    return () if actor.dtype.names is None else tuple(dtype.name for dtype in actor.dtypes)


def _groups(dtypes: Sequence[str]) -> list[tuple[str, int]]:
    """Return the dtypes, and how many fields in a row have each."""
    return [(dtype, len(list(same))) for dtype, same in itertools.groupby(dtypes)]


def field_offsets(dtypes: Sequence[str], cells: int) -> list[int]:
    """Return where each field of a level begins, in bytes, and where the level ends."""
    offsets, at = [], 0
    for dtype, count in _groups(dtypes):
        nbytes = cells * np.dtype(dtype).itemsize
        offsets += [at + i * nbytes for i in range(count)]
        at += -(-count * nbytes // PADDED) * PADDED
    return [*offsets, at]


def view_maker(dtypes: Sequence[str], arguments: str, view: str, unit: int, checked: bool) -> Any:
    """Return a function that makes a level of what lies in a block; it is to be compiled.

    `arguments` are its own, the last the ``shape`` (fields, *grid); `view` is the expression of an array
    at the offset ``{at}``, in units of so many bytes, of the dtype ``{dtype}`` and a ``{shape}``.
    """
    lines = [f"def view({arguments}):", "    grid = shape[1:]", "    cells = 1"]
    lines += ["    for n in grid:", "        cells *= n", "    at = 0"]
    fields, groups = [], []
    for i, (dtype, count) in enumerate(_groups(dtypes)):
        size, per = np.dtype(dtype).itemsize * count, PADDED // unit
        made = view.format(at="at", dtype=dtype, shape=f"(int64({count}), *grid)")
        lines.append(f"    group{i} = {made}")
        lines.append(f"    at += (cells * {size} + {PADDED - 1}) // {PADDED} * {per}")
        fields += [f"group{i}[{k}]" for k in range(count)]
        groups.append(f"group{i}")
    lines.append(f"    return level({', '.join(fields + groups)})")
    of = level_class(len(fields), len(groups), checks_index=checked)
    types = {dtype: np.dtype(dtype).type for dtype in dtypes}
    return _made("view", lines, level=of, **types | {"int64": np.int64})


def define(
    overload: Callable[..., Any],
    overload_attribute: Callable[..., Any],
    types: Any,
    *,
    raises: bool,
) -> None:
    """Teach a compiler levels of several dtypes. It raises an `IndexError` only where it can.

    The functions are those of the compiler's ``extending``, `types` is its module of types.
    """

    def field_of(level: Any, index: Any) -> int | None:
        """Return the number of the field that an index names by a constant, -1 if by none."""
        of: Any = getattr(level, "instance_class", None)
        if not hasattr(of, "checks_index") or not isinstance(index, types.BaseTuple):
            return None
        first = index[0]
        if not isinstance(first, types.IntegerLiteral):
            return -1 if isinstance(first, types.Integer) else None
        n = of.n_fields
        if -n <= first.literal_value < n:
            return int(first.literal_value % n)
        msg = f"field {first.literal_value} is out of bounds: there are {n}"
        raise IndexError(msg)

    @overload(operator.getitem, prefer_literal=True, strict=False)  # which compares annotations
    def get(level: Any, index: Any) -> Any:
        """Read values of a field."""
        field = field_of(level, index)
        if field is None:
            return None
        if field >= 0:
            return lambda level, index: level[field][index[1:]]
        arrays = _groups_of(level)
        name = np.result_type(*(np.dtype(str(array.dtype)) for array in arrays)).name
        lines = _chain(level, f"return {name}(level[{{}}][{{}}])", raises)
        return _made("get", ["def get(level, index):", *lines], **{name: np.dtype(name).type})

    @overload(operator.setitem, prefer_literal=True, strict=False)  # which compares annotations
    def put(level: Any, index: Any, value: Any) -> Any:  # noqa: ARG001 - of the call
        """Write values of a field."""
        field = field_of(level, index)
        if field is None:
            return None
        act = "level[{}][{}] = value"
        own = [f"    {act.format(field, 'index[1:]')}"]
        lines = own if field >= 0 else _chain(level, act, raises)
        return _made("put", ["def put(level, index, value):", *lines])

    @overload_attribute(types.BaseNamedTuple, "shape", strict=False)
    def shape(level: Any) -> Any:
        """Return fields, and grid points per axis."""
        if not hasattr(getattr(level, "instance_class", None), "checks_index"):
            return None
        n = level.instance_class.n_fields
        return lambda level: (n, *level[0].shape)


def _groups_of(level: Any) -> Any:
    """Return the types of the arrays of the groups, which follow those of the fields."""
    return tuple(level)[level.instance_class.n_fields :]


def _chain(level: Any, act: str, raises: bool) -> list[str]:
    """Return lines that act on the field whose number is computed; one below 0 counts from the end."""
    fields, groups = level.instance_class.n_fields, _groups_of(level)
    counts = [count for _, count in _groups([str(array.dtype) for array in tuple(level)[:fields]])]
    lines = ["    field = index[0]", f"    if field < 0: field += {fields}"]
    if raises:
        bounds = f"field < 0 or field >= {fields}"
        lines.append(f"    if {bounds}: raise IndexError('a field is out of bounds')")
    first = 0
    for i, count in enumerate(counts):
        condition = (
            "else" if i == len(groups) - 1 else f"{'el' if i else ''}if field < {first + count}"
        )
        do = act.format(fields + i, f"(field - {first},) + index[1:]")
        lines.append(f"    {condition}: {do}")
        first += count
    return lines


def _made(name: str, lines: Sequence[str], **names: Any) -> Any:
    """Return a function of our own text."""
    exec("\n".join(lines), names)  # noqa: S102 - with no text of the user's in it
    return names[name]
