"""The one thread that writes displays: the newest value wins, a few times a second.

A front end takes about a thousand messages a second before it drops some, and goes on showing what it
got last. So nothing writes a display directly: `DisplayLoop.put` keeps the newest value of each, and
the loop's thread assigns them together. What changed is sent once more after a quiet time, in case a
message was lost.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, final

from ipywidgets import Widget

from ringnb.panels.core.workers import BackgroundThread

__all__ = ["DisplayLoop"]

# With many actors a flush may take longer than a period. Then the loop rests this many times the excess,
# so that the user's cells get their share of the interpreter.
_REST = 3.0
_SOONEST_S = 0.02  # between two flushes, however many pokes come
# Not sent twice: what is heavy, which a page asks for that misses it, and the beat: another one comes.
_ONCE = frozenset({"film", "more", "pixels", "beat"})


@final
class DisplayLoop(BackgroundThread):
    """Writes displays, as the only writer of the traits that are put. Any thread may put and poke.

    ``refresh`` is called before every flush, on the loop's thread; it puts what is to be shown. It
    returns False when nothing changes by itself any more: then the loop waits until it is poked.
    """

    def __init__(
        self,
        refresh: Callable[[], bool],
        period_s: float,
        quiet_s: float = 2.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("ringnb-display")
        self._clock = clock
        self._refresh = refresh
        self._period_s = period_s
        self._quiet_s = quiet_s
        self._lock = threading.Lock()
        self._values: dict[Widget, dict[str, Any]] = {}
        # What is to be sent a second time, and when it last changed: each for itself, as on a board
        # something always changes.
        self._changed: dict[Widget, dict[str, float]] = {}
        self._shown: weakref.WeakSet[Widget] = weakref.WeakSet()
        # Whether a page shows any of it: else what is to be sent a second time waits until one does.
        self.seen = True
        self._poked = threading.Event()
        self._stopping = threading.Event()

    def put(self, widget: Widget, **traits: Any) -> None:
        """Show values on a display at the next flush, unless newer ones are put before."""
        with self._lock:
            self._values.setdefault(widget, {}).update(traits)
            self._shown.add(widget)

    def poke(self) -> None:
        """Flush soon: something happened that the user waits to see."""
        self._poked.set()

    @property
    def settled(self) -> bool:
        """Whether nothing waits to be sent a second time, or only for a page that shows it."""
        return not (self._changed and self.seen)

    def resend(self) -> None:
        """Send all displays as they are, from the calling thread: some front ends take no other."""
        with self._lock:
            shown = list(self._shown)
        for widget in shown:
            if widget.comm is not None:
                widget.send_state()

    def stop(self) -> None:
        """End the thread after one last flush."""
        self._stopping.set()
        self._poked.set()

    def _run(self) -> None:
        began = ended = worked_s = 0.0
        changes = True
        while not self._stopping.is_set():
            # It waits for a poke only once all that it has sent was sent a second time.
            self._poked.wait(self._period_s if changes or not self.settled else None)
            # After a poke it flushes early, but not so early that many pokes become a flood.
            too_long_s = max(0.0, worked_s - self._period_s)
            apart_s = min(self._period_s / 5, _SOONEST_S)
            earliest = max(began + apart_s, ended + _REST * too_long_s)
            self._stopping.wait(max(0.0, earliest - time.monotonic()))
            self._poked.clear()
            # Not what it waits for an answer: that takes nothing from the cells, and the beat goes on.
            began, before_s = time.monotonic(), time.thread_time()
            changes = self._refresh()
            self.flush()
            ended, worked_s = time.monotonic(), time.thread_time() - before_s

    def flush(self) -> None:
        """Assign what was put; send once more what has not changed for the quiet time.

        On the loop's thread, or on any other once that has ended.
        """
        with self._lock:
            values, self._values = self._values, {}
        now = self._clock()
        for widget, traits in values.items():
            new = {k: v for k, v in traits.items() if getattr(widget, k) != v}
            if new and widget.comm is not None:
                with widget.hold_sync():
                    for key, value in new.items():
                        setattr(widget, key, value)
                self._changed.setdefault(widget, {}).update(dict.fromkeys(set(new) - _ONCE, now))
        for widget, times in list(self._changed.items()) if self.seen else ():
            names = {name for name, at in times.items() if now - at > self._quiet_s}
            for name in names:
                del times[name]
            if not times:
                del self._changed[widget]
            if names and widget.comm is not None:
                widget.send_state(names)
