"""``python -m ringnb.cluster.trial``: notebooks, workers or hosts that are killed.

The trial of notebooks is here, ``--of`` chooses another. A process attaches to a run, uses it, and is
ended with SIGKILL at a random time; the next one must find the same session, no step lost. At the end
its state must be that of a run that nobody has disturbed.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from ringnb import actors
from ringnb._support.text import say
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.cluster import attach, launch, start, stop
from ringnb.cluster.ensemble_trial import run_ensemble
from ringnb.session.session import Session

__all__ = ["main", "run"]

_RUN = "trial"
_PACE = 500.0
_MOST_S = 0.3  # from the attach to the kill
_PATIENCE_S = 120.0
# Notebooks are forked from a server that has no threads.
_context = multiprocessing.get_context("forkserver")


def run(kills: int, seed: int, folder: Path, limit_s: float = math.inf) -> dict[str, float]:
    """Kill so many notebooks, or as many as come in `limit_s`; return what was seen.

    AssertionError if another session was found, or the state at the end is another one.
    """
    random_ = random.Random(seed)  # noqa: S311 - repeatable, no secret
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    config = CheckpointConfig(interval=1.0, storage_path=folder / "s.zarr")
    model, address = actors.Life((64, 64)), start(1)
    lost, seconds = 0, list[float]()
    try:
        with launch(model, _RUN, address=address, config=config) as session:
            session.set_pace(_PACE)
            session.resume()
            before = session.current_step(0)
        first_at = time.monotonic()
        while len(seconds) < kills and time.monotonic() - first_at < limit_s:
            step, epoch, took_s = _notebook(address, random_.uniform(0.0, _MOST_S))
            assert epoch == 0, "the session was restored, or is another one"
            lost += max(0, before - step)
            before = step
            seconds.append(took_s)
        with attach(address, _RUN) as session:
            session.pause(0)
            last = session.state(0)
            assert session.record().losses == ()
            session.end(snapshot=False)
        with Session(model, config=CheckpointConfig(storage_path=folder / "other.zarr")) as alone:
            alone.run_steps(0, last.step)
            assert np.array_equal(alone.state(0)["alive"], last["alive"]), "another state"
    finally:
        stop(address)
    median, most = statistics.median(seconds), max(seconds)
    return {
        "kills": len(seconds),
        "steps": last.step,
        "lost": lost,
        "median_s": median,
        "most_s": most,
    }


def _notebook(address: str, delay_s: float) -> tuple[int, int, float]:
    """Have a process attach and use the run, kill it, and return what it has found."""
    ours, theirs = _context.Pipe(duplex=False)
    state = os.environ["XDG_STATE_HOME"]  # a server of forks that began earlier has another one
    process = _context.Process(target=_use, args=(theirs, address, state))
    process.start()
    theirs.close()
    try:
        assert ours.poll(_PATIENCE_S), "the notebook could not attach"
        found: tuple[int, int, float] | str = ours.recv()
        assert not isinstance(found, str), f"the notebook could not attach: {found}"
        time.sleep(delay_s)
    finally:
        process.kill()
        process.join()
        ours.close()
    return found


def _use(pipe: Connection, address: str, state: str) -> None:
    """Attach, say how long it took and what is there, then use it until killed."""
    os.environ["XDG_STATE_HOME"] = state
    try:
        began = time.monotonic()
        session = attach(address, _RUN, timeout=60.0)
        c = session.counters(0)
        pipe.send((c.step, c.epoch, time.monotonic() - began))
    except BaseException as error:
        pipe.send(f"{type(error).__name__}: {error}")
        raise
    while True:
        session.snapshot(0)
        session.manager.reconfigure(interval=1.0)
        session.statistics()


def _notebooks(
    kills: int, seed: int, folder: Path, _workers: int, limit_s: float
) -> tuple[str, bool]:
    found = run(kills, seed, folder, limit_s)
    said = (
        f"{found['kills']} notebooks killed while {found['steps']:,} steps were taken: {found['lost']} "
        f"steps lost; attaching took {found['median_s']:.2f} s (median), {found['most_s']:.2f} s at most"
    )
    return said, not found["lost"]


def _ensembles(
    kills: int, seed: int, folder: Path, workers: int, limit_s: float
) -> tuple[str, bool]:
    return str(run_ensemble(kills, seed, folder, workers, limit_s)), True


# What each says, and whether all is well; what is wrong otherwise is an AssertionError.
_TRIALS: dict[str, Callable[[int, int, Path, int, float], tuple[str, bool]]] = {
    "notebooks": _notebooks,
    "ensembles": _ensembles,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 if nothing was lost that must not be."""
    parser = argparse.ArgumentParser(
        prog="python -m ringnb.cluster.trial",
        description="Kill notebooks that are attached to a run, or workers and hosts of an ensemble; "
        "say what was lost.",
    )
    parser.add_argument("--of", choices=_TRIALS, default="notebooks", help="what is killed")
    parser.add_argument("--kills", type=int, default=50, help="how many (default: 50)")
    parser.add_argument("--workers", type=int, default=2, help="of an ensemble (default: 2)")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="or as many as come in that"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the times (default: 0)")
    options = parser.parse_args(argv)
    # Imported once, for all. Not this module: each process runs it anew, as that of the command line.
    _context.set_forkserver_preload(["ringnb.cluster"])
    with tempfile.TemporaryDirectory() as folder:
        said, well = _TRIALS[options.of](
            *(options.kills, options.seed, Path(folder), options.workers),
            60.0 * options.minutes,
        )
    say(said)
    return 0 if well else 1


if __name__ == "__main__":
    # The processes find the functions in the module of its own name.
    from ringnb.cluster.trial import main as run_main

    raise SystemExit(run_main())
