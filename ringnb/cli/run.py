"""`ringnb run SCRIPT`: a script under a time limit, which goes on where it was when it is run again.

The script runs in this process, as ``python SCRIPT`` would run it. Every session that it makes continues
from the newest checkpoint that an earlier process has left. Just before the time is up, or when a signal
announces the end, the main thread leaves the script by `SystemExit`; sessions end with their last
checkpoint, and the exit status says that the same command goes on.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import runpy
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, final

from ringnb.cli.run_limit import (
    CommitTimes,
    end_of,
    margin_of,
    parse_until,
    parse_walltime,
    process_began,
    slowdown_since,
    stop_at,
)
from ringnb.errors import CheckpointNotFound, RingnbError
from ringnb.messages.events import Event
from ringnb.session import live

__all__ = ["RUN_AGAIN", "command", "run"]

RUN_AGAIN = 85
"""The exit status of a run that is not done. HTCondor's, for jobs that write their own checkpoints."""

_SIGNALS = ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU")
_LOOK_S = 0.25


def command(
    script: str, arguments: Sequence[str], *, walltime: str | None, until: str | None
) -> int:
    """Run a script; end the process at once if its time is up, else return the exit status."""
    status = run(script, arguments, walltime=walltime, until=until)
    if status != RUN_AGAIN:
        return status
    # All is saved and said. What the interpreter would still do, taking compiled code and modules apart,
    # can last seconds on a busy machine, and the limit does not wait for it.
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def run(
    script: str,
    arguments: Sequence[str] = (),
    *,
    walltime: str | None = None,
    until: str | None = None,
    margin_s: float | None = None,
    clock: Callable[[], float] = time.time,
) -> int:
    """Run a script to its end, or to the end of its time; return the exit status.

    `margin_s`: what is kept beside the time of the commits; by default `margin_of` the whole. `clock`:
    seconds since the epoch.
    """
    began = process_began()
    path = Path(script)
    if not path.is_file():
        msg = f"{script}: no such file"
        raise RingnbError(msg)
    end = end_of(
        None if walltime is None else parse_walltime(walltime),
        None if until is None else parse_until(until, datetime.now().astimezone()),
        began,
        os.environ,
    )
    meant = [a for a in arguments if a.split("=")[0] in ("--walltime", "--until")]
    if meant and walltime is None and until is None:
        _tell(
            f"ringnb run: {meant[0]} stands after {script} and goes to it, and the run has no limit: to "
            f"give it one, write ringnb run {meant[0].split('=')[0]} T {script}"
        )
    live.unsaved.clear()
    job = _Run(began, end, margin_s, clock)
    status = RUN_AGAIN
    with job:
        try:
            job.begin()
            status = _call(path, arguments, job)
        except SystemExit:  # the end came before the script had begun, or when it had just ended
            if not job.is_over:
                raise
        job.leave()
        # Here, and not at the end of the interpreter: the status depends on what it brings.
        live.close_all()
    return job.status(status)


def _call(path: Path, arguments: Sequence[str], job: _Run) -> int:
    """Run the script as ``python SCRIPT`` does, and return its status."""
    argv, folder = sys.argv, str(path.parent.resolve())
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, folder)
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as stop:
        if isinstance(stop.code, str) and not job.is_over:
            _tell(stop.code)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except Exception as error:  # noqa: BLE001 - the script's: shown as Python shows it
        if not job.is_over:
            trace = error.__traceback__
            while trace is not None and trace.tb_frame.f_code.co_filename != str(path):
                trace = trace.tb_next
            traceback.print_exception(type(error), error, trace)  # none: it did not compile
        return 1
    finally:
        sys.argv = argv
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
    return 0


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


@final
class _Run:
    """What goes on beside the script: sessions are continued, commits measured, the time is watched."""

    def __init__(
        self,
        began: float,
        end: float | None,
        margin_s: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._began = began
        self._since = datetime.now(UTC)
        self._end = end
        self._margin_s = 0.0
        if end is not None:
            if margin_s is None:
                margin_s = margin_of(end - began, slowdown_since(began))
            self._margin_s = margin_s
        self._times: weakref.WeakKeyDictionary[Any, CommitTimes] = weakref.WeakKeyDictionary()
        self._before: dict[int, Any] = {}
        self._why = ""
        self._time_is_up = False
        self._any_session = False
        self._gained = False  # whether a step was saved that this run has computed
        self._left = threading.Event()  # the main thread has left the script, or is told to
        self._ended = threading.Event()  # it has left it
        self._done = threading.Event()

    def __enter__(self) -> _Run:
        """Continue sessions."""
        live.on_start.append(self._started)
        return self

    def begin(self) -> None:
        """Handle signals, watch the time."""
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._announced)
        if self._end is not None:
            threading.Thread(target=self._watch, name="ringnb-run", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        """Undo it."""
        self._done.set()
        live.on_start.remove(self._started)
        for number, before in self._before.items():
            signal.signal(number, before)

    def leave(self) -> None:
        """Note that the script has ended: from now on nothing breaks off the last checkpoints."""
        self._left.set()
        self._ended.set()

    @property
    def is_over(self) -> bool:
        """Whether the time is up, or a signal has announced the end."""
        return bool(self._why)

    def status(self, status: int) -> int:
        """Return the exit status, and say what is to be done."""
        if not self.is_over:
            return status
        if live.unsaved:
            _tell(f"ringnb run: {self._why}, and the last state of {live.unsaved[0]} was not saved")
            return 1
        if not self._gained and self._had_its_time():
            _tell(f"ringnb run: {self._why}, and {self._why_no_gain()} (exit status 1)")
            return 1
        saved = (
            "what was computed is saved. Run the same command again to go on"
            if self._any_session
            else "the script had made no session, so nothing is saved. Run the same command to try again"
        )
        _tell(f"ringnb run: {self._why}; {saved} (exit status {RUN_AGAIN})")
        return RUN_AGAIN

    def _had_its_time(self) -> bool:
        """Whether it ended at its limit, or by a signal near it: the next start has no more time."""
        if self._end is None:
            return False
        return self._time_is_up or self._clock() - self._began > (self._end - self._began) / 2

    def _why_no_gain(self) -> str:
        assert self._end is not None
        reached = (
            "no actor is further than when the run began"
            if self._any_session
            else "the script had made no session"
        )
        kept_s = self._margin_s + self._commits_s()
        return (
            f"{reached}. The same command would come no further: give it more than "
            f"{self._end - self._began:.3g} s (the end of the run takes {kept_s:.2g} s of them), or "
            "have the script begin to step sooner"
        )

    # -- sessions --------------------------------------------------------------------------------

    def _started(self, session: Any) -> None:
        """Continue a session from what an earlier process has left."""
        self._any_session = True
        # A recorder has none, and goes on by itself: the script asks for its latest.
        actors = getattr(session, "actors", ())
        self._times[session] = CommitTimes(session.events, actors)
        session.events.subscribe(self._note_gain(), "restored", "committed")
        session.manager.reconfigure(on_close=True)
        for slot in range(len(actors)):
            history = session.manager.history(slot)
            written = history[-1].created_at if history else None
            if written is None or written >= self._since:
                continue  # nothing, or what this very run has written: the script knows of it
            with contextlib.suppress(CheckpointNotFound):  # retired at this moment
                step = session.restore(slot, "latest")
                kernel_id = session.manager.registered[slot].kernel_id
                _tell(f"ringnb run: actor {kernel_id!r} goes on from step {step:,}")

    def _note_gain(self) -> Callable[[Event], None]:
        """Return what notes a session's events: steps saved beyond where its actors went on from."""
        begun: dict[int, int] = {}

        def note(event: Event) -> None:
            """Note one event, on the thread that it is of."""
            step = event.step or 0
            if event.stage == "restored":
                begun[event.actor_slot] = step
            elif step > begun.get(event.actor_slot, 0):
                self._gained = True

        return note

    def _commits_s(self) -> float:
        return sum(self._times[s].seconds() for s in live.open_sessions() if s in self._times)

    # -- the end ---------------------------------------------------------------------------------

    def _announced(self, number: int, _frame: FrameType | None) -> None:
        """Leave the script. Main thread, as a signal handler."""
        if self._left.is_set():
            return  # a second signal must not break off the last checkpoint
        self._left.set()
        self._why = self._why or f"{signal.Signals(number).name} was received"
        if self._end is not None:
            self._limit_closing()
        raise SystemExit(RUN_AGAIN)

    def _limit_closing(self) -> None:
        """Let the last checkpoints have the time that is left, less what the end itself takes."""
        assert self._end is not None
        left = max(1.0, self._end - self._clock() - self._margin_s / 2)
        for session in live.open_sessions():
            with contextlib.suppress(Exception):
                session.manager.reconfigure(on_close_timeout=left)

    def _watch(self) -> None:
        """Body of the thread that watches the time."""
        assert self._end is not None
        end, margin = self._end, self._margin_s
        while (left := stop_at(end, margin, self._commits_s()) - self._clock()) > 0:
            if self._done.wait(min(left, _LOOK_S)):
                return
        if not self._left.is_set():  # else a signal was faster
            self._why, self._time_is_up = "the time is up", True
            # To the main thread itself, so that a call that waits in the system is interrupted.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        if self._left.wait(margin / 4) and self._ended.wait(margin / 4):
            return
        # It is in a call into compiled code that lasts, or in a script that catches SystemExit and goes
        # on. What counts is saved from here.
        self._limit_closing()
        live.close_all()
        if (
            not self._ended.wait(margin / 4 if self._left.is_set() else 0)
            and not self._done.is_set()
        ):
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            os._exit(self.status(RUN_AGAIN))
