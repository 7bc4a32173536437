"""The one thread that writes displays: newest value wins, a few times a second.

A front end takes about a thousand messages a second before it drops some, and shows what it got last
for ever. So nothing writes a display directly: `Pump.put` keeps the newest value of each, and the pump
thread assigns them together. What changed is sent once more when it has been quiet for a while, which
mends a message that was lost.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, final

from ipywidgets import Widget

__all__ = ["Pump"]

_QUIET_S = 2.0
_REST = 3.0  # times as long as a flush took too long: many actors leave time for the user's cells
_HEAVY = frozenset({"png"})  # not sent twice over a thin line


@final
class Pump:
    """Writes displays.

    Parameters
    ----------
    refresh : callable
        Called before every flush, on the pump's thread; it puts what is to be shown. It returns
        False when nothing changes by itself any more: the pump rests then until it is poked.
    period_s : float
        Seconds between two flushes.

    Notes
    -----
    `put` and `poke` may be called from any thread. The pump is the only writer of the traits put.
    """

    def __init__(self, refresh: Callable[[], bool], period_s: float) -> None:
        self._refresh = refresh
        self._period_s = period_s
        self._lock = threading.Lock()
        self._values: dict[Widget, dict[str, Any]] = {}
        self._changed: dict[Widget, tuple[float, set[str]]] = {}
        self._shown: weakref.WeakSet[Widget] = weakref.WeakSet()
        self._poked = threading.Event()
        self._stopping = threading.Event()
        self.flushes = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="ringnb-pump", daemon=True)
        self._thread.start()

    def put(self, widget: Widget, **traits: Any) -> None:
        """Show values at the next flush, unless newer ones are put before.

        Parameters
        ----------
        widget : Widget
            A display.
        **traits : object
            Values by name.
        """
        with self._lock:
            self._values.setdefault(widget, {}).update(traits)
            self._shown.add(widget)

    def poke(self) -> None:
        """Flush soon: something happened that somebody waits to see."""
        self._poked.set()

    def resend(self) -> None:
        """Send all displays as they are, from the calling thread: some front ends take no other."""
        with self._lock:
            shown = list(self._shown)
        for widget in shown:
            if widget.comm is not None:
                widget.send_state()

    def stop(self) -> None:
        """End the thread after one last flush. Idempotent; does not wait."""
        self._stopping.set()
        self._poked.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread, unless it is the caller.

        Parameters
        ----------
        timeout_s : float
            Seconds to wait at most.
        """
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        last = ended = 0.0
        changes = True
        while not self._stopping.is_set():
            # At rest it stays until what it has sent last was sent twice.
            self._poked.wait(self._period_s if changes or self._changed else None)
            # A poke comes early, but not so early that pokes become a flood.
            long_s = max(0.0, ended - last - self._period_s)
            rest_s = max(last + self._period_s / 5, ended + _REST * long_s) - _now()
            self._stopping.wait(max(0.0, rest_s))
            self._poked.clear()
            last = _now()
            changes = self._refresh()
            self.flush()
            ended = _now()

    def flush(self) -> None:
        """Assign what was put. On the pump's thread, or on any once that has ended."""
        with self._lock:
            values, self._values = self._values, {}
        now = _now()
        for widget, traits in values.items():
            new = {k: v for k, v in traits.items() if getattr(widget, k) != v}
            if new and widget.comm is not None:
                with widget.hold_sync():
                    for key, value in new.items():
                        setattr(widget, key, value)
                _, names = self._changed.get(widget, (now, set()))
                self._changed[widget] = now, names | (set(new) - _HEAVY)
        for widget, (at, names) in list(self._changed.items()):
            if now - at > _QUIET_S:
                del self._changed[widget]
                if names and widget.comm is not None:
                    widget.send_state(names)
        self.flushes += 1


def _now() -> float:
    return time.monotonic()
