"""A process that commits, retires, pins and deletes is ended with SIGKILL, again and again."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ringnb.testing.trials.interposing import Operation, interposed
from ringnb.testing.trials.judging import Loss, judge, loss_after, settle
from ringnb.testing.trials.workloads import OPERATIONS, ORDINARY_LIFE, Expectation, Runner

__all__ = ["kill_at_every_call", "kill_at_random"]

_TIMEOUT_S = 60.0
# Children start from a server that has imported what they need, and has no threads yet.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["ringnb.testing.trials.kills"])


def kill_at_every_call(workload: Sequence[str], folder: Path | None = None) -> Counter[str]:
    """Kill a process before and after each call to the system of a workload's last operation.

    Return the number of ``kills``; raise `Loss` if a promise was broken.
    """
    counts: Counter[str] = Counter()
    after = False
    call = 1
    while True:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            store = Path(name, "s.zarr")
            killed, expected = _child(_run, store, Expectation(), (tuple(workload), call, after))
            if killed:
                counts["kills"] += 1
                where = f"{tuple(workload)}, killed {'after' if after else 'before'} call {call}"
                with loss_after(where):
                    judge(store, expected)
        if not killed:
            return counts
        call, after = (call + 1, False) if after else (call, True)


def kill_at_random(kills: int, seed: int, folder: Path | None = None) -> Counter[str]:
    """Kill processes at random times, one after the other on one store; `seed` repeats what they do.

    Return the number of ``kills``, and of ``commits`` that were judged after the last of them.
    """
    random_ = random.Random(seed)  # noqa: S311 - repeatable, no secret
    expected = Expectation()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        store = Path(name, "s.zarr")
        for number in range(kills):
            delay = random_.uniform(0.0, 0.1)
            killed, expected = _child(_run_on, store, expected, (seed + number,), delay_s=delay)
            where = f"seed {seed}, kill {number + 1} after {delay * 1e3:.1f} ms"
            if not killed:
                msg = f"{where}: the child ended by itself"
                raise Loss(msg)
            with loss_after(where):
                expected = settle(store, expected)
        with loss_after(f"seed {seed}, after all"):
            judge(store, expected)
    return Counter(kills=kills, commits=len(expected.must))


def _child(
    target: Callable[..., None],
    store: Path,
    expected: Expectation,
    arguments: tuple[object, ...],
    delay_s: float | None = None,
) -> tuple[bool, Expectation]:
    """Run a child until it is killed, or ends; return whether it was, and what it announced last."""
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=target, args=(theirs, store, expected, *arguments))
    process.start()
    theirs.close()
    deadline = time.monotonic() + _TIMEOUT_S
    try:
        if delay_s is not None:
            expected = ours.recv()  # it has begun
            time.sleep(delay_s)
            process.kill()
        while time.monotonic() < deadline:
            expected = ours.recv()
    except OSError as error:
        if "end of file" not in str(error):  # it was killed in the middle of what it announced
            raise
    except EOFError:
        pass
    finally:
        ours.close()
        process.join(_TIMEOUT_S)
    if process.exitcode not in (0, -signal.SIGKILL):
        msg = f"the child ended with status {process.exitcode}"
        raise Loss(msg)
    return process.exitcode != 0, expected


def _run(
    pipe: Connection,
    store: Path,
    expected: Expectation,
    workload: Sequence[str],
    call: int,
    after: bool,
) -> None:
    """Run a workload, and die at a call of its last operation."""
    left: int | None = None

    def around(_operation: Operation, do: Callable[[], Any]) -> Any:
        """Count, die, or do it."""
        nonlocal left
        if left is not None:
            left -= 1
        if left == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = do()
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    runner = Runner(store, on_change=lambda r: pipe.send(r.expected), expected=expected)
    *earlier, last = workload
    with interposed(around):
        for operation in earlier:
            runner.run(operation)
        left = call
        runner.run(last)
    runner.close()


def _run_on(pipe: Connection, store: Path, expected: Expectation, seed: int) -> None:
    """Do anything, until killed."""
    random_ = random.Random(seed)  # noqa: S311 - repeatable, no secret
    runner = Runner(store, on_change=lambda r: pipe.send(r.expected), expected=expected)
    commits = ("save", "share", "group") * 4  # so that there is always something to lose
    while True:
        runner.run(random_.choice((*commits, *OPERATIONS, *ORDINARY_LIFE)))
