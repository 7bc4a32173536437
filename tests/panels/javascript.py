"""A JavaScript engine, for scripts that need no page."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

__all__ = ["NODE"]


def _node():
    """Return a JavaScript engine: one that is installed, or the one that Playwright brings."""
    if found := shutil.which("node"):
        return found
    package = find_spec("playwright")
    brought = Path(package.origin).parent / "driver" / "node" if package else None
    return str(brought) if brought is not None and brought.exists() else None


NODE = _node()
