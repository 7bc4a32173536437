"""``python -m ringnb.cluster.division_trial``: workers of a divided actor that are killed while it runs.

Some have a part, one has the session as well. After each kill the run must go on by itself, and at the
end its state must be that of a plain session that nobody has disturbed, bit for bit.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import signal
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ringnb import actors
from ringnb._support.text import say
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cluster import decompose, start, stop
from ringnb.cluster.connection import connected
from ringnb.cluster.hosted_run import parts_of
from ringnb.cluster.trial_waiting import wait_until
from ringnb.errors import ClusterUnavailable, ClusterWarning
from ringnb.session.session import Session

__all__ = ["disturb", "main", "run"]

_MOST_S = 0.5  # from the moment at which it runs to the next kill


def run(
    kills: int, seed: int, folder: Path, parts: int = 2, limit_s: float = math.inf
) -> dict[str, float]:
    """Start a host and `disturb` a run of it."""
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    address = start(parts)
    try:
        return disturb(address, kills, seed, folder, parts, limit_s)
    finally:
        stop(address)


def disturb(
    address: str, kills: int, seed: int, folder: Path, parts: int = 2, limit_s: float = math.inf
) -> dict[str, float]:
    """Kill so many workers, of a part and of the session in turn, or as many as come in `limit_s`.

    AssertionError if it does not go on, if a checkpoint is not whole, if anything is left of one that
    was being written, or if the state at the end is another one.
    """
    random_ = random.Random(seed)  # noqa: S311 - repeatable, no secret
    config = CheckpointConfig(interval=0.2, max_snapshots=5, storage_path=folder / "s.zarr")
    model, seconds = actors.GrayScott((96, 64)), list[float]()
    with (
        decompose(
            *(model, f"divided-{seed}"),
            address=address,
            parts=parts,
            config=config,
            running=True,
            give_up=(kills + 1, 3600.0),
        ) as session,
        connected(address) as client,
    ):

        def step() -> int:
            """Return the step; -1 if nothing answers."""
            try:
                return session.statistics().actors[0].step
            except ClusterUnavailable:
                return -1

        def signs() -> object:
            """Return what changes while it goes on."""
            record = session.record()
            return record.state, record.losses, step() if record.state == "running" else -1

        def until(condition: Callable[[], bool]) -> None:
            """Wait for the run."""
            wait_until(condition, address, signs)

        first_at = time.monotonic()
        while (kill := len(seconds)) < kills and time.monotonic() - first_at < limit_s:
            time.sleep(random_.uniform(0.0, _MOST_S))
            workers, before = client.run(os.getpid), max(step(), 0)
            home = session.record().worker
            # Where a worker took long to begin again, others have its part, and it has none.
            (having,) = client.run(parts_of, session.name, workers=[home]).values()
            others = sorted({at for at in having if at != home})
            victim = str(home) if kill % 2 or not others else random_.choice(others)
            began = time.monotonic()
            os.kill(workers[victim], signal.SIGKILL)
            until(lambda: any(victim in loss for loss in session.record().losses))  # noqa: B023 - at once
            until(lambda: session.record().state == "running")
            until(lambda: step() > before)  # noqa: B023 - at once
            seconds.append(time.monotonic() - began)
            until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) >= parts)
        session.pause(0)
        last = session.state(0)
        losses = len(session.record().losses)
        session.end()
    storage = ZarrStorage(config.storage_path)
    for name in storage.list():
        storage.load(name).verify()
    left = [path for path in folder.glob("**/staging/*") if path.exists()]
    assert not left, f"something is left of what was being written: {left}"
    alone_in = CheckpointConfig(storage_path=folder / "other.zarr", enabled=False, on_close=False)
    with Session(model, config=alone_in, lanes=1, width=1) as alone:
        alone.run_steps(0, last.step)
        whole = alone.state(0)
        assert all(np.array_equal(whole[name], last[name]) for name in whole), "another state"
    median, most = statistics.median(seconds), max(seconds)
    return {
        "kills": len(seconds),
        "parts": parts,
        "losses": losses,
        "steps": last.step,
        "median_s": median,
        "most_s": most,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m ringnb.cluster.division_trial",
        description="Kill workers of a divided actor, and compare it with an undisturbed one.",
    )
    parser.add_argument("--kills", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--parts", type=int, default=2, help="and so many workers (default: 2)")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="or as many as come in that"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the times (default: 0)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterWarning)  # the losses are what it is about
        found = run(
            *(options.kills, options.seed, Path(folder), options.parts), 60.0 * options.minutes
        )
    say(
        f"{found['kills']} workers of {found['parts']} parts killed, in turn one with a part and that "
        f"with the session, while {found['steps']:,} steps were taken: {found['losses']} losses, all "
        "told; every checkpoint whole, nothing left in staging, and the state that of an undisturbed "
        "session; it was beyond the step of the kill again after "
        f"{found['median_s']:.1f} s (median), {found['most_s']:.1f} s at most"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
