"""From a name to a panel: one desk per session, one panel per name."""

from __future__ import annotations

import threading
import weakref

from ringnb.panels.base import Panel
from ringnb.panels.cockpit import PARTS, Cockpit
from ringnb.panels.desk import Desk
from ringnb.session.session import Session

__all__ = ["PANELS", "close_panels", "open_panel"]

PANELS: tuple[str, ...] = tuple(PARTS)

# Each is held by its session's finaliser.
_desks: weakref.WeakSet[Desk] = weakref.WeakSet()
_lock = threading.Lock()


def close_panels(session: Session) -> None:
    """End the threads of a session's panels and close their widgets. Idempotent, any thread.

    Parameters
    ----------
    session : Session
        Whose.
    """
    with _lock:
        desk = _desk_of(session)
        if desk is None:
            return
        _desks.discard(desk)
    desk.dispose()


def _desk_of(session: Session) -> Desk | None:
    """Return the desk of a session or, after a restart, of the one in its place."""
    line = (session,) if session.successor is None else (session.successor, session)
    return next((desk for one in line for desk in _desks if desk.serves(one)), None)


def open_panel(session: Session, name: str | None = None) -> Panel:
    """Return a panel over a session; see ``Session.panel``.

    Parameters
    ----------
    session : Session
        Open or closed. One that was restarted has the panels of its successor.
    name : str, optional
        One of `PANELS`; the cockpit by default.

    Returns
    -------
    Panel
        The same one at every call.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name is not None and name not in PARTS:
        msg = f"there is no panel {name!r}: use one of {', '.join(PANELS)}, or none for the cockpit"
        raise ValueError(msg)
    with _lock:
        desk, live = _desk_of(session), session.successor or session
        if desk is None:
            desk = Desk(live)
            _desks.add(desk)
        desk.replace(live)  # by a `remake` in a cell, say
        wanted = tuple(PARTS) if name is None else (name,)
        for one in wanted:
            if one not in desk.panels:
                desk.panels[one] = PARTS[one](desk)
        if name is not None:
            return desk.panels[name]
        if "cockpit" not in desk.panels:
            desk.panels["cockpit"] = Cockpit(desk)
        desk.pump.poke()
        return desk.panels["cockpit"]
