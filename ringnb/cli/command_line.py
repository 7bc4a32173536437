"""The `ringnb` command: parse, hand over, turn exceptions into one line and an exit status.

`main` parses with one tree of parsers, and imports a command's module when that command is given: so
``ringnb --help`` and ``ringnb ls`` wait for neither Numba nor matplotlib. Exit status: 0 success,
1 failure, 2 wrong usage, 130 interrupted. ``RINGNB_DEBUG=1`` shows tracebacks.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ringnb._support.version import VERSION
from ringnb.errors import RingnbError

__all__ = ["main"]

_BACKENDS = ("auto", "cpu", "cuda", "cudasim")
_WRITABLE = "the store's directory, or its URL (s3://bucket/prefix)"
_STORE = "the store's directory, its URL (s3://bucket/prefix), or a zip file that export wrote"
_SIGINT, _SIGPIPE = 130, 141  # what a shell reports of a process that a signal ended


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"ringnb: {message}; see {self.prog} --help\n")
        raise SystemExit(2)


def _parser() -> _Parser:
    parser = _Parser(
        prog="ringnb",
        description="Explore, visualise and teach the checkpointing of persistent kernels.",
        epilog="Notebooks are the main door: ringnb lab. Start with: ringnb demo",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"ringnb {VERSION}",
        help="show the version and exit",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    demo = commands.add_parser(
        "demo",
        help="run, checkpoint, kill, restore, compare bit for bit, draw",
        description=(
            "Two actors run in a process of their own and are checkpointed while they step. The "
            "process is killed. A new one restores them and runs on; a third never stops. Both "
            "results are compared bit for bit, and figures are drawn from the stored checkpoints."
        ),
    )
    demo.add_argument("--backend", choices=_BACKENDS, default="auto", help="where the kernel runs")
    demo.add_argument(
        "--out",
        metavar="DIR",
        default="ringnb-demo",
        help="where store and figures go (default: ringnb-demo); a second run gets a "
        "sub-directory, nothing is overwritten",
    )
    demo.add_argument("--steps", type=_positive, default=None, help=argparse.SUPPRESS)
    demo.add_argument("--size", type=_positive, default=None, help=argparse.SUPPRESS)

    lab = commands.add_parser(
        "lab",
        help="open the notebooks in JupyterLab",
        description="Start JupyterLab on copies of the notebooks. What follows -- goes to Jupyter.",
    )
    lab.add_argument(
        "--dir",
        metavar="DIR",
        default="ringnb-notebooks",
        help="where the copies go (default: ringnb-notebooks); notebooks that are there are kept",
    )
    lab.add_argument(
        "--solutions",
        action="store_true",
        help="copy the notebooks with the exercises solved as well, to DIR/solutions",
    )
    course = commands.add_parser(
        "course",
        help="what a teacher needs: who has passed which check",
        description="Read the notebooks of the course that learners have handed in.",
    )
    tasks = course.add_subparsers(dest="task", metavar="TASK", required=True, parser_class=_Parser)
    report = tasks.add_parser(
        "report",
        help="a table (CSV) of the checks that each learner has passed",
        description=(
            "Print a table (CSV): a row for each learner, a column for each check, with passed, failed, "
            "not run or changed, empty where there is no notebook. Nothing is run."
        ),
    )
    report.add_argument("folder", metavar="DIR", help="holds a directory for each learner")
    report.add_argument("--out", metavar="FILE", help="where the table goes (default: printed)")

    run = commands.add_parser(
        "run",
        help="run a script under a time limit; it goes on when run again",
        description=(
            "Run a Python script. Its sessions continue from their newest checkpoints. Just before the "
            "time is up, or at SIGTERM, they leave a last checkpoint, and the exit status is 85: run "
            "the same command again. SLURM's own limit is known (SLURM_JOB_END_TIME)."
        ),
        allow_abbrev=False,
    )
    run.add_argument(
        "--walltime",
        metavar="T",
        help="how long it may take from its start: 1:30:00, 2-12:00:00 (days), 90m, 1h30m",
    )
    run.add_argument(
        "--until", metavar="T", help="when it must have ended: 18:00, 2027-01-31T18:00"
    )
    run.add_argument("script", metavar="SCRIPT", help="the Python file")
    run.add_argument(
        "arguments", metavar="...", nargs=argparse.REMAINDER, help="what the script gets"
    )
    host = commands.add_parser(
        "host",
        help="processes in which runs outlive the notebook",
        description="Start, list or stop a host. A session launched in it outlives the notebook.",
    )
    tasks = host.add_subparsers(dest="task", metavar="TASK", required=True, parser_class=_Parser)
    start = tasks.add_parser(
        "start",
        help="start a host, and print its address",
        description="Start a host, and print its address. It goes on until ringnb host stop.",
    )
    start.add_argument(
        "--workers", metavar="N", type=_positive, default=2, help="processes (default: 2)"
    )
    start.add_argument(
        "--idle", metavar="S", type=_positive, help="end after so many seconds without any run"
    )
    tasks.add_parser(
        "ls", help="hosts and their runs", description="List this user's hosts and their runs."
    )
    stop = tasks.add_parser(
        "stop",
        help="save all runs of a host, and end it",
        description="Have every run of a host leave a last checkpoint, and end the host.",
    )
    stop.add_argument("address", metavar="ADDRESS", nargs="?", help="which (default: the only one)")
    _add_store_commands(commands)

    bench = commands.add_parser(
        "bench",
        help="measure what is claimed",
        description=(
            "Measure what ringnb claims. Every ratio is taken against its baseline in the same "
            "run, in turn. Shown are the median, the smallest and the largest repetition."
        ),
        allow_abbrev=False,
    )
    instead = bench.add_mutually_exclusive_group()
    instead.add_argument(
        "--gpu",
        action="store_true",
        help="the CUDA kernel on this machine's GPU instead of the CPU; under ten minutes",
    )
    instead.add_argument(
        "--peers",
        action="store_true",
        help="side by side with other libraries, which an environment of their own holds; "
        "minutes, and as many to install them",
    )
    bench.add_argument(
        "--peers-env",
        metavar="DIR",
        help="use the virtual environment in DIR as it is; built if there is none (default: one "
        "that is built, and removed at the end)",
    )
    bench.add_argument("--quick", action="store_true", help="fewer repetitions, a minute or two")
    bench.add_argument("--only", metavar="CASE,...", help="only these cases (see --list)")
    bench.add_argument("--list", action="store_true", help="name the cases and exit")
    bench.add_argument(
        "--json",
        metavar="FILE",
        help="where the figures go (default: ringnb-bench.json, with --gpu or --peers "
        "ringnb-bench-gpu.json or ringnb-bench-peers.json; overwritten)",
    )
    bench.add_argument("--markdown", action="store_true", help="print a Markdown table")
    bench.add_argument(
        "--dir",
        metavar="DIR",
        default=".",
        help="the disk to measure: scratch data go below this directory (default: here)",
    )

    docs = commands.add_parser(
        "docs",
        help="build the reference of all public names, and open it",
        description="Build the reference of all public names as web pages, and open it.",
    )
    docs.add_argument(
        "--out", metavar="DIR", help="where the pages go (default: this user's cache directory)"
    )
    docs.add_argument("--no-browser", action="store_true", help="build only, open nothing")

    commands.add_parser(
        "doctor",
        help="check this installation and this machine",
        description="Show versions, launch a small kernel, checkpoint and restore it.",
    )
    parser.set_defaults(parsers=commands.choices)
    return parser


def _add_store_commands(commands: Any) -> None:
    """Add what is done by `ringnb.cli.stores`."""

    def command(name: str, short: str, long: str) -> _Parser:
        parser: _Parser = commands.add_parser(name, help=short, description=long)
        return parser

    def store(parser: _Parser, words: str = _STORE) -> None:
        parser.add_argument("store", metavar="STORE", help=words)

    def names(parser: _Parser) -> None:
        parser.add_argument("names", metavar="NAME", nargs="*", help="which (default: all)")

    ls = command(
        "ls",
        "list the checkpoints of a store",
        "List the checkpoints of a store by actor and run, newest last.",
    )
    store(ls)
    ls.add_argument(
        "--all",
        action="store_true",
        help="also what lies in the store and is not ringnb's, and why",
    )
    ls.add_argument("--runs", action="store_true", help="a line for each run")
    ls.add_argument("--json", action="store_true", help="one JSON document, for programs")

    verify = command(
        "verify",
        "read every byte of a store and check it",
        "Check every byte of checkpoints. Exit status 1 if any is damaged.",
    )
    store(verify)
    names(verify)
    verify.add_argument(
        "--repair",
        action="store_true",
        help="move what is damaged into quarantine; nothing is deleted",
    )

    report = command(
        "report",
        "numbers that were recorded of actors, as a table or CSV",
        "Show what session.report has recorded beside a store: a line per actor, or the newest rows of "
        "one.",
    )
    report.add_argument(
        "store", metavar="STORE", help="the store's directory, or that of the reports"
    )
    report.add_argument("actor", metavar="ACTOR", nargs="?", help="one, by its kernel_id")
    report.add_argument("--csv", action="store_true", help="all rows, with every digit")
    report.add_argument(
        "--all",
        action="store_true",
        help="also rows beyond a step that was restored (current is 0)",
    )

    pin = command(
        "pin",
        "keep a checkpoint whatever retention says",
        "Keep a checkpoint whatever retention says, until it is unpinned.",
    )
    unpin = command(
        "unpin",
        "leave a checkpoint to retention again",
        "Leave a checkpoint to retention again.",
    )
    for one in (pin, unpin):
        store(one, _WRITABLE)
        one.add_argument("name", metavar="NAME", help="the checkpoint")
    pin.add_argument("label", metavar="LABEL", help="why, in a few words")

    prune = command(
        "prune",
        "delete whole runs, but each actor's newest",
        "Show which runs would be deleted, ask, and delete them. The newest runs of each actor stay, "
        "pinned checkpoints, and those from which a run that stays branches.",
    )
    store(prune, _WRITABLE)
    prune.add_argument(
        "--keep-runs",
        metavar="N",
        type=_positive,
        default=1,
        help="how many runs of each actor stay, those with the newest commits (default: 1)",
    )
    prune.add_argument(
        "--yes", action="store_true", help="do not ask; needed where there is no terminal"
    )

    adopt = command(
        "adopt",
        "make copies, or a directory of checkpoints, a store's own",
        "Make the user's copies checkpoints of a store. Without a NAME: make a directory of checkpoints "
        "that has no zarr.json, or a damaged one, a store.",
    )
    store(adopt, _WRITABLE)
    adopt.add_argument("names", metavar="NAME", nargs="*", help="which copies")

    export = command(
        "export",
        "write checkpoints to a zip file",
        "Write checkpoints to a zip file, which zarr's ZipStore opens as it is.",
    )
    store(export)
    export.add_argument("archive", metavar="FILE", help="the zip file; it must not exist")
    names(export)

    import_ = command(
        "import",
        "take checkpoints from a zip file into a store",
        "Commit the checkpoints of a zip file to a store, every byte checked.",
    )
    import_.add_argument("archive", metavar="FILE", help="what ringnb export wrote")
    store(import_, f"{_WRITABLE}; created if need be")
    names(import_)


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        msg = f"{text!r} is not a whole number >= 1"
        raise argparse.ArgumentTypeError(msg)
    return value


def _dispatch(argv: list[str]) -> int:
    """Parse, import the command's module, run it. Lines below import when needed, by design."""
    passed_on: list[str] = []
    if argv[:1] == ["lab"] and "--" in argv:
        cut = argv.index("--")
        argv, passed_on = argv[:cut], argv[cut + 1 :]
    parser = _parser()
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        asked = given.parsers.get(given.command, parser)
        asked.error(f"unrecognized arguments: {' '.join(unknown)}")
    match given.command:
        case None:
            parser.error(f"a command is needed, one of {', '.join(given.parsers)}")
        case "demo":
            from ringnb.cli import demo

            return demo.run(given.out, given.backend, steps=given.steps, size=given.size)
        case "lab":
            from ringnb.cli import lab

            return lab.run(given.dir, passed_on, solutions=given.solutions)
        case "course":
            from ringnb.cli import course_report

            return course_report.report(given.folder, given.out)
        case "run":
            from ringnb.cli import run

            return run.command(
                given.script, given.arguments, walltime=given.walltime, until=given.until
            )
        case "host":
            from ringnb.cli import host

            return host.run(
                given.task,
                workers=getattr(given, "workers", 2),
                address=getattr(given, "address", None),
                idle_s=getattr(given, "idle", None),
            )
        case "bench":
            from ringnb.cli import bench

            return bench.run(given)
        case "docs":
            from ringnb.cli import docs

            return docs.run(given.out, browse=not given.no_browser)
        case "doctor":
            from ringnb.cli import doctor

            return doctor.run()
        case "report":
            from ringnb.cli import reports

            return reports.report_store(
                given.store, given.actor, as_csv=given.csv, everything=given.all
            )
    from ringnb.cli import stores

    match given.command:
        case "ls":
            return stores.list_store(
                given.store, as_json=given.json, everything=given.all, only_runs=given.runs
            )
        case "verify":
            return stores.verify_store(given.store, given.names, repair=given.repair)
        case "pin":
            return stores.pin(given.store, given.name, given.label)
        case "unpin":
            return stores.unpin(given.store, given.name)
        case "prune":
            return stores.prune(given.store, keep_runs=given.keep_runs, yes=given.yes)
        case "adopt":
            return stores.adopt(given.store, given.names)
        case "export":
            return stores.export_store(given.store, given.archive, given.names)
        case _:
            return stores.import_store(given.archive, given.store, given.names)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (this process's arguments by default); return the exit status."""
    debug = os.environ.get("RINGNB_DEBUG", "") not in ("", "0")
    try:
        try:
            status = _dispatch(list(sys.argv[1:] if argv is None else argv))
        except SystemExit as stop:  # argparse, after help or a usage error
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        sys.stdout.flush()  # here, where a closed pipe can still be caught
    except BrokenPipeError:
        _drop_stdout()
        return _SIGPIPE
    except KeyboardInterrupt:
        if debug:
            raise
        return _fail("interrupted", _SIGINT)
    except Exception as error:
        if debug:
            raise
        return _fail(_sentence(error), 1)
    return status


def _sentence(error: Exception) -> str:
    """Return one line for any exception: ringnb's and the system's own words, others with a class."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:  # without the number
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = " ".join(text.split())
    if isinstance(error, RingnbError | OSError | ValueError | TypeError | ImportError) and text:
        return text
    return (
        f"unexpected {type(error).__name__}{': ' if text else ''}{text} "
        "(RINGNB_DEBUG=1 shows where)"
    )


def _fail(sentence: str, status: int) -> int:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"ringnb: {sentence}\n")
    return status


def _drop_stdout() -> None:
    """Point standard output at nothing, so that the interpreter's last flush finds no closed pipe."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
