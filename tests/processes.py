"""Other processes, for what processes do to each other, without the second that imports take.

They are forked from one that has imported ringnb and done nothing else. Their start and their end
are not those of a program: for tests of these there is `ringnb._support.children`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from multiprocessing import forkserver

_CONTEXT = multiprocessing.get_context("forkserver")
# A process has one such server; lesson 4 starts its children from it, too, and would have code compiled
# in it if it were the first to do so: see `start_server`.
_CONTEXT.set_forkserver_preload(["pytest", "ringnb.testing.storages", "ringnb.course.lesson_04"])


def start_server():
    """Start what processes are forked from, while it has compiled nothing."""
    forkserver.ensure_running()


@contextlib.contextmanager
def other_process(function, *arguments):
    """Call ``function(pipe, *arguments)`` of a test's module in another process.

    Yields the process, which is killed at the end of the block, and the other end of the pipe.
    """
    here, there = _CONTEXT.Pipe()
    with here, there:
        process = _CONTEXT.Process(
            target=_run, args=(os.environ.copy(), function, there, *arguments)
        )
        process.start()
        there.close()
        try:
            yield process, here
        finally:
            process.kill()
            process.join()
            process.close()


def elsewhere(function, *arguments):
    """Return what a function of a test's module returns, or raises, in a process that has ended."""
    with other_process(_answer, function, arguments) as (process, pipe):
        answer = pipe.recv()
        process.join(60)
        assert process.exitcode == 0
    return answer


def _run(environment, function, *arguments):
    os.environ.clear()
    os.environ.update(environment)
    function(*arguments)


def _answer(pipe, function, arguments):
    try:
        answer = function(*arguments)
    except Exception as error:
        answer = error
    pipe.send(answer)
