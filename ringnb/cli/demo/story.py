"""The demo, told from the parent process: run, kill, look, restore, compare, draw.

Nothing here computes or checkpoints: children do (`ringnb.cli.demo.worker`), and this process reads what
they stored. Every number printed was measured in this run.
"""

from __future__ import annotations

import hashlib
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb._support.text import counted, format_bytes, say
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cli.demo.job import Job
from ringnb.cli.demo.place import Place
from ringnb.cli.demo.process import Child, DemoFailed, Message
from ringnb.cli.demo.telling import Telling

__all__ = ["run"]

_STEPS = 12_000
_SIZE = 256
_COMMITS = 8  # of each actor, at least, before the kill


def run(
    out: str, backend: str = "auto", *, steps: int | None = None, size: int | None = None
) -> int:
    """Run the demo.

    Parameters
    ----------
    out : str
        Directory for the store and the figures; it must be new, empty or an earlier demo's.
    backend : str, default "auto"
        Where the kernel runs.
    steps : int, optional
        The step at which restored and uninterrupted runs are compared.
    size : int, optional
        Cells along each side of the grids.

    Returns
    -------
    int
        Exit status: 0 if the restored run is bit-identical to the uninterrupted one, else 1.

    Raises
    ------
    RingnbError, OSError
        If the demo cannot be run.
    """
    place = Place(out)
    try:
        return _tell(place, backend, steps or _STEPS, size or _SIZE)
    finally:
        place.give_back()


def _tell(place: Place, backend: str, steps: int, size: int) -> int:
    started = time.monotonic()
    job = Job("endless", str(place.store), backend, size, steps)
    telling = _run_and_kill(job, place.log)
    storage = ZarrStorage(place.store)
    newest = _what_survived(storage, telling)

    # On a machine so slow that the actors had passed the goal already, the goal moves on.
    steps = max(steps, 1000 + max(c.step for c in newest))
    say()
    say(f"3. A new process restores the newest checkpoints and runs on to step {steps}")
    restored = _run_through(replace(job, role="restored", steps=steps), place.log)
    say()
    say(f"4. Another process starts from nothing and is never interrupted, to step {steps}")
    apart = replace(job, role="reference", steps=steps, store=str(place.reference))
    uninterrupted = _run_through(apart, place.log)

    after = [storage.load(name) for name in restored.names]
    reference = ZarrStorage(place.reference)
    unbroken = [reference.load(name) for name in uninterrupted.names]
    differences = _compare(after, unbroken)

    from ringnb.cli.demo.figures import Life, draw  # noqa: PLC0415 - matplotlib, not needed until now

    say()
    say("5. Figures, all drawn from stored checkpoints and the event log")
    kept = [storage.load(name) for name in storage.list()]
    lives = [
        Life([c for c in kept if c.kernel_id == last.kernel_id], first, last, never_broken)
        for first, last, never_broken in zip(newest, after, unbroken, strict=True)
    ]
    for path, caption in draw(
        place.directory, lives, telling.events, restored.events, telling.killed_ns
    ):
        say(f"   {path}: {caption}")
    say(f"   the checkpoints themselves: ringnb ls {place.store}")
    say()
    if differences:
        for line in differences:
            say(f"   {line}")
        sys.stderr.write("ringnb: the restored run differs from the uninterrupted one\n")
        return 1
    say(
        f"The restored run is bit-identical to the uninterrupted one "
        f"({time.monotonic() - started:.1f} s in all)."
    )
    return 0


def _run_and_kill(job: Job, log: Path) -> Telling:
    """Let a process run and checkpoint, and kill it while it writes."""
    say("Starting; the first run on a machine compiles the kernel, which takes some ten seconds")
    with Child(job, log) as child:
        messages = child.messages()
        telling = Telling(_first(messages, child), job.steps)
        say()
        say(
            f"1. Process {child.pid} runs {' and '.join(telling.kernel_ids)}, "
            f"{job.size} x {job.size} cells each, on the {telling.backend} backend"
        )
        say(
            f"   a checkpoint every {job.interval_s:g} s, some by hand, the newest {job.keep} of "
            "each actor are kept"
        )
        telling.head()
        with telling:
            for message in messages:
                telling.hear(message)
                # A snapshot was captured and not committed: the writer is at work.
                if telling.fewest_commits >= _COMMITS and telling.in_flight is not None:
                    break
            telling.killed_ns = time.monotonic_ns()
            status = child.kill()
        interrupted = telling.in_flight
        for message in messages:  # what it had said before the signal reached it
            telling.hear(message)
    if interrupted is None or status != -signal.SIGKILL:
        msg = f"process {child.pid} ended with status {status} before it was killed; see {log}"
        raise DemoFailed(msg)
    say(
        f"   SIGKILL to process {child.pid} after {telling.commits} commits: both actors were "
        f"stepping, and the snapshot of {telling.kernel_ids[interrupted.actor_slot]} at step "
        f"{interrupted.step} was being written"
    )
    return telling


def _first(messages: Iterator[Message], child: Child) -> Message:
    hello = next(messages, None)
    if hello is None:
        msg = f"process {child.pid} ended without a word"
        raise DemoFailed(msg)
    return hello


def _what_survived(storage: ZarrStorage, telling: Telling) -> list[Checkpoint]:
    """Verify everything in the store; return each actor's newest checkpoint, by slot."""
    say()
    say("2. What survived")
    began = time.monotonic()
    checkpoints = [storage.load(name) for name in storage.list()]
    for checkpoint in checkpoints:
        checkpoint.verify()
    took_ms = (time.monotonic() - began) * 1e3
    say(
        f"   {len(checkpoints)} checkpoints, {format_bytes(sum(c.nbytes for c in checkpoints))}, "
        f"every byte verified in {took_ms:.0f} ms; none is damaged, none is half written"
    )
    newest = []
    for slot, kernel_id in enumerate(telling.kernel_ids):
        own = [c for c in checkpoints if c.kernel_id == kernel_id]
        newest.append(own[-1])
        reached = max(telling.steps[slot], own[-1].step)
        say(
            f"   {kernel_id}: {len(own)} checkpoints, the newest at step {own[-1].step}; step "
            f"{reached} was seen: {counted(reached - own[-1].step, 'step')} lost"
        )
    flying = telling.in_flight
    if flying is not None:
        kernel_id = telling.kernel_ids[flying.actor_slot]
        made_it = any(
            c.kernel_id == kernel_id and c.request_id == flying.request_id for c in checkpoints
        )
        say(
            f"   the write that the kill met ({kernel_id}, step {flying.step}): "
            + ("complete, it had just become durable" if made_it else "absent, as if never begun")
        )
    return newest


def _run_through(job: Job, log: Path) -> Telling:
    """Let a process run to its last step."""
    with Child(job, log) as child:
        messages = child.messages()
        began = time.monotonic()
        telling = Telling(_first(messages, child), job.steps, quiet=job.role == "reference")
        with telling:
            for message in messages:
                telling.hear(message)
    if not telling.names:
        msg = f"process {child.pid} ended before it was done; its own words are in {log}"
        raise DemoFailed(msg)
    say(
        f"   process {child.pid}: both actors at step {job.steps} after "
        f"{time.monotonic() - began:.2f} s"
    )
    return telling


def _compare(after: Sequence[Checkpoint], reference: Sequence[Checkpoint]) -> list[str]:
    """Print a line per actor; return what differs."""
    differences = []
    width = max(len(c.kernel_id) for c in after)
    for a, b in zip(after, reference, strict=True):
        left, right = a.numpy(), b.numpy()
        found = differing(left, right)
        differences += [f"{a.kernel_id}: {line}" for line in found]
        say(
            f"   {a.kernel_id:<{width}}  step {a.step}  restored {_digest(left)}  "
            f"uninterrupted {_digest(right)}  {'DIFFERENT' if found else 'identical'}"
        )
    return differences


def differing(
    left: Mapping[str, npt.NDArray[Any]], right: Mapping[str, npt.NDArray[Any]]
) -> list[str]:
    """Compare fields bit for bit; NaNs and signed zeros count by their bits.

    Parameters
    ----------
    left, right : mapping of str to numpy.ndarray
        Fields by name.

    Returns
    -------
    list of str
        A sentence per difference; empty if there is none.
    """
    if set(left) != set(right):
        return [f"fields {sorted(left)} against {sorted(right)}"]
    lines = []
    for name, a in left.items():
        b = right[name]
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            lines.append(f"{name} is {a.shape} {a.dtype} against {b.shape} {b.dtype}")
            continue
        bits_a, bits_b = (
            np.ascontiguousarray(x).reshape(-1).view(np.uint8).reshape(-1, x.dtype.itemsize)
            for x in (a, b)
        )
        if not np.array_equal(bits_a, bits_b):
            cells = int(np.any(bits_a != bits_b, axis=1).sum())
            lines.append(f"{name} differs in {cells} of {a.size} cells")
    return lines


def _digest(fields: Mapping[str, npt.NDArray[Any]]) -> str:
    sha = hashlib.sha256()
    for name in sorted(fields):
        sha.update(name.encode() + b"\0" + np.ascontiguousarray(fields[name]).tobytes())
    return sha.hexdigest()[:16]
