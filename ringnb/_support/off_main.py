"""Keeps locks off the main thread, so that a signal handler can make every call of a session.

Python runs a signal handler on the main thread, between two of its bytecodes, wherever that thread is.
If it holds a lock there, the lock stays held until the handler returns: a handler that needs it, or that
waits for a thread which needs it, waits for itself. A reentrant lock does not help: the thread that the
handler waits for is another one, and the half-made change under the lock is what the handler would see.

So the main thread takes no lock that a handler may need. What is marked with `off_main`, such as the
calls of a session, is carried out by a helper thread, while the main thread waits for that call alone. A
handler that comes in this wait makes its calls with the next helper, and the interrupted call goes on
meanwhile. That takes two switches of threads, much beside a single step. Calls on other threads,
where no handler runs, are direct; so are those marked with `off_main_if_handled` while the program
handles no signal but Ctrl-C, of which only a note is taken until the call asks for it
(`check_interrupted`) or has ended.

The main thread may be interrupted between any two lines of `_carry_out` as well. There, every change to
what is shared is a single call into C (a deque, a `SimpleQueue`), which no handler can divide.
"""

from __future__ import annotations

# Its functions are ten times as fast as those of `signal`, which make enumeration members.
import _signal  # type: ignore[import-not-found]  # not in typeshed
import _thread
import contextvars
import functools
import os
import queue
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec, TypeVar, cast, final

__all__ = [
    "check_interrupted",
    "hand_over",
    "is_own_thread",
    "off_main",
    "off_main_if_handled",
    "placed",
    "prepare",
    "warn_caller",
]

_SPARE = 3  # a call, one in its handler, and one in a handler that interrupts that
_PATIENCE_S = 1.0  # an interrupted call ends within so long, or is left to its helper
_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
_Place = tuple[str, int, dict[str, Any]]  # a file, a line, and the global names there
_NOWHERE: _Place = ("<ringnb>", 1, {"__name__": "ringnb"})

# A handler that is no Python function runs no Python, and one of these is none.
_RUNS_NO_PYTHON = frozenset((None, int(signal.SIG_DFL), int(signal.SIG_IGN)))
_SIGINT = int(signal.SIGINT)
_OTHERS = tuple(map(int, signal.valid_signals() - {signal.SIGINT}))

P = ParamSpec("P")
T = TypeVar("T")


class _Interruptible:
    """A call on its way, as `check_interrupted` sees it."""

    heard = interrupted = False

    def note(self, _number: int, _frame: FrameType | None) -> None:
        """Note Ctrl-C. Main thread, as a signal handler."""
        self.interrupted = True


@final
class _Call(_Interruptible):
    """A call that a helper carries out, and what came of it."""

    begun = False

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function: Callable[[], Any] = function
        self.caller = _place()
        self.context = contextvars.copy_context()
        self.done = _thread.allocate_lock()
        self.done.acquire()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Carry it out, on a helper."""
        function = self.function
        del self.function  # an interrupted caller may keep the call, and must not keep the session
        _current.call = self
        try:
            if not self.interrupted:  # before it began: then nothing of it happens
                self.result = self.context.run(function)
        except BaseException as error:  # noqa: BLE001 - raised on the main thread
            self.error = error
        finally:
            _current.call = None


_Calls = queue.SimpleQueue[_Call]
_idle: deque[_Calls] = deque()  # one queue for each helper that waits for a call
_current = threading.local()
_main = threading.main_thread().ident


def prepare() -> None:
    """Start helpers ahead of need: where a handler runs, or at exit, a thread may not be startable."""
    for _ in range(_SPARE - len(_idle)):
        _idle.append(_start_helper())


def off_main(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function that is called on the main thread be carried out by a helper thread.

    What interrupts the main thread in the wait, such as Ctrl-C, also interrupts the call, where it
    waits (`check_interrupted`), and is raised when the call has ended, or after a second.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        """Make the call here, or have a helper make it."""
        if _is_direct():
            return function(*args, **kwargs)
        return cast("T", _carry_out(_Call(functools.partial(function, *args, **kwargs))))

    return call


def _is_direct() -> bool:
    """Return whether a call is of another thread, or of one that is direct: a finaliser may make it."""
    # The main thread may hold locks then, for which a helper would wait.
    return _thread.get_ident() != _main or getattr(_current, "call", None) is not None


def _none_is_handled() -> bool:
    """Return whether no signal but SIGINT runs a function of Python."""
    try:
        return _RUNS_NO_PYTHON.issuperset(map(_signal.getsignal, _OTHERS))
    except TypeError:  # a handler that has no hash
        return False


def off_main_if_handled(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function be carried out as by `off_main`, but direct if no handler can come in between.

    For calls that are made often and end soon, or ask `check_interrupted`: where such a call waits for
    anything else, Ctrl-C waits with it.
    """
    aside = off_main(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        """Make the call here, or have a helper make it."""
        if _is_direct():
            return function(*args, **kwargs)
        # Nothing can install a handler before the call has ended: only this thread may.
        on_interrupt = _signal.getsignal(_SIGINT)
        is_default = on_interrupt is _signal.default_int_handler
        if (callable(on_interrupt) and not is_default) or not _none_is_handled():
            return aside(*args, **kwargs)
        if not is_default:  # Ctrl-C runs nothing
            return function(*args, **kwargs)
        current = _Interruptible()
        try:
            _current.call = current
            _signal.signal(_SIGINT, current.note)
            return function(*args, **kwargs)
        finally:
            _current.call = None
            # A Ctrl-C from here on is raised here, as in any code.
            _signal.signal(_SIGINT, on_interrupt)
            if current.interrupted and not current.heard:
                raise KeyboardInterrupt

    return call


def hand_over(function: Callable[[], object]) -> None:
    """Have a helper carry a function out, and go on at once; what it raises is dropped.

    For finalisers: the garbage collector runs them on any thread, which may hold any lock, and so must
    wait for nothing. RuntimeError if a helper is needed and no thread can be started.
    """
    _free_helper().put(_Call(function))


def check_interrupted() -> None:
    """Raise KeyboardInterrupt, once, in a call whose caller was interrupted in the wait for it.

    For loops that wait, on any thread; only a helper and the main thread have such a call.
    """
    call: _Interruptible | None = getattr(_current, "call", None)
    if call is not None and call.interrupted and not call.heard:
        call.heard = True
        raise KeyboardInterrupt


def placed(function: Callable[[], object]) -> Callable[[], object]:
    """Make a thread's body of a function: what it warns of is shown at the user's line of now."""
    file, line, names = _place()
    # A thread must not hold what the user's module does: it would keep an abandoned session alive.
    place = file, line, {"__name__": names.get("__name__")}

    def body() -> None:
        """Run on the thread."""
        _current.place = place
        function()

    return body


def is_own_thread() -> bool:
    """Return whether this is a thread that the package has started for itself (`placed`)."""
    return hasattr(_current, "place")


def warn_caller(text: str, category: type[Warning]) -> None:
    """Warn at the user's line that has made the call, also on the helper that carries it out.

    On a thread of the package's, at the line that has made it start (`placed`).
    """
    file, line, names = _place()
    registry = names.setdefault("__warningregistry__", {})
    module = names.get("__name__") or "<unknown>"  # with None the warning would be dropped
    warnings.warn_explicit(text, category, file, line, module, registry)


def _place() -> _Place:
    """Return the user's line for which this thread works."""
    call: _Interruptible | None = getattr(_current, "call", None)
    if isinstance(call, _Call):
        return call.caller
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        names = frame.f_globals
        module = str(names.get("__name__")).partition(".")[0]
        file = frame.f_code.co_filename
        # `threading` calls what a thread of the user's runs, `contextlib` what ends a block.
        if not file.startswith(_PACKAGE) and module not in sys.stdlib_module_names:
            return file, frame.f_lineno, names
        frame = frame.f_back
    place: _Place = getattr(_current, "place", _NOWHERE)
    return place


def _carry_out(call: _Call) -> Any:
    """Have a helper carry a call out, and wait for it. Main thread only, at any point of its work."""
    try:
        helper = _free_helper()
    except RuntimeError:  # the interpreter ends, or there are too many threads
        return call.function()
    try:
        helper.put(call)
        call.done.acquire()
    except BaseException:
        call.interrupted = True
        helper.put(call)  # the interrupt may have come before the first; a second one is ignored
        call.done.acquire(timeout=_PATIENCE_S)
        raise
    error, call.error = call.error, None
    if error is not None:
        try:
            raise error
        finally:
            del error  # else error and frame refer to each other, and keep the session
    return call.result


def _free_helper() -> _Calls:
    try:
        return _idle.pop()
    except IndexError:
        return _start_helper()


def _start_helper() -> _Calls:
    calls: _Calls = queue.SimpleQueue()
    # Not a `threading.Thread`: its start takes locks of that module, and waits for the new thread.
    _thread.start_new_thread(_serve, (calls,))
    return calls


def _serve(calls: _Calls) -> None:
    """Body of a helper, for the life of the process."""
    while True:
        call = calls.get()
        if call.begun:
            del call
            continue
        call.begun = True
        call.run()
        done = call.done
        del call  # an idle helper keeps no session alive
        _idle.append(calls)
        done.release()


def _forked() -> None:
    """Go on in a child: its one thread is the main thread, and helpers do not survive a fork."""
    global _main  # noqa: PLW0603 - of the process
    _main = _thread.get_ident()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
