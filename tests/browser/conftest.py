"""Servers and a browser that all these tests share; where one is missing, the tests are skipped."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .driver import PATIENCE_MS, chromium, missing
from .lab import Notebook
from .servers import jupyterlab, voila

HERE = Path(__file__).parent
VIEWPORT = {"width": 1280, "height": 900}


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
    with browser.new_context(viewport=VIEWPORT) as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context


@pytest.fixture
def page(_context):
    with _context.new_page() as page:
        yield page


@pytest.fixture(scope="package")
def lend(request, _context, lab_server):
    """Lend notebooks, yet to be opened; page and kernel go to the next test unless they are spoilt."""
    loaded = []  # the page with JupyterLab that a test has left for the next one, if there is one

    def take_back(notebook, failed):
        kept = False
        try:
            kept = request.session.testsfailed == failed and notebook.leave()
        finally:
            if kept and not loaded:
                loaded.append(notebook.page)
            else:
                notebook.page.close()

    @contextmanager
    def lend(count=1):
        failed = request.session.testsfailed
        with ExitStack() as ending:  # each is done, also where one before it fails
            ending.callback(lab_server.reset_settings)
            ending.callback(lab_server.end_sessions)
            lent = []
            for _ in range(count):
                page = loaded.pop() if loaded else _context.new_page()
                page.set_viewport_size(VIEWPORT)
                lent.append(Notebook(page, lab_server))
                ending.callback(take_back, lent[-1], failed)
            yield lent

    return lend


@pytest.fixture
def notebook(lend):
    with lend() as (notebook,):
        yield notebook
