"""Lesson 8: the CUDA kernel by itself, on a GPU or in Numba's simulator, and what it is compiled to.

`check_08` drives the host's own ring code. Numba decides once per process whether ``numba.cuda`` is the
GPU's or the simulator's; what needs the other one is done in a process of its own.
"""

from __future__ import annotations

import inspect
import operator
import os
import random
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Never

import numpy as np

from ringnb.actors import Actor
from ringnb.course.checks import CheckFailed, Passed, learners_code, require
from ringnb.course.widgets import Note
from ringnb.errors import BackendUnavailable
from ringnb.kernel import layout, ring
from ringnb.kernel.cuda.availability import driver_present, load
from ringnb.kernel.cuda.kernel import CudaKernel

__all__ = [
    "bare_kernel",
    "barrier_in",
    "barrier_source",
    "check_08",
    "gpu_or_simulator",
    "seconds_until",
    "wave_ptx",
]

_HISTORIES = 200
_ASK_GPU = (
    "from ringnb.kernel.cuda.availability import why_unavailable; print(why_unavailable() or '')"
)
_bare: list[CudaKernel] = []


# -- where it runs -------------------------------------------------------------------------------------


class _NotHere(BackendUnavailable):
    """The lesson cannot run here; a notebook shows one line that says what to do."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def gpu_or_simulator() -> tuple[str, str]:
    """Choose where the CUDA kernel runs in this process.

    Returns
    -------
    backend : str
        "cuda" where a GPU is usable, else "cudasim".
    why : str
        In words.

    Raises
    ------
    BackendUnavailable
        If neither can be had in this process; the message says what to do.
    """
    if "numba.cuda" in sys.modules:
        from numba import config  # noqa: PLC0415 - loaded already

        reason = "this process has the simulator's numba.cuda" if config.ENABLE_CUDASIM else None
    else:
        reason = None
    if reason is None:
        reason = _why_no_gpu()
    if reason is None:
        return "cuda", "a GPU is here, and the kernel runs on it"
    try:
        load(simulate=True)
    except BackendUnavailable as error:
        # Another backend, which the message offers at its end, is not what the lesson is about.
        raise _NotHere(str(error).removesuffix("; or use backend='cpu'")) from error
    return "cudasim", f"the kernel runs in Numba's simulator: {reason}"


def _why_no_gpu() -> str | None:
    """Ask for the GPU without taking its numba.cuda into this process, which may need the other one."""
    if not driver_present():
        return "no NVIDIA driver is loaded here"
    done = _python("-c", _ASK_GPU)
    if done.returncode != 0:
        return _last_line(done.stderr)
    return done.stdout.strip() or None


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    command = [sys.executable, *arguments]
    return subprocess.run(  # noqa: S603 - our own interpreter, no shell
        command, capture_output=True, text=True, check=False, env=environment, timeout=300
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def bare_kernel(
    backend: str, actor: Actor, *, capacity: int = 4, lease_s: float = 2.0
) -> CudaKernel:
    """Launch the CUDA kernel with nothing around it: no session, no thread that takes replies.

    Parameters
    ----------
    backend : str
        "cuda" or "cudasim".
    actor : Actor
        What it hosts, in slot 0.
    capacity : int, default 4
        Slots of each ring.
    lease_s : float, default 2.0
        As for `CudaKernel`.

    Returns
    -------
    CudaKernel
        It runs. One that an earlier call launched was stopped.
    """
    while _bare:
        _bare.pop().stop()
    kernel = CudaKernel([actor], simulate=backend == "cudasim", capacity=capacity, lease_s=lease_s)
    _ready_rings()
    kernel.launch()
    _bare.append(kernel)
    return kernel


def _ready_rings() -> None:
    """Have the host's ring code compiled: compiling holds the interpreter's lock longer than a lease."""
    control, slots, scratch = _ring(2)
    ring.push_and_spin(control, slots, scratch, 2, 1, 0, 0, 0, 0, 0, 0)
    ring.store_word(control, layout.K2H_HEAD, ring.load_word(control, layout.H2K_HEAD))
    ring.peek(control, slots, scratch)
    ring.advance(control)


def _ring(capacity: int) -> tuple[layout.Words, layout.Words, layout.Words]:
    """Make the control words of a lane, the slots of a ring, and what a push needs besides."""
    slots = np.zeros((capacity, layout.SLOT_WORDS), np.int64)
    return np.zeros(layout.CTL_WORDS, np.int64), slots, np.zeros(8, np.int64)


def seconds_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> float:
    """Wait for a condition, and say how long that took.

    Parameters
    ----------
    condition : callable
        Asked a thousand times a second.
    timeout_s : float, default 30.0
        Seconds to wait at most.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    TimeoutError
        If it does not hold in time.
    """
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > timeout_s:
            msg = f"what was waited for has not happened within {timeout_s:g} s"
            raise TimeoutError(msg)
        time.sleep(0.001)
    return time.monotonic() - begin


# -- what the blocks do --------------------------------------------------------------------------------


def barrier_source() -> Note:
    """Return the source of the barrier of a group of blocks. Only after a kernel was made.

    Returns
    -------
    Note
        For the notebook to display.
    """
    # It takes the numba.cuda that is there, hence not before.
    from ringnb.kernel.cuda import program as cuda_program  # noqa: PLC0415

    barrier = cuda_program._barrier
    return Note(inspect.getsource(getattr(barrier, "py_func", barrier)).rstrip())


def wave_ptx(cc: tuple[int, int] = (9, 0)) -> Future[str]:
    """Begin to compile the kernel that hosts waves, in a process of its own; no GPU is needed.

    Parameters
    ----------
    cc : (int, int), default (9, 0)
        Compute capability.

    Returns
    -------
    concurrent.futures.Future
        Its ``result()`` is the PTX. It raises `BackendUnavailable` if the compiler is not installed, or
        fails.
    """

    def compile_() -> str:
        """Wait for the process."""
        done = _python("-m", "ringnb.course.processes.compiled", *map(str, cc))
        if done.returncode != 0:
            msg = f"{_last_line(done.stderr)}. pip install 'ringnb[cuda13]' brings the compiler"
            raise BackendUnavailable(msg)
        return done.stdout

    pool = ThreadPoolExecutor(1, "ringnb-compile")
    compiling = pool.submit(compile_)
    pool.shutdown(wait=False)
    return compiling


def barrier_in(ptx: str) -> Note:
    """Return the first barrier of a group in PTX, between its two barriers of a block.

    Parameters
    ----------
    ptx : str
        From `wave_ptx`.

    Returns
    -------
    Note
        Without comments and empty lines, for the notebook to display.
    """
    lines = [
        line for line in ptx.splitlines() if line.strip() and not line.lstrip().startswith("//")
    ]
    poll = next(i for i, line in enumerate(lines) if "ld.relaxed.gpu" in line)
    around = [i for i, line in enumerate(lines) if "bar.sync" in line]
    first, last = max(i for i in around if i < poll), min(i for i in around if i > poll)
    return Note("\n".join(lines[first : last + 1]).expandtabs(4))


# -- the exercise --------------------------------------------------------------------------------------


def check_08(unread: Callable[[int, int, int], Iterable[int]]) -> Passed:
    """Check a reading of the ring's two indices against the host's own ring code.

    Parameters
    ----------
    unread : callable
        ``unread(head, tail, capacity)`` returns the slots whose commands the kernel has not read yet,
        oldest first.

    Returns
    -------
    Passed
        What was tried.

    Raises
    ------
    CheckFailed
        At the first ring where a command lies elsewhere.
    """
    draw = random.Random(8)  # noqa: S311 - histories, not secrets
    looks = fulls = 0
    for turn in range(_HISTORIES):
        # Small rings and indices first, so that a learner is shown what can be followed by hand.
        capacity = (4, 2, 8, 64)[turn * 4 // _HISTORIES]
        begin = draw.randrange(2**40, 2**62) if turn % 5 == 4 else draw.randrange(1 + 2 * turn)
        for head, tail, full in _history(draw, capacity, begin):
            _compare(unread, head, tail, capacity)
            looks += 1
            fulls += full
    return Passed(
        f"{_HISTORIES} rings of 2 to 64 slots looked at {looks:,} times, {fulls:,} times full: every "
        "command found"
    )


def _history(draw: random.Random, capacity: int, begin: int) -> Iterable[tuple[int, int, bool]]:
    """Push and read at random with the real code; yield the indices, and whether a push was refused."""
    control, slots, scratch = _ring(capacity)
    control[layout.H2K_HEAD] = control[layout.H2K_TAIL] = begin
    waiting: deque[int] = deque()
    eager = draw.random()
    for command_id in range(3 * capacity):
        full = False
        if draw.random() < 0.3 + 0.6 * eager:
            full = not ring.push(control, slots, scratch, 2, command_id, 0, 0, 0, 0, 0)
            if not full:
                waiting.append(command_id)
        elif waiting:
            waiting.popleft()
            ring.store_word(control, layout.H2K_TAIL, int(control[layout.H2K_TAIL]) + 1)
        head, tail = int(control[layout.H2K_HEAD]), int(control[layout.H2K_TAIL])
        assert [int(slots[_slot(i, capacity), 1]) for i in range(tail, head)] == list(waiting)
        yield head, tail, full


def _slot(index: int, capacity: int) -> int:
    return index & (capacity - 1)


def _compare(
    unread: Callable[[int, int, int], Iterable[int]], head: int, tail: int, capacity: int
) -> None:
    hint = (
        "commands not read yet have the indices tail, tail + 1, … head - 1: in which slot is each?"
    )
    with learners_code(hint):
        answer = unread(head, tail, capacity)
    what = f"unread({head}, {tail}, {capacity})"
    try:
        found = [operator.index(slot) for slot in answer]
    except TypeError:
        _refuse(f"{what} returned {answer!r}, not a list of slots")
    wanted = [_slot(index, capacity) for index in range(tail, head)]
    if len(wanted) == capacity and not found:
        hint = "head and tail may fall on the same slot in two cases: the indices tell them apart"
    require(
        found == wanted,
        f"{what} should be {_short(wanted)}; you returned {_short(found)}",
        hint,
    )


def _refuse(fact: str) -> Never:
    raise CheckFailed(fact, "return a list of integers, an empty one if nothing waits")


def _short(slots: list[int]) -> str:
    return str(slots) if len(slots) <= 8 else f"[{', '.join(map(str, slots[:8]))}, …]"
