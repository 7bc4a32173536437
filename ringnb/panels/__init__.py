"""Panels over a running session, for notebooks: ``session.panel()``, or one by its name.

Start reading at `cockpit` (`open_panel`, and the list of panels), then `core.panel`. Each panel is a
thin view: the session's state is read once for all of them, and what a control asks for is one call on
a worker thread. One click, "Snapshot now": `core.live` submits `Session.snapshot` to a worker; what came
of it is said in the message line. `core` says how. `predict` makes a card for a question of your own.
Needs the widgets extra, ``pip install 'ringnb[widgets]'``.

`stage` shows pictures, `deck` time, `keep` what stays, `learn` how it works. A new panel is a subclass
of `Panel` in a module of its own in one of them, with a line in the cockpit's table and a place in its
tabs. `overview` shows all actors at a glance, `still` a picture where no kernel runs.

Imports here run one way: the cockpit knows the panels, a package of panels knows `core`, never another.
From the rest of ringnb they may use the session, plots and all that these use; never the course or the
command line.
"""

from __future__ import annotations

try:
    import anywidget as _anywidget  # noqa: F401 - is it there?
    import ipywidgets as _ipywidgets  # noqa: F401 - is it there?
except ImportError as error:
    _MSG = "panels need ipywidgets and anywidget: pip install 'ringnb[widgets]'"
    raise ImportError(_MSG) from error

from ringnb.panels.cockpit import PANELS, close_panels, open_panel
from ringnb.panels.core.panel import Panel
from ringnb.panels.learn.prediction import predict

__all__ = ["PANELS", "Panel", "close_panels", "open_panel", "predict"]
