"""From a checkpoint to a picture on the page: when it is drawn, on which thread, what if it fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound
from ringnb.panels.core.controller import Controller
from ringnb.panels.stage.own_drawing import DrawingError
from ringnb.panels.stage.pictures import Drawn
from ringnb.panels.stage.widgets import Picture

__all__ = ["Feed", "send_again"]


@final
class Feed:
    """Keeps one picture up to date. `want`, `outdate` and `clear` are the display loop's thread's.

    Pictures are drawn on the drawer's thread, the newest wish first, at the controller's `Pace`: while
    a playhead is dragged each wish replaces the one before, and the last one is drawn in any case. One
    with a `before` lets that one go first, so that it is drawn when a drag rests.
    """

    def __init__(self, controller: Controller, key: str, before: str = "") -> None:
        self.picture = Picture()
        self._controller = controller
        self._key, self._before = key, before
        self._asked: tuple[Any, ...] | None = None
        self._asked_at = 0.0
        # The newest wish, from the display loop's thread to the drawer's.
        self._lock = threading.Lock()
        self._wish: tuple[Sequence[CheckpointInfo], Callable[[], Drawn]] | None = None

    def want(
        self,
        checkpoints: Sequence[CheckpointInfo],
        settings: tuple[Any, ...],
        draw: Callable[[], Drawn],
        *,
        follows: bool,
        range_seen: object = None,
    ) -> None:
        """Have it drawn unless that was asked for already.

        What follows the newest checkpoint, or a range that grows while others are read, waits; what
        the user has just set does not.
        """
        now, names = time.monotonic(), tuple((e.name, e.sequence) for e in checkpoints)
        asked = (names, settings, range_seen)
        if asked == self._asked:
            return
        before = self._asked or (None, None, None)
        waits = settings == before[1] and (follows or names == before[0])
        patient = waits and not self._controller.state.ended
        if patient and now - self._asked_at < self._controller.profile.follow_s:
            return
        self._asked, self._asked_at = asked, now
        with self._lock:
            self._wish = checkpoints, draw
        self._controller.drawer.submit(self._key, self._draw)

    def _draw(self) -> None:
        """On the drawer's thread, which nothing that it raises may end."""
        pace, drawer = self._controller.pace, self._controller.drawer
        pace.wait()  # newer wishes replace this one meanwhile
        if drawer.waits(self._before):
            drawer.submit(self._key, self._draw)
            return
        with self._lock:
            wish, self._wish = self._wish, None
        if wish is None:
            return
        checkpoints, draw = wish
        controller, problem = self._controller, f"picture:{self._key}"
        try:
            drawn = draw()
            info = {**drawn.page_info(), "n": pace.begin()}
            self._put(info=info, pixels=drawn.pixels, more=drawn.more)
        except (CheckpointCorrupt, CheckpointNotFound, ValueError, KeyError, OSError) as error:
            if isinstance(error, CheckpointCorrupt):
                for e in checkpoints:
                    if repr(e.name) in str(error):  # which of them it is about
                        controller.note_damage(e.name, error)
            self._say(str(error.args[0]) if error.args else repr(error))
        except DrawingError as error:
            self._say("your drawing failed")
            controller.say("problem", f"Drawing: {error}", key=problem)
        except Exception as error:  # noqa: BLE001 - shown, whatever it is
            controller.say("problem", f"Drawing: {error!r}", key=problem)
        else:
            controller.settle(problem, "the next picture")
        controller.display.poke()

    def send_again(self) -> None:
        """Send the picture once more, to a page that has missed it. Any thread."""
        self.picture.send_state()

    def outdate(self, why: str) -> None:
        """Leave the picture as it is, and say why it is old; the next wish is drawn whatever it is."""
        self._asked = None
        self._say(why)

    def _say(self, problem: str) -> None:
        self._put(info={**self._info, "problem": problem})

    def clear(self) -> None:
        """Show none."""
        self._asked = None
        self._put(info={}, pixels=b"", more=b"")

    _info: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed

    def _put(self, info: dict[str, Any], **traits: Any) -> None:
        self._info = info
        self._controller.display.put(self.picture, info=info, **traits)


def send_again(controller: Controller, args: Mapping[str, Any]) -> None:
    """Send a panel's picture once more: the page says that its pixels did not come. Any thread."""
    feed = getattr(controller.views.get(str(args.get("of", ""))), "feed", None)
    if isinstance(feed, Feed):
        feed.send_again()
