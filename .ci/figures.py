"""Put recorded figures into the README of the benchmark: a table for each file of results.

``python .ci/figures.py`` does so for those that are there; with ``peers peers.json`` it first takes that
file, as `ringnb bench --json` wrote it, for the results of this kind. The table goes to where one is in
the section of its kind, else to the section's end.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from ringnb.cli.bench import report
from ringnb.cli.bench.measuring import Row

BENCH = Path(__file__).parents[1] / "ringnb" / "cli" / "bench"
SECTIONS = {
    "cpu": "On a CPU",
    "cluster": "In other processes",
    "peers": "Beside other libraries",
    "gpu": "On an NVIDIA GPU",
}
KEYS = ("key", "what", "samples", "unit", "limit", "target", "note")


def table(results: Path) -> str:
    """Return the table of recorded figures."""
    document = json.loads(results.read_text(encoding="utf-8"))
    if document["quick"] or "failed" in document:
        msg = f"{results} is of `bench --quick`, or lacks cases that failed: record all of it"
        raise SystemExit(msg)
    return "\n".join(report.as_markdown([Row(**{k: r[k] for k in KEYS}) for r in document["rows"]]))


def with_table(page: str, heading: str, lines: str) -> str:
    """Return the page with a section's table exchanged, or put to its end."""
    before, mark, rest = page.partition(f"## {heading}\n")
    assert mark, heading
    section, more, behind = rest.partition("\n## ")
    old = re.search(r"^\| what \| measured(?:.*\n?(?=\|))*.*$", section, re.MULTILINE)
    if old:
        section = section[: old.start()] + lines + section[old.end() :]
    else:
        section = f"{section.rstrip()}\n\n{lines}\n"
    return before + mark + section + more + behind


def main(*arguments: str) -> None:
    """Take a file over if one is given, and write the page."""
    if arguments:
        if len(arguments) != 2 or arguments[0] not in SECTIONS:
            msg = f"figures.py {' '.join(arguments)}: give one of {', '.join(SECTIONS)}, and a file"
            raise SystemExit(msg)
        kind, path = arguments
        table(Path(path))  # what it refuses does not take the place of what is recorded
        shutil.copyfile(path, BENCH / "results" / f"{kind}.json")
    page = BENCH / "README.md"
    text = page.read_text(encoding="utf-8")
    for kind, heading in SECTIONS.items():
        if (results := BENCH / "results" / f"{kind}.json").exists():
            text = with_table(text, heading, table(results))
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
