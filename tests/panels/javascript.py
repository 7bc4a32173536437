"""A JavaScript engine, for scripts that need no page."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

__all__ = ["needs_node", "printed", "run_node"]


def _node():
    """Return a JavaScript engine: one that is installed, or the one that Playwright brings."""
    if found := shutil.which("node"):
        return found
    package = find_spec("playwright")
    brought = Path(package.origin).parent / "driver" / "node" if package else None
    return str(brought) if brought is not None and brought.exists() else None


_NODE = _node()
needs_node = pytest.mark.skipif(_NODE is None, reason="there is no node, and no Playwright either")


def run_node(*arguments, script=""):
    """Give it a script; return what that prints."""
    done = subprocess.run(
        [_NODE, *arguments], input=script, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def printed(script):
    """Return the value that a script prints as JSON."""
    return json.loads(run_node("-", script=script))
