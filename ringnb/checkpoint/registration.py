"""What a caller says about an actor when it registers one, checked and frozen.

The manager calls `RegisteredActor.make`. This module knows no storage and no schedule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, final

from ringnb._support.checks import (
    JsonScalar,
    check_json,
    check_name,
    check_params,
    check_slot,
    check_text,
    check_unicode,
)
from ringnb.checkpoint.naming import expand_prefix

__all__ = ["RegisteredActor"]

_FIELD_KEYS = ("units", "long_name", "dims")


def _field_attrs(fields: object) -> dict[str, Mapping[str, Any]]:
    if fields is None:
        return {}
    if not isinstance(fields, Mapping):
        msg = f"fields must be a mapping of field name to attributes, got {type(fields).__name__}"
        raise TypeError(msg)
    checked: dict[str, Mapping[str, Any]] = {}
    for name, attrs in fields.items():
        check_name(name, "field name")
        if not isinstance(attrs, Mapping):
            msg = f"fields[{name!r}] must be a mapping, got {attrs!r} ({type(attrs).__name__})"
            raise TypeError(msg)
        copied: dict[str, Any] = {}
        for key, value in attrs.items():
            what = f"fields[{name!r}][{key!r}]"
            if key not in _FIELD_KEYS:
                msg = f"{what} is not known: use any of {', '.join(_FIELD_KEYS)}"
                raise ValueError(msg)
            copied[key] = _dims(value, what) if key == "dims" else check_unicode(value, what)
        checked[name] = MappingProxyType(copied)
    return checked


def _dims(value: object, what: str) -> tuple[str, ...]:
    # A str is a sequence of str too, and "yx" for ("y", "x") would pass unnoticed.
    if isinstance(value, str) or not isinstance(value, Sequence):
        msg = f"{what} must be a tuple of dimension names, got {value!r} ({type(value).__name__})"
        raise TypeError(msg)
    dims = tuple(check_text(dim, f"a name in {what}") for dim in value)
    if len(set(dims)) != len(dims):
        msg = f"{what} names a dimension twice: {dims!r}; every axis needs its own name"
        raise ValueError(msg)
    return dims


@final
@dataclass(frozen=True, slots=True)
class RegisteredActor:
    """An actor as the manager knows it. `make` checks everything; the mappings are read-only."""

    actor_slot: int
    kernel_id: str
    kernel_type: str
    params: Mapping[str, JsonScalar]
    backend: str | None  # which kernel runs it
    fields: Mapping[str, Mapping[str, Any]]  # ``units``, ``long_name``, ``dims``, all optional
    code: Mapping[str, Any]  # what it runs, JSON values by name
    name_prefix: str  # of its checkpoints
    arrays: Mapping[str, Any]  # that it only reads; `code` has their digests

    @classmethod
    def make(
        cls,
        actor_slot: object,
        kernel_id: object,
        kernel_type: object,
        *,
        params: object = None,
        backend: object = None,
        fields: object = None,
        code: object = None,
        arrays: Mapping[str, Any] | None = None,
        name_prefix: str = "checkpoint",
    ) -> RegisteredActor:
        """Check everything, and copy what could change later; raises TypeError or ValueError.

        `name_prefix` is the configured one, with ``{kernel_id}`` or without.
        """
        kernel_id = check_text(kernel_id, "kernel_id")
        return cls(
            actor_slot=check_slot(actor_slot),
            kernel_id=kernel_id,
            kernel_type=check_text(kernel_type, "kernel_type"),
            params=MappingProxyType(check_params(params)),
            backend=None if backend is None else check_text(backend, "backend"),
            fields=MappingProxyType(_field_attrs(fields)),
            code=check_json(code, "code"),
            name_prefix=expand_prefix(name_prefix, kernel_id),
            arrays=MappingProxyType(dict(arrays or {})),
        )

    def like_this(
        self, actor_slot: object, kernel_id: object, params: object, name_prefix: str
    ) -> RegisteredActor:
        """Return another actor of the same kind, which was checked already; raises as `make`."""
        kernel_id = check_text(kernel_id, "kernel_id")
        return replace(
            self,
            actor_slot=check_slot(actor_slot),
            kernel_id=kernel_id,
            params=MappingProxyType(check_params(params)),
            name_prefix=expand_prefix(name_prefix, kernel_id),
        )
