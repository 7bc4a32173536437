"""The process of lesson 5: it commits checkpoints, reports each, and is killed during the last one.

``python -m ringnb.course.processes.writer STORE COMMITS SIDE``. Each line of its output is a word and
a name: ``committed`` after a commit, ``writing`` before the last one.
"""

from __future__ import annotations

import sys

from ringnb._support.text import say
from ringnb.actors import Heat2D
from ringnb.checkpoint import CheckpointConfig
from ringnb.session.session import Session

__all__ = ["write"]


def write(store: str, commits: int, side: int) -> None:
    """Continue the history in a store: commit some checkpoints of a square plate, begin one more."""
    config = CheckpointConfig(storage_path=store, enabled=False, max_snapshots=0)
    with Session(Heat2D((side, side)), config=config) as session:
        if session.manager.list_checkpoints(0):
            session.restore(0, "latest")
        for _ in range(commits):
            session.run_steps(0, 10)
            say(f"committed {session.snapshot(0).name}")
        step = session.run_steps(0, 10)
        say(f"writing {config.name_prefix}_0_step_{step}")
        session.snapshot(0)


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
