"""Between the panels of one session and their page: one `Board` to it, one `Hand` from it.

All that panels say, and how their buttons look, is kept here and put on the board. All that their
controls send comes through the hand, and is passed on by its name, such as ``live.pause``: to the
handler of that very name, or to that of the word before the dot.
"""

from __future__ import annotations

import threading
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, final

from ringnb._support.text import said_by
from ringnb.panels.core.messages import Kind, MessageLog
from ringnb.panels.core.widgets import Board, Hand, button_state

__all__ = ["MOST_DOWNLOADED", "Handler", "Switchboard"]

Handler = Callable[[str, Mapping[str, Any]], None]
MOST_DOWNLOADED = 64 << 20  # bytes, through the notebook's own connection
_LOOKS = ("look.", "stage.")  # actions that need no live actor


@final
class Switchboard:
    """Holds the board, the hand, the messages and the flags. Any thread may call any method.

    ``changed`` is called when the board should show something new; it must not wait.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.board = Board()
        self.hand = Hand()
        self.messages = MessageLog()
        self._changed = changed
        self._handlers: dict[str, Handler] = {"say": self._on_say}
        self._flags: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()  # guards the flags: the loop reads them while others write
        self._acknowledged: deque[str] = deque(maxlen=16)
        self.hand.connect(self._receive)

    def on_do(self, name: str, handler: Handler) -> None:
        """Have a handler serve one action (``"live.param"``) or all actions of a word (``"live"``).

        It gets what is behind the first dot, and the page's message. It is called on Jupyter's
        thread, and only enqueues. A later one of the same name replaces it.
        """
        self._handlers[name] = handler

    def set_flags(self, flags: Mapping[str, Mapping[str, Any]]) -> None:
        """Say how buttons look, by their actions' names: what `widgets.button_state` returns."""
        new = {name: dict(flag) for name, flag in flags.items()}
        with self._lock:
            if all(self._flags.get(name) == flag for name, flag in new.items()):
                return
            self._flags = {**self._flags, **new}
        self._changed()

    def say(self, kind: Kind, text: str, **more: Any) -> None:
        """Say something in the message line; ``more`` as `MessageLog.say` takes it."""
        self.messages.say(kind, text, **more)
        self._changed()

    def settle(self, key: str, by: str) -> None:
        """Note that a problem was made good, and by what."""
        self.messages.settle(key, by)
        self._changed()

    def withdraw(self, key: str) -> None:
        """Take out of the message line what is not so any more."""
        self.messages.dismiss(key)
        self._changed()

    def traits(self, unheard: str = "") -> dict[str, Any]:
        """Return what the board should show of this.

        ``unheard`` is why the session would not hear of anything: then only what looks can be used.
        """
        with self._lock:
            flags = self._flags
        if unheard:
            off = button_state(disabled=True, why=unheard)
            flags = {n: f if n.startswith(_LOOKS) else {**f, **off} for n, f in flags.items()}
        return {
            "messages": self.messages.in_line(),
            "flags": flags,
            "acknowledged": list(self._acknowledged),
        }

    def download(self, name: str, data: bytes) -> None:
        """Have the page save a file; each page once, however many panels it shows.

        ValueError if it is larger than `MOST_DOWNLOADED`.
        """
        if len(data) > MOST_DOWNLOADED:
            msg = f"{len(data):,} bytes are too many for the notebook's connection: {name} is not sent"
            raise ValueError(msg)
        self.board.send({"download": name, "id": uuid.uuid4().hex}, [data])

    def close(self) -> None:
        """Close both widgets."""
        self.board.close()
        self.hand.close()

    def do(self, do: str, **args: Any) -> None:
        """Do what a message of the page would, for a control of ipywidgets."""
        self._receive(do, args)

    def _receive(self, do: str, content: Mapping[str, Any]) -> None:
        """Take what the page has sent, on Jupyter's thread."""
        word, _, action = do.partition(".")
        try:
            if (exact := self._handlers.get(do)) is not None:
                exact(action, content)
            elif (handler := self._handlers.get(word)) is not None:
                handler(action, content)
        except Exception as error:  # noqa: BLE001 - Jupyter would not show a handler's error
            detail = "".join(traceback.format_exception(error))
            self.messages.say("problem", f"{action}: {said_by(error)}", key=do, detail=detail)
        else:
            self.messages.settle(do, "a later press of the same button")
        finally:  # not before: the board could acknowledge it, and show what was before it
            if "id" in content:
                self._acknowledged.append(str(content["id"]))
        self._changed()

    def _on_say(self, action: str, args: Mapping[str, Any]) -> None:
        if action == "dismiss":
            self.messages.dismiss(str(args.get("key", "")), answers=True)
