"""The processes of the demo: ``python -m ringnb.cli.demo.worker JOB``.

A child answers on standard output, one JSON object per line, its member ``kind`` one of:

========== ================================================================================
hello      ``t_ns``, ``backend``, ``actors`` (``kernel_id``, ``kernel_type``, ``nbytes`` each)
event      ``event``, one of the lifecycle: the attributes of `ringnb.messages.events.Event`
steps      ``steps`` of every actor
finished   ``names`` of the final checkpoints
error      ``message``: why it gave up
========== ================================================================================

It ends with its parent: the parent holds the other end of standard input, which the system closes
whatever happens to the parent.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import asdict
from typing import Any, NoReturn

from ringnb import actors
from ringnb.actors.base import Actor
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.cli.demo.process import Job
from ringnb.errors import RingnbError
from ringnb.kernel.layout import state_nbytes
from ringnb.session.session import Session

__all__ = ["main"]

_LOOK_S = 0.001  # between two looks for events: less than a commit takes
_REPORT_S = 0.05
_MANUAL_S = 0.6


def _population(size: int) -> list[Actor]:
    """Return the actors of the demo, by slot: a damped wave and a reaction of two substances."""
    return [
        actors.Wave2D((size, size), damping=0.0005),
        actors.GrayScott((size, size)),
    ]


def _disturb(session: Session) -> None:
    """Excite the wave in three cells; its actors are at step 0.

    Every process must begin with the very same actors and disturbances: the comparison relies on it.
    """
    ny, nx = session.actors[0].shape
    for y, x, amplitude in ((0.30, 0.35, 1.0), (0.65, 0.25, -0.8), (0.55, 0.70, 0.9)):
        session.inject(0, at=(int(ny * y), int(nx * x)), amplitude=amplitude)


class _Speaker:
    """Writes lines to the parent, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, kind: str, **members: Any) -> None:
        line = json.dumps({"kind": kind, **members})
        with self._lock:
            try:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            except OSError:
                os._exit(1)  # the parent has closed its end


def _end_with_parent() -> None:
    """Leave at once when standard input ends, wherever the other threads are."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="demo-parent", daemon=True).start()


def _report(session: Session, speak: _Speaker, stop: threading.Event) -> None:
    """Send events and steps until `stop` is set; what was logged by then is still sent."""
    sent = 0
    reported = 0.0
    while True:
        last = stop.is_set()
        events = list(session.events)[sent:]  # far fewer than the log's capacity in a demo
        sent += len(events)
        for e in events:
            speak("event", event=asdict(e))
        if last:
            return
        if time.monotonic() - reported >= _REPORT_S:
            reported = time.monotonic()
            speak("steps", steps=[session.current_step(s) for s in range(len(session.actors))])
        stop.wait(_LOOK_S)


def _endless(session: Session) -> NoReturn:
    _disturb(session)
    session.resume()
    turn = 0
    while True:
        time.sleep(_MANUAL_S)
        session.snapshot(turn % len(session.actors))
        turn += 1


def _to_the_end(session: Session, job: Job) -> list[str]:
    slots = range(len(session.actors))
    if job.role == "restored":
        for slot in slots:
            session.restore(slot, "latest")
    else:
        _disturb(session)
    for slot in slots:
        left = job.steps - session.current_step(slot)
        if left > 0:
            session.run_steps(slot, left, wait=False)
    while any(session.current_step(slot) < job.steps for slot in slots):
        time.sleep(0.005)
    return [session.snapshot(slot).name for slot in slots]


def _work(job: Job, speak: _Speaker) -> None:
    endless = job.role == "endless"
    config = CheckpointConfig(
        interval=job.interval_s,
        max_snapshots=job.keep if endless else 0,
        storage_path=job.store,
        enabled=endless,
    )
    with Session(
        _population(job.size),
        backend=job.backend,
        config=config,
        max_steps_per_second=job.steps_per_second if endless else None,
    ) as session:
        speak(
            "hello",
            t_ns=time.monotonic_ns(),
            backend=session.backend,
            actors=[
                {
                    "kernel_id": f"{a.kernel_type}_{slot}",
                    "kernel_type": a.kernel_type,
                    "nbytes": state_nbytes(a),
                }
                for slot, a in enumerate(session.actors)
            ],
        )
        stop = threading.Event()
        reporter = threading.Thread(target=_report, args=(session, speak, stop), daemon=True)
        reporter.start()
        try:
            if endless:
                _endless(session)
            names = _to_the_end(session, job)
        finally:
            stop.set()
            reporter.join()
        speak("finished", names=names)


def main(argv: list[str]) -> int:
    """Do the job that the one argument holds, a `Job` as JSON; return the exit status."""
    _end_with_parent()
    speak = _Speaker()
    try:
        _work(Job.load(argv[0]), speak)
    except (RingnbError, OSError, ValueError, TypeError) as error:
        speak("error", message=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
