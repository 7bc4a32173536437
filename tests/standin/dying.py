"""Run by test_standin.py: a kernel that the device's memory protection ends, and what comes after it."""

from __future__ import annotations

import ringnb as rn
from ringnb.testing import MemoryStorage


def far_away(now, before, params, step, x):
    before[0, x] = now[0, x + 3_000_000_000 * (step // 2)]  # at the first steps it stays within


def session(actor):
    return rn.Session(actor, backend="cuda", storage=MemoryStorage())


def told(work):
    try:
        work()
    except Exception as error:
        print(type(error).__name__, error)


def main():
    with session(rn.actors.CellActor(far_away, (64,))) as s:
        told(lambda: s.run_steps(0, 3))
    told(lambda: session(rn.actors.Wave2D((8, 8))))


if __name__ == "__main__":
    told(lambda: session(rn.actors.Wave2D((17_000, 17_000))))
    main()
