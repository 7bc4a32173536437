"""What most tests of the manager begin with."""

from __future__ import annotations

import pytest
from manager_rig import Rig


@pytest.fixture
def rig():
    return Rig()
