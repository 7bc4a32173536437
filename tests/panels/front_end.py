"""What a front end sends, and what it would show."""

from __future__ import annotations

__all__ = [
    "actions_of",
    "below",
    "choose",
    "do",
    "flag",
    "flags",
    "hand_of",
    "press",
    "said",
    "told",
    "troubles",
]


def press(panel, action):
    """Send what a front end sends when a panel's button is pressed; the name may lack its first word."""
    names = [name for w in below(panel) for name, *_ in actions_of(w)]
    (name,) = {n for n in names if n == action or n.split(".")[-1] == action}
    hand_of(panel)._handle_custom_msg({"do": name}, [])


def choose(panel, key, name):
    hand_of(panel)._handle_custom_msg({"do": f"choose.{key}", "name": name}, [])


def do(panel, action, **args):
    """Send what a view sends."""
    hand_of(panel)._handle_custom_msg({"do": action, **args}, [])


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
    return widget.actions if type(widget).__name__ == "Actions" else []


def board_of(panel):
    return next(w.board for w in below(panel) if hasattr(w, "board"))


def hand_of(panel):
    return next(w.hand for w in below(panel) if hasattr(w, "hand"))


def below(widget):
    found = [widget]
    for child in getattr(widget, "children", ()):
        found += below(child)
    return found
