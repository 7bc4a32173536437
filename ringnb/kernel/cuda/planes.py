"""What a thread keeps of a box of cells while it goes along z, instead of loading it once more.

A cell's neighbours above and below are the cells that are computed next, and were computed before. So
the thread's own columns are loaded once, a few planes at a time, into registers; the last two planes
stay there for the next ones. To an update they are an array as any other. Which of its items are in
registers is decided after the update was compiled into the loop, when ``z + 1`` is known to be the plane
after. `goes_straight` says of which updates that is known.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from numba.core import ir as numba_ir
from numba.core.compiler import run_frontend
from numba.core.errors import NumbaError

from ringnb.kernel.caching import plain
from ringnb.kernel.cuda.intrinsics import SIMULATED

__all__ = ["goes_straight", "planes_of"]

_NOW, _PLACE = 0, (4, 5, 6)  # arguments of an update: the level, and z, y, x


def goes_straight(update: Callable[..., Any]) -> bool:
    """Return whether an update takes of ``now`` its own cell and those so many beside, alone."""
    try:
        found = run_frontend(plain(update))
    except NumbaError:  # it will be told where it is compiled
        return False

    def defined(variable: Any) -> Any:
        """Return what a variable is, or None if there are several."""
        try:
            return found.get_definition(variable)
        except KeyError:
            return None

    def is_argument(variable: Any, index: int) -> bool:
        """Return whether a variable is the update's argument of this number."""
        value = defined(variable)
        return isinstance(value, numba_ir.Arg) and value.index == index

    def is_fixed(variable: Any) -> bool:
        """Return whether a variable is a number that is known where it is compiled."""
        value = defined(variable)
        known = numba_ir.Const, numba_ir.Global, numba_ir.FreeVar
        return isinstance(value, known) and isinstance(value.value, int)

    def is_beside(variable: Any, index: int) -> bool:
        """Return whether a variable is the argument of this number, or a fixed number beside it."""
        value = defined(variable)
        if isinstance(value, numba_ir.Expr) and value.op == "binop":
            if value.fn not in (operator.add, operator.sub):
                return False
            if not is_fixed(value.rhs):
                return False
            variable = value.lhs
        return is_argument(variable, index)

    def is_straight(statement: Any) -> bool:
        """Return whether a statement takes an item of ``now`` as it should, or none."""
        value = statement.value if isinstance(statement, numba_ir.Assign) else statement
        if isinstance(value, numba_ir.Arg):  # in a branch it may be assigned anew
            return defined(statement.target) is value
        used = value.list_vars() if isinstance(value, numba_ir.Inst) else []
        if isinstance(value, numba_ir.Var):
            used = [value]
        if not any(is_argument(v, _NOW) for v in used):
            return True
        if not isinstance(value, numba_ir.Expr):
            return False
        if value.op == "getattr":
            return str(value.attr) == "shape"
        if value.op != "getitem" or not is_argument(value.value, _NOW):
            return False
        index = defined(value.index)
        return (
            isinstance(index, numba_ir.Expr)
            and index.op == "build_tuple"
            and len(index.items) == 1 + len(_PLACE)
            and is_fixed(index.items[0])
            and all(map(is_beside, index.items[1:], _PLACE))
        )

    return all(is_straight(s) for block in found.blocks.values() for s in block.body)


if SIMULATED:

    def planes_of(planes: int, rows: int) -> tuple[Any, Any, Any]:
        """Make the functions that show a level, enter a column of it, and go on along that."""

        def show(now: Any, y: int, x: int) -> Any:
            """Return the level: all of it is at hand."""
            return now

        def nothing(*_: Any) -> None:
            """Do nothing."""

        return show, nothing, nothing

else:
    from llvmlite import ir
    from numba.cuda import cgutils, types
    from numba.cuda.extending import core_models, intrinsic, lower_builtin, register_model
    from numba.cuda.np import arrayobj

    from ringnb.kernel.cuda.intrinsics import Grid, item_of, place_of

    _I32, _I64 = ir.IntType(32), ir.IntType(64)

    class Shown(Grid):
        """A level of one field; of a thread's own columns some planes are in registers."""

        def __init__(self, dtype: Any, planes: int, rows: int) -> None:
            super().__init__(dtype, 4)
            self.name = f"Shown({dtype}, {planes}, {rows})"
            self.planes, self.rows = planes, rows

        @property
        def key(self) -> Any:
            """What makes two of them the same type."""
            return *super().key, self.planes, self.rows

    register_model(Shown)(core_models.ArrayModel)

    class _Kept:
        """The registers behind an array: where they are in the level, and those of each row."""

        def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
            self.kind, self._builder = kind, builder
            self.view = context.make_array(kind)(context, builder, value)
            row = ir.ArrayType(context.get_data_type(kind.dtype), kind.planes + 2)
            self.layout = ir.LiteralStructType([_I64, _I64, _I64, ir.ArrayType(row, kind.rows)])

        def _at(self, *where: int) -> Any:
            # An array's parent is an object of Python, which there is none of on a device.
            own = self._builder.bitcast(self.view.parent, self.layout.as_pointer())
            return self._builder.gep(own, [_I32(0), *map(_I32, where)])

        def place(self, axis: int) -> Any:
            """Return the word that holds z, y or x of the first cell."""
            return self._at(axis)

        def cell(self, row: int, plane: int) -> Any:
            """Return the register of a cell, counted from the first one; planes from -1 on."""
            return self._at(3, row, plane + 1)

        def load(self, z: Any, planes: range, into: int) -> None:
            """Load planes, counted from z, of the own columns."""
            y, x = (self._builder.load(self.place(axis)) for axis in (1, 2))
            for plane in planes:
                for row in range(self.kind.rows):
                    add = self._builder.add
                    where = [_I64(0), add(z, _I64(plane)), add(y, _I64(row)), x]
                    value = self._builder.load(place_of(self._builder, self.kind, self.view, where))
                    self._builder.store(value, self.cell(row, plane + into))

    @lower_builtin(operator.getitem, Shown, types.BaseTuple)
    def _get(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """Read an item, from its register if it has one."""
        kind, index = signature.args
        kept = _Kept(context, builder, kind, arguments[0])
        at = item_of(context, builder, signature.args, arguments)
        if at is None:
            return arrayobj.getitem_array_tuple(context, builder, signature, arguments)
        value = builder.load(at)
        apart = []
        for axis in range(3):
            i = builder.extract_value(arguments[1], axis + 1)
            i = context.cast(builder, i, index[axis + 1], types.intp)
            apart.append(builder.sub(i, builder.load(kept.place(axis))))
        # All but one of these go, and the load before with them: the differences are constants.
        for row in range(kind.rows):
            for plane in range(-1, kind.planes + 1):
                are = [
                    builder.icmp_signed("==", a, _I64(b))
                    for a, b in zip(apart, (plane, row, 0), strict=True)
                ]
                is_it = builder.and_(are[0], builder.and_(are[1], are[2]))
                value = builder.select(is_it, builder.load(kept.cell(row, plane)), value)
        return value

    def planes_of(planes: int, rows: int) -> tuple[Any, Any, Any]:
        """Make the functions that show a level, enter a column of it, and go on along that."""

        @intrinsic
        def show(typing: Any, now: Any, y: Any, x: Any) -> Any:
            """Return the level with registers for the columns from y on at x."""
            kind = Shown(now.dtype, planes, rows)

            def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                kept = _Kept(context, builder, kind, arguments[0])
                own = cgutils.alloca_once(builder, kept.layout)
                kept.view.parent = builder.bitcast(own, kept.view.parent.type)
                for axis, number in enumerate(arguments[1:], start=1):
                    builder.store(number, kept.place(axis))
                return kept.view._getvalue()

            return kind(now, types.int64, types.int64), codegen

        @intrinsic
        def enter(typing: Any, shown: Any, z: Any) -> Any:
            """Load what `ahead` takes for the planes before z, and at it."""

            def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                kept = _Kept(context, builder, shown, arguments[0])
                kept.load(arguments[1], range(-1, 1), planes)
                return context.get_dummy_value()

            return types.void(shown, types.int64), codegen

        @intrinsic
        def ahead(typing: Any, shown: Any, z: Any) -> Any:
            """Go on to z, and load the planes behind it."""

            def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                kept = _Kept(context, builder, shown, arguments[0])
                builder.store(arguments[1], kept.place(0))
                for row in range(rows):
                    for plane in (-1, 0):
                        value = builder.load(kept.cell(row, plane + planes))
                        builder.store(value, kept.cell(row, plane))
                kept.load(arguments[1], range(1, planes + 1), 0)
                return context.get_dummy_value()

            return types.void(shown, types.int64), codegen

        return show, enter, ahead
