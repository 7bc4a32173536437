"""Run the cases that were asked for: one after the other, each in a scratch directory of its own."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ringnb._support.text import format_bytes, say
from ringnb.cli.bench import (
    cuts,
    incremental,
    large,
    links,
    report,
    rings,
    round_trip,
    scheduling,
    snapshots,
    startup,
    stepping,
    stores,
    teams,
)
from ringnb.cli.bench.measuring import Row, Scale
from ringnb.errors import RingnbError

__all__ = ["CASES", "BenchmarkFailed", "run"]

Case = Callable[[Scale], Iterator[Row]]


def _cockpit(scale: Scale) -> Iterator[Row]:
    """Stepping with the cockpit open against stepping without (needs the widgets extra)."""
    try:
        from ringnb.cli.bench.cockpit import cockpit
        from ringnb.cli.bench.pictures import pictures
    except ImportError as error:
        say(f"not measured: {error}")
        return
    yield from cockpit(scale)
    yield from pictures(scale)


def _openings(scale: Scale) -> Iterator[Row]:
    """Very many actors, and a long history: the session, its cockpit (needs the widgets extra)."""
    try:
        from ringnb.cli.bench.openings import openings
    except ImportError as error:
        say(f"not measured: {error}")
        return
    yield from openings(scale)


def _cluster(scale: Scale) -> Iterator[Row]:
    """A session in another process, an ensemble against plain sessions (needs the cluster extra)."""
    try:
        from ringnb.cli.bench.cluster import cluster
    except ImportError as error:
        say(f"not measured: {error}")
        return
    yield from cluster(scale)


CASES: dict[str, Case] = {
    "idle-answers": rings.idle_answers,
    "round-trip": round_trip.parts,
    "calls": rings.session_calls,
    "busy-answers": rings.busy_answers,
    "idling": rings.idling,
    "loops": stepping.against_plain_loops,
    "memory": stepping.against_memory,
    "models": stepping.models,
    "teams": teams.teams,
    "passes": teams.passes,
    "links": links.links,
    "stall": snapshots.stall,
    "rate": snapshots.with_checkpoints,
    "persisting": snapshots.persisting,
    "recorder": snapshots.recording,
    "commits": stores.commits,
    "guard": stores.guards,
    "groups": stores.groups,
    "cuts": cuts.cuts,
    "snapshot": snapshots.whole_snapshot,
    "restore": snapshots.restoring,
    "many": stores.many,
    "histories": stores.histories,
    "incremental": incremental.incremental,
    "large": large.large,
    "polls": scheduling.polls,
    "cockpit": _cockpit,
    "openings": _openings,
    "cluster": _cluster,
    "import": startup.imports,
    "first-step": startup.first_step,
}
_NEEDS = {True: 2**30, False: 10 * 2**30}  # bytes of disk, quick and full


class BenchmarkFailed(RingnbError):
    """The benchmark cannot be run as asked."""


def _chosen(only: str | None, cases: Mapping[str, Any]) -> list[str]:
    if only is None:
        return list(cases)
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in cases]
    if unknown or not names:
        msg = f"--only {only!r}: no such case; there are {', '.join(cases)}"
        raise BenchmarkFailed(msg)
    return names


def _list(options: argparse.Namespace) -> None:
    documented: dict[str, Any] = dict(CASES)
    if options.gpu:
        from ringnb.cli.bench.gpu import CASES as ON_GPU

        documented = {name: case.measure for name, case in ON_GPU.items()}
    elif options.peers:
        from ringnb.cli.bench.peers import CASES as WITH_PEERS

        documented = dict(WITH_PEERS)
    for name, case in documented.items():
        say(f"{name:<14}{(case.__doc__ or '').splitlines()[0]}")


def _cases(
    options: argparse.Namespace, stack: contextlib.ExitStack
) -> tuple[dict[str, Case], dict[str, Any]]:
    """Return the cases asked for, and what else the document records: card or peers."""
    if options.peers:
        return _with_peers(options, stack)
    if not options.gpu:
        return {name: CASES[name] for name in _chosen(options.only, CASES)}, {}
    from ringnb.cli.bench import gpu

    names = _chosen(options.only, gpu.CASES)
    card = gpu.open_card(quick=options.quick)
    return {name: gpu.timed(gpu.CASES[name], card) for name in names}, {"gpu": card.describe()}


def _with_peers(
    options: argparse.Namespace, stack: contextlib.ExitStack
) -> tuple[dict[str, Case], dict[str, Any]]:
    """Return the cases with peers; their environment is made when the first one needs it."""
    from ringnb.cli.bench import peers

    versions: dict[str, str] = {}

    @functools.cache
    def env() -> peers.Environment:
        """Find or build it, once."""
        return stack.enter_context(peers.open_environment(options.peers_env, versions))

    def with_env(name: str) -> Case:
        return lambda scale: peers.CASES[name](scale, env())

    return {name: with_env(name) for name in _chosen(options.only, peers.CASES)}, {
        "peers": versions
    }


def run(options: argparse.Namespace) -> int:
    """Measure what the options of ``ringnb bench`` ask for, print it and write it down.

    Return 1 if a case on the GPU failed, else 0: a target that is missed is a result, not a failure.
    Raise `BenchmarkFailed` for an unknown case or too small a disk, `BackendUnavailable` without a GPU.
    """
    if options.list:
        _list(options)
        return 0
    with contextlib.ExitStack() as stack:
        return _measure(options, *_cases(options, stack))


def _measure(options: argparse.Namespace, cases: Mapping[str, Case], facts: dict[str, Any]) -> int:
    free, needed = shutil.disk_usage(options.dir).free, _NEEDS[options.quick]
    if free < needed:
        msg = (
            f"--dir {options.dir!r} has {format_bytes(free)} free, the benchmark writes up to "
            f"{format_bytes(needed)}: give another --dir, or --quick"
        )
        raise BenchmarkFailed(msg)
    kind = "-gpu" if options.gpu else "-peers" if options.peers else ""
    target = Path(options.json or f"ringnb-bench{kind}.json")
    with target.open("a", encoding="utf-8"):
        pass  # if it cannot be written, that is found out now and not after minutes
    began = time.monotonic()
    rows: list[Row] = []
    failed: dict[str, str] = {}
    with tqdm(cases.items(), unit="case", leave=False, disable=None) as bar:
        for name, case in bar:
            bar.set_description(name)
            with tempfile.TemporaryDirectory(prefix=".ringnb-bench-", dir=options.dir) as scratch:
                try:  # some of the libraries that are measured refuse relative paths
                    rows += case(Scale(options.quick, Path(scratch).absolute()))
                except Exception as error:
                    if not options.gpu:
                        raise
                    # Time on a GPU is scarce: what the other cases find is kept.
                    failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            _write(target, rows, options.quick, facts | ({"failed": failed} if failed else {}))
    lines = report.as_markdown(rows) if options.markdown else report.as_table(rows)
    for line in lines:
        say(line)
    missed = sum(row.met is False for row in rows)
    all_met = not missed and any(row.met for row in rows)
    say()
    say(
        f"{len(rows)} figures in {time.monotonic() - began:.0f} s. "
        + (f"{missed} are short of their target (met: NO). " if missed else "")
        + ("All targets are met. " if all_met else "")
        + f"Written to {target}"
    )
    for name, why in failed.items():
        say(f"{name} failed: {why}")
    return int(bool(failed))


def _write(target: Path, rows: Sequence[Row], quick: bool, facts: dict[str, Any]) -> None:
    """Write what there is, after every case: a run that is cut off has measured something."""
    document = report.as_document(rows, quick=quick) | facts
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
