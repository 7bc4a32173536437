"""Tests on a device: ``python -m pytest -m gpu``, nothing else to set.

Asked for like that they are skipped, with the reason, where they cannot run; with `RINGNB_REQUIRE_GPU=1`
that is an error. Any other run leaves them out: its process has the simulator in the GPU's place. They
have not been run on a device yet; ``python tests/standin/card.py python -m pytest -m gpu`` runs them on
a card in software, where the long ones run out of time.
"""

from __future__ import annotations

import os
from pathlib import Path

import numba
import pytest

from ringnb.kernel.cuda.availability import why_unavailable

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config, items):
    here = [item for item in items if HERE in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.gpu)
    # A kernel that dies takes CUDA from its process: what may end so comes last.
    items.sort(key=lambda item: item.path == HERE / "test_gpu_ending.py")
    if here and numba.config.ENABLE_CUDASIM:
        items[:] = [item for item in items if item not in here]
        config.hook.pytest_deselected(items=here)


@pytest.fixture(scope="session")
def no_gpu():
    """Return why there is no GPU for these tests, or None."""
    return why_unavailable()


@pytest.fixture
def device():
    """Return the backend; the simulator takes its place where the tests themselves are tried."""
    return "cuda"


@pytest.fixture(autouse=True)
def needs_gpu(no_gpu):
    if no_gpu is None:
        return
    if os.environ.get("RINGNB_REQUIRE_GPU", "") not in ("", "0"):
        pytest.fail(f"RINGNB_REQUIRE_GPU is set: {no_gpu}")
    pytest.skip(no_gpu)
