"""`ringnb bench --peers`: ringnb side by side with other libraries, in one run and in turn.

Start with `cases`: which there are; `stepping` and `storage` hold them. A peer lives in a process of
its own, run by the Python of an environment of its own (`environment`), so that ringnb itself imports
none: ``peer`` is this side of such a process, ``child`` the other. A peer that is not there, or
fails, is a row that says so.
"""

from __future__ import annotations

from ringnb.cli.bench.peers.cases import CASES
from ringnb.cli.bench.peers.environment import Environment, open_environment

__all__ = ["CASES", "Environment", "open_environment"]
