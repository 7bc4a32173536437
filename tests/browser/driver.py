"""The browser: Playwright, where it is installed, driving the distribution's Chromium.

Playwright's own browsers come from a server of its makers that a closed network does not reach.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import ipykernel
import pytest

PATIENCE_MS = 45_000  # for what has no limit of its own: other tests may share a slow machine

try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:  # the tests are skipped, see `missing`
    expect = sync_playwright = None
else:
    expect.set_options(timeout=PATIENCE_MS)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["PATIENCE_MS", "chromium", "expect", "missing", "needs_subshells"]

_OLD = tuple(int(part) for part in ipykernel.__version__.split(".")[:2]) < (7, 1)
needs_subshells = pytest.mark.skipif(
    _OLD, reason="ipykernel before 7.1 serves nothing beside a running cell"
)

_QUIET = [
    "--no-sandbox",  # a container's root has no other way
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
]


def _executable() -> str | None:
    if named := os.environ.get("RINGNB_CHROMIUM"):
        return shutil.which(named)
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    return None


def missing() -> str:
    """Return what these tests need and this machine lacks, as a sentence; empty if nothing."""
    lacking = [
        package
        for package in (
            "axe_playwright_python",
            "playwright",
            "jupyterlab",
            "voila",
            "ipywidgets",
            "anywidget",
        )
        if importlib.util.find_spec(package) is None
    ]
    if lacking:
        return f"{', '.join(lacking)} not installed: pip install -e '.[test,browser]'"
    if _executable() is None:
        return "Chromium is not installed: apt-get install chromium, or set RINGNB_CHROMIUM"
    return ""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser, and close it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_executable(), args=_QUIET)
        try:
            yield browser
        finally:
            browser.close()
