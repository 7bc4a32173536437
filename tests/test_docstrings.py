"""What is public says every parameter; what is internal may say it in one line."""

from __future__ import annotations

import importlib
import inspect

import pytest

from ringnb.cli.docs import PUBLIC_MODULES

docscrape = pytest.importorskip("numpydoc.docscrape")


def _callables():
    """Yield every public function, class and method of the public modules, once, with its name."""
    seen = set()
    for module_name in PUBLIC_MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.ismodule(found) or not callable(found) or id(found) in seen:
                continue
            if not getattr(found, "__module__", "").startswith("ringnb"):
                continue  # a type alias
            seen.add(id(found))
            yield f"{module_name}.{name}", found
            if not inspect.isclass(found):
                continue
            for method, function in vars(found).items():
                plain = getattr(function, "__func__", function)
                if method.startswith(("_", "test_")) or not inspect.isfunction(plain):
                    continue
                if method in ("update", "inject"):
                    continue  # the same for every model: see `CellActor`
                if not any(hasattr(base, method) for base in found.__mro__[1:]):
                    yield (
                        f"{module_name}.{name}.{method}",
                        plain,
                    )  # else told where it is overridden


def _documented(found):
    """Return the names in the Parameters sections, and for a class those of its Attributes."""
    doc = docscrape.NumpyDocString(inspect.getdoc(found) or "")
    sections = [
        "Parameters",
        "Other Parameters",
        *(["Attributes"] if inspect.isclass(found) else []),
    ]
    return {
        name.strip().lstrip("*")
        for section in sections
        for entry in doc[section]
        for name in entry.name.split(",")
    }


def _parameters(found):
    if inspect.isclass(found) and "__init__" not in vars(found):
        return set()  # inherited, and told there, or of a named tuple
    given = inspect.signature(found.__init__ if inspect.isclass(found) else found).parameters
    return {name for name in given if name not in ("self", "cls") and not name.startswith("_")}


def test_every_parameter_of_what_is_public_is_described():
    found = dict(_callables())
    assert len(found) > 200
    assert [name for name, each in found.items() if not inspect.getdoc(each)] == []
    missing = {name: _parameters(each) - _documented(each) for name, each in found.items()}
    assert {name: names for name, names in missing.items() if names} == {}
