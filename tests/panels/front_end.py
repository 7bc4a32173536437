"""What a front end sends, and what it would show."""

from __future__ import annotations

import zlib

import numpy as np
from waiting import until

from ringnb.panels.deck.marks import LAYOUT, Flag, Kind

__all__ = [
    "actions_of",
    "board_of",
    "below",
    "choose",
    "do",
    "flag",
    "flags",
    "hand_of",
    "levels_of",
    "look",
    "marks_of",
    "press",
    "said",
    "squares_of",
    "tell",
    "told",
    "troubles",
    "unpacked",
    "whole",
]


# The buttons that scripts draw.
_DRAWN = {
    "Deck": ("live.run", "live.pause", "live.step", "live.snapshot", "look.newest"),
    "Moment": ("pin", "unpin", "check", "check_all", "download", "movie"),
}
_DRAWN["CrankHandle"] = tuple(
    f"lifecycle.{name}" for name in (*(f"s{i}" for i in range(8)), "through", "cancel", "lose")
)
_DRAWN["FaultSwitches"] = tuple(
    f"faults.{name}" for name in ("lose", "slow", "full", "corrupt", "kill", "clear")
)
_DRAWN["WhatStays"] = tuple(f"retention.{name}" for name in ("adopt", "runs", "consider"))
_DRAWN["Question"] = ("predict.commit", "predict.reveal")
_DRAWN["Transport"] = _DRAWN["Deck"][:4]
_DRAWN["Deck"] += ("moment.restore", "moment.branch")
_DRAWN["Moment"] = tuple(f"moment.{name}" for name in _DRAWN["Moment"])


def press(panel, action, **args):
    """Send what a front end sends when a panel's button is pressed; the name may lack its first word."""
    names = [name for w in below(panel) for name, *_ in actions_of(w)]
    (name,) = {n for n in names if n == action or n.split(".")[-1] == action}
    hand_of(panel)._handle_custom_msg({"do": name, **args}, [])


def look(panel, **args):
    """Send where the playhead is moved to."""
    hand_of(panel)._handle_custom_msg({"do": "look.to", **args}, [])


def choose(panel, key, name):
    hand_of(panel)._handle_custom_msg({"do": f"choose.{key}", "name": name}, [])


def do(panel, action, /, **args):
    """Send what a view sends for a user: the page adds an id, whatever the arguments are."""
    tell(panel, action, **args, id="of the message")


def tell(panel, action, /, **args):
    """Send what a page tells or asks by itself: without an id, as it is no use of the panel."""
    hand_of(panel)._handle_custom_msg({**args, "do": action}, [])


def whole(ask, read):
    """What is read when it is all and no change: asked for until it is, as a change may replace it."""
    seen = []

    def is_whole():
        ask()
        seen.append(read())
        return seen[-1].get("from") == 0

    until(is_whole)
    return seen[-1]


def marks_of(timeline):
    """The marks that a page which has none gets: key, step, lane, kind and flags of each."""
    marks = whole(lambda: tell(timeline, "look.marks"), lambda: timeline.deck.marks)
    packed = LAYOUT.iter_unpack(marks.get("add", b""))
    return [
        (key, int(step), lane, Kind(kind), Flag(flags)) for key, step, lane, kind, flags in packed
    ]


def squares_of(timeline):
    """The flags of each checkpoint's mark, oldest first."""
    return [flags for *_, kind, flags in marks_of(timeline) if kind == Kind.CHECKPOINT]


def said(panel):
    """What was said last, and is no trouble."""
    good = [m for m in board_of(panel).messages if m["kind"] not in ("warning", "problem")]
    return good[-1]["text"] if good else ""


def told(panel, text):
    """Whether the line holds this."""
    return any(text in m["text"] for m in board_of(panel).messages)


def troubles(panel):
    """The texts of what is open."""
    return [m["text"] for m in board_of(panel).messages if m["open"]]


def flags(panel):
    """How the buttons of a panel look, by the last word of their names."""
    names = [name for w in below(panel) for name, *_ in actions_of(w)]
    shown = board_of(panel).flags
    return {name.split(".")[-1]: shown[name] for name in names if name in shown}


def flag(panel, action):
    return flags(panel).get(action, {})


def actions_of(widget):
    kind = type(widget).__name__
    return widget.actions if kind == "Actions" else [(name,) for name in _DRAWN.get(kind, ())]


def unpacked(packed, shape):
    """What `static/pixels.js` makes of the bytes of a picture."""
    rest = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)
    return rest.cumsum(1, dtype=np.uint8).cumsum(0, dtype=np.uint8)


def levels_of(dots, count):
    """The bytes of a map of actors by slot; its rows begin below."""
    return unpacked(dots["packed"], (dots["rows"], dots["columns"]))[::-1].ravel()[:count]


def board_of(panel):
    return next(w.board for w in below(panel) if hasattr(w, "board"))


def hand_of(panel):
    return next(w.hand for w in below(panel) if hasattr(w, "hand"))


def below(widget):
    found = [widget]
    for child in getattr(widget, "children", ()):
        found += below(child)
    return found
