"""Servers and a browser that all these tests share; where one is missing, the tests are skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .driver import PATIENCE_MS, chromium, missing
from .lab import Notebook
from .servers import jupyterlab, voila

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package", autouse=True)
def _needed():
    """Skip where something is missing; where it must not be missing, fail."""
    if reason := missing():
        if os.environ.get("RINGNB_REQUIRE_BROWSER"):
            pytest.fail(f"RINGNB_REQUIRE_BROWSER is set, but {reason}", pytrace=False)
        pytest.skip(reason)


# Of the package, not of the session: Playwright's event loop must have ended before other tests run.
@pytest.fixture(scope="package")
def browser(_needed):
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def lab_server(_needed, tmp_path_factory):
    with jupyterlab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="package")
def voila_server(_needed, tmp_path_factory):
    with voila(tmp_path_factory.mktemp("voila")) as server:
        yield server


@pytest.fixture(scope="package")
def _context(browser):
    """One for all pages, so that JupyterLab's scripts are loaded once."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context


@pytest.fixture
def page(_context):
    with _context.new_page() as page:
        yield page


@pytest.fixture
def notebook(page, lab_server):
    """A notebook, yet to be opened; its kernel ends with the test."""
    yield Notebook(page, lab_server)
    lab_server.end_sessions()
    lab_server.reset_settings()
