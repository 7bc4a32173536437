"""The demo as its parent process runs it: run, kill, look, restore, compare, draw.

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
from ringnb.cli.demo.narration import Narration
from ringnb.cli.demo.output_directory import OutputDirectory
from ringnb.cli.demo.process import DemoFailed, Job, Message, Worker

__all__ = ["run"]

_STEPS = 12_000
_SIZE = 256
_COMMITS = 8  # of each actor, at least, before the kill


def run(
    out: str, backend: str = "auto", *, steps: int | None = None, size: int | None = None
) -> int:
    """Run the demo; return 0 if the restored run is bit-identical to the uninterrupted one, else 1.

    They are compared at step `steps`; grids have `size` cells along each side.
    """
    output = OutputDirectory(out)
    try:
        return _run(output, backend, steps or _STEPS, size or _SIZE)
    finally:
        output.remove_if_unused()


def _run(output: OutputDirectory, backend: str, steps: int, size: int) -> int:
    started = time.monotonic()
    job = Job("endless", str(output.store), backend, size, steps)
    narration = _run_and_kill(job, output.log)
    storage = ZarrStorage(output.store)
    newest = _what_survived(storage, narration)

    # On a machine so slow that the actors had passed the goal already, the goal moves on.
    steps = max(steps, 1000 + max(c.step for c in newest))
    say()
    say(f"3. A new process restores the newest checkpoints and runs on to step {steps}")
    restored = _run_through(replace(job, role="restored", steps=steps), output.log)
    say()
    say(f"4. Another process starts from nothing and is never interrupted, to step {steps}")
    apart = replace(job, role="reference", steps=steps, store=str(output.reference))
    uninterrupted = _run_through(apart, output.log)

    after = [storage.load(name) for name in restored.names]
    reference = ZarrStorage(output.reference)
    unbroken = [reference.load(name) for name in uninterrupted.names]
    differences = _compare(after, unbroken)

    from ringnb.cli.demo.figures import ActorResult, draw

    say()
    say("5. Figures, all drawn from stored checkpoints and the event log")
    kept = [storage.load(name) for name in storage.list()]
    results = [
        ActorResult([c for c in kept if c.kernel_id == last.kernel_id], first, last, never_broken)
        for first, last, never_broken in zip(newest, after, unbroken, strict=True)
    ]
    for path, caption in draw(
        output.path, results, narration.events, restored.events, narration.killed_ns
    ):
        say(f"   {path}: {caption}")
    say(f"   the checkpoints themselves: ringnb ls {output.store}")
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


def _run_and_kill(job: Job, log: Path) -> Narration:
    """Let a process run and checkpoint, and kill it while it writes."""
    say("Starting; the first run on a machine compiles the kernel, which takes some ten seconds")
    with Worker(job, log) as worker:
        messages = worker.messages()
        narration = Narration(_first(messages, worker), job.steps)
        say()
        say(
            f"1. Process {worker.pid} runs {' and '.join(narration.kernel_ids)}, "
            f"{job.size} x {job.size} cells each, on the {narration.backend} backend"
        )
        say(
            f"   a checkpoint every {job.interval_s:g} s, some by hand, the newest {job.keep} of "
            "each actor are kept"
        )
        narration.print_header()
        with narration:
            for message in messages:
                narration.add(message)
                # A snapshot was captured and not committed: the writer is at work.
                if narration.fewest_commits >= _COMMITS and narration.in_flight is not None:
                    break
            narration.killed_ns = time.monotonic_ns()
            status = worker.kill()
        interrupted = narration.in_flight
        for message in messages:  # what it had said before the signal reached it
            narration.add(message)
    if interrupted is None or status != -signal.SIGKILL:
        msg = f"process {worker.pid} ended with status {status} before it was killed; see {log}"
        raise DemoFailed(msg)
    say(
        f"   SIGKILL to process {worker.pid} after {narration.commits} commits: both actors were "
        f"stepping, and the snapshot of {narration.kernel_ids[interrupted.actor_slot]} at step "
        f"{interrupted.step} was being written"
    )
    return narration


def _first(messages: Iterator[Message], worker: Worker) -> Message:
    hello = next(messages, None)
    if hello is None:
        msg = f"process {worker.pid} ended before it sent anything"
        raise DemoFailed(msg)
    return hello


def _what_survived(storage: ZarrStorage, narration: Narration) -> list[Checkpoint]:
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
    for slot, kernel_id in enumerate(narration.kernel_ids):
        own = [c for c in checkpoints if c.kernel_id == kernel_id]
        newest.append(own[-1])
        reached = max(narration.steps[slot], own[-1].step)
        say(
            f"   {kernel_id}: {len(own)} checkpoints, the newest at step {own[-1].step}; step "
            f"{reached} was seen: {counted(reached - own[-1].step, 'step')} lost"
        )
    interrupted = narration.in_flight
    if interrupted is not None:
        kernel_id = narration.kernel_ids[interrupted.actor_slot]
        complete = any(
            c.kernel_id == kernel_id and c.request_id == interrupted.request_id for c in checkpoints
        )
        say(
            f"   the write that the kill interrupted ({kernel_id}, step {interrupted.step}): "
            + ("complete, it had just become durable" if complete else "absent, as if never begun")
        )
    return newest


def _run_through(job: Job, log: Path) -> Narration:
    """Let a process run to its last step."""
    with Worker(job, log) as worker:
        messages = worker.messages()
        began = time.monotonic()
        narration = Narration(_first(messages, worker), job.steps, quiet=job.role == "reference")
        with narration:
            for message in messages:
                narration.add(message)
    if not narration.names:
        msg = f"process {worker.pid} ended before it was done; its error output is in {log}"
        raise DemoFailed(msg)
    say(
        f"   process {worker.pid}: both actors at step {job.steps} after "
        f"{time.monotonic() - began:.2f} s"
    )
    return narration


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
    """Compare fields bit for bit, also NaNs and signed zeros; return a sentence per difference."""
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
