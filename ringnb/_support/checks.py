"""Checks of what a user hands over: each returns the value in its plain form, or raises.

NumPy's numbers count as numbers, `bool` does not. A value of another kind is a TypeError, one beyond
its limits a ValueError. `what` is the name of the argument; messages say the fact, the value and the
remedy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias, TypeGuard

import numpy as np

__all__ = [
    "MAX_STEP",
    "JsonScalar",
    "check_bool",
    "check_id",
    "check_int",
    "check_json",
    "check_label",
    "check_name",
    "check_number",
    "check_params",
    "check_seconds",
    "check_slot",
    "check_step",
    "check_str",
    "check_text",
    "check_unicode",
    "is_integer",
    "is_number",
    "refuse_pickle",
]

JsonScalar: TypeAlias = str | int | float | bool | None

MAX_STEP = 2**63 - 1
_MAX_TEXT = 200
_NAME = re.compile(r"(?!\.|__)[A-Za-z0-9._-]{1,100}")
_ID = re.compile(r"[0-9a-f]{16}")


def is_integer(value: object) -> TypeGuard[int | np.integer[Any]]:
    """Return whether a value is an integer, Python's or NumPy's, and not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float | np.integer[Any] | np.floating[Any]]:
    """Return whether a value is a real number, Python's or NumPy's, and not a bool."""
    return isinstance(value, float | np.floating) or is_integer(value)


def check_bool(value: object, what: str) -> bool:
    """Return True or False."""
    if not isinstance(value, bool | np.bool_):
        msg = f"{what} must be True or False, got {value!r} ({type(value).__name__})"
        raise TypeError(msg)
    return bool(value)


def check_id(value: object, what: str) -> str:
    """Return an id of 16 hexadecimal digits."""
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        msg = f"{what} must be 16 hexadecimal digits, got {value!r}"
        raise ValueError(msg)
    return value


def check_int(value: object, what: str, low: int, high: int | None = None, *, why: str = "") -> int:
    """Return an integer from `low` to `high`, both allowed; `why` says what the limits mean."""
    if type(value) is not int and not is_integer(value):
        msg = f"{what} must be an integer, got {value!r} ({type(value).__name__})"
        raise TypeError(msg)
    if value < low or (high is not None and value > high):
        limits = f"must be at least {low}" if high is None else f"must lie in {low}..{high}"
        msg = f"{what} {limits}{f' ({why})' if why else ''}, got {value}"
        raise ValueError(msg)
    return int(value)


def check_slot(value: object, what: str = "actor_slot") -> int:
    """Return an actor slot: an integer 0..2**31-1.

    Parameters
    ----------
    value : object
        The candidate.
    what : str
        Its name, for the message.
    """
    return check_int(value, what, 0, 2**31 - 1)


def check_step(value: object, what: str = "step") -> int:
    """Return a step: an integer 0..2**63-1.

    Parameters
    ----------
    value : object
        The candidate.
    what : str
        Its name, for the message.
    """
    return check_int(value, what, 0, MAX_STEP)


def check_number(value: object, what: str) -> float:
    """Return a finite number."""
    if not is_number(value):
        msg = f"{what} must be a number, got {value!r} ({type(value).__name__})"
        raise TypeError(msg)
    if not math.isfinite(value):
        msg = f"{what} must be finite, got {value!r}"
        raise ValueError(msg)
    return float(value)


def check_seconds(value: object, what: str, *, zero: bool = False) -> float:
    """Return a duration in seconds: more than 0, or also 0 if `zero`."""
    seconds = check_number(value, what)
    if seconds < 0 or (seconds == 0 and not zero):
        msg = f"{what} must be {'at least' if zero else 'more than'} 0 seconds, got {value!r}"
        raise ValueError(msg)
    return seconds


def check_str(value: object, what: str) -> str:
    """Return a str."""
    if not isinstance(value, str):
        msg = f"{what} must be a str, got {value!r} ({type(value).__name__})"
        raise TypeError(msg)
    return value


def check_label(value: object) -> str:
    """Return the label of a pin: 1 to 200 printable characters, not only blanks."""
    label = check_str(value, "label")
    if not 1 <= len(label.strip()) <= _MAX_TEXT or not label.isprintable():
        msg = f"label must have 1 to {_MAX_TEXT} printable characters, got {label!r:.300}"
        raise ValueError(msg)
    return label


def check_name(value: object, what: str) -> str:
    """Return a field name or a name prefix, unchanged.

    Parameters
    ----------
    value : object
        The candidate.
    what : str
        Its name, for the message.
    """
    name = check_str(value, what)
    if not _NAME.fullmatch(name):
        msg = (
            f"{what} {name!r} is not allowed: use 1 to 100 ASCII letters, digits, '.', '_' or '-', "
            "not starting with '.' or '__'"
        )
        raise ValueError(msg)
    return name


def check_text(value: object, what: str) -> str:
    """Return an identity: a printable str of 1 to 200 characters; else TypeError or ValueError."""
    text = check_str(value, what)
    if not 0 < len(text) <= _MAX_TEXT or not text.isprintable():
        msg = f"{what} must be 1 to {_MAX_TEXT} printable characters, got {text!r}"
        raise ValueError(msg)
    return text


def check_unicode(value: object, what: str) -> str:
    """Return a str that UTF-8 can hold (no lone surrogates); else TypeError or ValueError."""
    text = str(check_str(value, what))
    try:
        text.encode()
    except UnicodeEncodeError:
        msg = f"{what} must be text that UTF-8 can hold, got {value!r}"
        raise ValueError(msg) from None
    return text


def check_params(params: object) -> dict[str, JsonScalar]:
    """Return a copy of an actor's parameters as plain Python values; None counts as empty.

    Allowed are JSON scalars: str, int of 64 bits, finite float, bool or None; NumPy's are converted.
    """
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        msg = f"params must be a mapping of name to scalar, got {type(params).__name__}"
        raise TypeError(msg)
    checked: dict[str, JsonScalar] = {}
    for name, value in params.items():
        checked[check_text(name, "a name in params")] = _json_scalar(value, f"params[{name!r}]")
    return checked


def check_json(value: object, what: str) -> dict[str, Any]:
    """Return a copy of a mapping of JSON values as plain Python values; None counts as empty.

    Mappings and lists may be nested, to 32 levels; scalars as in `check_params`.
    """
    if isinstance(value, _Checked):
        return value  # as with the code of an actor, which goes into each of its checkpoints
    if value is None:
        return _Checked()
    if not isinstance(value, Mapping):
        msg = f"{what} must be a mapping of name to JSON value, got {type(value).__name__}"
        raise TypeError(msg)
    return _Checked(_json_value(value, what, 32))


class _Checked(dict[str, Any]):
    """What `check_json` has returned; nobody changes it."""


def _json_value(value: object, what: str, levels: int) -> Any:
    if isinstance(value, Mapping | list | tuple | np.ndarray) and levels == 0:
        msg = f"{what} is nested too deep: use at most 32 levels"
        raise ValueError(msg)
    if isinstance(value, Mapping):
        return {
            check_text(name, f"a name in {what}"): _json_value(v, f"{what}[{name!r}]", levels - 1)
            for name, v in value.items()
        }
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_json_value(v, f"{what}[{i}]", levels - 1) for i, v in enumerate(value)]
    return _json_scalar(value, what)


def _json_scalar(value: object, what: str) -> JsonScalar:
    scalar = value.item() if isinstance(value, np.generic) else value
    if isinstance(scalar, str):
        scalar = check_unicode(scalar, what)
    elif isinstance(scalar, int) and not isinstance(scalar, bool):
        if not -(2**63) <= scalar < 2**64:
            msg = f"{what} must be an integer of 64 bits, so that every JSON reader can hold it"
            raise ValueError(msg)
        scalar = int(scalar)
    elif isinstance(scalar, float):
        if not math.isfinite(scalar):
            msg = f"{what} must be finite (JSON has no inf or nan), got {scalar!r}"
            raise ValueError(msg)
        scalar = float(scalar)
    elif scalar is not None and not isinstance(scalar, bool):
        msg = (
            f"{what} must be a str, int, float, bool or None, "
            f"got {scalar!r} ({type(scalar).__name__})"
        )
        raise TypeError(msg)
    return scalar


def refuse_pickle(what: str, instead: str) -> NoReturn:
    """Say that something lives in this process only; TypeError."""
    msg = f"{what} cannot be pickled or copied, it is threads and locks of this process: {instead}"
    raise TypeError(msg)
