"""What an update function is: its code, all that it refers to, and the values of its constants.

`code_of` tells it in a form that is the same in every process and on every Python, so that a checkpoint
can record it; `differences` names what was edited between two of them.
"""

from __future__ import annotations

import dis
import enum
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, final

import numpy as np
import numpy.typing as npt
from numba import types

from ringnb.actors.reductions import Reduction
from ringnb.actors.source import attribute, code_objects, written

__all__ = ["code_of", "differences"]

_MOST = 32  # functions, and values, that are named one by one
_LONGEST = 60  # characters of a value that are shown
_SAID = 8  # differences in one message
# Told by their names: which version they are of is recorded beside the fingerprint.
_LIBRARIES = {"builtins", "cuda", "llvmlite", "numba", "numba_cuda", "numpy"}
_LIBRARIES |= sys.stdlib_module_names
_OPTIONS = ("boundscheck", "error_model", "fastmath", "parallel")
_MISSING = object()
_NONE: Mapping[str, Any] = {}


def code_of(
    *stages: Callable[..., None],
    arrays: Mapping[str, npt.NDArray[Any]] = _NONE,
    reductions: Mapping[str, Reduction] = _NONE,
) -> dict[str, Any]:
    """Describe an actor's stages as they are now, in JSON values; they may be compiled by Numba.

    ``fingerprint`` is the SHA-256 of everything but the name of the one stage; ``update``, the name of
    the first; ``functions``, name to digest; ``values``, name to text, among them ``stages``, their
    names in order, if there are several, and a digest of each array. Names are relative to the first
    stage's module. ``more`` counts functions and values beyond the first 32 of each.
    """
    walk = _Walk([_plain(stage) for stage in stages], arrays, reductions)
    functions, values = walk.functions, walk.values
    others = sorted((name, digest) for name, digest in functions.items() if name != walk.update)
    content = json.dumps([functions[walk.update], others, sorted(values.items())])
    code = {
        "fingerprint": hashlib.sha256(content.encode()).hexdigest(),
        "update": walk.update,
        "functions": dict(list(functions.items())[:_MOST]),
        "values": dict(list(values.items())[:_MOST]),
    }
    more = max(0, len(functions) - _MOST) + max(0, len(values) - _MOST)
    return {**code, "more": more} if more else code


@final
class _Walk:
    """Visits functions and all that they refer to, each once."""

    def __init__(
        self,
        stages: list[FunctionType],
        arrays: Mapping[str, Any],
        reductions: Mapping[str, Reduction],
    ) -> None:
        self.functions: dict[str, str] = {}  # name to digest, in the order of the visits
        self.values: dict[str, str] = {}
        self._names: dict[FunctionType, str] = {}
        self._home = stages[0].__module__
        names = [self._visit(stage) for stage in stages]
        self.update = names[0]
        if len(names) > 1:
            self._take("stages", ", ".join(names))
        for name, array in arrays.items():
            self._take(f"arrays[{name!r}]", array)
        for name, (operation, value) in reductions.items():
            self._take(f"reduce[{name!r}]", (operation, self._visit(_plain(value))))

    def _label(self, module: str | None, name: str) -> str:
        name = name.replace("<locals>.", "")
        return _clean(name if module in (None, self._home) else f"{module}.{name}")

    def _visit(self, function: FunctionType) -> str:
        """Take in a function, and return the name under which it is."""
        if function in self._names:
            return self._names[function]
        first = not self._names
        name = self._label(function.__module__, function.__qualname__)
        while name in self.functions:  # another function of the same name
            name += "'"
        self._names[function] = name
        self.functions[name] = ""  # until what it refers to, which may be itself, was visited
        own = "" if first else f"{name}."
        bound = [
            line for path in _references(function) for line in self._refer(function, own, path)
        ]
        for parameter, value in _defaults(function).items():
            self._take(own + parameter, value)
        text, python = written(function)
        digest = _digest(json.dumps([text, bound]))
        self.functions[name] = f"{python}:{digest}" if python else digest
        return name

    def _refer(self, function: FunctionType, own: str, path: tuple[str, ...]) -> Iterator[str]:
        """Take in what a dotted name in a function refers to; yield what it is bound to, if a name."""
        dotted, name, rest = ".".join(path), path[0], list(path[1:])
        value, is_global = _look_up(function, name)
        key = self._label(function.__globals__.get("__name__"), name) if is_global else own + name
        while rest and isinstance(value, ModuleType | type) and not _library_name(value):
            name = rest.pop(0)
            key = (
                self._label(value.__name__, name)
                if isinstance(value, ModuleType)
                else f"{self._label(value.__module__, value.__qualname__)}.{name}"
            )
            value = attribute(value, name, _MISSING)
        plain = _plain(value)
        if library := _library_name(plain):
            yield f"{dotted} = {'.'.join([library, *rest])}"
        elif isinstance(plain, FunctionType):
            yield f"{dotted} = {'itself' if plain is function else self._function(plain, value)}"
        elif isinstance(value, ModuleType):
            for text in sorted(_strings(function) & vars(value).keys()):  # getattr(module, "name")
                yield from self._refer(function, own, (*path, text))
        elif value is not _MISSING:
            self._take(key, value)
            for i, part in enumerate(value if isinstance(value, tuple | list) else ()):
                if isinstance(inner := _plain(part), FunctionType):
                    yield f"{dotted}[{i}] = {self._function(inner, part)}"

    def _function(self, plain: FunctionType, value: object) -> str:
        if (plain.__module__ or "").startswith("ringnb."):
            name = f"{plain.__module__}.{plain.__qualname__}"
            self.functions[name] = str(code_of(plain)["fingerprint"])[:16]
            return name
        name = self._visit(plain)
        options = getattr(value, "targetoptions", None) or {}
        changed = {k: v for k, v in options.items() if k in _OPTIONS and v not in (None, False)}
        if changed:
            self._take(f"options of {name}", changed)
        return name

    def _take(self, key: str, value: object) -> None:
        key, text = _clean(key), _shown(value)
        while self.values.get(key, text) != text:  # another value of the same name
            key += "'"
        self.values[key] = text


def _plain(value: Any) -> Any:
    """Return the function that a compiled, wrapped or bound one was made from; others as they are."""
    if isinstance(value, FunctionType | type | ModuleType):
        return value
    inner = (attribute(value, name) for name in ("__wrapped__", "__func__"))  # Numba sets the first
    return next((found for found in inner if isinstance(found, FunctionType)), value)


def _references(function: FunctionType) -> list[tuple[str, ...]]:
    """Return the dotted names that a function takes from around it, sorted."""
    found = set()
    for code in code_objects(function.__code__):
        path: list[str] = []
        for instruction in dis.get_instructions(code):
            name, what = instruction.opname, instruction.argval
            if name in ("EXTENDED_ARG", "PUSH_NULL"):
                continue
            if path and name in ("LOAD_ATTR", "LOAD_METHOD"):
                path.append(what)
                continue
            if path:
                found.add(tuple(path))
            outer = name == "LOAD_DEREF" and what in function.__code__.co_freevars
            path = [what] if name in ("LOAD_GLOBAL", "LOAD_NAME") or outer else []
    return sorted(found)


def _look_up(function: FunctionType, name: str) -> tuple[Any, bool]:
    """Return what a name is to a function, and whether that is a global."""
    if name in function.__code__.co_freevars:
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        try:
            return cells[name].cell_contents, False
        except ValueError:  # it has no value yet
            return _MISSING, False
    return function.__globals__.get(name, _MISSING), True  # what is built in, the source tells


def _strings(function: FunctionType) -> set[str]:
    constants = (c for code in code_objects(function.__code__) for c in code.co_consts)
    return {c for c in constants if isinstance(c, str)}


def _defaults(function: FunctionType) -> dict[str, object]:
    code, defaults = function.__code__, function.__defaults__ or ()
    last = code.co_varnames[: code.co_argcount][code.co_argcount - len(defaults) :]
    return {**dict(zip(last, defaults, strict=True)), **(function.__kwdefaults__ or {})}


def _library_name(value: object) -> str:
    """Return the qualified name of what is a library's, or built in; "" for all else."""
    if isinstance(value, ModuleType):
        module, name = value.__name__, ""
    elif isinstance(value, np.ufunc):
        module, name = "numpy", value.__name__
    elif isinstance(value, BuiltinFunctionType):
        module, name = value.__module__ or "builtins", value.__qualname__
    elif isinstance(value, FunctionType | type):
        module, name = value.__module__ or "", value.__qualname__
    else:
        return ""
    if module.partition(".")[0] not in _LIBRARIES:
        return ""
    return f"{module}.{name}" if name else module


def _digest(content: str | bytes) -> str:
    raw = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    return hashlib.sha256(raw).hexdigest()[:16]


def _shown(value: object) -> str:
    try:
        text = _text(value)
    except Exception:  # noqa: BLE001 - an object of the user's may raise anything
        text = type(value).__name__
    return _clean(text)


def _clean(text: str) -> str:
    """Return a text that can be recorded: printable, and short."""
    if not text.isprintable():
        text = repr(text)[1:-1]
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]}... {_digest(text)}"


def _text(value: Any) -> str:
    """Return a value as text that is the same in every process."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return f"{kind.__qualname__}.{value.name} = {_text(value.value)}"
    if isinstance(value, np.generic):
        return f"{value.dtype.name}({value!s})"
    if isinstance(value, np.ndarray):
        return _text_of_array(value)
    if isinstance(value, Mapping):
        items = sorted(f"{_text(k)}: {_text(v)}" for k, v in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    if isinstance(value, type):
        members = getattr(value, "_fields", ())
        return f"class {value.__qualname__}({', '.join(members)})"
    if isinstance(value, np.dtype):
        return str(value)
    if is_dataclass(value):
        named = {f.name: getattr(value, f.name) for f in fields(value)}
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):
        named = value._asdict()
    elif isinstance(value, tuple | list):
        inner = ", ".join(map(_text, value))
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    elif value is None or kind in (bool, int, float, complex, str, bytes, range, slice):
        return repr(value)
    elif isinstance(value, types.Type):
        return str(value)
    elif isinstance(function := _plain(value), FunctionType):
        return f"function {function.__qualname__}"
    else:
        return f"a {kind.__module__}.{kind.__qualname__}"  # what it holds cannot be said
    return f"{kind.__qualname__}({', '.join(f'{k}={_text(v)}' for k, v in named.items())})"


def _text_of_array(array: Any) -> str:
    sizes = "x".join(map(str, array.shape)) or "()"
    head = f"{array.dtype.name if array.dtype.names is None else array.dtype.descr}[{sizes}]"
    if array.dtype.hasobject:
        return head
    if array.size <= 4 and array.dtype.kind in "biufc":
        return f"{head} {array.tolist()}"
    return f"{head} {_digest(np.ascontiguousarray(array).tobytes())}"


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name what differs between the code of a checkpoint and the code now, both as of `code_of`.

    Such as "`c` was 0.5, is 0.7" and "function `laplace` differs"; empty if nothing is known.
    """
    fingerprints = then.get("fingerprint"), now.get("fingerprint")
    if None in fingerprints or fingerprints[0] == fingerprints[1]:
        return []
    old, new = _named(then, "values"), _named(now, "values")
    said = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            said.append(f"`{name}` ({old[name]}) is no longer used")
        elif name not in old:
            said.append(f"`{name}` ({new[name]}) is new")
        elif old[name] != new[name]:
            said.append(f"`{name}` was {old[name]}, is {new[name]}")
    of_functions, unknown = _of_functions(then, now)
    said += of_functions
    if not said and not unknown:
        said = ["something differs that is not named one by one"]
    return [*said[:_SAID], f"{len(said) - _SAID} more"] if len(said) > _SAID else said


def _of_functions(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Name the functions that differ, and say whether some cannot be compared."""
    # An update is the same function under whatever name; the order of several is told by their names.
    old, new = (
        {
            "" if name == code.get("update") and "stages" not in _named(code, "values") else name: d
            for name, d in functions.items()
        }
        for code in (then, now)
        for functions in (_named(code, "functions"),)
    )
    said, unknown = [], False
    gone = {digest: name for name, digest in old.items() if name not in new}
    for name, digest in sorted(new.items()):
        label = f"function `{name or now.get('update')}`"
        if name in old:
            pythons = {d.partition(":")[0] for d in (digest, old[name]) if ":" in d}
            comparable = not pythons or (len(pythons) == 1 and ":" in digest and ":" in old[name])
            unknown |= not comparable
            if comparable and digest != old[name]:
                said.append(f"{label} differs")
        elif digest in gone:
            said.append(f"{label} was named `{gone.pop(digest)}`")
        else:
            said.append(f"{label} is new")
    said += [f"function `{name}` is no longer used" for name in sorted(gone.values())]
    return said, unknown


def _named(code: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    found = code.get(part)
    return found if isinstance(found, Mapping) else {}
