"""What panels say: one list for a session, in which a problem is counted, and settled when it is mended.

A message without a key is said and passes. A problem's key is an actor and a kind of trouble: it is
*open* until it is settled or dismissed; said again, it counts up instead of appearing twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, final

__all__ = ["Action", "Kind", "Message", "MessageLog", "Note"]

Kind = Literal["done", "waiting", "note", "warning", "problem"]
# Of a button in a message: what it does, its label and, if it needs any, its arguments.
Action = tuple[str, str] | tuple[str, str, dict[str, Any]]
_MOST_KEPT = 200
_MOST_IN_LINE = 4  # of those that nobody needs to act on
_MOST_OPEN = 16  # with many actors a full disk is a problem of each


@final
class Note(str):
    """What an action returns to say what it did not do, or has broken on purpose: that is no "Done"."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One thing that was said.

    ``at`` is when it was said last, in seconds since the epoch, ``since`` when first, while it is open;
    ``actions`` are its buttons; ``detail`` is a traceback; ``by_itself`` marks what no user has asked
    for, which covers no open problem; ``again`` is when what has failed is tried again, in seconds of
    the board's beat: the text ends so that the page can add "in 4 s"; ``settled`` says when and by what
    it was made good.
    """

    key: str
    kind: Kind
    text: str
    at: float
    count: int = 1
    actions: tuple[Action, ...] = ()
    detail: str = ""
    by_itself: bool = False
    again: float | None = None
    settled: str = ""
    settled_at: float = 0.0
    dismissed: bool = False
    since: float = 0.0
    replaces: bool = False  # whether the next one of its key takes its place

    @property
    def open(self) -> bool:
        """Whether it waits to be settled or dismissed."""
        return self.kind in ("warning", "problem") and not (self.settled or self.dismissed)

    def row(self, *, whole: bool = False) -> dict[str, Any]:
        """Return what a page needs; its traceback only if ``whole``."""
        return {
            "key": self.key,
            "kind": self.kind,
            "text": self.text,
            "at": round(self.at, 3),
            "since": round(self.since, 3),
            "count": self.count,
            "actions": [list(action) for action in self.actions],
            "detail": self.detail if whole else "",
            "byItself": self.by_itself,
            "again": None if self.again is None else round(self.again, 2),
            "settled": self.settled,
            "settledAt": round(self.settled_at, 3),
            "open": self.open,
        }


@final
class MessageLog:
    """The newest messages of one session. Any thread may call any method."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._messages: list[Message] = []  # newest last
        self._numbers = 0
        self.version = 0  # counts changes

    def say(
        self,
        kind: Kind,
        text: str,
        *,
        key: str | None = None,
        actions: Iterable[Action] = (),
        detail: str = "",
        by_itself: bool = False,
        again: float | None = None,
        repeats: bool = True,
        replaces: bool = False,
    ) -> str:
        """Say something, and return its key.

        An open message of the same key takes the new text and counts up. ``repeats=False`` is for what
        may have been told of the same occasion, without its traceback: then it only gains that. With
        ``replaces`` it takes the place of the last such one of its key, as where a playhead rests now.
        """
        with self._lock:
            self._numbers, now = self._numbers + 1, self._clock()
            said = Message(
                key or f"#{self._numbers}",
                kind,
                text,
                now,
                since=now,
                actions=tuple(actions),
                detail=detail,
                by_itself=by_itself,
                again=again,
                replaces=replaces,
            )
            at = self._open(key)
            if at is not None:
                before = self._messages.pop(at)
                if repeats or before.detail:
                    said = replace(said, count=before.count + 1, since=before.since)
                else:
                    said = replace(before, detail=detail)
            elif replaces:
                same = [i for i, m in enumerate(self._messages) if m.key == key and m.replaces]
                if same:
                    del self._messages[same[-1]]
            self._messages.append(said)
            self._forget()
            self.version += 1
            return said.key

    def note_retry(self, key: str, again: float) -> None:
        """Note that what a message tells has failed again in the same way: it counts up where it is.

        So it covers nothing that was said since. One that was dismissed stays so.
        """
        with self._lock:
            at = self._open(key)
            if at is not None:
                said = self._messages[at]
                self._messages[at] = replace(said, count=said.count + 1, again=again)
                self.version += 1

    def settle(self, key: str, by: str) -> None:
        """Note that an open message was made good, and by what; nothing if there is none of that key."""
        with self._lock:
            at = self._open(key)
            if at is not None:
                self._settle(at, by)
                self.version += 1

    def _settle(self, at: int, by: str) -> None:
        self._messages[at] = replace(self._messages[at], settled=by, settled_at=self._clock())

    def settle_all(self, by: str) -> None:
        """Note that all that was open has been made good."""
        for message in self.newest():
            if message.open:
                self.settle(message.key, by)

    def dismiss(self, key: str, *, answers: bool = False) -> None:
        """Take a message out of the line; the history keeps it.

        If that ``answers`` it, and one of its buttons says so, it is settled by that.
        """
        with self._lock:
            if answers and (at := self._open(key)) is not None:
                labels = (a[1] for a in self._messages[at].actions if a[0] == "say.dismiss")
                if label := next(labels, ""):
                    self._settle(at, f"the answer: {label}")
            self._messages = [
                replace(m, dismissed=True) if m.key == key else m for m in self._messages
            ]
            self.version += 1

    def is_open(self, key: str) -> bool:
        """Return whether a message of this key waits to be settled or dismissed."""
        with self._lock:
            return self._open(key) is not None

    def knows(self, key: str) -> bool:
        """Return whether a message of this key was said, and nothing has settled it."""
        return any(m.key == key and not m.settled for m in self.newest())

    def newest(self) -> tuple[Message, ...]:
        """Return all that is kept, newest last."""
        with self._lock:
            return tuple(self._messages)

    def in_line(self) -> list[dict[str, Any]]:
        """Return what a message line needs: what is open, and the newest few, newest last.

        However much has come by itself since, the newest answer to the user is there: it may be undone.
        """
        kept = [m for m in self.newest() if not m.dismissed]
        shown = [m for m in kept if m.open][-_MOST_OPEN:]
        passing = [m for m in kept if not m.open]
        shown += [m for m in passing[:-_MOST_IN_LINE] if not m.by_itself][-1:]
        shown += passing[-_MOST_IN_LINE:]
        return [m.row() for m in sorted(shown, key=lambda m: m.at)]

    def _open(self, key: str | None) -> int | None:
        """Return where the open message of a key is. With the lock held."""
        found = [i for i, m in enumerate(self._messages) if m.open and m.key == key]
        return found[-1] if found else None

    def _forget(self) -> None:
        """Drop the oldest that nobody needs to act on, nor can undo. With the lock held."""
        if len(self._messages) > _MOST_KEPT:
            passing = [i for i, m in enumerate(self._messages) if not m.open]
            answer = [i for i in passing if not self._messages[i].by_itself][-1:]
            del self._messages[next((i for i in passing if i not in answer), 0)]
