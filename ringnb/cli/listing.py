"""`ringnb ls`: what a store holds, for people and for programs.

It only reads, takes no lock and works beside a running writer.
"""

from __future__ import annotations

import json
import shlex
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from ringnb._support.text import counted, format_bytes, format_table, one_line, say, shorten
from ringnb.checkpoint.runs import Run, describe_run, group_runs, run_ids
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound

__all__ = ["RUN_HEADER", "list_store", "run_rows"]

_HEADER = ("name", "step", "committed (UTC)", "size")
RUN_HEADER = ("run", "actor", "count", "steps", "last commit (UTC)", "size")
_INDENT = "  "


def _describe(
    storage: CheckpointStorage, entries: Iterable[CheckpointInfo]
) -> list[dict[str, Any]]:
    """Return a JSON object per checkpoint of a catalogue; metadata is checked, arrays are not.

    Of those with damaged metadata only the names are known.
    """
    found = []
    for info in entries:
        entry: dict[str, Any] = info._asdict()
        del entry["damaged"], entry["estimated"]
        entry["parts"] = [part.name for part in info.parts]
        entry["pinned"] = entry.pop("pin")
        problem = None
        if info.damaged:
            try:
                storage.load(info.name)
            except CheckpointNotFound:
                continue  # removed since the listing
            except CheckpointCorrupt as error:
                problem = one_line(error)
            entry = dict.fromkeys(entry) | {"name": info.name}
        elif info.created_at is not None:
            entry["created_at"] = info.created_at.isoformat()
        status = "damaged" if info.damaged else "committed" if info.copy is None else "copy"
        found.append(entry | {"status": status, "problem": problem})
    return found


def list_store(
    path: str,
    storage: ZarrStorage,
    *,
    as_json: bool = False,
    everything: bool = False,
    only_runs: bool = False,
) -> int:
    """Print what a store holds, newest last, by actor and run, or as one JSON document.

    With `everything` also what lies in it and is not ringnb's, and why it is passed over; with
    `only_runs` a line per run.
    """
    foreign, entries = storage.foreign(), storage.catalogue()
    if as_json:
        checkpoints = _describe(storage, entries)
        total = sum(e["nbytes"] or 0 for e in checkpoints)
        document: dict[str, Any] = {"store": path, "checkpoints": checkpoints, "total_bytes": total}
        found, known = group_runs(entries).values(), run_ids(entries)
        document["runs"] = [_run_entry(run, known) for run in chain.from_iterable(found)]
        if everything:
            document["foreign"] = [{"name": name, "reason": why} for name, why in foreign]
        say(json.dumps(document, indent=2))
        return 0
    if not entries:
        say(f"{path}: a ringnb store without checkpoints")
    elif only_runs:
        runs = list(chain.from_iterable(group_runs(entries).values()))
        for line in format_table(RUN_HEADER, run_rows(runs), right=("count", "steps", "size")):
            say(line)
        if rest := _of_no_run(entries):
            say(f"Beside them {rest}")
    else:
        _say_checkpoints(path, entries)
    if foreign and not everything:
        shown = [name for name, _ in foreign if not name.startswith(".")]
        if shown:
            is_are = "entry is" if len(shown) == 1 else "entries are"
            say(f"{len(shown)} other {is_are} not ringnb's: `ringnb ls --all` says why")
    elif foreign:
        say()
        say("Not ringnb's, and left alone:")
        rows = ([name if name.isprintable() else ascii(name), why] for name, why in foreign)
        for line in format_table(("name", "reason"), rows):
            say(line)
    return 0


def _run_entry(run: Run, known: Mapping[str, str]) -> dict[str, Any]:
    """Return a run's JSON object."""
    info, last = describe_run(run, known), run[-1]
    return {
        "id": info.id,
        "name_prefix": last.name_prefix,
        "kernel_id": last.kernel_id,
        "kernel_type": last.kernel_type,
        "parent": info.parent,
        "parent_id": info.parent_id,
        "began_at": None if info.began_at is None else info.began_at.isoformat(),
        "last_at": None if last.created_at is None else last.created_at.isoformat(),
        "checkpoints": [e.name for e in run],
        "first_step": info.first_step,
        "last_step": info.last_step,
        "nbytes": info.nbytes,
    }


def run_rows(runs: Iterable[Run]) -> list[list[str]]:
    """Return a row per run for a table of `RUN_HEADER`, at most as wide as the terminal."""
    rows = []
    for run in runs:
        info, last = describe_run(run, {}), run[-1]
        steps = f"{info.first_step}-{info.last_step}"
        size = format_bytes(info.nbytes)
        whose = _cuts_of(run) or last.kernel_id
        rows.append([info.id[:8], whose, str(info.count), steps, _minute(last), size])
    widths = [max(map(len, column)) for column in zip(RUN_HEADER, *rows, strict=True)]
    room = max(8, _columns() - sum(widths) + widths[1] - 2 * (len(widths) - 1))
    return [[row[0], shorten(row[1], room), *row[2:]] for row in rows]


def _say_checkpoints(path: str, entries: Sequence[CheckpointInfo]) -> None:
    damaged = [e for e in entries if e.damaged]
    copies = [e for e in entries if e.copy is not None]
    actors, known = group_runs(entries), run_ids(entries)
    parts: list[tuple[str, Run]] = []
    if damaged:
        parts.append(("Damaged metadata (ringnb verify says what is wrong)", damaged))
    if copies:
        parts.append(("Copies, of no history (ringnb adopt makes one a checkpoint)", copies))
    for (_, kernel_id), runs in actors.items():
        for run in runs:
            parent = describe_run(run, known).parent
            begins = "" if parent is None else f", continues {parent}"
            what = _cuts_of(run) or f"{kernel_id} ({run[-1].kernel_type})"
            title = f"{what}, run {run[0].run[:8]}{begins}"
            parts.append((title, run))
    _say_rows(parts)
    ours = [e for e in entries if not e.damaged and e.copy is None]
    rest = _of_no_run(entries)
    n_runs = sum(map(len, actors.values()))
    say()
    say(f"Arrays were not read: ringnb verify {shlex.quote(path)} reads every byte.")
    say(
        f"{counted(len(ours), 'checkpoint')} of {counted(len(_actors_in(ours)), 'actor')}, "
        f"{format_bytes(sum(e.nbytes for e in ours))}, in {counted(n_runs, 'run')}"
        + (f", {rest}" if rest else "")
    )


def _cuts_of(run: Sequence[CheckpointInfo]) -> str:
    """Say of how many actors a run of cuts is, whose identity is that of no actor; else nothing."""
    members = _members(run)
    return f"cuts of {counted(len(members), 'actor')}" if members else ""


def _members(run: Sequence[CheckpointInfo]) -> set[tuple[str, str]]:
    """Return the actors of which the cuts of a run have states; none if these are no cuts."""
    return {(part.name_prefix, part.kernel_id) for e in run for part in e.parts}


def _actors_in(entries: Sequence[CheckpointInfo]) -> set[tuple[str, str]]:
    """Return the actors of which checkpoints have states: a cut is none itself."""
    alone = {(e.name_prefix, e.kernel_id) for e in entries if not e.parts}
    return alone | _members(entries)


def _of_no_run(entries: Sequence[CheckpointInfo]) -> str:
    """Say how many are copies, and how many are damaged; nothing if there are none."""
    copies = len([e for e in entries if e.copy is not None])
    damaged = len([e for e in entries if e.damaged])
    said = [counted(copies, "copy", "copies")] if copies else []
    return ", ".join([*said, f"{damaged} with damaged metadata"] if damaged else said)


def _say_rows(parts: Sequence[tuple[str, Run]]) -> None:
    """Print checkpoints under their titles; a name that is too long has a line of its own."""
    columns = _columns()
    cells = [_row(e) for _, run in parts for e in run]
    rest = format_table(_HEADER[1:], (row[1:] for row in cells), right=("step", "size"))
    room = max(12, columns - max(map(len, rest)) - 2)
    width = max((len(row[0]) for row in cells if len(row[0]) <= room), default=12)
    say(f"{_HEADER[0].ljust(width)}  {rest[0]}")
    lines = iter(rest[1:])
    for title, run in parts:
        say()
        for line in textwrap.wrap(title, columns, subsequent_indent=_INDENT):
            say(line)
        for e in run:
            line, name = next(lines), e.name
            if len(name) > width:
                say(name)
                name = ""
            line = f"{name.ljust(width)}  {line}".rstrip()
            for note in _notes(e):
                if len(line) + len(note) + 2 <= columns:
                    line += f"  {note}"
                else:
                    say(line)
                    line = f"{_INDENT}{note}"
            say(line)


def _row(e: CheckpointInfo) -> list[str]:
    if e.damaged:
        return [e.name, "?", "?", "?"]
    when = "?" if e.created_at is None else f"{e.created_at:%Y-%m-%d %H:%M:%S}"
    return [e.name, str(e.step), when, format_bytes(e.nbytes)]


def _notes(e: CheckpointInfo) -> list[str]:
    """Return what else is to be said of a checkpoint."""
    if e.damaged:
        return ["damaged"]
    notes = []
    if e.copy is not None:
        notes.append(e.copy)
    if e.pin is not None:
        notes.append(f"pinned: {e.pin}")
    if not e.good:
        notes.append("not good")
    if e.is_branch_point:
        notes.append("a run branches here")
    return notes


def _minute(e: CheckpointInfo) -> str:
    at: datetime | None = e.created_at
    return "?" if at is None else f"{at:%Y-%m-%d %H:%M}"


def _columns() -> int:
    return max(60, shutil.get_terminal_size().columns)
