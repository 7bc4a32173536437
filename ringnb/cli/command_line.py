"""The `ringnb` command: parse, hand over, turn exceptions into one line and an exit status.

Each command's work is in a module of its own, imported when the command is given, so that
``ringnb --help`` imports none of it. Exit status: 0 success, 1 failure, 2 wrong usage, 130
interrupted. ``RINGNB_DEBUG=1`` shows tracebacks.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ringnb._support.version import VERSION

__all__ = ["main"]

_BACKENDS = ("auto", "cpu", "cuda", "cudasim")
_COMMANDS = "demo, lab, ls, verify, pin, unpin, export, import, bench, doctor"
_WRITABLE = "the store's directory, or its URL (s3://bucket/prefix)"
_STORE = "the store's directory, its URL (s3://bucket/prefix), or a zip file that export wrote"
_SIGINT, _SIGPIPE = 130, 141  # what a shell reports of a process that died of them


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"ringnb: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ringnb",
        description="Explore, visualise and teach the checkpointing of persistent kernels.",
        epilog="Notebooks are the main door: ringnb lab. Start with: ringnb demo",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ringnb {VERSION}")
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

    ls = commands.add_parser(
        "ls",
        help="list the checkpoints of a store",
        description="List the checkpoints of a store, newest last.",
    )
    ls.add_argument("store", metavar="STORE", help=_STORE)
    ls.add_argument("--json", action="store_true", help="one JSON document, for programs")

    verify = commands.add_parser(
        "verify",
        help="read every byte of a store and check it",
        description="Check every byte of checkpoints. Exit status 1 if any is damaged.",
    )
    verify.add_argument("store", metavar="STORE", help=_STORE)
    verify.add_argument("names", metavar="NAME", nargs="*", help="which (default: all)")
    verify.add_argument(
        "--repair", action="store_true", help="move what is damaged aside; nothing is deleted"
    )

    pin = commands.add_parser(
        "pin",
        help="keep a checkpoint whatever retention says",
        description="Keep a checkpoint whatever retention says, until it is unpinned.",
    )
    unpin = commands.add_parser(
        "unpin",
        help="leave a checkpoint to retention again",
        description="Leave a checkpoint to retention again.",
    )
    for one in (pin, unpin):
        one.add_argument("store", metavar="STORE", help=_WRITABLE)
        one.add_argument("name", metavar="NAME", help="the checkpoint")
    pin.add_argument("label", metavar="LABEL", help="why, in a few words")

    export = commands.add_parser(
        "export",
        help="write checkpoints to a zip file",
        description="Write checkpoints to a zip file, which zarr's ZipStore opens as it is.",
    )
    export.add_argument("store", metavar="STORE", help=_STORE)
    export.add_argument("archive", metavar="FILE", help="the zip file; it must not exist")
    export.add_argument("names", metavar="NAME", nargs="*", help="which (default: all)")

    import_ = commands.add_parser(
        "import",
        help="take checkpoints from a zip file into a store",
        description="Commit the checkpoints of a zip file to a store, every byte checked.",
    )
    import_.add_argument("archive", metavar="FILE", help="what ringnb export wrote")
    import_.add_argument("store", metavar="STORE", help=f"{_WRITABLE}; created if need be")
    import_.add_argument("names", metavar="NAME", nargs="*", help="which (default: all)")

    commands.add_parser("bench", add_help=False, help="measure what is claimed")
    commands.add_parser(
        "doctor",
        help="check this installation and this machine",
        description="Show versions, launch a small kernel, checkpoint and restore it.",
    )
    return parser


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
    if argv[:1] == ["bench"]:  # it parses its own options
        from ringnb.cli import bench  # noqa: PLC0415

        return int(bench.main(argv[1:]))
    passed_on: list[str] = []
    if argv[:1] == ["lab"] and "--" in argv:
        cut = argv.index("--")
        argv, passed_on = argv[:cut], argv[cut + 1 :]
    parser = _parser()
    options = parser.parse_args(argv)
    if options.command is None:
        parser.error(f"a command is needed, one of {_COMMANDS}")
    match options.command:
        case "demo":
            from ringnb.cli import demo  # noqa: PLC0415

            return demo.run(options.out, options.backend, steps=options.steps, size=options.size)
        case "lab":
            from ringnb.cli import lab  # noqa: PLC0415

            return lab.run(options.dir, passed_on, solutions=options.solutions)
        case "ls":
            from ringnb.cli import inspection  # noqa: PLC0415

            return inspection.list_store(options.store, as_json=options.json)
        case "verify":
            from ringnb.cli import inspection  # noqa: PLC0415

            return inspection.verify_store(options.store, options.names, repair=options.repair)
        case "pin" | "unpin" | "export" | "import":
            from ringnb.cli import curation  # noqa: PLC0415

            match options.command:
                case "pin":
                    return curation.pin(options.store, options.name, options.label)
                case "unpin":
                    return curation.unpin(options.store, options.name)
                case "export":
                    return curation.export_store(options.store, options.archive, options.names)
                case _:
                    return curation.import_store(options.archive, options.store, options.names)
        case _:
            from ringnb.cli import doctor  # noqa: PLC0415

            return doctor.run()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; those of this process by default.

    Returns
    -------
    int
        Exit status: 0 only on success.
    """
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
    from ringnb.errors import RingnbError  # noqa: PLC0415

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
        print(f"ringnb: {sentence}", file=sys.stderr)
    return status


def _drop_stdout() -> None:
    """Point standard output at nothing, so that the interpreter's last flush finds no closed pipe."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
