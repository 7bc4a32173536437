"""Small pictures of checkpoints, and low, mean and high of their field: read once each, as a page asks.

The page asks by names for what it would show and has not; the drawer's thread reads one after the other,
so that the stage's picture waits for one at most. The display loop's thread takes what is done.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from ringnb.checkpoint.drawable import ValueRange, cut_of, pick_field, value_range
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.panels.core.pixels import pack, summarize, thin

__all__ = ["Film", "Pictures", "Small", "Wish", "small_picture"]

_SIDE = 64
_MOST_KEPT = 2000  # pictures, of about 3 kB each


class Small(NamedTuple):
    """A small picture and what it was made of; without values that are finite, None for these."""

    rows: int
    columns: int
    packed: bytes  # see `pixels.pack`
    low: float | None  # what the byte 1 stands for, unless the picture stands by itself
    mean: float | None
    high: float | None  # the same of the byte 255; the same as `low` if there is one value only
    bad: int  # values that are not finite
    kind: str  # of colours, see `ValueRange`

    def card(self) -> dict[str, Any]:
        """Return what a page needs to paint it."""
        return {
            "rows": self.rows,
            "columns": self.columns,
            "packed": self.packed,
            "kind": self.kind,
        }


class Wish(NamedTuple):
    """What a page would have of a checkpoint."""

    key: int  # of its mark
    info: CheckpointInfo
    picture: bool  # else the values only


_NOTHING = Small(0, 0, b"", None, None, None, 0, "")  # of what cannot be drawn


def small_picture(
    checkpoint: Checkpoint,
    field: str | None,
    span_of: Callable[[npt.NDArray[Any]], ValueRange] | None = None,
) -> Small:
    """Read a field, all of it, and make the small picture; raises what reading raises.

    Its bytes are of its own low to high, which a page brings to the range of several; or of what
    `span_of` returns for the plane that is drawn, if it stands by itself.
    """
    name = pick_field(checkpoint, field)
    try:
        cut = cut_of(checkpoint, name)
    except ValueError:  # complex, or of too many axes
        return _NOTHING
    values = np.asarray(checkpoint[name])
    plane = np.atleast_2d(values[cut.where])
    found = summarize(values)
    if not math.isfinite(found.low):
        return _NOTHING._replace(bad=found.bad)
    if span_of is None:
        kind = value_range([values]).kind
        top = found.high if found.high > found.low else found.low + 1.0
        span = ValueRange(found.low, top, kind)
    else:
        span = span_of(plane)
    pixels = thin(plane, span, _SIDE).data
    packed, (rows, columns) = pack(pixels), pixels.shape
    return Small(rows, columns, packed, found.low, found.mean, found.high, found.bad, span.kind)


@final
class Pictures:
    """The small pictures that were made for any view of a session. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[str, int, str | None], Small] = OrderedDict()

    def find(self, info: CheckpointInfo, field: str | None) -> Small | None:
        """Return a picture that was made, None if it was not."""
        with self._lock:
            return self._made.get((info.name, info.sequence, field))

    def add(self, info: CheckpointInfo, field: str | None, small: Small) -> None:
        """Keep a picture; the oldest go when there are too many."""
        with self._lock:
            self._made[info.name, info.sequence, field] = small
            while len(self._made) > _MOST_KEPT:
                self._made.popitem(last=False)


@final
class Film:
    """The small pictures that were made, and the wishes that are not met yet. Any thread."""

    def __init__(self, pictures: Pictures | None = None) -> None:
        self._lock = threading.Lock()
        self._pictures = Pictures() if pictures is None else pictures
        self._wishes: deque[Wish] = deque()
        self._done: list[tuple[Wish, Small]] = []
        self._batches = 0
        self.field: str | None = None  # which it shows; None for the first

    def show_field(self, field: str | None) -> None:
        """Make pictures of this field from now on, by default of the first one."""
        with self._lock:
            if field != self.field:
                self.field = field
                self._wishes.clear()
                self._done.clear()

    def wish(self, wishes: Iterable[Wish]) -> bool:
        """Take what a page asks for, in this order; it no longer waits for what it asked for before.

        Returns whether something is to be read.
        """
        with self._lock:
            self._wishes.clear()
            for one in wishes:
                made = self._pictures.find(one.info, self.field)
                if made is None:
                    self._wishes.append(one)
                else:
                    self._done.append((one, made))
            return bool(self._wishes)

    def next(self) -> tuple[Wish, str | None] | None:
        """Return what is to be read next, and of which field; None if nothing is."""
        with self._lock:
            return (self._wishes.popleft(), self.field) if self._wishes else None

    def add(self, wish: Wish, field: str | None, small: Small) -> None:
        """Take a picture that was made."""
        with self._lock:
            self._pictures.add(wish.info, field, small)
            if field == self.field:
                self._done.append((wish, small))

    def take(self) -> dict[str, Any] | None:
        """Return what was done since the last call, as a page takes it; None if nothing was."""
        with self._lock:
            done, self._done = self._done, []
            if not done:
                return None
            self._batches += 1
            batch = self._batches
        items, packed = [], bytearray()
        for wish, small in done:
            data = small.packed if wish.picture else b""
            packed += data
            values = (small.low, small.mean, small.high, small.bad, small.kind)
            items.append([wish.key, small.rows, small.columns, len(data), *values])
        return {"n": batch, "items": items, "px": bytes(packed)}
