"""Lesson 8: the CUDA kernel alone, on a GPU or in Numba's simulator; its words, and its machine code.

`check_08` uses the host's own ring code. Numba decides once per process whether ``numba.cuda`` is the
GPU's or the simulator's; whatever needs the other one runs in another process.
"""

from __future__ import annotations

import inspect
import operator
import random
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, final

from ringnb._support.children import child_environment, run_python
from ringnb._support.text import format_table, rows_table
from ringnb.actors import Actor
from ringnb.course.checks import (
    CheckFailed,
    Passed,
    WithoutTraceback,
    learners_code,
    require,
    wait_while,
)
from ringnb.course.widgets import Note
from ringnb.errors import BackendUnavailable
from ringnb.kernel import layout, ring
from ringnb.kernel.base import AbstractKernel
from ringnb.kernel.cuda import layout as cuda_layout
from ringnb.kernel.cuda.availability import driver_present, load
from ringnb.kernel.cuda.kernel import CudaKernel

__all__ = [
    "Words",
    "bare_kernel",
    "barrier_in",
    "barrier_source",
    "check_08",
    "gpu_or_simulator",
    "seconds_until",
    "wave_ptx",
    "words",
]

_HISTORIES = 200
_ASK_GPU = (
    "from ringnb.kernel.cuda.availability import why_unavailable; print(why_unavailable() or '')"
)
_bare: list[CudaKernel] = []  # what `bare_kernel` has launched: one at a time


# -- where it runs -------------------------------------------------------------------------------------


class _NotHere(WithoutTraceback, BackendUnavailable):
    """The lesson cannot run here; a notebook shows this as one line that says what to do."""


def gpu_or_simulator() -> tuple[str, str]:
    """Choose where the CUDA kernel runs in this process.

    Returns
    -------
    backend : str
        "cuda" where a GPU is usable, else "cudasim".
    why : str
        The reason, for the learner.

    Raises
    ------
    BackendUnavailable
        If neither is possible in this process; the message says what to do.
    """
    from numba import config  # noqa: PLC0415 - numba is slow to import

    if "numba.cuda" in sys.modules and config.ENABLE_CUDASIM:
        reason: str | None = "this process has the simulator's numba.cuda"
    else:
        reason = _why_no_gpu()
    if reason is None:
        return "cuda", "there is a GPU, and the kernel runs on it"
    try:
        load(simulate=True)
    except BackendUnavailable as error:
        # The message ends by offering another backend, but this lesson needs this one.
        raise _NotHere(str(error).removesuffix("; or use backend='cpu'")) from error
    return "cudasim", f"the kernel runs in Numba's simulator: {reason}"


def _why_no_gpu() -> str | None:
    """Look for a usable GPU without importing numba.cuda here: this process may need the simulator's."""
    if not driver_present():
        return "no NVIDIA driver is loaded here"
    done = run_python("-c", _ASK_GPU, **_with_gpu())
    if done.returncode != 0:
        return _last_line(done.stderr)
    return done.stdout.strip() or None


def _with_gpu() -> dict[str, Any]:
    """Return what makes a child use the GPU's numba.cuda, and end after 300 s at the latest."""
    return {"env": child_environment(NUMBA_ENABLE_CUDASIM="0"), "timeout": 300}


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["the process printed no error"])[-1]


def bare_kernel(backend: str, actor: Actor, *, capacity: int = 4) -> CudaKernel:
    """Launch the CUDA kernel alone: no session, no thread that reads replies.

    Parameters
    ----------
    backend : str
        "cuda" or "cudasim".
    actor : Actor
        The actor in slot 0.
    capacity : int, default 4
        Slots of each ring.

    Returns
    -------
    CudaKernel
        It is running. The kernel of an earlier call is stopped.
    """
    while _bare:
        _bare.pop().stop()
    kernel = CudaKernel([actor], simulate=backend == "cudasim", capacity=capacity)
    kernel.launch()
    _bare.append(kernel)
    return kernel


def seconds_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> float:
    """Wait for a condition, and return how long that took.

    Parameters
    ----------
    condition : callable
        Called a thousand times a second, until it returns true.
    timeout_s : float, default 30.0
        Seconds to wait at most.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    TimeoutError
        If the condition does not become true in time.
    """
    begin = time.monotonic()
    if not wait_while(lambda: not condition(), timeout_s):
        msg = f"the condition has not become true within {timeout_s:g} s"
        raise TimeoutError(msg)
    return time.monotonic() - begin


# -- the words that host and kernel share -------------------------------------------------------------


class _Word(NamedTuple):
    writer: str
    meaning: str
    at: int | None  # index in a lane's control words; None: it is elsewhere


_WORDS = {
    "H2K_HEAD": _Word("host", "commands written", layout.H2K_HEAD),
    "H2K_TAIL": _Word("kernel", "commands read", layout.H2K_TAIL),
    "K2H_HEAD": _Word("kernel", "replies written", layout.K2H_HEAD),
    "K2H_TAIL": _Word("host", "replies read", layout.K2H_TAIL),
    "W_STEP": _Word("kernel", "steps of slot 0", None),
    "TAKEN": _Word("kernel", "staging buffers filled", layout.TAKEN),
    "RETURNED": _Word("host", "staging buffers given back", layout.RETURNED),
    "LOOPS": _Word("kernel", "passes of the leader's loop", layout.LOOPS),
    "LAUNCHES": _Word("host", "launches of the grid (a counter of the host's own)", None),
    "STOP": _Word("host", "1: the kernel must end", layout.STOP),
    "STATE": _Word("kernel", "2: it has ended", layout.STATE),
    "STATE_REASON": _Word("kernel", "why: 1 STOP, 2 TERMINATE", cuda_layout.STATE_REASON),
}


@final
class Words(dict[str, int]):
    """Values of the words that host and kernel share, at the time when they were read.

    The names are those of `ringnb.kernel.layout` and `ringnb.kernel.cuda.layout`.

    Parameters
    ----------
    values : dict of str to int
        The words.
    since : Words, optional
        Earlier values, shown beside them.
    """

    def __init__(self, values: dict[str, int], since: Words | None = None) -> None:
        super().__init__(values)
        self._since = since

    def _rows(self) -> list[tuple[object, ...]]:
        columns = [self] if self._since is None else [self._since, self]
        return [
            (name, word.writer, *(column[name] for column in columns), word.meaning)
            for name, word in _WORDS.items()
        ]

    def _header(self) -> list[str]:
        values = ["value"] if self._since is None else ["before", "after"]
        return ["word", "written by", *values, "meaning"]

    def _repr_html_(self) -> str:
        """Show them as a table."""
        return rows_table("Words that host and kernel share", self._header(), self._rows())

    def __repr__(self) -> str:
        """Show them as lines."""
        rows = [[str(value) for value in row] for row in self._rows()]
        return "\n".join(format_table(self._header(), rows))


def words(kernel: AbstractKernel, since: Words | None = None) -> Words:
    """Read the words that the host shares with a kernel's first lane, also after the kernel's end.

    Parameters
    ----------
    kernel : CudaKernel
        From `bare_kernel`, or the ``kernel`` of a session with ``backend="cuda"`` or "cudasim".
    since : Words, optional
        Earlier values to show beside them.

    Returns
    -------
    Words
        Read one after the other while the kernel runs, so not all at the same moment.
    """
    if not isinstance(kernel, CudaKernel):
        msg = (
            f"kernel must be a CUDA kernel, got {kernel!r}: open the session with backend='cudasim'"
        )
        raise TypeError(msg)
    control = kernel.shared(0).control
    values = {name: int(control[w.at]) for name, w in _WORDS.items() if w.at is not None}
    for name, at in (("TAKEN", layout.TAKEN), ("RETURNED", layout.RETURNED)):
        values[name] = sum(
            int(control[at + b * layout.LINE]) for b in range(layout.STAGING_BUFFERS)
        )
    values["W_STEP"] = kernel.counters(0).step
    values["LAUNCHES"] = kernel.launches
    return Words({name: values[name] for name in _WORDS}, since)


# -- what the blocks do --------------------------------------------------------------------------------


def barrier_source() -> Note:
    """Return the source of the barrier of a group of blocks; to be called after a kernel was created.

    Returns
    -------
    Note
        For the notebook to display.
    """
    # This module uses the numba.cuda that was chosen for the process: never import it earlier.
    from ringnb.kernel.cuda import program as cuda_program  # noqa: PLC0415 - see above

    barrier = cuda_program._barrier
    return Note(inspect.getsource(getattr(barrier, "py_func", barrier)).rstrip())


def wave_ptx(cc: tuple[int, int] = (9, 0)) -> Future[str]:
    """Begin to compile the kernel that hosts waves, in another process; no GPU is needed.

    Parameters
    ----------
    cc : (int, int), default (9, 0)
        Compute capability.

    Returns
    -------
    concurrent.futures.Future
        Its ``result()`` returns the PTX, or raises `BackendUnavailable` if the compiler is not installed
        or fails.
    """

    def compile_() -> str:
        """Wait for the process, on the pool's thread."""
        program = ("-m", "ringnb.course.processes.compiled", *map(str, cc))
        done = run_python(*program, **_with_gpu())
        if done.returncode != 0:
            msg = f"{_last_line(done.stderr)}. pip install 'ringnb[cuda13]' installs the compiler"
            raise BackendUnavailable(msg)
        return done.stdout

    pool = ThreadPoolExecutor(1, "ringnb-compile")
    compiling = pool.submit(compile_)
    pool.shutdown(wait=False)
    return compiling


def barrier_in(ptx: str) -> Note:
    """Find the first barrier of a group in PTX, from one barrier of the block to the next.

    Parameters
    ----------
    ptx : str
        From `wave_ptx`.

    Returns
    -------
    Note
        The lines without comments and empty ones, for the notebook to display.
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
    """Check a function that reads the ring's two indices against the host's own ring code.

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
        At the first ring for which the function returns other slots.
    """
    draw = random.Random(8)  # noqa: S311 - histories, not secrets
    looks = fulls = 0
    for turn in range(_HISTORIES):
        # Small rings and indices first, so that a learner sees a case that can be followed by hand.
        capacity = (4, 2, 8, 64)[turn * 4 // _HISTORIES]
        begin = draw.randrange(2**40, 2**62) if turn % 5 == 4 else draw.randrange(1 + 2 * turn)
        for head, tail, full in _history(draw, capacity, begin):
            _compare(unread, head, tail, capacity)
            looks += 1
            fulls += full
    return Passed(
        f"{_HISTORIES} rings of 2 to 64 slots, read {looks:,} times, {fulls:,} times when full: every "
        "command found"
    )


def _history(draw: random.Random, capacity: int, begin: int) -> Iterable[tuple[int, int, bool]]:
    """Push and read at random with the real code; yield head, tail, and whether the ring was full."""
    control, slots = layout.lines(layout.CTL_WORDS), layout.lines(capacity, layout.SLOT_WORDS)
    port = ring.open_port(control, slots, slots)
    control[layout.H2K_HEAD] = control[layout.H2K_TAIL] = begin
    unread: list[int] = []
    share_of_pushes = 0.3 + 0.6 * draw.random()
    for command_id in range(3 * capacity):
        full = False
        if draw.random() < share_of_pushes:
            full = not ring.push(port, 2, command_id, 0, 0, 0, 0, 0, 0)
            if not full:
                unread.append(command_id)
        elif unread:
            del unread[0]
            ring.store_word(control, layout.H2K_TAIL, int(control[layout.H2K_TAIL]) + 1)
        head, tail = int(control[layout.H2K_HEAD]), int(control[layout.H2K_TAIL])
        assert [int(slots[_slot(i, capacity), 1]) for i in range(tail, head)] == unread
        yield head, tail, full


def _slot(index: int, capacity: int) -> int:
    return index & (capacity - 1)


def _compare(
    unread: Callable[[int, int, int], Iterable[int]], head: int, tail: int, capacity: int
) -> None:
    """Raise `CheckFailed` unless the learner's function returns the slots of `tail` up to `head`."""
    hint = (
        "commands not yet read have the indices tail, tail + 1, … head - 1: in which slot is each?"
    )
    call = f"unread({head}, {tail}, {capacity})"
    with learners_code(hint):
        answer: object = unread(head, tail, capacity)
        # The learner's function may be a generator: it runs here.
        slots: list[Any] = list(answer) if isinstance(answer, Iterable) else [None]
    try:
        found = [operator.index(slot) for slot in slots]
    except TypeError:
        fact = f"{call} returned {answer!r}, not a list of slots"
        empty = "return a list of integers; an empty one if every command was read"
        raise CheckFailed(fact, empty) from None
    wanted = [_slot(index, capacity) for index in range(tail, head)]
    if len(wanted) == capacity and not found:
        hint = "head and tail are in the same slot in two cases: the indices tell which case it is"
    require(
        found == wanted,
        f"{call} should be {_short(wanted)}; you returned {_short(found)}",
        hint,
    )


def _short(slots: list[int]) -> str:
    return str(slots) if len(slots) <= 8 else f"[{', '.join(map(str, slots[:8]))}, …]"
