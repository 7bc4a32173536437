"""``python -m ringnb.testing.trials``: run the trials, print what was tried and what was lost."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ringnb._support.machine import available_cores
from ringnb._support.text import format_table, say
from ringnb._support.version import VERSION, installed_version
from ringnb.testing.trials.damage import damage_everything, damage_what_users_touch
from ringnb.testing.trials.faults import fail_every_call
from ringnb.testing.trials.judging import Loss
from ringnb.testing.trials.kills import kill_at_every_call, kill_at_random
from ringnb.testing.trials.limits import end_in_time
from ringnb.testing.trials.objects import stop_after_every_request
from ringnb.testing.trials.powercuts import cut_power
from ringnb.testing.trials.workloads import OPERATIONS, ORDINARY_LIFE, workloads

__all__ = ["as_markdown", "main", "run"]

Task = tuple[Callable[..., Counter[str]], tuple[Any, ...], dict[str, Any]]
_PREFIXES = (("save",), ("save", "save"), ("share", "share"), ("save", "group"))
_OTHERWISE = ("save_behind", "group_each")  # the other way onto the disk, of "save" and of "group"
_CHANGES = ("save", "share", "group", *_OTHERWISE, "delete", "pin", "quarantine", "retire")
# Ordinary life: what had happened before, the operation that goes wrong, and what is done then.
_ORDINARY = (
    (("save", "mine"), "delete", "reopen"),
    (("save", "save", "mine", "chunk"), "drop", "save"),
    (("share", "mine", "share"), "retire", "reopen"),
    (("save", "fresh", "save", "chunk", "fresh", "save"), "prune", "reopen"),
    (("save", "branch", "save", "save"), "retire", "save"),
    (("save",), "import", "import"),
    ((), "import", "import"),
    (("save", "copy"), "adopt", "save"),
    (("save", "copy", "delete", "save"), "adopt", "delete"),
    (("save", "copy", "delete"), "readopt", "readopt"),
    (("save", "mark"), "pin", "save"),
    (("save", "mine"), "quarantine", "save"),
    (("save", "other"), "save", "other"),
)
_MOST_CALLS = 60  # of one operation


@dataclass(frozen=True)
class _Trial:
    """One line of the report: what is tried, its tasks, what is counted."""

    key: str
    what: str
    tasks: Callable[[bool, int], Iterator[Task]]
    counted: Callable[[Counter[str]], str]


def _upto(length: int) -> Iterator[tuple[str, ...]]:
    for n in range(1, length + 1):
        yield from workloads(n)


def _power(full: bool, seed: int) -> Iterator[Task]:
    for workload in _upto(3 if full else 2):
        yield cut_power, (workload,), {"seed": seed}
    for prefix, change in itertools.product(((), *_PREFIXES), _OTHERWISE):
        yield cut_power, ((*prefix, change),), {"seed": seed}
    for place in ("run/of/today/s.zarr",):
        for workload in _upto(2 if full else 1):
            yield cut_power, (workload,), {"seed": seed, "place": place}


def _ordinary(full: bool, seed: int) -> Iterator[Task]:
    for before, change, _ in _ORDINARY[: None if full else 2]:
        yield cut_power, ((*before, change),), {"seed": seed}
    if full:
        for workload in _two_of_ordinary_life():
            yield cut_power, (workload,), {"seed": seed}
    for before, change, then in _ORDINARY if full else _ORDINARY[5:6]:
        for call in range(1, _MOST_CALLS, 4 if full else 15):
            yield cut_power, ((*before, f"kill {change} {call}", then),), {"seed": seed}


def _two_of_ordinary_life() -> Iterator[tuple[str, ...]]:
    changes = ("save", "delete", "drop", "retire", "prune", "import", "adopt", "readopt", "pin")
    for first, second in itertools.product(ORDINARY_LIFE, changes):
        yield "save", first, second


def _power_longer(full: bool, seed: int) -> Iterator[Task]:
    random_ = random.Random(seed)  # noqa: S311 - repeatable, no secret
    for _ in range(150 if full else 5):
        tail = random_.choices((*OPERATIONS, *ORDINARY_LIFE), k=random_.randint(2, 5))
        yield cut_power, (("save", "share", *tail),), {"seed": seed}


def _power_after_kill(full: bool, seed: int) -> Iterator[Task]:
    for prefix, change, call, then in itertools.product(
        _PREFIXES[: 2 if full else 1],
        _CHANGES,
        range(1, _MOST_CALLS, 1 if full else 9),
        ("save", "delete", "reopen") if full else ("save",),
    ):
        yield cut_power, ((*prefix, f"kill {change} {call}", then),), {"seed": seed}


def _kill_calls(full: bool, _seed: int) -> Iterator[Task]:
    for prefix, change in itertools.product(_PREFIXES if full else _PREFIXES[1:2], _CHANGES):
        yield kill_at_every_call, ((*prefix, change),), {}
    for before, change, _ in _ORDINARY if full else _ORDINARY[:1]:
        yield kill_at_every_call, ((*before, change),), {}


def _kill_randomly(full: bool, seed: int) -> Iterator[Task]:
    for n in range(20 if full else 2):
        yield kill_at_random, (20, seed + 1000 * n), {}


def _fail(full: bool, _seed: int) -> Iterator[Task]:
    for prefix, change, lasting in itertools.product(
        _PREFIXES if full else _PREFIXES[1:2], _CHANGES, (False, True)
    ):
        if change in _OTHERWISE and lasting and not full:
            continue
        yield fail_every_call, ((*prefix, change),), {"lasting": lasting, "in_turn": not full}
    for before, change, _ in _ORDINARY if full else _ORDINARY[:1]:
        for lasting in (False, True) if full else (False,):
            options = {"lasting": lasting, "in_turn": not full}
            yield fail_every_call, ((*before, change),), options


def _stop(full: bool, _seed: int) -> Iterator[Task]:
    for workload in _upto(3 if full else 2):
        yield stop_after_every_request, (workload,), {}
    for before, change, _ in _ORDINARY if full else ():
        yield stop_after_every_request, ((*before, change),), {}
    if full:
        for workload in _two_of_ordinary_life():
            yield stop_after_every_request, (workload,), {}


def _damage(full: bool, _seed: int) -> Iterator[Task]:
    yield damage_everything, (), {"every": 1 if full else 20}
    yield damage_what_users_touch, (), {"every": 61 if full else 1201}


def _limits(full: bool, seed: int) -> Iterator[Task]:
    if not full:
        yield end_in_time, ((seed,),), {"longest_s": 18.0}
        return
    for n in range(seed, seed + 100, 5):
        yield end_in_time, (range(n, n + 5),), {}


_TRIALS = (
    _Trial(
        "power",
        "power cut after every call to the system, every workload of up to {} operations",
        _power,
        lambda c: f"{c['points']:,} points, {c['states']:,} states of the disk",
    ),
    _Trial(
        "power_longer",
        "the same, random workloads of up to 7 operations",
        _power_longer,
        lambda c: f"{c['points']:,} points, {c['states']:,} states of the disk",
    ),
    _Trial(
        "ordinary",
        "the same in ordinary life: a user's own files and attributes, copies, adopted and imported "
        "checkpoints, several runs, two writers in turn",
        _ordinary,
        lambda c: f"{c['points']:,} points, {c['states']:,} states of the disk",
    ),
    _Trial(
        "power_after_kill",
        "a process killed at every call, another goes on, then a power cut",
        _power_after_kill,
        lambda c: f"{c['points']:,} points, {c['states']:,} states of the disk",
    ),
    _Trial(
        "kill_calls",
        "SIGKILL before and after every call to the system",
        _kill_calls,
        lambda c: f"{c['kills']:,} kills",
    ),
    _Trial(
        "kill_randomly",
        "SIGKILL at random times, 20 in a row on one store",
        _kill_randomly,
        lambda c: f"{c['kills']:,} kills",
    ),
    _Trial(
        "fail",
        "every call fails, once or from then on: ENOSPC, EIO, EACCES, EROFS, half a write, store or "
        "work area removed",
        _fail,
        lambda c: f"{sum(c.values()):,} faults",
    ),
    _Trial(
        "stop",
        "object store: writer stopped after every request",
        _stop,
        lambda c: f"{c['stops']:,} stops",
    ),
    _Trial(
        "damage",
        "every bit flipped, every file cut off at every byte, lost, swapped, added; bits of copies, of "
        "archives and of documents with a user's attributes",
        _damage,
        lambda c: f"{c['bits']:,} bits, {sum(c.values()) - c['bits']:,} others",
    ),
    _Trial(
        "limits",
        "`ringnb run` with random time limits, killed at the limit",
        _limits,
        lambda c: (
            f"{c['limits']:,} limits, {c['too_short']:,} of them too short for a step, "
            f"{c['unused_ms'] // max(1, c['limits'])} ms unused each"
        ),
    ),
)


def _run(task: Task, folder: Path) -> tuple[Counter[str], str | None]:
    function, arguments, options = task
    if function is not stop_after_every_request:
        options = {**options, "folder": folder}
    try:
        return function(*arguments, **options), None
    except Loss as loss:
        return Counter(), str(loss)


def run(*, full: bool, seed: int, jobs: int, only: Sequence[str] = ()) -> dict[str, Any]:
    """Run trials, all or those of `only`, fully or a bounded part; return counts and losses as JSON."""
    memory = Path("/dev/shm")  # noqa: S108 - private directories are made there
    folder = (
        memory if memory.is_dir() and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    )
    rows = []
    started = time.monotonic()
    # Not forked: a child must not inherit threads.
    with ProcessPoolExecutor(jobs, mp_context=get_context("forkserver")) as pool:
        for trial in _TRIALS:
            if only and trial.key not in only:
                continue
            begun = time.monotonic()
            counts: Counter[str] = Counter()
            losses = []
            for counted, loss in pool.map(_run, *_arguments(trial, folder, full=full, seed=seed)):
                counts += counted
                if loss is not None:
                    losses.append(loss)
            rows.append(
                {
                    "key": trial.key,
                    "what": trial.what.format(3 if full else 2),
                    "tried": trial.counted(counts),
                    "counts": dict(sorted(counts.items())),
                    "losses": losses,
                    "seconds": round(time.monotonic() - begun, 1),
                }
            )
    return {
        "format": 1,
        "full": full,
        "seed": seed,
        "versions": {
            "python": platform.python_version(),
            "ringnb": VERSION,
            **{name: installed_version(name) for name in ("zarr", "numpy")},
        },
        "system": f"{platform.system()} {platform.release()}",
        "seconds": round(time.monotonic() - started, 1),
        "rows": rows,
    }


def _arguments(
    trial: _Trial, folder: Path, *, full: bool, seed: int
) -> tuple[list[Task], list[Path]]:
    tasks = list(trial.tasks(full, seed))
    return tasks, [folder] * len(tasks)


def as_markdown(document: dict[str, Any]) -> list[str]:
    """Return the lines of a Markdown table, one per trial."""
    lines = ["| what was tried | how often | lost, wrong or half |", "|---|---|---|"]
    lines += [f"| {r['what']} | {r['tried']} | {len(r['losses'])} |" for r in document["rows"]]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m ringnb.testing.trials",
        description="Cut the power, kill, fail, damage and limit; say what was lost.",
    )
    parser.add_argument("--full", action="store_true", help="all of it, some minutes")
    parser.add_argument("--seed", type=int, default=0, help="of what is sampled (default: 0)")
    parser.add_argument("--jobs", type=int, default=available_cores(), help="processes at a time")
    parser.add_argument(
        "--only", default="", help="keys, separated by commas: " + ", ".join(t.key for t in _TRIALS)
    )
    parser.add_argument("--json", metavar="FILE", help="write the counts to a file as well")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    options = parser.parse_args(argv)
    only = [key for key in options.only.split(",") if key]
    unknown = set(only) - {t.key for t in _TRIALS}
    if unknown:
        parser.error(f"no trial {sorted(unknown)[0]!r}")
    if not Path("/proc/self/fd").is_dir():
        parser.error("the trials need Linux's /proc")
    document = run(full=options.full, seed=options.seed, jobs=max(1, options.jobs), only=only)
    if options.json:
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        lines = as_markdown(document)
    else:
        cells = [
            (r["what"], r["tried"], str(len(r["losses"])), f"{r['seconds']:.0f} s")
            for r in document["rows"]
        ]
        lines = format_table(("what was tried", "how often", "losses", "took"), cells)
    for line in lines:
        say(line)
    lost = [loss for row in document["rows"] for loss in row["losses"]]
    for loss in lost:
        say(f"LOSS {loss}")
    return 1 if lost else 0
