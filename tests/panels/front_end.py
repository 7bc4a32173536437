"""What a front end sends, and the widgets that it finds below a panel."""

from __future__ import annotations

__all__ = ["actions_of", "below", "choose", "press"]


def press(panel, action):
    """Send what a front end sends."""
    bars = [w for w in below(panel) if type(w).__name__ == "Actions"]
    (bar,) = [b for b in bars if action in {a[0] for a in b.actions}]
    bar._handle_custom_msg({"do": action}, [])


def choose(panel, key, name):
    choosers = [w for w in below(panel) if type(w).__name__ == "Chooser"]
    (one,) = [c for c in choosers if c.key == key]
    one._handle_custom_msg({"choose": name}, [])


def actions_of(widget):
    return widget.actions if type(widget).__name__ == "Actions" else []


def below(widget):
    found = [widget]
    for child in getattr(widget, "children", ()):
        found += below(child)
    return found
