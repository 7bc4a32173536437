"""The process of lesson 5 that is killed between two stages of a commit.

``python -m ringnb.course.processes.cranked STORE POSITION``: it commits one checkpoint, turns the crank
for a second one as far as POSITION, prints ``stopped`` and the position, and waits until it is killed.
"""

from __future__ import annotations

import sys
import time

from ringnb._support.text import say
from ringnb.actors import Heat2D
from ringnb.checkpoint import CheckpointConfig
from ringnb.session.crank import Crank
from ringnb.session.session import Session

__all__ = ["turn_to"]


def turn_to(store: str, position: str) -> Session:
    """Bring a second commit to a position of the crank, and leave it there."""
    config = CheckpointConfig(storage_path=store, enabled=False, max_snapshots=0)
    session = Session(Heat2D((64, 64)), config=config, service=False)
    session.run_steps(0, 10)
    session.snapshot(0)
    session.run_steps(0, 10)
    crank = Crank(session)
    while crank.position != position:
        crank.turn()
    return session


if __name__ == "__main__":
    left = turn_to(sys.argv[1], sys.argv[2])
    say(f"stopped {sys.argv[2]}")
    while True:
        time.sleep(60)
