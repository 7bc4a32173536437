"""What goes between a notebook and a worker, as bytes: functions and classes of cells as well."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle

__all__ = ["packed"]


def packed(thing: Any) -> bytes:
    """Pickle something, for `cloudpickle.loads` in a process that has ringnb.

    Numbers and what the package defines need no look into functions and classes, which takes some ten
    times as long. What a cell or a script has defined is of ``__main__``, which is another module there.
    """
    if not cloudpickle.list_registry_pickle_by_value():
        try:
            data = pickle.dumps(thing, pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001 - of a function in a function, say
            data = b"__main__"
        if b"__main__" not in data:
            return data
    whole: bytes = cloudpickle.dumps(thing)
    return whole
