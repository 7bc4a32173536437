"""The process of lesson 5: it commits checkpoints, says so, and is killed by whoever started it.

``python -m ringnb.course.processes.writer STORE COMMITS SIDE``. Each line of its output is a word and
a name: ``committed`` after a commit, ``writing`` before the last one, which it never gets to report.
"""

from __future__ import annotations

import sys

from ringnb.actors import Heat2D
from ringnb.checkpoint import CheckpointConfig
from ringnb.session.session import Session

__all__ = ["write"]


def write(store: str, commits: int, side: int) -> None:
    """Commit a few checkpoints and begin one more.

    Parameters
    ----------
    store : str
        The store; what is there is continued.
    commits : int
        How many to report.
    side : int
        Cells along an edge of a heated plate.
    """
    config = CheckpointConfig(storage_path=store, enabled=False, max_snapshots=0)
    with Session(Heat2D((side, side)), config=config) as session:
        if session.manager.list_checkpoints(0):
            session.restore(0, "latest")
        for _ in range(commits):
            session.run_steps(0, 10)
            _say("committed", session.snapshot(0).name)
        step = session.run_steps(0, 10)
        _say("writing", f"{config.name_prefix}_0_step_{step}")
        session.snapshot(0)


def _say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
