"""Batch jobs with random time limits: each ends in time, its last state saved, and the next goes on.

Real processes (``ringnb run``), real limits: a process that still runs at its limit is killed with
SIGKILL, and counts as missed. Commits take a random time, some are never seen before the last one.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ringnb._support.children import child_environment, run_python
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.testing.trials.judging import Loss, loss_after

__all__ = ["end_in_time"]

_RUN_AGAIN = 85
_SHORTEST_S = 15.0  # with the start of the process, a second or two, within
_SCRIPT = """
import random, sys, time
import ringnb as rn

store, seed = sys.argv[1], int(sys.argv[2])
rng = random.Random(seed)
slowest, actors = rng.choice([0.0, 0.1, 0.4]), rng.randint(1, 3)


class Slow(rn.ZarrStorage):
    def save(self, name, snapshot):
        time.sleep(rng.uniform(0.7, 1.0) * slowest)
        return super().save(name, snapshot)


side = rng.choice([16, 64, 128])
config = rn.CheckpointConfig(interval=rng.choice([0.5, 3.0, 3600.0]), max_snapshots=3)
s = rn.Session(
    rn.actors.Life((side, side)), actors, config=config, storage=Slow(store), max_steps_per_second=100
)
try:
    with s:
        print("start", *(s.current_step(slot) for slot in range(actors)), flush=True)
        for slot in range(1, actors):
            s.run_steps(slot, 2**40, wait=False)
        s.run_steps(0, 2**40)
finally:
    print("end", *(s.kernel.counters(slot).step for slot in range(actors)), flush=True)
"""

_FIRST_STEP = """
import sys
import ringnb as rn

with rn.Session(rn.actors.Life((16, 16)), storage=rn.ZarrStorage(sys.argv[1])) as s:
    s.run_steps(0, 1)
"""


def end_in_time(
    seeds: Sequence[int], *, longest_s: float = 30.0, folder: Path | None = None
) -> Counter[str]:
    """Run two jobs per seed, one after the other on one store, all seeds at once; return counts.

    Raise `Loss` if a job misses its limit, ends with another status, leaves anything but a state of its
    end, or does not go on where the one before was.
    """
    with (
        tempfile.TemporaryDirectory(dir=folder) as name,
        ThreadPoolExecutor(max(1, len(seeds))) as pool,
    ):
        script = Path(name, "job.py")
        script.write_text(_SCRIPT, encoding="utf-8")
        # It fills the cache: jobs that all compile at once use up their limits with it.
        run_python("-c", _FIRST_STEP, Path(name, "first.zarr"), check=True)
        return sum(pool.map(lambda seed: _jobs(script, seed, longest_s), seeds), Counter[str]())


def _jobs(script: Path, seed: int, longest_s: float) -> Counter[str]:
    rng = random.Random(seed)  # noqa: S311 - repeatable, no secret
    store, counts = script.with_name(f"{seed}.zarr"), Counter[str]()
    saved: dict[int, int] = {}
    for _ in range(2):
        limit_s = round(rng.uniform(_SHORTEST_S, longest_s), 2)
        with loss_after(f"seed {seed}, limit {limit_s} s"):
            saved, unused_s, gained = _job(script, store, seed, limit_s, saved)
        counts += Counter(limits=1, unused_ms=round(1000 * unused_s), too_short=not gained)
    return counts


def _job(
    script: Path, store: Path, seed: int, limit_s: float, before: dict[int, int]
) -> tuple[dict[int, int], float, bool]:
    """Run one job; return the steps left, by slot, the seconds not used, and whether it came further."""
    began = time.monotonic()
    command = [sys.executable, "-m", "ringnb.cli", "run", "--walltime", f"{limit_s}s"]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, no shell
            [*command, str(script), str(store), str(seed)],
            capture_output=True,
            text=True,
            timeout=limit_s,  # then it is killed
            env=child_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        msg = "the limit was missed"
        raise Loss(msg) from error
    unused_s = limit_s - (time.monotonic() - began)
    # On a machine so slow that the time was up before the first step, it says so with another status.
    gained = not (done.returncode == 1 and "would come no further" in done.stderr)
    if gained and done.returncode != _RUN_AGAIN:
        msg = f"exit status {done.returncode}: {done.stderr[-500:]}"
        raise Loss(msg)
    said = {
        key: dict(enumerate(map(int, steps)))
        for key, *steps in (line.split() for line in done.stdout.splitlines())
    }
    if "start" not in said:
        return before, unused_s, gained
    if before and said["start"] != before:
        msg = f"it began at {said['start']}, where the one before had left {before}"
        raise Loss(msg)
    storage = ZarrStorage(store, durable=False)
    saved = {}
    for slot, began_at in said["start"].items():
        last = storage.load(storage.history("checkpoint", f"life_{slot}")[-1].name)
        last.verify()
        saved[slot] = last.step
        # Slot 0 is paused before the last checkpoint; the others run on while it is taken. Nothing is
        # said of the end if the main thread did not hear of it in time, and was not waited for.
        ended_at = said.get("end", {}).get(slot, last.step)
        if not began_at <= last.step <= ended_at or (slot == 0 and last.step != ended_at):
            msg = f"actor {slot} ran from step {began_at} to {ended_at}, and step {last.step} is saved"
            raise Loss(msg)
    if gained != any(saved[slot] > begun for slot, begun in said["start"].items()):
        msg = f"it ran from {said['start']} to {saved} and ended with status {done.returncode}"
        raise Loss(msg)
    return saved, unused_s, gained
