"""An update and all that it calls as plain Python functions, for the interpreter to run."""

from __future__ import annotations

import contextlib
from types import CellType, FunctionType, ModuleType
from typing import Any

from ringnb.actors.source import code_objects, plain_function

__all__ = ["uncompiled"]

_OF_NUMBERS = ("numpy", "math", "cmath", "numba")


def uncompiled(function: FunctionType) -> FunctionType:
    """Return a copy that calls the plain functions of what was compiled, and prints nothing."""
    return _Copies().of(function)


class _Copies:
    """The copies of functions, and of the namespaces that they see."""

    def __init__(self) -> None:
        self._scopes: dict[int, dict[str, Any]] = {}
        self._functions: dict[FunctionType, FunctionType] = {}

    def of(self, function: FunctionType) -> FunctionType:
        """Return the copy of a function."""
        if function in self._functions:
            return self._functions[function]
        own = function.__globals__
        scope = self._scopes.setdefault(id(own), {"print": _nothing, **own})
        cells = tuple(CellType() for _ in function.__closure__ or ())
        copy = FunctionType(
            function.__code__, scope, function.__name__, function.__defaults__, cells
        )
        copy.__kwdefaults__ = function.__kwdefaults__
        self._functions[function] = copy  # before what it refers to: that may be itself
        for code in code_objects(function.__code__):
            for name in code.co_names:
                if name in own:
                    scope[name] = self.value(own[name])
        for cell, original in zip(cells, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # no value yet
                cell.cell_contents = self.value(original.cell_contents)
        return copy

    def value(self, value: object) -> object:
        """Return what takes the place of a value that a function refers to."""
        if (plain := plain_function(value)) is not None:
            return self.of(plain)
        if isinstance(value, ModuleType) and value.__name__.split(".")[0] not in _OF_NUMBERS:
            return _Module(value, self)
        return value


class _Module:
    """A module whose compiled functions are plain ones."""

    def __init__(self, module: ModuleType, copies: _Copies) -> None:
        self._module = module
        self._copies = copies

    def __getattr__(self, name: str) -> object:
        return self._copies.value(getattr(self._module, name))


def _nothing(*_: object, **__: object) -> None:
    """Print nothing."""
